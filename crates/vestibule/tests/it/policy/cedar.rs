//! Cedar policies through the whole house: the same answers as with rules, arguments, reload, and `vestibule policy test`.

use std::sync::Arc;

use serde_json::json;
use vestibule::policy::CedarPolicies;
use vestibule::settings::{NoEnvironment, Settings};

use super::{ada_reading, bob, in_session, names, post, request};
use crate::support::{Place, TestHouse};

const POLICIES: &str = r#"
// Everybody may say something.
@id("talk")
permit(principal is Vestibule::User, action == Vestibule::Action::"tools/call", resource)
when { ["echo", "whoami"].contains(resource.name) };

@id("reports")
permit(principal in Vestibule::Group::"admins", action, resource == Vestibule::Tool::"admin_report");

// As at an AgentCore gateway.
@id("small-sums")
permit(
  principal is AgentCore::OAuthUser,
  action == AgentCore::Action::"add",
  resource == AgentCore::Gateway::"arn:aws:bedrock-agentcore:eu-west-1:123456789012:gateway/sums"
) when {
  principal.hasTag("scope") && principal.getTag("scope") like "*mcp:write*" && context.input.a < 100
};
"#;

const CONFIG: &str = "\
public_url = \"http://localhost:8080\"
[provider]
issuer = \"http://127.0.0.1:1/pool\"
client_id = \"c\"
[keys]
file = \"keys.toml\"
[tokens.claims]
groups = \"g\"
[[resource]]
path = \"/mcp\"
upstream = \"http://127.0.0.1:1/mcp\"
scopes = [\"mcp:read\", \"mcp:write\"]
policy = \"cedar\"
policy_file = \"tools.cedar\"
";

/// A directory with a configuration and its policies.
fn place(name: &str, policies: &str) -> Place {
    let place = Place::new(&format!("cedar-{name}"));
    place.write("tools.cedar", policies);
    place.write("vestibule.toml", CONFIG);
    place.run(&["keys", "generate", "--out", "keys.toml"]);
    place
}

fn settings(place: &Place) -> Result<Settings, String> {
    let read = Settings::load(Some(&place.0.join("vestibule.toml")), &NoEnvironment);
    read.map_err(|error| error.to_string())
}

fn policies(place: &Place) -> Option<Arc<CedarPolicies>> {
    settings(place).unwrap().resources.remove(0).cedar
}

async fn house(name: &str, text: &str) -> TestHouse {
    let place = place(name, text);
    TestHouse::with(|settings| settings.resources[0].cedar = policies(&place)).await
}

#[tokio::test]
async fn lists_show_what_could_be_called_and_calls_are_decided_by_their_arguments() {
    let house = house("lists", POLICIES).await;
    let (_, ada) = house.sign_in().await;
    let list = in_session(&house, &ada.access, "tools/list", &json!({})).await;
    assert_eq!(names(&list), ["add", "admin_report", "echo", "whoami"]);
    let bob = bob(&house).await;
    let list = in_session(&house, &bob.access, "tools/list", &json!({})).await;
    assert_eq!(names(&list), ["add", "echo", "whoami"]);
    let sum = |a: u32| json!({ "name": "add", "arguments": { "a": a, "b": 2 } });
    let answer = in_session(&house, &ada.access, "tools/call", &sum(1)).await;
    assert_eq!(answer.rpc()["result"]["structuredContent"]["sum"], 3.0);
    let before = house.demo.calls();
    let answer = in_session(&house, &ada.access, "tools/call", &sum(100)).await;
    assert_eq!(answer.rpc()["error"]["message"], "Unknown tool: add");
    // Hidden as by rules, and no other method is opened by what is always allowed.
    let answer = house
        .tool_at("/mcp", &bob.access, &[], "admin_report")
        .await;
    assert_eq!(
        answer.rpc()["error"]["message"],
        "Unknown tool: admin_report"
    );
    let read = request("resources/read", &json!({ "uri": "file:///x" }));
    let answer = post(&house, &ada.access, &read).await;
    assert_eq!(answer.rpc()["error"]["message"], "Resource not found");
    assert_eq!(house.demo.calls(), before);
}

#[tokio::test]
async fn t26_arguments_that_are_spelled_in_two_ways_do_not_get_past_the_policies() {
    let house = house("attacks", POLICIES).await;
    let (_, ada) = house.sign_in().await;
    let before = house.demo.calls();
    for params in [
        r#"{"name":"add","arguments":{"a":1,"a":1000,"b":1}}"#,
        r#"{"name":"add","arguments":{"a":1,"A":1000,"b":1}}"#,
        r#"{"name":"add","arguments":{"a":1,"b":1},"Arguments":{"a":1000,"b":1}}"#,
        r#"{"name":"add","arguments":{"a":1,"b":1},"arguments":{"a":1000,"b":1}}"#,
        r#"{"name":"add","arguments":{"a":1e2,"b":1}}"#,
        r#"{"name":"add","arguments":{"a":"1","b":1}}"#,
        r#"{"name":"add"}"#,
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#);
        let answer = post(&house, &ada.access, &body).await;
        assert!(
            answer.rpc()["error"].is_object(),
            "{params}: {}",
            answer.text()
        );
    }
    assert_eq!(house.demo.calls(), before);
}

/// A policy that asks for a scope is a question to the user, as a rule that does.
#[tokio::test]
async fn a_call_that_more_scopes_would_permit_is_told_which() {
    let house = house("scopes", POLICIES).await;
    let ada = ada_reading(&house).await;
    let list = in_session(&house, &ada.access, "tools/list", &json!({})).await;
    assert_eq!(names(&list), ["add", "admin_report", "echo", "whoami"]);
    let sum = |a: u32| {
        request(
            "tools/call",
            &json!({ "name": "add", "arguments": { "a": a, "b": 2 } }),
        )
    };
    let answer = post(&house, &ada.access, &sum(1)).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.ends_with("scope=\"mcp:read mcp:write\""),
        "{challenge}"
    );
    // No scope permits this one.
    let answer = post(&house, &ada.access, &sum(100)).await;
    assert_eq!(answer.rpc()["error"]["message"], "Unknown tool: add");
}

#[tokio::test]
async fn new_policies_hold_after_a_reload_and_wrong_ones_are_not_taken() {
    let place = place("reload", POLICIES);
    let mut house =
        TestHouse::with(|settings| settings.resources[0].cedar = policies(&place)).await;
    let (_, ada) = house.sign_in().await;
    assert_eq!(
        house
            .tool_at("/mcp", &ada.access, &[], "admin_report")
            .await
            .status,
        200
    );
    // The file is one of those that are watched.
    assert!(
        settings(&place)
            .unwrap()
            .files
            .contains(&place.0.join("tools.cedar"))
    );
    place.write(
        "tools.cedar",
        "permit(principal, action, resource);\nforbid(principal, action, resource",
    );
    let refused = settings(&place).unwrap_err();
    assert!(
        refused.contains("vestibule.toml:14:1: resource[0].policy_file: tools.cedar:2:"),
        "{refused}"
    );
    place.write(
        "tools.cedar",
        "permit(principal, action, resource == Vestibule::Tool::\"echo\");",
    );
    house.reload(|settings, _| settings.resources[0].cedar = policies(&place));
    let answer = house
        .tool_at("/mcp", &ada.access, &[], "admin_report")
        .await;
    assert_eq!(
        answer.rpc()["error"]["message"],
        "Unknown tool: admin_report"
    );
}

#[test]
fn settings_that_contradict_the_policies_are_refused() {
    let place = place("settings", POLICIES);
    for (change, says) in [
        (
            "default = \"deny\"\n",
            "`resource[0].default` is not looked at",
        ),
        (
            "[[resource.rule]]\ntools = [\"x\"]\ngroups = [\"g\"]\n",
            "`resource[0].rule[0]` is not looked at",
        ),
    ] {
        place.write("vestibule.toml", &format!("{CONFIG}{change}"));
        let refused = settings(&place).unwrap_err();
        assert!(
            refused.contains("vestibule.toml:13:1: resource[0].policy: "),
            "{refused}"
        );
        assert!(refused.contains(says), "'{says}' is not in {refused}");
    }
    place.write(
        "vestibule.toml",
        &CONFIG.replace("policy = \"cedar\"\n", ""),
    );
    assert!(
        settings(&place)
            .unwrap_err()
            .contains("is for `policy = \"cedar\"`")
    );
    place.write(
        "vestibule.toml",
        &CONFIG.replace("policy_file = \"tools.cedar\"\n", ""),
    );
    assert!(
        settings(&place)
            .unwrap_err()
            .contains("resource[0].policy_file: missing")
    );
    place.write("vestibule.toml", CONFIG);
    place.write(
        "tools.cedar",
        "\npermit(principal, action, resource) when { principal.team == \"a\" };",
    );
    let refused = settings(&place).unwrap_err();
    assert!(
        refused.contains("tools.cedar:2: asks for the claim `team`, but no claim"),
        "{refused}"
    );
}

#[test]
fn a_decision_names_the_policy_that_made_it() {
    let place = place("explain", POLICIES);
    let ada = r#"{"sub":"ada","groups":["admins"],"scope":"mcp:read mcp:write"}"#;
    let test = |more: &[&str]| {
        let arguments = [
            "policy",
            "test",
            "--config",
            "vestibule.toml",
            "--claims",
            ada,
        ];
        let output = place.run(&[&arguments[..], more].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        test(&["--call", "tools/call:admin_report"]),
        "tools/call:admin_report at /mcp: allowed\n  forwarded to the upstream\n\
         policy `talk` (tools.cedar:3), allow: is not about this call, or not about this user\n\
         policy `reports` (tools.cedar:7), allow: permits\n\
         policy `small-sums` (tools.cedar:11), allow: is not about this call, or not about this user\n"
    );
    let open = test(&["--call", "tools/call:add"]);
    assert!(
        open.contains("in lists; a call is decided by its arguments"),
        "{open}"
    );
    assert!(
        open.contains("`small-sums` (tools.cedar:11), allow: depends on the arguments"),
        "{open}"
    );
    let large = test(&["--call", "tools/call:add", "--arguments", r#"{"a":100}"#]);
    assert!(
        large.starts_with("tools/call:add at /mcp: hidden\n  because no policy permits it\n"),
        "{large}"
    );
    let json = test(&[
        "--call",
        "tools/call:add",
        "--arguments",
        r#"{"a":1}"#,
        "--json",
    ]);
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(told["decision"], "allowed");
    assert_eq!(told["rules"][2]["says"], "permits");
    assert_eq!(told["rules"][2]["line"], 11);
}
