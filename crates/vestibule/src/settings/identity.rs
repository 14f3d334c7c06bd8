//! `[resource.identity]`: what the upstream is told of the caller besides its credential.

use std::time::Duration;

use http::HeaderName;
use vestibule_oauth::url::Endpoint;

use super::credential::CredentialSettings;
use super::problem::Place;
use super::section::Section;
use crate::upstream_identity::{IdentityToken, UpstreamIdentity, is_lookalike};

/// Headers that mean something to the protocol or to servers on the way, and cannot say who calls.
const RESERVED: [&str; 41] = [
    "accept",
    "age",
    "allow",
    "alt-svc",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "cookie2",
    "date",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "last-event-id",
    "last-modified",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "retry-after",
    "server",
    "set-cookie",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "x-http-method",
    "x-method-override",
    "x-rewrite-url",
    "x-vestibule-origin",
];

const RESERVED_PREFIXES: [&str; 14] = [
    "accept-",
    "access-control-",
    "content-",
    "if-",
    "mcp-",
    "proxy-",
    "sec-",
    "x-accel-",
    "x-amz-",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-p",
    "x-http-method-",
    "x-original-",
];

const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// Reads the section. `credential` has a header of its own, and `upstream` is the audience unless another one is set.
pub(super) fn read(
    mut section: Section<'_>,
    credential: Option<&CredentialSettings>,
    upstream: Option<&Endpoint>,
) -> UpstreamIdentity {
    let problems = section.problems();
    let credential = credential.and_then(CredentialSettings::header);
    let is_the_credential = |name: &HeaderName| {
        credential.is_some_and(|credential| is_lookalike(name.as_str(), credential.as_str()))
    };
    let mut headers: Vec<(HeaderName, String)> = Vec::new();
    if let Some(mut written) = section.optional_section("headers") {
        for (name, claim) in written.all_texts() {
            // A variable's name has no dashes.
            let from_variable = matches!(claim.spot.place, Place::Variable(_));
            let name = if from_variable {
                name.replace('_', "-")
            } else {
                name
            };
            match header_name(&name) {
                Err(message) => problems.add(&claim.spot, message),
                Ok(name) if is_the_credential(&name) => {
                    problems.add(&claim.spot, format!("`{name}` carries the credential"));
                }
                Ok(name) if headers.iter().any(|(other, _)| *other == name) => {
                    problems.add(&claim.spot, format!("`{name}` is there already"));
                }
                Ok(_) if claim.value.trim().is_empty() => {
                    problems.add(&claim.spot, "must name a claim of our tokens");
                }
                Ok(name) => headers.push((name, claim.value)),
            }
        }
    }
    let mut token = section.section("token");
    // An empty one is a token with every default.
    let wanted = section.has_written(&["token"]) || problems.is_survey();
    let token = wanted.then_some(()).and_then(|()| {
        let header = token.parsed("header", header_name);
        let audience = token.name("audience");
        let lifetime = token.duration("ttl");
        let claims = token.list("claims");
        if let Some(header) = &header {
            if is_the_credential(&header.value) {
                let message = format!("`{}` carries the credential", header.value);
                problems.add(&header.spot, message);
            }
            if headers.iter().any(|(name, _)| *name == header.value) {
                let message = format!("`{}` is among `headers` as well", header.value);
                problems.add(&header.spot, message);
            }
        }
        if let Some(lifetime) = lifetime.as_ref()
            && !(SHORTEST..=LONGEST).contains(&lifetime.value)
        {
            problems.add(&lifetime.spot, "must be between 10s and 5m");
        }
        token.finish();
        let audience = audience.map(|audience| audience.value);
        let defaults =
            IdentityToken::new(&audience.or_else(|| Some(upstream?.as_str().to_owned()))?);
        Some(IdentityToken {
            header: header.map_or(defaults.header, |header| header.value),
            lifetime: lifetime.map_or(defaults.lifetime, |lifetime| lifetime.value),
            claims: claims.map_or(defaults.claims, |claims| {
                claims.value.into_iter().map(|claim| claim.value).collect()
            }),
            ..defaults
        })
    });
    if let Some(token) = &token
        && let Some((name, _)) = headers.iter().find(|(name, _)| *name == token.header)
    {
        problems.add(
            &section.spot_of("token"),
            format!("its header `{name}` is among `headers` as well"),
        );
    }
    section.finish();
    UpstreamIdentity { headers, token }
}

/// The name of a header that may say who calls.
fn header_name(text: &str) -> Result<HeaderName, String> {
    if text.contains('_') {
        let plain = text.replace('_', "-");
        return Err(format!(
            "many servers cannot tell `_` from `-` in the name of a header; write '{plain}'"
        ));
    }
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("'{text}' is not a header name"))?;
    let reserved = RESERVED.contains(&name.as_str())
        || RESERVED_PREFIXES
            .iter()
            .any(|prefix| name.as_str().starts_with(prefix));
    if reserved {
        return Err(format!(
            "`{name}` means something else to servers; choose another name, such as \"X-User\""
        ));
    }
    Ok(name)
}
