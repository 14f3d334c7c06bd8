//! `vestibule keys add`: a signing algorithm more, for tokens and verifiers of another kind.

use std::path::PathBuf;

use clap::Args;
use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::time::UnixTime;

use super::{ScheduleArgs, Source, failure, rotate};
use crate::cli::{Failure, print};

/// Options of `vestibule keys add`.
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The key ring; `-` reads it from standard input and writes it to standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The signing algorithm: ES256, RS256 or EdDSA. One that the ring has no key of.
    #[arg(long, value_name = "ALG")]
    alg: SigningAlg,
    /// Write the result here and leave FILE as it is.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    schedule: ScheduleArgs,
}

pub(super) fn run(arguments: &AddArgs, now: UnixTime) -> Result<(), Failure> {
    let schedule = arguments.schedule.schedule()?;
    let source = Source::open(&arguments.file, arguments.out.as_deref(), true)?;
    let mut ring = source.ring()?;
    let alg = arguments.alg;
    let id = ring.add(alg, now).map_err(failure)?;
    let words = rotate::outlook(&ring, &schedule, false, now)?;
    let say = if source.fills_stdout() {
        print::note
    } else {
        print::line
    };
    source.finish(Some(&ring))?;
    say(&format!(
        "published the {alg} signing key {id}; it is not in use yet"
    ));
    for line in words {
        say(&line);
    }
    say(&format!(
        "when `keys rotate` has promoted it and every replica has read the ring, write `tokens.signing_alg = \"{alg}\"`"
    ));
    Ok(())
}
