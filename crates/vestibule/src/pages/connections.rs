//! The page `/connections`: who is signed in, what they have connected, and the buttons that end it; with a twin in JSON.

use askama::Template;
use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Value, json};

use vestibule_oauth::time::UnixTime;

use super::negotiation::Wanted;
use super::texts::{ConnectionsTexts, Texts};
use super::{AccountLine, ProviderChoice, STYLE, ScopeLine, write_html};
use crate::grants::Notice;

/// The three faces of the page.
#[derive(Clone, Debug)]
pub enum ConnectionsPage {
    /// This server keeps no record of grants.
    NoRecord {
        /// `/logout` has something to offer.
        may_sign_out: bool,
    },
    /// Nobody is signed in.
    SignIn(NotSignedIn),
    /// The list.
    List(Connected),
}

/// The way to sign in.
#[derive(Clone, Debug)]
pub struct NotSignedIn {
    /// One button each.
    pub providers: Vec<ProviderChoice>,
    /// Some provider can be asked to let the user choose another account.
    pub can_change: bool,
    /// For the form.
    pub ticket: String,
}

/// What somebody has connected.
#[derive(Clone, Debug)]
pub struct Connected {
    /// Who it is.
    pub account: AccountLine,
    /// One page of the list.
    pub lines: Vec<ConnectionLine>,
    /// True for the first page.
    pub is_first: bool,
    /// Where the next page begins.
    pub next: Option<String>,
    /// What the last form did.
    pub notice: Option<Notice>,
    /// The user is in quarantine.
    pub is_suspended: bool,
    /// `/logout` has something to offer.
    pub may_sign_out: bool,
    /// For every form on the page.
    pub ticket: String,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct ConnectionLine {
    /// Its family.
    pub id: String,
    /// What the client calls itself.
    pub client_name: Option<String>,
    /// The host whose document described the client.
    pub verified_host: Option<String>,
    /// Host or scheme that the code was sent to.
    pub redirect_host: Option<String>,
    /// The resource's name or URL.
    pub resource: String,
    /// What was approved.
    pub scopes: Vec<ScopeLine>,
    /// When it was approved.
    pub since: UnixTime,
    /// When it was last renewed.
    pub last_used: UnixTime,
    /// The client is in quarantine.
    pub is_suspended: bool,
}

#[derive(Template)]
#[template(path = "connections.html")]
struct Connections<'a> {
    style: &'static str,
    t: &'static Texts,
    c: &'static ConnectionsTexts,
    page: &'a ConnectionsPage,
    title: &'static str,
    notices: Vec<String>,
}

/// Writes the page in the form that is wanted.
pub(super) fn write(response: &mut Response, page: &ConnectionsPage, wanted: Wanted) {
    if wanted.json {
        return write_json(response, page);
    }
    let c = &wanted.texts.connections;
    let title = match page {
        ConnectionsPage::NoRecord { .. } => c.no_record_title,
        ConnectionsPage::SignIn(_) => c.sign_in_title,
        ConnectionsPage::List(_) => c.title,
    };
    let notice = match page {
        ConnectionsPage::List(list) => list.notice,
        _ => None,
    };
    let page = Connections {
        style: STYLE,
        t: wanted.texts,
        c,
        page,
        title,
        notices: notice.map_or_else(Vec::new, |notice| sentences(c, notice)),
    };
    write_html(response, &page);
}

fn sentences(c: &ConnectionsTexts, notice: Notice) -> Vec<String> {
    let mut sentences = vec![match notice.ended {
        0 => c.ended_none.to_owned(),
        count => (c.ended)(count),
    }];
    if !notice.provider_told {
        sentences.push(c.provider_not_told.to_owned());
    }
    if notice.more {
        sentences.push(c.more_left.to_owned());
    }
    sentences
}

/// A moment as `2026-11-21 09:05`, and for machines as RFC 3339; both UTC.
struct Moment {
    people: String,
    machines: String,
}

impl ConnectionLine {
    fn since(&self) -> Moment {
        moment(self.since)
    }

    fn last_used(&self) -> Moment {
        moment(self.last_used)
    }
}

fn moment(time: UnixTime) -> Moment {
    let machines = time.rfc3339();
    let to_the_minute = machines.get(.."YYYY-MM-DDThh:mm".len());
    Moment {
        people: to_the_minute.unwrap_or_default().replace('T', " "),
        machines,
    }
}

/// The twin for programs that have the session: it reads, and ends nothing.
fn write_json(response: &mut Response, page: &ConnectionsPage) {
    let body = match page {
        ConnectionsPage::NoRecord { .. } => json!({ "kept": false, "signed_in": false }),
        ConnectionsPage::SignIn(_) => json!({ "kept": true, "signed_in": false }),
        ConnectionsPage::List(list) => json!({
            "kept": true,
            "signed_in": true,
            "account": list.account.name,
            "suspended": list.is_suspended,
            "connections": list.lines.iter().map(line_json).collect::<Vec<_>>(),
            "next": list.next,
        }),
    };
    *response.body_mut() = Body::from(body.to_string());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn line_json(line: &ConnectionLine) -> Value {
    let scopes: Vec<&str> = line.scopes.iter().map(|own| own.name.as_str()).collect();
    json!({
        "client_name": line.client_name,
        "verified_host": line.verified_host,
        "redirect_host": line.redirect_host,
        "resource": line.resource,
        "scope": scopes.join(" "),
        "created_at": moment(line.since).machines,
        "last_used_at": moment(line.last_used).machines,
        "suspended": line.is_suspended,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_to_the_minute_and_told_to_the_second() {
        let shown = moment(UnixTime(951_782_399));
        assert_eq!(shown.people, "2000-02-28 23:59");
        assert_eq!(shown.machines, "2000-02-28T23:59:59Z");
    }
}
