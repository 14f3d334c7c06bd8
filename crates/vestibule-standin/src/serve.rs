//! The accept loop of every server in this crate: loopback only, graceful stop, stops when its token is dropped.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long open exchanges may go on after the token was cancelled.
const GRACE: Duration = Duration::from_secs(1);

/// Pause after a failed `accept` (for example: out of file descriptors), so the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds a listener. An address that is not loopback is an `InvalidInput` error: a double must
/// never be reachable from another machine.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{address} is not a loopback address; the stand-in serves this machine only"),
        ));
    }
    TcpListener::bind(address).await
}

/// Serves `router` on `listener` until `stop` is cancelled, then lets open exchanges finish for a
/// second. The task ends when the last connection has.
pub(crate) fn serve(
    listener: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let connections = TaskTracker::new();
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _peer)) => stream,
                    Err(error) => {
                        tracing::debug!(%error, "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            connections.spawn(connection(stream, router.clone(), stop.clone()));
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    })
}

async fn connection(stream: TcpStream, router: axum::Router, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    let builder = Builder::new(TokioExecutor::new());
    let service = TowerToHyperService::new(router);
    let mut serving =
        std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        result = serving.as_mut() => {
            if let Err(error) = result {
                tracing::debug!(error, "connection ended early");
            }
            return;
        }
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    if tokio::time::timeout(GRACE, serving).await.is_err() {
        tracing::debug!("connection cut at shutdown");
    }
}
