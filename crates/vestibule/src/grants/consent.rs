//! `ConsentTicket`: a checked authorization request that waits for the user's decision, sealed into the page's form.

use serde::{Deserialize, Serialize};

use vestibule_oauth::client::MatchedRedirect;
use vestibule_oauth::random::Random;

use super::{Asked, CheckedRequest, Flow, fingerprint};
use crate::seal::{Kind, Sealable};

/// What the user is asked to approve, bound to the browser that was shown it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConsentTicket {
    #[serde(rename = "a")]
    request: CheckedRequest,
    /// Parameters of the client's request that a provider may be handed.
    #[serde(rename = "h", default, skip_serializing_if = "Vec::is_empty")]
    passed: Vec<(String, String)>,
    /// What may be remembered, if the page offered it.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    asked: Option<Asked>,
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
            asked: None,
            browser: fingerprint(browser),
        }
    }

    /// The same, with parameters for the provider.
    #[must_use]
    pub fn passing(mut self, passed: Vec<(String, String)>) -> Self {
        self.passed = passed;
        self
    }

    /// The same, with a decision that may be remembered.
    #[must_use]
    pub fn rememberable(mut self, asked: Option<Asked>) -> Self {
        self.asked = asked;
        self
    }

    /// What may be remembered, if the page offered it.
    pub fn asked(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    /// True when this browser was shown the page. A ticket that somebody else fetched and posts through the victim's
    /// browser fails here (T8).
    pub fn was_shown_to(&self, browser: Option<&str>) -> bool {
        browser.is_some_and(|cookie| fingerprint(cookie) == self.browser)
    }

    /// The user said yes: the sign-in at the provider can begin. To `remember` the decision, where the page offered that,
    /// it first has to be learned whose it is.
    pub fn approve(self, provider: &str, remember: bool, random: &dyn Random) -> Flow {
        let flow = Flow::begin(provider.to_owned(), self.request, random);
        match self.asked {
            Some(asked) if remember => flow.identifying(asked, self.passed),
            _ => flow,
        }
    }

    /// What the sign-in is for.
    pub fn checked(&self) -> &CheckedRequest {
        &self.request
    }

    /// Path of the resource.
    pub fn resource(&self) -> &str {
        &self.request.resource
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
