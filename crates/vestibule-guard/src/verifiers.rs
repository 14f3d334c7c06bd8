//! Several issuers at once: a token goes to the verifier of the issuer it names, an opaque one to those that can ask.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine as _;
use serde::Deserialize;
use vestibule_oauth::base64url::BASE64URL;
use vestibule_oauth::url::ResourceUri;

use crate::caller::{TokenRefusal, Verified, VerifyToken};

/// Verifiers of several issuers.
///
/// ```
/// # use vestibule_guard::{ResourceUri, TokenRefusal, Verified, VerifyToken};
/// # struct TestTokens;
/// # impl VerifyToken for TestTokens {
/// #     type Extra = ();
/// #     async fn verify(&self, _: &str, _: &ResourceUri) -> Result<Verified, TokenRefusal> {
/// #         Err(TokenRefusal::Malformed)
/// #     }
/// # }
/// use vestibule_guard::Verifiers;
///
/// let verifiers = Verifiers::default()
///     .issuer("https://login.example", TestTokens) // JWTs with this `iss`
///     .other(TestTokens); // everything else
/// ```
#[derive(Clone, Default)]
pub struct Verifiers {
    by_issuer: Vec<(String, Arc<dyn AnyVerifier>)>,
    others: Vec<Arc<dyn AnyVerifier>>,
}

impl Verifiers {
    /// JWTs whose `iss` is `issuer` go to `verifier` and nowhere else. It must check `iss` itself: here it is only looked
    /// at, before anything is verified.
    #[must_use]
    pub fn issuer(
        mut self,
        issuer: impl Into<String>,
        verifier: impl VerifyToken<Extra = ()>,
    ) -> Self {
        self.by_issuer.push((issuer.into(), Arc::new(verifier)));
        self
    }

    /// Tokens that are no JWT of one of the issuers go to `verifier`; of several, the first that knows a token decides.
    #[must_use]
    pub fn other(mut self, verifier: impl VerifyToken<Extra = ()>) -> Self {
        self.others.push(Arc::new(verifier));
        self
    }

    /// True when no token can be good.
    pub fn is_empty(&self) -> bool {
        self.by_issuer.is_empty() && self.others.is_empty()
    }

    fn of_issuer(&self, token: &str) -> Option<&Arc<dyn AnyVerifier>> {
        if let ([(_, only)], []) = (self.by_issuer.as_slice(), self.others.as_slice()) {
            return Some(only);
        }
        let issuer = unverified_issuer(token)?;
        let mut named = self.by_issuer.iter();
        named.find_map(|(own, verifier)| (*own == issuer).then_some(verifier))
    }
}

impl VerifyToken for Verifiers {
    type Extra = ();

    async fn verify(&self, token: &str, resource: &ResourceUri) -> Result<Verified, TokenRefusal> {
        if let Some(verifier) = self.of_issuer(token) {
            return verifier.check(token, resource).await;
        }
        let mut refusal = TokenRefusal::WrongIssuer;
        for verifier in &self.others {
            match verifier.check(token, resource).await {
                Err(
                    error @ (TokenRefusal::Malformed
                    | TokenRefusal::WrongIssuer
                    | TokenRefusal::Inactive),
                ) => refusal = error,
                decided => return decided,
            }
        }
        Err(refusal)
    }
}

impl std::fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let issuers: Vec<&str> = self.by_issuer.iter().map(|(own, _)| own.as_str()).collect();
        f.debug_struct("Verifiers")
            .field("issuers", &issuers)
            .field("others", &self.others.len())
            .finish()
    }
}

type Checking<'a> = Pin<Box<dyn Future<Output = Result<Verified, TokenRefusal>> + Send + 'a>>;

/// [`VerifyToken`] behind a pointer.
trait AnyVerifier: Send + Sync {
    fn check<'a>(&'a self, token: &'a str, resource: &'a ResourceUri) -> Checking<'a>;
}

impl<V: VerifyToken<Extra = ()>> AnyVerifier for V {
    fn check<'a>(&'a self, token: &'a str, resource: &'a ResourceUri) -> Checking<'a> {
        Box::pin(self.verify(token, resource))
    }
}

/// What a JWT says its issuer is; nothing is verified. A doubled `iss` is none.
fn unverified_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Payload {
        iss: String,
    }
    let mut parts = token.split('.');
    let payload = parts.nth(1)?;
    parts.next()?;
    let payload = BASE64URL.decode(payload).ok()?;
    let payload: Payload = serde_json::from_slice(&payload).ok()?;
    Some(payload.iss)
}
