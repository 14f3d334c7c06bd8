//! `vestibule keys status`: every key of a ring, without the keys.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use vestibule_oauth::time::UnixTime;

use super::{ScheduleArgs, Source, failure, rotate, span, when};
use crate::cli::{Failure, print};
use crate::keys::rotation::Planned;
use crate::keys::{KeyRing, Life};

/// Options of `vestibule keys status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The key ring; `-` reads it from standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    schedule: ScheduleArgs,
}

/// One key, as `--json` shows it. Times are seconds since 1970.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(rename = "use")]
    usage: &'static str,
    id: String,
    alg: Option<&'static str>,
    state: &'static str,
    created: UnixTime,
    since: UnixTime,
    age_days: u64,
    next: Option<Next>,
    #[serde(skip)]
    meaning: &'static str,
}

#[derive(Debug, Serialize)]
struct Next {
    step: &'static str,
    due: UnixTime,
}

#[derive(Debug, Serialize)]
struct Report {
    keys: Vec<Shown>,
}

pub(super) fn run(arguments: &StatusArgs, now: UnixTime) -> Result<(), Failure> {
    let schedule = arguments.schedule.schedule()?;
    let ring = Source::open(&arguments.file, None, false)?.ring()?;
    let plan = ring.plan(&schedule, now).map_err(failure)?;
    let keys = shown(&ring, &plan, now)?;
    if arguments.json {
        let report = Report { keys };
        print::line(&serde_json::to_string(&report).map_err(Failure::runtime)?);
        return Ok(());
    }
    for key in keys {
        let next = key.next.as_ref().map_or_else(
            || match key.state {
                "current" => "until the next key is promoted".to_owned(),
                _ => "stays for client registrations".to_owned(),
            },
            |next| format!("{} {}", next.step, when(next.due, now)),
        );
        print::line(&format!(
            "{:<8} {:<6} {:<43} {:<9} ({}) for {}; {next}",
            key.usage,
            key.alg.unwrap_or("-"),
            key.id,
            key.state,
            key.meaning,
            span(now.since(key.since)),
        ));
    }
    Ok(())
}

fn shown(ring: &KeyRing, plan: &[Planned], now: UnixTime) -> Result<Vec<Shown>, Failure> {
    let next = |id: &str| {
        let planned = plan.iter().find(|planned| planned.key == id)?;
        Some(Next {
            step: planned.step.as_str(),
            due: planned.due,
        })
    };
    let key = |usage, id: String, alg, life: Life| Shown {
        usage,
        next: next(&id),
        id,
        alg,
        state: life.state.as_str(),
        created: life.created,
        since: life.since(),
        age_days: now.since(life.created) / (24 * 3600),
        meaning: rotate::meaning(life.state),
    };
    let mut keys = Vec::new();
    for own in &ring.sealing {
        keys.push(key("sealing", own.id_text(), None, own.life));
    }
    for own in &ring.signing {
        let kid = own.key().map_err(failure)?.kid().to_owned();
        keys.push(key("signing", kid, Some(own.alg.as_str()), own.life));
    }
    for own in &ring.retired {
        keys.push(Shown {
            usage: "signing",
            next: next(own.kid()),
            id: own.kid().to_owned(),
            alg: Some(own.alg.as_str()),
            state: "retired",
            created: own.created,
            since: own.since,
            age_days: now.since(own.created) / (24 * 3600),
            meaning: "public half only",
        });
    }
    Ok(keys)
}
