//! Access tokens that are JWTs of an issuer with a key set: RFC 9068 `at+jwt`, and Cognito's, which lack `aud` and `typ`.

use std::sync::Arc;

use serde_json::{Map, Value};
use vestibule_oauth::jose::{Audience, Claims, ClaimsError, Expected, Jws, JwsError};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::time::Clock;
use vestibule_oauth::url::{Issuer, ResourceUri};

use crate::caller::{TokenRefusal, Verified, VerifyToken};
use crate::keys::{JwksSource, VerifyError};

/// What ties a token to this resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// `aud` names the resource (RFC 8707, RFC 9068 §4). The safe choice.
    Resource,
    /// `aud` names this text, for issuers that give their API another name than its URL.
    Audience(String),
    /// The token is an access token (`token_use`) of one of these app clients. Weaker: every service that accepts the
    /// same clients accepts the same tokens. For Cognito without resource binding.
    ClientIds(Vec<String>),
}

/// Verifies JWT access tokens of one issuer.
#[derive(Debug)]
pub struct JwtVerifier {
    issuer: Issuer,
    keys: JwksSource,
    clock: Arc<dyn Clock>,
    binding: Binding,
}

impl JwtVerifier {
    /// Tokens of `issuer`, signed with `keys`, tied to the resource by `binding`.
    pub fn new(issuer: Issuer, keys: JwksSource, clock: Arc<dyn Clock>, binding: Binding) -> Self {
        Self {
            issuer,
            keys,
            clock,
            binding,
        }
    }

    fn check(
        &self,
        payload: Map<String, Value>,
        resource: &ResourceUri,
    ) -> Result<Verified<()>, TokenRefusal> {
        let expect = |audience| Expected {
            issuer: self.issuer.as_str(),
            audience,
            now: self.clock.now(),
        };
        let audience = match &self.binding {
            Binding::Resource => Audience::Contains(resource.as_str()),
            Binding::Audience(audience) => Audience::Contains(audience),
            Binding::ClientIds(_) => Audience::Unchecked,
        };
        let claims = Claims::check(payload, &expect(audience)).map_err(|e| claims_refusal(&e))?;
        // An ID token of the same issuer and audience is not an access token (RFC 9068 §5). Cognito says which is which;
        // elsewhere only ID tokens have `at_hash` (OpenID Connect Core §3.1.3.6).
        if claims.get("token_use").is_some_and(|kind| kind != "access")
            || claims.get("at_hash").is_some()
        {
            return Err(TokenRefusal::Malformed);
        }
        let client_id = claims
            .text("client_id")
            .or_else(|_| claims.text("azp"))
            .unwrap_or_default();
        if let Binding::ClientIds(allowed) = &self.binding {
            claims
                .require("token_use", "access")
                .map_err(|e| claims_refusal(&e))?;
            if !allowed.iter().any(|allowed| allowed == client_id) {
                return Err(TokenRefusal::WrongAudience);
            }
        }
        let subject = claims.text("sub").map_err(|e| claims_refusal(&e))?;
        Ok(Verified {
            subject: subject.to_owned(),
            client_id: client_id.to_owned(),
            scope: scope(&claims),
            expires_at: claims.expires_at(),
            token_id: claims.text("jti").unwrap_or_default().to_owned(),
            claims: claims.members().clone(),
            extra: (),
        })
    }
}

impl VerifyToken for JwtVerifier {
    type Extra = ();

    async fn verify(
        &self,
        token: &str,
        resource: &ResourceUri,
    ) -> Result<Verified<()>, TokenRefusal> {
        // `JWT` or nothing: what issuers older than RFC 9068 write. `id_token+jwt`, `dpop+jwt` and so on are refused.
        let jws = Jws::parse(token)
            .and_then(|jws| jws.expect_type(&[Some("at+jwt"), Some("JWT"), None]))
            .map_err(|_| TokenRefusal::Malformed)?;
        let payload = self.keys.verify(&jws).await.map_err(|error| {
            tracing::debug!(issuer = %self.issuer, %error, "token not verified");
            match error {
                VerifyError::Keys(_) => TokenRefusal::Unavailable,
                VerifyError::Token(JwsError::Payload) => TokenRefusal::Malformed,
                VerifyError::Token(_) => TokenRefusal::Signature,
            }
        })?;
        self.check(payload, resource)
    }
}

/// `scope` (RFC 9068 §2.2.3), or `scp` as text or list, which several issuers write instead.
fn scope(claims: &Claims) -> ScopeSet {
    match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(text)) => ScopeSet::parse(text),
        Some(Value::Array(several)) => several
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => ScopeSet::default(),
    }
}

fn claims_refusal(error: &ClaimsError) -> TokenRefusal {
    match error {
        ClaimsError::Issuer(_) | ClaimsError::Missing("iss") => TokenRefusal::WrongIssuer,
        ClaimsError::Audience | ClaimsError::Missing("aud") => TokenRefusal::WrongAudience,
        ClaimsError::Expired(_) | ClaimsError::NotYetValid(_) => TokenRefusal::Expired,
        ClaimsError::Missing(_) | ClaimsError::Value(_) => TokenRefusal::Malformed,
    }
}

#[cfg(test)]
mod tests;
