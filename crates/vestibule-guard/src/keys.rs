//! An issuer's signing keys (RFC 7517), fetched and kept: one request at a time, throttled, stale rather than absent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::Mutex;
use vestibule_oauth::jose::{JwkSet, Jws, JwsError};
use vestibule_oauth::time::{Clock, UnixTime};

use crate::fetch::{FetchError, FetchLimits, Outbound};

/// How long a set is used before it is fetched again, unless the constructor says otherwise.
pub const DEFAULT_TTL_SECONDS: u64 = 3600;
/// At least this long between two fetches when there is a set, whatever the tokens of strangers name.
const THROTTLE_SECONDS: u64 = 30;
/// At least this long between two fetches when there is none.
const COLD_THROTTLE_SECONDS: u64 = 2;
/// A set that could not be renewed is trusted this much longer. A withdrawn key must not live for ever because the
/// issuer is unreachable.
const MAX_STALE_SECONDS: u64 = 24 * 3600;
/// Key sets are a few kilobytes; Entra's is about 20.
const LIMITS: FetchLimits = FetchLimits {
    deadline: Duration::from_secs(5),
    max_body: 512 * 1024,
};

/// Why there is no key set.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The request failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The answer was not 200.
    #[error("{url} answered {status}")]
    Status {
        /// Where the keys should be.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer was no key set, or one without a usable key.
    #[error("{url} is not a key set with a usable key")]
    Document {
        /// Where the keys should be.
        url: String,
    },
    /// The answer was no metadata of this issuer with a usable `jwks_uri`.
    #[error("{url} is not the metadata of its issuer")]
    Metadata {
        /// Where the metadata should be.
        url: String,
    },
    /// A fetch failed a moment ago; the log has its reason.
    #[error("the keys at {url} could not be fetched a moment ago")]
    Waiting {
        /// Where the keys should be.
        url: String,
    },
    /// The URL cannot be requested.
    #[error("{url} is not a URL")]
    Url {
        /// What was given.
        url: String,
    },
}

/// Why a token was not verified.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The token is at fault.
    #[error(transparent)]
    Token(#[from] JwsError),
    /// The issuer's keys are away; the token may be fine.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// The key set behind one URL.
pub struct JwksSource {
    url: String,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
    ttl: u64,
    cached: ArcSwapOption<Fetched>,
    /// Seconds of the last attempt, successful or not; 0 for never.
    attempted: AtomicU64,
    single_flight: Mutex<()>,
}

struct Fetched {
    keys: Arc<JwkSet>,
    at: UnixTime,
}

impl JwksSource {
    /// Keys at `url`, fetched when first needed and then every `ttl_seconds`.
    pub fn new(
        url: impl Into<String>,
        outbound: Outbound,
        clock: Arc<dyn Clock>,
        ttl_seconds: u64,
    ) -> Self {
        Self {
            url: url.into(),
            outbound,
            clock,
            ttl: ttl_seconds,
            cached: ArcSwapOption::empty(),
            attempted: AtomicU64::new(0),
            single_flight: Mutex::new(()),
        }
    }

    /// Where the keys are.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The current set: from memory while fresh, else fetched, else the old one while the issuer is away.
    pub async fn keys(&self) -> Result<Arc<JwkSet>, KeysError> {
        let now = self.clock.now();
        let Some(fetched) = self.cached.load_full() else {
            let _turn = self.single_flight.lock().await;
            return match self.cached.load_full() {
                Some(fetched) => Ok(Arc::clone(&fetched.keys)),
                None => self.fetch(COLD_THROTTLE_SECONDS).await,
            };
        };
        let age = now.since(fetched.at);
        if age < self.ttl {
            return Ok(Arc::clone(&fetched.keys));
        }
        let usable = age < self.ttl.saturating_add(MAX_STALE_SECONDS);
        // Whoever comes while another renews a usable set does not wait for it.
        let turn = match self.single_flight.try_lock() {
            Ok(turn) => turn,
            Err(_) if usable => return Ok(Arc::clone(&fetched.keys)),
            Err(_) => self.single_flight.lock().await,
        };
        let result = match self.newer_than(&fetched) {
            Some(keys) => Ok(keys),
            None => self.fetch(THROTTLE_SECONDS).await,
        };
        drop(turn);
        match result {
            Ok(keys) => Ok(keys),
            Err(error) if usable => {
                if !matches!(error, KeysError::Waiting { .. }) {
                    tracing::warn!(url = %self.url, %error, age, "signing keys not renewed, using the old ones");
                }
                Ok(Arc::clone(&fetched.keys))
            }
            Err(error) => Err(error),
        }
    }

    /// Verifies the signature. A key id that the set does not have is a reason to fetch it again, but not more often
    /// than every 30 s: otherwise every forged token would cost the issuer a request.
    pub async fn verify(&self, token: &Jws<'_>) -> Result<Map<String, Value>, VerifyError> {
        let keys = self.keys().await?;
        match token.verify(&keys) {
            Err(JwsError::UnknownKey(kid)) => match self.renew(&keys).await {
                Ok(newer) => Ok(token.verify(&newer)?),
                Err(KeysError::Waiting { .. }) => Err(JwsError::UnknownKey(kid).into()),
                Err(error) => Err(error.into()),
            },
            other => Ok(other?),
        }
    }

    /// A set other than `known`, fetched if nobody else has done so meanwhile.
    async fn renew(&self, known: &Arc<JwkSet>) -> Result<Arc<JwkSet>, KeysError> {
        let _turn = self.single_flight.lock().await;
        match self.cached.load_full() {
            Some(fetched) if !Arc::ptr_eq(&fetched.keys, known) => Ok(Arc::clone(&fetched.keys)),
            _ => self.fetch(THROTTLE_SECONDS).await,
        }
    }

    fn newer_than(&self, fetched: &Arc<Fetched>) -> Option<Arc<JwkSet>> {
        let current = self.cached.load_full()?;
        (!Arc::ptr_eq(&current, fetched)).then(|| Arc::clone(&current.keys))
    }

    /// Fetches; the caller holds the turn.
    async fn fetch(&self, throttle: u64) -> Result<Arc<JwkSet>, KeysError> {
        let now = self.clock.now();
        let last = UnixTime(self.attempted.load(Ordering::Relaxed));
        if last.0 != 0 && now.since(last) < throttle {
            return Err(KeysError::Waiting {
                url: self.url.clone(),
            });
        }
        self.attempted.store(now.0, Ordering::Relaxed);
        let result = self.request().await;
        // Again afterwards: those who waited for a slow failure must not each repeat it.
        self.attempted.store(self.clock.now().0, Ordering::Relaxed);
        let keys = Arc::new(result?);
        tracing::debug!(url = %self.url, keys = keys.len(), "signing keys fetched");
        self.cached.store(Some(Arc::new(Fetched {
            keys: Arc::clone(&keys),
            at: now,
        })));
        Ok(keys)
    }

    async fn request(&self) -> Result<JwkSet, KeysError> {
        let url = || self.url.clone();
        let request = Request::get(&self.url)
            .header(header::ACCEPT, "application/json, application/jwk-set+json")
            .body(Full::<Bytes>::default())
            .map_err(|_| KeysError::Url { url: url() })?;
        let response = self.outbound.fetch(request, LIMITS).await?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(KeysError::Status { url: url(), status });
        }
        match JwkSet::parse(response.body()) {
            Ok(keys) if !keys.is_empty() => Ok(keys),
            _ => Err(KeysError::Document { url: url() }),
        }
    }
}

impl std::fmt::Debug for JwksSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwksSource")
            .field("url", &self.url)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
