//! Discovery documents (RFC 8414, RFC 9728, OpenID Connect): which paths answer, with what, and which do not.

use http::{Method, StatusCode};
use serde_json::Value;
use vestibule::settings::{ResourceSettings, Settings};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::url::Endpoint;

use crate::support::{Answer, MCP, ORIGIN, TestHouse, document};

const AS: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";
const PRM: &str = "/.well-known/oauth-protected-resource";
const ALL: [&str; 6] = [
    AS,
    OPENID,
    PRM,
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-protected-resource/mcp/",
    "/jwks.json",
];

/// A second resource, without any scope.
fn second_resource(settings: &mut Settings) {
    let upstream = Endpoint::parse("http://127.0.0.1:9/mcp").unwrap();
    let second = ResourceSettings::new(&settings.public_url, "/tools/b", upstream).unwrap();
    settings.resources.push(second);
}

#[track_caller]
fn assert_document(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    assert!(answer.json().is_object());
}

#[tokio::test]
async fn every_document_is_json_and_may_be_kept_for_five_minutes() {
    let house = TestHouse::new().await;
    for path in ALL {
        assert_document(&house.get(path).await);
    }
    house.assert_provider_untouched();
}

#[tokio::test]
async fn the_authorization_server_document() {
    let house = TestHouse::new().await;
    insta::assert_snapshot!(document(&house.get(AS).await));
}

#[tokio::test]
async fn the_openid_document_is_the_same_with_two_members_more() {
    let house = TestHouse::new().await;
    let server = house.get(AS).await.json();
    let mut openid = house.get(OPENID).await.json();
    let members = openid.as_object_mut().unwrap();
    assert_eq!(
        members.remove("subject_types_supported").unwrap(),
        serde_json::json!(["public"])
    );
    let algorithms = members.remove("id_token_signing_alg_values_supported");
    let signing = house.settings.tokens.signing_alg.as_str();
    assert_eq!(algorithms.unwrap(), serde_json::json!([signing]));
    assert_eq!(openid, server);
}

#[tokio::test]
async fn registration_switched_off_is_not_advertised() {
    let house = TestHouse::with(|settings| settings.clients.registration = false).await;
    for path in [AS, OPENID] {
        let metadata = house.get(path).await.json();
        assert_eq!(metadata["issuer"], ORIGIN);
        assert_eq!(metadata.get("registration_endpoint"), None);
    }
}

#[tokio::test]
async fn the_only_resource_stands_at_its_path_and_at_the_root() {
    let house = TestHouse::new().await;
    let inserted = house.get(&format!("{PRM}/mcp")).await;
    insta::assert_snapshot!(document(&inserted));
    assert_eq!(house.get(PRM).await.json(), inserted.json());
}

#[tokio::test]
async fn several_resources_have_a_document_each_and_the_root_says_where() {
    let house = TestHouse::with(second_resource).await;
    let first = house.get(&format!("{PRM}/mcp")).await.json();
    let second = house.get(&format!("{PRM}/tools/b")).await.json();
    assert_eq!(first["resource"], MCP);
    assert_eq!(second["resource"], format!("{ORIGIN}/tools/b"));
    assert_eq!(second.get("scopes_supported"), None);
    // A document that named the origin would make a client of the second one ask for a token that is refused there.
    for root in [PRM.to_owned(), format!("{PRM}/")] {
        let root = house.get(&root).await;
        assert_eq!(root.status, StatusCode::NOT_FOUND);
        assert_eq!(root.error(), "not_found");
        let places = [
            format!("{ORIGIN}{PRM}/mcp"),
            format!("{ORIGIN}{PRM}/tools/b"),
        ];
        assert_eq!(
            root.json()["protected_resource_metadata"],
            serde_json::json!(places)
        );
    }
    for metadata in [&first, &second] {
        assert_eq!(
            metadata["authorization_servers"],
            serde_json::json!([ORIGIN])
        );
    }
    let server = house.get(AS).await.json();
    assert_eq!(
        server["protected_resources"],
        serde_json::json!([MCP, format!("{ORIGIN}/tools/b")])
    );
    assert_not_there(&house, &format!("{PRM}/tools")).await;
}

#[tokio::test]
async fn the_slash_form_mirrors_the_slash_and_the_plain_form_never_does() {
    let house = TestHouse::with(second_resource).await;
    for path in ["/mcp", "/tools/b"] {
        let plain = house.get(&format!("{PRM}{path}")).await.json();
        let slashed = house.get(&format!("{PRM}{path}/")).await.json();
        assert_eq!(plain["resource"], format!("{ORIGIN}{path}"));
        assert_eq!(slashed["resource"], format!("{ORIGIN}{path}/"));
        assert_eq!(
            slashed["authorization_servers"],
            plain["authorization_servers"]
        );
    }
}

#[track_caller]
fn assert_json_404(path: &str, answer: &Answer) {
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    assert_eq!(answer.header("content-type"), "application/json", "{path}");
    assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    assert_eq!(answer.error(), "not_found", "{path}");
    let members: Vec<_> = answer.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["error", "error_description", "path"], "{path}");
}

async fn assert_not_there(house: &TestHouse, path: &str) {
    assert_json_404(path, &house.get(path).await);
}

#[tokio::test]
async fn every_other_well_known_path_is_a_json_404_and_reaches_no_upstream() {
    let house = TestHouse::new().await;
    for path in [
        "/.well-known",
        "/.well-known/",
        "/.well-known/oauth-authorization-server/",
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/openid-configuration/mcp",
        "/.well-known/oauth-protected-resource/",
        "/.well-known/oauth-protected-resource/other",
        "/.well-known/oauth-protected-resource/MCP",
        "/.well-known/oauth-protected-resource/mcp//",
        "/.well-known/oauth-protected-resource/mcp/x",
        "/.well-known/security.txt",
        "/.well-known/jwks.json",
        "/mcp/.well-known/oauth-protected-resource",
        "/mcp/.well-known/openid-configuration",
        "/mcp/.well-known/oauth-authorization-server",
        "/mcp/.WELL-KNOWN/openid-configuration",
        // Qwen Code takes the address of one document for the issuer of another.
        "/.well-known/oauth-authorization-server/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource/mcp/.well-known/openid-configuration",
        "/nothing/here",
        "/",
    ] {
        assert_not_there(&house, path).await;
    }
    for method in [Method::HEAD, Method::POST, Method::DELETE] {
        let answer = house.request(method, "/.well-known/nothing", &[], "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    let bearer = [("authorization", "Bearer x")];
    let path = "/mcp/.well-known/oauth-protected-resource";
    assert_json_404(path, &house.request(Method::GET, path, &bearer, "").await);
}

#[tokio::test]
async fn head_gives_the_headers_and_the_length_without_the_body() {
    let house = TestHouse::new().await;
    for path in ALL {
        let whole = house.get(path).await;
        let head = house.request(Method::HEAD, path, &[], "").await;
        assert_eq!(head.status, StatusCode::OK);
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-length"), whole.body.len().to_string());
        assert_eq!(head.header("etag"), whole.header("etag"));
        assert_eq!(head.header("content-type"), "application/json");
    }
}

#[tokio::test]
async fn a_document_that_has_not_changed_is_not_sent_again() {
    let house = TestHouse::new().await;
    for path in ALL {
        let whole = house.get(path).await;
        let tag = whole.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10);
        for known in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"other\", {tag}"),
            "*".to_owned(),
        ] {
            let headers = [("if-none-match", known.as_str())];
            let again = house.request(Method::GET, path, &headers, "").await;
            assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{known}");
            assert!(again.body.is_empty());
            assert_eq!(again.header("etag"), tag);
            assert_eq!(again.header("cache-control"), "public, max-age=300");
        }
        for stale in ["\"other\"", "", &tag[1..tag.len() - 1]] {
            let headers = [("if-none-match", stale)];
            let again = house.request(Method::GET, path, &headers, "").await;
            assert_eq!(again.status, StatusCode::OK, "{stale}");
            assert_eq!(again.body, whole.body);
        }
    }
    let other = TestHouse::with(|settings| settings.clients.registration = false).await;
    assert_ne!(
        other.get(AS).await.header("etag"),
        house.get(AS).await.header("etag")
    );
}

#[tokio::test]
async fn any_page_may_read_the_documents() {
    let house = TestHouse::new().await;
    let origin = ("origin", "https://app.example");
    for path in ALL.into_iter().chain(["/.well-known/nothing"]) {
        let answer = house.request(Method::GET, path, &[origin], "").await;
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        assert!(
            !answer
                .headers
                .contains_key("access-control-allow-credentials")
        );
        let preflight = [
            origin,
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "mcp-protocol-version"),
        ];
        let answer = house.request(Method::OPTIONS, path, &preflight, "").await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let headers = answer
            .header("access-control-allow-headers")
            .to_ascii_lowercase();
        assert!(headers.contains("mcp-protocol-version"), "{headers}");
        assert!(
            answer
                .header("access-control-allow-methods")
                .contains("GET")
        );
    }
}

#[tokio::test]
async fn t25_a_forged_host_header_changes_no_document() {
    let house = TestHouse::new().await;
    for path in ALL {
        let honest = house.get(path).await;
        let forged = [
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-prefix", "/evil"),
            ("x-original-url", "/evil"),
            ("forwarded", "host=evil.example;proto=http"),
        ];
        let answer = house.request(Method::GET, path, &forged, "").await;
        assert_eq!(answer.body, honest.body, "{path}");
        let request = http::Request::get(path).header("host", "evil.example");
        let request = request.body(axum::body::Body::empty()).unwrap();
        let answer = house.send(request).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, honest.body, "{path}");
        assert!(!answer.text().contains("evil"));
    }
}

#[tokio::test]
async fn t22_every_url_in_our_metadata_is_of_our_own_origin() {
    let house = TestHouse::with(second_resource).await;
    let mut seen = 0;
    for path in [AS, OPENID, PRM, "/.well-known/oauth-protected-resource/mcp"] {
        each_text(&house.get(path).await.json(), &mut |text| {
            if text.contains(':') && !text.starts_with("mcp:") {
                assert!(
                    text == ORIGIN || text.starts_with(&format!("{ORIGIN}/")),
                    "{text}"
                );
                seen += 1;
            }
        });
    }
    assert!(seen > 15, "{seen}");
}

fn each_text(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, visit)),
        Value::Object(members) => members.values().for_each(|item| each_text(item, visit)),
        _ => {}
    }
}

#[tokio::test]
async fn a_document_takes_no_other_method_than_get_and_head() {
    let house = TestHouse::new().await;
    for path in ALL {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = house.request(method.clone(), path, &[], "").await;
            assert_eq!(
                answer.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS");
            assert_eq!(answer.error(), "method_not_allowed");
        }
    }
}

#[tokio::test]
async fn no_member_is_null_or_empty_even_without_scopes_and_names() {
    let house = TestHouse::with(|settings| {
        let resource = &mut settings.resources[0];
        resource.scopes = ScopeSet::default();
        resource.default_scopes = ScopeSet::default();
        resource.name = None;
        second_resource(settings);
    })
    .await;
    let resource = house.get(&format!("{PRM}/mcp")).await.json();
    assert_eq!(resource.get("scopes_supported"), None);
    for path in ALL {
        let document = house.get(path).await.json();
        for (name, value) in document.as_object().unwrap() {
            let empty = value.is_null()
                || value.as_str() == Some("")
                || value.as_array().is_some_and(Vec::is_empty);
            assert!(!empty, "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn offline_access_stands_in_the_servers_document_and_never_in_a_resources() {
    let house = TestHouse::new().await;
    for path in [PRM, "/.well-known/oauth-protected-resource/mcp"] {
        let metadata = house.get(path).await.json();
        assert_eq!(
            metadata["scopes_supported"],
            serde_json::json!(["mcp:read", "mcp:write"])
        );
    }
    let server = house.get(AS).await.json();
    assert_eq!(
        server["scopes_supported"],
        serde_json::json!(["mcp:read", "mcp:write", "offline_access"])
    );
    let challenge = house.get("/mcp").await;
    assert_eq!(challenge.status, StatusCode::UNAUTHORIZED);
    let challenge = challenge.header("www-authenticate");
    assert!(challenge.contains("scope=\"mcp:read mcp:write\""));
    assert!(!challenge.contains("offline_access"));
}

#[tokio::test]
async fn the_published_keys_hold_nothing_private() {
    let house = TestHouse::new().await;
    let jwks = house.get("/jwks.json").await.json();
    let keys = jwks["keys"].as_array().unwrap();
    assert!(!keys.is_empty());
    let public = [
        "kty", "kid", "alg", "use", "key_ops", "crv", "x", "y", "n", "e",
    ];
    for key in keys {
        for (member, value) in key.as_object().unwrap() {
            assert!(public.contains(&member.as_str()), "{member}");
            assert!(!value.is_null());
        }
        assert_ne!(key["kty"], "oct");
        assert_eq!(key["use"], "sig");
    }
    let kids: std::collections::BTreeSet<_> = keys
        .iter()
        .map(|key| key["kid"].as_str().unwrap())
        .collect();
    assert_eq!(kids.len(), keys.len());
}
