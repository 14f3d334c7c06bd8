//! Which request a proxy asks about: read from one configured place, complete and once, or not at all.

use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method};
use thiserror::Error;

use vestibule_oauth::url::Origin;

use crate::limits::ORIGIN_HEADER;
use crate::settings::{AuthzSettings, RequestFrom};

/// A request at a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Original {
    pub(super) method: Method,
    pub(super) scheme: String,
    /// `host[:port]`, as the proxy says it.
    pub(super) host: String,
    /// Path and query, undecoded.
    pub(super) target: PathAndQuery,
}

/// Why it cannot be told. What is missing is never guessed: the guess would be the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Undescribed {
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{0}` is there twice")]
    Repeated(&'static str),
    #[error("`{0}` cannot be read")]
    Unreadable(&'static str),
    #[error("both `x-original-url` and `x-original-uri` are there: one of them is the caller's")]
    TwoUrls,
}

const PROTO: &str = "x-forwarded-proto";

impl Original {
    /// Reads what a trusted proxy says.
    pub(super) fn described(
        settings: &AuthzSettings,
        request: &Parts,
    ) -> Result<Self, Undescribed> {
        let headers = &request.headers;
        match settings.request_from {
            RequestFrom::XForwarded => Ok(Self {
                method: method(headers, "x-forwarded-method")?,
                scheme: one(headers, PROTO)?.to_owned(),
                host: one(headers, "x-forwarded-host")?.to_owned(),
                target: target(one(headers, "x-forwarded-uri")?, "x-forwarded-uri")?,
            }),
            RequestFrom::XOriginal => Self::x_original(headers),
            RequestFrom::Path => Ok(Self {
                method: request.method.clone(),
                scheme: one(headers, PROTO)?.to_owned(),
                host: own_host(request)?.to_owned(),
                target: {
                    let whole = request.uri.path_and_query().map(PathAndQuery::as_str);
                    let below = whole.and_then(|whole| whole.strip_prefix(settings.path.as_str()));
                    target(below.ok_or(Undescribed::Missing("path"))?, "path")?
                },
            }),
        }
    }

    fn x_original(headers: &HeaderMap) -> Result<Self, Undescribed> {
        const URL: &str = "x-original-url";
        const URI: &str = "x-original-uri";
        let method = method(headers, "x-original-method")?;
        if !headers.contains_key(URL) {
            return Ok(Self {
                method,
                scheme: one(headers, "x-original-proto")?.to_owned(),
                host: one(headers, "x-original-host")?.to_owned(),
                target: target(one(headers, URI)?, URI)?,
            });
        }
        if headers.contains_key(URI) {
            return Err(Undescribed::TwoUrls);
        }
        let whole = one(headers, URL)?;
        let (scheme, rest) = whole
            .split_once("://")
            .ok_or(Undescribed::Unreadable(URL))?;
        let path = rest.find('/').ok_or(Undescribed::Unreadable(URL))?;
        let (host, path) = rest.split_at(path);
        Ok(Self {
            method,
            scheme: scheme.to_owned(),
            host: host.to_owned(),
            target: target(path, URL)?,
        })
    }

    /// True when the request was sent to our public origin.
    pub(super) fn is_at(&self, public: &Origin) -> bool {
        let (scheme, port) = if public.is_https() {
            ("https", ":443")
        } else {
            ("http", ":80")
        };
        let host = self.host.strip_suffix(port).unwrap_or(&self.host);
        self.scheme == scheme && host.eq_ignore_ascii_case(public.authority())
    }
}

/// A header that must not go with a request that we say yes to, because we cannot take it out: an identity of ours, or
/// another method or path than the one that is judged.
pub(super) fn smuggled(from: RequestFrom, headers: &HeaderMap) -> Option<&HeaderName> {
    headers.keys().find(|name| {
        // CGI and WSGI servers cannot tell the two apart.
        let name = name.as_str().replace('_', "-");
        match name.as_str() {
            own if own == ORIGIN_HEADER.as_str() => false,
            "x-http-method" | "x-http-method-override" | "x-method-override" | "x-rewrite-url" => {
                true
            }
            "x-original-url" => from != RequestFrom::XOriginal,
            other => other.starts_with("x-vestibule-"),
        }
    })
}

/// The value of a header that must be there once.
fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Undescribed> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Undescribed::Missing(name))?;
    if values.next().is_some() {
        return Err(Undescribed::Repeated(name));
    }
    match value.to_str() {
        Ok("") => Err(Undescribed::Missing(name)),
        Ok(text) => Ok(text),
        Err(_) => Err(Undescribed::Unreadable(name)),
    }
}

fn method(headers: &HeaderMap, name: &'static str) -> Result<Method, Undescribed> {
    let text = one(headers, name)?;
    Method::from_bytes(text.as_bytes()).map_err(|_| Undescribed::Unreadable(name))
}

/// An absolute path with its query, in printable ASCII. A fragment is nothing that a client sends; `http` would silently
/// drop it.
fn target(text: &str, name: &'static str) -> Result<PathAndQuery, Undescribed> {
    let printable = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    let readable = printable && text.starts_with('/') && !text.contains('#');
    let parsed = readable
        .then(|| PathAndQuery::try_from(text).ok())
        .flatten();
    parsed
        .filter(|parsed| parsed.as_str() == text)
        .ok_or(Undescribed::Unreadable(name))
}

/// The host of the request itself; HTTP/2 has it in the URL.
fn own_host(request: &Parts) -> Result<&str, Undescribed> {
    match request.uri.authority() {
        Some(authority) if !request.headers.contains_key(HOST) => Ok(authority.as_str()),
        _ => one(&request.headers, "host"),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn read(
        from: RequestFrom,
        line: (&str, &str),
        headers: &[(&str, &str)],
    ) -> Result<Original, Undescribed> {
        let settings = AuthzSettings::new(Vec::new(), from);
        let mut request = Request::builder().method(line.0).uri(line.1);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Original::described(&settings, &request.body(()).unwrap().into_parts().0)
    }

    fn original(method: &Method, host: &str, target: &str) -> Original {
        Original {
            method: method.clone(),
            scheme: "https".to_owned(),
            host: host.to_owned(),
            target: target.parse().unwrap(),
        }
    }

    const FORWARDED: [(&str, &str); 4] = [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "mcp.example"),
        ("x-forwarded-uri", "/mcp/a?b=c%20d"),
    ];
    const ORIGINAL: [(&str, &str); 4] = [
        ("x-original-method", "POST"),
        ("x-original-proto", "https"),
        ("x-original-host", "mcp.example"),
        ("x-original-uri", "/mcp/a?b=c%20d"),
    ];
    const URL: [(&str, &str); 2] = [
        ("x-original-method", "POST"),
        ("x-original-url", "https://mcp.example/mcp/a?b=c%20d"),
    ];
    const ENVOY: [(&str, &str); 2] = [("x-forwarded-proto", "https"), ("host", "mcp.example")];

    #[test]
    fn each_proxy_describes_the_same_request_in_its_own_way() {
        let expected = Ok(original(&Method::POST, "mcp.example", "/mcp/a?b=c%20d"));
        let asked = ("GET", "/authz?x=/evil");
        assert_eq!(read(RequestFrom::XForwarded, asked, &FORWARDED), expected);
        assert_eq!(read(RequestFrom::XOriginal, asked, &ORIGINAL), expected);
        assert_eq!(read(RequestFrom::XOriginal, asked, &URL), expected);
        let itself = ("POST", "/authz/mcp/a?b=c%20d");
        assert_eq!(read(RequestFrom::Path, itself, &ENVOY), expected);
    }

    #[test]
    fn an_attacker_who_writes_the_headers_of_another_proxy_is_not_heard() {
        for (from, own, line) in [
            (RequestFrom::XForwarded, &FORWARDED[..], ("GET", "/authz")),
            (RequestFrom::XOriginal, &ORIGINAL[..], ("GET", "/authz")),
            (
                RequestFrom::Path,
                &ENVOY[..],
                ("POST", "/authz/mcp/a?b=c%20d"),
            ),
        ] {
            let honest = read(from, line, own);
            assert!(honest.is_ok());
            for (name, value) in [
                ("x-forwarded-method", "GET"),
                ("x-forwarded-uri", "/open"),
                ("x-forwarded-host", "evil.example"),
                ("x-original-method", "GET"),
                ("x-original-uri", "/open"),
                ("x-original-url", "https://mcp.example/open"),
                ("forwarded", "host=evil.example;proto=http"),
                ("x-http-method-override", "GET"),
            ] {
                let mut headers = own.to_vec();
                headers.push((name, value));
                // Not heard, or in doubt with what the proxy said.
                let judged = read(from, line, &headers);
                assert!(judged == honest || judged.is_err(), "{from:?} {name}");
            }
        }
        let both = [&ORIGINAL[..], &URL[1..]].concat();
        let judged = read(RequestFrom::XOriginal, ("GET", "/authz"), &both);
        assert_eq!(judged, Err(Undescribed::TwoUrls));
    }

    #[test]
    fn nothing_that_is_missing_is_guessed() {
        for (from, own, line) in [
            (RequestFrom::XForwarded, &FORWARDED[..], ("GET", "/authz")),
            (RequestFrom::XOriginal, &ORIGINAL[..], ("GET", "/authz")),
            (RequestFrom::XOriginal, &URL[..], ("GET", "/authz")),
            (RequestFrom::Path, &ENVOY[..], ("POST", "/authz/mcp")),
        ] {
            for left_out in 0..own.len() {
                let mut headers = own.to_vec();
                let (name, value) = headers.remove(left_out);
                let judged = read(from, line, &headers);
                assert!(matches!(judged, Err(Undescribed::Missing(_))), "{name}");
                let empty = [&headers[..], &[(name, "")]].concat();
                let judged = read(from, line, &empty);
                assert!(matches!(judged, Err(Undescribed::Missing(_))), "{name}");
                let twice = [own, &[(name, value)]].concat();
                let judged = read(from, line, &twice);
                assert!(matches!(judged, Err(Undescribed::Repeated(_))), "{name}");
            }
        }
        let judged = read(RequestFrom::Path, ("GET", "/elsewhere/mcp"), &ENVOY);
        assert_eq!(judged, Err(Undescribed::Missing("path")));
    }

    #[test]
    fn a_target_that_is_no_absolute_path_is_refused() {
        for text in [
            "mcp",
            "http://evil.example/mcp",
            "*",
            "?a=b",
            "/mcp#/../admin",
            "/mcp a",
            "/m\u{e9}",
            "/a, /mcp",
        ] {
            assert!(target(text, "x").is_err(), "{text}");
        }
        assert_eq!(target("//mcp/%2e%2e", "x").unwrap(), "//mcp/%2e%2e");
    }

    #[test]
    fn only_our_own_origin_is_ours() {
        let public = Origin::parse("https://mcp.example").unwrap();
        let is_at = |scheme: &str, host: &str, public: &Origin| {
            let scheme = scheme.to_owned();
            let original = original(&Method::GET, host, "/");
            Original { scheme, ..original }.is_at(public)
        };
        assert!(is_at("https", "mcp.example", &public));
        assert!(is_at("https", "MCP.example:443", &public));
        for (scheme, host) in [
            ("http", "mcp.example"),
            ("HTTPS", "mcp.example"),
            ("https, http", "mcp.example"),
            ("https", "mcp.example:8443"),
            ("https", "mcp.example:80"),
            ("https", "mcp.example:443:443"),
            ("https", "mcp.example."),
            ("https", "evil.example"),
            ("https", "mcp.example.evil.example"),
            ("https", "mcp.example@evil.example"),
            ("https", "evil.example, mcp.example"),
            ("https", "mcp.example/"),
        ] {
            assert!(!is_at(scheme, host, &public), "{scheme} {host}");
        }
        let port = Origin::parse("https://mcp.example:8443").unwrap();
        assert!(is_at("https", "mcp.example:8443", &port));
        assert!(!is_at("https", "mcp.example", &port));
    }

    #[test]
    fn an_identity_that_the_caller_brings_along_is_found() {
        for (name, refused) in [
            ("x-vestibule-subject", true),
            ("X_Vestibule_Groups", true),
            ("x-vestibule-claim-email", true),
            ("x-vestibule-origin", false),
            ("x-http-method-override", true),
            ("x_method_override", true),
            ("x-rewrite-url", true),
            ("x-original-url", true),
            ("mcp-method", false),
            ("authorization", false),
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            let headers: HeaderMap = [(name.clone(), "v".parse().unwrap())].into_iter().collect();
            let found = smuggled(RequestFrom::XForwarded, &headers).is_some();
            assert_eq!(found, refused, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(text in "[ -~]{0,30}") {
            if let Ok(read) = target(&text, "x") {
                prop_assert_eq!(read.as_str(), text);
            }
        }
    }
}
