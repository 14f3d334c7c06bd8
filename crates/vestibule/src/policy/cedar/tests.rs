//! Policies as operators write them, in our shape and in AgentCore's: what they decide, and what is refused at once.

use std::borrow::Cow;

use serde_json::json;

use super::*;

const URL: &str = "https://m.example/mcp";

#[track_caller]
fn read(text: &str) -> CedarPolicies {
    CedarPolicies::read("p.cedar", text, None).unwrap_or_else(|found| panic!("{found:?}"))
}

fn ada() -> Subject<'static> {
    let claims = json!({
        "groups": ["staff", "admins"], "email": "ada@example.com", "level": 3, "username": "ada",
        "email_verified": true, "odd": 1.23456,
    });
    Subject {
        subject: "u1".into(),
        client_id: "desk".into(),
        scope: Cow::Owned(ScopeSet::parse("read write")),
        claims: Cow::Owned(claims.as_object().unwrap().clone()),
    }
}

fn tool(name: &str) -> Target<'_> {
    Target {
        method: "tools/call",
        thing: Some((Kind::Tool, name)),
    }
}

fn ask(policies: &CedarPolicies, target: Target<'_>, arguments: Option<&Value>) -> Verdict {
    let subject = ada();
    policies.judge(&Question {
        resource: URL,
        subject: &subject,
        scope: &subject.scope,
        target,
        arguments,
        always: false,
    })
}

fn call(policies: &CedarPolicies, name: &str, arguments: &Value) -> Verdict {
    ask(policies, tool(name), Some(arguments))
}

fn is_denied(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Denied(_))
}

#[test]
fn nothing_is_permitted_but_what_a_policy_permits_and_forbid_wins() {
    let policies = read(
        r#"
        @id("readers")
        permit(principal, action == Vestibule::Action::"tools/call", resource is Vestibule::Tool)
        when { resource.name like "get_*" };

        permit(principal in Vestibule::Group::"admins", action, resource in Vestibule::Resource::"https://m.example/mcp");
        forbid(principal == Vestibule::User::"u1", action, resource == Vestibule::Tool::"wipe");
        "#,
    );
    let none = json!({});
    assert_eq!(call(&policies, "get_all", &none), Verdict::Allowed);
    assert_eq!(
        call(&policies, "set_all", &none),
        Verdict::Allowed,
        "as an admin"
    );
    let Verdict::Denied(why) = call(&policies, "wipe", &none) else {
        panic!("must be denied");
    };
    assert!(why.contains("`policy2` (p.cedar:7) forbids it"), "{why}");
    let prompt = Target {
        method: "prompts/get",
        thing: Some((Kind::Prompt, "hello")),
    };
    assert_eq!(ask(&policies, prompt, None), Verdict::Allowed);
    let only = read(r#"permit(principal, action, resource == Vestibule::Tool::"a");"#);
    assert_eq!(call(&only, "a", &none), Verdict::Allowed);
    assert_eq!(
        call(&only, "b", &none),
        Verdict::Denied("no policy permits it".to_owned())
    );
    let uri = Target {
        method: "resources/read",
        thing: Some((Kind::Resource, "file:///a/b")),
    };
    assert!(is_denied(&ask(&only, uri, None)));
    let files = read(
        r#"permit(principal, action, resource is Vestibule::McpResource) when { resource.uri like "file:///a/*" };"#,
    );
    assert_eq!(ask(&files, uri, None), Verdict::Allowed);
}

#[test]
fn claims_are_attributes_and_tags() {
    for (condition, holds) in [
        (r#"principal.email == "ada@example.com""#, true),
        ("principal.level > 2", true),
        ("principal.email_verified", true),
        (r#"principal.groups.contains("admins")"#, true),
        (r#"principal.scope.containsAll(["read", "write"])"#, true),
        (
            r#"principal.client_id == "desk" && principal.sub == "u1" && principal.id == "u1""#,
            true,
        ),
        (r#"principal.getTag("scope") like "*write*""#, true),
        (r#"principal.getTag("groups") like "*\"admins\"*""#, true),
        (
            r#"principal.hasTag("level") && principal.getTag("level") == "3""#,
            true,
        ),
        (r#"principal.groups.contains("board")"#, false),
        // It has no value in Cedar, so it is not there.
        ("principal has odd", false),
        ("principal.odd > 1", false),
    ] {
        let policies = read(&format!(
            "permit(principal, action, resource) when {{ {condition} }};"
        ));
        let verdict = call(&policies, "x", &json!({}));
        assert_eq!(
            verdict == Verdict::Allowed,
            holds,
            "{condition}: {verdict:?}"
        );
    }
}

/// As the AWS documentation writes them.
const AGENTCORE: &str = r#"
permit(
  principal is AgentCore::OAuthUser,
  action == AgentCore::Action::"RefundTool___process_refund",
  resource == AgentCore::Gateway::"arn:aws:bedrock-agentcore:us-west-2:123456789012:gateway/refunds"
) when {
  principal.hasTag("username") && principal.getTag("username") == "ada" && context.input.amount < 500
};
permit(principal is AgentCore::OAuthUser, action in AgentCore::Action::"CallTool", resource is AgentCore::Gateway)
when { principal.hasTag("email") && principal.getTag("email") like "*@ops.example" };
"#;

#[test]
fn policies_of_an_agentcore_gateway_decide_alike() {
    let policies = read(AGENTCORE);
    let refund = "RefundTool___process_refund";
    assert_eq!(
        call(&policies, refund, &json!({ "amount": 499 })),
        Verdict::Allowed
    );
    assert!(is_denied(&call(
        &policies,
        refund,
        &json!({ "amount": 500 })
    )));
    assert!(is_denied(&call(&policies, refund, &json!({}))));
    assert!(is_denied(&call(
        &policies,
        refund,
        &json!({ "amount": "499" })
    )));
    assert!(is_denied(&call(
        &policies,
        "Other___tool",
        &json!({ "amount": 1 })
    )));
    // In a list it is there: with some amount it can be called.
    assert_eq!(ask(&policies, tool(refund), None), Verdict::Open);
    assert!(is_denied(&ask(&policies, tool("Other___tool"), None)));
}

#[test]
fn a_forbid_about_arguments_leaves_the_tool_in_the_list() {
    let policies = read(
        "permit(principal, action, resource); forbid(principal, action, resource is Vestibule::Tool) \
         when { context.input has force && context.input.force };",
    );
    assert_eq!(ask(&policies, tool("x"), None), Verdict::Open);
    assert_eq!(call(&policies, "x", &json!({})), Verdict::Allowed);
    assert_eq!(
        call(&policies, "x", &json!({ "force": null })),
        Verdict::Allowed
    );
    assert!(is_denied(&call(&policies, "x", &json!({ "force": true }))));
}

/// Cedar passes over a policy that fails, so an argument of another type would switch a `forbid` off.
#[test]
fn an_argument_of_another_type_does_not_switch_a_forbid_off() {
    let policies = read(
        "permit(principal, action, resource); \
         forbid(principal, action, resource is Vestibule::Tool) when { context.input.amount > 500 };",
    );
    assert_eq!(
        call(&policies, "x", &json!({ "amount": 1 })),
        Verdict::Allowed
    );
    for amount in [
        json!(501),
        json!("1"),
        json!([1]),
        json!(null),
        json!({ "a": 1 }),
    ] {
        let verdict = call(&policies, "x", &json!({ "amount": amount }));
        assert!(is_denied(&verdict), "{amount}: {verdict:?}");
    }
    assert!(is_denied(&call(&policies, "x", &json!({}))), "left out");
}

/// What has no arguments, and no name, is not shut off by a policy about arguments and names.
#[test]
fn a_forbid_without_a_scope_shuts_off_only_what_it_is_about() {
    let policies = read(
        r#"permit(principal, action, resource);
           forbid(principal, action, resource) when { context.input.amount > 500 };
           forbid(principal, action, resource) when { resource.name like "admin_*" };
           permit(principal is AgentCore::OAuthUser, action, resource);"#,
    );
    let target = |method| Target {
        method,
        thing: None,
    };
    assert_eq!(ask(&policies, target("initialize"), None), Verdict::Allowed);
    let uri = Target {
        method: "resources/read",
        thing: Some((Kind::Resource, "file:///a")),
    };
    assert_eq!(ask(&policies, uri, None), Verdict::Allowed);
    let little = json!({ "amount": 1 });
    assert_eq!(call(&policies, "x", &little), Verdict::Allowed);
    assert!(is_denied(&call(&policies, "admin_x", &little)));
    assert!(is_denied(&call(&policies, "x", &json!({}))));
    // What fails for another reason denies here as well.
    let policies = read(
        "permit(principal, action, resource); \
         forbid(principal, action, resource) when { principal.odd > 1 && context.input.amount > 5 };",
    );
    assert!(is_denied(&ask(&policies, uri, None)));
    // And no permit about arguments opens what has none.
    let policies = read("permit(principal, action, resource) when { context.input.amount < 5 };");
    assert!(is_denied(&ask(&policies, uri, None)));
}

/// Cedar's own JSON has escapes for entities and extension values. Arguments are data, whatever their keys are.
#[test]
fn an_attacker_cannot_write_an_entity_into_arguments() {
    let policies = read(
        r#"permit(principal, action, resource is Vestibule::Tool) when { context.input.owner == principal };
           permit(principal, action, resource is Vestibule::Tool) when { context.input.owner in Vestibule::Group::"admins" };"#,
    );
    for owner in [
        json!({ "__entity": { "type": "Vestibule::User", "id": "u1" } }),
        json!({ "type": "Vestibule::User", "id": "u1" }),
        json!({ "__entity": { "type": "Vestibule::Group", "id": "admins" } }),
        json!({ "__expr": "principal" }),
        json!("Vestibule::User::\"u1\""),
    ] {
        let verdict = call(&policies, "x", &json!({ "owner": owner }));
        assert!(is_denied(&verdict), "{owner}: {verdict:?}");
    }
}

#[test]
fn what_two_servers_could_read_in_two_ways_is_not_decided_on() {
    let policies = read("permit(principal, action, resource) when { context.input has amount };");
    assert_eq!(
        call(&policies, "x", &json!({ "amount": 1 })),
        Verdict::Allowed
    );
    assert_eq!(
        call(&policies, "x", &json!({ "amount": 1.5 })),
        Verdict::Allowed
    );
    assert_eq!(
        call(
            &policies,
            "x",
            &json!({ "amount": -0.25, "b": [1, "a", {}] })
        ),
        Verdict::Allowed
    );
    for arguments in [
        json!({ "amount": 1, "Amount": 1000 }),
        json!({ "amount": 1, "inner": { "a": 1, "A": 2 } }),
        json!({ "amount": 1.23456 }),
        json!({ "amount": 1e300 }),
        json!({ "amount": u64::MAX }),
        json!({ "amount": [null] }),
        json!([1]),
        json!("amount"),
    ] {
        let verdict = call(&policies, "x", &arguments);
        assert!(is_denied(&verdict), "{arguments}: {verdict:?}");
    }
    // Where no policy looks at them they may be anything.
    let blind = read("permit(principal, action, resource);");
    assert_eq!(call(&blind, "x", &json!([1e300])), Verdict::Allowed);
}

#[test]
fn what_no_call_will_ever_have_is_a_problem_with_its_line() {
    for (text, says) in [
        ("permit(principal, action, resource)", "p.cedar:1:"),
        ("\n\npermit(principal, akshun, resource);", "p.cedar:3:"),
        ("", "there is no policy in it"),
        (
            "permit(principal == ?principal, action, resource);",
            "is a template",
        ),
        (
            "permit(principal, action, resource);\n\npermit(principal is Vestibule::Usr, action, resource);",
            "p.cedar:3: no entity has the type `Vestibule::Usr`; did you mean `Vestibule::User`?",
        ),
        (
            r#"permit(principal, action == Vestibule::Action::"tool/call", resource);"#,
            "is no method of MCP",
        ),
        (
            "permit(principal is AgentCore::IamEntity, action, resource);",
            "nobody comes here by IAM",
        ),
        (
            "permit(principal, action, resource) when { context.time > 1 };",
            "there is only `context.input`",
        ),
        (
            "permit(principal, action, resource) when { resource.nme == \"a\" };",
            "there are only `name` and `uri`",
        ),
        (
            "permit(principal, action, resource == AgentCore::Gateway::\"a\");\npermit(principal, action, resource == AgentCore::Gateway::\"b\");",
            "names several gateways, `a`, `b`",
        ),
    ] {
        let found = CedarPolicies::read("p.cedar", text, None)
            .unwrap_err()
            .join("\n");
        assert!(found.contains(says), "'{says}' is not in:\n{found}");
    }
}

#[test]
fn claims_that_are_asked_for_are_known_with_their_places() {
    let policies = read(
        "permit(principal, action, resource) when { principal.team == \"a\" || principal has sub };\n\
         permit(principal, action, resource) when { principal.hasTag(\"cognito:groups\") };",
    );
    let claims: Vec<_> = policies.claims().collect();
    assert_eq!(
        claims,
        [("team", "p.cedar:1"), ("cognito:groups", "p.cedar:2")]
    );
    assert!(!policies.looks_at_scopes() && !policies.looks_at_arguments());
    assert!(read(AGENTCORE).looks_at_arguments());
    let scope =
        "permit(principal, action, resource) when { principal.getTag(\"scope\") like \"*x*\" };";
    assert!(read(scope).looks_at_scopes());
}

#[test]
fn a_schema_is_checked_as_cedar_does_it() {
    let schema = r#"
        namespace Vestibule {
          entity Group;
          entity Resource;
          entity User in [Group] { email: String };
          entity Tool in [Resource] { name: String };
          action "tools/call" appliesTo { principal: User, resource: Tool, context: { input: { amount: Long } } };
        }"#;
    let read = |text: &str| CedarPolicies::read("p.cedar", text, Some(("s.cedarschema", schema)));
    let scope = r#"principal is Vestibule::User, action == Vestibule::Action::"tools/call", resource is Vestibule::Tool"#;
    read(&format!(
        "permit({scope}) when {{ context.input.amount < 5 }};"
    ))
    .unwrap();
    let found = read(&format!(
        "permit({scope})\nwhen {{ context.input.amount == \"5\" }};"
    ));
    let found = found.unwrap_err().join("\n");
    assert!(found.contains("p.cedar:2:"), "{found}");
    let broken = CedarPolicies::read(
        "p.cedar",
        "permit(principal, action, resource);",
        Some(("s.cedarschema", "entity User;\nentity User in [;")),
    );
    let found = broken.unwrap_err().join("\n");
    assert!(found.contains("s.cedarschema:2:"), "{found}");
}
