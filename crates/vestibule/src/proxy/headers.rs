//! Header hygiene both ways (RFC 9110 §7.6.1, facts/mcp-authorization.md §2.2): what a client must not tell the upstream,
//! what an upstream must not tell the client.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::upstream_identity::folded;

/// Of one connection only (RFC 9110 §7.6.1), whatever `Connection` says.
static HOP_BY_HOP: Names = Names::new(
    &[
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    ],
    &[],
);

/// Credentials and browser context of the client, and names for another method or path than the one that was checked.
///
/// Then families of headers with which gateways and clouds tell a server who is calling. From a client they are lies
/// (`X-Amzn-…-Runtime-User-Id` impersonates a user, facts/cognito-and-agentcore.md §0.9).
static NOT_UPSTREAM: Names = Names::new(
    &[
        "authorization",
        "cookie",
        "cookie2",
        "expect",
        "forwarded",
        "from",
        "host",
        "max-forwards",
        "origin",
        "referer",
        "remote-addr",
        "remote-user",
        "true-client-ip",
        "via",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-real-ip",
        "x-remote-user",
        "x-rewrite-url",
        "x-webauth-user",
    ],
    &[
        "cf-",
        "proxy-",
        "sec-fetch-",
        "ssl-client-",
        "tailscale-",
        "x-amz-",
        "x-amzn-",
        "x-apigateway-",
        "x-auth-request-",
        "x-authenticated-",
        "x-client-",
        "x-cluster-client-",
        "x-envoy-",
        "x-forwarded-",
        "x-goog-",
        "x-ms-client-principal",
        "x-ms-token-",
        "x-original-",
        "x-ssl-",
        "x-vestibule-",
    ],
);

/// Says something about the upstream's origin, which is not the client's, or directs a web server in front of us.
static NOT_DOWNSTREAM: Names = Names::new(
    &[
        "alt-svc",
        "authentication-info",
        "clear-site-data",
        "nel",
        "proxy-authenticate",
        "proxy-authentication-info",
        "public-key-pins",
        "public-key-pins-report-only",
        "report-to",
        "reporting-endpoints",
        "server",
        "service-worker-allowed",
        "set-cookie",
        "set-cookie2",
        "strict-transport-security",
        "www-authenticate",
        "x-accel-redirect",
        "x-mcp-challenge",
        "x-powered-by",
        "x-sendfile",
        "x-lighttpd-send-file",
    ],
    &["access-control-", "x-amzn-remapped-"],
);

/// Makes a client's headers fit for the upstream. `ours` are those that carry the credential and who calls: the client's
/// own of these names go as well, whether or not there will be one of ours.
pub(super) fn for_upstream<'a>(
    headers: &mut HeaderMap,
    ours: impl IntoIterator<Item = &'a HeaderName>,
) {
    let ours: Vec<Cow<'_, str>> = ours.into_iter().map(|own| folded(own.as_str())).collect();
    retain(headers, |name| {
        !NOT_UPSTREAM.have(name) && !ours.iter().any(|own| own == name)
    });
}

/// Makes an upstream's headers fit for the client.
pub(super) fn for_client(headers: &mut HeaderMap) {
    retain(headers, |name| !NOT_DOWNSTREAM.have(name));
    keep_private(headers);
}

/// What lets a cache between us and the client keep an answer to a request with a token (RFC 9111 §3.5).
const SHARED_CACHING: [&str; 3] = ["public", "s-maxage", "must-revalidate"];

/// An answer is for one user: `Cache-Control` of the upstream never says otherwise.
fn keep_private(headers: &mut HeaderMap) {
    let written: Vec<&str> = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let shares = |directive: &str| {
        let name = directive.split('=').next().unwrap_or_default().trim();
        SHARED_CACHING
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name))
    };
    if !written.iter().any(|directive| shares(directive)) {
        return;
    }
    let mut kept = vec!["private"];
    kept.extend(written.iter().copied().filter(|own| !shares(own)));
    let value = HeaderValue::from_str(&kept.join(", "));
    let value = value.unwrap_or(HeaderValue::from_static("no-store"));
    headers.insert(header::CACHE_CONTROL, value);
}

/// Drops hop-by-hop headers, those that `Connection` names, and what `keep` does not want. Names are compared with `_`
/// read as `-`: CGI and WSGI servers cannot tell `X_Forwarded_For` from `X-Forwarded-For`.
fn retain(headers: &mut HeaderMap, keep: impl Fn(&str) -> bool) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| folded(&name.trim().to_ascii_lowercase()).into_owned())
        .collect();
    let mut dropped: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        let plain = folded(name.as_str());
        let plain = plain.as_ref();
        if HOP_BY_HOP.have(plain) || named.iter().any(|own| own == plain) || !keep(plain) {
            dropped.push(name.clone());
        }
    }
    for name in dropped {
        headers.remove(name);
    }
}

/// Names of headers and beginnings of such names, in lower case. Each header of each request is looked up, and hardly any
/// is found; so the first letter and the length mostly decide.
struct Names {
    whole: &'static [&'static str],
    beginnings: &'static [&'static str],
    /// By first letter: a bit for each length of whole names; the last bit for beginnings.
    by_letter: [u64; 256],
}

const BEGINS: u64 = 1 << 63;

impl Names {
    const fn new(whole: &'static [&'static str], beginnings: &'static [&'static str]) -> Self {
        let mut by_letter = [0; 256];
        let mut rest = whole;
        while let [name, others @ ..] = rest {
            by_letter[name.as_bytes()[0] as usize] |= 1 << name.len();
            rest = others;
        }
        rest = beginnings;
        while let [name, others @ ..] = rest {
            by_letter[name.as_bytes()[0] as usize] |= BEGINS;
            rest = others;
        }
        Self {
            whole,
            beginnings,
            by_letter,
        }
    }

    fn have(&self, name: &str) -> bool {
        let Some(letter) = name.as_bytes().first() else {
            return false;
        };
        let possible = self.by_letter[usize::from(*letter)];
        (name.len() < 63 && possible & (1 << name.len()) != 0 && self.whole.contains(&name))
            || (possible & BEGINS != 0
                && self.beginnings.iter().any(|begin| name.starts_with(begin)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[&str]) -> HeaderMap {
        names
            .iter()
            .map(|name| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_static("v"))
            })
            .collect()
    }

    #[test]
    fn t18_credentials_and_identities_of_the_client_stay_here() {
        let mut headers = map(&[
            "Authorization",
            "Cookie",
            "Origin",
            "Referer",
            "Host",
            "Expect",
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-User",
            "X_Forwarded_For",
            "X-Real-Ip",
            "X-Amzn-Bedrock-AgentCore-Runtime-User-Id",
            "x-amz-security-token",
            "Proxy-Authorization",
            "Remote_User",
            "X-HTTP-Method-Override",
            "X-Original-URL",
            "Sec-Fetch-Site",
            "X-Api-Key",
            "X_Api_Key",
            "X-User",
            "X_USER",
            "Transfer-Encoding",
            "Upgrade",
            "TE",
        ]);
        let ours = ["x-api-key", "x-user"].map(HeaderName::from_static);
        for_upstream(&mut headers, &ours);
        assert!(headers.is_empty(), "{headers:?}");
    }

    #[test]
    fn what_mcp_needs_goes_through() {
        let names = [
            "mcp-session-id",
            "mcp-protocol-version",
            "mcp-method",
            "mcp-name",
            "mcp-param-region",
            "last-event-id",
            "accept",
            "accept-encoding",
            "content-type",
            "content-length",
            "user-agent",
            "traceparent",
            "x-request-id",
        ];
        let mut headers = map(&names);
        for_upstream(&mut headers, None);
        assert_eq!(headers.len(), names.len());
        for_client(&mut headers);
        assert_eq!(headers.len(), names.len());
    }

    #[test]
    fn a_header_named_in_connection_ends_here() {
        let mut headers = map(&["x-secret", "x-other"]);
        headers.append("connection", HeaderValue::from_static("close, X-Secret"));
        for_upstream(&mut headers, None);
        assert_eq!(headers.len(), 1);
        assert!(headers.contains_key("x-other"));
    }

    #[test]
    fn a_cache_on_the_way_keeps_nobodys_answer() {
        for (upstream, client) in [
            ("public, max-age=60", "private, max-age=60"),
            ("max-age=60, S-MaxAge = 60", "private, max-age=60"),
            ("no-cache, must-revalidate", "private, no-cache"),
            ("no-store", "no-store"),
            ("max-age=5, private", "max-age=5, private"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append("cache-control", HeaderValue::from_static(upstream));
            for_client(&mut headers);
            assert_eq!(headers["cache-control"], client);
        }
    }

    #[test]
    fn an_upstream_cannot_speak_for_our_origin() {
        let mut headers = map(&[
            "Set-Cookie",
            "Access-Control-Allow-Origin",
            "Access-Control-Allow-Credentials",
            "Strict-Transport-Security",
            "Alt-Svc",
            "Clear-Site-Data",
            "Public-Key-Pins",
            "Server",
            "WWW-Authenticate",
            "x-amzn-remapped-www-authenticate",
            "X-Accel-Redirect",
            "Connection",
            "Keep-Alive",
        ]);
        for_client(&mut headers);
        assert!(headers.is_empty(), "{headers:?}");
    }
}
