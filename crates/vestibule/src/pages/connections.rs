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

/// The civil calendar from days since 1970 (Howard Hinnant's algorithm).
fn moment(time: UnixTime) -> Moment {
    let (days, seconds) = (time.0 / 86_400, time.0 % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let date = format!("{year:04}-{month:02}-{day:02}");
    let clock = format!("{:02}:{:02}", seconds / 3600, seconds % 3600 / 60);
    Moment {
        people: format!("{date} {clock}"),
        machines: format!("{date}T{clock}:{:02}Z", seconds % 60),
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
    fn a_moment_is_what_the_calendar_says() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_795_252_838, "2026-11-21T09:20:38Z"),
        ] {
            assert_eq!(moment(UnixTime(seconds)).machines, expected);
        }
        assert_eq!(moment(UnixTime(951_782_399)).people, "2000-02-28 23:59");
    }
}
