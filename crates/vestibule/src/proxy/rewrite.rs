//! The upstream's answer, made ours: challenges (RFC 6750 §3, design law 3), redirects, and what keeps streams flowing.

use http::header::{self, HeaderMap, HeaderValue};
use http::response::Parts;
use http::{HeaderName, StatusCode};
use vestibule_guard::{Caller, Refusal};
use vestibule_oauth::challenge::{BearerError, Challenge};
use vestibule_oauth::scope::ScopeSet;

use super::path::Upstream;
use super::{Route, headers};

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Where AWS front doors put an upstream's challenge (facts/cognito-and-agentcore.md §0.4).
const REMAPPED: HeaderName = HeaderName::from_static("x-amzn-remapped-www-authenticate");

/// What becomes of an answer.
pub(super) enum Verdict {
    /// It goes to the client, with headers made fit.
    Pass,
    /// The client gets this instead.
    Replace(Refusal),
    /// The upstream does not know our own credential; no user can mend that.
    OurCredentialRefused,
}

/// Judges an answer by status and challenge, and cleans its headers.
pub(super) fn answer<X>(route: &Route, caller: &Caller<X>, parts: &mut Parts) -> Verdict {
    match parts.status {
        StatusCode::UNAUTHORIZED if route.credential.is_of_the_user() => {
            return Verdict::Replace(route.resource.refused_upstream());
        }
        StatusCode::UNAUTHORIZED => return Verdict::OurCredentialRefused,
        StatusCode::FORBIDDEN if route.credential.is_refused_by(&parts.headers) => {
            return Verdict::OurCredentialRefused;
        }
        StatusCode::FORBIDDEN => {
            if let Some(needed) = needed_scopes(&parts.headers) {
                return Verdict::Replace(route.resource.forbidden(caller, &needed));
            }
        }
        _ => {}
    }
    headers::for_client(&mut parts.headers);
    redirect(route, &mut parts.headers);
    if is_event_stream(&parts.headers) {
        keep_flowing(&mut parts.headers);
    }
    Verdict::Pass
}

/// The scopes an upstream asks for in an `insufficient_scope` challenge, under either name.
pub(crate) fn needed_scopes(headers: &HeaderMap) -> Option<ScopeSet> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
    values
        .chain(headers.get_all(REMAPPED))
        .filter_map(|value| Challenge::parse(value.to_str().ok()?))
        .find(|challenge| challenge.error == Some(BearerError::InsufficientScope))
        .map(|challenge| challenge.scope)
}

/// A redirect inside the upstream becomes one inside the resource. One to elsewhere on the upstream's host names an
/// address that clients cannot reach and need not know.
fn redirect(route: &Route, headers: &mut HeaderMap) {
    let Some(location) = headers.get(header::LOCATION) else {
        return;
    };
    let rewritten = location.to_str().ok().map(|text| {
        let origin = route.upstream.origin();
        let (own, path) = match text.strip_prefix(&origin) {
            Some("") => (true, "/"),
            Some(path) if path.starts_with(['/', '?']) => (true, path),
            _ => (text.starts_with('/') && !text.starts_with("//"), text),
        };
        match (own, below(&route.upstream, path)) {
            (false, _) => Some(text.to_owned()),
            (true, Some(rest)) => Some(format!(
                "{}{rest}",
                route.path.strip_suffix('/').unwrap_or(&route.path)
            )),
            (true, None) => None,
        }
    });
    match rewritten
        .flatten()
        .and_then(|text| HeaderValue::try_from(text).ok())
    {
        Some(value) => headers.insert(header::LOCATION, value),
        None => headers.remove(header::LOCATION),
    };
}

/// What follows the upstream's path in `path`, when it lies at or below it.
fn below<'a>(upstream: &Upstream, path: &'a str) -> Option<&'a str> {
    let base = upstream.path();
    let base = base.strip_suffix('/').unwrap_or(base);
    path.strip_prefix(base)
        .filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    is_type(headers, "text/event-stream")
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    is_type(headers, "application/json")
}

fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|content_type| {
        let bytes = content_type.as_bytes().trim_ascii_start();
        let (essence, rest) = bytes.split_at_checked(wanted.len()).unwrap_or((bytes, b""));
        essence.eq_ignore_ascii_case(wanted.as_bytes())
            && matches!(rest.trim_ascii_start(), [] | [b';', ..])
    })
}

/// True for a body that is compressed, so that nobody can tell events apart.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let encoding = headers.get(header::CONTENT_ENCODING);
    encoding.is_some_and(|encoding| encoding != "identity")
}

/// Tells proxies in front of us not to collect events (nginx), and nobody to compress or cache them.
fn keep_flowing(headers: &mut HeaderMap) {
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, no-transform"));
}
