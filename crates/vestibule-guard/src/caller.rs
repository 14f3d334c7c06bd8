//! Who is calling: what a verifier found out about a token, and the proof that the guard asked it (RFC 9068 §2.2).

use std::future::Future;

use serde_json::{Map, Value};
use thiserror::Error;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::time::UnixTime;
use vestibule_oauth::url::ResourceUri;

/// Decides whether an access token is good for a resource. The house does it for its own sealed tokens,
/// [`JwtVerifier`](crate::jwks_verifier::JwtVerifier) for JWTs of any issuer.
pub trait VerifyToken: Send + Sync + 'static {
    /// What this verifier adds to a [`Caller`] beyond the standard claims; `()` when there is nothing.
    type Extra: Clone + Send + Sync + 'static;

    /// Checks signature, issuer, audience and expiry of `token` for `resource`. `token` is not empty, at most 16 KiB long
    /// and made of the characters of RFC 6750 §2.1.
    fn verify(
        &self,
        token: &str,
        resource: &ResourceUri,
    ) -> impl Future<Output = Result<Verified<Self::Extra>, TokenRefusal>> + Send;
}

/// What a good token says.
#[derive(Clone)]
pub struct Verified<E> {
    /// `sub`: the user.
    pub subject: String,
    /// `client_id`: the MCP client the user allowed in.
    pub client_id: String,
    /// `scope`: what the user allowed it to do.
    pub scope: ScopeSet,
    /// `exp`.
    pub expires_at: UnixTime,
    /// `jti`, or something else that names this token and is not secret.
    pub token_id: String,
    /// All claims, for policies.
    pub claims: Map<String, Value>,
    /// The verifier's own addition.
    pub extra: E,
}

impl<E> std::fmt::Debug for Verified<E> {
    /// Without claims and addition: they may hold what must not be logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified")
            .field("subject", &self.subject)
            .field("client_id", &self.client_id)
            .field("scope", &self.scope)
            .field("token_id", &self.token_id)
            .finish_non_exhaustive()
    }
}

/// Why a token is not good. Everything but `Unavailable` is the client's to mend, by signing in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenRefusal {
    /// Not a token of the kind expected here.
    #[error("the token cannot be read")]
    Malformed,
    /// Its time is over, or has not come.
    #[error("the token is expired")]
    Expired,
    /// Meant for another resource (RFC 8707).
    #[error("the token is meant for another resource")]
    WrongAudience,
    /// Given out by somebody else.
    #[error("the token was issued by somebody else")]
    WrongIssuer,
    /// The grant behind it was withdrawn.
    #[error("the token was revoked")]
    Revoked,
    /// The signature or seal does not hold.
    #[error("the token is not genuine")]
    Signature,
    /// It cannot be decided now: keys or a store are away.
    #[error("the token cannot be checked at the moment")]
    Unavailable,
}

impl TokenRefusal {
    /// A stable word for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "token_malformed",
            Self::Expired => "token_expired",
            Self::WrongAudience => "token_wrong_audience",
            Self::WrongIssuer => "token_wrong_issuer",
            Self::Revoked => "token_revoked",
            Self::Signature => "token_signature",
            Self::Unavailable => "token_check_unavailable",
        }
    }
}

/// Proof that a request was authenticated. Only [`Guard`](crate::Guard) makes one, so a function that takes a
/// `&Caller` cannot be reached without a good token.
#[derive(Clone)]
pub struct Caller<X = ()>(Verified<X>);

impl<X> Caller<X> {
    pub(crate) fn new(verified: Verified<X>) -> Self {
        Self(verified)
    }

    /// The user.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The MCP client.
    pub fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// What the user allowed.
    pub fn scope(&self) -> &ScopeSet {
        &self.0.scope
    }

    /// When the token ends.
    pub fn expires_at(&self) -> UnixTime {
        self.0.expires_at
    }

    /// The token's public name.
    pub fn token_id(&self) -> &str {
        &self.0.token_id
    }

    /// All claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.0.claims
    }

    /// The verifier's addition.
    pub fn extra(&self) -> &X {
        &self.0.extra
    }
}

impl<X> std::fmt::Debug for Caller<X> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Caller").field(&self.0).finish()
    }
}
