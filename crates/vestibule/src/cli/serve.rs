//! `vestibule serve`: settings, key ring, listeners, house — in this order, so that nothing listens before all is well.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;
use vestibule_oauth::random::{Random, SystemRandom};
use vestibule_oauth::time::{Clock, SystemClock};

use super::{Failure, print, runtime, signals};
use crate::House;
use crate::keys::KeyRing;
use crate::serve::{ServeLimits, bind, run as serve, tls_config};
use crate::settings::{KeysSettings, ServerSettings, Settings, Strings};
use crate::telemetry;

/// Options of `vestibule serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The configuration file [default: $VESTIBULE_CONFIG, else ./vestibule.toml if there is one, else the environment alone].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &ServeArgs, env: &dyn Strings) -> Result<(), Failure> {
    let settings = Settings::load(config_file(arguments.config.as_ref(), env).as_deref(), env)
        .map_err(Failure::usage)?;
    telemetry::install(&settings.log, colour(env)).map_err(Failure::usage)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let ring = ring(&settings, clock.as_ref(), random.as_ref())?;
    let tls = settings
        .server
        .tls
        .as_ref()
        .map(tls_config)
        .transpose()
        .map_err(Failure::usage)?;
    let limits = ServeLimits::from(&settings.server);
    runtime()?.block_on(signals::until_second(|shutdown| async {
        let listeners = listen(&settings.server).map_err(Failure::runtime)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let announcement = announcement(&listeners, scheme, settings.public_url.as_str());
        let house = House::build(settings, &ring, None, clock, random).map_err(Failure::usage)?;
        print::line(&announcement);
        let drained = serve(listeners, house.router(), limits, tls, shutdown).await;
        tracing::info!(aborted = drained.aborted, "stopped");
        Ok(())
    }))
}

/// Colour is for people at a terminal who did not ask for none (<https://no-color.org>).
pub(super) fn colour(env: &dyn Strings) -> bool {
    io::stderr().is_terminal() && env.get("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The file named on the command line, else the one in the environment, else the usual one if it exists.
pub(super) fn config_file(named: Option<&PathBuf>, env: &dyn Strings) -> Option<PathBuf> {
    let argument = named.cloned();
    let named = env
        .get("VESTIBULE_CONFIG")
        .filter(|name| !name.is_empty())
        .map(PathBuf::from);
    argument.or(named).or_else(|| {
        Some(Path::new("vestibule.toml"))
            .filter(|path| path.exists())
            .map(Path::to_path_buf)
    })
}

/// The key ring that the settings name.
pub(super) fn ring(
    settings: &Settings,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<KeyRing, Failure> {
    let ring = match &settings.keys {
        KeysSettings::File(path) => KeyRing::load(path),
        KeysSettings::Inline(text) => KeyRing::parse(text.expose()),
        KeysSettings::Ephemeral => {
            KeyRing::generate(&[settings.tokens.signing_alg], clock.now(), random)
        }
    };
    ring.map_err(|error| Failure::Usage(format!("key ring: {error}")))
}

/// Binds the listeners. Nobody asked for the default `[::1]`, so a machine without IPv6 does without it.
fn listen(server: &ServerSettings) -> io::Result<Vec<TcpListener>> {
    let bound = bind(&server.listen);
    let ipv4: Vec<SocketAddr> = server
        .listen
        .iter()
        .copied()
        .filter(SocketAddr::is_ipv4)
        .collect();
    match bound {
        Err(error)
            if server.listen == ServerSettings::default_listen()
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            bind(&ipv4)
        }
        bound => bound,
    }
}

fn announcement(listeners: &[TcpListener], scheme: &str, public_url: &str) -> String {
    let addresses = listeners
        .iter()
        .filter_map(|listener| listener.local_addr().ok());
    let addresses: Vec<String> = addresses
        .map(|address| format!("{scheme}://{address}"))
        .collect();
    format!(
        "vestibule listens on {} for {public_url}",
        addresses.join(" and ")
    )
}
