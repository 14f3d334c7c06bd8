//! Configurations out of the documents: completed where they are fragments; and the list of every key there is.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use toml::{Table, Value};
use vestibule::settings::{NoEnvironment, Settings, SettingsError};

/// What a fragment is completed with, where it does not say otherwise.
const MINIMAL: &str = r#"
public_url = "https://mcp.example.com"
[provider]
issuer = "https://login.example.com"
client_id = "vestibule"
[[resource]]
path = "/mcp"
upstream = "http://127.0.0.1:9000/mcp"
[keys]
file = "keys.toml"
"#;

/// The keys that name files.
const FILES: [&str; 14] = [
    "ca_file",
    "cert",
    "client_secret_file",
    "file",
    "key",
    "origin_secret_file",
    "origin_secret_previous_file",
    "policy_file",
    "ring_file",
    "secret_file",
    "subject_key_file",
    "token_file",
    "url_file",
    "value_file",
];

/// The fragment with the minimal rest, and every file that it names in `directory`.
pub(super) fn completed(fragment: &str, directory: &Path) -> String {
    let mut table: Table = fragment
        .parse()
        .unwrap_or_else(|error| panic!("{error}\n{fragment}"));
    let minimal: Table = MINIMAL.parse().unwrap();
    for (key, rest) in minimal {
        match (table.get_mut(&key), rest) {
            (None, rest) => {
                table.insert(key, rest);
            }
            // `[keys]` says all it has to say.
            (Some(Value::Table(own)), Value::Table(rest)) if key != "keys" => {
                for (key, value) in rest {
                    own.entry(key).or_insert(value);
                }
            }
            _ => {}
        }
    }
    make_files(&mut table, directory);
    toml::to_string(&table).unwrap()
}

fn make_files(table: &mut Table, directory: &Path) {
    for (key, value) in table {
        match value {
            Value::String(path) if FILES.contains(&key.as_str()) => {
                let name = Path::new(path.as_str()).file_name().unwrap();
                let name = name.to_string_lossy().into_owned();
                let mut file = std::fs::OpenOptions::new();
                let file = file.create(true).truncate(true).write(true).mode(0o600);
                let mut file = file.open(directory.join(&name)).unwrap();
                let content = match key.as_str() {
                    "url_file" => "none",
                    // The policies of the documents.
                    "policy_file" => include_str!("../../../../../docs/authorization.md")
                        .split("```cedar\n")
                        .nth(1)
                        .and_then(|rest| rest.split("```").next())
                        .unwrap(),
                    // Long enough for any secret.
                    _ => "content-of-a-file-0123456789abcdef",
                };
                file.write_all(content.as_bytes()).unwrap();
                *path = name;
            }
            Value::Table(inner) => make_files(inner, directory),
            Value::Array(items) => {
                for item in items.iter_mut().filter_map(Value::as_table_mut) {
                    make_files(item, directory);
                }
            }
            _ => {}
        }
    }
}

/// Nothing is called like this, nor nearly.
const NOBODY: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";

/// Every key of the configuration, as `resource[].path`: the answer to asking every section for a key that it does not
/// know, which names those that it knows.
pub(super) fn known_keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    collect(&[], &mut keys);
    keys
}

fn collect(section: &[(String, bool)], keys: &mut BTreeSet<String>) {
    let known = known_in(section).unwrap_or_default();
    for key in known {
        let inner = |list: bool| {
            let mut path = section.to_vec();
            path.push((key.clone(), list));
            path
        };
        if accepts_any_key(&inner(false)) {
            keys.insert(dotted(
                &[inner(false), vec![("NAME".to_owned(), false)]].concat(),
            ));
        } else if known_in(&inner(false)).is_some() {
            collect(&inner(false), keys);
        } else if known_in(&inner(true)).is_some() {
            collect(&inner(true), keys);
        } else {
            keys.insert(dotted(&inner(false)));
        }
    }
}

/// The keys of a section; `None` when there is no such section.
fn known_in(section: &[(String, bool)]) -> Option<Vec<String>> {
    let error = ask(section).err()?;
    let key = dotted_in_messages(section);
    let problem = error.problems().iter().find(|problem| problem.key == key)?;
    let names = problem
        .message
        .strip_prefix("unknown key; known here are ")?;
    Some(
        names
            .split(", ")
            .map(|name| name.trim_matches('`').to_owned())
            .collect(),
    )
}

/// True for a section whose keys the operator chooses.
fn accepts_any_key(section: &[(String, bool)]) -> bool {
    let prefix = dotted(section);
    match ask(section) {
        Ok(_) => true,
        Err(error) => !error
            .problems()
            .iter()
            .any(|problem| problem.key.replace("[0]", "[]").starts_with(&prefix)),
    }
}

/// Loads a configuration with an unknown key in `section`; the flag says that the section is a list.
fn ask(section: &[(String, bool)]) -> Result<Settings, SettingsError> {
    let mut value = Value::Table(Table::from_iter([(
        NOBODY.to_owned(),
        Value::String("x".to_owned()),
    )]));
    for (key, list) in section.iter().rev() {
        if *list {
            value = Value::Array(vec![value]);
        }
        value = Value::Table(Table::from_iter([(key.clone(), value)]));
    }
    let text = toml::to_string(&value).unwrap();
    Settings::from_toml(&text, "vestibule.toml", &NoEnvironment)
}

fn dotted(path: &[(String, bool)]) -> String {
    let parts = path
        .iter()
        .map(|(key, list)| format!("{key}{}", if *list { "[]" } else { "" }));
    parts.collect::<Vec<_>>().join(".")
}

fn dotted_in_messages(section: &[(String, bool)]) -> String {
    let section = dotted(section).replace("[]", "[0]");
    if section.is_empty() {
        NOBODY.to_owned()
    } else {
        format!("{section}.{NOBODY}")
    }
}
