//! The house: an authorization server and gateway between MCP clients and an MCP server whose users live in an OIDC
//! provider. [`House`] is the built product; [`House::router`] is what every listener and every test talks to.

pub mod admin;
mod alarm;
pub mod arrival;
pub mod audit;
pub mod authorization_server;
mod authz;
#[cfg(feature = "aws")]
pub mod aws;
pub mod cli;
pub mod clients;
#[doc(hidden)]
pub mod fuzz_hooks;
pub mod gateway;
pub mod grants;
pub mod health;
pub mod issuer;
pub mod keys;
pub mod limits;
pub mod metrics;
pub mod minted;
pub mod pages;
pub mod policy;
pub mod provider;
pub mod proxy;
pub mod quarantine;
pub mod reload;
mod revocation;
mod routes;
pub mod seal;
pub mod serve;
pub mod settings;
mod spelling;
pub mod store;
pub mod telemetry;
#[cfg(test)]
mod test_directory;
pub mod upstream_identity;
mod ways;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use vestibule_guard::fetch::Protocol;
use vestibule_oauth::random::Random;
use vestibule_oauth::time::{Clock, UnixTime};

use audit::Audit;
use authorization_server::discovery::Documents;
use authorization_server::token::Refreshes;
use clients::ClientRegistry;
use gateway::Gateway;
use grants::{RevokedTokens, Shelf};
use issuer::{IssuerError, TokenIssuer};
use keys::{KeyAges, KeyIds, KeyRing};
use limits::{Limits, OriginLock};
use metrics::Metrics;
use provider::Provider;
use proxy::Watch;
use quarantine::{Barrier, Quarantine};
use reload::ConfigState;
use revocation::Followed;
use seal::{NoSealingKey, Sealer};
use settings::{ResourceSettings, Settings};
use store::{MeasuredStore, Store};
use ways::Ways;

/// Why the house cannot be built from settings that are fine in themselves.
#[derive(Debug, Error)]
pub enum BuildError {
    /// No key to seal with.
    #[error(transparent)]
    Sealing(#[from] NoSealingKey),
    /// No key to sign with.
    #[error(transparent)]
    Signing(#[from] IssuerError),
    /// An extra certificate authority file cannot be used.
    #[error("the certificate authorities of {name} cannot be read: {cause}")]
    Trust {
        /// Which setting.
        name: String,
        /// Why.
        cause: String,
    },
    /// An upstream URL or credential cannot be sent.
    #[error("resource {path}: {cause}")]
    Resource {
        /// Its public path.
        path: String,
        /// Why.
        cause: String,
    },
}

/// Everything a request needs, built once.
#[derive(Debug)]
pub struct House {
    settings: Settings,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    sealer: Arc<Sealer>,
    issuer: Arc<TokenIssuer>,
    key_ages: KeyAges,
    key_ids: KeyIds,
    clients: Arc<ClientRegistry>,
    providers: Vec<Provider>,
    store: Option<Arc<dyn Store>>,
    barrier: Arc<Barrier>,
    followed: Arc<Followed>,
    refreshes: Arc<Refreshes>,
    documents: Documents,
    gateway: Gateway,
    limits: Arc<Limits>,
    origin_lock: OriginLock,
    ways: Ways,
    config: Arc<ConfigState>,
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
}

impl House {
    /// Builds the house. Talks to nobody: provider, upstreams and store may be down. Without a store, state is carried.
    pub fn build(
        settings: Settings,
        ring: &KeyRing,
        store: Option<Arc<dyn Store>>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Arc<Self>, BuildError> {
        let metrics = Arc::new(Metrics::default());
        let store = store.map(|store| -> Arc<dyn Store> {
            Arc::new(MeasuredStore::new(store, &settings.store.place, &metrics))
        });
        let parts = Parts {
            before: None,
            metrics,
            store,
            clock,
            random,
        };
        parts.build(settings, ring)
    }

    /// A house with other settings or keys that goes on where this one is: it shares everything that has a memory —
    /// store, limits, revoked tokens, used assertions — and, where their settings are the same, the caches and the
    /// connection pools. This one goes on serving whoever has begun with it.
    pub fn succeeded_by(
        &self,
        settings: Settings,
        ring: &KeyRing,
    ) -> Result<Arc<Self>, BuildError> {
        let parts = Parts {
            before: Some(self),
            metrics: Arc::clone(&self.metrics),
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
        };
        parts.build(settings, ring)
    }
}

/// What a house is built with besides its settings and keys.
struct Parts<'a> {
    before: Option<&'a House>,
    metrics: Arc<Metrics>,
    /// Watched by these metrics already.
    store: Option<Arc<dyn Store>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Parts<'_> {
    /// Whatever remembers something from one request to the next is taken from `before` here.
    fn build(self, settings: Settings, ring: &KeyRing) -> Result<Arc<House>, BuildError> {
        let Self {
            before,
            metrics,
            store,
            clock,
            random,
        } = self;
        let mut ways = Ways::after(before.map(|before| &before.ways));
        let sealing = ring.sealing.iter().map(|key| (key.id, &key.secret));
        let sealer = Arc::new(Sealer::new(settings.public_url.clone(), sealing)?);
        let issuer = Arc::new(TokenIssuer::new(
            settings.public_url.clone(),
            Arc::clone(&sealer),
            ring,
            settings.tokens.signing_alg,
            Arc::clone(&random),
        )?);
        let providers = settings
            .providers()
            .map(|provider| {
                build_provider(before, &settings, provider, &clock, &metrics, &mut ways)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let rotate_after = settings.rotate_keys_after;
        let key_ages = KeyAges::of(ring, settings.tokens.signing_alg, rotate_after);
        let key_ids = KeyIds::of(ring, settings.tokens.signing_alg);
        if let Some(warning) = key_ages.warning(clock.now()) {
            tracing::warn!("{warning}");
        }
        let clients = before.map(House::clients);
        let clients = ClientRegistry::build_after(clients, &settings, &clock, &metrics)?;
        let clients = Arc::new(clients);
        let known = before.map(|before| &before.barrier);
        let barrier = Arc::new(Barrier {
            revoked: known.map_or_else(Arc::default, |known| Arc::clone(&known.revoked)),
            quarantine: known.map_or_else(Arc::default, |known| Arc::clone(&known.quarantine)),
            clients: Arc::clone(&clients),
            sealer: Arc::clone(&sealer),
            alarm: known.map_or_else(Arc::default, |known| Arc::clone(&known.alarm)),
        });
        let (limit, server) = (&settings.limits, &settings.server);
        let limits = Arc::new(match before {
            Some(before) => before.limits.succeeded_by(limit, server, random.as_ref()),
            None => Limits::new(limit, server, Arc::clone(&clock), random.as_ref()),
        });
        let audit = before.map(|before| before.audit.as_ref());
        let audit = Arc::new(Audit::after(audit, settings.audit.as_ref(), &metrics));
        let watch = Watch {
            metrics: Arc::clone(&metrics),
            audit: Arc::clone(&audit),
            clock: Arc::clone(&clock),
        };
        let gateway = Gateway::build(
            &settings, &issuer, &barrier, &limits, &watch, &random, &mut ways,
        )?;
        let config = before.map_or_else(
            || Arc::new(ConfigState::loaded_at(clock.now())),
            |before| Arc::clone(&before.config),
        );
        Ok(Arc::new(House {
            documents: Documents::render(&settings, &issuer),
            refreshes: before.map_or_else(
                || Arc::new(Refreshes::new(random.as_ref())),
                |before| Arc::clone(&before.refreshes),
            ),
            followed: before.map_or_else(Arc::default, |before| Arc::clone(&before.followed)),
            clients,
            origin_lock: OriginLock::new(&settings.server.origin_secrets),
            settings,
            clock,
            random,
            sealer,
            issuer,
            key_ages,
            key_ids,
            providers,
            store,
            barrier,
            gateway,
            limits,
            ways: ways.complete(),
            config,
            metrics,
            audit,
        }))
    }
}

impl House {
    /// Every path this server answers; see `routes.rs`.
    pub fn router(self: &Arc<Self>) -> axum::Router {
        routes::router(Arc::clone(self))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    pub(crate) fn random(&self) -> &dyn Random {
        self.random.as_ref()
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    pub(crate) fn issuer(&self) -> &TokenIssuer {
        &self.issuer
    }

    pub(crate) fn key_ages(&self) -> &KeyAges {
        &self.key_ages
    }

    pub(crate) fn key_ids(&self) -> &KeyIds {
        &self.key_ids
    }

    pub(crate) fn clients(&self) -> &ClientRegistry {
        &self.clients
    }

    /// Every provider, the default one first.
    pub(crate) fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// The provider with this id. A grant of a provider that is not configured any more finds none: its token must not
    /// reach another one.
    pub(crate) fn provider(&self, id: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.id() == id)
    }

    /// The providers that may sign people in at a resource, the preferred one first.
    pub(crate) fn providers_of(&self, resource: &ResourceSettings) -> Vec<&Provider> {
        let settings = self.settings.providers_of(resource);
        let ids = settings.into_iter().map(|provider| provider.id.as_str());
        ids.filter_map(|id| self.provider(id)).collect()
    }

    /// A user's `sub` in our tokens: the provider's own where there is one provider, with the provider's id before it
    /// where there are several, because a `sub` is unique at its provider only (OpenID Connect Core §5.7). Ids hold no
    /// colon, so no two users ever share one.
    pub(crate) fn subject(&self, provider: &Provider, subject: &str) -> String {
        if self.providers.len() > 1 {
            format!("{}:{subject}", provider.id())
        } else {
            subject.to_owned()
        }
    }

    /// Where grants are kept; `None` when they are carried.
    pub(crate) fn store(&self) -> Option<&dyn Store> {
        self.store.as_deref()
    }

    /// The grants in the store. A call to it may take no longer than one to the provider, and three seconds.
    pub(crate) fn shelf(&self) -> Option<Shelf<'_>> {
        let patience = self.persist_within().min(Duration::from_secs(3));
        let store = self.store.as_deref()?;
        Some(Shelf::new(store, &self.sealer, self.random(), patience))
    }

    /// How long a request waits for what the provider gave to be stored.
    pub(crate) fn persist_within(&self) -> Duration {
        self.settings.provider.timeout
    }

    /// Refreshes under way in this process.
    pub(crate) fn refreshes(&self) -> &Refreshes {
        &self.refreshes
    }

    /// Waits for work that goes on although its client has hung up: to be called when nothing more is accepted.
    pub async fn settle(&self, at_most: Duration) {
        self.refreshes.settle(at_most).await;
    }

    pub(crate) fn revoked(&self) -> &RevokedTokens {
        &self.barrier.revoked
    }

    /// Users and clients that are shut out.
    pub(crate) fn quarantine(&self) -> &Quarantine {
        &self.barrier.quarantine
    }

    /// Which access tokens are let through.
    pub(crate) fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn origin_lock(&self) -> &OriginLock {
        &self.origin_lock
    }

    /// How the configuration fares.
    pub(crate) fn config(&self) -> &ConfigState {
        &self.config
    }

    /// The resource at a public path.
    pub(crate) fn resource_at(&self, path: &str) -> Option<&ResourceSettings> {
        self.settings
            .resources
            .iter()
            .find(|resource| resource.path == path)
    }

    /// The resource that the `resource` parameters of a request mean; the only or first one when there are none (clients
    /// of 2025-03-26 send none). `None` when they mean something else, or several.
    pub(crate) fn resource_meant(&self, presented: &[String]) -> Option<&ResourceSettings> {
        let Some(first) = presented.first() else {
            return self.settings.resources.first();
        };
        let meant = self
            .settings
            .resources
            .iter()
            .find(|resource| self.means(resource, first))?;
        presented
            .iter()
            .all(|uri| self.means(meant, uri))
            .then_some(meant)
    }

    /// True when `presented` means this resource. The bare origin means the first one, as no `resource` at all does: where
    /// there is one resource its document stands at the root, and clients that signed in then still send the origin
    /// after a second resource was added.
    pub(crate) fn means(&self, resource: &ResourceSettings, presented: &str) -> bool {
        let origin = self.settings.public_url.as_str();
        let bare_origin = presented
            .strip_suffix('/')
            .unwrap_or(presented)
            .eq_ignore_ascii_case(origin);
        let first = || self.settings.resources.first();
        resource.uri.is_meant_by(presented)
            || (bare_origin && first().is_some_and(|first| first.path == resource.path))
    }
}

pub(crate) fn build_provider(
    before: Option<&House>,
    settings: &Settings,
    provider: &settings::ProviderSettings,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    ways: &mut Ways,
) -> Result<Provider, BuildError> {
    let name = format!("the provider `{}`", provider.id);
    let authorities = provider.ca_file.as_deref();
    let issuer = provider.issuer.as_str();
    let outbound = ways.open(name.clone(), issuer, authorities, Protocol::Http1)?;
    let built = Provider::new(
        provider.clone(),
        settings.claims_of(provider),
        settings
            .public_url
            .join(&settings.callback_path(&provider.id)),
        outbound,
        Arc::clone(clock),
        Arc::clone(metrics),
    );
    let before = before.and_then(|before| before.provider(&provider.id));
    Ok(match before.filter(|_| ways.is_kept(&name)) {
        Some(before) => built.succeeding(before),
        None => built,
    })
}
