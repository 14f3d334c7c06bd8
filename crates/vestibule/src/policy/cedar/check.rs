//! Reading policies: what Cedar itself says of them, what a schema says, and names that no call will ever have.

use cedar_policy::{PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;
use serde_json::Value;

use super::Source;
use super::entities::{ALWAYS, TYPES};
use crate::policy::methods;
use crate::spelling::closest;

/// Policies that may be used.
pub(super) struct Checked {
    pub(super) set: PolicySet,
    pub(super) sources: Vec<Source>,
    pub(super) gateway: Option<String>,
    pub(super) looks_at_arguments: bool,
    pub(super) looks_at_scopes: bool,
    pub(super) claims: Vec<(String, String)>,
}

/// What the policies mention.
#[derive(Default)]
struct Found {
    problems: Vec<String>,
    gateways: Vec<String>,
    is_agentcore: bool,
    looks_at_arguments: bool,
    looks_at_scopes: bool,
    claims: Vec<(String, String)>,
}

pub(super) fn check(
    name: &str,
    text: &str,
    schema: Option<(&str, &str)>,
) -> Result<Checked, Vec<String>> {
    let set: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        let each = errors.iter().map(|error| told(name, text, error));
        each.collect::<Vec<_>>()
    })?;
    let sources = sources(name, text, &set);
    let mut found = Found::default();
    if set.num_of_templates() > 0 {
        let problem =
            "a policy with `?principal` or `?resource` is a template, and nothing fills it";
        found.problems.push(format!("{name}: {problem}"));
    }
    if sources.is_empty() {
        found.problems.push(format!(
            "{name}: there is no policy in it, so nothing would be permitted"
        ));
    }
    for source in &sources {
        let json = set
            .policy(&source.id)
            .and_then(|policy| policy.to_json().ok());
        if let Some(json) = json {
            found.walk(&json, source);
        }
    }
    let mut gateways = found.gateways;
    gateways.sort();
    gateways.dedup();
    if let [_, _, ..] = gateways.as_slice() {
        found.problems.push(format!(
            "{name}: names several gateways, `{}`; keep the policies of one gateway in one file",
            gateways.join("`, `")
        ));
    }
    if let Some((schema_name, schema_text)) = schema {
        validate(
            name,
            text,
            &set,
            schema_name,
            schema_text,
            &mut found.problems,
        );
    }
    if !found.problems.is_empty() {
        return Err(found.problems);
    }
    Ok(Checked {
        set,
        sources,
        gateway: found
            .is_agentcore
            .then(|| gateways.pop().unwrap_or_default()),
        looks_at_arguments: found.looks_at_arguments,
        looks_at_scopes: found.looks_at_scopes,
        claims: found.claims,
    })
}

/// Each policy with its line: Cedar keeps the text of each, and its number in the file.
fn sources(name: &str, text: &str, set: &PolicySet) -> Vec<Source> {
    let mut all: Vec<(usize, Source)> = set
        .policies()
        .map(|policy| {
            let id = policy.id().clone();
            let number = number_of(&id);
            let source = Source {
                name: policy
                    .annotation("id")
                    .map_or_else(|| id.to_string(), str::to_owned),
                id,
                effect: policy.effect(),
                line: 0,
                place: String::new(),
            };
            (number, source)
        })
        .collect();
    all.sort_by_key(|(number, _)| *number);
    let mut from = 0;
    for (_, source) in &mut all {
        let own = set
            .policy(&source.id)
            .and_then(cedar_policy::Policy::to_cedar);
        let at = own.and_then(|own| Some(text.get(from..)?.find(own.trim())? + from));
        if let Some(at) = at {
            source.line = place_of(text, at).0;
            from = at + 1;
        }
        source.place = format!("{name}:{}", source.line);
    }
    all.into_iter().map(|(_, source)| source).collect()
}

/// `policy12` is the thirteenth.
fn number_of(id: &PolicyId) -> usize {
    let text = id.to_string();
    let digits = text.trim_start_matches(|character: char| !character.is_ascii_digit());
    digits.parse().unwrap_or(usize::MAX)
}

/// Line and column, from one.
fn place_of(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before
        .get(line_start..)
        .map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

/// A message of Cedar's with the place that it is about.
fn told(name: &str, text: &str, error: &dyn Diagnostic) -> String {
    let label = error.labels().and_then(|mut labels| labels.next());
    let help = error
        .help()
        .map_or_else(String::new, |help| format!(" ({help})"));
    match label {
        Some(label) => {
            let (line, column) = place_of(text, label.offset());
            format!("{name}:{line}:{column}: {error}{help}")
        }
        None => format!("{name}: {error}{help}"),
    }
}

fn validate(
    name: &str,
    text: &str,
    set: &PolicySet,
    schema_name: &str,
    schema_text: &str,
    problems: &mut Vec<String>,
) {
    let schema = if schema_text.trim_start().starts_with('{') {
        Schema::from_json_str(schema_text).map_err(|error| told(schema_name, schema_text, &error))
    } else {
        let read = Schema::from_cedarschema_str(schema_text);
        read.map(|(schema, _)| schema)
            .map_err(|error| told(schema_name, schema_text, &error))
    };
    let schema = match schema {
        Ok(schema) => schema,
        Err(problem) => return problems.push(problem),
    };
    let result = Validator::new(schema).validate(set, ValidationMode::Strict);
    let errors = result.validation_errors();
    problems.extend(errors.map(|error| told(name, text, error)));
}

impl Found {
    /// Looks through a policy in Cedar's JSON form.
    fn walk(&mut self, json: &Value, source: &Source) {
        match json {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, source)),
            Value::Object(object) => {
                let text = |key: &str| object.get(key).and_then(Value::as_str);
                if let (Some(of_kind), Some(id)) = (text("type"), text("id")) {
                    self.entity(of_kind, id, source);
                }
                if let Some(of_kind) = text("entity_type") {
                    self.kind(of_kind, source);
                }
                for operator in [".", "has"] {
                    let access = object.get(operator);
                    let left = access.and_then(|access| access.pointer("/left/Var"));
                    let attribute = access.and_then(|access| access.get("attr"));
                    if let (Some(left), Some(attribute)) = (
                        left.and_then(Value::as_str),
                        attribute.and_then(Value::as_str),
                    ) {
                        self.attribute(left, attribute, source);
                    }
                }
                for operator in ["getTag", "hasTag"] {
                    let access = object.get(operator);
                    let tag = access.and_then(|access| access.pointer("/right/Value"));
                    match (access, tag.and_then(Value::as_str)) {
                        (Some(_), Some(tag)) => self.claim(tag, source),
                        // A name that is worked out may be any.
                        (Some(_), None) => self.looks_at_scopes = true,
                        (None, _) => {}
                    }
                }
                // `context` as a whole, compared or handed on.
                self.looks_at_arguments |= text("Var") == Some("context");
                object.values().for_each(|value| self.walk(value, source));
            }
            _ => {}
        }
    }

    fn problem(&mut self, source: &Source, message: &str) {
        self.problems.push(format!("{}: {message}", source.place));
    }

    fn kind(&mut self, of_kind: &str, source: &Source) {
        self.is_agentcore |= of_kind.starts_with("AgentCore::");
        if TYPES.contains(&of_kind) {
            return;
        }
        let message = match of_kind {
            "AgentCore::IamEntity" => {
                "`AgentCore::IamEntity`: nobody comes here by IAM; who calls is an `AgentCore::OAuthUser`".to_owned()
            }
            other => match closest(other, TYPES) {
                Some(meant) => format!("no entity has the type `{other}`; did you mean `{meant}`?"),
                None => format!("no entity has the type `{other}`"),
            },
        };
        self.problem(source, &message);
    }

    fn entity(&mut self, of_kind: &str, id: &str, source: &Source) {
        self.kind(of_kind, source);
        match of_kind {
            "AgentCore::Gateway" => self.gateways.push(id.to_owned()),
            "Vestibule::Action" if !methods::known().any(|known| known == id) => {
                let message = format!(
                    "`Vestibule::Action::\"{id}\"` is no method of MCP; write one such as \"tools/call\""
                );
                self.problem(source, &message);
            }
            _ => {}
        }
    }

    fn attribute(&mut self, of: &str, attribute: &str, source: &Source) {
        match of {
            "principal" => self.claim(attribute, source),
            "context" if attribute != "input" => {
                let message = format!("`context.{attribute}`: there is only `context.input`");
                self.problem(source, &message);
            }
            "resource" if !matches!(attribute, "name" | "uri") => {
                let message = format!("`resource.{attribute}`: there are only `name` and `uri`");
                self.problem(source, &message);
            }
            _ => {}
        }
    }

    fn claim(&mut self, claim: &str, source: &Source) {
        self.looks_at_scopes |= claim == "scope";
        let fixed = ALWAYS.contains(&claim) && claim != "groups";
        if !fixed && !self.claims.iter().any(|(known, _)| known == claim) {
            self.claims.push((claim.to_owned(), source.place.clone()));
        }
    }
}
