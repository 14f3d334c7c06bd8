//! The identity token: a JWT about the user beside any credential, verified through `/jwks.json`.

use std::time::Duration;

use http::HeaderName;
use serde_json::{Map, json};

use vestibule_oauth::time::UnixTime;

use crate::issuer::{About, MintError, TokenIssuer};

/// `typ` of an identity token: it passes for no other token of ours, and no other for it.
pub const IDENTITY_TOKEN_TYPE: &str = "vestibule-identity+jwt";

/// What an identity token says, and in which header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityToken {
    /// The header.
    pub header: HeaderName,
    /// `aud`.
    pub audience: String,
    /// How long it is good. It is used again for half of that, so a server always gets one that is good for half of it,
    /// or as long as the client's own token.
    pub lifetime: Duration,
    /// Mapped claims in it, besides `iss`, `sub`, `aud`, `client_id`, `scope`, `jti`, `iat` and `exp`.
    pub claims: Vec<String>,
}

impl IdentityToken {
    /// A token for this audience with every default.
    pub fn new(audience: &str) -> Self {
        Self {
            header: HeaderName::from_static("x-vestibule-identity"),
            audience: audience.to_owned(),
            lifetime: Duration::from_secs(60),
            claims: Vec::new(),
        }
    }

    /// A new token about a caller, and until when it may be used again.
    pub(crate) fn sign(
        &self,
        about: &About<'_>,
        issuer: &TokenIssuer,
        now: UnixTime,
    ) -> Result<(String, UnixTime), MintError> {
        let lifetime = self.lifetime.as_secs();
        let ends = about.expires_at().min(now.plus(lifetime));
        let chosen = self.claims.iter().filter_map(|name| {
            let value = about.claim(name)?;
            Some((name.clone(), value.clone()))
        });
        let mut claims: Map<_, _> = chosen.collect();
        claims.insert("aud".into(), json!(self.audience));
        claims.insert("iat".into(), json!(now));
        claims.insert("exp".into(), json!(ends));
        let token = issuer.sign_about(IDENTITY_TOKEN_TYPE, claims, about)?;
        Ok((token, ends.min(now.plus(lifetime / 2))))
    }
}
