//! `/connections`: what a person has connected, and the way to take it back (OAuth 2.1 §7, "Consent Phishing").
//!
//! We are the relying party here: the person signs in through the provider (`sign_in.rs`, finished by `/callback`), and a
//! sealed cookie of a quarter of an hour says who it is. Nothing is kept for it on this side. Every form brings back a ticket
//! that was made for this session, and a grant is ended only if its record says that it is this user's.
//!
//! Somebody who is in quarantine may come here all the same: seeing and ending what one has connected gives nobody access.

mod end;
mod error;
mod list;
mod sign_in;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use vestibule_oauth::params::Params;

use super::cookies::Cookies;
use super::respond;
use super::same_site::foreign_site;
use super::tell::redirect_to;
use crate::House;
use crate::grants::{Account, FormTicket, Notice, Session};
use crate::pages::{
    self, AccountLine, Connected, ConnectionsPage, NotSignedIn, Page, ProviderChoice,
};
use crate::provider::Provider;
use crate::seal::SealError;

use end::Ending;
use error::ConnectionsError;
use list::Cursor;

pub(crate) use list::has_others;
pub(super) use sign_in::finish;
pub use sign_in::sign_in;

/// The page.
pub const PATH: &str = "/connections";

const MAX_BODY: usize = 8 * 1024;

/// `GET /connections`: the list, the way to sign in, or that nothing is kept here.
pub async fn page(State(house): State<Arc<House>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    match show(&house, request.headers(), query).await {
        Ok(response) => response,
        Err(error) => error.respond(&house),
    }
}

/// `POST /connections/revoke`: ends one connection, or all.
pub async fn revoke(State(house): State<Arc<House>>, request: Request) -> Response {
    match end_some(&house, request).await {
        Ok(response) => response,
        Err(error) => error.respond(&house),
    }
}

/// `POST /connections/sign-out`: ends the session of this page. The one at the provider is `/logout`'s.
pub async fn sign_out(State(house): State<Arc<House>>, request: Request) -> Response {
    match read_form(&house, request).await {
        Ok((headers, _, _)) => {
            let mut response = back_to_page(&house);
            sign_off(&house, &headers, response.headers_mut()).await;
            response
        }
        Err(error) => error.respond(&house),
    }
}

/// Ends the session and forgets who signed in. Where there is a store every replica hears of it, so a copy of the cookie is
/// worth nothing either.
pub(super) async fn sign_off(house: &House, request: &HeaderMap, headers: &mut HeaderMap) {
    if let Some(session) = session(house, request) {
        end_session(house, &session).await;
    }
    let cookies = Cookies::new(&house.settings().public_url);
    if cookies.session(request).is_some() {
        cookies.set_session(headers, "", 0);
    }
    forget_account(house, request, headers);
}

/// Forgets who signed in last.
pub(super) fn forget_account(house: &House, request: &HeaderMap, headers: &mut HeaderMap) {
    let cookies = Cookies::new(&house.settings().public_url);
    if cookies.account(request).is_some() {
        cookies.set_account(headers, "", 0);
    }
}

/// Remembers who signed in, for the consent page to say so.
pub(super) fn remember(house: &House, headers: &mut HeaderMap, account: &Account) {
    let until = house.now().plus(Account::LIFETIME);
    let sealed = house.sealer().seal(account, Some(until), house.random());
    let cookies = Cookies::new(&house.settings().public_url);
    cookies.set_account(headers, &sealed, Account::LIFETIME);
}

/// Who signed in last in this browser, if it was at one of these providers.
pub(super) fn last_account(
    house: &House,
    headers: &HeaderMap,
    providers: &[&Provider],
) -> Option<AccountLine> {
    let cookies = Cookies::new(&house.settings().public_url);
    let account: Account = house
        .sealer()
        .open(cookies.account(headers)?, house.now())
        .ok()?;
    let provider = providers.iter().find(|own| own.id() == account.provider)?;
    Some(AccountLine {
        name: account.name,
        provider: ProviderChoice::new(provider.id(), provider.label()),
        can_change: provider.profile().another_account.is_some(),
    })
}

/// The session of this browser, unless it is over, was ended, or its provider is gone.
fn session(house: &House, headers: &HeaderMap) -> Option<Session> {
    let cookies = Cookies::new(&house.settings().public_url);
    let sealed = cookies.session(headers)?;
    let session: Session = house.sealer().open(sealed, house.now()).ok()?;
    let ended = house.revoked().contains(&session.id, house.now());
    let known = house.provider(&session.account.provider).is_some();
    (known && !ended).then_some(session)
}

/// From now on a copy of its cookie opens nothing. A store that is away leaves that to this replica.
async fn end_session(house: &House, session: &Session) {
    if let Err(error) = house.revoke_token(&session.id, session.ends_at).await {
        tracing::warn!(reason = "store_unavailable", cause = %error, "other replicas do not know that a session was ended");
    }
}

fn keep_session(house: &House, headers: &mut HeaderMap, session: &Session) {
    let left = session.ends_at.since(house.now());
    let sealed = house
        .sealer()
        .seal(session, Some(session.ends_at), house.random());
    Cookies::new(&house.settings().public_url).set_session(headers, &sealed, left);
}

/// The one place that anybody is sent to from here.
fn back_to_page(house: &House) -> Response {
    redirect_to(
        StatusCode::SEE_OTHER,
        &house.settings().public_url.join(PATH),
    )
}

async fn show(
    house: &House,
    headers: &HeaderMap,
    query: &str,
) -> Result<Response, ConnectionsError> {
    let may_sign_out = house.providers().iter().any(Provider::may_end_sessions);
    if house.store().is_none() {
        return Ok(respond_with(ConnectionsPage::NoRecord { may_sign_out }));
    }
    let Some(mut session) = session(house, headers) else {
        return Ok(ask_to_sign_in(house, headers));
    };
    let params = Params::parse(query.as_bytes())?;
    let cursor = params.get("after")?.and_then(Cursor::parse);
    let is_first = cursor.is_none();
    let listed = list::live(house, &session.account, cursor, list::ON_A_PAGE).await?;
    let language = pages::language(headers);
    let lines = listed.grants.iter();
    let provider = house.provider(&session.account.provider);
    let ticket = FormTicket::for_session(&session);
    let page = ConnectionsPage::List(Connected {
        account: AccountLine {
            name: session.account.name.clone(),
            provider: ProviderChoice::new(
                &session.account.provider,
                provider.map_or("", |own| own.label()),
            ),
            can_change: false,
        },
        lines: lines
            .map(|grant| list::line(house, grant, language))
            .collect(),
        is_first,
        next: listed.next.map(|cursor| cursor.to_string()),
        notice: session.notice,
        is_suspended: is_suspended(house, &session.account),
        may_sign_out,
        ticket: seal_ticket(house, &ticket),
    });
    let mut response = respond_with(page);
    if session.notice.take().is_some() {
        keep_session(house, response.headers_mut(), &session);
    }
    Ok(response)
}

/// True for a user in quarantine.
fn is_suspended(house: &House, account: &Account) -> bool {
    house.provider(&account.provider).is_some_and(|provider| {
        let user = house.subject(provider, &account.subject);
        house.quarantine().has_user(&user, house.now())
    })
}

fn ask_to_sign_in(house: &House, headers: &HeaderMap) -> Response {
    let cookies = Cookies::new(&house.settings().public_url);
    let known = cookies.browser(headers);
    let browser = known.clone().unwrap_or_else(|| house.random().token(16));
    let page = NotSignedIn {
        providers: house
            .providers()
            .iter()
            .map(|own| ProviderChoice::new(own.id(), own.label()))
            .collect(),
        can_change: house
            .providers()
            .iter()
            .any(|own| own.profile().another_account.is_some()),
        ticket: seal_ticket(house, &FormTicket::for_browser(&browser)),
    };
    let mut response = respond_with(ConnectionsPage::SignIn(page));
    if known.is_none() {
        cookies.set_browser(response.headers_mut(), &browser);
    }
    response
}

fn seal_ticket(house: &House, ticket: &FormTicket) -> String {
    let until = house.now().plus(FormTicket::LIFETIME);
    house.sealer().seal(ticket, Some(until), house.random())
}

fn respond_with(page: ConnectionsPage) -> Response {
    pages::respond(StatusCode::OK, Page::Connections(Box::new(page)))
}

/// A form that this session's own page sent.
async fn read_form(
    house: &House,
    request: Request,
) -> Result<(HeaderMap, Params, Session), ConnectionsError> {
    let (headers, params, ticket) = read_any_form(house, request).await?;
    let session = session(house, &headers).ok_or(ConnectionsError::SignedOut)?;
    if !ticket?.is_of_session(&session) {
        return Err(ConnectionsError::OtherSession);
    }
    Ok((headers, params, session))
}

/// A form of our own site, and the ticket in it.
async fn read_any_form(
    house: &House,
    request: Request,
) -> Result<(HeaderMap, Params, Result<FormTicket, SealError>), ConnectionsError> {
    let (headers, body) =
        respond::body(request, "application/x-www-form-urlencoded", MAX_BODY).await?;
    if let Some(site) = foreign_site(house, &headers) {
        return Err(ConnectionsError::CrossSite(site));
    }
    let params = Params::parse(&body)?;
    let ticket = house.sealer().open(params.require("ticket")?, house.now());
    Ok((headers, params, ticket))
}

async fn end_some(house: &Arc<House>, request: Request) -> Result<Response, ConnectionsError> {
    let source = house.source(&request);
    let (_, params, mut session) = read_form(house, request).await?;
    let what = if params.has("all") {
        Ending::All
    } else {
        Ending::One(params.require("grant")?.to_owned())
    };
    // In a task of its own: whoever closes the window half-way has pressed the button all the same.
    let work = {
        let (house, account) = (Arc::clone(house), session.account.clone());
        async move { end::end(&house, &account, what, &source).await }
    };
    let notice: Notice = match house.refreshes().tasks.spawn(work).await {
        Ok(result) => result?,
        Err(_) => return Err(ConnectionsError::Crashed),
    };
    session.notice = Some(notice);
    let mut response = back_to_page(house);
    keep_session(house, response.headers_mut(), &session);
    Ok(response)
}
