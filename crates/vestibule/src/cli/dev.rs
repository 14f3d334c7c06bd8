//! `vestibule dev`: the whole street on loopback — Cognito stand-in, demo MCP server, and Vestibule before them.
//!
//! For development only. It listens on 127.0.0.1 and `::1` and on nothing else, because its accounts are public.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::random::{Random, SystemRandom};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::ClientSecret;
use vestibule_oauth::time::{Clock, SystemClock};
use vestibule_oauth::url::{Endpoint, Issuer, Origin, UrlError, is_loopback_host};
use vestibule_standin::cognito::{Cognito, CognitoOptions, User};
use vestibule_standin::demo::{Demo, DemoOptions};

use super::{print, store};
use crate::authorization_server::logout::DONE_PATH;
use crate::keys::{self, KeyRing, KeyRingError};
use crate::pages::snippets::{How, server_name, snippets};
use crate::provider::profile;
use crate::serve::{self, ServeLimits};
use crate::settings::{
    CredentialSettings, KeysSettings, ProviderSettings, ResourceSettings, Settings, StorePlace,
    StoreSettings, Strings,
};
use crate::{BuildError, House};

/// Options of `vestibule dev`.
#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// Port of the public URL; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Protect this MCP server on your own computer instead of the demo.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Print one JSON line on stdout when everything is up, for scripts.
    #[arg(long)]
    json: bool,
    /// Use throw-away keys: clients that registered with an earlier run must register again.
    #[arg(long)]
    ephemeral: bool,
    /// Keep grants in a store, as `store.url` of the configuration does; `memory` is one that ends with the process.
    #[arg(long, value_name = "URL", default_value = "none")]
    store: String,
}

/// Why the street could not be put up.
#[derive(Debug, Error)]
pub(super) enum DevError {
    /// The port is taken, or the like.
    #[error(
        "cannot listen on {address}: {cause}; choose another port with --port, or --port 0 for a free one"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
    /// Stand-in or demo did not start.
    #[error("cannot start the {what}: {cause}")]
    Start {
        /// Which.
        what: &'static str,
        /// Why.
        cause: std::io::Error,
    },
    /// `--upstream` is not a URL.
    #[error("--upstream: {0}")]
    Upstream(#[from] UrlError),
    /// `--upstream` is elsewhere.
    #[error(
        "--upstream {0} is not on this computer; the accounts of `vestibule dev` are public, so it protects local servers only. Use `vestibule serve` for others"
    )]
    NotLocal(String),
    /// No home directory.
    #[error("no state directory: set XDG_STATE_HOME or HOME, or use --ephemeral")]
    NoStateDirectory,
    /// The state directory cannot be made.
    #[error("cannot make {path}: {cause}; use --ephemeral", path = path.display())]
    StateDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The development key file.
    #[error(transparent)]
    Keys(#[from] KeyRingError),
    /// `--store`.
    #[error("{0}")]
    Store(String),
    /// An internal contradiction of the development settings.
    #[error("the development settings do not fit: {0}")]
    Settings(String),
    /// The house.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// What `--json` prints, once everything answers.
#[derive(Debug, Serialize)]
struct Ready<'a> {
    mcp_url: &'a str,
    issuer: &'a str,
    provider_issuer: &'a str,
    upstream_url: &'a str,
    users: Vec<Account<'a>>,
    #[serde(skip)]
    server_name: &'a str,
}

#[derive(Debug, Serialize)]
struct Account<'a> {
    username: &'a str,
    password: &'a str,
    groups: &'a [String],
}

/// Puts up the street and serves until `shutdown`.
pub(super) async fn run(
    args: &DevArgs,
    env: &dyn Strings,
    shutdown: CancellationToken,
) -> Result<(), DevError> {
    let upstream = args.upstream.as_deref().map(local_upstream).transpose()?;
    let store = StoreSettings {
        place: StorePlace::from_argument(&args.store).map_err(DevError::Store)?,
        chosen: true,
        ca_file: None,
    };
    let listeners = listen(args.port).await?;
    let port = listeners
        .first()
        .and_then(|listener| listener.local_addr().ok())
        .map_or(args.port, |address| address.port());
    let public_url = Origin::parse(&format!("http://localhost:{port}"))?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let store = store::open(&store, env, &clock, &random)
        .await
        .map_err(|error| DevError::Store(format!("--store: {error}")))?;
    let mut options = CognitoOptions::default();
    for client in &mut options.clients {
        client.logout_urls.push(public_url.join(DONE_PATH));
    }
    let users = options.users.clone();
    let cognito = Cognito::start(options, Arc::clone(&clock)).await;
    let cognito = cognito.map_err(|cause| DevError::Start {
        what: "Cognito stand-in",
        cause,
    })?;
    cognito.allow_callback(&public_url.join("/callback"));

    let demo = if upstream.is_some() {
        None
    } else {
        let options = DemoOptions {
            jwks_url: Some(public_url.join("/jwks.json")),
            ..DemoOptions::default()
        };
        let demo = Demo::start(options)
            .await
            .map_err(|cause| DevError::Start {
                what: "demo MCP server",
                cause,
            })?;
        Some(demo)
    };
    let upstream_url = match (&upstream, &demo) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, Some(demo)) => Endpoint::parse(demo.url())?,
        (None, None) => return Err(DevError::Settings("no upstream".to_owned())),
    };

    let settings = settings(&public_url, &cognito, &upstream_url)?;
    let ring = if args.ephemeral {
        KeyRing::generate(&[SigningAlg::Es256], clock.now(), random.as_ref())?
    } else {
        development_ring(env, clock.as_ref(), random.as_ref())?
    };
    let (mcp_url, server_name) = settings
        .resources
        .first()
        .map(|resource| (resource.uri.as_str().to_owned(), server_name(resource)))
        .unwrap_or_default();
    let limits = ServeLimits::from(&settings.server);
    let house = House::build(settings, &ring, store, clock, random)?;

    let ready = Ready {
        mcp_url: &mcp_url,
        issuer: public_url.as_str(),
        provider_issuer: cognito.issuer(),
        upstream_url: upstream_url.as_str(),
        users: users.iter().map(account).collect(),
        server_name: &server_name,
    };
    announce(args, &ready);
    let following = tokio::spawn(Arc::clone(&house).follow_store());
    serve::run(listeners, &house, limits, None, shutdown).await;
    following.abort();
    house.settle(super::serve::SETTLE).await;
    if let Some(demo) = demo {
        demo.shutdown().await;
    }
    cognito.shutdown().await;
    Ok(())
}

fn account(user: &User) -> Account<'_> {
    Account {
        username: &user.username,
        password: &user.password,
        groups: &user.groups,
    }
}

/// 127.0.0.1 must work; `::1` is taken as well where the machine has it, since browsers may try it first for
/// `localhost`.
async fn listen(port: u16) -> Result<Vec<TcpListener>, DevError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let first = TcpListener::bind(address)
        .await
        .map_err(|cause| DevError::Listen { address, cause })?;
    let port = first
        .local_addr()
        .map_err(|cause| DevError::Listen { address, cause })?
        .port();
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    match TcpListener::bind(address).await {
        Ok(second) => Ok(vec![first, second]),
        // Somebody else's server there would be reached instead of ours.
        Err(cause) if cause.kind() == std::io::ErrorKind::AddrInUse => {
            Err(DevError::Listen { address, cause })
        }
        Err(_) => Ok(vec![first]),
    }
}

fn local_upstream(url: &str) -> Result<Endpoint, DevError> {
    let endpoint = Endpoint::parse(url)?;
    let host = url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default();
    if is_loopback_host(&host) {
        Ok(endpoint)
    } else {
        Err(DevError::NotLocal(url.to_owned()))
    }
}

fn settings(
    public_url: &Origin,
    cognito: &Cognito,
    upstream: &Endpoint,
) -> Result<Settings, DevError> {
    let issuer = Issuer::parse(cognito.issuer())?;
    let provider = ProviderSettings {
        client_secret: Some(ClientSecret::new(cognito.client_secret())),
        scopes: ScopeSet::parse("openid email profile"),
        preset: &profile::COGNITO,
        ..ProviderSettings::new(issuer, cognito.client_id())
    };
    let scopes = ScopeSet::parse("mcp:read mcp:write");
    let resource =
        ResourceSettings::new(public_url, "/mcp", upstream.clone()).map_err(DevError::Settings)?;
    let resource = ResourceSettings {
        name: Some("Vestibule dev".to_owned()),
        scopes: scopes.clone(),
        default_scopes: scopes,
        credential: CredentialSettings::VestibuleToken {
            audience: upstream.as_str().to_owned(),
        },
        ..resource
    };
    let mut settings = Settings::new(
        public_url.clone(),
        provider,
        vec![resource],
        KeysSettings::Ephemeral,
    );
    // So that everything that a page can offer is there to be tried.
    settings.consent.remember = Some(Duration::from_secs(30 * 24 * 3600));
    Ok(settings)
}

/// The ring of earlier runs, so that a client that registered yesterday still works.
fn development_ring(
    env: &dyn Strings,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<KeyRing, DevError> {
    let directory = |name: &str| {
        env.get(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let state = directory("XDG_STATE_HOME")
        .or_else(|| directory("HOME").map(|home| home.join(".local/state")));
    let path = state
        .ok_or(DevError::NoStateDirectory)?
        .join("vestibule")
        .join("dev-keys.toml");
    if path.exists() {
        return Ok(KeyRing::load(&path)?);
    }
    let ring = KeyRing::generate(&[SigningAlg::Es256], clock.now(), random)?;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(|cause| DevError::StateDirectory {
            path: directory.to_owned(),
            cause,
        })?;
    }
    keys::write(&path, &ring.to_toml(), false)?;
    Ok(ring)
}

fn announce(args: &DevArgs, ready: &Ready<'_>) {
    if args.json {
        print::line(&serde_json::to_string(ready).unwrap_or_default());
        return;
    }
    let url = ready.mcp_url;
    print::line(
        "Vestibule for DEVELOPMENT: the accounts below are public, everything listens on this computer only.",
    );
    print::line("");
    print::line(&format!("  MCP server      {url}"));
    print::line(&format!("  behind it       {}", ready.upstream_url));
    print::line(&format!(
        "  sign-in at      {}  (a stand-in for Amazon Cognito)",
        ready.provider_issuer
    ));
    for user in &ready.users {
        print::line(&format!(
            "  account         {} / {}  ({})",
            user.username,
            user.password,
            user.groups.join(", ")
        ));
    }
    print::line("");
    print::line("Add it to a client:");
    for snippet in snippets(ready.server_name, url) {
        let what = match snippet.how {
            How::Command(command) => command,
            How::Link(link) => link,
            // These need more than a line: the landing page has them.
            How::File { .. } | How::Menu(_) => continue,
        };
        print::line(&format!("  {:<15} {what}", snippet.client));
    }
    print::line(&format!(
        "  others          see {}/ in a browser",
        ready.issuer
    ));
    print::line("");
    print::line("Stop with Ctrl-C.");
}
