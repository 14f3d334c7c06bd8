//! What a connection is doing — sending a header, busy, or idle — and until when it may go on doing that.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake as _, ready};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use vestibule_guard::driver::Driver;

use super::ServeLimits;

/// What one connection is doing. Shared by the connection, its stream and its responses.
#[derive(Debug)]
pub(super) struct Activity {
    limits: ServeLimits,
    http2: bool,
    state: Mutex<State>,
    /// How often the connection's task has been polled.
    turn: AtomicU64,
    driver: Arc<Driver>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// When the phase began. Taken when somebody asks, so that an ordinary request reads the clock once.
    since: Option<Instant>,
    requests: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Bytes of a request header are expected or have begun to arrive.
    Header,
    /// At least one request is being answered.
    Busy,
    /// Between requests.
    Idle,
}

/// Why a connection's time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// The header did not come in time.
    Header,
    /// Nothing was asked for a while.
    Idle,
}

impl Activity {
    /// A new connection, of which a request header is expected.
    pub(super) fn new(limits: ServeLimits, http2: bool) -> Arc<Self> {
        let state = State {
            phase: Phase::Header,
            since: Some(Instant::now()),
            requests: 0,
        };
        Arc::new(Self {
            limits,
            http2,
            state: Mutex::new(state),
            turn: AtomicU64::new(0),
            driver: Arc::default(),
        })
    }

    /// When the connection must end if nothing changes, and why; `None` while it is busy.
    pub(super) fn deadline(&self) -> Option<(Instant, Expiry)> {
        let mut state = self.lock();
        let (limit, expiry) = match state.phase {
            Phase::Busy => return None,
            Phase::Header => (self.limits.header_timeout, Expiry::Header),
            Phase::Idle => (self.limits.idle_timeout, Expiry::Idle),
        };
        Some((
            *state.since.get_or_insert_with(Instant::now) + limit,
            expiry,
        ))
    }

    /// True when each request has a task of its own.
    pub(super) fn is_http2(&self) -> bool {
        self.http2
    }

    /// Whom the connection is woken by. HTTP/2 needs it when its last request ended in another task, HTTP/1 for all.
    pub(super) fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    /// The connection's task is polled.
    pub(super) fn begin_turn(&self) {
        // By one task only.
        self.turn.store(self.turn() + 1, Ordering::Relaxed);
    }

    /// How often that has happened.
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// A request has arrived. It is in flight until the returned value is dropped.
    pub(super) fn request(self: &Arc<Self>) -> InFlight {
        let mut state = self.lock();
        state.requests += 1;
        state.phase = Phase::Busy;
        state.since = None;
        drop(state);
        InFlight(self.clone())
    }

    /// Bytes arrived. Between requests of HTTP/1 they begin a header; HTTP/2 has other things to say.
    fn read(&self, bytes: &[u8]) {
        if self.http2 {
            return;
        }
        let mut state = self.lock();
        if state.phase == Phase::Idle && !bytes.is_empty() {
            state.phase = Phase::Header;
            state.since = None;
        }
    }

    /// Bytes left. Between requests of HTTP/1 they are the end of a response to a slow reader.
    fn written(&self) {
        if self.http2 {
            return;
        }
        let mut state = self.lock();
        if state.phase == Phase::Idle {
            state.since = None;
        }
    }

    fn request_ended(&self) {
        let mut state = self.lock();
        state.requests = state.requests.saturating_sub(1);
        if state.requests > 0 {
            return;
        }
        state.phase = Phase::Idle;
        state.since = None;
        drop(state);
        if self.http2 {
            self.driver.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in flight: held by its handler, then by its response's body.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl InFlight {
    /// What the connection of this request is doing.
    pub(super) fn activity(&self) -> &Activity {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

pin_project! {
    /// A connection's stream that tells its [`Activity`] what passes.
    pub(super) struct Watched<S> {
        #[pin]
        stream: S,
        activity: Arc<Activity>,
    }
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buffer.filled().len();
        ready!(this.stream.poll_read(cx, buffer))?;
        this.activity
            .read(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = ready!(this.stream.poll_write(cx, bytes))?;
        this.activity.written();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = ready!(this.stream.poll_write_vectored(cx, slices))?;
        this.activity.written();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_shutdown(cx)
    }
}
