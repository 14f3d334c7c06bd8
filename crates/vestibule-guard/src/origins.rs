//! Which web pages may use the service (MCP transports, "Origin" validation; Fetch standard, CORS protocol).

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use vestibule_oauth::url::is_loopback_host;

/// `Authorization` is named because a wildcard does not cover it (facts/mcp-authorization.md §2.2).
const ALLOW_HEADERS: &str = "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, Last-Event-ID";
const ALLOW_METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
const EXPOSE_HEADERS: HeaderValue =
    HeaderValue::from_static("WWW-Authenticate, Mcp-Session-Id, Retry-After, MCP-Protocol-Version");
/// Two hours, the most that browsers keep.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// Tool arguments mirrored in headers (SEP-2243); their names are the tools' business.
const PARAMETER_PREFIX: &str = "mcp-param-";
/// More than this many mirrored arguments are not echoed.
const MAX_PARAMETERS: usize = 64;

/// Origins whose pages may use the service. Requests without `Origin` do not come from a page and always may.
///
/// ```
/// use vestibule_guard::Origins;
///
/// let origins = Origins::listed(["https://app.example"]);
/// assert!(origins.allows("https://app.example"));
/// assert!(origins.allows("http://localhost:6274"), "tools on this computer");
/// assert!(!origins.allows("https://evil.example"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    listed: Vec<String>,
    any: bool,
}

impl Origins {
    /// These, compared as text, and pages on `localhost`, `127.0.0.1` and `[::1]`.
    pub fn listed(origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            listed: origins.into_iter().map(Into::into).collect(),
            any: false,
        }
    }

    /// All. Bearer tokens are no ambient authority, so this does not hand them to a page; but a page then learns that
    /// the service is there.
    pub fn any() -> Self {
        Self {
            listed: Vec::new(),
            any: true,
        }
    }

    /// True when pages of `origin` may use the service.
    pub fn allows(&self, origin: &str) -> bool {
        self.any || is_loopback_origin(origin) || self.listed.iter().any(|own| own == origin)
    }

    /// True without `Origin`, and with one that is allowed. Two are never.
    pub(crate) fn allow(&self, request: &HeaderMap) -> bool {
        let mut origins = request.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => origin.to_str().is_ok_and(|origin| self.allows(origin)),
            _ => false,
        }
    }

    /// The answer to the preflight of an allowed page, which never needs a token.
    pub(crate) fn preflight(&self, request: &HeaderMap) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        self.apply(request.get(header::ORIGIN).cloned(), headers);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOW_METHODS);
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            allowed_headers(request),
        );
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        response
    }

    /// Lets an allowed page read a response; `origin` is the request's.
    pub(crate) fn apply(&self, origin: Option<HeaderValue>, response: &mut HeaderMap) {
        response.append(header::VARY, HeaderValue::from_static("Origin"));
        let allowed = |origin: &HeaderValue| origin.to_str().is_ok_and(|text| self.allows(text));
        if let Some(origin) = origin.filter(allowed) {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS);
        }
    }
}

/// True for a preflight; other OPTIONS requests are requests like any other.
pub(crate) fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS
        && parts.headers.contains_key(header::ORIGIN)
        && parts
            .headers
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
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
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    let Some(authority) = authority else {
        return false;
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_loopback_host(authority)
        || authority
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_loopback_host(host) && digits(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_origins(origins: &[&str]) -> HeaderMap {
        origins
            .iter()
            .map(|origin| (header::ORIGIN, HeaderValue::from_str(origin).unwrap()))
            .collect()
    }

    #[test]
    fn a_page_of_somebody_else_is_not_let_in_however_it_spells_its_origin() {
        let origins = Origins::listed(["https://app.example"]);
        assert!(origins.allow(&with_origins(&[])));
        assert!(origins.allow(&with_origins(&["https://app.example"])));
        for foreign in [
            "https://evil.example",
            "https://app.example.evil.example",
            "https://app.example/",
            "HTTPS://app.example",
            "http://localhost.evil.example",
            "http://localhost:80@evil.example",
            "http://localhost:",
            "null",
        ] {
            assert!(!origins.allow(&with_origins(&[foreign])), "{foreign}");
            assert!(Origins::any().allow(&with_origins(&[foreign])), "{foreign}");
        }
        let two = with_origins(&["https://app.example", "https://evil.example"]);
        assert!(!origins.allow(&two));
    }

    #[test]
    fn a_preflight_names_the_headers_of_mcp_and_echoes_only_mirrored_arguments() {
        let mut request = with_origins(&["http://localhost:6274"]);
        let asked = HeaderValue::from_static("mcp-param-city, x-other");
        request.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, asked);
        let answer = Origins::default().preflight(&request);
        assert_eq!(answer.status(), 204);
        let allowed = &answer.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS];
        let allowed = allowed.to_str().unwrap();
        assert!(allowed.starts_with("Authorization, "), "{allowed}");
        assert!(allowed.ends_with(", mcp-param-city"), "{allowed}");
        let origin = &answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN];
        assert_eq!(origin, "http://localhost:6274");
    }
}
