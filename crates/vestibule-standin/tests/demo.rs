//! The demo MCP server on the wire: both eras, streaming, and what it notices when a client leaves.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test fail the test by panicking"
)]

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use vestibule_standin::demo::{Demo, DemoOptions};

const MODERN: &str = "2026-07-28";

/// One POST on a connection of its own, so that dropping the response closes the connection.
async fn post(url: &str, extra: &[(&str, &str)], body: Value) -> http::Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    let mut request = http::Request::post(url)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    for (name, value) in extra {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::from(body.to_string())).unwrap();
    client.request(request).await.unwrap()
}

/// The JSON-RPC messages of a whole answer, SSE or plain.
async fn messages(response: http::Response<Incoming>) -> Vec<Value> {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    if let Ok(whole) = serde_json::from_str(&text) {
        return vec![whole];
    }
    text.lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok())
        .collect()
}

async fn result(response: http::Response<Incoming>) -> Value {
    let mut messages = messages(response).await;
    messages.pop().unwrap()
}

async fn open_session(url: &str, version: &str) -> String {
    let params = json!({ "protocolVersion": version, "capabilities": {},
        "clientInfo": { "name": "test", "version": "0" } });
    let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
    let response = post(url, &[], body).await;
    assert_eq!(response.status(), 200, "initialize {version}");
    let session = response.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let answer = result(response).await;
    assert_eq!(answer["result"]["protocolVersion"], version);
    let body = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let response = post(url, &[("mcp-session-id", &session)], body).await;
    assert_eq!(response.status(), 202);
    session
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": tool, "arguments": arguments, "_meta": { "progressToken": "p1" } } })
}

async fn call_legacy(
    demo: &Demo,
    session: &str,
    tool: &str,
    arguments: Value,
) -> http::Response<Incoming> {
    let headers = [
        ("mcp-session-id", session),
        ("mcp-protocol-version", "2025-06-18"),
    ];
    post(demo.url(), &headers, call(tool, &arguments)).await
}

async fn call_modern(
    url: &str,
    extra: &[(&str, &str)],
    tool: &str,
    arguments: Value,
) -> http::Response<Incoming> {
    let mut body = call(tool, &arguments);
    let meta = &mut body["params"]["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "test", "version": "0" });
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let mut headers = vec![
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", tool),
    ];
    headers.extend(extra);
    post(url, &headers, body).await
}

fn bearer(claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "alg": "ES256", "kid": "k1" });
    format!("Bearer {}.{}.c2ln", encode(&header), encode(claims))
}

/// Waits until a disconnect was counted; a broken server fails here instead of hanging.
async fn wait_for_cancelled(demo: &Demo, expected: u64) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while demo.cancelled() < expected {
        assert!(Instant::now() < deadline, "the disconnect was not noticed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn every_legacy_revision_opens_a_session_and_calls_a_tool() {
    let demo = Demo::start(DemoOptions::default()).await.unwrap();
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let session = open_session(demo.url(), version).await;
        let answer = call_legacy(&demo, &session, "add", json!({ "a": 2, "b": 3 })).await;
        let answer = result(answer).await;
        assert_eq!(
            answer["result"]["structuredContent"]["sum"], 5.0,
            "{version}"
        );
    }
    assert_eq!(demo.calls(), 3);
    demo.shutdown().await;
}

#[tokio::test]
async fn the_stateless_revision_needs_no_session_on_either_path() {
    let demo = Demo::start(DemoOptions::default()).await.unwrap();
    for url in [demo.url(), demo.stateless_url()] {
        let response = call_modern(url, &[], "echo", json!({ "text": "hi" })).await;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("mcp-session-id"));
        assert_eq!(result(response).await["result"]["content"][0]["text"], "hi");
    }
}

#[tokio::test]
async fn legacy_clients_are_served_without_session_on_the_stateless_path() {
    let demo = Demo::start(DemoOptions::default()).await.unwrap();
    let headers = [("mcp-protocol-version", "2025-06-18")];
    let body = call("echo", &json!({ "text": "hi" }));
    let response = post(demo.stateless_url(), &headers, body).await;
    assert_eq!(result(response).await["result"]["content"][0]["text"], "hi");
}

#[tokio::test]
async fn whoami_reports_the_claims_and_admin_report_obeys_the_groups() {
    let demo = Demo::start(DemoOptions::default()).await.unwrap();
    let ada = bearer(&json!({ "sub": "ada", "groups": ["admins"] }));
    let bob = bearer(&json!({ "sub": "bob", "groups": ["staff"] }));

    let headers = [("authorization", ada.as_str())];
    let who = result(call_modern(demo.url(), &headers, "whoami", json!({})).await).await;
    assert_eq!(who["result"]["structuredContent"]["claims"]["sub"], "ada");
    assert_eq!(demo.last_headers()["authorization"], ada.as_str());
    let report = result(call_modern(demo.url(), &headers, "admin_report", json!({})).await).await;
    assert_eq!(report["result"]["isError"], false);

    let headers = [("authorization", bob.as_str())];
    let refused = result(call_modern(demo.url(), &headers, "admin_report", json!({})).await).await;
    assert_eq!(refused["result"]["isError"], true);
    assert!(refused.to_string().contains("admins"));
}

#[tokio::test]
async fn countdown_streams_its_progress_while_it_runs() {
    let demo = Demo::start(DemoOptions::default()).await.unwrap();
    let session = open_session(demo.url(), "2025-11-25").await;
    let arguments = json!({ "from": 3, "interval_ms": 150 });
    let responses = [
        call_legacy(&demo, &session, "countdown", arguments.clone()).await,
        call_modern(demo.url(), &[], "countdown", arguments).await,
    ];
    for response in responses {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let messages = messages(response).await;
        let steps: Vec<_> = messages
            .iter()
            .filter(|message| message["method"] == "notifications/progress")
            .map(|message| message["params"]["progress"].as_f64().unwrap())
            .collect();
        assert_eq!(steps, [1.0, 2.0, 3.0]);
        let last = messages.last().unwrap();
        assert_eq!(last["result"]["structuredContent"]["counted"], 3);
    }
    assert_eq!(demo.cancelled(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_countdown_in_both_eras() {
    let demo = Demo::start(DemoOptions::default()).await.unwrap();
    let endless = json!({ "from": 1000, "interval_ms": 1000 });

    let response = call_modern(demo.url(), &[], "countdown", endless.clone()).await;
    drop(response);
    wait_for_cancelled(&demo, 1).await;

    let session = open_session(demo.url(), "2025-06-18").await;
    let mut response = call_legacy(&demo, &session, "countdown", endless).await;
    assert!(response.body_mut().frame().await.is_some());
    assert_eq!(demo.cancelled(), 1);
    drop(response);
    wait_for_cancelled(&demo, 2).await;
    assert_eq!(demo.calls(), 2);
}

#[tokio::test]
async fn shutdown_ends_open_streams_and_does_not_count_them_as_cancelled() {
    let demo = Demo::start(DemoOptions::default()).await.unwrap();
    let endless = json!({ "from": 1000, "interval_ms": 1000 });
    let url = demo.url().to_owned();
    let response = call_modern(&url, &[], "countdown", endless).await;
    let reading = tokio::spawn(response.into_body().collect());
    demo.shutdown().await;
    let ended = tokio::time::timeout(Duration::from_secs(5), reading).await;
    assert!(ended.is_ok(), "the stream outlived the server");
}
