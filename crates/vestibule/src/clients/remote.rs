//! Documents that strangers name: fetched under the address policy, once at a time, cached within bounds, never trusted
//! because an error said so (CIMD §"Client Metadata Fetching"; facts/mcp-authorization.md §5 "Fetch").

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use thiserror::Error;

use vestibule_guard::fetch::{
    AddressPolicy, EgressProxy, FetchError, FetchLimits, Outbound, Trust,
};
use vestibule_oauth::client::DocumentUrl;
use vestibule_oauth::time::{Clock, UnixTime};

use super::throttle::Throttle;
use crate::metrics::Metrics;
use crate::metrics::labels::{DocumentKind, FetchOutcome};

/// From the call to the last byte.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long an answer counts as fresh, whatever it says of itself, in seconds; and when it says nothing.
const MIN_FRESH: u64 = 60;
const MAX_FRESH: u64 = 24 * 3600;
const DEFAULT_FRESH: u64 = 3600;
/// After a failure the origin is left alone this long, in seconds.
const AFTER_FAILURE: u64 = 30;
/// While the origin is away or blocks us, what it last said holds this much longer, in seconds.
const MAX_STALE: u64 = 7 * 24 * 3600;
/// Documents kept. The least recently used go first, those that could not be read before all others.
const CAPACITY: usize = 1000;

/// Why there is no document. The text is for strangers, who choose the URL: what a name resolves to here, and why a
/// connection failed, is `RemoteError::inside` and for the log only.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RemoteError {
    /// The address policy says no.
    #[error("its host is not at a public address")]
    Address(String),
    /// No answer, or none in time.
    #[error("it did not answer")]
    Unreachable(String),
    /// An answer other than 200. Redirects are such answers: they are never followed.
    #[error("it answered {0} instead of 200")]
    Status(u16),
    /// Not JSON by its content type: a robot check or an error page.
    #[error("its content type is '{0}', not JSON")]
    ContentType(String),
    /// More bytes than allowed.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// It was read, and is not what it should be.
    #[error("{0}")]
    Invalid(String),
    /// Too many fetches in a short time.
    #[error("too many documents were asked for in a short time")]
    Busy,
}

impl RemoteError {
    /// True when the same request may succeed later without a change at the origin: then what it last said still holds,
    /// and a client is told to try again instead of that it is unknown.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::ContentType(_) | Self::Busy => true,
            Self::Status(status) => matches!(status, 401 | 403 | 408 | 425 | 429 | 500..=599),
            Self::Address(_) | Self::TooLarge(_) | Self::Invalid(_) => false,
        }
    }

    /// The cause, for the log.
    fn inside(&self) -> String {
        match self {
            Self::Address(cause) | Self::Unreachable(cause) => cause.clone(),
            other => other.to_string(),
        }
    }
}

/// The way out for documents: public addresses only, this computer as well during development.
#[derive(Debug)]
pub(super) struct Way {
    loopback: Option<Outbound>,
    public: OnceLock<Outbound>,
    proxy: Option<EgressProxy>,
    trust: Option<Trust>,
}

impl Way {
    /// `trust` of `None` means the system's certificate authorities, read when first needed.
    pub(super) fn new(loopback: bool, proxy: Option<EgressProxy>, trust: Option<Trust>) -> Self {
        let nobody = Trust::nobody().ok().filter(|_| loopback);
        Self {
            loopback: nobody.map(|trust| Outbound::new(AddressPolicy::LoopbackOnly, &trust)),
            public: OnceLock::new(),
            proxy,
            trust,
        }
    }

    /// True when documents on this computer may be read.
    pub(super) fn allows_loopback(&self) -> bool {
        self.loopback.is_some()
    }

    fn to(&self, url: &DocumentUrl) -> Option<&Outbound> {
        if url.is_loopback() {
            return self.loopback.as_ref();
        }
        if let Some(outbound) = self.public.get() {
            return Some(outbound);
        }
        let trust = match &self.trust {
            Some(trust) => trust.clone(),
            None => Trust::platform(None)
                .inspect_err(|error| tracing::warn!(%error, "no document can be fetched"))
                .ok()?,
        };
        let policy = AddressPolicy::PublicOnly;
        Some(self.public.get_or_init(|| match &self.proxy {
            Some(proxy) => Outbound::through(proxy.clone(), policy, &trust),
            None => Outbound::new(policy, &trust),
        }))
    }
}

/// Makes a `T` of a URL and the body found there, or says what is wrong with it.
type Read<T> = Box<dyn Fn(&str, &[u8]) -> Result<T, String> + Send + Sync>;

/// A cache of documents of one kind.
pub(super) struct Remote<T> {
    way: Arc<Way>,
    throttle: Arc<Throttle>,
    clock: Arc<dyn Clock>,
    /// Where fetches are counted, and as what.
    counted: (Arc<Metrics>, DocumentKind),
    max_body: usize,
    read: Read<T>,
    slots: Mutex<HashMap<String, Arc<Slot<T>>>>,
}

struct Slot<T> {
    state: Mutex<State<T>>,
    single_flight: tokio::sync::Mutex<()>,
    used: AtomicU64,
}

struct State<T> {
    good: Option<Good<T>>,
    failed: Option<(UnixTime, RemoteError)>,
}

struct Good<T> {
    value: Arc<T>,
    etag: Option<HeaderValue>,
    fetched_at: UnixTime,
    fresh_until: UnixTime,
}

impl<T> Good<T> {
    fn usable(&self, now: UnixTime) -> bool {
        now < self.fresh_until.plus(MAX_STALE)
    }
}

impl<T> Slot<T> {
    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                good: None,
                failed: None,
            }),
            single_flight: tokio::sync::Mutex::new(()),
            used: AtomicU64::new(0),
        }
    }

    /// The answer without a fetch, when there is one.
    fn known(&self, now: UnixTime) -> Option<Result<Arc<T>, RemoteError>> {
        let state = self.state();
        if let Some(good) = state.good.as_ref().filter(|good| now < good.fresh_until) {
            return Some(Ok(Arc::clone(&good.value)));
        }
        let (at, error) = state.failed.as_ref()?;
        (now.since(*at) < AFTER_FAILURE).then(|| state.fallback(now, error))
    }

    fn stale(&self, now: UnixTime) -> Option<Arc<T>> {
        let state = self.state();
        let good = state.good.as_ref().filter(|good| good.usable(now))?;
        Some(Arc::clone(&good.value))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// What the origin last said, when the failure says nothing about that; else the failure.
    fn fallback(&self, now: UnixTime, error: &RemoteError) -> Result<Arc<T>, RemoteError> {
        let good = self.good.as_ref().filter(|good| good.usable(now));
        match good {
            Some(good) if error.is_transient() => Ok(Arc::clone(&good.value)),
            _ => Err(error.clone()),
        }
    }
}

impl<T> Remote<T> {
    pub(super) fn new(
        way: Arc<Way>,
        throttle: Arc<Throttle>,
        clock: Arc<dyn Clock>,
        counted: (Arc<Metrics>, DocumentKind),
        max_body: usize,
        read: Read<T>,
    ) -> Self {
        Self {
            way,
            throttle,
            clock,
            counted,
            max_body,
            read,
            slots: Mutex::default(),
        }
    }

    /// The document: from memory while fresh, else fetched, else what the origin last said while it is away.
    pub(super) async fn get(&self, url: &DocumentUrl) -> Result<Arc<T>, RemoteError> {
        let slot = self.slot(url.as_str());
        let now = self.clock.now();
        if let Some(known) = slot.known(now) {
            return known;
        }
        // Whoever comes while another renews a usable document does not wait for it.
        let turn = match slot.single_flight.try_lock() {
            Ok(turn) => turn,
            Err(_) => match slot.stale(now) {
                Some(value) => return Ok(value),
                None => slot.single_flight.lock().await,
            },
        };
        let result = match slot.known(self.clock.now()) {
            Some(known) => known,
            None => self.fetch(&slot, url).await,
        };
        drop(turn);
        result
    }

    /// What is in memory, however old, without a fetch.
    pub(super) fn remembered(&self, url: &str) -> Option<Arc<T>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = Arc::clone(slots.get(url)?);
        drop(slots);
        slot.stale(self.clock.now())
    }

    /// A document other than `known`, unless it was fetched a moment ago: a key id that is not in a key set is a reason
    /// to look again, but not for every forged assertion.
    pub(super) async fn newer(&self, url: &DocumentUrl, known: &Arc<T>) -> Option<Arc<T>> {
        let slot = self.slot(url.as_str());
        let _turn = slot.single_flight.lock().await;
        let now = self.clock.now();
        {
            let state = slot.state();
            let good = state.good.as_ref()?;
            if !Arc::ptr_eq(&good.value, known) {
                return Some(Arc::clone(&good.value));
            }
            let failed_at = state.failed.as_ref().map(|(at, _)| *at);
            let last = failed_at.map_or(good.fetched_at, |at| at.max(good.fetched_at));
            if now.since(last) < AFTER_FAILURE {
                return None;
            }
        }
        let value = self.fetch(&slot, url).await.ok()?;
        (!Arc::ptr_eq(&value, known)).then_some(value)
    }

    /// Fetches; the caller holds the turn.
    async fn fetch(&self, slot: &Slot<T>, url: &DocumentUrl) -> Result<Arc<T>, RemoteError> {
        let etag = slot
            .state()
            .good
            .as_ref()
            .and_then(|good| good.etag.clone());
        let outcome = if self.throttle.take(url.host(), self.clock.now()) {
            self.request(url, etag).await
        } else {
            Err(RemoteError::Busy)
        };
        self.count(&outcome);
        let now = self.clock.now();
        let mut state = slot.state();
        match outcome {
            Ok(Fetched::New(value, headers)) => {
                let value = Arc::new(value);
                state.failed = None;
                state.good = Some(Good {
                    value: Arc::clone(&value),
                    etag: headers.get(ETAG).cloned(),
                    fetched_at: now,
                    fresh_until: now.plus(freshness(&headers)),
                });
                Ok(value)
            }
            Ok(Fetched::Unchanged(headers)) => {
                state.failed = None;
                let Some(good) = &mut state.good else {
                    // Only with an ETag of ours can this happen, and that came with a document.
                    return Err(RemoteError::Status(304));
                };
                good.fetched_at = now;
                good.fresh_until = now.plus(freshness(&headers));
                Ok(Arc::clone(&good.value))
            }
            // The allowance of strangers says nothing about this document: not remembered.
            Err(RemoteError::Busy) => {
                tracing::warn!(url = url.as_str(), "document not fetched: too many fetches");
                state.fallback(now, &RemoteError::Busy)
            }
            Err(error) => {
                let transient = error.is_transient();
                let kept = transient && state.good.as_ref().is_some_and(|good| good.usable(now));
                tracing::warn!(
                    url = url.as_str(),
                    error = error.inside(),
                    kept,
                    "document not read"
                );
                if !transient {
                    state.good = None;
                }
                state.failed = Some((now, error.clone()));
                state.fallback(now, &error)
            }
        }
    }

    fn count(&self, outcome: &Result<Fetched<T>, RemoteError>) {
        let outcome = match outcome {
            Ok(Fetched::New(..)) => FetchOutcome::Fetched,
            Ok(Fetched::Unchanged(_)) => FetchOutcome::Unchanged,
            Err(RemoteError::Address(_)) => FetchOutcome::Address,
            Err(RemoteError::Unreachable(_)) => FetchOutcome::Unreachable,
            Err(RemoteError::Status(_)) => FetchOutcome::Status,
            Err(RemoteError::ContentType(_)) => FetchOutcome::ContentType,
            Err(RemoteError::TooLarge(_)) => FetchOutcome::TooLarge,
            Err(RemoteError::Invalid(_)) => FetchOutcome::Invalid,
            Err(RemoteError::Busy) => FetchOutcome::Busy,
        };
        let (metrics, kind) = &self.counted;
        metrics.document_fetches.inc((*kind, outcome));
    }

    async fn request(
        &self,
        url: &DocumentUrl,
        etag: Option<HeaderValue>,
    ) -> Result<Fetched<T>, RemoteError> {
        let outbound = self.way.to(url).ok_or_else(|| {
            RemoteError::Unreachable("this server cannot make outbound https requests".to_owned())
        })?;
        let mut request = Request::get(url.as_str()).header(ACCEPT, "application/json");
        let conditional = etag.is_some();
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let request = request
            .body(Full::<Bytes>::default())
            .map_err(|error| RemoteError::Invalid(error.to_string()))?;
        let limits = FetchLimits {
            deadline: DEADLINE,
            max_body: self.max_body,
        };
        let response = outbound
            .fetch(request, limits)
            .await
            .map_err(|error| match error {
                FetchError::Refused { .. }
                | FetchError::PlainHttp { .. }
                | FetchError::NotAbsolute => RemoteError::Address(error.to_string()),
                FetchError::TooLarge { limit, .. } => RemoteError::TooLarge(limit),
                error => RemoteError::Unreachable(error.to_string()),
            })?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if conditional => {
                return Ok(Fetched::Unchanged(response.into_parts().0.headers));
            }
            other => return Err(RemoteError::Status(other.as_u16())),
        }
        require_json(&response)?;
        let (parts, body) = response.into_parts();
        let value = (self.read)(url.as_str(), &body).map_err(RemoteError::Invalid)?;
        Ok(Fetched::New(value, parts.headers))
    }

    fn slot(&self, url: &str) -> Arc<Slot<T>> {
        let now = self.clock.now();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(url) && slots.len() >= CAPACITY {
            let idle = slots
                .iter()
                .map(|(url, slot)| {
                    let good = slot.state().good.is_some();
                    ((good, slot.used.load(Ordering::Relaxed)), url)
                })
                .min();
            if let Some(url) = idle.map(|(_, url)| url.clone()) {
                slots.remove(&url);
            }
        }
        let slot = slots
            .entry(url.to_owned())
            .or_insert_with(|| Arc::new(Slot::new()));
        slot.used.store(now.0, Ordering::Relaxed);
        Arc::clone(slot)
    }
}

impl<T> std::fmt::Debug for Remote<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("way", &self.way)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}

enum Fetched<T> {
    New(T, HeaderMap),
    Unchanged(HeaderMap),
}

/// `application/json`, or `application/` something `+json`.
fn require_json(response: &Response<Bytes>) -> Result<(), RemoteError> {
    let given = text(response.headers(), &CONTENT_TYPE);
    let essence = given.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json {
        Ok(())
    } else {
        Err(RemoteError::ContentType(essence))
    }
}

/// Seconds an answer stays fresh (RFC 9111 §4.2), within our bounds.
fn freshness(headers: &HeaderMap) -> u64 {
    let control = text(headers, &CACHE_CONTROL).to_ascii_lowercase();
    let mut seconds = DEFAULT_FRESH;
    for directive in control.split(',').map(str::trim) {
        if matches!(directive, "no-store" | "no-cache") {
            seconds = 0;
            break;
        }
        if let Some(age) = directive.strip_prefix("max-age=") {
            seconds = age.trim_matches('"').parse().unwrap_or(0);
        }
    }
    let age: u64 = text(headers, &AGE).trim().parse().unwrap_or(0);
    seconds.saturating_sub(age).clamp(MIN_FRESH, MAX_FRESH)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

#[cfg(test)]
#[path = "tests/remote.rs"]
mod tests;
