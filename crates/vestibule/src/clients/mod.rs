//! The client registry: pre-registered clients from the settings, registered ones out of their own sealed `client_id`,
//! and those that a metadata document describes (RFC 7591, CIMD; journey step "client" of `/authorize` and `/token`).
//!
//! Nothing is stored (law 7). Documents are cached in memory; see `remote`.

mod authenticate;
mod bundled;
pub mod policy;
mod remote;
mod replay;
mod throttle;

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;
use url::Url;

use vestibule_guard::fetch::{AddressPolicy, EgressProxy, Outbound, Trust};
use vestibule_guard::keys::{DEFAULT_TTL_SECONDS, JwksSource};
use vestibule_oauth::client::{
    Client, ClientAuthMethod, ClientId, ClientKeys, DocumentUrl, DocumentUrlError,
    MetadataDocument, Registration,
};
use vestibule_oauth::jose::JwkSet;
use vestibule_oauth::random::Random;
use vestibule_oauth::secret::ClientSecret;
use vestibule_oauth::time::{Clock, UnixTime};
use vestibule_oauth::url::{PrivateUseSchemes, is_loopback_host};

pub use authenticate::ClientAuthError;
pub use remote::RemoteError;

use crate::BuildError;
use crate::metrics::Metrics;
use crate::metrics::labels::DocumentKind;
use crate::seal::{Kind, SealError, Sealable, Sealer};
use crate::settings::{ClientCredential, ClientSettings, PreRegistered, Settings};
use crate::ways::{authorities, trust};
use policy::{ClientPolicy, HostPattern, Refusal};
use remote::{Remote, Way};
use replay::UsedAssertions;
use throttle::Throttle;

/// Key sets of clients have a few keys.
const MAX_KEY_SET: usize = 64 * 1024;

impl Sealable for Registration {
    const KIND: Kind = Kind::Registration;
}

/// Why a `client_id` leads to no client.
#[derive(Debug, Error)]
pub enum UnknownClient {
    /// Not among the configured ones.
    #[error("no pre-registered client has this client_id")]
    NotConfigured,
    /// Looks like one of ours, but the seal does not open.
    #[error("the client_id was not issued by this server: {0}")]
    Seal(#[from] SealError),
    /// Empty, too long, or not printable.
    #[error("the client_id is malformed")]
    Malformed,
    /// The operator switched metadata documents off.
    #[error("client id metadata documents are switched off at this server")]
    DocumentsOff,
    /// The URL cannot name a metadata document.
    #[error("the client_id cannot be the URL of a metadata document: {0}")]
    DocumentUrl(#[from] DocumentUrlError),
    /// The host is not among `clients.document_hosts`.
    #[error("metadata documents at {0} are not read by this server")]
    DocumentHost(String),
    /// The document could not be read.
    #[error("the metadata document at the client_id cannot be used: {0}")]
    Document(#[from] RemoteError),
    /// The operator does not want it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl UnknownClient {
    /// True when the client may well be known, and the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Document(error) if error.is_transient())
    }
}

/// Finds clients by id, and knows whether they are who they say.
#[derive(Debug)]
pub struct ClientRegistry {
    preregistered: Vec<Known>,
    pinned: HashMap<String, Client>,
    /// `None` when metadata documents are switched off.
    documents: Option<Arc<Remote<Client>>>,
    document_hosts: Vec<HostPattern>,
    key_sets: Arc<Remote<JwkSet>>,
    way: Arc<Way>,
    throttle: Arc<Throttle>,
    policy: ClientPolicy,
    used: Arc<UsedAssertions>,
    fetched_by: FetchedBy,
    /// What an assertion may name as its audience: our issuer, our token endpoint.
    audiences: [String; 2],
}

/// What decides which documents are read, and how: as long as it stays the same, what was read stays good.
#[derive(Debug, PartialEq, Eq)]
struct FetchedBy {
    development: bool,
    proxy: Option<EgressProxy>,
    /// What stands in `clients.ca_file`.
    authorities: Option<Vec<u8>>,
    max_bytes: usize,
    private_use: PrivateUseSchemes,
}

/// A pre-registered client with what proves it.
#[derive(Debug)]
struct Known {
    client: Client,
    secret: Option<ClientSecret>,
    keys: Option<Arc<JwksSource>>,
}

impl ClientRegistry {
    /// Takes the settings. Talks to nobody.
    pub fn build(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Self, BuildError> {
        Self::build_after(None, settings, clock, &Arc::default())
    }

    /// The same with what `before` remembers: used assertions and allowances always, documents and key sets unless they
    /// would be read in another way now.
    pub fn build_after(
        before: Option<&Self>,
        settings: &Settings,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, BuildError> {
        let clients = &settings.clients;
        let authority = settings.public_url.authority();
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host);
        let development = is_loopback_host(host);
        let authorities = authorities("the clients", clients.ca_file.as_deref())?;
        let trust = authorities
            .as_deref()
            .map(|pem| trust("the clients", "https://", Some(pem)))
            .transpose()?;
        let fetched_by = FetchedBy {
            development,
            proxy: clients.egress_proxy.clone(),
            authorities,
            max_bytes: clients.document_max_bytes,
            private_use: clients.private_use_schemes.clone(),
        };
        let throttle = before.map_or_else(Arc::default, |before| Arc::clone(&before.throttle));
        let same = before.filter(|before| before.fetched_by == fetched_by);
        let way = same.map_or_else(
            || {
                let proxy = clients.egress_proxy.clone();
                Arc::new(Way::new(development, proxy, trust.clone()))
            },
            |before| Arc::clone(&before.way),
        );
        let documents = clients.metadata_documents.then(|| {
            let kept = same.and_then(|before| before.documents.clone());
            kept.unwrap_or_else(|| Arc::new(documents(clients, &way, &throttle, clock, metrics)))
        });
        let key_sets = match same {
            Some(before) => Arc::clone(&before.key_sets),
            None => Arc::new(key_sets(&way, &throttle, clock, metrics)),
        };
        let keys_before = |uri: &str| {
            let known = same.iter().flat_map(|before| &before.preregistered);
            let mut keys = known.filter_map(|known| known.keys.as_ref());
            keys.find(|keys| keys.url() == uri).map(Arc::clone)
        };
        let pinned = clients.pinned.iter().cloned();
        Ok(Self {
            preregistered: clients
                .preregistered
                .iter()
                .map(|configured| {
                    Known::new(configured, clients, trust.as_ref(), clock, &keys_before)
                })
                .collect::<Result<_, _>>()?,
            pinned: pinned
                .map(|client| (client.id.as_str().to_owned(), client))
                .collect(),
            documents,
            document_hosts: clients.document_hosts.clone(),
            key_sets,
            way,
            throttle,
            policy: clients.policy.clone(),
            used: before.map_or_else(Arc::default, |before| Arc::clone(&before.used)),
            fetched_by,
            audiences: [
                settings.public_url.as_str().to_owned(),
                settings.public_url.join("/token"),
            ],
        })
    }

    /// The client behind a `client_id` as it came over the wire.
    pub async fn resolve(
        &self,
        sealer: &Sealer,
        client_id: &str,
        now: UnixTime,
    ) -> Result<Client, UnknownClient> {
        let client = match ClientId::parse(client_id).ok_or(UnknownClient::Malformed)? {
            ClientId::PreRegistered(id) => {
                let known = self.known(&id).ok_or(UnknownClient::NotConfigured)?;
                known.client.clone()
            }
            ClientId::Registered(id) => {
                let registration: Registration = sealer.open(&id, now)?;
                registration.into_client(ClientId::Registered(id))
            }
            ClientId::MetadataDocument(url) => self.described(&url).await?,
        };
        self.policy.admit(&client)?;
        Ok(client)
    }

    /// The name that a client gives itself, as far as it is known without asking anybody.
    pub(crate) fn name_of(
        &self,
        sealer: &Sealer,
        client_id: &str,
        now: UnixTime,
    ) -> Option<String> {
        match ClientId::parse(client_id)? {
            ClientId::PreRegistered(id) => self.known(&id)?.client.name.clone(),
            ClientId::Registered(id) => {
                let registration: Registration = sealer.open(&id, now).ok()?;
                registration.into_client(ClientId::Registered(id)).name
            }
            ClientId::MetadataDocument(url) => match self.pinned.get(&url) {
                Some(pinned) => pinned.name.clone(),
                None => self.documents.as_ref()?.remembered(&url)?.name.clone(),
            },
        }
    }

    /// The operator's rules, for `/register` and `/authorize`.
    pub fn policy(&self) -> &ClientPolicy {
        &self.policy
    }

    /// Seals a registration into a `client_id` that never expires.
    pub fn register(
        &self,
        sealer: &Sealer,
        registration: Registration,
        random: &dyn Random,
    ) -> Client {
        let id = sealer.seal(&registration, None, random);
        registration.into_client(ClientId::Registered(id))
    }

    /// The secret of a registered confidential client: derived from its id, so nothing is stored and nobody else's
    /// secret says anything about it. `None` for every other client.
    pub fn secret_of(&self, sealer: &Sealer, client: &Client) -> Option<ClientSecret> {
        let ClientId::Registered(id) = &client.id else {
            return None;
        };
        let secret = client
            .auth_method
            .is_secret()
            .then(|| sealer.secret_for(id));
        secret.flatten().map(ClientSecret)
    }

    fn known(&self, id: &str) -> Option<&Known> {
        let mut known = self.preregistered.iter();
        known.find(|known| known.client.id.as_str() == id)
    }

    /// Pinned by the operator, else fetched, else what is known of it when its origin is away.
    async fn described(&self, id: &str) -> Result<Client, UnknownClient> {
        if let Some(pinned) = self.pinned.get(id) {
            return Ok(pinned.clone());
        }
        let Some(documents) = &self.documents else {
            return Err(UnknownClient::DocumentsOff);
        };
        let url = self.document_url(id)?;
        match documents.get(&url).await {
            Ok(client) => Ok((*client).clone()),
            Err(error) if error.is_transient() => {
                let bundled = bundled::client(id).ok_or(UnknownClient::Document(error))?;
                tracing::info!(
                    client_id = id,
                    "metadata document away, using what is known"
                );
                Ok(bundled)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A URL that may be fetched: by its form, and by the operator's lists.
    fn document_url(&self, text: &str) -> Result<DocumentUrl, UnknownClient> {
        let url = DocumentUrl::parse(text, self.way.allows_loopback())?;
        let allowed = self
            .document_hosts
            .iter()
            .any(|host| host.matches(url.host()));
        if !self.document_hosts.is_empty() && !allowed {
            return Err(UnknownClient::DocumentHost(url.host().to_owned()));
        }
        self.policy.admit_host(Url::parse(text).ok().as_ref())?;
        Ok(url)
    }
}

impl Known {
    fn new(
        configured: &PreRegistered,
        clients: &ClientSettings,
        extra: Option<&Trust>,
        clock: &Arc<dyn Clock>,
        keys_before: &dyn Fn(&str) -> Option<Arc<JwksSource>>,
    ) -> Result<Self, BuildError> {
        let (auth_method, client_keys, secret) = match &configured.credential {
            ClientCredential::None => (ClientAuthMethod::None, ClientKeys::None, None),
            ClientCredential::Secret(secret) => (
                ClientAuthMethod::ClientSecretBasic,
                ClientKeys::None,
                Some(secret.clone()),
            ),
            ClientCredential::Keys(keys) => (ClientAuthMethod::PrivateKeyJwt, keys.clone(), None),
        };
        // The operator typed this URL: it may be private.
        let source = |uri: &String| {
            let trust = match extra {
                Some(trust) => trust.clone(),
                None => trust(&configured.client_id, uri, None)?,
            };
            let policy = AddressPolicy::Configured;
            let outbound = match &clients.egress_proxy {
                Some(proxy) => Outbound::through(proxy.clone(), policy, &trust),
                None => Outbound::new(policy, &trust),
            };
            let clock = Arc::clone(clock);
            let source = JwksSource::new(uri, outbound, clock, DEFAULT_TTL_SECONDS);
            Ok::<_, BuildError>(Arc::new(source))
        };
        let keys = match &client_keys {
            ClientKeys::Uri(uri) => Some(match keys_before(uri) {
                Some(keys) => keys,
                None => source(uri)?,
            }),
            _ => None,
        };
        Ok(Self {
            client: Client {
                id: ClientId::PreRegistered(configured.client_id.clone()),
                name: Some(configured.name.clone()),
                redirect_uris: configured.redirect_uris.clone(),
                auth_method,
                keys: client_keys,
                application_type: None,
            },
            secret,
            keys,
        })
    }
}

fn documents(
    clients: &ClientSettings,
    way: &Arc<Way>,
    throttle: &Arc<Throttle>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Remote<Client> {
    let private_use = clients.private_use_schemes.clone();
    Remote::new(
        Arc::clone(way),
        Arc::clone(throttle),
        Arc::clone(clock),
        (Arc::clone(metrics), DocumentKind::Metadata),
        clients.document_max_bytes,
        Box::new(move |url, body| {
            MetadataDocument::read(url, body, &private_use).map_err(|error| error.to_string())
        }),
    )
}

fn key_sets(
    way: &Arc<Way>,
    throttle: &Arc<Throttle>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Remote<JwkSet> {
    Remote::new(
        Arc::clone(way),
        Arc::clone(throttle),
        Arc::clone(clock),
        (Arc::clone(metrics), DocumentKind::Keys),
        MAX_KEY_SET,
        Box::new(|_, body| {
            let keys = JwkSet::parse(body).map_err(|error| error.to_string())?;
            if keys.is_empty() {
                return Err("it holds no usable key".to_owned());
            }
            Ok(keys)
        }),
    )
}

#[cfg(test)]
#[path = "tests/registry.rs"]
mod tests;
