//! Where an issuer's keys are: given, or learned from its metadata (RFC 8414 §3, OpenID Connect Discovery §4) when first
//! needed, so that a server starts while its issuer is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use vestibule_oauth::jose::{JwkSet, Jws};
use vestibule_oauth::time::{Clock, UnixTime};
use vestibule_oauth::url::{Endpoint, Issuer};
use vestibule_oauth::well_known;

use crate::fetch::{FetchLimits, Outbound};
use crate::keys::{DEFAULT_TTL_SECONDS, JwksSource, KeysError, VerifyError};

/// Metadata is asked for again after a day: where the keys are hardly ever changes.
const TTL_SECONDS: u64 = 24 * 3600;
/// At least this long between two attempts.
const THROTTLE_SECONDS: u64 = 2;
const LIMITS: FetchLimits = FetchLimits {
    deadline: Duration::from_secs(5),
    max_body: 256 * 1024,
};

/// The keys of one issuer.
///
/// ```
/// use std::sync::Arc;
/// use vestibule_guard::fetch::{AddressPolicy, Outbound, Trust};
/// use vestibule_guard::{Issuer, IssuerKeys, SystemClock};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let outbound = Outbound::new(AddressPolicy::Configured, &Trust::platform(None)?);
/// let issuer = Issuer::parse("https://login.example")?;
/// let keys = IssuerKeys::discovered(issuer, outbound, Arc::new(SystemClock)); // asks nobody yet
/// let offline = IssuerKeys::fixed(br#"{"keys":[]}"#)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct IssuerKeys(Source);

#[derive(Debug)]
enum Source {
    Fixed(JwkSet),
    Url(JwksSource),
    Issuer(Discovered),
}

impl From<JwksSource> for IssuerKeys {
    fn from(source: JwksSource) -> Self {
        Self(Source::Url(source))
    }
}

impl IssuerKeys {
    /// Keys at the `jwks_uri` that the issuer's metadata names.
    pub fn discovered(issuer: Issuer, outbound: Outbound, clock: Arc<dyn Clock>) -> Self {
        Self(Source::Issuer(Discovered {
            issuer,
            outbound,
            clock,
            known: ArcSwapOption::empty(),
            attempted: AtomicU64::new(0),
            single_flight: Mutex::new(()),
        }))
    }

    /// Keys at `url`, fetched when first needed and then every hour.
    pub fn at(url: impl Into<String>, outbound: Outbound, clock: Arc<dyn Clock>) -> Self {
        JwksSource::new(url, outbound, clock, DEFAULT_TTL_SECONDS).into()
    }

    /// These keys and no others: a JWKS document (RFC 7517 §5). Nothing is fetched, so a key that is rotated out stays good
    /// until the program is told otherwise.
    pub fn fixed(document: &[u8]) -> Result<Self, serde_json::Error> {
        JwkSet::parse(document).map(|keys| Self(Source::Fixed(keys)))
    }

    /// Verifies a signature; see [`JwksSource::verify`].
    pub async fn verify(&self, token: &Jws<'_>) -> Result<Map<String, Value>, VerifyError> {
        match &self.0 {
            Source::Fixed(keys) => Ok(token.verify(keys)?),
            Source::Url(source) => source.verify(token).await,
            Source::Issuer(discovered) => discovered.source().await?.verify(token).await,
        }
    }
}

struct Discovered {
    issuer: Issuer,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
    known: ArcSwapOption<Known>,
    /// Seconds of the last attempt; 0 for never.
    attempted: AtomicU64,
    single_flight: Mutex<()>,
}

struct Known {
    keys: Arc<JwksSource>,
    at: UnixTime,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Discovered {
    async fn source(&self) -> Result<Arc<JwksSource>, KeysError> {
        let fresh = |known: &Arc<Known>| self.clock.now().since(known.at) < TTL_SECONDS;
        if let Some(known) = self.known.load_full().filter(fresh) {
            return Ok(Arc::clone(&known.keys));
        }
        let before = self.known.load_full();
        let _turn = match (&before, self.single_flight.try_lock()) {
            (_, Ok(turn)) => turn,
            // Somebody else is asking already, and where the keys were will do.
            (Some(known), Err(_)) => return Ok(Arc::clone(&known.keys)),
            (None, Err(_)) => self.single_flight.lock().await,
        };
        if let Some(known) = self.known.load_full().filter(fresh) {
            return Ok(Arc::clone(&known.keys));
        }
        match self.attempt(before.as_deref()).await {
            Ok(keys) => Ok(keys),
            Err(error) => match before {
                Some(known) => {
                    tracing::debug!(issuer = %self.issuer, %error, "metadata not renewed");
                    Ok(Arc::clone(&known.keys))
                }
                None => Err(error),
            },
        }
    }

    /// Asks; the caller holds the turn.
    async fn attempt(&self, before: Option<&Known>) -> Result<Arc<JwksSource>, KeysError> {
        let last = UnixTime(self.attempted.load(Ordering::Relaxed));
        if last.0 != 0 && self.clock.now().since(last) < THROTTLE_SECONDS {
            return Err(KeysError::Waiting {
                url: self.issuer.as_str().to_owned(),
            });
        }
        let found = self.ask().await;
        // Afterwards: those who waited for a slow failure must not each repeat it.
        self.attempted.store(self.clock.now().0, Ordering::Relaxed);
        let jwks_uri = found.inspect_err(|error| {
            tracing::warn!(issuer = %self.issuer, %error, "the issuer's metadata was not read");
        })?;
        let keys = match before.filter(|known| known.keys.url() == jwks_uri) {
            Some(known) => Arc::clone(&known.keys),
            None => Arc::new(JwksSource::new(
                jwks_uri,
                self.outbound.clone(),
                Arc::clone(&self.clock),
                DEFAULT_TTL_SECONDS,
            )),
        };
        self.known.store(Some(Arc::new(Known {
            keys: Arc::clone(&keys),
            at: self.clock.now(),
        })));
        Ok(keys)
    }

    /// OpenID Connect's place first: most issuers have that document, and some have no other.
    async fn ask(&self) -> Result<String, KeysError> {
        let mut outcome = Err(KeysError::Url {
            url: self.issuer.as_str().to_owned(),
        });
        for url in [
            self.issuer.openid_configuration_url(),
            inserted(self.issuer.as_str()),
        ] {
            outcome = self.read(&url).await;
            // Who cannot be reached at one place cannot be reached at the other.
            if matches!(outcome, Ok(_) | Err(KeysError::Fetch(_))) {
                break;
            }
        }
        outcome
    }

    async fn read(&self, url: &str) -> Result<String, KeysError> {
        let own = || url.to_owned();
        let request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .body(Full::<Bytes>::default())
            .map_err(|_| KeysError::Url { url: own() })?;
        let response = self.outbound.fetch(request, LIMITS).await?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(KeysError::Status { url: own(), status });
        }
        let metadata: Metadata = serde_json::from_slice(response.body())
            .map_err(|_| KeysError::Metadata { url: own() })?;
        // RFC 8414 §3.3: MUST be identical, or the document is somebody else's.
        let secure = |uri: &str| {
            uri.starts_with("https://") || !self.issuer.as_str().starts_with("https://")
        };
        let good = metadata.issuer == self.issuer.as_str()
            && Endpoint::parse(&metadata.jwks_uri).is_ok()
            && secure(&metadata.jwks_uri);
        if good {
            Ok(metadata.jwks_uri)
        } else {
            Err(KeysError::Metadata { url: own() })
        }
    }
}

impl std::fmt::Debug for Discovered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovered")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// RFC 8414 §3.1: the well-known part between host and path.
fn inserted(issuer: &str) -> String {
    let after_scheme = issuer.find("://").map_or(0, |at| at + 3);
    let path = issuer[after_scheme..]
        .find('/')
        .map_or(issuer.len(), |at| after_scheme + at);
    let (origin, path) = issuer.split_at(path);
    format!(
        "{origin}{}{}",
        well_known::AUTHORIZATION_SERVER,
        path.trim_end_matches('/')
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vestibule_oauth::time::ManualClock;

    use super::*;
    use crate::testing::{self, NOW, Server};

    async fn verify(keys: &IssuerKeys) -> Result<Map<String, Value>, VerifyError> {
        let token = testing::key(0)
            .sign("at+jwt", &testing::claims(&json!({})))
            .unwrap();
        keys.verify(&Jws::parse(&token).unwrap()).await
    }

    fn discovered(server: &Server) -> (IssuerKeys, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(NOW));
        let keys = IssuerKeys::discovered(
            Issuer::parse(&server.origin()).unwrap(),
            testing::outbound(),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        (keys, clock)
    }

    /// Metadata and key set in one document: the server answers every path alike.
    fn both(server: &Server) -> String {
        let mut document: Value =
            serde_json::from_str(&testing::key_set(&[&testing::key(0)])).unwrap();
        document["issuer"] = json!(server.origin());
        document["jwks_uri"] = json!(server.url());
        document.to_string()
    }

    #[test]
    fn the_well_known_part_stands_between_host_and_path() {
        let insert = "/.well-known/oauth-authorization-server";
        assert_eq!(inserted("https://h"), format!("https://h{insert}"));
        assert_eq!(inserted("https://h/"), format!("https://h{insert}"));
        assert_eq!(inserted("https://h/a/b"), format!("https://h{insert}/a/b"));
    }

    #[tokio::test]
    async fn a_server_starts_while_its_issuer_is_away_and_does_not_hammer_it() {
        let server = Server::start(String::new()).await;
        server.answer(503, "");
        let (keys, clock) = discovered(&server);
        for _ in 0..5 {
            assert!(matches!(verify(&keys).await, Err(VerifyError::Keys(_))));
        }
        assert_eq!(server.requests(), 2, "both places, once");
        server.answer(200, both(&server));
        clock.advance(THROTTLE_SECONDS);
        verify(&keys).await.unwrap();
        verify(&keys).await.unwrap();
        assert_eq!(server.requests(), 4, "one for metadata, one for keys");
        // Away again: where the keys were will do.
        server.answer(503, "");
        clock.advance(TTL_SECONDS);
        verify(&keys).await.unwrap();
    }

    #[tokio::test]
    async fn metadata_of_another_issuer_is_not_believed() {
        let server = Server::start(String::new()).await;
        let mut document: Value = serde_json::from_str(&both(&server)).unwrap();
        document["issuer"] = json!("https://evil.example");
        server.answer(200, document.to_string());
        let (keys, _clock) = discovered(&server);
        let error = verify(&keys).await.unwrap_err();
        let expected = matches!(error, VerifyError::Keys(KeysError::Metadata { .. }));
        assert!(expected, "{error}");
    }

    #[tokio::test]
    async fn many_first_requests_ask_for_the_metadata_once() {
        let server = Server::start(String::new()).await;
        server.answer(200, both(&server));
        let (keys, _clock) = discovered(&server);
        let all = futures_util::future::join_all((0..20).map(|_| verify(&keys))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(server.requests(), 2);
    }
}
