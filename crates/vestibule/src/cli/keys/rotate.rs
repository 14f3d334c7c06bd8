//! `vestibule keys rotate` and `keys retire`: the changes of a ring, and what they mean for those who are signed in.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::UnixTime;

use super::{ScheduleArgs, Source, failure, when};
use crate::cli::{Failure, print};
use crate::keys::rotation::{Compromised, Planned, Schedule, Step, When};
use crate::keys::{KeyRing, KeyState};

/// Options of `vestibule keys rotate`.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// The key ring; `-` reads it from standard input and writes it to standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the result here and leave FILE as it is.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do the next step although it is not due. Verifiers that have not read the new key yet will refuse tokens.
    #[arg(long, conflicts_with = "emergency")]
    now: bool,
    /// Somebody else may have the ring: use new keys at once and drop the old ones.
    #[arg(long)]
    emergency: bool,
    /// With --emergency, replace only these keys.
    #[arg(long, value_enum, requires = "emergency")]
    only: Option<Only>,
    #[command(flatten)]
    schedule: ScheduleArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Only {
    Sealing,
    Signing,
}

/// Options of `vestibule keys retire`.
#[derive(Debug, Args)]
pub(super) struct RetireArgs {
    /// The key ring; `-` reads it from standard input and writes it to standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the result here and leave FILE as it is.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Remove previous sealing keys.
    #[arg(long, required = true)]
    sealing: bool,
    /// Remove only the key with this id. May be repeated.
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// Yes: what was sealed with these keys is worth nothing from now on.
    #[arg(long)]
    yes_clients_must_register_again: bool,
}

pub(super) fn run(arguments: &RotateArgs, now: UnixTime) -> Result<(), Failure> {
    let schedule = arguments.schedule.schedule()?;
    let change = !arguments.dry_run;
    let source = Source::open(&arguments.file, arguments.out.as_deref(), change)?;
    let ring = source.ring()?;
    // Where the ring goes to standard output, words go to standard error.
    let say = if change && source.fills_stdout() {
        print::note
    } else {
        print::line
    };
    let (changed, words) = if arguments.emergency {
        let what = match arguments.only {
            None => Compromised::All,
            Some(Only::Sealing) => Compromised::Sealing,
            Some(Only::Signing) => Compromised::Signing,
        };
        let replaced = ring.replace(what, now, &SystemRandom).map_err(failure)?;
        (Some(replaced), emergency(what))
    } else {
        let how = if arguments.now { When::Now } else { When::Due };
        let rotated = ring.rotate(&schedule, how, now, &SystemRandom);
        let (rotated, steps) = rotated.map_err(failure)?;
        let mut words: Vec<String> = steps.iter().map(|step| done(step, change)).collect();
        words.extend(outlook(&rotated, &schedule, steps.is_empty(), now)?);
        let is_changed = !steps.is_empty() || ring.lacks_dates();
        (is_changed.then_some(rotated), words)
    };
    if change {
        source.finish(changed.as_ref())?;
    } else {
        say("this would be done:");
    }
    for line in words {
        say(&line);
    }
    Ok(())
}

pub(super) fn retire(arguments: &RetireArgs) -> Result<(), Failure> {
    let source = Source::open(&arguments.file, arguments.out.as_deref(), true)?;
    let mut ring = source.ring()?;
    let gone = ring.drop_sealing(&arguments.id).map_err(failure)?;
    let say = if source.fills_stdout() {
        print::note
    } else {
        print::line
    };
    if gone.is_empty() {
        source.finish(None)?;
        say("there is no previous sealing key");
        return Ok(());
    }
    let ids = gone.join(", ");
    if !arguments.yes_clients_must_register_again {
        return Err(Failure::usage(format!(
            "{ids}: every client that registered while one of these keys was in use must register again, and its users \
             sign in again; say --yes-clients-must-register-again if you want that"
        )));
    }
    source.finish(Some(&ring))?;
    say(&format!("removed the sealing keys {ids}"));
    say("clients that registered under them must register again");
    Ok(())
}

fn done(planned: &Planned, really: bool) -> String {
    let Planned {
        step, line, key, ..
    } = planned;
    match step {
        // A trial made a key that nobody will ever see.
        Step::Publish if !really => format!("published a new {line} key"),
        Step::Publish => format!("published the {line} key {key}; it is not in use yet"),
        Step::Promote => format!("promoted the {line} key {key}; it is in use now"),
        Step::Retire => format!(
            "retired the {line} key {key}; its public half stays until its last token has ended"
        ),
        Step::Forget => {
            format!("removed the public half of the {line} key {key}; no token of it is left")
        }
    }
}

/// What comes next, and what to do about it.
pub(super) fn outlook(
    ring: &KeyRing,
    schedule: &Schedule,
    idle: bool,
    now: UnixTime,
) -> Result<Vec<String>, Failure> {
    let plan = ring.plan(schedule, now).map_err(failure)?;
    let mut words = Vec::new();
    if idle {
        words.push("nothing is due".to_owned());
    } else {
        words.push("every replica must read the ring again before the next step".to_owned());
    }
    if let Some(next) = plan.first() {
        let step = next.step.as_str();
        words.push(format!(
            "next: {step} ({}) {}",
            next.line,
            when(next.due, now)
        ));
    }
    Ok(words)
}

fn emergency(what: Compromised) -> Vec<String> {
    let sealing = [
        "new sealing keys: every client must register again and every user must sign in again",
        "whoever has an old ring can read the provider's tokens inside refresh tokens and codes that he has: revoke them \
         at the provider",
    ];
    let signing = [
        "new signing keys: access tokens in the jwt form are refused from now on; clients refresh them, and nobody has to \
         sign in for that",
        "verifiers outside accept forged tokens until they read /jwks.json again: five minutes, or longer if they do not \
         heed max-age",
    ];
    let restart = "make every replica read the ring at once";
    let parts: Vec<&str> = match what {
        Compromised::All => [sealing, signing].concat(),
        Compromised::Sealing => sealing.to_vec(),
        Compromised::Signing => signing.to_vec(),
    };
    let parts = parts.into_iter().chain([restart]);
    parts.map(str::to_owned).collect()
}

/// What a state means, for people.
pub(super) fn meaning(state: KeyState) -> &'static str {
    match state {
        KeyState::Current => "in use",
        KeyState::Next => "published",
        KeyState::Previous => "opens and verifies",
    }
}
