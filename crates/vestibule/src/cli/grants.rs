//! `vestibule grants`: what is granted to which client, and how to end it.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use vestibule_oauth::time::UnixTime;

use super::keys::span;
use super::operator::{self, Desk, EXIT_CODES, Place, query, segment, table};
use super::{Failure, print};
use crate::settings::Strings;

/// Grants asked for at once.
const PAGE: usize = 500;

/// Options of `vestibule grants`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct GrantsArgs {
    #[command(subcommand)]
    command: GrantsCommand,
}

#[derive(Debug, Subcommand)]
enum GrantsCommand {
    /// Show what is granted.
    List {
        #[command(flatten)]
        which: Which,
        /// Show revoked grants that have not ended yet as well.
        #[arg(long)]
        revoked: bool,
        /// How many at most.
        #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
        limit: usize,
        #[command(flatten)]
        place: Place,
    },
    /// Show one grant.
    Show {
        /// Its family.
        family: String,
        #[command(flatten)]
        place: Place,
    },
    /// End grants: here, at every replica, and at the provider. Whoever used them signs in again.
    Revoke {
        /// The family of one grant.
        #[arg(conflicts_with_all = ["user", "client", "resource", "all"])]
        family: Option<String>,
        #[command(flatten)]
        which: Which,
        /// Every grant of every user.
        #[arg(long, conflicts_with_all = ["user", "client", "resource"])]
        all: bool,
        /// Do it; without this, say how many there are.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Which grants.
#[derive(Debug, Args)]
struct Which {
    /// Those of a user, by the `sub` of our tokens.
    #[arg(long, value_name = "SUB")]
    user: Option<String>,
    /// Those of a client: its `client_id`, `sha256:DIGEST`, `host:HOST` or `name:NAME`.
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Those for a resource, by its path.
    #[arg(long, value_name = "PATH")]
    resource: Option<String>,
}

impl Which {
    fn is_everything(&self) -> bool {
        self.user.is_none() && self.client.is_none() && self.resource.is_none()
    }

    fn pairs(&self) -> [(&'static str, Option<&str>); 3] {
        [
            ("user", self.user.as_deref()),
            ("client", self.client.as_deref()),
            ("resource", self.resource.as_deref()),
        ]
    }
}

pub(super) fn run(arguments: &GrantsArgs, env: &dyn Strings) -> Result<(), Failure> {
    match &arguments.command {
        GrantsCommand::List {
            which,
            revoked,
            limit,
            place,
        } => operator::at(place, env, async |desk| {
            let found = find(desk, which, *revoked, *limit).await?;
            if place.json {
                print::line(&found.json().to_string());
            } else {
                print::text(&found.table(desk.now()));
                found.remarks();
            }
            Ok(())
        }),
        GrantsCommand::Show { family, place } => operator::at(place, env, async |desk| {
            let path = format!("/admin/grants/{}", segment(family));
            let grant = desk.ask(Method::GET, &path, None).await?;
            if place.json {
                print::line(&grant.to_string());
            } else {
                print::text(&lines(&grant));
            }
            Ok(())
        }),
        GrantsCommand::Revoke {
            family,
            which,
            all,
            yes,
            place,
        } => {
            let path = match family {
                Some(family) => format!("/admin/grants/{}", segment(family)),
                None if *all => "/admin/grants?all=true".to_owned(),
                None if which.is_everything() => {
                    return Err(Failure::usage(
                        "say which: a family, --user, --client, --resource, or --all",
                    ));
                }
                None => format!("/admin/grants?{}", query(&which.pairs())),
            };
            operator::at(place, env, async |desk| {
                if family.is_none() && !yes {
                    let found = find(desk, which, false, usize::MAX).await?;
                    return Err(Failure::usage(format!(
                        "{} would be revoked; say --yes to do it",
                        grants(found.grants.len())
                    )));
                }
                let answer = desk.ask(Method::DELETE, &path, None).await?;
                if place.json {
                    print::line(&answer.to_string());
                    return Ok(());
                }
                let count = |name: &str| answer[name].as_u64().unwrap_or_default();
                let before = count("matched").saturating_sub(count("revoked"));
                print::line(&format!("revoked: {}", count("revoked")));
                if before > 0 {
                    print::note(&format!("already revoked: {before}"));
                }
                if count("unreadable") > 0 {
                    print::note(&unreadable(count("unreadable")));
                }
                Ok(())
            })
        }
    }
}

/// What was found.
struct Found {
    grants: Vec<Value>,
    unreadable: u64,
    more: bool,
}

async fn find(desk: &Desk, which: &Which, revoked: bool, limit: usize) -> Result<Found, Failure> {
    let mut found = Found {
        grants: Vec::new(),
        unreadable: 0,
        more: false,
    };
    let mut cursor: Option<String> = None;
    while found.grants.len() < limit {
        let page = (limit - found.grants.len()).min(PAGE).to_string();
        let [user, client, resource] = which.pairs();
        let query = query(&[
            user,
            client,
            resource,
            ("revoked", revoked.then_some("true")),
            ("limit", Some(&page)),
            ("cursor", cursor.as_deref()),
        ]);
        let path = format!("/admin/grants?{query}");
        let mut answer = desk.ask(Method::GET, &path, None).await?;
        if let Value::Array(grants) = answer["grants"].take() {
            found.grants.extend(grants);
        }
        found.unreadable += answer["unreadable"].as_u64().unwrap_or_default();
        cursor = answer["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return Ok(found);
        }
    }
    found.more = true;
    Ok(found)
}

impl Found {
    fn json(&self) -> Value {
        json!({ "grants": self.grants, "unreadable": self.unreadable, "more": self.more })
    }

    fn table(&self, now: UnixTime) -> String {
        let head = ["FAMILY", "USER", "CLIENT", "RESOURCE", "LAST USED", "SCOPE"];
        let row = |grant: &Value| {
            let used = UnixTime(grant["last_used"].as_u64().unwrap_or_default());
            let used = match grant["revoked"]["why"].as_str() {
                Some(why) => format!("revoked: {why}"),
                None => format!("{} ago", span(now.since(used))),
            };
            [
                text(&grant["family"]),
                text(&grant["user"]),
                client(&grant["client"]),
                text(&grant["resource"]),
                used,
                text(&grant["scope"]),
            ]
        };
        let rows: Vec<_> = self.grants.iter().map(row).collect();
        table(head, &rows)
    }

    fn remarks(&self) {
        if self.more {
            print::note("there are more; see --limit");
        }
        if self.unreadable > 0 {
            print::note(&unreadable(self.unreadable));
        }
    }
}

fn unreadable(count: u64) -> String {
    format!("{count} in the store cannot be read: sealed with keys that are not in this key ring")
}

fn grants(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} grant{plural}")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

/// The name it gives itself, and what is known of it; else the beginning of its digest.
fn client(client: &Value) -> String {
    let known = client["host"].as_str().or(client["id"].as_str());
    let digest = || text(&client["digest"]).chars().take(15).collect();
    let known = known.map_or_else(digest, str::to_owned);
    match client["name"].as_str() {
        Some(name) if name != known => format!("{name} ({known})"),
        _ => known,
    }
}

/// `name: value` for each member.
fn lines(grant: &Value) -> String {
    fn walk(prefix: &str, value: &Value, rows: &mut Vec<[String; 2]>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let path = if prefix.is_empty() {
                        name.clone()
                    } else {
                        format!("{prefix}.{name}")
                    };
                    walk(&path, value, rows);
                }
            }
            Value::String(text) => rows.push([prefix.to_owned(), text.clone()]),
            other => rows.push([prefix.to_owned(), other.to_string()]),
        }
    }
    let mut rows = Vec::new();
    walk("", grant, &mut rows);
    table(["MEMBER", "VALUE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_shown_by_its_name_and_by_what_is_known_of_it() {
        let shown = |value: Value| client(&value);
        let digest = "sha256:0123456789abcdef";
        assert_eq!(
            shown(json!({ "name": "Desk", "digest": digest })),
            "Desk (sha256:01234567)"
        );
        assert_eq!(
            shown(
                json!({ "name": "Ed", "host": "ed.example", "id": "https://ed.example/c", "digest": digest })
            ),
            "Ed (ed.example)"
        );
        assert_eq!(shown(json!({ "id": "desk", "digest": digest })), "desk");
    }
}
