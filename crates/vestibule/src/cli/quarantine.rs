//! `vestibule quarantine`: shuts users and clients out, and lets them in again.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use vestibule_oauth::time::UnixTime;

use super::keys::{seconds, when};
use super::operator::{self, EXIT_CODES, Place, segment, table};
use super::{Failure, print};
use crate::settings::Strings;

/// Options of `vestibule quarantine`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct QuarantineArgs {
    #[command(subcommand)]
    command: QuarantineCommand,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// Shut out a user or a client. It holds at every replica within seconds; nothing is revoked.
    Add {
        #[command(flatten)]
        who: Who,
        /// Why, for other operators.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// For how long, as in `24h` [default: until it is removed].
        #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
        lasts: Option<u64>,
        #[command(flatten)]
        place: Place,
    },
    /// Let a user or a client in again.
    Remove {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        place: Place,
    },
    /// Show who is shut out.
    List {
        #[command(flatten)]
        place: Place,
    },
}

/// One of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// A user, by the `sub` of our tokens.
    #[arg(long, value_name = "SUB")]
    user: Option<String>,
    /// A client: its `client_id`, `sha256:DIGEST`, `host:HOST` of a metadata document, or `name:NAME`.
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
}

impl Who {
    fn path(&self) -> String {
        let (kind, id) = match (&self.user, &self.client) {
            (Some(user), _) => ("users", user.as_str()),
            (None, client) => ("clients", client.as_deref().unwrap_or_default()),
        };
        format!("/admin/quarantine/{kind}/{}", segment(id))
    }
}

pub(super) fn run(arguments: &QuarantineArgs, env: &dyn Strings) -> Result<(), Failure> {
    match &arguments.command {
        QuarantineCommand::Add {
            who,
            reason,
            lasts,
            place,
        } => operator::at(place, env, async |desk| {
            let ends_at = lasts.map(|seconds| desk.now().plus(seconds));
            let body = json!({ "reason": reason, "ends_at": ends_at });
            let answer = desk.ask(Method::PUT, &who.path(), Some(&body)).await?;
            tell(place, &answer, "shut out");
            Ok(())
        }),
        QuarantineCommand::Remove { who, place } => operator::at(place, env, async |desk| {
            let answer = desk.ask(Method::DELETE, &who.path(), None).await?;
            tell(place, &answer, "let in again");
            Ok(())
        }),
        QuarantineCommand::List { place } => operator::at(place, env, async |desk| {
            let list = desk.ask(Method::GET, "/admin/quarantine", None).await?;
            if place.json {
                print::line(&list.to_string());
                return Ok(());
            }
            let entries = list["quarantine"].as_array();
            let rows = entries.into_iter().flatten();
            let rows: Vec<_> = rows.map(|entry| row(entry, desk.now())).collect();
            print::text(&table(["KIND", "WHO", "ENDS", "ID", "REASON"], &rows));
            if let Some(count @ 1..) = list["unreadable"].as_u64() {
                print::note(&format!(
                    "{count} cannot be read and have no effect: sealed with keys that are not in this key ring"
                ));
            }
            Ok(())
        }),
    }
}

fn tell(place: &Place, answer: &Value, what: &str) {
    if place.json {
        print::line(&answer.to_string());
    } else {
        let text = |name: &str| answer[name].as_str().unwrap_or("-");
        print::line(&format!("{what}: {} {}", text("kind"), text("id")));
    }
}

fn row(entry: &Value, now: UnixTime) -> [String; 5] {
    let text = |name: &str| entry[name].as_str().map(str::to_owned);
    let id = text("id").unwrap_or_default();
    let ends = entry["ends_at"].as_u64();
    [
        text("kind").unwrap_or_default(),
        text("named").unwrap_or_else(|| id.clone()),
        ends.map_or_else(|| "never".to_owned(), |at| when(UnixTime(at), now)),
        id,
        text("reason").unwrap_or_default(),
    ]
}
