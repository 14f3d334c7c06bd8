//! How a browser is told of a refusal: a page with a reference, or a redirect to the client (RFC 6749 §4.1.2.1).
//!
//! A [`RedirectError`] is answered only towards a [`MatchedRedirect`], which only a client's registered URIs produce: an
//! open redirector does not compile. Unasked redirects go to the user's own computer and the operator's own clients;
//! for everyone else there is a page with a link (OAuth 2.1 §7.12.2).

use std::fmt::Write as _;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, StatusCode};

use vestibule_oauth::authorize::AuthorizationResponse;
use vestibule_oauth::client::MatchedRedirect;
use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::url::RedirectClass;

use crate::House;
use crate::pages::{self, AnswerPage, Outcome, Page, RefusalPage, Way};
use crate::telemetry::{ReferenceId, Told};

/// A refusal that the client is told.
#[derive(Debug)]
pub(super) struct RedirectError {
    pub(super) code: ErrorCode,
    pub(super) description: String,
    pub(super) slug: &'static str,
    /// What happened, for the log only.
    pub(super) cause: String,
}

impl RedirectError {
    /// Goes to the client as [`deliver`] does, or shows a page with a link when `unasked` is false.
    pub(super) fn respond(
        &self,
        house: &House,
        redirect: &MatchedRedirect,
        state: Option<&str>,
        unasked: bool,
    ) -> Response {
        let (location, outcome, told) = self.location(house, redirect, state);
        told.on(if unasked {
            deliver(redirect, location, outcome, false)
        } else {
            answer_page(redirect, location, outcome, Way::Click)
        })
    }

    /// The same for a user who asked at the consent page to carry the answer to another computer.
    pub(super) fn respond_elsewhere(
        &self,
        house: &House,
        redirect: &MatchedRedirect,
        state: Option<&str>,
    ) -> Response {
        let (location, outcome, told) = self.location(house, redirect, state);
        told.on(deliver(redirect, location, outcome, true))
    }

    fn location(
        &self,
        house: &House,
        redirect: &MatchedRedirect,
        state: Option<&str>,
    ) -> (String, Outcome, Told) {
        let reference = ReferenceId::new(house.random());
        let error = self.code.as_str();
        tracing::warn!(%reference, reason = self.slug, error, cause = %self.cause, "authorization refused");
        let description = reference.behind(&self.description);
        let answer = AuthorizationResponse::Error(self.code, &description);
        let location = answer.location(redirect, state, house.settings().public_url.as_str());
        let outcome = match self.code {
            ErrorCode::AccessDenied => Outcome::Denied,
            _ => Outcome::Refused(description),
        };
        (location, outcome, Told::new(reference, self.slug))
    }
}

/// Gives the client an answer that the user has agreed to: a redirect for https and this computer; a page that opens the
/// application for a private-use scheme, because the user may have to try twice and nothing else says that the window can
/// be closed; never a redirect when the client is on another computer, where this browser cannot reach it.
pub(super) fn deliver(
    redirect: &MatchedRedirect,
    location: String,
    outcome: Outcome,
    elsewhere: bool,
) -> Response {
    match redirect.uri().class() {
        RedirectClass::Loopback if elsewhere => {
            let way = Way::Carry(command_line(&location));
            answer_page(redirect, location, outcome, way)
        }
        RedirectClass::PrivateUse => answer_page(redirect, location, outcome, Way::Launch),
        RedirectClass::Loopback | RedirectClass::Https => redirect_to(StatusCode::FOUND, &location),
    }
}

fn answer_page(
    redirect: &MatchedRedirect,
    location: String,
    outcome: Outcome,
    way: Way,
) -> Response {
    let page = AnswerPage {
        outcome,
        way,
        location,
        host: redirect.uri().display_host().to_owned(),
    };
    pages::respond(StatusCode::OK, Page::Answer(page))
}

/// A command line that fetches a loopback URL. The client chose its path, and the user pastes it into a shell: all that a
/// POSIX shell, cmd, PowerShell or curl's globbing could take for more than text is percent-encoded.
fn command_line(location: &str) -> String {
    let after_scheme = location.find("://").map_or(0, |colon| colon + 3);
    let rest = location.get(after_scheme..).unwrap_or_default();
    let authority = after_scheme + rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = location.split_at(authority);
    let mut command = format!("curl \"{authority}");
    for byte in tail.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/?&=%+:@,;*".contains(&byte) {
            command.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(command, "%{byte:02X}");
        }
    }
    command.push('"');
    command
}

/// A refusal without a trustworthy address: a page (RFC 6749 §4.1.2.1, "MUST NOT redirect").
pub(super) fn display_error(
    house: &House,
    status: StatusCode,
    title: &str,
    explanation: &str,
    next_step: &str,
    slug: &'static str,
    cause: &dyn std::fmt::Display,
) -> Response {
    let reference = ReferenceId::new(house.random());
    tracing::warn!(%reference, reason = slug, %cause, "refused with a page");
    let page = RefusalPage {
        title: title.to_owned(),
        explanation: explanation.to_owned(),
        next_step: next_step.to_owned(),
        reference: reference.into(),
        slug,
    };
    let response = pages::respond(status, Page::Refusal(page));
    Told::new(reference, slug).on(response)
}

/// A redirect that nobody may keep.
pub(super) fn redirect_to(status: StatusCode, location: &str) -> Response {
    let mut response = Response::new(Body::empty());
    let Ok(location) = HeaderValue::try_from(location) else {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    };
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, location);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::command_line;

    #[test]
    fn a_redirect_uri_with_shell_syntax_is_only_text_in_the_command_line() {
        for (path, encoded) in [
            ("$(reboot)", "%24%28reboot%29"),
            ("`reboot`", "%60reboot%60"),
            ("'|reboot|'", "%27%7Creboot%7C%27"),
            ("!!", "%21%21"),
            ("{a}[1-9]^", "%7Ba%7D%5B1-9%5D%5E"),
        ] {
            let command = command_line(&format!("http://[::1]:80/{path}?code=a%2Bb&iss=c"));
            let expected = format!("curl \"http://[::1]:80/{encoded}?code=a%2Bb&iss=c\"");
            assert_eq!(command, expected);
        }
        assert_eq!(
            command_line("http://localhost?x=$y"),
            "curl \"http://localhost?x=%24y\""
        );
    }
}
