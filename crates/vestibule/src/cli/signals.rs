//! SIGINT and SIGTERM: the first begins an orderly end, the second ends at once. SIGHUP: read the configuration again.
//! SIGXFSZ: no end.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;

/// On Linux, macOS and the BSDs; on MIPS and SPARC it is another number.
const SIGXFSZ: i32 = 25;

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
    // A limit on the size of files (`ulimit -f`) is an error of the write that meets it, as a full disk is.
    let _too_large = signal(SignalKind::from_raw(SIGXFSZ)).map_err(Failure::runtime)?;
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
