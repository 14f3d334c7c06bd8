//! `/admin/grants`: what is granted, found by user, client and resource; shown; revoked, one or many.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use vestibule_oauth::params::Params;
use vestibule_oauth::time::UnixTime;

use super::answer::AdminError;
use crate::House;
use crate::audit::{Event, Happened, Source};
use crate::authorization_server::json;
use crate::grants::{Grant, RevokedWhy, Shelf, StoredGrant, fingerprint};
use crate::quarantine::{ClientSelector, Presented};
use crate::store::{Entry, Key, Owner, Space, Store};

/// Grants on a page unless asked otherwise, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 500;
/// Pages of the store that are looked through for one answer: with a filter that fits few, the cursor leads on.
const LOOKS: usize = 20;
/// Longest client id that is shown; one that holds a sealed registration is shown as its digest.
const SHOWN_ID: usize = 200;

/// A grant as operators see it. Times are seconds since 1970.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    family: &'a str,
    user: &'a str,
    client: ShownClient<'a>,
    resource: &'a str,
    scope: String,
    provider: &'a str,
    signed_in_at: UnixTime,
    last_used: UnixTime,
    ends_at: UnixTime,
    refreshes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<ShownEnd>,
}

#[derive(Debug, Serialize)]
struct ShownClient<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ShownEnd {
    at: UnixTime,
    why: &'static str,
}

impl<'a> Shown<'a> {
    fn of(record: &'a StoredGrant) -> Self {
        let id = record.client_id.as_str();
        let is_sealed = id.starts_with(vestibule_oauth::client::REGISTERED_PREFIX);
        Self {
            family: &record.grant.family,
            user: &record.user,
            client: ShownClient {
                id: (!is_sealed && id.len() <= SHOWN_ID).then_some(id),
                digest: format!("sha256:{}", fingerprint(id)),
                name: record.client_name.as_deref(),
                host: record.client_host.as_deref(),
            },
            resource: &record.grant.resource,
            scope: record.grant.scope.to_string(),
            provider: &record.grant.provider,
            signed_in_at: record.grant.signed_in_at,
            last_used: record.last_used,
            ends_at: record.ends_at,
            refreshes: record.generation(),
            revoked: record.revoked.map(|revoked| ShownEnd {
                at: revoked.at,
                why: revoked.why.slug(),
            }),
        }
    }
}

/// Which grants.
#[derive(Debug, Default)]
struct Wanted {
    user: Option<String>,
    client: Option<ClientSelector>,
    resource: Option<String>,
    /// Revoked ones as well.
    revoked: bool,
}

impl Wanted {
    fn read(params: &Params) -> Result<Self, AdminError> {
        let text = |name| Ok::<_, AdminError>(params.get(name)?.map(str::to_owned));
        let client = params.get("client")?.map(|client| {
            let parsed = ClientSelector::parse(client);
            parsed.map_err(|why| AdminError::Wrong(format!("client: {why}")))
        });
        Ok(Self {
            user: text("user")?,
            client: client.transpose()?,
            resource: text("resource")?,
            revoked: flag(params, "revoked")?,
        })
    }

    fn is_everything(&self) -> bool {
        self.user.is_none() && self.client.is_none() && self.resource.is_none()
    }

    fn fits(&self, record: &StoredGrant) -> bool {
        let presented = Presented {
            id: &record.client_id,
            name: record.client_name.as_deref(),
        };
        (self.revoked || record.revoked.is_none())
            && (self.user.as_ref()).is_none_or(|user| *user == record.user)
            && (self.client.as_ref()).is_none_or(|client| client.matches(&presented))
            && (self.resource.as_ref()).is_none_or(|path| *path == record.grant.resource)
    }
}

fn flag(params: &Params, name: &'static str) -> Result<bool, AdminError> {
    match params.get(name)? {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(AdminError::Wrong(format!("{name} is true or false"))),
    }
}

/// Everything that is not known is refused: a filter with a slip of the pen must not mean "all".
fn query(raw: Option<String>, known: &[&str]) -> Result<Params, AdminError> {
    let raw = raw.unwrap_or_default();
    let params = Params::parse(raw.as_bytes())?;
    params.refuse_repeated()?;
    for (name, _) in url::form_urlencoded::parse(raw.as_bytes()) {
        if !known.contains(&name.as_ref()) {
            let known = known.join("`, `");
            return Err(AdminError::Wrong(format!(
                "unknown parameter; known here are `{known}`"
            )));
        }
        if params.get(&name)?.is_none() {
            return Err(AdminError::Wrong(
                "a parameter without a value; leave it out to mean all".to_owned(),
            ));
        }
    }
    Ok(params)
}

/// The grants in the store.
struct Book<'a> {
    house: &'a Arc<House>,
    store: &'a dyn Store,
    shelf: Shelf<'a>,
}

/// Some of them.
struct Leaf {
    grants: Vec<StoredGrant>,
    unreadable: usize,
    next: Option<String>,
}

impl<'a> Book<'a> {
    fn open(house: &'a Arc<House>) -> Result<Self, AdminError> {
        Ok(Self {
            house,
            store: house.store().ok_or(AdminError::NoStore)?,
            shelf: house.shelf().ok_or(AdminError::NoStore)?,
        })
    }

    /// At most `limit` grants, beginning at a cursor.
    async fn leaf(
        &self,
        wanted: &Wanted,
        cursor: Option<String>,
        limit: usize,
        looks: usize,
    ) -> Result<Leaf, AdminError> {
        let mut leaf = Leaf {
            grants: Vec::new(),
            unreadable: 0,
            next: cursor,
        };
        for _ in 0..looks {
            let room = limit - leaf.grants.len();
            let (entries, next) = self.entries(wanted, leaf.next.take(), room).await?;
            for entry in &entries {
                match self.shelf.open(&entry.value.bytes, self.house.now()) {
                    Ok(Some(record)) if wanted.fits(&record) => leaf.grants.push(record),
                    Ok(_) => {}
                    Err(_) => leaf.unreadable += 1,
                }
            }
            leaf.next = next;
            if leaf.next.is_none() || leaf.grants.len() >= limit {
                break;
            }
        }
        Ok(leaf)
    }

    /// A page of the store, which keeps a list for each user.
    async fn entries(
        &self,
        wanted: &Wanted,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<String>), AdminError> {
        let Some(user) = &wanted.user else {
            let scan = self.store.scan(Space::Grant, cursor.as_deref(), limit);
            return Ok(self.shelf.within(scan).await?);
        };
        let (owner, after) = (Owner::user(user), cursor.map(Key::from_text));
        let asked = self.store.list(&owner, after.as_ref(), limit);
        let entries = self.shelf.within(asked).await?;
        let last = entries.last().filter(|_| entries.len() == limit);
        let next = last.map(|entry| entry.key.as_str().to_owned());
        Ok((entries, next))
    }

    /// Ends a grant everywhere, but for what the provider is told; `None` when it was ended before.
    async fn end(
        &self,
        record: &StoredGrant,
        source: &Source,
    ) -> Result<Option<Grant>, AdminError> {
        if record.revoked.is_some() {
            return Ok(None);
        }
        let family = &record.grant.family;
        let ended = (self.house).revoke_family(family, RevokedWhy::Operator, source);
        Ok(ended.await?.map(|record| record.grant))
    }
}

/// `GET /admin/grants`.
pub(super) async fn list(State(house): State<Arc<House>>, RawQuery(raw): RawQuery) -> Response {
    let answer = async {
        let known = ["user", "client", "resource", "revoked", "cursor", "limit"];
        let params = query(raw, &known)?;
        let wanted = Wanted::read(&params)?;
        let limit = match params.get("limit")?.map(str::parse) {
            None => PAGE,
            Some(Ok(limit)) if (1..=MAX_PAGE).contains(&limit) => limit,
            Some(_) => return Err(AdminError::Wrong(format!("limit is 1 to {MAX_PAGE}"))),
        };
        let cursor = params.get("cursor")?.map(str::to_owned);
        let book = Book::open(&house)?;
        let leaf = book.leaf(&wanted, cursor, limit, LOOKS).await?;
        let grants: Vec<Shown<'_>> = leaf.grants.iter().map(Shown::of).collect();
        Ok(json(
            StatusCode::OK,
            &json!({ "grants": grants, "unreadable": leaf.unreadable, "next": leaf.next }),
        ))
    };
    answer.await.unwrap_or_else(|error| error.respond(&house))
}

/// `GET /admin/grants/{family}`.
pub(super) async fn show(
    State(house): State<Arc<House>>,
    family: Result<Path<String>, PathRejection>,
) -> Response {
    let answer = async {
        let Path(family) = family.map_err(|_| AdminError::Path)?;
        let book = Book::open(&house)?;
        let found = book.shelf.load(&family, house.now()).await?;
        let found = found.ok_or(AdminError::NoGrant)?;
        Ok(json(StatusCode::OK, &Shown::of(&found.grant)))
    };
    answer
        .await
        .unwrap_or_else(|error: AdminError| error.respond(&house))
}

/// `DELETE /admin/grants/{family}`. A grant that is revoked already is no error.
pub(super) async fn revoke(
    State(house): State<Arc<House>>,
    family: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let source = house.source(&request);
    let answer = async {
        let Path(family) = family.map_err(|_| AdminError::Path)?;
        let book = Book::open(&house)?;
        let found = book.shelf.load(&family, house.now()).await?;
        let found = found.ok_or(AdminError::NoGrant)?;
        let ended = book.end(&found.grant, &source).await?;
        let count = usize::from(ended.is_some());
        house.tell_audit(&event(&source).grant(&family).count(count));
        house.tell_providers(ended.into_iter().collect());
        Ok(counted(1, count, 0))
    };
    answer
        .await
        .unwrap_or_else(|error: AdminError| error.respond(&house))
}

/// `DELETE /admin/grants?user=|client=|resource=`, or `?all=true`. It may be repeated: what is revoked stays so. What was
/// revoked before an error is revoked, and the providers are told.
pub(super) async fn revoke_many(
    State(house): State<Arc<House>>,
    RawQuery(raw): RawQuery,
    request: Request,
) -> Response {
    let source = house.source(&request);
    let mut ended = Vec::new();
    let answer = async {
        let params = query(raw, &["user", "client", "resource", "all"])?;
        let wanted = Wanted::read(&params)?;
        if wanted.is_everything() != flag(&params, "all")? {
            return Err(AdminError::Wrong(
                "say which grants, by `user`, `client` or `resource`; or `all=true` and nothing else"
                    .to_owned(),
            ));
        }
        let book = Book::open(&house)?;
        let (mut matched, mut unreadable) = (0, 0);
        let mut cursor = None;
        loop {
            let leaf = book.leaf(&wanted, cursor, MAX_PAGE, 1).await?;
            unreadable += leaf.unreadable;
            matched += leaf.grants.len();
            for record in &leaf.grants {
                ended.extend(book.end(record, &source).await?);
            }
            cursor = leaf.next;
            if cursor.is_none() {
                return Ok((matched, unreadable));
            }
        }
    };
    let answer = answer.await;
    let count = ended.len();
    house.tell_audit(&event(&source).count(count));
    house.tell_providers(ended);
    match answer {
        Ok((matched, unreadable)) => counted(matched, count, unreadable),
        Err(error) => error.respond(&house),
    }
}

/// Each grant has an event of its own besides.
fn event(source: &Source) -> Event<'_> {
    Event::new(Happened::AdminGrantsRevoked).from(source)
}

fn counted(matched: usize, revoked: usize, unreadable: usize) -> Response {
    let counts = json!({ "matched": matched, "revoked": revoked, "unreadable": unreadable });
    json(StatusCode::OK, &counts)
}
