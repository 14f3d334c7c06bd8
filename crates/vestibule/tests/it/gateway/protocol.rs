//! Both eras of the protocol through the gateway: sessions to 2025-11-25, stateless from 2026-07-28 (MCP transports).

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MODERN, TestHouse};

async fn post(house: &TestHouse, token: &str, extra: &[(&str, &str)], body: &Value) -> Answer {
    send(house, Method::POST, token, extra, &body.to_string()).await
}

async fn send(
    house: &TestHouse,
    method: Method,
    token: &str,
    extra: &[(&str, &str)],
    body: &str,
) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    headers.extend(extra);
    house.request(method, "/mcp", &headers, body).await
}

fn initialize(version: &str) -> Value {
    let params = json!({
        "protocolVersion": version, "capabilities": {},
        "clientInfo": { "name": "test", "version": "0" },
    });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })
}

#[tokio::test]
async fn every_revision_with_sessions_opens_one_calls_a_tool_and_ends_it() {
    let house = TestHouse::new().await;
    let (_, tokens) = house.sign_in().await;
    let token = tokens.access.as_str();
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let opened = post(&house, token, &[], &initialize(version)).await;
        assert_eq!(opened.status, 200, "{version}: {}", opened.text());
        assert_eq!(opened.rpc()["result"]["protocolVersion"], version);
        let session = opened.header("mcp-session-id").to_owned();
        assert!(!session.is_empty(), "{version}");
        let headers = [
            ("mcp-session-id", session.as_str()),
            ("mcp-protocol-version", version),
        ];
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(
            post(&house, token, &headers, &ready).await.status,
            202,
            "{version}"
        );

        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": "whoami", "arguments": {} } });
        let answer = post(&house, token, &headers, &call).await;
        assert_eq!(answer.status, 200, "{version}");
        let seen = &answer.rpc()["result"]["structuredContent"];
        assert_eq!(seen["claims"]["email"], "ada@example.com", "{version}");
        // The server sees its own id; the client's has the tag that binds it to the caller.
        let inner = seen["headers"]["mcp-session-id"].as_str().unwrap();
        assert!(session.starts_with(inner) && session != inner, "{version}");
        assert_eq!(seen["headers"]["mcp-protocol-version"], version);

        // A session is no sign-in.
        let answer = house
            .request(Method::POST, "/mcp", &headers, &call.to_string())
            .await;
        assert_eq!(answer.status, 401, "{version}");

        let ended = send(&house, Method::DELETE, token, &headers, "").await;
        assert!(ended.status.is_success(), "{version}: {}", ended.status);
        let gone = post(&house, token, &headers, &call).await;
        assert_eq!(
            gone.status, 404,
            "{version}: the client must learn that its session is gone"
        );
    }
}

#[tokio::test]
async fn the_stateless_revision_passes_with_its_headers_and_its_errors() {
    let house = TestHouse::new().await;
    let (_, tokens) = house.sign_in().await;
    let answer = house
        .tool_at("/mcp", &tokens.access, &[("mcp-param-x", "1")], "whoami")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!answer.headers.contains_key("mcp-session-id"));
    let seen = &answer.rpc()["result"]["structuredContent"];
    for (name, value) in [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "whoami"),
    ] {
        assert_eq!(seen["headers"][name], value);
    }
    assert_eq!(house.demo.last_headers()["mcp-param-x"], "1");
    // What the upstream refuses is the upstream's to say.
    let answer = house
        .tool_at("/mcp", &tokens.access, &[], "no_such_tool")
        .await;
    assert!(answer.rpc()["error"]["code"].is_i64(), "{}", answer.text());
    assert!(!answer.headers.contains_key("www-authenticate"));
}

/// T24: an old revision, or none, is no way past the door.
#[tokio::test]
async fn t24_no_revision_and_no_transport_skips_the_check() {
    let house = TestHouse::new().await;
    let (_, tokens) = house.sign_in().await;
    house.clock.advance(tokens.expires_in);
    for version in [
        "2024-11-05",
        "2025-03-26",
        "2025-06-18",
        "2025-11-25",
        MODERN,
        "9999-01-01",
        "",
    ] {
        for method in [Method::POST, Method::GET, Method::DELETE, Method::HEAD] {
            let headers = [
                ("mcp-protocol-version", version),
                ("accept", "text/event-stream"),
                ("mcp-session-id", "x"),
            ];
            let body = initialize(version).to_string();
            let answer = send(&house, method.clone(), &tokens.access, &headers, &body).await;
            assert_eq!(answer.status, 401, "{method} {version}");
            let challenge = answer.header("www-authenticate");
            assert!(
                challenge.starts_with("Bearer error=\"invalid_token\""),
                "{method} {version}"
            );
        }
    }
    assert_eq!(house.demo.requests(), 0);
}
