//! The states of a sign-in, from request to grant: each state is a type, each step consumes the one before.
//!
//! `ConsentTicket` (in the page) → approve → `Flow` (in a cookie) → provider returns → `Code` (with the client) →
//! redeem → `Grant` and `Access` (the access token). All of them are *carried*: sealed and given away. Without a store
//! the grant is carried too, as the refresh token; with one it is a `StoredGrant`, and the refresh token a `Ticket` for
//! it (design §3). `Memory` (in a cookie) lets a later sign-in skip the page.

mod access;
mod account;
mod checked;
mod code;
mod consent;
mod flow;
mod grant;
mod memory;
mod revoked;
mod rotation;
mod shelf;
mod stored;
mod ticket;

pub use access::Access;
pub use account::{Account, AccountFlow, FormTicket, Notice, ReturnedAccount, Session};
pub use checked::CheckedRequest;
pub use code::{Code, RedeemError, Redeemed};
pub use consent::ConsentTicket;
pub use flow::{Flow, Identify, NotThisFlow, Returned, Step};
pub use grant::{Grant, GrantMismatch};
pub use memory::{Asked, Memory, Remembered, UserDigest};
pub use revoked::RevokedTokens;
pub use rotation::{Answer, REPLAY_WINDOW, Rotation};
pub(crate) use shelf::UsedCode;
pub use shelf::{Shelf, Shelved};
pub use stored::{KeptAccess, Lease, Revoked, RevokedWhy, Standing, StoredGrant};
pub use ticket::Ticket;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use serde::{Deserialize, Serialize};

use vestibule_oauth::base64url::BASE64URL;
use vestibule_oauth::client::ClientId;
use vestibule_oauth::secret::Secret;

/// A secret inside an optional field of a sealed value.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Carried(#[serde(with = "crate::seal::carried")] Secret);

/// A short, fixed-size stand-in for a `client_id` (which may be kilobytes): its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientDigest(String);

impl ClientDigest {
    /// The digest of a client id.
    pub fn of(id: &ClientId) -> Self {
        Self(fingerprint(id.as_str()))
    }

    /// A digest that an operator hands in; `None` when it cannot be one.
    pub fn from_text(text: &str) -> Option<Self> {
        let is_digest = BASE64URL.decode(text).is_ok_and(|bytes| bytes.len() == 32);
        is_digest.then(|| Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256 as base64url: binds an artefact to a value without containing it.
pub fn fingerprint(text: &str) -> String {
    BASE64URL.encode(digest(&SHA256, text.as_bytes()))
}

/// Serde for a verifier of our own inside a sealed value.
mod carried_verifier {
    use serde::{Deserializer, Serializer};
    use vestibule_oauth::pkce::CodeVerifier;

    pub(super) fn serialize<S: Serializer>(
        verifier: &CodeVerifier,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(verifier.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<CodeVerifier, D::Error> {
        let text = crate::seal::carried::deserialize(deserializer)?;
        CodeVerifier::parse(text.expose()).map_err(serde::de::Error::custom)
    }
}
