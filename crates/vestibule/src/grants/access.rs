//! `Access`: what an access token says, whichever of the two formats it travels in (design §3).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::AccessToken;
use vestibule_oauth::time::UnixTime;

use super::Carried;
use crate::seal::{Kind, Sealable};

/// The content of an access token.
#[derive(Clone, Serialize, Deserialize)]
pub struct Access {
    /// `jti`: the family, a dot, and a random part, so that a family can be refused as a whole.
    #[serde(rename = "j")]
    pub id: String,
    /// `sub`.
    #[serde(rename = "s")]
    pub subject: String,
    /// `client_id`.
    #[serde(rename = "c")]
    pub client_id: String,
    /// `aud`: the resource identifier.
    #[serde(rename = "r")]
    pub audience: String,
    /// `scope`.
    #[serde(rename = "o")]
    pub scope: ScopeSet,
    /// `iat`.
    #[serde(rename = "t")]
    pub issued_at: UnixTime,
    /// `exp`.
    #[serde(rename = "e")]
    pub expires_at: UnixTime,
    /// Mapped claims: groups, email…
    #[serde(rename = "m", default, skip_serializing_if = "Map::is_empty")]
    pub claims: Map<String, Value>,
    /// The provider's access token, where the resource's credential needs it. Only in the sealed format.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    provider_token: Option<Carried>,
}

impl Sealable for Access {
    const KIND: Kind = Kind::Access;
}

impl Access {
    /// The content without a provider's token.
    #[expect(
        clippy::too_many_arguments,
        reason = "an access token is exactly these claims"
    )]
    pub fn new(
        id: String,
        subject: String,
        client_id: String,
        audience: String,
        scope: ScopeSet,
        issued_at: UnixTime,
        expires_at: UnixTime,
        claims: Map<String, Value>,
    ) -> Self {
        Self {
            id,
            subject,
            client_id,
            audience,
            scope,
            issued_at,
            expires_at,
            claims,
            provider_token: None,
        }
    }

    /// The same, carrying the provider's token.
    #[must_use]
    pub fn carrying(mut self, provider_token: AccessToken) -> Self {
        self.provider_token = Some(Carried(provider_token.0));
        self
    }

    /// Takes out the provider's token, if it travels along.
    pub fn take_provider_token(&mut self) -> Option<AccessToken> {
        self.provider_token
            .take()
            .map(|carried| AccessToken(carried.0))
    }

    /// The family this token descends from.
    pub fn family(&self) -> &str {
        family_of(&self.id)
    }
}

/// The family part of a token id.
pub(crate) fn family_of(token_id: &str) -> &str {
    token_id
        .split_once('.')
        .map_or(token_id, |(family, _)| family)
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("id", &self.id)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}
