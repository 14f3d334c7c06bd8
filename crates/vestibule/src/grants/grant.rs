//! `Grant`: user × client × resource × scopes with the provider's refresh token inside; carried as our refresh token.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use vestibule_oauth::client::ClientId;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::{RefreshToken, Secret};
use vestibule_oauth::time::UnixTime;

use super::ClientDigest;
use crate::seal::{Kind, Sealable};

/// The refresh token was issued to another client (`invalid_grant`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the refresh token was issued to another client")]
pub struct GrantMismatch;

/// A grant.
#[derive(Clone, Serialize, Deserialize)]
pub struct Grant {
    /// Common to every token that descends from one sign-in.
    #[serde(rename = "f")]
    pub family: String,
    #[serde(rename = "c")]
    pub(crate) client: ClientDigest,
    /// Path of the resource.
    #[serde(rename = "r")]
    pub resource: String,
    /// Id of the provider. Its token goes to that one only.
    #[serde(rename = "d")]
    pub provider: String,
    /// What the user approved. Never narrowed by a refresh.
    #[serde(rename = "o")]
    pub scope: ScopeSet,
    /// The provider's `sub`, as it says it.
    #[serde(rename = "s")]
    pub subject: String,
    /// When the user signed in.
    #[serde(rename = "t")]
    pub signed_in_at: UnixTime,
    /// Mapped claims as of the last ID token.
    #[serde(rename = "m", default, skip_serializing_if = "Map::is_empty")]
    pub claims: Map<String, Value>,
    #[serde(rename = "k", with = "crate::seal::carried")]
    provider_refresh_token: Secret,
}

impl Sealable for Grant {
    const KIND: Kind = Kind::Grant;
}

impl Grant {
    /// A new grant after a first sign-in.
    #[expect(
        clippy::too_many_arguments,
        reason = "a grant is exactly these facts, none of them optional"
    )]
    pub fn new(
        family: String,
        client: &ClientId,
        resource: String,
        provider: String,
        scope: ScopeSet,
        subject: String,
        signed_in_at: UnixTime,
        claims: Map<String, Value>,
        provider_refresh_token: RefreshToken,
    ) -> Self {
        Self {
            family,
            client: ClientDigest::of(client),
            resource,
            provider,
            scope,
            subject,
            signed_in_at,
            claims,
            provider_refresh_token: provider_refresh_token.0,
        }
    }

    /// Hands the grant out only to the client it was issued to.
    pub fn held_by(self, client: &ClientId) -> Result<Self, GrantMismatch> {
        if self.is_held_by(client) {
            Ok(self)
        } else {
            Err(GrantMismatch)
        }
    }

    /// True for the client it was issued to.
    pub fn is_held_by(&self, client: &ClientId) -> bool {
        self.client == ClientDigest::of(client)
    }

    /// The provider's refresh token.
    pub fn provider_refresh_token(&self) -> RefreshToken {
        RefreshToken(self.provider_refresh_token.clone())
    }

    /// The grant after a refresh: the provider's new refresh token if it rotated, the old one otherwise (design §5.5),
    /// and the claims of the newest ID token.
    #[must_use]
    pub fn refreshed(
        mut self,
        rotated: Option<RefreshToken>,
        claims: Option<Map<String, Value>>,
    ) -> Self {
        if let Some(token) = rotated {
            self.provider_refresh_token = token.0;
        }
        if let Some(claims) = claims {
            self.claims = claims;
        }
        self
    }
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant")
            .field("family", &self.family)
            .field("resource", &self.resource)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
