//! The audit stream: one JSON line for each event that security people ask for, in a place of its own
//! (facts/deployment-and-operations.md §5.4). Off unless configured.
//!
//! Nothing here waits: a line that finds the queue full is dropped, counted and said in the log. A line never holds a
//! token, a code, a state or a cookie, and what strangers wrote is cut and cannot end it.

mod event;
mod sink;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::extract::Request;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};

use vestibule_oauth::random::Random;
use vestibule_oauth::time::UnixTime;

use crate::House;
use crate::arrival::PeerAddr;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::settings::{AuditSettings, AuditSink};

pub(crate) use event::{Event, Happened};
use sink::Sink;

/// The stream, as the settings want it.
pub struct Audit {
    settings: Option<AuditSettings>,
    subjects: Option<hmac::Key>,
    /// Shared with the stream of the house before, when the place is the same. Empty until it is opened.
    sink: Arc<OnceLock<Sink>>,
    metrics: Arc<Metrics>,
}

/// Where a request came from. Empty when nobody wants to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    ip: Option<IpAddr>,
    user_agent: Option<HeaderValue>,
}

impl Audit {
    /// A stream that goes on where `before` is, if that is the same place. Opens nothing.
    pub(crate) fn after(
        before: Option<&Self>,
        settings: Option<&AuditSettings>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let place = |settings: Option<&AuditSettings>| settings.map(|settings| settings.to.clone());
        let before = before.filter(|own| place(own.settings.as_ref()) == place(settings));
        let key = settings.and_then(|settings| settings.subject_key.as_ref());
        Self {
            settings: settings.cloned(),
            subjects: key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes())),
            sink: before.map_or_else(Arc::default, |before| Arc::clone(&before.sink)),
            metrics: Arc::clone(metrics),
        }
    }

    /// Opens the place, unless it is open. Until then events go nowhere.
    pub fn open(&self) -> io::Result<()> {
        let Some(settings) = &self.settings else {
            return Ok(());
        };
        if self.sink.get().is_none() {
            let sink = Sink::open(settings.to.clone(), Arc::clone(&self.metrics))?;
            // Whoever was quicker has opened the same.
            let _ = self.sink.set(sink);
        }
        Ok(())
    }

    /// Opens the file again: somebody has moved it away.
    pub(crate) fn reopen(&self) {
        if let Some(sink) = self.sink.get() {
            sink.reopen();
        }
    }

    /// Waits until what was told so far is written, but no longer than this.
    pub async fn flush(&self, at_most: Duration) {
        if let Some(sink) = self.sink.get() {
            sink.flush(at_most).await;
        }
    }

    /// True when lines go to standard output, where nothing else may stand.
    pub(crate) fn has_stdout(&self) -> bool {
        let settings = self.settings.as_ref();
        settings.is_some_and(|settings| settings.to == AuditSink::Stdout)
    }

    /// True when requests that were let through are events.
    pub(crate) fn wants_every_call(&self) -> bool {
        self.is_on() && self.settings.as_ref().is_some_and(|own| own.every_call)
    }

    pub(crate) fn is_on(&self) -> bool {
        self.sink.get().is_some()
    }

    /// Where a request with these headers comes from.
    pub(crate) fn source(
        &self,
        limits: &Limits,
        peer: Option<PeerAddr>,
        headers: &HeaderMap,
    ) -> Source {
        if !self.is_on() {
            return Source::default();
        }
        Source {
            ip: limits.caller(peer, headers),
            user_agent: headers.get(USER_AGENT).cloned(),
        }
    }

    /// Writes an event down, in the background.
    pub(crate) fn tell(&self, event: &Event<'_>, now: UnixTime, random: &dyn Random) {
        if let Some(sink) = self.sink.get() {
            sink.put(event.line(self.subjects.as_ref(), now, random));
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl House {
    /// The audit stream; whoever runs the house opens it.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Writes an event down, if somebody wants it.
    pub(crate) fn tell_audit(&self, event: &Event<'_>) {
        self.audit.tell(event, self.now(), self.random());
    }

    /// Where a request comes from, for events.
    pub(crate) fn source(&self, request: &Request) -> Source {
        let peer = PeerAddr::of(request);
        self.audit.source(self.limits(), peer, request.headers())
    }
}
