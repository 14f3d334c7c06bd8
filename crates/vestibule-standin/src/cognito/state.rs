//! What a running pool knows: its options, its sessions, codes and refresh tokens, and what it has counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use tokio_util::sync::CancellationToken;
use vestibule_oauth::pkce::CodeChallenge;
use vestibule_oauth::time::{Clock, UnixTime};

use crate::cognito::faults::{Endpoint, FaultSlot};
use crate::cognito::keys::KeyRing;
use crate::cognito::options::{AppClient, CognitoOptions, Lifetimes, User};
use crate::cognito::random;
use crate::cognito::tokens::TokenResponse;

/// A pool, shared by all handlers and by [`super::Control`].
pub(crate) struct Pool {
    pub(crate) options: CognitoOptions,
    pub(crate) issuer: String,
    pub(crate) domain: String,
    /// Cancelled when the stand-in stops; ends the exchanges that a `Timeout` fault holds open.
    pub(crate) stop: CancellationToken,
    clock: Arc<dyn Clock>,
    calls: [AtomicU64; Endpoint::ALL.len()],
    state: Mutex<State>,
}

/// The part of a pool that changes.
pub(crate) struct State {
    pub(crate) keys: KeyRing,
    pub(crate) lifetimes: Lifetimes,
    /// Callback URLs by client id: those of the options and those added later.
    pub(crate) callbacks: HashMap<String, Vec<String>>,
    pub(crate) faults: HashMap<Endpoint, FaultSlot>,
    /// By the value of the session cookie.
    pub(crate) sessions: HashMap<String, Session>,
    /// By the code.
    pub(crate) codes: HashMap<String, CodeGrant>,
    /// By `origin_jti`.
    pub(crate) families: HashMap<String, Family>,
    pub(crate) refresh_tokens: HashMap<TokenHash, RefreshToken>,
    /// What refreshes gave last, by `origin_jti`; empty without [`CognitoOptions::same_tokens`].
    pub(crate) given: HashMap<String, (UnixTime, TokenResponse)>,
}

/// SHA-256 of a refresh token: two kilobytes each are too many to keep in a long bench.
pub(crate) type TokenHash = [u8; 32];

/// A browser that has signed in.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) username: String,
    pub(crate) auth_time: UnixTime,
}

/// What a code stands for (§2.3).
pub(crate) struct CodeGrant {
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Option<CodeChallenge>,
    pub(crate) nonce: Option<String>,
    pub(crate) expires: UnixTime,
    pub(crate) family: Family,
}

/// One sign-in at one client, and all tokens that came of it.
#[derive(Clone)]
pub(crate) struct Family {
    pub(crate) origin_jti: String,
    pub(crate) event_id: String,
    pub(crate) client_id: String,
    pub(crate) username: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) resource: Option<String>,
    pub(crate) auth_time: UnixTime,
    /// When its refresh tokens end, rotated or not.
    pub(crate) expires: UnixTime,
    pub(crate) revoked: bool,
}

impl Family {
    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own == scope)
    }
}

/// A refresh token ever issued.
pub(crate) struct RefreshToken {
    pub(crate) origin_jti: String,
    /// When it was replaced by rotation.
    pub(crate) retired: Option<UnixTime>,
    /// How often it was presented at the token endpoint.
    pub(crate) presented: u64,
}

impl Pool {
    pub(crate) fn new(
        options: CognitoOptions,
        issuer: String,
        domain: String,
        clock: Arc<dyn Clock>,
        keys: KeyRing,
    ) -> Self {
        let callbacks = options
            .clients
            .iter()
            .map(|client| (client.client_id.clone(), client.callback_urls.clone()))
            .collect();
        let state = State {
            keys,
            lifetimes: options.lifetimes,
            callbacks,
            faults: HashMap::new(),
            sessions: HashMap::new(),
            codes: HashMap::new(),
            families: HashMap::new(),
            refresh_tokens: HashMap::new(),
            given: HashMap::new(),
        };
        Self {
            options,
            issuer,
            domain,
            stop: CancellationToken::new(),
            clock,
            calls: Default::default(),
            state: Mutex::new(state),
        }
    }

    /// The changing part. Never held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    pub(crate) fn client(&self, client_id: &str) -> Option<&AppClient> {
        self.options
            .clients
            .iter()
            .find(|client| client.client_id == client_id)
    }

    pub(crate) fn user(&self, username: &str) -> Option<&User> {
        self.options
            .users
            .iter()
            .find(|user| user.username == username)
    }

    /// The immutable id of a user in this pool: the same in every run, so that recordings compare.
    pub(crate) fn subject(&self, username: &str) -> String {
        let hash = sha256(format!("{}/{username}", self.options.pool_id).as_bytes());
        let mut raw = [0; 16];
        raw.copy_from_slice(&hash[..16]);
        random::format_uuid(&raw)
    }

    /// Callback URLs match as strings, whole (§2.7).
    pub(crate) fn callback_allowed(&self, client_id: &str, redirect_uri: &str) -> bool {
        self.lock()
            .callbacks
            .get(client_id)
            .is_some_and(|urls| urls.iter().any(|url| url == redirect_uri))
    }

    /// The live session of a browser.
    pub(crate) fn session(&self, cookie: Option<&str>) -> Option<Session> {
        let now = self.now();
        let state = self.lock();
        let session = state.sessions.get(cookie?)?;
        (now < session.auth_time.plus(state.lifetimes.session)).then(|| session.clone())
    }

    pub(crate) fn count(&self, endpoint: Endpoint) {
        self.calls[endpoint as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn calls(&self, endpoint: Endpoint) -> u64 {
        self.calls[endpoint as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn reset_calls(&self) {
        for counter in &self.calls {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> TokenHash {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
