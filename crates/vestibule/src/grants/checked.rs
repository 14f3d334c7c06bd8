//! `CheckedRequest`: what a sign-in is for. It travels unchanged from the consent page to the code.

use serde::{Deserialize, Serialize};

use vestibule_oauth::client::MatchedRedirect;
use vestibule_oauth::pkce::CodeChallenge;
use vestibule_oauth::scope::ScopeSet;

use super::ClientDigest;

/// An authorization request of which client, redirect URI, PKCE challenge, resource and scopes were checked.
#[derive(Debug, Serialize, Deserialize)]
pub struct CheckedRequest {
    /// Who asks.
    #[serde(rename = "c")]
    pub client: ClientDigest,
    /// Where the answer goes.
    #[serde(rename = "u")]
    pub redirect: MatchedRedirect,
    /// The client's own `state`, unchanged.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The client's PKCE challenge.
    #[serde(rename = "p")]
    pub challenge: CodeChallenge,
    /// Path of the resource.
    #[serde(rename = "r")]
    pub resource: String,
    /// What the user is asked to approve.
    #[serde(rename = "o")]
    pub scope: ScopeSet,
}
