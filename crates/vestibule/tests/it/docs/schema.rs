//! The JSON Schema in `docs/`: what the program prints, and what every configuration in the documents satisfies.
//!
//! The validator here knows the keywords that our schema uses, and panics at any other. A general one (the crate
//! `jsonschema`) would bring two dozen crates for a dozen keywords.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use vestibule::settings::schema;

use super::configuration::known_keys;
use super::files::{blocks, documents, read, root};

const FILE: &str = "docs/vestibule.schema.json";

#[test]
fn the_schema_in_the_repository_is_the_one_that_the_program_prints() {
    let committed: Value = serde_json::from_str(&read(&root().join(FILE))).unwrap_or_default();
    assert!(
        committed == schema(),
        "{FILE} is out of date; renew it with\n  cargo run -p vestibule -- config schema > {FILE}"
    );
}

#[test]
fn the_schema_has_every_key_and_no_other() {
    let schema = schema();
    let mut keys = BTreeSet::new();
    collect(&schema, &schema, "", &mut keys);
    assert_eq!(keys, known_keys());
}

fn collect(root: &Value, schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    let schema = resolved(root, schema);
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        // A section or a list of them: the section. A leaf in two forms: itself.
        let section = choices.iter().find(|choice| choice.get("$ref").is_some());
        match section {
            Some(section) => collect(root, section, path, keys),
            None => drop(keys.insert(path.to_owned())),
        }
        return;
    }
    match schema["type"].as_str() {
        Some("object") => {
            let below = |name: &str| match path {
                "" => name.to_owned(),
                path => format!("{path}.{name}"),
            };
            if schema["additionalProperties"].is_object() {
                keys.insert(below("NAME"));
            }
            for (name, property) in schema["properties"].as_object().unwrap() {
                collect(root, property, &below(name), keys);
            }
        }
        Some("array") if schema["items"]["type"] == "object" => {
            collect(root, &schema["items"], &format!("{path}[]"), keys);
        }
        _ => {
            assert!(
                schema["description"]
                    .as_str()
                    .is_some_and(|text| text.ends_with('.')),
                "{path} has no description"
            );
            keys.insert(path.to_owned());
        }
    }
}

#[test]
fn every_configuration_in_the_documents_satisfies_the_schema() {
    let schema = schema();
    let mut texts = vec![read(&root().join("vestibule.example.toml"))];
    for document in documents() {
        texts.extend(blocks(&read(&document), "toml"));
    }
    assert!(
        texts.len() >= 9,
        "only {} configurations were found",
        texts.len()
    );
    for text in texts {
        let faults = faults(&schema, &parsed(&text));
        assert!(faults.is_empty(), "{faults:?} in\n{text}");
    }
}

#[test]
fn the_schema_finds_mistakes() {
    let schema = schema();
    for (text, at) in [
        ("pubic_url = \"https://a\"", "/pubic_url"),
        ("public_url = 7", "/public_url"),
        ("[provider]\nisuer = \"x\"", "/provider"),
        ("[[provider]]\npreset = \"congito\"", "/provider"),
        ("[tokens]\nformat = \"opaque\"", "/tokens/format"),
        ("[tokens]\naccess_ttl = true", "/tokens/access_ttl"),
        ("[server]\nmax_connections = -1", "/server/max_connections"),
        ("[server]\nlisten = \"127.0.0.1:1\"", "/server/listen"),
        ("[[resource]]\ntimeout = 1.5", "/resource/0/timeout"),
        (
            "[[resource]]\n[[resource.scope]]\nnam = \"a\"",
            "/resource/0/scope/0/nam",
        ),
        ("[resource]\npath = \"/mcp\"", "/resource"),
        ("[tokens.claims]\ngroups = [\"a\"]", "/tokens/claims/groups"),
    ] {
        let faults = faults(&schema, &parsed(text));
        assert!(
            faults.iter().any(|fault| fault == at),
            "{faults:?} for\n{text}"
        );
    }
    for text in [
        "[provider]\nid = \"a\"",
        "[[provider]]\nid = \"a\"",
        "[tokens]\naccess_ttl = 90",
    ] {
        assert_eq!(
            faults(&schema, &parsed(text)),
            Vec::<String>::new(),
            "{text}"
        );
    }
}

fn parsed(text: &str) -> Value {
    let table: toml::Table = text.parse().unwrap();
    serde_json::to_value(table).unwrap()
}

fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    validate(schema, schema, value, "", &mut faults);
    faults
}

fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

/// Adds the pointers of the values that a keyword refuses.
fn validate(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let schema = resolved(root, schema);
    let mut good = true;
    for (keyword, rule) in schema.as_object().unwrap() {
        good &= match keyword.as_str() {
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("unknown type {other}"),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value
                .as_i64()
                .is_none_or(|number| Some(number) >= rule.as_i64()),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "anyOf" => rule.as_array().unwrap().iter().any(|choice| {
                let mut inner = Vec::new();
                validate(root, choice, value, at, &mut inner);
                inner.is_empty()
            }),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(root, rule, item, &format!("{at}/{index}"), faults);
                }
                true
            }
            "properties" => {
                members(value, |name, member| {
                    if let Some(property) = rule.get(name) {
                        validate(root, property, member, &format!("{at}/{name}"), faults);
                    }
                });
                true
            }
            "additionalProperties" => {
                members(value, |name, member| {
                    let at = format!("{at}/{name}");
                    if schema["properties"].get(name).is_some() {
                        return;
                    }
                    match rule {
                        Value::Bool(false) => faults.push(at),
                        rule => validate(root, rule, member, &at, faults),
                    }
                });
                true
            }
            // Unit tests of the settings generate texts from the patterns.
            "pattern" | "$schema" | "$defs" | "title" | "description" | "default" | "writeOnly" => {
                true
            }
            other => panic!("unknown keyword {other}"),
        };
    }
    if !good {
        faults.push(at.to_owned());
    }
}

fn members(value: &Value, mut look: impl FnMut(&str, &Value)) {
    for (name, member) in value.as_object().unwrap_or(&Map::new()) {
        look(name, member);
    }
}
