//! The identity token: a JWT about the user beside any credential, verified through `/jwks.json`.

use std::time::Duration;

use http::HeaderName;
use serde_json::{Map, json};

use vestibule_oauth::time::UnixTime;

use crate::grants::Access;
use crate::issuer::{MintError, TokenIssuer};
use crate::minted::Minted;

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

    /// The token for whoever holds `access`, signed anew when the one in `minted` is half through.
    pub(crate) fn for_access(
        &self,
        access: &Access,
        issuer: &TokenIssuer,
        minted: &Minted<String>,
        now: UnixTime,
    ) -> Result<String, MintError> {
        if let Some(token) = minted.get(access.id.as_str(), now) {
            return Ok(token);
        }
        let lifetime = self.lifetime.as_secs();
        let ends = access.expires_at.min(now.plus(lifetime));
        let chosen = self.claims.iter().filter_map(|name| {
            let value = access.claims.get(name)?;
            Some((name.clone(), value.clone()))
        });
        let mut claims: Map<_, _> = chosen.collect();
        claims.insert("aud".into(), json!(self.audience));
        claims.insert("iat".into(), json!(now));
        claims.insert("exp".into(), json!(ends));
        let token = issuer.sign_about(IDENTITY_TOKEN_TYPE, claims, access)?;
        let again_until = ends.min(now.plus(lifetime / 2));
        minted.put(access.id.clone(), token.clone(), again_until);
        Ok(token)
    }
}
