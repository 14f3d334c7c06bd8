//! The door: the challenge before every other answer, one token per request, one resource per token, no way around.

use http::{Method, StatusCode};
use serde_json::json;
use vestibule::settings::{ResourceSettings, Settings, TokenFormat};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::url::Origin;

use crate::support::{CHALLENGE, TestHouse, Tokens, tool_call};

/// A second resource beside `/mcp`, at the same upstream.
fn with_other(settings: &mut Settings) {
    let first = &settings.resources[0];
    let other = ResourceSettings {
        scopes: ScopeSet::parse("mcp:read other:all"),
        credential: first.credential.clone(),
        token_format: first.token_format,
        ..ResourceSettings::new(&settings.public_url, "/other", first.upstream.clone()).unwrap()
    };
    settings.resources.push(other);
}

/// Law 3: a client that asks in any way must learn where to sign in, before it learns of any mistake.
#[tokio::test]
async fn every_method_without_a_token_gets_the_challenge_first() {
    let house = TestHouse::new().await;
    let methods = [
        "GET", "HEAD", "DELETE", "PUT", "PATCH", "POST", "OPTIONS", "TRACE", "PROPFIND",
    ];
    for method in methods {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for path in [
            "/mcp",
            "/mcp/",
            "/mcp?x=1",
            "/mcp/below",
            "/mcp/../x",
            "/mcp//",
        ] {
            for headers in [
                vec![],
                vec![("accept", "image/png"), ("content-type", "text/plain")],
                vec![("authorization", "Basic YTpi")],
                vec![("cookie", "access_token=x"), ("x-api-key", "x")],
            ] {
                let answer = house
                    .request(method.clone(), path, &headers, "not JSON")
                    .await;
                let why = format!("{method} {path} {headers:?}");
                assert_eq!(answer.status, 401, "{why}");
                let challenge = match path {
                    "/mcp/" => CHALLENGE.replace("/mcp\"", "/mcp/\""),
                    _ => CHALLENGE.to_owned(),
                };
                assert_eq!(answer.header("www-authenticate"), challenge, "{why}");
                assert_eq!(answer.header("x-mcp-challenge"), challenge, "{why}");
                assert_eq!(answer.header("cache-control"), "no-store", "{why}");
                assert_eq!(answer.header("content-type"), "application/json", "{why}");
            }
        }
    }
    assert_eq!(house.demo.requests(), 0);
}

#[tokio::test]
async fn the_document_named_in_the_challenge_leads_to_this_server() {
    let house = TestHouse::new().await;
    let url = CHALLENGE.split('"').nth(1).unwrap();
    let path = url.strip_prefix("https://mcp.example.test").unwrap();
    let document = house.get(path).await.json();
    assert_eq!(document["resource"], "https://mcp.example.test/mcp");
    assert_eq!(
        document["authorization_servers"],
        json!(["https://mcp.example.test"])
    );
    // RFC 9728 §3.3: `scope` of the challenge is something that the server knows.
    assert_eq!(
        document["scopes_supported"],
        json!(["mcp:read", "mcp:write"])
    );
}

/// RFC 9728 §3.3: who types the URL with a slash must read that spelling in the document, or may not use it.
#[tokio::test]
async fn whoever_types_the_url_with_a_slash_reads_it_with_the_slash() {
    let house = TestHouse::new().await;
    let answer = house.get("/mcp/").await;
    assert_eq!(answer.status, 401);
    let challenge = answer.header("www-authenticate");
    let url = challenge.split('"').nth(1).unwrap();
    let path = url.strip_prefix("https://mcp.example.test").unwrap();
    let document = house.get(path).await.json();
    assert_eq!(document["resource"], "https://mcp.example.test/mcp/");
    // A bad token is answered with the same document, and a good one opens both spellings.
    let answer = house.tool_at("/mcp/", "x", &[], "whoami").await;
    assert!(answer.header("www-authenticate").contains(url));
    let (_, tokens) = house.sign_in().await;
    house.whoami_at("/mcp/", &tokens.access).await;
    house.whoami_at("/mcp", &tokens.access).await;
}

#[tokio::test]
async fn a_token_anywhere_but_in_one_authorization_header_is_refused() {
    let house = TestHouse::new().await;
    let (_, tokens) = house.sign_in().await;
    let bearer = format!("Bearer {}", tokens.access);
    let (mcp, body) = tool_call("whoami", &json!({}));
    let mcp: Vec<(&str, &str)> = mcp
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let query = format!("/mcp?access_token={}", tokens.access);
    let encoded = format!("/mcp?%61ccess_token={}", tokens.access);
    let joined = format!("{bearer}, {bearer}");
    let one = vec![("authorization", bearer.as_str())];
    let two = vec![
        ("authorization", bearer.as_str()),
        ("authorization", bearer.as_str()),
    ];
    let mixed = vec![
        ("authorization", "Bearer x"),
        ("authorization", bearer.as_str()),
    ];
    let basic_first = vec![
        ("authorization", "Basic YTpi"),
        ("authorization", bearer.as_str()),
    ];
    for (why, path, headers) in [
        ("in the query", query.as_str(), vec![]),
        ("in the query and the header", query.as_str(), one.clone()),
        (
            "in an encoded query and the header",
            encoded.as_str(),
            one.clone(),
        ),
        ("twice", "/mcp", two),
        ("a bad one before a good one", "/mcp", mixed),
        ("Basic and a good one", "/mcp", basic_first),
        (
            "joined by a proxy",
            "/mcp",
            vec![("authorization", joined.as_str())],
        ),
    ] {
        let all = [mcp.clone(), headers].concat();
        let answer = house
            .request(Method::POST, path, &all, &body.to_string())
            .await;
        answer.assert_challenged("invalid_request", why);
    }
    assert_eq!(house.demo.requests(), 0);
    // The same request with one header goes through.
    let all = [mcp, one].concat();
    let answer = house
        .request(Method::POST, "/mcp", &all, &body.to_string())
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn t6_a_token_of_one_resource_is_refused_at_the_other() {
    for format in [TokenFormat::Sealed, TokenFormat::Jwt] {
        let house = TestHouse::with(|settings| {
            settings.resources[0].token_format = format;
            with_other(settings);
        })
        .await;
        let (client, first) = house.sign_in().await;
        let second = Tokens::of(&house.refresh(&client, &first.refresh).await);
        for tokens in [&first, &second] {
            let before = house.demo.requests();
            let answer = house.tool_at("/other", &tokens.access, &[], "whoami").await;
            assert_eq!(answer.status, 401);
            let challenge = answer.header("www-authenticate");
            assert!(
                challenge.starts_with("Bearer error=\"invalid_token\""),
                "{challenge}"
            );
            // The challenge is the one of the door that was knocked at.
            assert!(
                challenge.contains("/.well-known/oauth-protected-resource/other\""),
                "{challenge}"
            );
            assert!(
                challenge.contains("scope=\"mcp:read other:all\""),
                "{challenge}"
            );
            assert_eq!(house.demo.requests(), before);
            house.whoami(&tokens.access).await;
        }
        let elsewhere = [("resource", "https://mcp.example.test/other")];
        let answer = house
            .refresh_with(&client, &first.refresh, &elsewhere)
            .await;
        answer.assert_refused(400, "invalid_target", "refresh for the other");
    }
}

/// CVE-2026-32871. Each line goes out with a good token, and none may reach the upstream.
#[tokio::test]
async fn t21_no_path_leads_out_of_the_resource() {
    let house = TestHouse::new().await;
    let (_, tokens) = house.sign_in().await;
    for path in [
        "/mcp/../admin",
        "/mcp/./admin",
        "/mcp/..",
        "/mcp/%2e%2e/admin",
        "/mcp/%2E./admin",
        "/mcp/.%2e/admin",
        "/mcp/..%2fadmin",
        "/mcp/..%5cadmin",
        "/mcp/%252e%252e/admin",
        "/mcp/%2f%2fevil.example/",
        "/mcp//evil.example/",
        "/mcp//",
        "/mcp/a//b",
        "/mcp/..;/admin",
        "/mcp/a;b=c",
        "/mcp/%00",
        "/mcp/a%0d%0aX-Evil:1",
        "/mcp/%7f",
        "/mcp/%",
        "/mcp/%zz",
        "/mcp/%c0%ae%c0%ae/",
        "/mcp/.well-known/openid-configuration",
        "/mcp/%2ewell-known/openid-configuration",
        "/mcpx",
        "/mcp%2f..%2fadmin",
        "/mcp%2fadmin",
        "/MCP",
        "/%6dcp",
        "//mcp",
        "/./mcp",
        "/x/../mcp",
        "/mcp@evil.example/",
        "/mcp:80/",
    ] {
        let answer = house.tool_at(path, &tokens.access, &[], "whoami").await;
        assert_eq!(
            answer.status,
            StatusCode::NOT_FOUND,
            "{path}: {}",
            answer.text()
        );
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
    }
    assert_eq!(house.demo.requests(), 0);
    // What may pass does: the table is not refused for another reason.
    for path in ["/mcp", "/mcp/", "/mcp?a=b"] {
        house.whoami_at(path, &tokens.access).await;
    }
    assert_eq!(house.demo.requests(), 3);
}

#[tokio::test]
async fn unknown_paths_are_404_in_json_and_say_nothing_about_signing_in() {
    let house = TestHouse::new().await;
    for path in [
        "/",
        "/nope",
        "/mcpx",
        "/token/x",
        "/mcp/.well-known/oauth-protected-resource",
        "/.well-known/x",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let answer = house.request(method.clone(), path, &[], "").await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.error(), "not_found", "{method} {path}");
            assert!(
                !answer.headers.contains_key("www-authenticate"),
                "{method} {path}"
            );
        }
    }
    assert_eq!(house.demo.requests(), 0);
}

#[tokio::test]
async fn a_preflight_needs_no_token_and_a_foreign_page_gets_nothing() {
    let house = TestHouse::new().await;
    let (_, tokens) = house.sign_in().await;
    let preflight = |origin| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,mcp-protocol-version",
            ),
        ]
    };
    let own = "http://localhost:6274";
    let answer = house
        .request(Method::OPTIONS, "/mcp", &preflight(own), "")
        .await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), own);
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("Authorization")
    );
    assert!(
        !answer
            .headers
            .contains_key("access-control-allow-credentials")
    );

    for foreign in [
        "https://evil.example",
        "null",
        "http://mcp.example.test",
        "https://mcp.example.test.evil.example",
    ] {
        let answer = house
            .request(Method::OPTIONS, "/mcp", &preflight(foreign), "")
            .await;
        assert_eq!(answer.status, 403, "{foreign}");
        let origin = [("origin", foreign)];
        let answer = house
            .tool_at("/mcp", &tokens.access, &origin, "whoami")
            .await;
        assert_eq!(answer.status, 403, "{foreign}");
        assert!(
            !answer.headers.contains_key("access-control-allow-origin"),
            "{foreign}"
        );
        assert!(
            !answer.headers.contains_key("www-authenticate"),
            "{foreign}"
        );
    }
    assert_eq!(house.demo.requests(), 0);

    let answer = house
        .tool_at("/mcp", &tokens.access, &[("origin", own)], "whoami")
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), own);
    assert!(
        answer
            .header("access-control-expose-headers")
            .contains("WWW-Authenticate")
    );
    // A page must be able to read the challenge, too.
    let answer = house
        .request(Method::POST, "/mcp", &[("origin", own)], "")
        .await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("access-control-allow-origin"), own);
}

/// DNS rebinding: a page whose own name leads to this computer must not reach a server that has no TLS to tell them apart.
#[tokio::test]
async fn a_development_server_answers_to_its_loopback_names_only() {
    let house = TestHouse::with(|settings| {
        settings.public_url = Origin::parse("http://localhost:8080").unwrap();
    })
    .await;
    for (host, status) in [
        ("localhost:8080", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:8080", 403),
        ("localhost:8080@evil.example", 403),
        ("", 403),
    ] {
        let request = http::Request::get("/.well-known/oauth-authorization-server");
        let request = request.header("host", host);
        let request = request.body(axum::body::Body::empty()).unwrap();
        assert_eq!(house.send(request).await.status, status, "{host}");
    }
}

#[tokio::test]
async fn the_host_a_client_names_changes_nothing_we_say() {
    let house = TestHouse::new().await;
    for headers in [
        vec![
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "http"),
        ],
        vec![("forwarded", "host=evil.example;proto=http")],
        vec![("x-original-url", "/admin"), ("x-rewrite-url", "/admin")],
    ] {
        let answer = house.request(Method::POST, "/mcp", &headers, "").await;
        assert_eq!(answer.header("www-authenticate"), CHALLENGE);
    }
    let request = http::Request::post("/mcp").header("host", "evil.example");
    let answer = house
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(answer.header("www-authenticate"), CHALLENGE);
}
