//! Hot reload: on SIGHUP and when a file of the configuration changes, everything is read again and a new house takes
//! over; if anything is wrong, the old one stays and the log says why (issue "Configuration").
//!
//! What a reload keeps is decided in [`House::succeeded_by`]. What it cannot change is in `Refused::Fixed`.

mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use serde::Serialize;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::signal::unix::Signal;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use vestibule_oauth::random::Random;
use vestibule_oauth::time::{Clock, UnixTime};

use crate::audit::{Event, Happened};
use crate::keys::{KeyRing, KeyRingError};
use crate::metrics::labels::ReloadOutcome;
use crate::serve::{Front, ServeLimits, TlsError, tls_config};
use crate::settings::{KeysSettings, Place, SecretSource, Settings, SettingsError, Strings};
use crate::{BuildError, House};

use files::Prints;

/// How often the files are looked at. A change is taken when it has stayed the same for one such interval, so that a file
/// that is being written is not read in the middle: two to four seconds after the last write.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// What a signal is called as a cause.
const SIGHUP: &str = "SIGHUP";

/// Where the configuration comes from; the same places for the life of the process.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The configuration file, if there is one.
    pub file: Option<&'a Path>,
    /// The environment over it. It cannot change in a process.
    pub env: &'a dyn Strings,
    /// What fetches the secrets that stand elsewhere.
    pub secrets: &'a dyn SecretSource,
}

/// The files of a configuration.
#[derive(Debug)]
pub struct Watched {
    paths: Vec<PathBuf>,
    /// As they were just before they were read.
    seen: Prints,
    /// As they were at the last look, when that was not as they were read.
    changing: Option<Prints>,
}

/// Everything that `serve` needs, read and checked.
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The key ring.
    pub ring: KeyRing,
    /// The certificate, if we end TLS.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Why a configuration cannot be served.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The key ring.
    #[error("key ring: {0}")]
    Keys(#[from] KeyRingError),
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why a configuration was not taken over.
#[derive(Debug, Error)]
enum Refused {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Sockets are bound once, and what comes in on them is TLS or is not.
    #[error(
        "{0} cannot change while the server runs; nothing of the new configuration is in effect until it is restarted"
    )]
    Fixed(&'static str),
    #[error("the configuration file is not a regular file, so it cannot be read again")]
    Unreadable,
    #[error("audit.to: {0}")]
    Audit(#[source] std::io::Error),
}

/// How the configuration fares, for `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Faring {
    /// When the one in force was read.
    loaded_at: UnixTime,
    /// Where the newest one is wrong, when it was not taken. Places only: everybody can read this, and what is written
    /// there may not be meant for everybody. The log has the sentence.
    last_error: Option<String>,
}

/// How the configuration fares; shared by a house and its successors.
#[derive(Debug)]
pub struct ConfigState(ArcSwap<Faring>);

impl Source<'_> {
    /// Reads the settings, and says which files to watch from then on: those that they name, and `also` when the
    /// settings are wrong, for then they may not name them all.
    ///
    /// The first reading says which files there are; the second is newer than their prints, so that no change in between
    /// is missed.
    pub async fn settings(&self, also: &[PathBuf]) -> (Result<Settings, SettingsError>, Watched) {
        let own = self.file.map(Path::to_path_buf);
        let mut paths: Vec<PathBuf> = own.into_iter().collect();
        match Settings::load(self.file, self.env) {
            Ok(settings) => paths.extend(settings.files),
            Err(error) => paths.extend(error.files().iter().chain(also).cloned()),
        }
        paths.sort();
        paths.dedup();
        let seen = Prints::of(&paths);
        let watched = Watched {
            paths,
            seen,
            changing: None,
        };
        let settings = Settings::load_with(self.file, self.env, self.secrets).await;
        (settings, watched)
    }

    /// Reads what the settings name.
    pub fn complete(
        &self,
        settings: Settings,
        clock: &dyn Clock,
        random: &dyn Random,
    ) -> Result<Loaded, LoadError> {
        let ring = key_ring(&settings, clock, random)?;
        let tls = settings.server.tls.as_ref().map(tls_config).transpose()?;
        Ok(Loaded {
            settings,
            ring,
            tls,
        })
    }
}

/// The key ring that the settings name.
pub(crate) fn key_ring(
    settings: &Settings,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<KeyRing, KeyRingError> {
    match &settings.keys {
        KeysSettings::File(path) => KeyRing::load(path),
        KeysSettings::Inline(text) => KeyRing::parse(text.expose()),
        KeysSettings::Ephemeral => {
            KeyRing::generate(&[settings.tokens.signing_alg], clock.now(), random)
        }
    }
}

impl Watched {
    /// True when the files are other than those that were read, and have been so for an interval.
    fn has_settled(&mut self) -> bool {
        let now = Prints::of(&self.paths);
        if now == self.seen {
            self.changing = None;
            return false;
        }
        let settled = self.changing.as_ref() == Some(&now);
        self.changing = Some(now);
        settled
    }
}

impl ConfigState {
    pub(crate) fn loaded_at(now: UnixTime) -> Self {
        Self(ArcSwap::from_pointee(Faring {
            loaded_at: now,
            last_error: None,
        }))
    }

    /// For `/readyz`.
    pub(crate) fn shown(&self) -> serde_json::Value {
        serde_json::to_value(self.0.load().as_ref()).unwrap_or_default()
    }

    /// When the configuration in force was read, and whether it is the newest.
    pub(crate) fn faring(&self) -> (UnixTime, bool) {
        let faring = self.0.load();
        (faring.loaded_at, faring.last_error.is_none())
    }

    fn taken(&self, now: UnixTime) {
        self.0.store(Arc::new(Faring {
            loaded_at: now,
            last_error: None,
        }));
    }

    fn not_taken(&self, place: String) {
        let loaded_at = self.0.load().loaded_at;
        self.0.store(Arc::new(Faring {
            loaded_at,
            last_error: Some(place),
        }));
    }
}

/// Looks after the configuration of a house that serves.
pub struct Reloader {
    source: Source<'static>,
    house: Arc<House>,
    following: Option<AbortHandle>,
    front: Arc<Front>,
    /// What operators meet.
    admin: Option<Arc<Front>>,
    /// What scrapers meet.
    metrics: Option<Arc<Front>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    watched: Watched,
}

impl Reloader {
    /// For a house that was built from `source` a moment ago.
    pub fn new(
        source: Source<'static>,
        watched: Watched,
        house: Arc<House>,
        front: Arc<Front>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self {
            source,
            house,
            following: None,
            front,
            admin: None,
            metrics: None,
            clock,
            random,
            watched,
        }
    }

    /// With a listener for operators.
    #[must_use]
    pub fn with_admin(mut self, front: Option<Arc<Front>>) -> Self {
        self.admin = front;
        self
    }

    /// With a listener for metrics.
    #[must_use]
    pub fn with_metrics(mut self, front: Option<Arc<Front>>) -> Self {
        self.metrics = front;
        self
    }

    /// Watches until `shutdown`, and gives back the house that serves then; `None` when it cannot tell.
    pub async fn run(
        mut self,
        mut hangup: Signal,
        shutdown: CancellationToken,
    ) -> Option<Arc<House>> {
        self.follow();
        let mut look = tokio::time::interval(INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let cause = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Some(self.house),
                Some(()) = hangup.recv() => Some(SIGHUP),
                _ = look.tick() => None,
            };
            // Files may be far away, and keys take their time: not on a thread that serves.
            let turn = tokio::task::spawn_blocking(move || {
                let cause = cause.or_else(|| self.watched.has_settled().then_some("file change"));
                if let Some(cause) = cause {
                    self.reload(cause);
                }
                self
            });
            self = match turn.await {
                Ok(reloader) => reloader,
                Err(error) => {
                    tracing::error!(%error, "the configuration is not watched any more; restart to change it");
                    return None;
                }
            };
        }
    }

    /// The house that serves follows the store: only it has the newest keys.
    fn follow(&mut self) {
        let following = tokio::spawn(Arc::clone(&self.house).follow_store());
        if let Some(before) = self.following.replace(following.abort_handle()) {
            before.abort();
        }
    }

    /// Counts a reload, and tells of it and of keys that are others than before.
    fn tell(&self, cause: &'static str, outcome: ReloadOutcome, before: &House) {
        self.house.metrics().reloads.inc((outcome,));
        let mut event = Event::new(Happened::ConfigReloaded).note(cause);
        if outcome == ReloadOutcome::Refused {
            event = event.failed("config_refused");
        }
        self.house.tell_audit(&event);
        if let Some(change) = self.house.key_ids().since(before.key_ids()) {
            let event = Event::new(Happened::KeyRotated).keys(&change);
            self.house.tell_audit(&event);
        }
    }

    fn reload(&mut self, cause: &'static str) {
        if cause == SIGHUP {
            // Whoever moves files away says so like this.
            self.house.audit().reopen();
        }
        let before = Arc::clone(&self.house);
        match self.take_over() {
            Ok(()) => {
                for warning in &self.house.settings().warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(cause, "configuration reloaded");
                self.tell(cause, ReloadOutcome::Taken, &before);
            }
            Err(refused) => {
                for problem in refused.to_string().lines() {
                    tracing::error!(
                        cause,
                        problem,
                        "configuration not taken; the one before stays in force"
                    );
                }
                self.house.config().not_taken(refused.place());
                self.tell(cause, ReloadOutcome::Refused, &before);
            }
        }
    }

    fn take_over(&mut self) -> Result<(), Refused> {
        if let Some(file) = self.source.file
            && std::fs::metadata(file).is_ok_and(|metadata| !metadata.is_file())
        {
            return Err(Refused::Unreadable);
        }
        let reading = self.source.settings(&self.watched.paths);
        // This runs on a thread for work that blocks.
        let (settings, watched) = Handle::current().block_on(reading);
        self.watched = watched;
        let settings = settings.map_err(LoadError::from)?;
        let (clock, random) = (self.clock.as_ref(), self.random.as_ref());
        let loaded = self.source.complete(settings, clock, random)?;
        check_fixed(self.house.settings(), &loaded.settings)?;
        let limits = ServeLimits::from(&loaded.settings.server);
        let house = self.house.succeeded_by(loaded.settings, &loaded.ring)?;
        house.audit().open().map_err(Refused::Audit)?;
        house.config().taken(self.clock.now());
        for (front, router) in [
            (&self.admin, house.admin_router()),
            (&self.metrics, house.metrics_router()),
        ] {
            if let (Some(front), Some(router)) = (front, router) {
                front.replace(router, limits, None);
            }
        }
        self.front.replace(&house, limits, loaded.tls);
        self.house = house;
        self.follow();
        Ok(())
    }
}

/// What cannot change while sockets are open is refused as a whole: half a configuration is none. What was fixed before
/// there was a socket, and harms nobody, is pointed out.
fn check_fixed(old: &Settings, new: &Settings) -> Result<(), Refused> {
    if old.server.listen != new.server.listen {
        return Err(Refused::Fixed("server.listen"));
    }
    if old.server.tls.is_some() != new.server.tls.is_some() {
        return Err(Refused::Fixed("whether there is a server.tls"));
    }
    let admin = |settings: &Settings| settings.admin.as_ref().map(|admin| admin.listen.clone());
    if admin(old) != admin(new) {
        return Err(Refused::Fixed(
            "whether there is an [admin], and admin.listen",
        ));
    }
    if old.metrics != new.metrics {
        return Err(Refused::Fixed("[metrics]"));
    }
    if old.store != new.store {
        return Err(Refused::Fixed("[store]"));
    }
    if old.log != new.log {
        tracing::warn!("[log] has changed: it takes effect at the next start");
    }
    if old.public_url != new.public_url {
        tracing::warn!(
            old = %old.public_url, new = %new.public_url,
            "public_url has changed: what was issued under the old one is not accepted any more"
        );
    }
    Ok(())
}

impl Refused {
    /// Where, without what is written there.
    fn place(&self) -> String {
        match self {
            Self::Load(LoadError::Settings(error)) => {
                let place = error.problems().first().map(|problem| {
                    let file = problem.file.as_deref().map(Path::new);
                    let file = file.and_then(Path::file_name).unwrap_or_default();
                    let file = file.to_string_lossy();
                    match &problem.place {
                        Place::File { line, column } => format!("{file}:{line}:{column}"),
                        Place::Variable(name) => name.clone(),
                        Place::Nowhere if problem.key.is_empty() => file.into_owned(),
                        Place::Nowhere => problem.key.clone(),
                    }
                });
                place.unwrap_or_default()
            }
            Self::Load(LoadError::Keys(_)) => "key ring".to_owned(),
            Self::Load(LoadError::Tls(_)) => "server.tls".to_owned(),
            Self::Build(_) => "keys, certificate authorities or upstreams".to_owned(),
            Self::Fixed(what) => (*what).to_owned(),
            Self::Unreadable => "configuration file".to_owned(),
            Self::Audit(_) => "audit.to".to_owned(),
        }
    }
}
