//! Task ids and `requestState` belong to the caller who received them, where the operator asks for it (T27).

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use vestibule::proxy::HandleLimits;

use super::event_ids::sessions;
use super::rig::{Front, ask, canned, status, within};

const RELATED: &str = "io.modelcontextprotocol/related-task";

struct Bound {
    front: SocketAddr,
    asked: mpsc::UnboundedReceiver<String>,
}

impl Bound {
    /// Before an upstream that gives every request this answer.
    async fn to(content_type: &str, answer: &str) -> Self {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        let (upstream, asked) = canned(answer).await;
        let front = Front {
            sessions: Some(sessions()),
            handles: Some(HandleLimits {
                max_message: 4096,
                max_answer: 4096,
            }),
            ..Front::to(upstream)
        };
        Self {
            front: front.start().await,
            asked,
        }
    }

    async fn post(&self, user: &str, headers: &str, message: &Value) -> (u16, String) {
        let body = message.to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {user}\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = super::rig::connect(self.front).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        let reading = tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer);
        within(reading).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (status(head), body.to_owned())
    }

    async fn seen(&mut self) -> (String, Value) {
        let request = within(self.asked.recv()).await.unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let body = serde_json::from_str(body).unwrap();
        (head.to_ascii_lowercase(), body)
    }
}

fn request(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 5, "method": method, "params": params })
}

fn task(id: &str) -> Value {
    json!({ "taskId": id, "status": "working", "createdAt": "now", "ttl": 60000 })
}

#[tokio::test]
async fn t27_a_task_of_another_user_is_not_found() {
    let created = json!({ "jsonrpc": "2.0", "id": 5, "result": { "task": task("t-1") } });
    let mut bound = Bound::to("application/json", &created.to_string()).await;
    let call = request("tools/call", &json!({ "name": "slow", "task": {} }));
    let (code, answer) = bound.post("ada", "", &call).await;
    assert_eq!(code, 200);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let id = answer["result"]["task"]["taskId"].as_str().unwrap();
    assert!(id.starts_with("t-1~"), "{id}");
    bound.seen().await;

    for method in ["tasks/get", "tasks/result", "tasks/cancel", "tasks/update"] {
        for (user, stolen) in [("bob", id), ("bob", "t-1"), ("ada", "t-1"), ("ada", "")] {
            let ask = request(method, &json!({ "taskId": stolen }));
            let (code, answer) = bound.post(user, "", &ask).await;
            assert_eq!(code, 200);
            assert!(
                answer.contains("-32602") && answer.contains("Task not found"),
                "{answer}"
            );
            assert!(answer.contains("\"id\":5"), "{answer}");
        }
    }
    let batch = json!([
        request("ping", &json!({})),
        request("tasks/get", &json!({ "taskId": "t-1" }))
    ]);
    assert!(
        bound
            .post("ada", "", &batch)
            .await
            .1
            .contains("Task not found")
    );
    assert!(bound.asked.try_recv().is_err(), "reached the upstream");

    let modern =
        format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tasks/get\r\nMcp-Name: {id}\r\n");
    let ask = request("tasks/get", &json!({ "taskId": id }));
    assert_eq!(bound.post("ada", &modern, &ask).await.0, 200);
    let (head, body) = bound.seen().await;
    assert_eq!(body["params"]["taskId"], "t-1");
    assert!(head.contains("mcp-name: t-1\r\n"), "{head}");
}

#[tokio::test]
async fn t27_the_request_state_of_another_user_is_not_valid() {
    let asks = json!({ "jsonrpc": "2.0", "id": 5, "result": { "resultType": "input_required",
        "inputRequests": {}, "requestState": "an \"opaque\" state" } });
    let mut bound = Bound::to("application/json", &asks.to_string()).await;
    let call = request("tools/call", &json!({ "name": "ask" }));
    let (_, answer) = bound.post("ada", "", &call).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let state = &answer["result"]["requestState"];
    assert!(state.as_str().unwrap().starts_with("an \"opaque\" state~"));
    bound.seen().await;
    let again = |state: &Value| {
        let params = json!({ "name": "ask", "inputResponses": {}, "requestState": state });
        request("tools/call", &params)
    };
    for (user, state) in [
        ("bob", state),
        ("ada", &json!("an \"opaque\" state")),
        ("ada", &json!(7)),
        ("ada", &json!({})),
    ] {
        let (code, answer) = bound.post(user, "", &again(state)).await;
        assert_eq!(code, 200);
        assert!(answer.contains("requestState is not valid"), "{answer}");
    }
    // A task's tag is no tag of a state.
    let as_task = request("tasks/get", &json!({ "taskId": state }));
    assert!(
        bound
            .post("ada", "", &as_task)
            .await
            .1
            .contains("Task not found")
    );
    assert!(bound.asked.try_recv().is_err(), "reached the upstream");
    assert_eq!(bound.post("ada", "", &again(state)).await.0, 200);
    let (_, body) = bound.seen().await;
    assert_eq!(body["params"]["requestState"], "an \"opaque\" state");
}

#[tokio::test]
async fn t27_a_body_that_hides_a_task_id_goes_nowhere() {
    let mut bound = Bound::to("application/json", "{}").await;
    for body in [
        r#"{"jsonrpc":"2.0","id":5,"method":"tasks/get","params":{"taskId":"t-1","taskId":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":5,"method":"tasks/get","params":{"TaskId":"t-1"}}"#,
        r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"a","RequestState":"s"}}"#,
        r#"{"jsonrpc":"2.0","id":5,"method":"tasks/get","params":{"taskId":"t-1"}"#,
    ] {
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ada\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(status(&ask(bound.front, &request).await.0), 400, "{body}");
        let coded = request.replace("Content-Length", "Content-Encoding: gzip\r\nContent-Length");
        assert_eq!(status(&ask(bound.front, &coded).await.0), 415, "{body}");
    }
    assert!(bound.asked.try_recv().is_err(), "reached the upstream");
}

#[tokio::test]
async fn handles_are_tagged_wherever_they_stand_and_nothing_else_is() {
    let other =
        json!({ "jsonrpc": "2.0", "id": 4, "result": { "taskId": "a tool's own", "big": 1 } });
    let list =
        json!({ "jsonrpc": "2.0", "id": 5, "result": { "tasks": [task("t-1"), task("t-2")] } });
    let status =
        json!({ "jsonrpc": "2.0", "method": "notifications/tasks/status", "params": task("t-3") });
    let about = json!({ "jsonrpc": "2.0", "id": 6, "method": "elicitation/create",
        "params": { "_meta": { RELATED: { "taskId": "t-4" } } } });
    let own = json!({ "jsonrpc": "2.0", "id": 7, "method": "tasks/get", "params": { "taskId": "the client's" } });
    let get = json!({ "jsonrpc": "2.0", "id": 8, "result": task("t-5") });
    let events: String = [&other, &list, &status, &about, &own, &get]
        .map(|message| format!("id: 1\ndata: {message}\n\n"))
        .concat();
    let mut bound = Bound::to("text/event-stream", &events).await;
    let (_, text) = bound
        .post("ada", "", &request("tasks/list", &json!({})))
        .await;
    for id in ["t-1~", "t-2~", "t-3~", "t-4~", "t-5~"] {
        assert!(text.contains(&format!("\"{id}")), "{id}: {text}");
    }
    assert!(text.contains(&format!("data: {other}\n")), "{text}");
    assert!(text.contains(&format!("data: {own}\n")), "{text}");
    let at = text.find("t-4~").unwrap();
    let tagged = text[at..].split('"').next().unwrap();
    bound.seen().await;
    // The answer to the server's request says what it is about, and so may one about a task of the client's own.
    for (id, wanted) in [(tagged, "t-4"), ("the client's", "the client's")] {
        let answer = json!({ "jsonrpc": "2.0", "id": 6, "result": { "_meta": { RELATED: { "taskId": id } } } });
        bound.post("ada", "", &answer).await;
        assert_eq!(
            bound.seen().await.1["result"]["_meta"][RELATED]["taskId"],
            wanted
        );
    }
    let own = json!({ "jsonrpc": "2.0", "method": "notifications/tasks/status", "params": task("the client's") });
    bound.post("ada", "", &own).await;
    assert_eq!(bound.seen().await.1, own);
}

#[tokio::test]
async fn an_answer_too_long_to_be_read_is_a_502() {
    let long = json!({ "jsonrpc": "2.0", "id": 5, "result": { "text": "x".repeat(5000) } });
    let bound = Bound::to("application/json", &long.to_string()).await;
    let (code, answer) = bound.post("ada", "", &request("ping", &json!({}))).await;
    assert_eq!(code, 502);
    assert!(answer.contains("\"jsonrpc\":\"2.0\""), "{answer}");
}
