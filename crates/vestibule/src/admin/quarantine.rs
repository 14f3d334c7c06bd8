//! `/admin/quarantine`: users and clients that are shut out; put there, shown, and let in again.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use vestibule_oauth::time::UnixTime;

use super::answer::AdminError;
use crate::House;
use crate::authorization_server::{body, json};
use crate::quarantine::{ClientSelector, Keeper, Quarantined, Who};

/// Bytes of a request.
const MAX_BODY: usize = 16 * 1024;
/// Longest reason, and longest text that is kept to say who, in characters.
const MAX_REASON: usize = 300;
const MAX_NAMED: usize = 200;

/// What an operator sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    reason: String,
    /// Seconds since 1970.
    ends_at: Option<u64>,
}

/// An entry as operators see it. Times are seconds since 1970.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// `user` or `client`.
    kind: &'static str,
    /// What lifts it.
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    named: Option<&'a str>,
    reason: &'a str,
    since: UnixTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<UnixTime>,
}

impl<'a> Shown<'a> {
    fn of(entry: &'a Quarantined) -> Self {
        Self {
            kind: entry.who.kind(),
            id: entry.who.text(),
            named: entry.named.as_deref(),
            reason: &entry.reason,
            since: entry.since,
            ends_at: entry.ends_at,
        }
    }
}

type Target = Result<Path<(String, String)>, PathRejection>;

/// Who, and what the operator wrote to say so where that is not the same.
fn target(path: Target) -> Result<(Who, Option<String>), AdminError> {
    let Path((kind, id)) = path.map_err(|_| AdminError::Path)?;
    match kind.as_str() {
        "users" if id.chars().any(char::is_control) => Err(AdminError::Wrong(
            "a user is the `sub` of our tokens".to_owned(),
        )),
        "users" => Ok((Who::User(id), None)),
        "clients" => {
            let selector = ClientSelector::parse(&id)
                .map_err(|why| AdminError::Wrong(format!("client: {why}")))?;
            let says_more = selector.digest().is_some() && !id.starts_with("sha256:");
            let short = id.chars().count() <= MAX_NAMED;
            let named = (says_more && short).then_some(id);
            Ok((Who::Client(selector), named))
        }
        _ => Err(AdminError::Path),
    }
}

fn keeper(house: &House) -> Result<Keeper<'_>, AdminError> {
    house.keeper().ok_or(AdminError::NoStore)
}

/// `GET /admin/quarantine`: the whole list.
pub(super) async fn list(State(house): State<Arc<House>>) -> Response {
    let answer = async {
        let (entries, unreadable) = keeper(&house)?.read().await?;
        let shown: Vec<Shown<'_>> = entries.iter().map(Shown::of).collect();
        let list = json!({ "quarantine": shown, "unreadable": unreadable });
        Ok(json(StatusCode::OK, &list))
    };
    answer
        .await
        .unwrap_or_else(|error: AdminError| error.respond(&house))
}

/// `GET /admin/quarantine/{users|clients}/{id}`.
pub(super) async fn show(State(house): State<Arc<House>>, path: Target) -> Response {
    let answer = async {
        let (who, _) = target(path)?;
        let entry = keeper(&house)?.get(&who).await?;
        let entry = entry.ok_or(AdminError::NotQuarantined)?;
        Ok(json(StatusCode::OK, &Shown::of(&entry)))
    };
    answer
        .await
        .unwrap_or_else(|error: AdminError| error.respond(&house))
}

/// `PUT /admin/quarantine/{users|clients}/{id}` with `{"reason": …, "ends_at": …}`.
pub(super) async fn put(
    State(house): State<Arc<House>>,
    path: Target,
    request: Request,
) -> Response {
    let source = house.source(&request);
    let answer = async {
        let (who, named) = target(path)?;
        let (_, bytes) = body(request, "application/json", MAX_BODY).await?;
        let asked: Asked = serde_json::from_slice(&bytes)
            .map_err(|error| AdminError::Wrong(format!("the body: {error}")))?;
        let now = house.now();
        let entry = Quarantined {
            who,
            named,
            reason: reason(&asked.reason)?,
            since: now,
            ends_at: asked.ends_at.map(UnixTime),
        };
        if entry.ends_at.is_some_and(|end| end <= now) {
            return Err(AdminError::Wrong("ends_at is over".to_owned()));
        }
        keeper(&house)?.put(&entry, &source).await?;
        Ok(json(StatusCode::OK, &Shown::of(&entry)))
    };
    answer
        .await
        .unwrap_or_else(|error: AdminError| error.respond(&house))
}

/// `DELETE /admin/quarantine/{users|clients}/{id}`.
pub(super) async fn lift(
    State(house): State<Arc<House>>,
    path: Target,
    request: Request,
) -> Response {
    let source = house.source(&request);
    let answer = async {
        let (who, _) = target(path)?;
        if !keeper(&house)?.lift(&who, &source).await? {
            return Err(AdminError::NotQuarantined);
        }
        let lifted = json!({ "kind": who.kind(), "id": who.text(), "lifted": true });
        Ok(json(StatusCode::OK, &lifted))
    };
    answer
        .await
        .unwrap_or_else(|error: AdminError| error.respond(&house))
}

fn reason(text: &str) -> Result<String, AdminError> {
    let text = text.trim();
    let plain = !text.chars().any(char::is_control);
    if text.is_empty() || text.chars().count() > MAX_REASON || !plain {
        return Err(AdminError::Wrong(format!(
            "reason: 1 to {MAX_REASON} characters on one line"
        )));
    }
    Ok(text.to_owned())
}
