//! `ConsentTicket`: a checked authorization request that waits for the user's decision, sealed into the page's form.

use serde::{Deserialize, Serialize};

use vestibule_oauth::client::MatchedRedirect;
use vestibule_oauth::random::Random;
use vestibule_oauth::scope::ScopeSet;

use super::{CheckedRequest, Flow, fingerprint};
use crate::seal::{Kind, Sealable};

/// What the user is asked to approve, bound to the browser that was shown it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConsentTicket {
    #[serde(rename = "a")]
    request: CheckedRequest,
    /// Parameters of the client's request that a provider may be handed.
    #[serde(rename = "h", default, skip_serializing_if = "Vec::is_empty")]
    passed: Vec<(String, String)>,
    /// Fingerprint of the cookie of the browser that was shown the page.
    #[serde(rename = "b")]
    browser: String,
}

impl Sealable for ConsentTicket {
    const KIND: Kind = Kind::Consent;
}

impl ConsentTicket {
    /// How long a consent page stays good, in seconds.
    pub const LIFETIME: u64 = 900;

    /// Writes the ticket for a checked request.
    pub fn new(request: CheckedRequest, browser: &str) -> Self {
        Self {
            request,
            passed: Vec::new(),
            browser: fingerprint(browser),
        }
    }

    /// The same, with parameters for the provider.
    #[must_use]
    pub fn passing(mut self, passed: Vec<(String, String)>) -> Self {
        self.passed = passed;
        self
    }

    /// True when this browser was shown the page. A ticket that somebody else fetched and posts through the victim's
    /// browser fails here (T8).
    pub fn was_shown_to(&self, browser: Option<&str>) -> bool {
        browser.is_some_and(|cookie| fingerprint(cookie) == self.browser)
    }

    /// The user said yes: the sign-in at the provider can begin.
    pub fn approve(self, provider: &str, random: &dyn Random) -> Flow {
        Flow::begin(provider.to_owned(), self.request, random)
    }

    /// Path of the resource.
    pub fn resource(&self) -> &str {
        &self.request.resource
    }

    /// What the user is asked to approve.
    pub fn scope(&self) -> &ScopeSet {
        &self.request.scope
    }

    /// Parameters of the client's request that a provider may be handed.
    pub fn passed(&self) -> &[(String, String)] {
        &self.passed
    }

    /// Where the client is told that the user said no, or that the provider cannot be asked.
    pub fn redirect(&self) -> &MatchedRedirect {
        &self.request.redirect
    }

    /// The client's own `state`, unchanged.
    pub fn client_state(&self) -> Option<&str> {
        self.request.state.as_deref()
    }
}
