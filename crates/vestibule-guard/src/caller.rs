//! Who is calling: what a verifier found out about a token, and the proof that the guard asked it (RFC 9068 §2.2).

use std::future::Future;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::time::UnixTime;
use vestibule_oauth::url::ResourceUri;

use crate::layer::ProtectedResource;
use crate::refusal::Refusal;

/// Decides whether an access token is good for a resource. The house does it for its own sealed tokens,
/// [`JwtVerifier`](crate::jwks_verifier::JwtVerifier) for JWTs of any issuer. Implement it for tokens of your own kind:
///
/// ```
/// use vestibule_guard::{ResourceUri, TokenRefusal, UnixTime, Verified, VerifyToken};
///
/// /// Tokens that a test hands out: `token-of-ada`.
/// struct TestTokens;
///
/// impl VerifyToken for TestTokens {
///     type Extra = ();
///
///     async fn verify(&self, token: &str, _: &ResourceUri) -> Result<Verified, TokenRefusal> {
///         let user = token.strip_prefix("token-of-").ok_or(TokenRefusal::Malformed)?;
///         Ok(Verified::new(user, "test", UnixTime(4_102_444_800), ()))
///     }
/// }
/// ```
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

    /// The same, shared; this is what the guard asks. A verifier that remembers what it found gives it out again here
    /// without copying it.
    fn verify_shared(
        &self,
        token: &str,
        resource: &ResourceUri,
    ) -> impl Future<Output = Result<Arc<Verified<Self::Extra>>, TokenRefusal>> + Send {
        async move { self.verify(token, resource).await.map(Arc::new) }
    }
}

/// What a good token says. Made with [`Verified::new`]; the fields may be changed afterwards.
#[derive(Clone)]
#[non_exhaustive]
pub struct Verified<E = ()> {
    /// `sub`: the user.
    pub subject: String,
    /// `client_id`: the MCP client the user allowed in.
    pub client_id: String,
    /// `iss`: who gave the token out; empty where a verifier has only one.
    pub issuer: String,
    /// `scope`: what the user allowed it to do.
    pub scope: ScopeSet,
    /// The user's groups or roles, when the token names them.
    pub groups: Vec<String>,
    /// `exp`.
    pub expires_at: UnixTime,
    /// `jti`, or something else that names this token and is not secret.
    pub token_id: String,
    /// All claims, for policies.
    pub claims: Map<String, Value>,
    /// The verifier's own addition.
    pub extra: E,
}

impl<E> Verified<E> {
    /// A token of `subject`, held by `client_id`, good until `expires_at`; it allows nothing yet.
    pub fn new(
        subject: impl Into<String>,
        client_id: impl Into<String>,
        expires_at: UnixTime,
        extra: E,
    ) -> Self {
        Self {
            subject: subject.into(),
            client_id: client_id.into(),
            issuer: String::new(),
            scope: ScopeSet::default(),
            groups: Vec::new(),
            expires_at,
            token_id: String::new(),
            claims: Map::new(),
            extra,
        }
    }
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
#[non_exhaustive]
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
    /// The authorization server does not know it, or not any more (RFC 7662 §2.2).
    #[error("the token is not active")]
    Inactive,
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
            Self::Inactive => "token_inactive",
            Self::Signature => "token_signature",
            Self::Unavailable => "token_check_unavailable",
        }
    }
}

/// Proof that a request was authenticated. Only [`Guard`](crate::Guard) makes one, so a function that takes a
/// `&Caller` cannot be reached without a good token.
///
/// ```
/// use vestibule_guard::{Caller, Refusal};
///
/// /// What remains of authorization in a handler.
/// fn delete_note(caller: &Caller) -> Result<String, Refusal> {
///     caller.require("notes/write")?;
///     caller.require_group("editors")?;
///     Ok(format!("deleted by {}", caller.subject()))
/// }
/// ```
#[derive(Clone)]
pub struct Caller<X = ()> {
    verified: Arc<Verified<X>>,
    resource: Arc<ProtectedResource>,
}

impl<X> Caller<X> {
    pub(crate) fn new(verified: Arc<Verified<X>>, resource: Arc<ProtectedResource>) -> Self {
        Self { verified, resource }
    }

    /// The user.
    pub fn subject(&self) -> &str {
        &self.verified.subject
    }

    /// The MCP client.
    pub fn client_id(&self) -> &str {
        &self.verified.client_id
    }

    /// Who gave the token out; empty when the verifier does not say.
    pub fn issuer(&self) -> &str {
        &self.verified.issuer
    }

    /// What the user allowed.
    pub fn scope(&self) -> &ScopeSet {
        &self.verified.scope
    }

    /// The user's groups or roles. Names of different issuers may collide: compare [`Caller::issuer`] too where several
    /// are trusted.
    pub fn groups(&self) -> &[String] {
        &self.verified.groups
    }

    /// True when the user is in `group`.
    pub fn in_group(&self, group: &str) -> bool {
        self.verified.groups.iter().any(|own| own == group)
    }

    /// When the token ends.
    pub fn expires_at(&self) -> UnixTime {
        self.verified.expires_at
    }

    /// The token's public name.
    pub fn token_id(&self) -> &str {
        &self.verified.token_id
    }

    /// All claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.verified.claims
    }

    /// All claims as a type of yours.
    pub fn claims_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(Value::Object(self.verified.claims.clone()))
    }

    /// The verifier's addition.
    pub fn extra(&self) -> &X {
        &self.verified.extra
    }

    /// Refuses unless the caller has every one of these scopes, separated by spaces. The refusal is a 403 whose challenge
    /// tells the client what to ask for (RFC 6750 §3.1). No scope at all is refused: it is a mistake.
    pub fn require(&self, scopes: &str) -> Result<(), Refusal> {
        let mut needed = scopes.split_ascii_whitespace().peekable();
        if needed.peek().is_some() && needed.all(|scope| self.scope().contains(scope)) {
            return Ok(());
        }
        Err(self.resource.forbidden(self, &ScopeSet::parse(scopes)))
    }

    /// Refuses unless the user is in `group`. The refusal is a 403 without a challenge: no scope would help.
    pub fn require_group(&self, group: &str) -> Result<(), Refusal> {
        if self.in_group(group) {
            Ok(())
        } else {
            Err(Refusal::denied(
                "this user may not do this",
                "group_required",
            ))
        }
    }
}

impl<X> std::fmt::Debug for Caller<X> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Caller").field(&self.verified).finish()
    }
}
