//! Decisions of whole policies, written as an operator writes them, and what becomes of answers.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use vestibule_oauth::time::{Clock, ManualClock, UnixTime};

use super::filter::Filter;
use super::*;
use crate::settings::{NoEnvironment, Settings};

/// A resource with these lines in its section and after it.
fn policy(resource: &str) -> Policy {
    let text = format!(
        "public_url = \"https://m.example\"\n[keys]\nring = \"x\"\n[tokens.claims]\ngroups = \"groups\"\ndepartment = \"d\"\n\
         [provider]\nissuer = \"https://id.example\"\nclient_id = \"c\"\n\
         [[resource]]\npath = \"/mcp\"\nupstream = \"http://127.0.0.1:9/mcp\"\n{resource}"
    );
    let settings = Settings::from_toml(&text, "vestibule.toml", &NoEnvironment);
    let settings = settings.unwrap_or_else(|error| panic!("{error}"));
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(UnixTime(1_000)));
    Policy::of(&settings.resources[0], &clock)
}

fn caller(policy: &Policy, scope: &str, groups: &[&str]) -> Subject<'static> {
    let claims = json!({ "groups": groups });
    let (scope, claims) = (ScopeSet::parse(scope), claims.as_object().unwrap());
    policy.subject("u1", "c1", &scope, claims).into_owned()
}

fn tool(name: &str) -> Target<'_> {
    Target {
        method: "tools/call",
        thing: Some((Kind::Tool, name)),
    }
}

fn resource(uri: &str) -> Target<'_> {
    Target {
        method: "resources/read",
        thing: Some((Kind::Resource, uri)),
    }
}

fn bare(method: &str) -> Target<'_> {
    Target {
        method,
        thing: None,
    }
}

fn lacks(scopes: &str) -> Decision {
    Decision::Lacks(ScopeSet::parse(scopes))
}

fn is_hidden(decision: &Decision) -> bool {
    matches!(decision, Decision::Hidden(_))
}

#[test]
fn all_rules_about_a_call_must_be_satisfied_and_deny_wins() {
    let policy = policy(
        "scopes = [\"read\", \"write\"]\n\
         [[resource.rule]]\ntools = [\"*\"]\nscopes = [\"read\"]\n\
         [[resource.rule]]\ntools = [\"set_*\"]\nscopes = [\"write\"]\n\
         [[resource.rule]]\ntools = [\"admin_*\"]\ngroups = [\"admins\"]\n\
         [[resource.rule]]\neffect = \"deny\"\ntools = [\"admin_wipe\"]\ngroups = [\"interns\"]\n",
    );
    let decide = |scope: &str, groups: &[&str], name: &str| {
        policy.decide(&caller(&policy, scope, groups), tool(name))
    };
    assert_eq!(decide("read", &[], "echo"), Decision::Allowed);
    assert_eq!(decide("", &[], "set_x"), lacks("read write"));
    assert_eq!(decide("read", &[], "set_x"), lacks("write"));
    assert!(is_hidden(&decide("read", &[], "admin_x")));
    assert_eq!(decide("read", &["admins"], "admin_wipe"), Decision::Allowed);
    assert!(is_hidden(&decide(
        "read",
        &["admins", "interns"],
        "admin_wipe"
    )));
    assert_eq!(
        policy.decide(&caller(&policy, "", &[]), bare("tools/list")),
        Decision::Allowed
    );
}

#[test]
fn a_higher_scope_is_as_good_as_those_that_it_implies() {
    let policy = policy(
        "scopes = [\"read\"]\n[[resource.scope]]\nname = \"admin\"\nimplies = [\"read\"]\ngroups = [\"admins\"]\n\
         [[resource.rule]]\ntools = [\"echo\"]\nscopes = [\"read\"]\n\
         [[resource.rule]]\ntools = [\"wipe\"]\nscopes = [\"admin\"]\n",
    );
    let decide = |scope: &str, groups: &[&str], name: &str| {
        policy.decide(&caller(&policy, scope, groups), tool(name))
    };
    assert_eq!(decide("admin", &["admins"], "echo"), Decision::Allowed);
    assert_eq!(decide("read", &["admins"], "wipe"), lacks("admin"));
    // Asking for a scope of a group that the user is not in would send them round in circles.
    assert!(is_hidden(&decide("read", &[], "wipe")));
}

#[test]
fn what_no_rule_allows_is_hidden_if_the_operator_says_so() {
    let policy = policy(
        "default = \"deny\"\n\
         [[resource.rule]]\ntools = [\"echo\"]\n\
         [[resource.rule]]\nmethods = [\"resources/read\"]\nresources = [\"file:///public/*\"]\n",
    );
    let subject = caller(&policy, "", &[]);
    let decide = |target| policy.decide(&subject, target);
    assert_eq!(decide(tool("echo")), Decision::Allowed);
    assert!(is_hidden(&decide(tool("admin"))));
    assert_eq!(decide(resource("file:///public/a")), Decision::Allowed);
    assert!(is_hidden(&decide(resource("file:///public/../secret"))));
    for method in [
        "initialize",
        "tools/list",
        "ping",
        "notifications/initialized",
        "tasks/get",
    ] {
        assert_eq!(decide(bare(method)), Decision::Allowed, "{method}");
    }
    for method in ["experimental/shell", "tools/call", "toolsx/list", ""] {
        assert!(is_hidden(&decide(bare(method))), "{method}");
    }
}

/// T26: the attacker cannot read a resource and subscribes to it, or completes the arguments of a prompt.
#[test]
fn t26_other_methods_about_a_thing_need_what_using_it_needs() {
    let policy = policy(
        "[[resource.rule]]\nmethods = [\"resources/read\"]\nresources = [\"file:///secret/*\"]\ngroups = [\"admins\"]\n\
         [[resource.rule]]\nmethods = [\"prompts/get\"]\nprompts = [\"secret\"]\ngroups = [\"admins\"]\n",
    );
    let rules = policy.0.as_ref().unwrap();
    let decide = |groups: &[&str], method: &str, kind, name: &str| {
        let things = [(kind, name.to_owned())];
        rules
            .decide_call(&caller(&policy, "", groups), method, &things, None)
            .0
    };
    let secret = "file:///secret/plan";
    for method in [
        "resources/read",
        "resources/subscribe",
        "subscriptions/listen",
    ] {
        assert!(
            is_hidden(&decide(&[], method, Kind::Resource, secret)),
            "{method}"
        );
        assert_eq!(
            decide(&["admins"], method, Kind::Resource, secret),
            Decision::Allowed
        );
    }
    let template = "file:///secret/{name}";
    assert!(is_hidden(&decide(
        &[],
        "completion/complete",
        Kind::Template,
        template
    )));
    assert!(is_hidden(&decide(
        &[],
        "completion/complete",
        Kind::Prompt,
        "secret"
    )));
    assert_eq!(
        decide(&[], "completion/complete", Kind::Prompt, "open"),
        Decision::Allowed
    );
}

#[test]
fn an_explanation_names_every_rule() {
    let policy = policy(
        "scopes = [\"read\"]\n[[resource.rule]]\ntools = [\"echo\"]\nscopes = [\"read\"]\n\
         [[resource.rule]]\nprompts = [\"x\"]\ngroups = [\"g\"]\n",
    );
    let told = policy.explain(&caller(&policy, "", &[]), tool("echo"));
    assert_eq!(told.decision, "needs_scopes");
    assert_eq!(told.needed, ["read"]);
    let lines: Vec<usize> = told.rules.iter().map(|rule| rule.line).collect();
    assert_eq!(lines, [14, 17]);
    assert!(
        told.rules[0].says.contains("`read`"),
        "{}",
        told.rules[0].says
    );
    assert!(
        told.rules[1].says.contains("not about"),
        "{}",
        told.rules[1].says
    );
}

const LISTS: &str = "[[resource.rule]]\ntools = [\"admin_*\"]\ngroups = [\"admins\"]\n\
    [[resource.rule]]\nresources = [\"file:///secret/*\"]\ngroups = [\"admins\"]\n\
    [[resource.rule]]\nprompts = [\"p2\"]\ngroups = [\"admins\"]\n";

fn filter(modern: bool) -> Filter {
    let policy = policy(&format!("max_list_bytes = \"1KiB\"\n{LISTS}"));
    Filter {
        subject: caller(&policy, "", &[]),
        rules: policy.0.unwrap(),
        modern,
        max_age_ms: 60_000,
        searches: true,
        streams_only: false,
        id: json!(1),
    }
}

fn answer(content_type: &str, body: String) -> Response {
    let response = Response::builder().header("content-type", content_type);
    response
        .header("content-length", body.len())
        .header("etag", "\"x\"")
        .body(Body::from(body))
        .unwrap()
}

async fn filtered(filter: Filter, content_type: &str, body: String) -> (Response<()>, String) {
    let (parts, body) = filter
        .apply(answer(content_type, body))
        .await
        .unwrap()
        .into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (
        Response::from_parts(parts, ()),
        String::from_utf8(bytes.to_vec()).unwrap(),
    )
}

fn result(result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "result": result })
}

#[tokio::test]
async fn lists_of_every_kind_lose_what_the_caller_may_never_have() {
    let before = result(&json!({
        "tools": [{ "name": "admin_x" }, { "name": "echo", "inputSchema": { "z": 1, "a": 2 } }, { "title": "nameless" }],
        "prompts": [{ "name": "p1" }, { "name": "p2" }],
        "resources": [{ "uri": "file:///a" }, { "uri": "file:///secret/b" }, { "uri": "file:///a/../secret/b" }],
        "resourceTemplates": [{ "uriTemplate": "file:///{x}" }, { "uriTemplate": "file:///secret/{x}" }],
        "nextCursor": "c2", "cacheScope": "public", "ttlMs": 3_600_000,
    }));
    let after = result(&json!({
        "tools": [{ "name": "echo", "inputSchema": { "z": 1, "a": 2 } }],
        "prompts": [{ "name": "p1" }],
        "resources": [{ "uri": "file:///a" }],
        "resourceTemplates": [{ "uriTemplate": "file:///{x}" }],
        "nextCursor": "c2", "cacheScope": "private", "ttlMs": 60_000,
    }));
    let (response, body) = filtered(filter(false), "application/json", before.to_string()).await;
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), after);
    for gone in ["content-length", "etag"] {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
    let stream = format!(
        ": hello\n\ndata: {{\"method\":\"notifications/progress\"}}\n\nid: 7\ndata: {before}\n\n"
    );
    let (_, body) = filtered(filter(false), "text/event-stream", stream).await;
    let (untouched, list) = body.split_once("id: 7\ndata: ").unwrap();
    assert_eq!(
        untouched,
        ": hello\n\ndata: {\"method\":\"notifications/progress\"}\n\n"
    );
    assert_eq!(serde_json::from_str::<Value>(list.trim()).unwrap(), after);
}

#[tokio::test]
async fn an_empty_page_keeps_its_cursor_and_a_modern_one_is_private() {
    let page = result(&json!({ "tools": [{ "name": "admin_x" }], "nextCursor": "c2" }));
    let (_, body) = filtered(filter(true), "application/json", page.to_string()).await;
    let after = result(&json!({ "tools": [], "nextCursor": "c2", "cacheScope": "private" }));
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), after);
}

/// The attacker finds hidden tools by searching.
#[tokio::test]
async fn t26_a_search_does_not_find_hidden_tools() {
    let tools = json!([{ "name": "admin_x" }, { "name": "echo" }]);
    let found = result(&json!({
        "structuredContent": { "tools": tools },
        "content": [
            { "type": "text", "text": json!({ "tools": tools }).to_string() },
            { "type": "text", "text": tools.to_string() },
            { "type": "text", "text": "2 tools" },
        ],
    }));
    let (_, body) = filtered(filter(false), "application/json", found.to_string()).await;
    assert!(body.contains("echo") && !body.contains("admin_x"), "{body}");
    assert!(body.contains("2 tools"));
}

#[tokio::test]
async fn an_answer_that_cannot_be_filtered_does_not_pass() {
    let long = result(&json!({ "tools": [{ "name": "x".repeat(2_000) }] })).to_string();
    let error = filter(false)
        .apply(answer("application/json", long.clone()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("longer than 1024"), "{error}");
    let error = filter(false)
        .apply(answer("text/html", "<p>admin_x".to_owned()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not JSON"), "{error}");
    let mut compressed = answer("application/json", String::new());
    compressed
        .headers_mut()
        .insert("content-encoding", "gzip".parse().unwrap());
    assert!(filter(false).apply(compressed).await.is_err());
    // In a stream the failure stands in the list's place, and the stream breaks off.
    let stream = answer("text/event-stream", format!("data: {long}\n\n"));
    let mut body = filter(false).apply(stream).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    assert!(
        first.starts_with("data: {") && first.contains("-32603"),
        "{first}"
    );
    assert!(body.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn the_text_of_an_error_passes() {
    let mut error = answer("text/plain", "busy".to_owned());
    *error.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    let passed = filter(false).apply(error).await.unwrap();
    assert_eq!(
        passed.into_body().collect().await.unwrap().to_bytes(),
        "busy"
    );
}
