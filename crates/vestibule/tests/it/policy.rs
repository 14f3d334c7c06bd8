//! Authorization per tool through the whole house: lists, refusals and step-up; what an attacker tries; sessions that
//! belong to one user (T26, T27).

mod attacks;
#[cfg(feature = "cedar")]
mod cedar;
mod explain;
mod sdk;
mod sessions;

use http::Method;
use serde_json::{Value, json};
use vestibule::settings::{NoEnvironment, Settings};

use crate::support::{Answer, TestHouse, Tokens};

/// `admin_report` is for a group that Ada is in and Bob is not; `add` needs a scope.
const RULES: &str = "
[[resource.rule]]
tools = [\"admin_*\"]
groups = [\"admins\"]
[[resource.rule]]
tools = [\"add\"]
scopes = [\"mcp:write\"]
[[resource.rule]]
effect = \"deny\"
methods = [\"logging/setLevel\"]
";

/// The rules of a resource as an operator writes them.
pub(super) fn set_rules(settings: &mut Settings, rules: &str) {
    let text = format!(
        "public_url = \"https://mcp.example.test\"\n[keys]\nring = \"x\"\n[provider]\nissuer = \"https://id.example\"\n\
         client_id = \"c\"\n[tokens.claims]\ngroups = \"g\"\n[[resource]]\npath = \"/mcp\"\nupstream = \"http://127.0.0.1:9/mcp\"\n\
         scopes = [\"mcp:read\", \"mcp:write\"]\n{rules}"
    );
    let read = Settings::from_toml(&text, "vestibule.toml", &NoEnvironment).unwrap();
    let read = &read.resources[0];
    let own = &mut settings.resources[0];
    own.rules.clone_from(&read.rules);
    own.deny_by_default = read.deny_by_default;
    own.max_message_bytes = read.max_message_bytes;
    own.max_list_bytes = read.max_list_bytes;
    own.bind_sessions = read.bind_sessions;
}

pub(super) async fn house(rules: &str) -> TestHouse {
    TestHouse::with(|settings| set_rules(settings, rules)).await
}

/// Bob's tokens, with the scopes that he asks for.
pub(super) async fn bob(house: &TestHouse) -> Tokens {
    house.sign_in_as("bob", "builder").await.1
}

/// A token of Ada's with less than she could have.
async fn ada_reading(house: &TestHouse) -> Tokens {
    let (client, tokens) = house.sign_in().await;
    let form = [("scope", "mcp:read")];
    let fewer = house.refresh_with(&client, &tokens.refresh, &form).await;
    Tokens::of(&fewer)
}

/// A request of the revisions with sessions, at the endpoint that opens none.
pub(super) async fn post(house: &TestHouse, token: &str, body: &str) -> Answer {
    post_with(house, token, &[], body).await
}

pub(super) async fn post_with(
    house: &TestHouse,
    token: &str,
    extra: &[(&str, &str)],
    body: &str,
) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![
        ("authorization", bearer.as_str()),
        ("accept", "application/json, text/event-stream"),
    ];
    if !extra.iter().any(|(name, _)| *name == "content-type") {
        headers.push(("content-type", "application/json"));
    }
    headers.extend(extra);
    house.request(Method::POST, "/mcp", &headers, body).await
}

pub(super) fn request(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string()
}

/// Opens a session of 2025-06-18 and gives its id.
pub(super) async fn session(house: &TestHouse, token: &str) -> String {
    let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "test", "version": "0" } });
    let opened = post(house, token, &request("initialize", &params)).await;
    assert_eq!(opened.status, 200, "{}", opened.text());
    let session = opened.header("mcp-session-id").to_owned();
    let headers = [("mcp-session-id", session.as_str())];
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let answer = post_with(house, token, &headers, &ready.to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    session
}

pub(super) async fn in_session(
    house: &TestHouse,
    token: &str,
    method: &str,
    params: &Value,
) -> Answer {
    let session = session(house, token).await;
    let headers = [("mcp-session-id", session.as_str())];
    post_with(house, token, &headers, &request(method, params)).await
}

pub(super) fn names(list: &Answer) -> Vec<String> {
    let message = list.rpc();
    let tools = message["result"]["tools"].as_array();
    let tools = tools.unwrap_or_else(|| panic!("no tools in {message}"));
    let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
    tools.iter().map(name).collect()
}

#[tokio::test]
async fn a_list_shows_what_the_caller_could_ever_call() {
    let house = house(RULES).await;
    let ada = ada_reading(&house).await;
    assert_eq!(ada.scope, "mcp:read");
    let list = in_session(&house, &ada.access, "tools/list", &json!({})).await;
    assert_eq!(
        names(&list),
        ["add", "admin_report", "countdown", "echo", "whoami"]
    );
    assert_eq!(house.demo.last_headers()["accept-encoding"], "identity");
    let bob = bob(&house).await;
    let list = in_session(&house, &bob.access, "tools/list", &json!({})).await;
    assert_eq!(names(&list), ["add", "countdown", "echo", "whoami"]);
}

#[tokio::test]
async fn a_list_of_the_stateless_revision_is_private() {
    let house = house(RULES).await;
    let bob = bob(&house).await;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/list"),
    ];
    let body = request("tools/list", &json!({ "_meta": meta }));
    let list = post_with(&house, &bob.access, &headers, &body).await;
    assert_eq!(names(&list), ["add", "countdown", "echo", "whoami"]);
    let result = &list.rpc()["result"];
    assert_eq!(result["cacheScope"], "private");
    let ttl = result["ttlMs"].as_f64().unwrap_or_default();
    assert!(ttl <= 3_600_000.0, "{ttl}");
}

/// The user could consent: the client learns what to ask for, and keeps what it has.
#[tokio::test]
async fn a_call_that_lacks_a_scope_is_told_which_to_ask_for() {
    let house = house(RULES).await;
    let ada = ada_reading(&house).await;
    let before = house.demo.calls();
    let answer = house.tool_at("/mcp", &ada.access, &[], "add").await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(
        challenge.ends_with("scope=\"mcp:read mcp:write\""),
        "{challenge}"
    );
    assert!(
        challenge.contains("resource_metadata=\"https://mcp.example.test/"),
        "{challenge}"
    );
    assert_eq!(answer.json()["error"], "insufficient_scope");
    assert_eq!(house.demo.calls(), before);
    // With the scope it goes through.
    let (_, all) = house.sign_in().await;
    let arguments = json!({ "name": "add", "arguments": { "a": 1, "b": 2 } });
    let answer = in_session(&house, &all.access, "tools/call", &arguments).await;
    assert_eq!(answer.rpc()["result"]["structuredContent"]["sum"], 3.0);
}

/// No consent could help: the answer is that of a server without such a tool, and no challenge sends anybody round.
#[tokio::test]
async fn t26_a_tool_that_is_not_for_the_user_does_not_exist() {
    let house = house(RULES).await;
    let bob = bob(&house).await;
    let before = house.demo.requests();
    let answer = house
        .tool_at("/mcp", &bob.access, &[], "admin_report")
        .await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("www-authenticate"));
    let error = json!({ "code": -32602, "message": "Unknown tool: admin_report" });
    assert_eq!(
        answer.rpc(),
        json!({ "jsonrpc": "2.0", "id": 7, "error": error })
    );
    assert_eq!(house.demo.requests(), before);
    let ada = house.sign_in().await.1;
    let answer = house
        .tool_at("/mcp", &ada.access, &[], "admin_report")
        .await;
    assert_eq!(
        answer.rpc()["result"]["structuredContent"]["report"],
        "all systems nominal"
    );
}

#[tokio::test]
async fn a_method_can_be_shut_off_and_the_rest_goes_on() {
    let house = house(RULES).await;
    let ada = house.sign_in().await.1;
    let level = request("logging/setLevel", &json!({ "level": "debug" }));
    let answer = post(&house, &ada.access, &level).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.rpc()["error"]["code"]),
        (200, &json!(-32601))
    );
    let whoami = house.whoami(&ada.access).await;
    assert_eq!(whoami["claims"]["email"], "ada@example.com");
}

#[tokio::test]
async fn what_nothing_allows_is_hidden_when_the_default_is_to_deny() {
    let house = house("default = \"deny\"\n[[resource.rule]]\ntools = [\"echo\"]\n").await;
    let ada = house.sign_in().await.1;
    let list = in_session(&house, &ada.access, "tools/list", &json!({})).await;
    assert_eq!(names(&list), ["echo"]);
    let answer = house.tool_at("/mcp", &ada.access, &[], "whoami").await;
    assert_eq!(answer.rpc()["error"]["code"], -32602);
}

/// Law 11: without rules nothing is read, so a body that no gate would take goes through.
#[tokio::test]
async fn without_rules_no_body_is_looked_at() {
    let house = TestHouse::new().await;
    let ada = house.sign_in().await.1;
    let before = house.demo.requests();
    post_with(
        &house,
        &ada.access,
        &[("content-type", "text/plain")],
        "rubbish",
    )
    .await;
    assert_eq!(house.demo.requests(), before + 1);
}
