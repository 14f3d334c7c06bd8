//! From a public path to an upstream URL: at or below the configured path, and never anywhere else (T21, CVE-2026-32871).

use std::borrow::Cow;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use percent_encoding::percent_decode_str;
use thiserror::Error;
use vestibule_oauth::url::Endpoint;
use vestibule_oauth::well_known;

/// An upstream MCP endpoint. Path and query are kept as configured: `%3A` in an ARN must stay `%3A`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    scheme: Scheme,
    authority: Authority,
    path: String,
    query: Option<String>,
    /// All of it, for the usual request.
    whole: Uri,
}

/// The configured URL cannot be requested.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' cannot be used as the URL of an MCP server")]
pub struct UpstreamError(String);

impl Upstream {
    /// Takes a configured URL apart.
    pub fn parse(endpoint: &Endpoint) -> Result<Self, UpstreamError> {
        let wrong = || UpstreamError(endpoint.as_str().to_owned());
        let uri: Uri = endpoint.as_str().parse().map_err(|_| wrong())?;
        let parts = uri.clone().into_parts();
        let path_and_query = parts
            .path_and_query
            .unwrap_or(PathAndQuery::from_static("/"));
        Ok(Self {
            scheme: parts.scheme.ok_or_else(wrong)?,
            authority: parts.authority.ok_or_else(wrong)?,
            path: path_and_query.path().to_owned(),
            query: path_and_query.query().map(str::to_owned),
            whole: uri,
        })
    }

    /// `host[:port]`.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// `scheme://host[:port]`.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// The path, as configured.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// Why a path is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum PathRefusal {
    #[error("not at or below the public path")]
    Outside,
    #[error("the path could mean another one to the server behind")]
    Ambiguous,
    #[error("well-known documents are published by this server alone")]
    WellKnown,
}

/// The upstream URL for a request to `uri` on the route at `public_path`.
pub(crate) fn target(
    public_path: &str,
    upstream: &Upstream,
    uri: &Uri,
) -> Result<Uri, PathRefusal> {
    let base = public_path.strip_suffix('/').unwrap_or(public_path);
    let suffix = uri.path().strip_prefix(base).ok_or(PathRefusal::Outside)?;
    let path = match suffix {
        // One trailing slash means the same endpoint; clients add and drop it.
        "" | "/" if uri.query().is_none() => return Ok(upstream.whole.clone()),
        "" | "/" => Cow::Borrowed(upstream.path.as_str()),
        below if below.starts_with('/') => {
            check(below)?;
            let upstream_base = upstream.path.strip_suffix('/').unwrap_or(&upstream.path);
            Cow::Owned(format!("{upstream_base}{below}"))
        }
        _ => return Err(PathRefusal::Outside),
    };
    let path_and_query = match query(upstream.query.as_deref(), uri.query()) {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    Uri::builder()
        .scheme(upstream.scheme.clone())
        .authority(upstream.authority.clone())
        .path_and_query(path_and_query)
        .build()
        .map_err(|_| PathRefusal::Ambiguous)
}

/// Refuses whatever two servers could read in two ways: the suffix is passed on verbatim, so it must have one meaning.
fn check(suffix: &str) -> Result<(), PathRefusal> {
    let printable = suffix.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if !printable || suffix.contains("//") || suffix.contains(['\\', ';']) {
        return Err(PathRefusal::Ambiguous);
    }
    for escape in suffix.split('%').skip(1) {
        let byte = escape
            .get(..2)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            // Encoded separators and dots, an encoded percent sign (decoded twice it is any of these), control characters.
            None | Some(b'.' | b'/' | b'\\' | b';' | b'%' | 0..=0x1f | 0x7f) => {
                return Err(PathRefusal::Ambiguous);
            }
            Some(_) => {}
        }
    }
    let decoded = percent_decode_str(suffix)
        .decode_utf8()
        .map_err(|_| PathRefusal::Ambiguous)?;
    if decoded
        .split('/')
        .any(|segment| matches!(segment, "." | ".."))
    {
        return Err(PathRefusal::Ambiguous);
    }
    if well_known::is_well_known(&decoded) {
        return Err(PathRefusal::WellKnown);
    }
    Ok(())
}

/// The operator's parameters, then the client's verbatim, without those that the operator has set: a client must not
/// choose another `qualifier` than the configured one.
fn query<'a>(own: Option<&'a str>, theirs: Option<&'a str>) -> Option<Cow<'a, str>> {
    match (own, theirs) {
        (None, None) => None,
        (Some(only), None) | (None, Some(only)) => Some(Cow::Borrowed(only)),
        (Some(own), Some(theirs)) => {
            let taken: Vec<Cow<'_, str>> = own.split('&').map(name).collect();
            let mut merged = own.to_owned();
            for pair in theirs
                .split('&')
                .filter(|pair| !taken.contains(&name(pair)))
            {
                merged.push('&');
                merged.push_str(pair);
            }
            Some(Cow::Owned(merged))
        }
    }
}

fn name(pair: &str) -> Cow<'_, str> {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    percent_decode_str(name).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn upstream(url: &str) -> Upstream {
        Upstream::parse(&Endpoint::parse(url).unwrap()).unwrap()
    }

    fn to(public_path: &str, url: &str, request: &str) -> Result<String, PathRefusal> {
        let uri = request.parse().unwrap();
        target(public_path, &upstream(url), &uri).map(|uri| uri.to_string())
    }

    #[test]
    fn paths_and_queries_are_appended_to_what_is_configured() {
        const ARN: &str =
            "https://rt.example/runtimes/arn%3Aaws%3Ax%2Fy/invocations?qualifier=DEFAULT";
        for (public, url, request, expected) in [
            ("/mcp", "http://u:1/mcp", "/mcp", "http://u:1/mcp"),
            ("/mcp", "http://u:1/mcp", "/mcp/", "http://u:1/mcp"),
            ("/mcp", "http://u:1/mcp/", "/mcp", "http://u:1/mcp/"),
            ("/mcp", "http://u:1", "/mcp", "http://u:1/"),
            ("/mcp", "http://u:1", "/mcp/a", "http://u:1/a"),
            ("/mcp", "http://u:1/x/", "/mcp/a/", "http://u:1/x/a/"),
            ("/", "http://u:1/x", "/", "http://u:1/x"),
            ("/", "http://u:1/x", "/a", "http://u:1/x/a"),
            (
                "/mcp",
                "http://u:1/x",
                "/mcp?a=b&c=%2e%2e",
                "http://u:1/x?a=b&c=%2e%2e",
            ),
            ("/mcp", ARN, "/mcp", ARN),
            ("/mcp", ARN, "/mcp?a", &format!("{ARN}&a")),
            (
                "/mcp",
                ARN,
                "/mcp?qualifier=EVIL&quali%66ier=EVIL&b=1",
                &format!("{ARN}&b=1"),
            ),
            (
                "/mcp",
                "http://u:1/x",
                "/mcp/a%20b/%C3%BC",
                "http://u:1/x/a%20b/%C3%BC",
            ),
        ] {
            assert_eq!(
                to(public, url, request).as_deref(),
                Ok(expected),
                "{public} {request}"
            );
        }
    }

    #[test]
    fn t21_nothing_leaves_the_upstream_prefix() {
        use PathRefusal::{Ambiguous, Outside, WellKnown};
        for (request, refusal) in [
            ("/mcp/..", Ambiguous),
            ("/mcp/../admin", Ambiguous),
            ("/mcp/./a", Ambiguous),
            ("/mcp/a/..", Ambiguous),
            ("/mcp/%2e%2e/admin", Ambiguous),
            ("/mcp/%2E./admin", Ambiguous),
            ("/mcp/.%2e/admin", Ambiguous),
            ("/mcp/%252e%252e/admin", Ambiguous),
            ("/mcp/%25252e/admin", Ambiguous),
            ("/mcp/a%2fb", Ambiguous),
            ("/mcp/a%2F..%2Fb", Ambiguous),
            ("/mcp/..%5cadmin", Ambiguous),
            ("/mcp/a%5Cb", Ambiguous),
            ("/mcp//admin", Ambiguous),
            ("/mcp//evil.example/x", Ambiguous),
            ("/mcp/a//b", Ambiguous),
            ("/mcp/..;/admin", Ambiguous),
            ("/mcp/a;b=c", Ambiguous),
            ("/mcp/a%3bb", Ambiguous),
            ("/mcp/%00", Ambiguous),
            ("/mcp/a%0d%0aHost:x", Ambiguous),
            ("/mcp/%7f", Ambiguous),
            ("/mcp/%", Ambiguous),
            ("/mcp/%2", Ambiguous),
            ("/mcp/%u002e", Ambiguous),
            ("/mcp/%c0%ae%c0%ae/", Ambiguous),
            ("/mcp/.well-known/oauth-protected-resource", WellKnown),
            ("/mcp/a/.Well-Known/x", WellKnown),
            ("/mcp/.well%2Dknown/x", WellKnown),
            ("/mcp/%2ewell-known/x", Ambiguous),
            ("/mcpx", Outside),
            ("/mcp.json", Outside),
            ("/MCP", Outside),
            ("/other", Outside),
            ("/", Outside),
        ] {
            assert_eq!(
                to("/mcp", "http://u:1/x", request),
                Err(refusal),
                "{request}"
            );
        }
        // `http::Uri` takes a backslash; the request line parser of hyper may or may not.
        if let Ok(uri) = "/mcp/..\\admin".parse::<Uri>() {
            assert_eq!(
                target("/mcp", &upstream("http://u:1/x"), &uri),
                Err(Ambiguous)
            );
        }
    }

    proptest! {
        #[test]
        fn t21_whatever_passes_resolves_below_the_prefix(suffix in "[/a.%25efEF\\\\;0-3 ?#@:]{0,24}") {
            if let Ok(uri) = format!("/mcp{suffix}").parse::<Uri>()
                && let Ok(target) = target("/mcp", &upstream("http://u:1/x/y"), &uri)
            {
                // A WHATWG parser resolves dot segments, `%2e` and backslashes as the laxest server would.
                let resolved = url::Url::parse(&target.to_string()).unwrap();
                prop_assert!(resolved.path().starts_with("/x/y"), "{target} {resolved}");
                prop_assert_eq!(resolved.host_str(), Some("u"));
            }
        }
    }
}
