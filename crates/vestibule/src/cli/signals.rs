//! SIGINT and SIGTERM: the first begins an orderly end, the second ends at once. SIGHUP: read the configuration again.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;

/// SIGHUP, which ends the program no more from here on.
pub(super) fn hangup() -> Result<Signal, Failure> {
    signal(SignalKind::hangup()).map_err(Failure::runtime)
}

/// Runs `work` with a token that the first signal cancels. A second signal drops the work.
pub(super) async fn until_second<F>(
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::runtime)?;
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    };
    let shutdown = CancellationToken::new();
    let work = work(shutdown.clone());
    let twice = async {
        let name = next().await;
        tracing::info!(
            signal = name,
            "stopping: requests in flight may finish; a second signal stops at once"
        );
        shutdown.cancel();
        next().await
    };
    tokio::select! {
        outcome = work => outcome,
        name = twice => Err(Failure::Runtime(format!("stopped at once by a second signal ({name})"))),
    }
}
