//! The JSON Schema of the configuration file (Draft 2020-12), for editors: keys and kinds from the readers themselves,
//! descriptions and defaults from `describe.rs`.

use serde_json::{Map, Value as Json, json};

use super::describe::describe;
use super::record::{ANY_NAME, Asked, Kind};
use super::survey;

const DURATION: &str = "^ *[0-9]+ *(ms|s|m|min|h|d)? *$";
const SIZE: &str = "^ *[0-9]+ *(B|KiB|MiB|GiB)? *$";

/// The schema. It asks for no key, because each can come from the environment instead.
pub fn schema() -> Json {
    let asked = survey();
    let mut definitions = Map::new();
    let mut schema = object(&asked, &[], &mut definitions);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Vestibule");
    schema["description"] =
        json!("The configuration file of Vestibule. Every key can be set by a variable as well.");
    schema["$defs"] = Json::Object(definitions);
    sorted(schema)
}

/// With the keys of every object in order: a crate of some builds has `serde_json` keep them as they were written.
fn sorted(json: Json) -> Json {
    match json {
        Json::Object(object) => {
            let mut pairs: Vec<(String, Json)> = object.into_iter().collect();
            pairs.sort_by(|one, other| one.0.cmp(&other.0));
            let pairs = pairs.into_iter().map(|(key, value)| (key, sorted(value)));
            Json::Object(pairs.collect())
        }
        Json::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

fn object(asked: &[Asked], path: &[String], definitions: &mut Map<String, Json>) -> Json {
    let mut properties = Map::new();
    let mut others = Json::Bool(false);
    for child in asked {
        let Some((name, parent)) = child.path.split_last() else {
            continue;
        };
        if parent != path {
            continue;
        }
        let property = property(asked, child, definitions);
        if name == ANY_NAME {
            others = property;
        } else {
            properties.insert(name.clone(), property);
        }
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": others })
}

fn property(asked: &[Asked], key: &Asked, definitions: &mut Map<String, Json>) -> Json {
    let element = || {
        let index = ["0".to_owned()];
        key.path.iter().cloned().chain(index).collect::<Vec<_>>()
    };
    match &key.kind {
        Kind::Section => return object(asked, &key.path, definitions),
        Kind::Sections => {
            return json!({ "type": "array", "items": object(asked, &element(), definitions) });
        }
        Kind::OneOrMore => {
            let name = key.path.join("-");
            let one = object(asked, &key.path, definitions);
            let reference = json!({ "$ref": format!("#/$defs/{name}") });
            definitions.insert(name, one);
            return json!({
                "anyOf": [reference, { "type": "array", "items": reference, "minItems": 1 }]
            });
        }
        _ => {}
    }
    let mut leaf = leaf(&key.kind);
    if let Some(row) = describe(&key.path) {
        leaf["description"] = Json::String(row.plain_meaning());
        if let Some(default) = row.default_value(&key.kind) {
            leaf["default"] = default;
        }
    }
    leaf
}

fn leaf(kind: &Kind) -> Json {
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    match kind {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Count => json!({ "type": "integer", "minimum": 0 }),
        Kind::Duration => number_or(DURATION),
        Kind::Size => number_or(SIZE),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Pattern(pattern) => json!({ "type": "string", "pattern": pattern }),
        Kind::List => texts,
        Kind::Scopes => json!({ "anyOf": [{ "type": "string" }, texts] }),
        Kind::Secret => json!({ "type": "string", "writeOnly": true }),
        _ => json!({ "type": "string" }),
    }
}

fn number_or(pattern: &str) -> Json {
    json!({ "anyOf": [{ "type": "string", "pattern": pattern }, { "type": "integer", "minimum": 0 }] })
}
