//! One `[[resource.rule]]`: what it is about, what it asks for, and what it says of a caller (docs/authorization.md).

use std::borrow::Cow;

use serde_json::{Map, Value};
use vestibule_oauth::scope::ScopeSet;

use super::glob::Glob;

/// The kinds of things that calls name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `tools/call`.
    Tool,
    /// `prompts/get`.
    Prompt,
    /// A resource's URI.
    Resource,
    /// The template of resource URIs.
    Template,
}

impl Kind {
    /// The method that uses a thing of this kind.
    pub fn method(self) -> &'static str {
        match self {
            Self::Tool => "tools/call",
            Self::Prompt => "prompts/get",
            Self::Resource | Self::Template => "resources/read",
        }
    }
}

/// What a request asks for: a method, and the thing that it names, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The JSON-RPC method.
    pub method: &'a str,
    /// The kind and name of the thing.
    pub thing: Option<(Kind, &'a str)>,
}

/// Who asks, as far as rules can see.
#[derive(Clone, Debug, Default)]
pub struct Subject<'a> {
    /// `sub`.
    pub subject: Cow<'a, str>,
    /// `client_id`.
    pub client_id: Cow<'a, str>,
    /// The granted scopes and all that they imply.
    pub scope: Cow<'a, ScopeSet>,
    /// The mapped claims, with `groups`.
    pub claims: Cow<'a, Map<String, Value>>,
}

/// What becomes of what the caller must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// Who has it all may pass.
    #[default]
    Allow,
    /// Who has it all may not, whatever other rules say.
    Deny,
}

/// What a claim must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimTest {
    /// One of these texts; for a claim that is a list, one of its elements is.
    OneOf(Vec<String>),
    /// There at all, or not.
    Present(bool),
}

/// A rule, ready to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What becomes of those who fulfil it.
    pub effect: Effect,
    /// Methods that it is about; empty means all.
    pub methods: Vec<Glob>,
    /// Tools that it is about.
    pub tools: Vec<Glob>,
    /// Prompts that it is about.
    pub prompts: Vec<Glob>,
    /// Resource URIs that it is about.
    pub resources: Vec<Glob>,
    /// Scopes that are all needed.
    pub scopes: ScopeSet,
    /// Scopes of which one is needed.
    pub any_scope: ScopeSet,
    /// Groups of which one is needed.
    pub groups: Vec<String>,
    /// Claims that are all needed.
    pub claims: Vec<(String, ClaimTest)>,
    /// Where it was written, counted from one; 0 when nowhere.
    pub line: usize,
}

/// What one rule says of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// It is about something else.
    Nothing,
    /// The caller has all that it asks for.
    Satisfied,
    /// The caller lacks what no consent gives.
    NotEntitled(String),
    /// The caller lacks scopes.
    Lacks(ScopeSet),
    /// A `deny` rule, and the caller fulfils it.
    Denied,
}

impl Rule {
    /// What the rule says. `obtainable` tells whether the caller could be granted a scope at all.
    pub fn judge(
        &self,
        subject: &Subject<'_>,
        target: Target<'_>,
        obtainable: impl Fn(&str) -> bool,
    ) -> Says {
        if !self.is_about(target) {
            return Says::Nothing;
        }
        let unentitled = self.unentitled(subject);
        if self.effect == Effect::Deny {
            return match unentitled {
                None => Says::Denied,
                Some(_) => Says::Nothing,
            };
        }
        if let Some(why) = unentitled {
            return Says::NotEntitled(why);
        }
        let mut lacking: Vec<String> = Vec::new();
        for scope in self
            .scopes
            .iter()
            .filter(|scope| !subject.scope.contains(scope))
        {
            if !obtainable(scope) {
                return Says::NotEntitled(format!("the scope `{scope}` is not for this user"));
            }
            lacking.push(scope.to_owned());
        }
        if !self.any_scope.is_empty()
            && !self
                .any_scope
                .iter()
                .any(|scope| subject.scope.contains(scope))
        {
            // The first one is the one to ask for: who writes the list puts the smallest first.
            match self.any_scope.iter().find(|scope| obtainable(scope)) {
                Some(scope) => lacking.push(scope.to_owned()),
                None => {
                    return Says::NotEntitled(format!(
                        "none of the scopes `{}` is for this user",
                        self.any_scope
                    ));
                }
            }
        }
        if lacking.is_empty() {
            Says::Satisfied
        } else {
            Says::Lacks(lacking.into_iter().collect())
        }
    }

    /// True when the rule is about what `target` asks for.
    pub fn is_about(&self, target: Target<'_>) -> bool {
        let any = |globs: &[Glob], name: &str| globs.iter().any(|glob| glob.matches(name));
        if !self.methods.is_empty() && !any(&self.methods, target.method) {
            return false;
        }
        if !self.names_things() {
            return true;
        }
        match target.thing {
            Some((Kind::Tool, name)) => any(&self.tools, name),
            Some((Kind::Prompt, name)) => any(&self.prompts, name),
            Some((Kind::Resource | Kind::Template, uri)) => any(&self.resources, uri),
            None => false,
        }
    }

    /// True when the rule is about certain tools, prompts or resources.
    pub fn names_things(&self) -> bool {
        !(self.tools.is_empty() && self.prompts.is_empty() && self.resources.is_empty())
    }

    /// True when the rule asks for nothing.
    pub fn asks_for_nothing(&self) -> bool {
        self.scopes.is_empty()
            && self.any_scope.is_empty()
            && self.groups.is_empty()
            && self.claims.is_empty()
    }

    /// Which of groups and claims the caller lacks.
    fn unentitled(&self, subject: &Subject<'_>) -> Option<String> {
        let is = |claim: &str, wanted: &[String]| {
            wanted.iter().any(|wanted| subject.claim_is(claim, wanted))
        };
        if !self.groups.is_empty() && !is("groups", &self.groups) {
            return Some(format!(
                "the user is in none of the groups `{}`",
                self.groups.join("`, `")
            ));
        }
        self.claims.iter().find_map(|(name, test)| {
            let passed = match test {
                ClaimTest::OneOf(wanted) => is(name, wanted),
                ClaimTest::Present(wanted) => subject.has_claim(name) == *wanted,
            };
            (!passed).then(|| format!("the claim `{name}` is not what the rule asks for"))
        })
    }
}

impl Subject<'_> {
    /// The same for longer than its token is at hand.
    pub fn into_owned(self) -> Subject<'static> {
        Subject {
            subject: Cow::Owned(self.subject.into_owned()),
            client_id: Cow::Owned(self.client_id.into_owned()),
            scope: Cow::Owned(self.scope.into_owned()),
            claims: Cow::Owned(self.claims.into_owned()),
        }
    }

    /// The groups.
    pub fn groups(&self) -> Vec<&str> {
        match self.claims.get("groups") {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => vec![one],
            _ => Vec::new(),
        }
    }

    fn has_claim(&self, name: &str) -> bool {
        matches!(name, "sub" | "client_id")
            || self.claims.get(name).is_some_and(|value| !value.is_null())
    }

    fn claim_is(&self, name: &str, wanted: &str) -> bool {
        fn same(value: &Value, wanted: &str) -> bool {
            match value {
                Value::String(text) => text == wanted,
                Value::Bool(flag) => wanted == if *flag { "true" } else { "false" },
                Value::Number(number) => number.to_string() == wanted,
                Value::Array(items) => items
                    .iter()
                    .any(|item| !item.is_array() && same(item, wanted)),
                Value::Null | Value::Object(_) => false,
            }
        }
        match name {
            "sub" => self.subject == wanted,
            "client_id" => self.client_id == wanted,
            name => self
                .claims
                .get(name)
                .is_some_and(|value| same(value, wanted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn globs(patterns: &[&str]) -> Vec<Glob> {
        let parse = |pattern: &&str| Glob::parse(pattern).unwrap();
        patterns.iter().map(parse).collect()
    }

    fn call(name: &str) -> Target<'_> {
        Target {
            method: "tools/call",
            thing: Some((Kind::Tool, name)),
        }
    }

    fn subject(scope: &str, claims: &Value) -> Subject<'static> {
        Subject {
            subject: "u1".into(),
            client_id: "c1".into(),
            scope: Cow::Owned(ScopeSet::parse(scope)),
            claims: Cow::Owned(claims.as_object().unwrap().clone()),
        }
    }

    #[test]
    fn a_rule_is_about_the_things_and_methods_that_it_names() {
        let rule = Rule {
            tools: globs(&["admin_*"]),
            prompts: globs(&["admin_*"]),
            ..Rule::default()
        };
        assert!(rule.is_about(call("admin_x")));
        assert!(!rule.is_about(call("echo")));
        let thing = Some((Kind::Resource, "admin_x"));
        assert!(!rule.is_about(Target {
            method: "resources/read",
            thing
        }));
        assert!(!rule.is_about(Target {
            method: "tools/list",
            thing: None
        }));
        let rule = Rule {
            methods: globs(&["tools/*"]),
            ..Rule::default()
        };
        assert!(rule.is_about(Target {
            method: "tools/list",
            thing: None
        }));
        assert!(rule.is_about(call("echo")));
        assert!(!rule.is_about(Target {
            method: "ping",
            thing: None
        }));
        assert!(Rule::default().is_about(Target {
            method: "ping",
            thing: None
        }));
    }

    #[test]
    fn what_consent_cannot_give_comes_before_what_it_can() {
        let rule = Rule {
            scopes: ScopeSet::parse("w"),
            groups: vec!["admins".to_owned()],
            ..Rule::default()
        };
        let judge = |subject: &Subject<'_>| rule.judge(subject, call("x"), |_| true);
        assert!(matches!(
            judge(&subject("", &json!({}))),
            Says::NotEntitled(_)
        ));
        let admin = &json!({ "groups": ["admins"] });
        assert_eq!(
            judge(&subject("", admin)),
            Says::Lacks(ScopeSet::parse("w"))
        );
        assert_eq!(judge(&subject("w", admin)), Says::Satisfied);
    }

    #[test]
    fn a_scope_that_the_user_cannot_get_is_not_asked_for() {
        let rule = Rule {
            any_scope: ScopeSet::parse("a b"),
            ..Rule::default()
        };
        let judge = |scope: &str, obtainable: &str| {
            rule.judge(&subject(scope, &json!({})), call("x"), |scope| {
                scope == obtainable
            })
        };
        assert_eq!(judge("b", ""), Says::Satisfied);
        assert_eq!(judge("", "b"), Says::Lacks(ScopeSet::parse("b")));
        assert!(matches!(judge("", ""), Says::NotEntitled(_)));
    }

    #[test]
    fn claims_of_every_shape_are_compared_as_text() {
        let has = |claims: Value, name: &str, test: ClaimTest| {
            let rule = Rule {
                claims: vec![(name.to_owned(), test)],
                ..Rule::default()
            };
            rule.judge(&subject("", &claims), call("x"), |_| true) == Says::Satisfied
        };
        let is = |text: &str| ClaimTest::OneOf(vec![text.to_owned()]);
        assert!(has(json!({ "d": "ops" }), "d", is("ops")));
        assert!(!has(json!({ "d": "ops2" }), "d", is("ops")));
        assert!(has(json!({ "d": ["dev", "ops"] }), "d", is("ops")));
        assert!(has(json!({ "d": true }), "d", is("true")));
        assert!(has(json!({ "d": 7 }), "d", is("7")));
        assert!(!has(json!({ "d": [["ops"]] }), "d", is("ops")));
        assert!(!has(json!({ "d": { "ops": 1 } }), "d", is("ops")));
        assert!(!has(json!({}), "d", is("ops")));
        assert!(has(json!({ "d": "" }), "d", ClaimTest::Present(true)));
        assert!(!has(json!({ "d": null }), "d", ClaimTest::Present(true)));
        assert!(has(json!({}), "d", ClaimTest::Present(false)));
        assert!(has(json!({ "sub": "u2" }), "sub", is("u1")));
        assert!(!has(json!({ "sub": "u2" }), "sub", is("u2")));
    }

    #[test]
    fn a_deny_rule_speaks_only_of_those_whom_it_names() {
        let rule = Rule {
            effect: Effect::Deny,
            groups: vec!["interns".to_owned()],
            ..Rule::default()
        };
        let judge = |claims: Value| rule.judge(&subject("", &claims), call("x"), |_| true);
        assert_eq!(judge(json!({ "groups": ["interns"] })), Says::Denied);
        assert_eq!(judge(json!({ "groups": "interns" })), Says::Denied);
        assert_eq!(judge(json!({})), Says::Nothing);
    }
}
