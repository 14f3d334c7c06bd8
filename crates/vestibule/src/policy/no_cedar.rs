//! Stands in for `cedar.rs` in a build without the cargo feature `cedar`: there is no such thing as a Cedar policy.

#![expect(
    dead_code,
    reason = "nothing can be asked of policies that cannot exist"
)]

use serde_json::Value;
use vestibule_oauth::scope::ScopeSet;

use super::explain::RuleLine;
use super::rule::{Subject, Target};

/// Never there.
#[derive(Debug)]
pub enum CedarPolicies {}

/// What would be asked.
pub(super) struct Question<'a> {
    pub(super) resource: &'a str,
    pub(super) subject: &'a Subject<'a>,
    pub(super) scope: &'a ScopeSet,
    pub(super) target: Target<'a>,
    pub(super) arguments: Option<&'a Value>,
    pub(super) always: bool,
}

/// What would be answered.
pub(super) enum Verdict {
    Allowed,
    Open,
    Denied(String),
}

impl CedarPolicies {
    pub(crate) fn claims(&self) -> std::iter::Empty<(&str, &str)> {
        match *self {}
    }

    pub(super) fn looks_at_scopes(&self) -> bool {
        match *self {}
    }

    pub(super) fn looks_at_arguments(&self) -> bool {
        match *self {}
    }

    pub(super) fn judge(&self, _: &Question<'_>) -> Verdict {
        match *self {}
    }

    pub(super) fn explain(&self, _: &Question<'_>) -> Vec<RuleLine> {
        match *self {}
    }
}
