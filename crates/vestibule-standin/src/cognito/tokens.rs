//! Minting: the claims of Cognito's access and ID tokens, and nothing beside them (facts/cognito §2.9, S12).

use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};
use vestibule_oauth::time::UnixTime;

use crate::cognito::keys::KeySet;
use crate::cognito::options::{Lifetimes, User};
use crate::cognito::random;
use crate::cognito::state::{Family, Pool, sha256};

/// The body of a successful token response. There is no `scope` member.
#[derive(Clone, Serialize)]
pub(crate) struct TokenResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    expires_in: u64,
    token_type: &'static str,
}

impl TokenResponse {
    /// The same tokens with another refresh token, or none.
    pub(crate) fn with_refresh_token(self, refresh_token: Option<String>) -> Self {
        Self {
            refresh_token,
            ..self
        }
    }
}

/// What all tokens of one response share.
pub(crate) struct Minting<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) keys: &'a KeySet,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) issuer: &'a str,
    pub(crate) now: UnixTime,
}

impl Minting<'_> {
    /// Tokens for `family`; an ID token only with the scope `openid`.
    pub(crate) fn respond(
        &self,
        family: &Family,
        nonce: Option<&str>,
        refresh_token: Option<String>,
    ) -> Result<TokenResponse, Unspecified> {
        let user = self.pool.user(&family.username);
        let access_token = self.keys.access.sign(&self.access_claims(family, user))?;
        let id_token = if family.has_scope("openid") {
            let claims = self.id_claims(family, user, nonce, &access_token);
            Some(self.keys.id.sign(&claims)?)
        } else {
            None
        };
        Ok(TokenResponse {
            id_token,
            access_token,
            refresh_token,
            expires_in: self.lifetimes.access,
            token_type: "Bearer",
        })
    }

    fn access_claims(&self, family: &Family, user: Option<&User>) -> Value {
        let mut claims = self.common_claims(family, user, self.lifetimes.access);
        claims["token_use"] = json!("access");
        claims["client_id"] = json!(family.client_id);
        claims["username"] = json!(family.username);
        claims["scope"] = json!(family.scopes.join(" "));
        claims["version"] = json!(2);
        // Only resource binding gives an access token an audience.
        if let Some(resource) = &family.resource {
            claims["aud"] = json!(resource);
        }
        claims
    }

    fn id_claims(
        &self,
        family: &Family,
        user: Option<&User>,
        nonce: Option<&str>,
        access_token: &str,
    ) -> Value {
        let mut claims = self.common_claims(family, user, self.lifetimes.id);
        claims["token_use"] = json!("id");
        claims["aud"] = json!(family.client_id);
        claims["cognito:username"] = json!(family.username);
        claims["at_hash"] = json!(URL_SAFE_NO_PAD.encode(&sha256(access_token.as_bytes())[..16]));
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        // `openid` alone gives every readable attribute; with narrower scopes only theirs.
        let narrowed = family.has_scope("profile") || family.has_scope("phone");
        if let Some(user) = user.filter(|_| family.has_scope("email") || !narrowed) {
            claims["email"] = json!(user.email);
            if self.pool.options.email_verified_readable {
                claims["email_verified"] = json!(true);
            }
        }
        claims
    }

    fn common_claims(&self, family: &Family, user: Option<&User>, lifetime: u64) -> Value {
        let mut claims = json!({
            "sub": self.pool.subject(&family.username),
            "iss": self.issuer,
            "origin_jti": family.origin_jti,
            "event_id": family.event_id,
            "jti": random::uuid(),
            "auth_time": family.auth_time,
            "iat": self.now,
            "exp": self.now.plus(lifetime),
        });
        if let Some(user) = user.filter(|user| !user.groups.is_empty()) {
            claims["cognito:groups"] = json!(user.groups);
        }
        claims
    }
}
