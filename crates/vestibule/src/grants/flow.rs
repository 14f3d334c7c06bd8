//! `Flow`: a sign-in under way at the provider, sealed into a cookie of the browser that consented (law 4).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use vestibule_oauth::client::MatchedRedirect;
use vestibule_oauth::pkce::{CodeChallenge, CodeVerifier};
use vestibule_oauth::random::Random;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::AuthorizationCode;

use super::{Asked, CheckedRequest, Code, UserDigest};
use crate::seal::{Kind, Sealable};

/// The callback's `state` belongs to another flow than the cookie.
#[derive(Debug, Error)]
#[error("the state of the callback and the cookie belong to different sign-ins")]
pub struct NotThisFlow;

/// One sign-in. The provider sees `id` as `state`, the challenge of `verifier`, and `nonce`; nothing of the client's.
#[derive(Debug, Serialize, Deserialize)]
pub struct Flow {
    #[serde(rename = "i")]
    id: String,
    /// Id of the provider that was asked; nobody else may answer.
    #[serde(rename = "d")]
    provider: String,
    #[serde(rename = "a")]
    request: CheckedRequest,
    #[serde(rename = "n")]
    nonce: String,
    #[serde(rename = "v", with = "super::carried_verifier")]
    verifier: CodeVerifier,
    /// The user said that the client runs on another computer: the answer is shown and not redirected.
    #[serde(rename = "e", default, skip_serializing_if = "std::ops::Not::not")]
    elsewhere: bool,
    #[serde(rename = "w", default, skip_serializing_if = "Whose::is_anybodys")]
    whose: Whose,
}

/// Who may finish a flow.
#[derive(Debug, Default, Serialize, Deserialize)]
enum Whose {
    /// The user approved on the page: whoever signs in.
    #[default]
    #[serde(rename = "a")]
    Anybodys,
    /// The decision is to be remembered: this round trip learns whose it is, and gives no code.
    #[serde(rename = "i")]
    Unknown(Asked, Vec<(String, String)>),
    /// The decision is remembered: nobody but who made it.
    #[serde(rename = "o")]
    Only(UserDigest),
}

impl Whose {
    fn is_anybodys(&self) -> bool {
        matches!(self, Self::Anybodys)
    }
}

impl Sealable for Flow {
    const KIND: Kind = Kind::Flow;
}

impl Flow {
    /// How long a user may take at the provider, in seconds (at most ten minutes: MCP security best practices).
    pub const LIFETIME: u64 = 600;

    pub(super) fn begin(provider: String, request: CheckedRequest, random: &dyn Random) -> Self {
        Self {
            id: random.token(16),
            provider,
            request,
            nonce: random.token(16),
            verifier: CodeVerifier::generate(random),
            elsewhere: false,
            whose: Whose::Anybodys,
        }
    }

    /// A sign-in without a page: `user` approved earlier, and nobody else may finish it.
    pub fn remembered(
        provider: String,
        request: CheckedRequest,
        user: UserDigest,
        random: &dyn Random,
    ) -> Self {
        Self {
            whose: Whose::Only(user),
            ..Self::begin(provider, request, random)
        }
    }

    /// The same round trip, but to learn who the user is. `passed` are the parameters for the provider, which is asked
    /// again afterwards.
    pub(super) fn identifying(mut self, asked: Asked, passed: Vec<(String, String)>) -> Self {
        self.whose = Whose::Unknown(asked, passed);
        self
    }

    /// Path of the resource.
    pub fn resource(&self) -> &str {
        &self.request.resource
    }

    /// What the user approved.
    pub fn scope(&self) -> &ScopeSet {
        &self.request.scope
    }

    /// Remembers whether the user will carry the answer to another computer.
    #[must_use]
    pub fn elsewhere(mut self, elsewhere: bool) -> Self {
        self.elsewhere = elsewhere;
        self
    }

    /// The `state` that the provider is given: 22 characters, unguessable, meaningless.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The `nonce` that must come back in the ID token.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Our own PKCE challenge towards the provider.
    pub fn provider_challenge(&self) -> CodeChallenge {
        self.verifier.challenge()
    }

    /// Checks that the callback's `state` is this flow's. The cookie was found by that name already; a cookie renamed by
    /// hand fails here.
    pub fn returned(self, state: &str) -> Result<Returned, NotThisFlow> {
        if self.id == state {
            Ok(Returned(self))
        } else {
            Err(NotThisFlow)
        }
    }
}

/// A flow whose browser came back with its `state`: it can be answered.
#[derive(Debug)]
pub struct Returned(Flow);

impl Returned {
    /// What the sign-in is for.
    pub fn checked(&self) -> &CheckedRequest {
        &self.0.request
    }

    /// Where the client is told about success or failure. The user approved this very address.
    pub fn redirect(&self) -> &MatchedRedirect {
        &self.0.request.redirect
    }

    /// Id of the provider that was asked.
    pub fn provider(&self) -> &str {
        &self.0.provider
    }

    /// The client's own `state`, unchanged.
    pub fn client_state(&self) -> Option<&str> {
        self.0.request.state.as_deref()
    }

    /// True when the user carries the answer to another computer.
    pub fn is_elsewhere(&self) -> bool {
        self.0.elsewhere
    }

    /// The provider's code becomes part of ours; it is redeemed only at `/token` (design §9). Unless this round trip was
    /// to learn who the user is.
    pub fn with_code(self, provider_code: AuthorizationCode) -> Step {
        let user = match self.0.whose {
            Whose::Anybodys => None,
            Whose::Only(user) => Some(user),
            Whose::Unknown(asked, passed) => {
                return Step::Identify(Identify {
                    provider: self.0.provider,
                    request: self.0.request,
                    nonce: self.0.nonce,
                    verifier: self.0.verifier,
                    provider_code,
                    asked,
                    passed,
                });
            }
        };
        Step::Answer(Code {
            user,
            provider: self.0.provider,
            client: self.0.request.client,
            redirect: self.0.request.redirect.uri().clone(),
            challenge: self.0.request.challenge,
            resource: self.0.request.resource,
            scope: self.0.request.scope,
            nonce: self.0.nonce,
            verifier: self.0.verifier,
            carried: provider_code.0,
        })
    }
}

/// What a successful callback leads to.
#[derive(Debug)]
pub enum Step {
    /// A code for the client.
    Answer(Code),
    /// Nothing for the client yet.
    Identify(Identify),
}

/// A provider's code that says who approved, and the request that then goes on.
#[derive(Debug)]
pub struct Identify {
    provider: String,
    request: CheckedRequest,
    /// To be found in the ID token.
    pub nonce: String,
    /// Our verifier for the provider.
    pub verifier: CodeVerifier,
    /// The provider's code.
    pub provider_code: AuthorizationCode,
    /// What the decision was about.
    pub asked: Asked,
    /// Parameters for the provider.
    pub passed: Vec<(String, String)>,
}

impl Identify {
    /// What was approved.
    pub fn scope(&self) -> &ScopeSet {
        &self.request.scope
    }

    /// It was `user`: the sign-in itself can begin, for that user only.
    pub fn learned(self, user: UserDigest, random: &dyn Random) -> Flow {
        Flow::remembered(self.provider, self.request, user, random)
    }
}
