//! The HTML pages: consent, return-to-application, error. No script, no outside asset, fine on a phone and in the dark.

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};

/// The one style sheet, inline, named in the policy by its hash.
const STYLE: &str = include_str!("style.css");

/// What the user is asked to approve.
#[derive(Template)]
#[template(path = "consent.html")]
pub struct ConsentPage<'a> {
    /// The style sheet.
    pub style: &'static str,
    /// What the client calls itself; nobody verified it.
    pub client_name: &'a str,
    /// True when the operator vouches for the client.
    pub verified: bool,
    /// The resource's name or URL.
    pub resource: &'a str,
    /// Host or scheme the code will go to.
    pub redirect_host: &'a str,
    /// The full redirect URI.
    pub redirect_uri: &'a str,
    /// The redirect goes to this computer: anybody who runs a program here may be the client.
    pub loopback: bool,
    /// The redirect goes to whatever application claimed the scheme.
    pub private_use: bool,
    /// The scopes, one by one.
    pub scopes: Vec<ScopeLine<'a>>,
    /// Where the user may sign in, when there is a choice; empty when there is none.
    pub providers: Vec<ProviderChoice<'a>>,
    /// The sealed ticket.
    pub ticket: &'a str,
}

/// A scope in words.
#[derive(Clone, Copy, Debug)]
pub struct ScopeLine<'a> {
    /// The scope.
    pub name: &'a str,
    /// What it allows, when the operator said.
    pub description: Option<&'a str>,
}

/// A provider on a button.
#[derive(Clone, Copy, Debug)]
pub struct ProviderChoice<'a> {
    /// Its id.
    pub id: &'a str,
    /// What people call it.
    pub label: &'a str,
}

/// Asks whether to sign out, and says afterwards what that did and did not do.
#[derive(Template)]
#[template(path = "logout.html")]
pub struct LogoutPage<'a> {
    /// The style sheet.
    pub style: &'static str,
    /// True after the fact.
    pub done: bool,
    /// Where one can sign out; one button each.
    pub providers: Vec<ProviderChoice<'a>>,
}

/// The primary tag of the language that the browser prefers, as `ja`; empty when it says nothing.
pub fn language(headers: &HeaderMap) -> &str {
    let accepted = headers
        .get(ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    accepted
        .split([',', ';', '-'])
        .next()
        .unwrap_or_default()
        .trim()
}

/// A page with one link back to the application: for answers that must not redirect by themselves.
#[derive(Template)]
#[template(path = "return.html")]
pub struct ReturnPage<'a> {
    /// The style sheet.
    pub style: &'static str,
    /// What happened.
    pub title: &'a str,
    /// And why.
    pub explanation: &'a str,
    /// Where the link goes.
    pub location: &'a str,
    /// Its host, for people.
    pub host: &'a str,
}

/// Something went wrong and there is no trustworthy address to redirect to.
#[derive(Template)]
#[template(path = "error.html")]
pub struct ErrorPage<'a> {
    /// The style sheet.
    pub style: &'static str,
    /// What happened.
    pub title: &'a str,
    /// Why.
    pub explanation: &'a str,
    /// What to do.
    pub next_step: &'a str,
    /// The id that the log knows too.
    pub reference: &'a str,
}

/// The style sheet, for the pages' `style` field.
pub const fn style() -> &'static str {
    STYLE
}

/// Sends a page with the headers that every page has.
///
/// No `form-action`: browsers apply it to the whole redirect chain after the POST and would stop the hop to
/// `http://localhost:…` or `cursor://…` (law 4). `same-origin` and not `no-referrer`: with the latter browsers send
/// `Origin: null` with the consent form, and the check of that header would be lost.
pub fn respond(status: StatusCode, page: &impl Template) -> Response {
    let Ok(html) = page.render() else {
        let mut response = Response::new(Body::from("the page could not be rendered"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    };
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    let style_hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
