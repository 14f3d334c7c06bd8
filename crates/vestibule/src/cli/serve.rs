//! `vestibule serve`: settings, key ring, listeners, house — in this order, so that nothing listens before all is well.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use vestibule_oauth::random::{Random, SystemRandom};
use vestibule_oauth::time::{Clock, SystemClock};

use super::{Failure, print, runtime, signals, store};
use crate::House;
use crate::reload::{Loaded, Reloader, Source};
use crate::serve::{Front, ServeLimits, bind, raise_descriptors, run_front as serve};
use crate::settings::{Report, SecretSource, ServerSettings, Strings};
use crate::telemetry;

/// How long refreshes whose clients have hung up may go on after everything else has ended.
pub(super) const SETTLE: Duration = Duration::from_secs(15);

/// How long audit events that wait may take to be written at the end.
const FLUSH: Duration = Duration::from_secs(5);

/// Options of `vestibule serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The configuration file [default: $VESTIBULE_CONFIG, else ./vestibule.toml if there is one, else the environment alone].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &ServeArgs, env: &'static dyn Strings) -> Result<(), Failure> {
    let file = config_file(arguments.config.as_deref(), env);
    // For the rest of the process, like the environment.
    let file: Option<&'static Path> = file.map(|file| &*Box::leak(file.into_boxed_path()));
    let secrets: &'static dyn SecretSource = Box::leak(secret_source(env));
    let source = Source { file, env, secrets };
    let runtime = runtime()?;
    let (settings, watched) = runtime.block_on(source.settings(&[]));
    let settings = settings.map_err(Failure::usage)?;
    telemetry::install(&settings.log, colour(env)).map_err(Failure::usage)?;
    raise_descriptors();
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    for note in &settings.notes {
        tracing::info!("{note}");
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let loaded = source.complete(settings, clock.as_ref(), random.as_ref());
    let Loaded {
        settings,
        ring,
        tls,
    } = loaded.map_err(Failure::usage)?;
    let limits = ServeLimits::from(&settings.server);
    runtime.block_on(signals::until_second(|shutdown| async move {
        let hangup = signals::hangup()?;
        let listeners = listen(&settings.server).map_err(Failure::runtime)?;
        let admin = settings.admin.as_ref();
        let admin = admin.map(|admin| bind(&admin.listen)).transpose();
        let admin = admin.map_err(|error| Failure::runtime(format!("admin: {error}")))?;
        let metrics = settings.metrics.as_ref();
        let metrics = metrics.map(|metrics| bind(&[metrics.listen])).transpose();
        let metrics = metrics.map_err(|error| Failure::runtime(format!("metrics: {error}")))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let announcement = announcement(&listeners, scheme, settings.public_url.as_str());
        let store = store::open(&settings.store, env, &clock, &random).await;
        let store = store.map_err(|error| Failure::Usage(format!("store: {error}")))?;
        let house = House::build(
            settings,
            &ring,
            store,
            Arc::clone(&clock),
            Arc::clone(&random),
        )
        .map_err(Failure::usage)?;
        (house.audit().open()).map_err(|error| Failure::Usage(format!("audit.to: {error}")))?;
        let front = Front::of(&house, limits, tls);
        let plain = |router| Front::new(router, limits, None);
        let admin_front = house.admin_router().map(plain);
        let metrics_front = house.metrics_router().map(plain);
        // Its successors share what is under way.
        let first = Arc::clone(&house);
        let reloader = Reloader::new(source, watched, house, Arc::clone(&front), clock, random)
            .with_admin(admin_front.clone())
            .with_metrics(metrics_front.clone());
        let say = |text: &str| {
            if first.audit().has_stdout() {
                tracing::info!("{text}");
            } else {
                print::line(text);
            }
        };
        say(&announcement);
        for (listeners, whom) in [(&admin, "operators"), (&metrics, "metrics")] {
            if let Some(listeners) = listeners {
                let addresses = addresses(listeners, "http");
                say(&format!("vestibule listens on {addresses} for {whom}"));
            }
        }
        let operators = async {
            if let (Some(listeners), Some(front)) = (admin, admin_front) {
                serve(listeners, front, shutdown.clone()).await;
            }
        };
        let scrapers = async {
            if let (Some(listeners), Some(front)) = (metrics, metrics_front) {
                serve(listeners, front, shutdown.clone()).await;
            }
        };
        let (last, (), (), drained) = tokio::join!(
            reloader.run(hangup, shutdown.clone()),
            operators,
            scrapers,
            serve(listeners, front, shutdown.clone())
        );
        first.settle(SETTLE).await;
        last.unwrap_or(first).audit().flush(FLUSH).await;
        tracing::info!(aborted = drained.aborted, "stopped");
        Ok(())
    }))
}

/// Reads the configuration, with the secrets that stand elsewhere.
pub(super) fn load(path: Option<&Path>, env: &dyn Strings) -> Result<Report, Failure> {
    let source = secret_source(env);
    Ok(runtime()?.block_on(Report::load_with(path, env, source.as_ref())))
}

/// Where secrets come from that stand elsewhere.
#[cfg(feature = "aws")]
pub(super) fn secret_source(env: &dyn Strings) -> Box<dyn SecretSource> {
    let environment = crate::aws::AwsEnvironment::read(env);
    let source =
        crate::aws::AwsSecrets::new(environment, Arc::new(SystemClock), Arc::new(SystemRandom));
    Box::new(source)
}

/// Where secrets come from that stand elsewhere: nowhere in this build.
#[cfg(not(feature = "aws"))]
pub(super) fn secret_source(_: &dyn Strings) -> Box<dyn SecretSource> {
    Box::new(crate::settings::NoSecretSource)
}

/// Colour is for people at a terminal who did not ask for none (<https://no-color.org>).
pub(super) fn colour(env: &dyn Strings) -> bool {
    io::stderr().is_terminal() && env.get("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The file that `--config` names, else the variable, else the one in the working directory if there is one.
pub(super) fn config_file(argument: Option<&Path>, env: &dyn Strings) -> Option<PathBuf> {
    let named = env
        .get("VESTIBULE_CONFIG")
        .filter(|name| !name.is_empty())
        .map(PathBuf::from);
    let named = argument.map(Path::to_path_buf).or(named);
    named.or_else(|| {
        Some(Path::new("vestibule.toml"))
            .filter(|path| path.exists())
            .map(Path::to_path_buf)
    })
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
    let addresses = addresses(listeners, scheme);
    format!("vestibule listens on {addresses} for {public_url}")
}

fn addresses(listeners: &[TcpListener], scheme: &str) -> String {
    let addresses = listeners
        .iter()
        .filter_map(|listener| listener.local_addr().ok());
    let addresses: Vec<String> = addresses
        .map(|address| format!("{scheme}://{address}"))
        .collect();
    addresses.join(" and ")
}
