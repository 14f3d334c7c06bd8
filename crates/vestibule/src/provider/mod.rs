//! An identity provider as we use it: discovery, authorization request, token exchange, refresh, userinfo, revocation.
//!
//! One struct for every provider; what differs is data in [`profile`]. The authorization request is built from our own
//! settings, never copied from a client's (law 4), and the app client's secret never leaves this module (law 5).

pub mod callback_error;
mod claims;
mod discovery;
mod end_session;
mod error;
mod id_token;
pub mod profile;
#[cfg(test)]
mod tests;
mod token_endpoint;
mod userinfo;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value};

use vestibule_guard::fetch::{FetchLimits, Outbound};
use vestibule_oauth::pkce::CodeChallenge;
use vestibule_oauth::scope::{OFFLINE_ACCESS, ScopeSet};
use vestibule_oauth::secret::{AccessToken, RefreshToken};
use vestibule_oauth::time::{Clock, UnixTime};

use crate::metrics::Metrics;
use crate::metrics::labels::{ProviderEndpoint, ProviderOutcome};
use crate::settings::{ClaimMapping, ProviderSettings, is_silent};

pub(crate) use claims::groups;
pub use discovery::Discovery;
pub use error::ProviderError;
pub use profile::Profile;

/// The parameter that says what the provider asks the user (OpenID Connect Core §3.1.2.1).
const PROMPT: &str = "prompt";

/// A provider.
#[derive(Debug)]
pub struct Provider {
    settings: ProviderSettings,
    profile: &'static Profile,
    /// Which of its claims go into our tokens.
    claims: Vec<ClaimMapping>,
    callback: String,
    outbound: Outbound,
    discovery: Arc<Discovery>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// Who signed in, from a verified ID token or from the provider's API.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `sub`.
    pub subject: String,
    /// Every claim, for the claim map.
    pub claims: Map<String, Value>,
    /// False when the userinfo endpoint should have been asked for more and did not answer.
    pub complete: bool,
}

/// What a token exchange or refresh gave.
#[derive(Clone, Debug)]
pub struct ProviderTokens {
    /// The provider's access token. Never looked into: it may be opaque.
    pub access: AccessToken,
    /// When it ends.
    pub expires_at: UnixTime,
    /// What a grant keeps for later; absent on a refresh without rotation.
    pub refresh: Option<RefreshToken>,
    /// Who it is. Always there after a code exchange; a refresh may come without.
    pub identity: Option<Identity>,
    /// What the provider says it granted; many say nothing (RFC 6749 §5.1: then it is what was asked for).
    pub scope: Option<ScopeSet>,
}

/// A refresh that the provider has done.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// What it gave. Its refresh token may be the only one that lives.
    pub tokens: ProviderTokens,
    /// Why the rest must not be used, such as an ID token that cannot be verified.
    pub doubt: Option<ProviderError>,
}

/// What the provider sees of a sign-in.
#[derive(Debug)]
pub struct SignIn<'a> {
    /// Our own opaque state.
    pub state: &'a str,
    /// To be found in the ID token.
    pub nonce: &'a str,
    /// Our own PKCE challenge.
    pub challenge: &'a CodeChallenge,
    /// The provider's scopes behind what the user approved, besides those of every sign-in.
    pub scopes: &'a ScopeSet,
    /// Parameters of the client's request; those that the settings do not list are left out here.
    pub passed: &'a [(String, String)],
    /// What the sign-in is for.
    pub purpose: Purpose,
    /// The user wants to be asked which account it shall be, as far as the provider can.
    pub another_account: bool,
}

/// What a sign-in is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A grant, which is to last.
    Grant,
    /// To learn who somebody is: no refresh token is asked for.
    Identity,
}

impl Provider {
    /// Takes the settings; talks to nobody yet, so the house starts while the provider is down.
    pub fn new(
        settings: ProviderSettings,
        claims: Vec<ClaimMapping>,
        callback: String,
        outbound: Outbound,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let profile = settings.preset;
        let way = outbound.clone();
        let discovery = Discovery::new(&settings, way, Arc::clone(&clock), Arc::clone(&metrics));
        let discovery = Arc::new(discovery);
        Self {
            settings,
            profile,
            claims,
            callback,
            outbound,
            discovery,
            clock,
            metrics,
        }
    }

    /// Keeps what `before` has found out about the same provider: its document and its keys. For a successor whose way
    /// out is the same; a document that was read another way is read again.
    #[must_use]
    pub fn succeeding(mut self, before: &Self) -> Self {
        if self.discovery.looks_where(&before.discovery) {
            self.discovery = Arc::clone(&before.discovery);
        }
        self
    }

    /// Its id in the settings and in grants.
    pub fn id(&self) -> &str {
        &self.settings.id
    }

    /// What people call it.
    pub fn label(&self) -> &str {
        &self.settings.label
    }

    /// The facts about this kind of provider.
    pub fn profile(&self) -> &'static Profile {
        self.profile
    }

    /// The URL that the browser is sent to: nothing in it comes from a client but what the operator listed.
    pub async fn authorize_url(&self, sign_in: &SignIn<'_>) -> Result<String, ProviderError> {
        let metadata = self.discovery.metadata().await?;
        let endpoint = metadata.authorization_endpoint.as_deref().ok_or_else(|| {
            ProviderError::Misconfigured(
                "discovery names no authorization_endpoint (a Cognito user pool needs a domain)"
                    .into(),
            )
        })?;
        let identity_only = sign_in.purpose == Purpose::Identity;
        let mut scopes = self.settings.scopes.union(sign_in.scopes);
        if identity_only {
            scopes = scopes.without(OFFLINE_ACCESS);
        }
        let mut query = form_urlencoded();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.callback)
            .append_pair("scope", &scopes.to_string())
            .append_pair("state", sign_in.state)
            .append_pair("nonce", sign_in.nonce)
            .append_pair("code_challenge", sign_in.challenge.as_str())
            .append_pair("code_challenge_method", vestibule_oauth::pkce::METHOD_S256);
        if let Some(resource) = &self.settings.resource {
            query.append_pair("resource", resource);
        }
        let passed: Vec<_> = sign_in
            .passed
            .iter()
            .filter(|(name, value)| {
                self.settings.pass_through.contains(name) && !is_silent(name, value)
            })
            .collect();
        let replaced = |name: &str| passed.iter().any(|(own, _)| own == name);
        let for_grants_only = |name: &str, value: &str| {
            let listed = self.profile.offline_params;
            identity_only && listed.contains(&(name, value))
        };
        let fixed = self.settings.authorize_params.iter();
        let fixed = fixed.filter(|(name, value)| !replaced(name) && !for_grants_only(name, value));
        let another = self.profile.another_account;
        let mut another = another.filter(|_| sign_in.another_account);
        for (name, value) in fixed.chain(passed.iter().copied()) {
            match another.filter(|_| name == PROMPT) {
                // OpenID Connect Core §3.1.2.1: a list of words.
                Some(word) if value.split_ascii_whitespace().all(|own| own != word) => {
                    query.append_pair(name, &format!("{value} {word}"));
                }
                _ => {
                    query.append_pair(name, value);
                }
            }
            another = another.filter(|_| name != PROMPT);
        }
        if let Some(word) = another {
            query.append_pair(PROMPT, word);
        }
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{separator}{}", query.finish()))
    }

    /// Checks the `iss` of the provider's redirect (RFC 9207 §2.4): if it is there it must be the provider's, and if the
    /// provider announced it, it must be there.
    pub async fn accepts_issuer(&self, iss: Option<&str>) -> Result<bool, ProviderError> {
        match iss {
            Some(iss) => Ok(iss == self.settings.issuer.as_str()),
            None => Ok(!self
                .discovery
                .metadata()
                .await?
                .authorization_response_iss_parameter_supported),
        }
    }

    /// True when discovery has succeeded, now or before: for `/readyz`.
    pub async fn ready(&self) -> Result<(), ProviderError> {
        self.discovery.metadata().await.map(drop)
    }
}

/// Asks the provider, and measures how long it takes to answer.
async fn ask(
    outbound: &Outbound,
    metrics: &Metrics,
    endpoint: ProviderEndpoint,
    request: Request<Full<Bytes>>,
    limits: FetchLimits,
) -> Result<Response<Bytes>, ProviderError> {
    let durations = &metrics.provider_durations;
    let timing = durations.begin((endpoint, ProviderOutcome::Abandoned));
    let response = outbound.fetch(request, limits).await;
    let outcome = match response.as_ref().map(Response::status) {
        Ok(status) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            ProviderOutcome::Refused
        }
        Ok(status) if status.is_success() || status.is_redirection() => ProviderOutcome::Done,
        Ok(_) | Err(_) => ProviderOutcome::Unavailable,
    };
    timing.end((endpoint, outcome));
    response.map_err(ProviderError::unavailable)
}

fn form_urlencoded() -> url::form_urlencoded::Serializer<'static, String> {
    url::form_urlencoded::Serializer::new(String::new())
}
