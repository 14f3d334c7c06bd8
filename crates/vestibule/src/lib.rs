//! The house: an authorization server and gateway between MCP clients and an MCP server whose users live in an OIDC
//! provider. [`House`] is the built product; [`House::router`] is what every listener and every test talks to.

pub mod authorization_server;
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
pub mod pages;
pub mod policy;
pub mod provider;
pub mod proxy;
mod routes;
pub mod seal;
pub mod serve;
pub mod settings;
pub mod store;
pub mod telemetry;
#[cfg(test)]
mod test_directory;

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use vestibule_guard::fetch::{AddressPolicy, Outbound, Trust};
use vestibule_oauth::random::Random;
use vestibule_oauth::time::{Clock, UnixTime};

use authorization_server::discovery::Documents;
use clients::ClientRegistry;
use gateway::Gateway;
use grants::RevokedTokens;
use issuer::{IssuerError, TokenIssuer};
use keys::KeyRing;
use limits::{Limits, OriginLock};
use provider::Provider;
use seal::{NoSealingKey, Sealer};
use settings::{ResourceSettings, Settings};
use store::Store;

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
    clients: ClientRegistry,
    providers: Vec<Provider>,
    store: Option<Arc<dyn Store>>,
    revoked: Arc<RevokedTokens>,
    documents: Documents,
    gateway: Gateway,
    limits: Arc<Limits>,
    origin_lock: OriginLock,
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
            .map(|provider| build_provider(&settings, provider, &clock))
            .collect::<Result<Vec<_>, _>>()?;
        let revoked = Arc::new(RevokedTokens::default());
        let clients = ClientRegistry::build(&settings, &clock)?;
        let limits = Arc::new(Limits::new(
            &settings.limits,
            &settings.server,
            Arc::clone(&clock),
            random.as_ref(),
        ));
        let gateway = Gateway::build(
            &settings, &sealer, &issuer, &revoked, &limits, &clock, &random,
        )?;
        Ok(Arc::new(Self {
            documents: Documents::render(&settings, &issuer),
            clients,
            origin_lock: OriginLock::new(&settings.server.origin_secrets),
            settings,
            clock,
            random,
            sealer,
            issuer,
            providers,
            store,
            revoked,
            gateway,
            limits,
        }))
    }

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

    pub(crate) fn revoked(&self) -> &RevokedTokens {
        &self.revoked
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

    /// True when `presented` means this resource. The bare origin means the only resource, when there is one: its
    /// document stands at the root as well (design §9).
    pub(crate) fn means(&self, resource: &ResourceSettings, presented: &str) -> bool {
        let origin = self.settings.public_url.as_str();
        let bare_origin = presented
            .strip_suffix('/')
            .unwrap_or(presented)
            .eq_ignore_ascii_case(origin);
        resource.uri.is_meant_by(presented) || (bare_origin && self.settings.resources.len() == 1)
    }
}

fn build_provider(
    settings: &Settings,
    provider: &settings::ProviderSettings,
    clock: &Arc<dyn Clock>,
) -> Result<Provider, BuildError> {
    let name = format!("the provider `{}`", provider.id);
    let trust = trust(&name, provider.issuer.as_str(), provider.ca_file.as_deref())?;
    // The operator typed the provider's address: it may be private.
    let outbound = Outbound::new(AddressPolicy::Configured, &trust);
    Ok(Provider::new(
        provider.clone(),
        settings.claims_of(provider),
        settings.public_url.join("/callback"),
        outbound,
        Arc::clone(clock),
    ))
}

/// Whom to believe about the host of `url`: the system's certificate authorities and one file more. Plain http needs
/// nobody, so development works on a machine without certificate authorities.
pub(crate) fn trust(name: &str, url: &str, ca_file: Option<&Path>) -> Result<Trust, BuildError> {
    let unreadable = |cause: String| BuildError::Trust {
        name: name.to_owned(),
        cause,
    };
    if url.starts_with("http://") && ca_file.is_none() {
        return Trust::nobody().map_err(|error| unreadable(error.to_string()));
    }
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| unreadable(format!("{}: {error}", path.display())))
    };
    let pem = ca_file.map(read).transpose()?;
    Trust::platform(pem.as_deref()).map_err(|error| unreadable(error.to_string()))
}
