//! `vestibule-demo`: the demo MCP server on its own, an upstream for drivers and benches in other processes.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use vestibule_standin::demo::{Demo, DemoOptions};

/// A demo MCP server that tells what it received, on 127.0.0.1 only. Prints one line of JSON when it is ready.
#[derive(Parser)]
#[command(name = "vestibule-demo", version)]
struct Arguments {
    /// The port; 0 takes a free one.
    #[arg(long, default_value = "0")]
    port: u16,
    /// Where the keys of the received JWTs are; without it their signatures are not checked.
    #[arg(long, value_name = "URL")]
    jwks_url: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to report to if stderr is closed.
            let _ = writeln!(io::stderr(), "vestibule-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(Arguments { port, jwks_url }: Arguments) -> io::Result<()> {
    // Before the ready line, so that a signal sent on reading it is not missed.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let demo = Demo::start(DemoOptions { jwks_url, port }).await?;
    let line = json!({ "url": demo.url(), "stateless_url": demo.stateless_url() });
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    out.flush()?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    demo.shutdown().await;
    Ok(())
}
