//! `vestibule keys`: makes the key ring that `serve` needs, shows it, and moves its keys on (design §6).

mod add;
mod rotate;
mod status;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::{Clock as _, SystemClock, UnixTime};
use zeroize::Zeroizing;

use super::{Failure, print};
use crate::keys::rotation::{MIN_PROPAGATION, Schedule};
use crate::keys::{KeyRing, KeyRingError, LockedRing, check_file, write};
use crate::settings::units;

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
    /// Add a signing key of another algorithm. It is published, and `keys rotate` promotes it.
    Add(add::AddArgs),
    /// Do the steps of a rotation that are due: publish, promote, retire. Run it once a day.
    Rotate(rotate::RotateArgs),
    /// Remove previous sealing keys, and with them the clients that registered under them.
    Retire(rotate::RetireArgs),
    /// Show each key: what it is for, how old it is, and what comes next.
    #[command(visible_alias = "list")]
    Status(status::StatusArgs),
}

/// When steps are due.
#[derive(Debug, Args)]
struct ScheduleArgs {
    /// How long a key is in use before its successor is published, as in `90d`; at least twice the propagation.
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "90d")]
    after: u64,
    /// How long every replica and verifier is given to read a published key before it is used; at least `10m`.
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "3h")]
    propagation: u64,
}

impl ScheduleArgs {
    fn schedule(&self) -> Result<Schedule, Failure> {
        if self.propagation < MIN_PROPAGATION {
            return Err(Failure::usage(format!(
                "--propagation must be at least {MIN_PROPAGATION} s: verifiers keep /jwks.json that long after replicas \
                 have read the ring"
            )));
        }
        if self.after < self.propagation.saturating_mul(2) {
            return Err(Failure::usage(
                "--after must be at least twice --propagation: a rotation takes that long",
            ));
        }
        Ok(Schedule {
            after: self.after,
            propagation: self.propagation,
        })
    }
}

pub(super) fn run(arguments: &KeysArgs) -> Result<(), Failure> {
    let now = SystemClock.now();
    match &arguments.command {
        KeysCommand::Generate { out, alg, force } => generate(out.as_deref(), alg, *force, now),
        KeysCommand::Add(arguments) => add::run(arguments, now),
        KeysCommand::Rotate(arguments) => rotate::run(arguments, now),
        KeysCommand::Retire(arguments) => rotate::retire(arguments),
        KeysCommand::Status(arguments) => status::run(arguments, now),
    }
}

fn generate(
    out: Option<&Path>,
    alg: &[SigningAlg],
    force: bool,
    now: UnixTime,
) -> Result<(), Failure> {
    let mut algs: Vec<SigningAlg> = Vec::new();
    for alg in alg {
        if !algs.contains(alg) {
            algs.push(*alg);
        }
    }
    let ring = KeyRing::generate(&algs, now, &SystemRandom).map_err(Failure::runtime)?;
    let Some(path) = out else {
        print::text(ring.to_toml().expose());
        return Ok(());
    };
    write(path, &ring.to_toml(), force).map_err(failure)?;
    print::note(&format!("wrote a new key ring to {}", path.display()));
    Ok(())
}

/// A ring that a command reads, and where the changed one goes.
enum Source {
    /// A file that is changed in its place.
    File(LockedRing),
    /// A file, or standard input; the result goes to a file or to standard output.
    Filter { text: Secret, out: Option<PathBuf> },
}

impl Source {
    /// `-` is standard input, and then the result goes to standard output unless `out` says otherwise.
    fn open(file: &Path, out: Option<&Path>, change: bool) -> Result<Self, Failure> {
        let out = out.map(Path::to_path_buf);
        if file == Path::new("-") {
            let mut text = Zeroizing::new(String::new());
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::runtime(format!("standard input: {error}")))?;
            let text = Secret::new(text.as_str());
            return Ok(Self::Filter { text, out });
        }
        if change && out.is_none() {
            return LockedRing::open(file).map(Self::File).map_err(failure);
        }
        check_file(file).map_err(failure)?;
        let text = std::fs::read_to_string(file)
            .map(Zeroizing::new)
            .map_err(|error| Failure::runtime(format!("{}: {error}", file.display())))?;
        let text = Secret::new(text.as_str());
        Ok(Self::Filter { text, out })
    }

    fn text(&self) -> &Secret {
        match self {
            Self::File(file) => file.text(),
            Self::Filter { text, .. } => text,
        }
    }

    fn ring(&self) -> Result<KeyRing, Failure> {
        KeyRing::parse(self.text().expose()).map_err(failure)
    }

    /// True when the ring goes to standard output, so that nothing else may.
    fn fills_stdout(&self) -> bool {
        matches!(self, Self::Filter { out: None, .. })
    }

    /// Writes the changed ring; without a change, what was read, to the byte.
    fn finish(self, changed: Option<&KeyRing>) -> Result<(), Failure> {
        let changed = changed.map(KeyRing::to_toml);
        match self {
            Self::File(file) => changed.map_or(Ok(()), |text| file.replace(&text)),
            Self::Filter { text, out } => {
                let text = changed.unwrap_or(text);
                if let Some(out) = out {
                    write(&out, &text, true)
                } else {
                    print::text(text.expose());
                    Ok(())
                }
            }
        }
        .map_err(failure)
    }
}

fn failure(error: KeyRingError) -> Failure {
    match error {
        error @ (KeyRingError::File { .. } | KeyRingError::Generation(_)) => {
            Failure::runtime(error)
        }
        error => Failure::usage(error),
    }
}

pub(super) fn seconds(text: &str) -> Result<u64, String> {
    units::duration(text).map(|duration| duration.as_secs())
}

/// A time span in words, rounded down to its largest unit.
pub(super) fn span(seconds: u64) -> String {
    let (number, unit) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3600 => (seconds / 60, "minute"),
        3600..86400 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}

/// When something is due, in words.
pub(super) fn when(due: UnixTime, now: UnixTime) -> String {
    match due.since(now) {
        0 => "due now".to_owned(),
        ahead => format!("in {}", span(ahead)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::rotation::{DEFAULT_AFTER, DEFAULT_PROPAGATION};

    #[test]
    fn the_defaults_of_the_command_are_those_of_the_schedule() {
        assert_eq!(seconds("90d"), Ok(DEFAULT_AFTER));
        assert_eq!(seconds("3h"), Ok(DEFAULT_PROPAGATION));
    }

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        for (seconds, text) in [
            (59, "59 s"),
            (60, "1 minute"),
            (7199, "1 hour"),
            (86400, "1 day"),
            (90 * 86400, "90 days"),
        ] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(when(UnixTime(5), UnixTime(9)), "due now");
        assert_eq!(when(UnixTime(129), UnixTime(9)), "in 2 minutes");
    }
}
