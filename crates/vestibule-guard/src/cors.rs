//! Which web pages may use the service (MCP transports, "Origin" validation; Fetch standard, CORS protocol).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use vestibule_oauth::url::is_loopback_host;

/// `Authorization` is named because a wildcard does not cover it (facts/mcp-authorization.md §2.2).
const ALLOW_HEADERS: &str = "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, Last-Event-ID, DPoP";
const ALLOW_METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
const EXPOSE_HEADERS: HeaderValue =
    HeaderValue::from_static("WWW-Authenticate, Mcp-Session-Id, Retry-After, MCP-Protocol-Version");
/// Two hours, the most that browsers keep.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// Tool arguments mirrored in headers (SEP-2243); their names are the tools' business.
const PARAMETER_PREFIX: &str = "mcp-param-";
const ANY: HeaderValue = HeaderValue::from_static("*");
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
    pub fn allow(&self, request: &HeaderMap) -> bool {
        let mut origins = request.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => origin.to_str().is_ok_and(|origin| self.allows(origin)),
            _ => false,
        }
    }

    /// The answer to a preflight, which never needs a token. The page must have been [allowed](Self::allow).
    pub fn preflight(&self, request: &HeaderMap) -> Response<Full<Bytes>> {
        let origin = request.get(header::ORIGIN);
        preflight(self.readable_by(origin), request)
    }

    /// Lets an allowed page read a response; `origin` is the request's.
    pub fn apply(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        response.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.readable_by(origin) {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS);
        }
    }

    fn readable_by(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        let allowed = |origin: &&HeaderValue| origin.to_str().is_ok_and(|text| self.allows(text));
        origin.filter(allowed).cloned()
    }
}

/// True for a preflight; other OPTIONS requests are requests like any other.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight of what every page may use: documents, and endpoints that look at no cookie.
pub fn open_preflight(request: &HeaderMap) -> Response<Full<Bytes>> {
    preflight(Some(ANY), request)
}

/// Lets every page read a response.
pub fn open_apply(response: &mut HeaderMap) {
    response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS);
}

fn preflight(origin: Option<HeaderValue>, request: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
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
        for allowed in [
            "https://app.example",
            "http://localhost:6274",
            "http://127.0.0.1",
            "http://[::1]:5173",
            "https://localhost",
        ] {
            assert!(origins.allow(&with_origins(&[allowed])), "{allowed}");
        }
        assert!(origins.allow(&with_origins(&[])));
        for foreign in [
            "",
            "null",
            "https://evil.example",
            "http://app.example",
            "https://app.example.evil.example",
            "https://app.example/",
            "HTTPS://app.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example:80",
            "http://localhost:80@evil.example",
            "http://localhost:",
            "http://evil.example:localhost",
            "ftp://localhost",
        ] {
            let request = with_origins(&[foreign]);
            assert!(!origins.allow(&request), "{foreign}");
            assert!(Origins::any().allow(&request), "{foreign}");
            let mut response = HeaderMap::new();
            origins.apply(request.get(header::ORIGIN), &mut response);
            assert!(!response.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
            assert_eq!(response[header::VARY], "Origin");
        }
        for two in ["https://evil.example", "https://app.example"] {
            let two = with_origins(&["https://app.example", two]);
            assert!(!origins.allow(&two));
        }
    }

    #[test]
    fn a_preflight_names_the_headers_of_mcp_and_echoes_only_mirrored_arguments() {
        let mut request = with_origins(&["http://localhost:6274"]);
        assert!(!is_preflight(&Method::OPTIONS, &request));
        let method = HeaderValue::from_static("POST");
        request.insert(header::ACCESS_CONTROL_REQUEST_METHOD, method);
        assert!(is_preflight(&Method::OPTIONS, &request));
        assert!(!is_preflight(&Method::POST, &request));
        let asked =
            HeaderValue::from_static("authorization, mcp-param-city, x-other, mcp-param-bad name");
        request.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, asked);
        let answer = Origins::default().preflight(&request);
        assert_eq!(answer.status(), 204);
        let headers = answer.headers();
        assert_eq!(
            headers[header::ACCESS_CONTROL_ALLOW_HEADERS],
            format!("{ALLOW_HEADERS}, mcp-param-city")
        );
        assert_eq!(
            headers[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "http://localhost:6274"
        );
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }
}
