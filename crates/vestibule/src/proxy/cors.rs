//! Which web pages may talk to us (Fetch standard, CORS protocol; MCP transports, "Origin" validation).

use axum::body::Body;
use axum::response::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use vestibule_oauth::url::{Origin, is_loopback_host};

/// `Authorization` is named because a wildcard does not cover it (facts/mcp-authorization.md §2.2).
const ALLOW_HEADERS: &str = "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, Last-Event-ID, DPoP";
const ALLOW_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
const EXPOSE_HEADERS: HeaderValue =
    HeaderValue::from_static("WWW-Authenticate, Mcp-Session-Id, Retry-After, MCP-Protocol-Version");
/// Two hours, the most that browsers keep.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const ANY: HeaderValue = HeaderValue::from_static("*");
/// Tool arguments mirrored in headers (SEP-2243); their names are the tools' business.
const PARAMETER_PREFIX: &str = "mcp-param-";
/// More than this many mirrored arguments are not echoed.
const MAX_PARAMETERS: usize = 64;

/// Origins beyond our own and this computer's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// None.
    #[default]
    NoOther,
    /// These, compared as text: `https://inspector.example`, `vscode-webview://…`.
    Listed(Vec<String>),
    /// All. Bearer tokens are no ambient authority, so this does not hand them to a page.
    Any,
}

/// The policy of the resources. `/authorize`, `/consent` and `/callback` have none: pages must not read them.
#[derive(Clone, Debug)]
pub struct CorsPolicy {
    /// Our public origin.
    pub own: Origin,
    /// Further origins.
    pub allowed: AllowedOrigins,
}

impl CorsPolicy {
    /// True without `Origin` (not a browser), and with one that is ours, on a loopback host, or allowed.
    pub fn allows(&self, request: &HeaderMap) -> bool {
        let mut origins = request.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => self.allows_origin(origin),
            _ => false,
        }
    }

    fn allows_origin(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        origin == self.own.as_str()
            || is_loopback_origin(origin)
            || match &self.allowed {
                AllowedOrigins::NoOther => false,
                AllowedOrigins::Listed(listed) => listed.iter().any(|listed| listed == origin),
                AllowedOrigins::Any => true,
            }
    }

    /// The answer to a preflight, which never needs a token.
    pub fn preflight(&self, request: &HeaderMap) -> Response {
        match request.get(header::ORIGIN) {
            Some(origin) if self.allows(request) => preflight(origin.clone(), request),
            _ => super::problem::forbidden_origin(),
        }
    }

    /// Adds to any other response what lets an allowed page read it. `origin` is the request's.
    pub fn apply(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        response.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin.filter(|origin| self.allows_origin(origin)) {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS);
        }
    }
}

/// True for a preflight; other OPTIONS requests are requests like any other.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight of documents and endpoints that every page may use: well-known documents, `/register`,
/// `/token`, `/revoke`. No cookies are involved there.
pub fn open_preflight(request: &HeaderMap) -> Response {
    preflight(ANY, request)
}

/// Lets every page read a response.
pub fn open_apply(response: &mut HeaderMap) {
    response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS);
}

fn preflight(origin: HeaderValue, request: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOW_METHODS);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        allowed_headers(request),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers.insert(
        header::VARY,
        HeaderValue::from_static("Origin, Access-Control-Request-Headers"),
    );
    response
}

fn allowed_headers(request: &HeaderMap) -> HeaderValue {
    let requested = request
        .get_all(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| name.as_str().starts_with(PARAMETER_PREFIX))
        .take(MAX_PARAMETERS);
    let mut allowed = ALLOW_HEADERS.to_owned();
    for name in requested {
        allowed.push_str(", ");
        allowed.push_str(name.as_str());
    }
    HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static(ALLOW_HEADERS))
}

/// `http` or `https` on `localhost`, `127.0.0.1` or `[::1]`, any port: the Inspector and other local tools.
fn is_loopback_origin(origin: &str) -> bool {
    let Some(authority) = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
    else {
        return false;
    };
    if is_loopback_host(authority) {
        return true;
    }
    authority.rsplit_once(':').is_some_and(|(host, port)| {
        is_loopback_host(host)
            && !port.is_empty()
            && port.bytes().all(|digit| digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: AllowedOrigins) -> CorsPolicy {
        let own = Origin::parse("https://mcp.example.com").unwrap();
        CorsPolicy { own, allowed }
    }

    fn request(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn origins_that_may_and_may_not() {
        let listed = policy(AllowedOrigins::Listed(vec!["https://app.example".into()]));
        assert!(listed.allows(&HeaderMap::new()));
        for origin in [
            "https://mcp.example.com",
            "http://localhost:6274",
            "http://127.0.0.1",
            "http://[::1]:5173",
            "https://localhost",
            "https://app.example",
        ] {
            assert!(listed.allows(&request(&[("origin", origin)])), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://mcp.example.com",
            "https://mcp.example.com.evil.example",
            "https://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example:80",
            "http://localhost:80@evil.example",
            "http://localhost:",
            "http://evil.example:localhost",
            "ftp://localhost",
        ] {
            assert!(!listed.allows(&request(&[("origin", origin)])), "{origin}");
        }
        let two = request(&[
            ("origin", "http://localhost"),
            ("origin", "http://localhost"),
        ]);
        assert!(!listed.allows(&two));
        assert!(
            policy(AllowedOrigins::Any).allows(&request(&[("origin", "https://evil.example")]))
        );
    }

    #[test]
    fn a_preflight_is_answered_without_a_token_and_names_mirrored_arguments() {
        let headers = request(&[
            ("origin", "http://localhost:6274"),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization, mcp-param-region, x-other, mcp-param-bad name",
            ),
        ]);
        assert!(is_preflight(&Method::OPTIONS, &headers));
        assert!(!is_preflight(&Method::POST, &headers));
        let response = policy(AllowedOrigins::NoOther).preflight(&headers);
        assert_eq!(response.status(), 204);
        let allowed = &response.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS];
        assert_eq!(
            allowed.to_str().unwrap(),
            format!("{ALLOW_HEADERS}, mcp-param-region")
        );
        let origin = &response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN];
        assert_eq!(origin, "http://localhost:6274");
        assert!(
            !response
                .headers()
                .contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS)
        );
    }

    #[test]
    fn a_foreign_page_gets_no_preflight_and_reads_nothing() {
        let headers = request(&[
            ("origin", "https://evil.example"),
            ("access-control-request-method", "POST"),
        ]);
        let policy = policy(AllowedOrigins::NoOther);
        assert_eq!(policy.preflight(&headers).status(), 403);
        let mut response = HeaderMap::new();
        policy.apply(headers.get(header::ORIGIN), &mut response);
        assert!(!response.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(response[header::VARY], "Origin");
    }
}
