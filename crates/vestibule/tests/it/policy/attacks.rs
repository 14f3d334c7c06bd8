//! What Bob tries in order to call `admin_report`, which is not for him (T26).

use http::Method;
use serde_json::json;

use super::{RULES, bob, house, in_session, names, post, post_with, request, session};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"admin_report","arguments":{}}}"#;

#[tokio::test]
async fn t26_headers_that_name_another_tool_do_not_help() {
    let house = house(RULES).await;
    let bob = bob(&house).await;
    let before = house.demo.requests();
    let modern = ("mcp-protocol-version", "2026-07-28");
    for headers in [
        &[modern, ("mcp-method", "tools/call"), ("mcp-name", "echo")][..],
        &[modern, ("mcp-method", "ping")],
        &[
            modern,
            ("mcp-method", "tools/call"),
            ("mcp-name", "echo"),
            ("mcp-name", "admin_report"),
        ],
        &[modern],
        &[("mcp-method", "ping")],
    ] {
        let answer = post_with(&house, &bob.access, headers, CALL).await;
        assert_eq!(answer.status, 400, "{headers:?}");
        assert_eq!(answer.rpc()["error"]["code"], -32020, "{headers:?}");
        assert_eq!(answer.rpc()["id"], 1, "{headers:?}");
    }
    assert_eq!(house.demo.requests(), before);
}

#[tokio::test]
async fn t26_a_body_that_is_read_in_two_ways_goes_nowhere() {
    let house = house(RULES).await;
    let bob = bob(&house).await;
    let before = house.demo.requests();
    let with_mark = format!("\u{feff}{CALL}");
    for (body, code) in [
        (
            r#"{"id":1,"method":"tools/call","params":{"name":"echo","name":"admin_report"}}"#,
            -32700,
        ),
        (
            r#"{"id":1,"method":"tools/call","params":{"name":"echo","Name":"admin_report"}}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"ping"}{"id":1,"method":"tools/call","params":{"name":"admin_report"}}"#,
            -32700,
        ),
        (with_mark.as_str(), -32700),
        ("", -32700),
        ("[]", -32600),
        (r#"{"id":1}"#, -32600),
    ] {
        let answer = post(&house, &bob.access, body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.rpc()["error"]["code"], code, "{body}");
    }
    for headers in [
        ("content-type", "text/plain"),
        ("content-type", "application/json; charset=utf-16le"),
        ("content-encoding", "gzip"),
    ] {
        let answer = post_with(&house, &bob.access, &[headers], CALL).await;
        assert_eq!(answer.status, 415, "{headers:?}");
        assert!(answer.rpc()["error"]["code"].is_i64());
    }
    // An escaped name is that name.
    let escaped = CALL
        .replace("admin_report", "\\u0061dmin_report")
        .replace("tools/call", "tools\\/call");
    let answer = post(&house, &bob.access, &escaped).await;
    assert_eq!(
        answer.rpc()["error"]["message"],
        "Unknown tool: admin_report"
    );
    assert_eq!(house.demo.requests(), before);
}

#[tokio::test]
async fn t26_a_batch_hides_no_call() {
    let house = house(RULES).await;
    let bob = bob(&house).await;
    let before = house.demo.requests();
    let ping = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
    let batch = format!("[{ping},{CALL}]");
    let answer = post(&house, &bob.access, &batch).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answers = answer.rpc();
    let told = |id: i64| {
        let mut answers = answers.as_array().unwrap().iter();
        answers.find(|answer| answer["id"] == id).unwrap()["error"].clone()
    };
    assert_eq!(told(1)["message"], "Unknown tool: admin_report");
    assert_eq!(told(2)["code"], -32603);
    // Later revisions have no batches.
    let headers = [("mcp-protocol-version", "2025-06-18")];
    let answer = post_with(&house, &bob.access, &headers, &format!("[{ping}]")).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.rpc()["error"]["code"]),
        (400, &json!(-32600))
    );
    assert_eq!(house.demo.requests(), before);
}

#[tokio::test]
async fn t26_no_other_http_method_carries_a_call() {
    let house = house(RULES).await;
    let bob = bob(&house).await;
    let bearer = format!("Bearer {}", bob.access);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let calls = house.demo.calls();
    for method in [Method::PUT, Method::PATCH] {
        let answer = house.request(method, "/mcp", &headers, CALL).await;
        assert_eq!(answer.status, 405);
    }
    let answer = house.request(Method::DELETE, "/mcp", &headers, CALL).await;
    assert!(!answer.text().contains("nominal"));
    assert!(
        !house.demo.last_headers().contains_key("content-type"),
        "the body went along"
    );
    assert_eq!(house.demo.calls(), calls);
}

#[tokio::test]
async fn t26_a_message_longer_than_the_gate_reads_is_refused() {
    let house = house(&format!("max_message_bytes = \"1KiB\"\n{RULES}")).await;
    let bob = bob(&house).await;
    let padded = format!("{CALL}{}", " ".repeat(2_000));
    let answer = post(&house, &bob.access, &padded).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert_eq!(answer.rpc()["error"]["code"], -32600);
}

#[tokio::test]
async fn t26_a_call_without_an_id_is_not_carried_out() {
    let house = house(RULES).await;
    let bob = bob(&house).await;
    let calls = house.demo.requests();
    let answer = post(&house, &bob.access, &CALL.replace("\"id\":1,", "")).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (202, ""));
    assert_eq!(house.demo.requests(), calls);
}

/// A list that is asked for and then fetched over the session's stream is filtered there.
#[tokio::test]
async fn t26_a_resumed_stream_shows_no_more_than_the_first() {
    let house = house(RULES).await;
    let bob = bob(&house).await;
    let session = session(&house, &bob.access).await;
    let headers = [("mcp-session-id", session.as_str())];
    let list = post_with(
        &house,
        &bob.access,
        &headers,
        &request("tools/list", &json!({})),
    )
    .await;
    assert_eq!(names(&list), ["add", "countdown", "echo", "whoami"]);
    let text = list.text();
    let event = text.lines().find_map(|line| line.strip_prefix("id:"));
    let Some(event) = event else {
        panic!("the server's stream has no event ids: {text}");
    };
    let bearer = format!("Bearer {}", bob.access);
    let headers = [
        ("authorization", bearer.as_str()),
        ("accept", "text/event-stream"),
        ("mcp-session-id", session.as_str()),
        ("last-event-id", event.trim()),
    ];
    let resumed = house.request(Method::GET, "/mcp", &headers, "").await;
    assert!(
        !resumed.text().contains("admin_report"),
        "{}",
        resumed.text()
    );
}

#[tokio::test]
async fn t26_paths_below_the_resource_have_the_same_gate() {
    let house = house(RULES).await;
    let bob = bob(&house).await;
    let calls = house.demo.calls();
    for path in ["/mcp/", "/mcp/messages", "/mcp?x=1"] {
        let answer = house
            .call_at(path, &bob.access, &serde_json::from_str(CALL).unwrap())
            .await;
        assert_eq!(answer.rpc()["error"]["code"], -32602, "{path}");
    }
    assert_eq!(house.demo.calls(), calls);
    // And nothing else got worse.
    let echo = json!({ "name": "echo", "arguments": { "text": "x" } });
    let answer = in_session(&house, &bob.access, "tools/call", &echo).await;
    assert_eq!(answer.rpc()["result"]["content"][0]["text"], "x");
}
