//! The provider's discovery document and keys: fetched when first needed, kept, refreshed, never blocking the start.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::sync::Mutex;

use vestibule_guard::fetch::{FetchLimits, Outbound};
use vestibule_guard::keys::JwksSource;
use vestibule_oauth::metadata::ProviderMetadata;
use vestibule_oauth::time::{Clock, UnixTime};
use vestibule_oauth::url::{Endpoint, Issuer};

use super::{ProviderError, ask};
use crate::metrics::Metrics;
use crate::metrics::labels::ProviderEndpoint;
use crate::settings::{Endpoints, ProviderSettings};

/// Seconds a document is used before it is fetched again.
const FRESH_FOR: u64 = 3600;
/// Seconds between two attempts after a failure, so that a provider that is down is not hammered.
const RETRY_AFTER_FAILURE: u64 = 2;
/// Discovery documents and key sets are a few kilobytes.
const MAX_DOCUMENT: usize = 256 * 1024;

struct Known {
    metadata: Arc<ProviderMetadata>,
    /// Absent where nothing is signed.
    keys: Option<Arc<JwksSource>>,
    fetched_at: UnixTime,
}

/// The document, and the key set it names.
pub struct Discovery {
    issuer: Issuer,
    timeout: Duration,
    /// False when everything that is needed was written in the settings.
    fetches: bool,
    /// What wins over the document.
    endpoints: Endpoints,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    known: ArcSwapOption<Known>,
    /// Held while fetching, so that a hundred sign-ins cause one request; holds the last failure.
    fetching: Mutex<Option<(UnixTime, String)>>,
}

impl Discovery {
    /// Knows where to look; looks later.
    pub(crate) fn new(
        settings: &ProviderSettings,
        outbound: Outbound,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            issuer: settings.issuer.clone(),
            timeout: settings.timeout,
            fetches: settings.discovery,
            endpoints: settings.endpoints.clone(),
            outbound,
            clock,
            metrics,
            known: ArcSwapOption::empty(),
            fetching: Mutex::new(None),
        }
    }

    /// True when both read the same document and lay the same endpoints over it.
    pub(super) fn looks_where(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.timeout == other.timeout
            && self.fetches == other.fetches
            && self.endpoints == other.endpoints
    }

    /// The document. A stale one is better than none while the provider is away.
    pub async fn metadata(&self) -> Result<Arc<ProviderMetadata>, ProviderError> {
        self.known().await.map(|known| Arc::clone(&known.metadata))
    }

    /// The provider's keys.
    pub async fn keys(&self) -> Result<Arc<JwksSource>, ProviderError> {
        let keys = self.known().await?.keys.clone();
        keys.ok_or_else(|| ProviderError::Misconfigured("the provider has no jwks_uri".into()))
    }

    async fn known(&self) -> Result<Arc<Known>, ProviderError> {
        let fresh = |known: &Arc<Known>| self.clock.now().since(known.fetched_at) < FRESH_FOR;
        let known = self.known.load_full();
        if let Some(known) = known.as_ref().filter(|known| fresh(known)) {
            return Ok(Arc::clone(known));
        }
        let mut last_failure = self.fetching.lock().await;
        // Somebody else may have fetched, or failed, while we waited for the lock.
        let known = self.known.load_full();
        if let Some(known) = known.as_ref().filter(|known| fresh(known)) {
            return Ok(Arc::clone(known));
        }
        let recent = last_failure
            .as_ref()
            .filter(|(at, _)| self.clock.now().since(*at) < RETRY_AFTER_FAILURE);
        let outcome = match recent {
            Some((_, cause)) => Err(ProviderError::unavailable(cause)),
            None => self.fetch(known.as_deref()).await,
        };
        match outcome {
            Ok(fetched) => {
                *last_failure = None;
                let fetched = Arc::new(fetched);
                self.known.store(Some(Arc::clone(&fetched)));
                Ok(fetched)
            }
            Err(error) => {
                if last_failure
                    .as_ref()
                    .is_none_or(|(at, _)| self.clock.now().since(*at) >= RETRY_AFTER_FAILURE)
                {
                    tracing::warn!(reason = error.slug(), cause = %error, issuer = %self.issuer, "discovery failed");
                    *last_failure = Some((self.clock.now(), error.to_string()));
                }
                known.ok_or(error)
            }
        }
    }

    async fn fetch(&self, before: Option<&Known>) -> Result<Known, ProviderError> {
        let document = if self.fetches {
            self.document().await?
        } else {
            nothing_discovered(&self.issuer)
        };
        let metadata = self.laid_over(document);
        for endpoint in [
            metadata.authorization_endpoint.as_ref(),
            metadata.token_endpoint.as_ref(),
            metadata.revocation_endpoint.as_ref(),
            metadata.userinfo_endpoint.as_ref(),
            metadata.end_session_endpoint.as_ref(),
            Some(&metadata.jwks_uri).filter(|url| !url.is_empty()),
        ]
        .into_iter()
        .flatten()
        {
            check_endpoint(endpoint, &self.issuer)?;
        }
        let same_place =
            |known: &&Known| known.metadata.jwks_uri == metadata.jwks_uri && known.keys.is_some();
        let keys = match before.filter(same_place) {
            _ if metadata.jwks_uri.is_empty() => None,
            Some(known) => known.keys.clone(),
            None => Some(Arc::new(JwksSource::new(
                &metadata.jwks_uri,
                self.outbound.clone(),
                Arc::clone(&self.clock),
                FRESH_FOR,
            ))),
        };
        Ok(Known {
            metadata: Arc::new(metadata),
            keys,
            fetched_at: self.clock.now(),
        })
    }

    /// What the operator wrote wins.
    fn laid_over(&self, mut document: ProviderMetadata) -> ProviderMetadata {
        let over = |written: &Option<Endpoint>, found: &mut Option<String>| {
            if let Some(written) = written {
                *found = Some(written.as_str().to_owned());
            }
        };
        let written = &self.endpoints;
        over(&written.authorization, &mut document.authorization_endpoint);
        over(&written.token, &mut document.token_endpoint);
        over(&written.userinfo, &mut document.userinfo_endpoint);
        over(&written.revocation, &mut document.revocation_endpoint);
        over(&written.end_session, &mut document.end_session_endpoint);
        if let Some(jwks) = &written.jwks {
            jwks.as_str().clone_into(&mut document.jwks_uri);
        }
        document
    }

    async fn document(&self) -> Result<ProviderMetadata, ProviderError> {
        let url = self.issuer.openid_configuration_url();
        let request = Request::get(&url)
            .header(http::header::ACCEPT, "application/json")
            .body(Full::<Bytes>::default());
        let request =
            request.map_err(|error| ProviderError::Misconfigured(format!("{url}: {error}")))?;
        let limits = FetchLimits {
            deadline: self.timeout,
            max_body: MAX_DOCUMENT,
        };
        let endpoint = ProviderEndpoint::Discovery;
        let response = ask(&self.outbound, &self.metrics, endpoint, request, limits).await?;
        if !response.status().is_success() {
            return Err(ProviderError::unavailable(format!(
                "{url} answered {}",
                response.status()
            )));
        }
        let metadata: ProviderMetadata =
            serde_json::from_slice(response.body()).map_err(|error| {
                ProviderError::BadAnswer(format!("{url} is not a discovery document: {error}"))
            })?;
        // OpenID Connect Discovery §4.3: MUST exactly match.
        if metadata.issuer != self.issuer.as_str() {
            return Err(ProviderError::Misconfigured(format!(
                "{url} says its issuer is '{}', but provider.issuer is '{}': set provider.issuer to the former",
                metadata.issuer, self.issuer
            )));
        }
        Ok(metadata)
    }
}

/// Where the settings know everything.
fn nothing_discovered(issuer: &Issuer) -> ProviderMetadata {
    ProviderMetadata {
        issuer: issuer.as_str().to_owned(),
        authorization_endpoint: None,
        token_endpoint: None,
        jwks_uri: String::new(),
        revocation_endpoint: None,
        end_session_endpoint: None,
        userinfo_endpoint: None,
        token_endpoint_auth_methods_supported: None,
        authorization_response_iss_parameter_supported: false,
    }
}

/// An https provider must not send our secret or our users to plain http.
fn check_endpoint(endpoint: &str, issuer: &Issuer) -> Result<(), ProviderError> {
    let parsed =
        Endpoint::parse(endpoint).map_err(|error| ProviderError::BadAnswer(error.to_string()))?;
    if issuer.as_str().starts_with("https://") && !parsed.as_str().starts_with("https://") {
        return Err(ProviderError::BadAnswer(format!(
            "the discovery document names the plain-http endpoint {endpoint}"
        )));
    }
    Ok(())
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}
