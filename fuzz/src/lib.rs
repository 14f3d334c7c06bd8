//! The bodies of the fuzz targets: plain functions that panic when a promise is broken. libFuzzer calls them
//! (`fuzz_targets/`), and so does a bounded test with a fixed seed on stable Rust (`tests/bounded.rs`).

mod names;
mod seals;

use http::header::{COOKIE, FORWARDED, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use vestibule::fuzz_hooks;
use vestibule::proxy::Upstream;
use vestibule::settings::ForwardedHeader;
use vestibule_oauth::authorize::AuthorizationRequest;
use vestibule_oauth::challenge::Challenge;
use vestibule_oauth::params::Params;
use vestibule_oauth::scope::is_scope_token;
use vestibule_oauth::token::{PresentedClient, TokenRequest};
use vestibule_oauth::url::{Endpoint, Origin};

pub use names::{client_metadata, redirect_uri};
pub use seals::{jws, sealed};

/// A target: its name, which is also the name of its folder below `seeds/`, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 10] = [
    ("challenge", challenge),
    ("client_metadata", client_metadata),
    ("cookie", cookie),
    ("forwarded", forwarded),
    ("jws", jws),
    ("mcp_message", mcp_message),
    ("parameters", parameters),
    ("proxy_path", proxy_path),
    ("redirect_uri", redirect_uri),
    ("sealed", sealed),
];

/// Query or form of `/authorize`, `/token` and `/revoke`. Input: an optional `Authorization` value, a line end, the form.
pub fn parameters(data: &[u8]) {
    let (authorization, form) = halves(data);
    let Ok(params) = Params::parse(form) else {
        return;
    };
    for name in [
        "client_id",
        "state",
        "redirect_uri",
        "code",
        "scope",
        "resource",
    ] {
        // Read again by somebody else's parser, empty ones included.
        let all = url::form_urlencoded::parse(form)
            .filter(|(own, _)| own == name)
            .count();
        match params.get(name) {
            // An empty one counts as absent; two never count as one.
            Ok(Some(_)) => assert_eq!(all, 1, "{name} was chosen from {all}"),
            Ok(None) => assert!(all <= 1, "{name} was overlooked"),
            Err(_) => assert!(all > 1, "{name} was refused without a second one"),
        }
    }
    let _ = AuthorizationRequest::parse(&params);
    let _ = TokenRequest::parse(&params);
    let authorization = std::str::from_utf8(authorization).ok();
    for authorization in [None, authorization] {
        if let Ok(client) = PresentedClient::parse(authorization, &params) {
            assert!(!client.id.as_str().is_empty());
        }
    }
}

/// `WWW-Authenticate` of an upstream: read, and written again.
pub fn challenge(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    if let Some(challenge) = value.to_str().ok().and_then(Challenge::parse) {
        let written = challenge.header_value();
        assert!(HeaderValue::try_from(&written).is_ok(), "{written:?}");
        let read = Challenge::parse(&written).expect("what we write is a Bearer challenge");
        assert_eq!(read.error, challenge.error, "{written}");
        assert_eq!(read.scope, challenge.scope, "{written}");
        assert_eq!(read.header_value(), written, "writing settles");
    }
    let mut headers = HeaderMap::new();
    headers.append(WWW_AUTHENTICATE, value.clone());
    headers.append("x-amzn-remapped-www-authenticate", value);
    if let Some(scopes) = fuzz_hooks::needed_scopes(&headers) {
        assert!(scopes.to_vec().iter().all(|scope| is_scope_token(scope)));
    }
}

/// `Cookie` as a browser, or an attacker, sends it.
pub fn cookie(data: &[u8]) {
    const STATE: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let origin = Origin::parse("https://mcp.example.com").expect("an origin");
    let mut headers = HeaderMap::new();
    headers.append(COOKIE, value);
    let (flow, browser) = fuzz_hooks::cookies(&origin, &headers, STATE);
    let sent = String::from_utf8_lossy(data);
    if let Some(flow) = flow {
        assert!(sent.contains(&format!("__Host-vestibule-flow-{STATE}=")));
        assert!(flow.len() <= data.len() && !flow.contains(';'), "{flow:?}");
    }
    if let Some(browser) = browser {
        assert!(sent.contains(&format!("__Host-vestibule-browser={browser}")));
    }
    // A state of the attacker's making names no cookie.
    let state = sent.get(..22).unwrap_or(&sent);
    let ours = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !(state.len() == 22 && state.bytes().all(ours)) {
        assert_eq!(fuzz_hooks::cookies(&origin, &headers, state).0, None);
    }
}

/// `X-Forwarded-For` and `Forwarded` through a trusted proxy.
pub fn forwarded(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let peer = [10, 0, 0, 1].into();
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    let name = HeaderName::from_static("x-forwarded-for");
    for (header, name) in [
        (ForwardedHeader::XForwardedFor, name),
        (ForwardedHeader::Forwarded, FORWARDED),
    ] {
        let mut headers = HeaderMap::new();
        headers.append(name, value.clone());
        let caller = fuzz_hooks::caller(&trusted, header, peer, &headers);
        assert!(caller.is_some(), "a listed proxy is never an unlisted one");
        // Straight from the outside, nothing is believed.
        let outside = [203, 0, 113, 9].into();
        assert_eq!(
            fuzz_hooks::caller(&trusted, header, outside, &headers),
            Some(outside)
        );
        // What the nearest proxy says counts, whatever the caller wrote before it.
        let nearest = match header {
            ForwardedHeader::XForwardedFor => "198.51.100.7",
            ForwardedHeader::Forwarded => "for=198.51.100.7",
        };
        let extended = [data, b", ", nearest.as_bytes()].concat();
        if let Ok(extended) = HeaderValue::from_bytes(&extended)
            && extended.to_str().is_ok()
        {
            for value in headers.values_mut() {
                *value = extended.clone();
            }
            let caller = fuzz_hooks::caller(&trusted, header, peer, &headers);
            assert_eq!(caller, Some([198, 51, 100, 7].into()));
        }
    }
}

/// The path of a request on a resource: it stays below the upstream's, however a server reads it.
pub fn proxy_path(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else {
        return;
    };
    for (public, url) in [
        ("/mcp", "https://up.example/base/mcp?qualifier=DEFAULT"),
        ("/", "http://127.0.0.1:9000/mcp"),
        ("/a/b", "https://up.example/arn%3Aaws/invocations"),
    ] {
        let upstream = Upstream::parse(&Endpoint::parse(url).expect("a URL")).expect("a URL");
        let Some(target) = fuzz_hooks::proxy_target(public, &upstream, &uri) else {
            continue;
        };
        let configured: Uri = url.parse().expect("a URL");
        assert_eq!(target.scheme(), configured.scheme());
        assert_eq!(target.authority(), configured.authority());
        let below = |path: &str, base: &str| {
            path.strip_prefix(base)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut path = target.path().to_owned();
        let mut base = configured.path().to_owned();
        // As it is, decoded once, decoded twice, and each with its dots resolved by a strict and by a browser's parser.
        for _ in 0..3 {
            assert!(below(&path, &base), "{target}");
            assert!(
                !path.split(['/', '\\']).any(|part| part == ".."),
                "{target}"
            );
            let added = &path[base.len()..];
            assert!(
                !added.split('/').any(|part| part == ".well-known"),
                "{target}"
            );
            path = percent_decode_str(&path).decode_utf8_lossy().into_owned();
            base = percent_decode_str(&base).decode_utf8_lossy().into_owned();
        }
        let resolved = url::Url::parse(&target.to_string()).expect("a URL");
        assert!(below(resolved.path(), configured.path()), "{target}");
        if let Some(query) = configured.query() {
            assert!(target.query().is_some_and(|all| all.starts_with(query)));
        }
    }
}

/// The bytes before and after the first line end.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    end.map_or((&[], data), |end| (&data[..end], &data[end + 1..]))
}

/// A JSON-RPC message to a resource with rules. What the gate finds is what an ordinary parser finds, and one that does not
/// look at the case of keys finds nothing else.
pub fn mcp_message(data: &[u8]) {
    let Some(calls) = fuzz_hooks::mcp_calls(data) else {
        return;
    };
    let plain: serde_json::Value =
        serde_json::from_slice(data).expect("what the gate reads is JSON");
    let messages = match &plain {
        serde_json::Value::Array(messages) => messages.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut found = calls.iter();
    for message in messages
        .iter()
        .filter(|message| message.get("method").is_some())
    {
        let (method, names) = found.next().expect("a call for each method");
        assert_eq!(message["method"], method.as_str());
        if method == "tools/call" {
            assert_eq!(message["params"]["name"], names[0].as_str());
            let params = message["params"].as_object().expect("an object");
            let mut alike = params.keys().filter(|key| key.eq_ignore_ascii_case("name"));
            assert_eq!(
                (alike.next().map(String::as_str), alike.next()),
                (Some("name"), None)
            );
        }
    }
    assert!(found.next().is_none());
}
