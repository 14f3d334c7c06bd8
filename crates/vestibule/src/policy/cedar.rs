//! Cedar policies instead of rules, behind the same [`Permit`](super::Permit) (cargo feature `cedar`; docs/authorization.md).
//!
//! A call is asked about in one or two shapes: ours, and for tools the one of policies for AgentCore gateways, if there is
//! any. A policy that forbids wins in either; what no policy permits is denied.

mod check;
mod entities;
mod values;

use std::collections::HashSet;
use std::fmt;

use cedar_policy::{
    Authorizer, Context, Effect, EntityTypeName, PartialResponse, PolicyId, PolicySet,
    RestrictedExpression,
};
use serde_json::Value;
use vestibule_oauth::scope::ScopeSet;

use super::explain::RuleLine;
use super::rule::{Kind, Subject, Target};
use entities::Names;

/// The policies of one resource, read and checked.
pub struct CedarPolicies {
    set: PolicySet,
    /// In the order of the file.
    sources: Vec<Source>,
    names: Names,
    authorizer: Authorizer,
    /// The one gateway of AgentCore that they are about, if any policy is of that shape.
    gateway: Option<String>,
    looks_at_arguments: bool,
    looks_at_scopes: bool,
    claims: Vec<(String, String)>,
}

/// Where a policy stands.
struct Source {
    id: PolicyId,
    effect: Effect,
    /// Its annotation `@id`, else Cedar's name for it.
    name: String,
    line: usize,
    /// `FILE:LINE`.
    place: String,
}

/// What is asked.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    /// The URL of the resource.
    pub(super) resource: &'a str,
    pub(super) subject: &'a Subject<'a>,
    /// The scopes that are taken to be granted.
    pub(super) scope: &'a ScopeSet,
    pub(super) target: Target<'a>,
    /// The arguments of a call; `None` where there is no call yet, as in lists.
    pub(super) arguments: Option<&'a Value>,
    /// True for what is permitted unless a policy forbids it.
    pub(super) always: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Permitted.
    Allowed,
    /// Permitted or not, as the arguments will be.
    Open,
    /// Not permitted, and why.
    Denied(String),
}

/// What the policies came to, over all shapes.
#[derive(Default)]
struct Tally {
    permits: HashSet<PolicyId>,
    forbids: HashSet<PolicyId>,
    /// What depends on the arguments.
    open: HashSet<PolicyId>,
    failed: HashSet<PolicyId>,
}

impl CedarPolicies {
    /// Reads policies; `schema` is checked against as Cedar does it. Every problem has its file, line and column.
    pub(crate) fn read(
        name: &str,
        text: &str,
        schema: Option<(&str, &str)>,
    ) -> Result<Self, Vec<String>> {
        let checked = check::check(name, text, schema)?;
        Ok(Self {
            names: Names::new().map_err(|error| vec![error])?,
            authorizer: Authorizer::new(),
            set: checked.set,
            sources: checked.sources,
            gateway: checked.gateway,
            looks_at_arguments: checked.looks_at_arguments,
            looks_at_scopes: checked.looks_at_scopes,
            claims: checked.claims,
        })
    }

    /// Claims that policies ask for, each with its place.
    pub(crate) fn claims(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.claims.iter();
        pairs.map(|(claim, place)| (claim.as_str(), place.as_str()))
    }

    /// True when another scope could change an answer.
    pub(super) fn looks_at_scopes(&self) -> bool {
        self.looks_at_scopes
    }

    /// True when the arguments of calls could.
    pub(super) fn looks_at_arguments(&self) -> bool {
        self.looks_at_arguments
    }

    /// Decides.
    pub(super) fn judge(&self, question: &Question<'_>) -> Verdict {
        let tally = match self.tally(question) {
            Ok(tally) => tally,
            Err(why) => return Verdict::Denied(why),
        };
        let of = |ids: &HashSet<PolicyId>, effect: Effect| {
            let mut sources = self.sources.iter();
            sources.find(|own| own.effect == effect && ids.contains(&own.id))
        };
        if let Some(source) = of(&tally.forbids, Effect::Forbid) {
            return Verdict::Denied(format!("the policy {source} forbids it"));
        }
        // Cedar passes over a policy that fails. One that forbids must not fail open.
        if let Some(source) = of(&tally.failed, Effect::Forbid) {
            let why = format!("the policy {source} forbids, and cannot be evaluated for this call");
            return Verdict::Denied(why);
        }
        let may_be_forbidden = of(&tally.open, Effect::Forbid).is_some();
        let permitted = question.always || of(&tally.permits, Effect::Permit).is_some();
        match (permitted, may_be_forbidden) {
            (true, false) => Verdict::Allowed,
            (true, true) => Verdict::Open,
            (false, _) if of(&tally.open, Effect::Permit).is_some() => Verdict::Open,
            (false, _) => Verdict::Denied("no policy permits it".to_owned()),
        }
    }

    /// What each policy says.
    pub(super) fn explain(&self, question: &Question<'_>) -> Vec<RuleLine> {
        let tally = self.tally(question);
        let lines = self.sources.iter().enumerate().map(|(index, source)| {
            let says = match &tally {
                Err(why) => why.clone(),
                Ok(tally) if tally.failed.contains(&source.id) => {
                    "cannot be evaluated for this call".to_owned()
                }
                Ok(tally) if tally.permits.contains(&source.id) => "permits".to_owned(),
                Ok(tally) if tally.forbids.contains(&source.id) => "forbids".to_owned(),
                Ok(tally) if tally.open.contains(&source.id) => {
                    "depends on the arguments".to_owned()
                }
                Ok(_) => "is not about this call, or not about this user".to_owned(),
            };
            RuleLine {
                rule: index,
                line: source.line,
                effect: match source.effect {
                    Effect::Permit => "allow",
                    Effect::Forbid => "deny",
                },
                policy: Some(source.to_string()),
                says,
            }
        });
        lines.collect()
    }

    fn tally(&self, question: &Question<'_>) -> Result<Tally, String> {
        let takes_arguments = matches!(question.target.thing, Some((Kind::Tool | Kind::Prompt, _)));
        let unknown = || Some(RestrictedExpression::new_unknown("input"));
        let input = match question.arguments {
            _ if !self.looks_at_arguments => None,
            None if takes_arguments => unknown(),
            None => Some(values::empty()),
            Some(arguments) => Some(values::of_arguments(arguments)?),
        };
        let mut tally = self.tally_with(question, input)?;
        if !takes_arguments && self.looks_at_arguments && !tally.failed.is_empty() {
            // A policy about arguments is not about what has none, so that it fails here is no failure.
            let open = self.tally_with(question, unknown())?;
            tally.failed.retain(|id| open.failed.contains(id));
        }
        Ok(tally)
    }

    /// With this as `context.input`: the arguments, or a value that is not known yet.
    fn tally_with(
        &self,
        question: &Question<'_>,
        input: Option<RestrictedExpression>,
    ) -> Result<Tally, String> {
        let pairs = input.map(|input| ("input".to_owned(), input));
        let context = Context::from_pairs(pairs).map_err(|error| error.to_string())?;
        let mut tally = Tally::default();
        for shape in self.names.shapes(question, self.gateway.as_deref())? {
            let (request, entities) = shape.with(context.clone())?;
            let response = self
                .authorizer
                .is_authorized_partial(&request, &self.set, &entities);
            tally.add(&response);
        }
        Ok(tally)
    }
}

impl Tally {
    fn add(&mut self, response: &PartialResponse) {
        for policy in response.definitely_satisfied() {
            let ids = match policy.effect() {
                Effect::Permit => &mut self.permits,
                Effect::Forbid => &mut self.forbids,
            };
            ids.insert(policy.id().clone());
        }
        let residuals = response.nontrivial_residuals();
        self.open
            .extend(residuals.map(|policy| policy.id().clone()));
        self.failed.extend(response.definitely_errored().cloned());
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.name, self.place)
    }
}

impl fmt::Debug for CedarPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CedarPolicies")
            .field("policies", &self.sources.len())
            .finish_non_exhaustive()
    }
}

fn type_name(text: &str) -> Result<EntityTypeName, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

#[cfg(test)]
mod tests;
