//! How a browser is told of a refusal: a page with a reference, or a redirect to the client (RFC 6749 §4.1.2.1).
//!
//! A [`RedirectError`] is answered only towards a [`MatchedRedirect`], which only a client's registered URIs produce: an
//! open redirector does not compile. Unasked redirects go to the user's own computer and the operator's own clients;
//! for everyone else there is a page with a link (OAuth 2.1 §7.12.2).

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, StatusCode};

use vestibule_oauth::authorize::AuthorizationResponse;
use vestibule_oauth::client::MatchedRedirect;
use vestibule_oauth::error::ErrorCode;

use crate::House;
use crate::pages::{self, ErrorPage, ReturnPage};
use crate::telemetry::ReferenceId;

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
    /// Redirects, or shows a page with a link when `unasked` is false.
    pub(super) fn respond(
        &self,
        house: &House,
        redirect: &MatchedRedirect,
        state: Option<&str>,
        unasked: bool,
    ) -> Response {
        let reference = ReferenceId::new(house.random());
        let error = self.code.as_str();
        tracing::warn!(%reference, reason = self.slug, error, cause = %self.cause, "authorization refused");
        let description = format!("{} (reference {reference})", self.description);
        let answer = AuthorizationResponse::Error(self.code, &description);
        let location = answer.location(redirect, state, house.settings().public_url.as_str());
        if unasked {
            return redirect_to(StatusCode::FOUND, &location);
        }
        let (title, explanation) = match self.code {
            ErrorCode::AccessDenied => (
                "Nothing was allowed",
                "You said no, and nothing was shared.".to_owned(),
            ),
            _ => (
                "The sign-in cannot go on",
                format!("The application's request was refused: {description}."),
            ),
        };
        let host = redirect.uri().display_host();
        let page = ReturnPage {
            style: pages::style(),
            title,
            explanation: &explanation,
            location: &location,
            host,
        };
        pages::respond(StatusCode::OK, &page)
    }
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
    let page = ErrorPage {
        style: pages::style(),
        title,
        explanation,
        next_step,
        reference: &reference.to_string(),
    };
    pages::respond(status, &page)
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
