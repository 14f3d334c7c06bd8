//! `[[resource.rule]]`: who may call, read and see what behind a resource (docs/authorization.md).

use vestibule_oauth::scope::ScopeSet;

use super::ResourceSettings;
use super::problem::{Located, Place, Problems, Spot};
use super::section::Section;
use crate::policy::{ClaimTest, Effect, Glob, Rule, methods};
use crate::spelling::closest;

/// A list of patterns, as written.
type Patterns = Located<Vec<Located<Glob>>>;

/// A rule with the places that problems are reported at.
pub(super) struct Written {
    rule: Rule,
    spot: Spot,
    scopes: Option<Located<ScopeSet>>,
    any_scope: Option<Located<ScopeSet>>,
}

impl Written {
    /// Where it is written.
    pub(super) fn spot(&self) -> Spot {
        self.spot.clone()
    }
}

/// Reads the rules of a resource.
pub(super) fn read_all(sections: Vec<Section<'_>>) -> Vec<Written> {
    sections.into_iter().map(read).collect()
}

/// Checks the rules against scopes and default, and against each other.
pub(super) fn check(
    written: Vec<Written>,
    scopes: &ScopeSet,
    deny_by_default: bool,
    problems: &Problems,
) -> Vec<Rule> {
    for (index, one) in written.iter().enumerate() {
        let listed = [&one.scopes, &one.any_scope];
        for listed in listed.into_iter().flatten() {
            for unknown in listed.value.iter().filter(|scope| !scopes.contains(scope)) {
                let message = match closest(unknown, scopes.iter()) {
                    Some(meant) => {
                        format!("`{unknown}` is not a scope here; did you mean `{meant}`?")
                    }
                    None => format!(
                        "`{unknown}` is not a scope here; add it to `scopes` of the resource"
                    ),
                };
                problems.add(&listed.spot, message);
            }
        }
        let rule = &one.rule;
        if rule.effect == Effect::Allow && rule.asks_for_nothing() && !deny_by_default {
            problems.add(
                &one.spot,
                "asks for nothing, and what no rule is about is allowed anyway; add `scopes`, `groups` or a claim, or set \
                 `default = \"deny\"` for the resource",
            );
        }
        for (earlier, other) in written.iter().take(index).enumerate() {
            let same = Rule {
                line: rule.line,
                ..other.rule.clone()
            } == *rule;
            if same {
                problems.add(&one.spot, format!("says the same as rule[{earlier}]"));
            }
        }
        let shut = written.iter().enumerate().find(|(other, written)| {
            *other != index
                && written.rule.effect == Effect::Deny
                && written.rule.asks_for_nothing()
                && (rule.effect == Effect::Allow || !rule.asks_for_nothing())
                && covers(&written.rule, rule)
        });
        if let Some((shut, _)) = shut {
            problems.add(
                &one.spot,
                format!("has no effect: rule[{shut}] denies all that it is about to everybody"),
            );
        }
    }
    written.into_iter().map(|written| written.rule).collect()
}

/// True when `wide` is about everything that `narrow` is about.
fn covers(wide: &Rule, narrow: &Rule) -> bool {
    let all = |wide: &[Glob], narrow: &[Glob]| {
        narrow
            .iter()
            .all(|narrow| wide.iter().any(|wide| wide.covers(narrow)))
    };
    let methods = wide.methods.is_empty()
        || (!narrow.methods.is_empty() && all(&wide.methods, &narrow.methods));
    let things = !wide.names_things()
        || (narrow.names_things()
            && all(&wide.tools, &narrow.tools)
            && all(&wide.prompts, &narrow.prompts)
            && all(&wide.resources, &narrow.resources));
    methods && things
}

fn read(mut section: Section<'_>) -> Written {
    let problems = section.problems();
    let spot = section.spot_of("effect");
    let effects = [("allow", Effect::Allow), ("deny", Effect::Deny)];
    let effect = section
        .choice("effect", &effects)
        .map_or_else(Effect::default, |effect| effect.value);
    let methods = section.parsed_list("methods", Glob::parse);
    let tools = section.parsed_list("tools", Glob::parse);
    let prompts = section.parsed_list("prompts", Glob::parse);
    let resources = section.parsed_list("resources", Glob::parse);
    let scopes = section.scopes("scopes");
    let any_scope = section.scopes("any_scope");
    let groups = section.parsed_list("groups", |group| {
        if group.trim().is_empty() {
            Err("a group must not be empty")
        } else {
            Ok(group.to_owned())
        }
    });
    let claims = section.sections("claim");
    section.finish();

    for list in [&methods, &tools, &prompts, &resources]
        .into_iter()
        .flatten()
    {
        refuse_empty(
            list,
            "matches nothing; leave it out to match everything",
            problems,
        );
    }
    if let Some(groups) = &groups {
        refuse_empty(groups, "names no group, so nobody could be in it", problems);
    }
    for listed in [&scopes, &any_scope].into_iter().flatten() {
        if listed.value.is_empty() {
            problems.add(&listed.spot, "names no scope; leave it out");
        } else if effect == Effect::Deny {
            problems.add(
                &listed.spot,
                "a user can ask for scopes, or not: they cannot deny; use `groups` or a claim",
            );
        }
    }
    if let (Some(all), Some(any)) = (&scopes, &any_scope)
        && any.value.iter().any(|scope| all.value.contains(scope))
    {
        problems.add(
            &any.spot,
            "has no effect: `scopes` asks for one of these already",
        );
    }
    let things = [
        ("tools", &tools),
        ("prompts", &prompts),
        ("resources", &resources),
    ];
    check_methods(methods.as_ref(), &things, problems);
    let claims = read_claims(claims, problems);
    let globs = |list: Option<Patterns>| {
        let items = list.into_iter().flat_map(|list| list.value);
        items.map(|item| item.value).collect()
    };
    let rule = Rule {
        effect,
        methods: globs(methods),
        tools: globs(tools),
        prompts: globs(prompts),
        resources: globs(resources),
        scopes: scopes
            .as_ref()
            .map(|scopes| scopes.value.clone())
            .unwrap_or_default(),
        any_scope: any_scope
            .as_ref()
            .map(|scopes| scopes.value.clone())
            .unwrap_or_default(),
        groups: groups.map_or_else(Vec::new, |groups| {
            groups.value.into_iter().map(|group| group.value).collect()
        }),
        claims,
        line: match spot.place {
            Place::File { line, .. } => line,
            Place::Variable(_) | Place::Nowhere => 0,
        },
    };
    let spot = Spot {
        key: spot.key.trim_end_matches(".effect").to_owned(),
        place: spot.place,
    };
    Written {
        rule,
        spot,
        scopes,
        any_scope,
    }
}

fn refuse_empty<T>(list: &Located<Vec<T>>, message: &str, problems: &Problems) {
    if list.value.is_empty() {
        problems.add(&list.spot, message);
    }
}

/// Methods exist, and those of a rule about tools can name tools.
fn check_methods(
    written: Option<&Patterns>,
    things: &[(&str, &Option<Patterns>)],
    problems: &Problems,
) {
    let Some(written) = written.filter(|written| !written.value.is_empty()) else {
        return;
    };
    for method in &written.value {
        if !methods::known().any(|known| method.value.matches(known)) {
            let message = match closest(method.value.as_str(), methods::known()) {
                Some(meant) => format!("matches no method of MCP; did you mean `{meant}`?"),
                None => "matches no method of MCP known here".to_owned(),
            };
            problems.warn(&method.spot, &message);
        }
    }
    for (key, list) in things {
        let Some(list) = list else {
            continue;
        };
        let naming = methods::naming(key);
        let reached = naming.iter().any(|naming| {
            written
                .value
                .iter()
                .any(|method| method.value.matches(naming))
        });
        if !reached {
            problems.add(
                &list.spot,
                format!(
                    "has no effect: none of `methods` names {key}; write `{}` or leave `methods` out",
                    naming.first().copied().unwrap_or_default()
                ),
            );
        }
    }
}

fn read_claims(sections: Vec<Section<'_>>, problems: &Problems) -> Vec<(String, ClaimTest)> {
    let mut claims: Vec<(String, ClaimTest)> = Vec::new();
    for mut section in sections {
        let name = section.name("name");
        let name = section.required("name", name);
        let equals = section.parsed("equals", |text| Ok::<_, String>(text.to_owned()));
        let one_of = section.list("one_of");
        let present = section.flag("present");
        let written = [
            equals.as_ref().map(|equals| &equals.spot),
            one_of.as_ref().map(|one_of| &one_of.spot),
            present.as_ref().map(|present| &present.spot),
        ];
        let spots: Vec<&Spot> = written.into_iter().flatten().collect();
        match spots.as_slice() {
            [] if !section.has_written(&["equals", "one_of", "present"]) => {
                let message = "missing; write one of `equals`, `one_of` and `present`";
                problems.add(&section.spot_of("equals"), message);
            }
            [_, second, ..] => {
                problems.add(second, "set only one of `equals`, `one_of` and `present`");
            }
            _ => {}
        }
        if let Some(one_of) = &one_of {
            refuse_empty(one_of, "names no value, so nobody could have one", problems);
        }
        section.finish();
        let test = match (equals, one_of, present) {
            (Some(equals), ..) => ClaimTest::OneOf(vec![equals.value]),
            (_, Some(one_of), _) => {
                ClaimTest::OneOf(one_of.value.into_iter().map(|value| value.value).collect())
            }
            (.., Some(present)) => ClaimTest::Present(present.value),
            _ => continue,
        };
        let Some(name) = name else {
            continue;
        };
        if claims.iter().any(|(other, _)| *other == name.value) {
            problems.add(
                &name.spot,
                format!(
                    "`{}` is asked about twice in one rule; one `one_of` does it",
                    name.value
                ),
            );
        }
        claims.push((name.value, test));
    }
    claims
}

impl ResourceSettings {
    /// The claims that rules look at, `groups` among them. `sub` and `client_id` are in every token.
    pub(super) fn claims_in_rules(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for rule in &self.rules {
            names.extend((!rule.groups.is_empty()).then_some("groups"));
            names.extend(rule.claims.iter().map(|(name, _)| name.as_str()));
        }
        names.retain(|name| !matches!(*name, "sub" | "client_id"));
        names.sort_unstable();
        names.dedup();
        names
    }
}
