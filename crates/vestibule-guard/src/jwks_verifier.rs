//! Access tokens that are JWTs of an issuer with a key set: RFC 9068 `at+jwt`, and Cognito's, which lack `aud` and `typ`.

use std::sync::Arc;

use serde_json::{Map, Value};
use vestibule_oauth::jose::{Audience, Claims, ClaimsError, Expected, Jws, JwsError};
use vestibule_oauth::time::Clock;
use vestibule_oauth::url::{Issuer, ResourceUri};

use crate::caller::{TokenRefusal, Verified, VerifyToken};
use crate::claims;
use crate::discovery::IssuerKeys;
use crate::keys::VerifyError;
use crate::presets::Preset;

/// What ties a token to this resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Binding {
    /// `aud` names the resource (RFC 8707, RFC 9068 §4), with or without a slash behind it. The safe choice.
    Resource,
    /// `aud` names this text, for issuers that give their API another name than its URL.
    Audience(String),
    /// The token is an access token (type `at+jwt`, or the preset's mark) of one of these app clients. Weaker: every service that accepts the
    /// same clients accepts the same tokens. For Cognito without resource binding.
    ClientIds(Vec<String>),
}

impl Binding {
    /// True when it names nobody, or an empty name that a missing claim could match.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Resource => false,
            Self::Audience(audience) => audience.is_empty(),
            Self::ClientIds(ids) => ids.is_empty() || ids.iter().any(String::is_empty),
        }
    }
}

/// Verifies JWT access tokens of one issuer.
#[derive(Debug)]
pub struct JwtVerifier {
    issuer: Issuer,
    keys: IssuerKeys,
    clock: Arc<dyn Clock>,
    binding: Binding,
    preset: Preset,
    group_claims: Vec<String>,
}

impl JwtVerifier {
    /// Tokens of `issuer`, signed with `keys`, tied to the resource by `binding`.
    pub fn new(
        issuer: Issuer,
        keys: impl Into<IssuerKeys>,
        clock: Arc<dyn Clock>,
        binding: Binding,
    ) -> Self {
        let verifier = Self {
            issuer,
            keys: keys.into(),
            clock,
            binding,
            preset: Preset::STANDARD,
            group_claims: Vec::new(),
        };
        verifier.preset(Preset::STANDARD)
    }

    /// How the tokens look.
    #[must_use]
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = preset;
        self.group_claims = preset
            .group_claims
            .iter()
            .map(|&name| name.to_owned())
            .collect();
        self
    }

    /// Groups are under these claims instead of the preset's.
    #[must_use]
    pub fn group_claims(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.group_claims = names.into_iter().map(Into::into).collect();
        self
    }

    fn check(
        &self,
        payload: Map<String, Value>,
        typed: bool,
        resource: &ResourceUri,
    ) -> Result<Verified, TokenRefusal> {
        let expect = |audience| Expected {
            issuer: self.issuer.as_str(),
            audience,
            now: self.clock.now(),
        };
        let audience = match &self.binding {
            Binding::Audience(audience) => Audience::Contains(audience),
            Binding::Resource | Binding::ClientIds(_) => Audience::Unchecked,
        };
        let checked = Claims::check(payload, &expect(audience)).map_err(|e| claims_refusal(&e))?;
        let claims = checked.members();
        if self.binding == Binding::Resource && !claims::meant_for(claims, resource) {
            return Err(TokenRefusal::WrongAudience);
        }
        claims::is_access_token(claims)?;
        let client_id = claims::first_text(claims, self.preset.client_claims);
        let by_client = matches!(self.binding, Binding::ClientIds(_));
        // Where the audience does not say that it is an access token, something else must: its type or the mark.
        if self.preset.always_marked || (by_client && !typed) {
            let (name, value) = self.preset.mark;
            checked
                .require(name, value)
                .map_err(|e| claims_refusal(&e))?;
        }
        if let Binding::ClientIds(allowed) = &self.binding
            && (client_id.is_empty() || !allowed.contains(&client_id))
        {
            return Err(TokenRefusal::WrongAudience);
        }
        let subject = checked.text("sub").map_err(|e| claims_refusal(&e))?;
        let mut verified = Verified::new(subject, client_id, checked.expires_at(), ());
        self.issuer.as_str().clone_into(&mut verified.issuer);
        verified.scope = claims::scope(claims, self.preset.scope_claims);
        verified.groups = claims::groups(claims, &self.group_claims);
        verified.token_id = claims::first_text(claims, &["jti"]);
        verified.claims = checked.into_members();
        Ok(verified)
    }
}

impl VerifyToken for JwtVerifier {
    type Extra = ();

    async fn verify(&self, token: &str, resource: &ResourceUri) -> Result<Verified, TokenRefusal> {
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
        let typed = jws.expect_type(&[Some("at+jwt")]).is_ok();
        self.check(payload, typed, resource)
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
