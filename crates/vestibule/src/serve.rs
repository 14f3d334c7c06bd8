//! The listener: accepts connections, bounds what each may cost, and drains them on shutdown.
//!
//! Not `axum::serve`, which sets no timer and therefore lets a client hold a half-sent header for ever
//! (facts/rust.md §0.2). Nor hyper's own `header_read_timeout`: hyper starts it as soon as it waits for the next request, so
//! one value would bound both a slow header (seconds) and an idle connection (longer than the 60 s of a load balancer).

mod activity;
mod arriving;
mod connection;
mod descriptors;
mod front;
mod listen;
mod tls;
mod tracked;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::settings::ServerSettings;

pub use crate::routes::Entrance;
pub use descriptors::raise_descriptors;
pub use front::Front;
pub use listen::bind;
pub use tls::{TlsError, tls_config};

use connection::Acceptor;

/// What connections may cost. Fields are those of [`ServerSettings`].
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// How long a client may take to send a request's header, and for the first bytes of a connection.
    pub header_timeout: Duration,
    /// How long a client may take for the TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a connection without a request stays open.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub send_timeout: Duration,
    /// How long requests in flight may go on after shutdown began.
    pub drain_timeout: Duration,
    /// The largest request header, in bytes; at least 8 KiB.
    pub max_header_bytes: usize,
}

impl From<&ServerSettings> for ServeLimits {
    fn from(settings: &ServerSettings) -> Self {
        Self {
            max_connections: settings.max_connections,
            header_timeout: settings.header_timeout,
            handshake_timeout: settings.handshake_timeout,
            idle_timeout: settings.idle_timeout,
            send_timeout: settings.send_timeout,
            drain_timeout: settings.drain_timeout,
            max_header_bytes: settings.max_header_bytes,
        }
    }
}

#[cfg(test)]
impl ServeLimits {
    /// Limits that no test reaches by accident.
    fn generous() -> Self {
        let long = Duration::from_secs(60);
        Self {
            max_connections: 1,
            header_timeout: long,
            handshake_timeout: long,
            idle_timeout: long,
            send_timeout: long,
            drain_timeout: long,
            max_header_bytes: 8 << 10,
        }
    }
}

/// How the listener ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy after the drain timeout and were cut off.
    pub aborted: usize,
}

/// Serves `entrance` on `listeners` until `shutdown`; then stops accepting, lets requests in flight finish, and cuts off
/// what is left after the drain timeout.
///
/// When `max_connections` are open, nothing is accepted until one closes; established streams are never dropped for a
/// newcomer. A client that goes away cancels its handler.
pub async fn run(
    listeners: Vec<TcpListener>,
    entrance: impl Into<Entrance>,
    limits: ServeLimits,
    tls: Option<Arc<ServerConfig>>,
    shutdown: CancellationToken,
) -> Drained {
    run_front(listeners, Front::new(entrance, limits, tls), shutdown).await
}

/// The same behind a front that can be changed while it runs.
pub async fn run_front(
    listeners: Vec<TcpListener>,
    front: Arc<Front>,
    shutdown: CancellationToken,
) -> Drained {
    let drain = CancellationToken::new();
    let acceptor = Arc::new(Acceptor::new(Arc::clone(&front), drain.clone()));
    let mut connections = JoinSet::new();
    accept_until(&shutdown, listeners, &acceptor, &mut connections).await;
    drain.cancel();
    let all_done = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(front.limits().drain_timeout, all_done)
        .await
        .is_ok()
    {
        return Drained { aborted: 0 };
    }
    let aborted = connections.len();
    tracing::warn!(
        aborted,
        "connections were still busy at the end of the drain time and are cut off"
    );
    connections.shutdown().await;
    Drained { aborted }
}

/// Accepts connections until shutdown, then drops the listeners.
async fn accept_until(
    shutdown: &CancellationToken,
    listeners: Vec<TcpListener>,
    acceptor: &Arc<Acceptor>,
    connections: &mut JoinSet<()>,
) {
    let mut backoff = Backoff::default();
    let mut turn = 0;
    let mut full = false;
    loop {
        let most = acceptor.front().limits().max_connections.max(1);
        if connections.len() >= most && !full {
            tracing::warn!(
                max_connections = most,
                "full: no connection is accepted until another one closes"
            );
        }
        full = connections.len() >= most;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!("a connection's task panicked");
                }
            }
            () = acceptor.front().changed() => {}
            () = backoff.wait(), if backoff.is_waiting() => backoff.resume(),
            accepted = accept_any(&listeners, &mut turn), if !full && !backoff.is_waiting() => match accepted {
                Ok((stream, peer)) => {
                    backoff = Backoff::default();
                    connections.spawn(acceptor.clone().serve(stream, peer));
                }
                Err(error) => backoff.after(&error),
            },
        }
    }
}

/// The next connection of any listener. They take turns, so that a busy one does not starve the others.
async fn accept_any(
    listeners: &[TcpListener],
    turn: &mut usize,
) -> io::Result<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|cx| {
        for step in 0..listeners.len() {
            let index = (*turn + step) % listeners.len();
            if let Some(listener) = listeners.get(index)
                && let Poll::Ready(accepted) = listener.poll_accept(cx)
            {
                *turn = index + 1;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// Waits longer and longer after errors such as "too many open files", which would otherwise be a busy loop.
#[derive(Debug, Default)]
struct Backoff {
    until: Option<Instant>,
    delay: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    fn after(&mut self, error: &io::Error) {
        if is_about_one_connection(error) {
            return;
        }
        self.delay = (self.delay * 2).clamp(Self::FIRST, Self::LONGEST);
        tracing::warn!(%error, delay_ms = self.delay.as_millis(), "cannot accept connections; trying again");
        self.until = Some(Instant::now() + self.delay);
    }

    fn is_waiting(&self) -> bool {
        self.until.is_some()
    }

    fn resume(&mut self) {
        self.until = None;
    }

    async fn wait(&self) {
        if let Some(until) = self.until {
            sleep_until(until).await;
        }
    }
}

/// True for errors of a connection that was gone before it was accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn running_out_of_files_slows_accepting_down_and_a_vanished_client_does_not() {
        let mut backoff = Backoff::default();
        backoff.after(&io::ErrorKind::ConnectionAborted.into());
        assert!(!backoff.is_waiting());

        let too_many_open_files = io::Error::from_raw_os_error(24);
        let start = Instant::now();
        let mut delays = Vec::new();
        for _ in 0..7 {
            backoff.after(&too_many_open_files);
            backoff.wait().await;
            backoff.resume();
            delays.push(backoff.delay.as_millis());
        }
        assert_eq!(delays, [50, 100, 200, 400, 800, 1000, 1000]);
        assert!(start.elapsed() >= Duration::from_millis(3550));
    }
}
