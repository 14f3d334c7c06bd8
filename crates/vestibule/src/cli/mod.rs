//! The command line: one module for each command, one printer, and exit codes that scripts can rely on.

mod check;
mod config;
#[cfg(feature = "dev")]
mod dev;
mod grants;
mod keys;
mod operator;
mod policy;
mod print;
mod quarantine;
mod serve;
mod signals;
mod store;

use std::ffi::OsString;
use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::settings::{ProcessEnvironment, Strings};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for `serve`, stopped by a signal
  1  something failed while running; for `check --probe`, something outside is not as it must be
  2  bad usage or bad configuration; nothing was started";

/// Stands between MCP clients and an MCP server whose users live in an OpenID Connect provider.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the authorization server and gateway.
    Serve(serve::ServeArgs),
    /// Look for mistakes without starting anything: everything that `serve` would refuse, and what is unwise.
    Check(check::CheckArgs),
    /// Explain the configuration, or print its JSON Schema.
    Config(config::ConfigArgs),
    /// Show what is granted to which client, and revoke it.
    Grants(grants::GrantsArgs),
    /// Shut users and clients out, and let them in again.
    Quarantine(quarantine::QuarantineArgs),
    /// Make key rings, and change their keys without signing anybody out.
    Keys(keys::KeysArgs),
    /// Try the rules of a resource.
    Policy(policy::PolicyArgs),
    /// Try everything on this computer: a stand-in for the provider, a demo MCP server, and Vestibule before them.
    #[cfg(feature = "dev")]
    Dev(dev::DevArgs),
}

/// Why a command did not end well.
#[derive(Debug)]
enum Failure {
    /// What was asked for or configured cannot be done; nothing was started.
    Usage(String),
    /// It was started and failed.
    Runtime(String),
    /// All has been said on stdout; this is the exit code.
    Told(u8),
}

impl Failure {
    fn usage(error: impl Display) -> Self {
        Self::Usage(error.to_string())
    }

    fn runtime(error: impl Display) -> Self {
        Self::Runtime(error.to_string())
    }
}

/// Runs the program with this process's arguments and environment.
pub fn main() -> ExitCode {
    run(std::env::args_os(), &ProcessEnvironment)
}

fn run(arguments: impl IntoIterator<Item = OsString>, env: &'static dyn Strings) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are "errors" too; clap prints each where it belongs.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let outcome = match &arguments.command {
        Command::Serve(arguments) => serve::run(arguments, env),
        Command::Check(arguments) => check::run(arguments, env),
        Command::Config(arguments) => config::run(arguments, env),
        Command::Grants(arguments) => grants::run(arguments, env),
        Command::Quarantine(arguments) => quarantine::run(arguments, env),
        Command::Keys(arguments) => keys::run(arguments),
        Command::Policy(arguments) => policy::run(arguments, env),
        #[cfg(feature = "dev")]
        Command::Dev(arguments) => run_dev(arguments, env),
    };
    let (code, message) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Told(code)) => return ExitCode::from(code),
        Err(Failure::Runtime(message)) => (1, message),
        Err(Failure::Usage(message)) => (2, message),
    };
    print::error(&message);
    ExitCode::from(code)
}

/// The runtime of the commands that serve. With one CPU, as in small containers and functions, a second thread would only
/// cost the way to it.
fn runtime() -> Result<Runtime, Failure> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = if cpus == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.enable_all().build().map_err(Failure::runtime)
}

#[cfg(feature = "dev")]
fn run_dev(arguments: &dev::DevArgs, env: &dyn Strings) -> Result<(), Failure> {
    use crate::settings::{LogFormat, LogSettings};

    let filter = env
        .get("VESTIBULE__LOG__FILTER")
        .filter(|filter| !filter.is_empty());
    let log = LogSettings {
        format: LogFormat::Text,
        filter: filter.unwrap_or_else(|| "warn,vestibule=info".to_owned()),
    };
    crate::telemetry::install(&log, serve::colour(env)).map_err(Failure::usage)?;
    runtime()?.block_on(signals::until_second(|shutdown| async {
        dev::run(arguments, env, shutdown)
            .await
            .map_err(Failure::runtime)
    }))
}
