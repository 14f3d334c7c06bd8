//! `vestibule keys`: makes the key ring that `serve` needs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::{Clock as _, SystemClock};

use super::{Failure, print};
use crate::keys::{KeyRing, KeyRingError, write};

/// Options of `vestibule keys`.
#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a new key ring: one sealing key, and one signing key for each algorithm.
    Generate {
        /// Where to write it, with mode 0600 [default: stdout].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// A signing algorithm: ES256, RS256 or EdDSA. May be repeated.
        #[arg(long, value_name = "ALG", default_value = "ES256")]
        alg: Vec<SigningAlg>,
        /// Replace an existing file. Everybody who is signed in must sign in again.
        #[arg(long, requires = "out")]
        force: bool,
    },
}

pub(super) fn run(arguments: &KeysArgs) -> Result<(), Failure> {
    let KeysCommand::Generate { out, alg, force } = &arguments.command;
    let mut algs: Vec<SigningAlg> = Vec::new();
    for alg in alg {
        if !algs.contains(alg) {
            algs.push(*alg);
        }
    }
    let ring =
        KeyRing::generate(&algs, SystemClock.now(), &SystemRandom).map_err(Failure::runtime)?;
    let Some(path) = out else {
        print::text(ring.to_toml().expose());
        return Ok(());
    };
    write(path, &ring.to_toml(), *force).map_err(|error| match error {
        KeyRingError::Exists(_) => Failure::usage(error),
        other => Failure::runtime(other),
    })?;
    print::note(&format!("wrote a new key ring to {}", path.display()));
    Ok(())
}
