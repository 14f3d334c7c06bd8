//! `StoredGrant`: a grant in the store with its rotations, and every rule about them as pure functions (design §5).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use vestibule_oauth::client::Client;
use vestibule_oauth::random::Random;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::{AccessToken, RefreshToken};
use vestibule_oauth::time::UnixTime;

use super::{Answer, Carried, Grant, Rotation, fingerprint};
use crate::metrics::labels::Label;
use crate::seal::{Kind, Sealable};

/// Rotations that are remembered however old they are, for siblings that are slow, …
const REMEMBERED: usize = 3;
/// … and those of the last minute: of processes that share one token and all refresh as they start, the slowest is as many
/// rotations behind as there are others.
const REMEMBERED_LATELY: usize = 16;
/// Seconds that the provider's access token must have left for a new access token of ours to stand on it: what the
/// shortest access token lives.
const ENOUGH_LEFT: u64 = 120;

/// A grant as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoredGrant {
    /// What it is about. The provider's refresh token is in it.
    #[serde(rename = "g")]
    pub grant: Grant,
    /// The client, for people: its id, …
    #[serde(rename = "ci")]
    pub client_id: String,
    /// … the name it gives itself, …
    #[serde(rename = "cn", default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// … and the host that its metadata document was read from.
    #[serde(rename = "ch", default, skip_serializing_if = "Option::is_none")]
    pub client_host: Option<String>,
    /// Host or scheme that the code was sent to. Unknown for a grant that moved in.
    #[serde(rename = "ca", default, skip_serializing_if = "Option::is_none")]
    pub redirect_host: Option<String>,
    /// `sub` as our tokens say it.
    #[serde(rename = "u")]
    pub user: String,
    /// When a refresh token of it was last used.
    #[serde(rename = "lu")]
    pub last_used: UnixTime,
    /// When it is gone unless it is used before.
    #[serde(rename = "e")]
    pub ends_at: UnixTime,
    /// Why and when it was revoked.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
    #[serde(rename = "n")]
    generation: u64,
    /// SHA-256 of the current refresh token.
    #[serde(rename = "h")]
    token: String,
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    rotations: Vec<Rotation>,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    access: Option<KeptAccess>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    lease: Option<Lease>,
    /// Since when we know of a lease whose holder never came back.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    orphaned_at: Option<UnixTime>,
    /// SHA-256 of the carried refresh token that this grant was moved in with.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    moved_from: Option<String>,
}

/// The provider's access token, for refreshes that need not ask the provider.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeptAccess {
    #[serde(rename = "k")]
    token: Carried,
    /// When it ends.
    #[serde(rename = "e")]
    pub expires_at: UnixTime,
    /// When the provider gave it.
    #[serde(rename = "t")]
    pub obtained_at: UnixTime,
    /// What the provider said it granted.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeSet>,
}

/// Who is asking the provider, and how long others leave it to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A replica.
    #[serde(rename = "h")]
    pub holder: String,
    /// The end, by the holder's clock.
    #[serde(rename = "u")]
    pub until: UnixTime,
}

/// The end of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// When.
    #[serde(rename = "t")]
    pub at: UnixTime,
    /// Why.
    #[serde(rename = "w")]
    pub why: RevokedWhy,
}

/// Why a grant was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokedWhy {
    /// The client asked for it (RFC 7009).
    Client,
    /// The user asked for it.
    User,
    /// The operator asked for it.
    Operator,
    /// A refresh token was presented that had been replaced long before.
    Reuse,
    /// The code it stems from was presented again.
    CodeReplay,
    /// The provider says that it has ended.
    Provider,
}

impl RevokedWhy {
    /// A stable slug for logs and metrics.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::User => "user",
            Self::Operator => "operator",
            Self::Reuse => "refresh_reuse",
            Self::CodeReplay => "code_replay",
            Self::Provider => "provider_invalid_grant",
        }
    }
}

impl Label for RevokedWhy {
    const NAME: &'static str = "reason";
    const VALUES: &'static [&'static str] = &[
        Self::Client.slug(),
        Self::User.slug(),
        Self::Operator.slug(),
        Self::Reuse.slug(),
        Self::CodeReplay.slug(),
        Self::Provider.slug(),
    ];

    fn index(self) -> usize {
        self as usize
    }
}

/// What a presented refresh token is to a grant.
#[derive(Debug)]
pub enum Standing<'a> {
    /// The newest one.
    Current,
    /// One that was replaced, and may be told again what it was replaced by.
    Replaced(&'a Rotation),
    /// One that was replaced, and whose holder must have heard of it: somebody else has it.
    Reused,
}

impl Sealable for StoredGrant {
    const KIND: Kind = Kind::StoredGrant;
}

impl KeptAccess {
    /// A token that the provider has just given.
    pub fn new(
        token: &AccessToken,
        expires_at: UnixTime,
        obtained_at: UnixTime,
        scope: Option<ScopeSet>,
    ) -> Self {
        Self {
            token: Carried(token.0.clone()),
            expires_at,
            obtained_at,
            scope,
        }
    }

    /// The token.
    pub fn token(&self) -> AccessToken {
        AccessToken(self.token.0.clone())
    }
}

impl StoredGrant {
    /// A new record for a grant whose first refresh token is `token`.
    pub fn new(
        grant: Grant,
        client: &Client,
        user: String,
        token: &RefreshToken,
        access: Option<KeptAccess>,
        now: UnixTime,
        ends_at: UnixTime,
    ) -> Self {
        Self {
            grant,
            client_id: client.id.as_str().to_owned(),
            client_name: client.name.clone(),
            client_host: client.document_host().map(str::to_owned),
            redirect_host: None,
            user,
            last_used: now,
            ends_at,
            revoked: None,
            generation: 0,
            token: fingerprint(token.expose()),
            rotations: Vec::new(),
            access,
            lease: None,
            orphaned_at: None,
            moved_from: None,
        }
    }

    /// The record of a grant whose code was sent there.
    #[must_use]
    pub fn answered_at(mut self, redirect_host: String) -> Self {
        self.redirect_host = Some(redirect_host);
        self
    }

    /// The record that a carried refresh token moves into.
    #[must_use]
    pub fn moved_in(mut self) -> Self {
        self.moved_from = Some(self.token.clone());
        self
    }

    /// True for the carried refresh token that moved in, and for every token that is remembered.
    pub fn knows(&self, token: &RefreshToken) -> bool {
        let hash = fingerprint(token.expose());
        self.token == hash
            || self.moved_from.as_ref() == Some(&hash)
            || self.rotations.iter().any(|rotation| rotation.token == hash)
    }

    /// Counts rotations.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// True when `token` is the newest refresh token.
    pub fn is_current(&self, token: &RefreshToken) -> bool {
        self.token == fingerprint(token.expose())
    }

    /// What `token` is to this grant; `generation` is what its ticket says.
    pub fn standing(
        &self,
        token: &RefreshToken,
        generation: Option<u64>,
        now: UnixTime,
    ) -> Standing<'_> {
        let hash = fingerprint(token.expose());
        if self.token == hash {
            return Standing::Current;
        }
        match self.rotations.iter().find(|own| own.token == hash) {
            Some(rotation) if rotation.is_open(now) => Standing::Replaced(rotation),
            // Sealed by us and newer than the record: the store went back in time (a failover, a restored backup). The
            // holder is not to blame.
            None if generation.is_some_and(|own| own > self.generation) => Standing::Current,
            _ => Standing::Reused,
        }
    }

    /// Follows a ticket that is ahead of the record.
    pub fn catch_up(&mut self, token: &RefreshToken, generation: Option<u64>) {
        if let Some(generation) = generation.filter(|own| *own > self.generation) {
            self.generation = generation;
            self.token = fingerprint(token.expose());
        }
    }

    /// The provider's access token, if it was obtained at most `recheck` seconds ago and has enough life left.
    pub fn fresh_access(&self, recheck: u64, now: UnixTime) -> Option<&KeptAccess> {
        self.access.as_ref().filter(|access| {
            recheck > 0
                && now.since(access.obtained_at) <= recheck
                && access.expires_at.since(now) >= ENOUGH_LEFT
        })
    }

    /// When the provider was last heard.
    pub fn obtained_at(&self) -> UnixTime {
        self.access
            .as_ref()
            .map_or(UnixTime::default(), |access| access.obtained_at)
    }

    /// The lease that is open.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Since when a holder of a lease is missing.
    pub fn orphaned_at(&self) -> Option<UnixTime> {
        self.orphaned_at
    }

    /// Opens a lease. Whoever gets here has used the current refresh token, so those before it are known to have arrived.
    pub fn open_lease(&mut self, lease: Lease) {
        if let Some(before) = &self.lease {
            self.orphaned_at.get_or_insert(before.until);
        }
        self.lease = Some(lease);
        self.successors_arrived();
    }

    /// Ends the lease without a rotation.
    pub fn release_lease(&mut self) {
        self.lease = None;
    }

    /// Takes over what the provider gave: its new refresh token if it rotated, the claims of a new ID token, its access
    /// token (`None` when it must not be used).
    pub fn keep(
        &mut self,
        refresh: Option<RefreshToken>,
        claims: Option<Map<String, Value>>,
        access: Option<KeptAccess>,
    ) {
        self.grant = self.grant.clone().refreshed(refresh, claims);
        self.access = access;
        self.lease = None;
        self.orphaned_at = None;
    }

    /// Replaces `token`, the current refresh token, by `next`, which `answer` holds.
    pub fn rotate(
        &mut self,
        token: &RefreshToken,
        next: &RefreshToken,
        answer: &Answer,
        now: UnixTime,
        ends_at: UnixTime,
        random: &dyn Random,
    ) {
        self.successors_arrived();
        self.rotations
            .push(Rotation::new(token, answer, now, random));
        while self.rotations.len() > REMEMBERED
            && self.rotations.first().is_some_and(|oldest| {
                self.rotations.len() > REMEMBERED_LATELY || !oldest.is_recent(now)
            })
        {
            self.rotations.remove(0);
        }
        self.token = fingerprint(next.expose());
        self.generation += 1;
        self.last_used = now;
        self.ends_at = ends_at;
        self.lease = None;
        self.orphaned_at = None;
    }

    /// Marks it revoked. What could still be used is dropped, but for the provider's refresh token: the provider must be
    /// told, and may have to be told again.
    pub fn revoke(&mut self, why: RevokedWhy, now: UnixTime) {
        self.revoked.get_or_insert(Revoked { at: now, why });
        self.rotations.clear();
        self.access = None;
        self.lease = None;
    }

    fn successors_arrived(&mut self) {
        for rotation in &mut self.rotations {
            rotation.successor_used = true;
        }
    }
}

impl std::fmt::Debug for StoredGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredGrant")
            .field("grant", &self.grant)
            .field("generation", &self.generation)
            .field("lease", &self.lease)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}
