//! `[[resource.rule]]`: what a rule may not say, and rules that could never matter.

use super::*;
use crate::policy::{ClaimTest, Effect};

const CLAIMS: &str = "[tokens.claims]\ngroups = \"groups\"\nemail = \"email\"\n";

fn rules(resource: &str) -> Result<Settings, SettingsError> {
    with(
        "",
        "",
        &format!("scopes = [\"read\", \"write\"]\n{resource}"),
        CLAIMS,
    )
}

fn rule(lines: &str) -> Result<Settings, SettingsError> {
    rules(&format!("[[resource.rule]]\n{lines}\n"))
}

#[test]
fn a_rule_can_say_everything() {
    let settings = rules(
        "default = \"deny\"\nmax_message_bytes = \"2KiB\"\nmax_list_bytes = 4096\nsearch_tools = []\nbind_sessions = false\n\
         [[resource.rule]]\neffect = \"allow\"\nmethods = [\"tools/call\"]\ntools = [\"a*\"]\nscopes = [\"read\"]\n\
         any_scope = [\"write\"]\ngroups = [\"g\"]\n\
         [[resource.rule.claim]]\nname = \"email\"\none_of = [\"a@b\", \"c@d\"]\n\
         [[resource.rule.claim]]\nname = \"sub\"\npresent = true\n",
    )
    .unwrap();
    let resource = &settings.resources[0];
    assert!(resource.deny_by_default && !resource.bind_sessions);
    assert_eq!(
        (resource.max_message_bytes, resource.max_list_bytes),
        (2048, 4096)
    );
    assert!(resource.search_tools.is_empty());
    let rule = &resource.rules[0];
    assert_eq!(rule.effect, Effect::Allow);
    assert_eq!(rule.groups, ["g"]);
    let emails = ClaimTest::OneOf(vec!["a@b".to_owned(), "c@d".to_owned()]);
    assert_eq!(rule.claims[0], ("email".to_owned(), emails));
    assert_eq!(rule.claims[1].1, ClaimTest::Present(true));
}

#[test]
fn a_resource_without_rules_is_as_before() {
    let settings = with("", "", "", "").unwrap();
    let resource = &settings.resources[0];
    assert!(resource.rules.is_empty() && !resource.deny_by_default && resource.bind_sessions);
}

#[test]
fn what_a_rule_may_not_say() {
    for (lines, says) in [
        ("tools = []", "matches nothing"),
        ("tools = [\"\"]", "must not be empty"),
        ("tools = [\"a**\"]", "one `*` matches everything"),
        ("groups = []", "nobody could be in it"),
        ("groups = [\" \"]", "a group must not be empty"),
        ("scopes = []", "names no scope"),
        ("scopes = [\"raed\"]", "did you mean `read`"),
        ("any_scope = [\"other\"]", "is not a scope here"),
        (
            "scopes = [\"read\"]\nany_scope = [\"read\", \"write\"]",
            "asks for one of these already",
        ),
        ("effect = \"deny\"\nscopes = [\"read\"]", "they cannot deny"),
        ("effect = \"forbid\"", "write one of `allow`, `deny`"),
        ("tools = [\"a\"]", "asks for nothing"),
        (
            "methods = [\"prompts/get\"]\ntools = [\"a\"]\ngroups = [\"g\"]",
            "write `tools/call`",
        ),
        (
            "[[resource.rule.claim]]\nname = \"email\"",
            "write one of `equals`",
        ),
        ("[[resource.rule.claim]]\nequals = \"x\"", "missing"),
        (
            "[[resource.rule.claim]]\nname = \"email\"\nequals = \"x\"\npresent = true",
            "set only one of",
        ),
        (
            "[[resource.rule.claim]]\nname = \"email\"\none_of = []",
            "nobody could have one",
        ),
        (
            "[[resource.rule.claim]]\nname = \"email\"\nequals = \"x\"\n[[resource.rule.claim]]\nname = \"email\"\nequals = \"y\"",
            "asked about twice",
        ),
        (
            "[[resource.rule.claim]]\nname = \"shoe\"\nequals = \"42\"",
            "is mapped to it",
        ),
        ("tool = [\"a\"]", "did you mean `tools`"),
    ] {
        refused(rule(lines), &[says]);
    }
    refused(rules("default = \"deny\""), &["nothing is allowed"]);
    refused(rules("max_list_bytes = 10"), &["at least 1KiB"]);
    refused(
        rule("tools = []"),
        &["vestibule.toml:12:1: resource[0].rule[0].tools"],
    );
}

#[test]
fn groups_in_rules_need_groups_in_tokens() {
    let resource = "[[resource.rule]]\ntools = [\"a\"]\ngroups = [\"g\"]\n";
    refused(
        with("", "", resource, "[tokens.claims]\nemail = \"email\"\n"),
        &["claim `groups`"],
    );
}

#[test]
fn a_rule_that_could_never_matter_is_a_mistake() {
    let two = |first: &str, second: &str| {
        rules(&format!(
            "[[resource.rule]]\n{first}\n[[resource.rule]]\n{second}\n"
        ))
    };
    let needs = "tools = [\"admin_x\"]\ngroups = [\"g\"]";
    refused(two(needs, needs), &["rule[1]: says the same as rule[0]"]);
    let shut = "effect = \"deny\"\ntools = [\"admin_*\"]";
    refused(
        two(shut, needs),
        &["rule[1]: has no effect: rule[0] denies"],
    );
    refused(
        two(needs, shut),
        &["rule[0]: has no effect: rule[1] denies"],
    );
    refused(two("effect = \"deny\"", needs), &["rule[1]: has no effect"]);
    assert!(two("effect = \"deny\"\ntools = [\"admin_y\"]", needs).is_ok());
    assert!(two("effect = \"deny\"\nmethods = [\"tools/list\"]", needs).is_ok());
    let some = "effect = \"deny\"\ntools = [\"admin_*\"]\ngroups = [\"interns\"]";
    assert!(two(some, needs).is_ok());
}

#[test]
fn a_method_that_nobody_knows_is_remarked_upon() {
    let settings = rule("methods = [\"tool/call\"]\ngroups = [\"g\"]").unwrap();
    let warnings = settings.warnings.join("\n");
    assert!(warnings.contains("did you mean `tools/call`"), "{warnings}");
}
