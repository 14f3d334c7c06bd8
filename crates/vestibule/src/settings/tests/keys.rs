//! The list of keys: what is read, what is described, what the schema says and what `explain` shows are one thing.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use toml::{Table, Value};

use super::super::describe::{describe, descriptions, pattern};
use super::super::record::{Asked, Kind};
use super::super::{limits, schema, survey, units};
use super::*;

/// Every key that holds a value.
fn keys() -> Vec<Asked> {
    let keys = survey().into_iter();
    let keys: Vec<Asked> = keys.filter(|asked| !asked.kind.is_section()).collect();
    assert!(keys.len() > 100, "{}", keys.len());
    keys
}

fn name(key: &Asked) -> String {
    pattern(&key.path).join(".")
}

#[test]
fn every_key_that_is_read_is_described_and_nothing_else_is() {
    let mut read = BTreeSet::new();
    for key in keys() {
        let name = name(&key);
        assert!(read.insert(name.clone()), "{name} is read twice");
    }
    let described: BTreeSet<String> = descriptions().map(|row| row.key.to_owned()).collect();
    let missing: Vec<_> = read.difference(&described).collect();
    let invented: Vec<_> = described.difference(&read).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "docs/configuration.md has no row for {missing:?}, and rows that nobody reads for {invented:?}"
    );
}

/// Most of all: what is described as a secret is read as one, so that it is shown nowhere.
#[test]
fn keys_are_read_as_what_they_are_described_to_be() {
    for key in keys() {
        let row = describe(&key.path).unwrap();
        let fits = match row.kind {
            "secret" => key.kind == Kind::Secret,
            "file" | "directory" => matches!(key.kind, Kind::Path | Kind::SecretFile(_)),
            "duration" => key.kind == Kind::Duration,
            "size" => key.kind == Kind::Size,
            "number" => key.kind == Kind::Count,
            "scopes" => key.kind == Kind::Scopes,
            "true, false" | "`true`, `false`" => key.kind == Kind::Flag,
            "limit" => matches!(key.kind, Kind::Pattern(_)),
            kind if kind.ends_with("or a path") => key.kind == Kind::Path,
            kind if kind.starts_with("list") => key.kind == Kind::List,
            kind if kind.contains("`, `") => match &key.kind {
                Kind::Word(words) => kind
                    .split(", ")
                    .all(|word| words.contains(&word.trim_matches('`'))),
                // `a-z, 0-9, ...` of an id is a rule in words.
                other => *other == Kind::Text && kind.starts_with("a-z"),
            },
            _ => matches!(key.kind, Kind::Text | Kind::Word(_) | Kind::Pattern(_)),
        };
        assert!(
            fits,
            "{} is '{}' but read as {:?}",
            row.key, row.kind, key.kind
        );
    }
}

/// Writing a described default changes nothing.
#[test]
fn described_defaults_are_the_defaults() {
    // What the defaults of other keys depend on.
    let base: Table = format!(
        "public_url = \"https://mcp.example.com\"\n{PROVIDER}{RESOURCE}identity.token = {{}}\n{RING}\
         [audit]\nto = \"stderr\"\n\
         [server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
         [admin]\ntoken = \"0123456789abcdef0123456789abcdef\"\n[authz]\ntrusted_proxies = [\"10.0.0.0/8\"]\n"
    )
    .parse()
    .unwrap();
    let load = |table: &Table| {
        let settings = read(&toml::to_string(table).unwrap());
        settings.map(|settings| format!("{settings:?}"))
    };
    let unwritten = load(&base).unwrap();
    let mut count = 0;
    for key in keys() {
        let row = describe(&key.path).unwrap();
        let Some(default) = row.default_value(&key.kind) else {
            continue;
        };
        // Elements of lists that are not there have no defaults in force.
        let inner = ["scope[]", "rule[]"];
        if inner.iter().any(|list| name(&key).contains(list)) || name(&key).starts_with("client[]")
        {
            continue;
        }
        let mut table = base.clone();
        set(&mut table, &key.path, &default);
        let written = load(&table).unwrap_or_else(|error| panic!("{}: {error}", row.key));
        assert_eq!(
            written, unwritten,
            "{}: the default is not {default}",
            row.key
        );
        count += 1;
    }
    assert!(count > 35, "only {count} defaults were found");
}

fn set(table: &mut Table, path: &[String], value: &Json) {
    let (key, rest) = path.split_first().unwrap();
    match rest {
        [] => {
            table.insert(key.clone(), Value::try_from(value).unwrap());
        }
        [index, rest @ ..] if index == "0" => {
            let items = table[key].as_array_mut().unwrap();
            set(items[0].as_table_mut().unwrap(), rest, value);
        }
        rest => {
            let inner = table
                .entry(key.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            set(inner.as_table_mut().unwrap(), rest, value);
        }
    }
}

#[test]
fn a_secret_is_hidden_and_one_in_a_file_says_which() {
    let directory = TestDirectory::new("explain-secret");
    directory.write("secret", "hush-file");
    let text = format!(
        "public_url = \"https://mcp.example.com\"\n{PROVIDER}client_secret_file = \"secret\"\n{RESOURCE}\
         credential = {{ type = \"header\", name = \"X-Key\", value = \"hush-inline\" }}\n\
         [keys]\nring = \"hush-ring\"\n[clients]\negress_proxy = \"http://u:hush-proxy@proxy:1\"\n"
    );
    let path = directory.write("vestibule.toml", &text);
    let report = Report::load(Some(&path), &NoEnvironment);
    assert!(report.outcome.is_ok(), "{:?}", report.outcome);
    let shown = serde_json::to_string(&report.in_force()).unwrap();
    assert!(!shown.contains("hush"), "{shown}");
    let shown = |key: &str| one(&report, key);
    assert_eq!(shown("resource[0].credential.value").0, json!("(set)"));
    assert_eq!(shown("keys.ring").0, json!("(set)"));
    let (value, origin) = shown("provider.client_secret");
    assert_eq!(value, json!("(set)"));
    let file = path.display();
    assert_eq!(origin, format!("the file secret, by {file}:5"));

    // Wrong in kind or in name, it is still a secret.
    for wrong in ["client_secret = [\"hush\"]", "client_secert = \"hush\""] {
        let report = Report::from_toml(&format!("{PROVIDER}{wrong}\n"), "v.toml", &NoEnvironment);
        let shown = serde_json::to_string(&report.in_force()).unwrap();
        assert!(!shown.contains("hush"), "{shown}");
        assert!(!report.outcome.unwrap_err().to_string().contains("hush"));
    }
}

fn one(report: &Report, key: &str) -> (Json, String) {
    let [setting] = report.explain(key).unwrap().try_into().unwrap();
    (setting.value, setting.origin.to_string())
}

/// Default, preset, file, alias, variable: each beats the one before.
#[test]
fn each_source_beats_the_one_before() {
    let file = |provider: &str| {
        format!("public_url = \"https://mcp.example.com\"\n[provider]\n{provider}{RESOURCE}{RING}")
    };
    let generic = "issuer = \"https://id.example\"\nclient_id = \"c\"\n";
    let entra = "issuer = \"https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0\"\n\
                 client_id = \"c\"\nclient_secret = \"s\"\n";
    let alias = (
        "FASTMCP_SERVER_AUTH_AWS_COGNITO_REQUIRED_SCOPES",
        "openid phone",
    );
    let ours = ("VESTIBULE__PROVIDER__SCOPES", "openid address");
    let written = format!("{entra}scopes = [\"openid\", \"email\"]\n");
    for (provider, variables, scopes, origin) in [
        (generic, env([]), "openid", "preset generic"),
        (
            entra,
            env([]),
            "openid profile email offline_access",
            "preset entra",
        ),
        (&written, env([]), "openid email", "v.toml:6"),
        (&written, env([alias]), "openid phone", alias.0),
        (&written, env([alias, ours]), "openid address", ours.0),
    ] {
        let report = Report::from_toml(&file(provider), "v.toml", &variables);
        assert_eq!(one(&report, "provider.scopes").1, origin);
        let settings = report.outcome.unwrap();
        assert_eq!(settings.provider.scopes.to_string(), scopes);
    }
}

#[test]
fn a_secret_that_counts_for_nothing_says_so() {
    let variables = env([("VESTIBULE__PROVIDER__CLIENT_SECRET", "hush")]);
    let text = format!(
        "public_url = \"https://mcp.example.com\"\n{PROVIDER}client_secret_file = \"/none\"\n{RESOURCE}{RING}"
    );
    let report = Report::from_toml(&text, "v.toml", &variables);
    let (value, origin) = one(&report, "provider.client_secret");
    assert_eq!(
        (value, origin.as_str()),
        (json!("(set)"), "VESTIBULE__PROVIDER__CLIENT_SECRET")
    );
    let (value, origin) = one(&report, "provider.client_secret_file");
    assert_eq!(
        (value, origin.as_str()),
        (Json::Null, "v.toml:5, overruled by a variable")
    );
}

#[test]
fn everything_is_explained_once_even_what_is_wrong() {
    let text = "public_url = \"ftp://x\"\n[[provider]]\nid = \"a\"\nissuer = \"https://a.example\"\nclient_id = \"c\"\n\
                [[provider]]\nid = \"b\"\nissuer = \"https://b.example\"\nclient_id = \"c\"\n\
                [[resource]]\npath = \"/a\"\n[[resource]]\npath = \"/b\"\n";
    let report = Report::from_toml(text, "v.toml", &NoEnvironment);
    assert!(report.outcome.is_err());
    let all = report.in_force();
    let unique: BTreeSet<&str> = all.iter().map(|setting| setting.key.as_str()).collect();
    assert_eq!(unique.len(), all.len());
    assert_eq!(
        one(&report, "public_url"),
        (json!("ftp://x"), "v.toml:1".to_owned())
    );
    assert_eq!(one(&report, "provider[1].issuer").1, "v.toml:8");
    assert_eq!(
        one(&report, "server.tls.cert"),
        (Json::Null, "not set".to_owned())
    );
    assert_eq!(report.explain("resource.path").unwrap().len(), 2);
    assert_eq!(report.explain("resource[].path").unwrap().len(), 2);
    assert_eq!(report.explain("provider.issuer").unwrap().len(), 2);
    let unknown = report.explain("resource[0].pth").unwrap_err();
    assert!(
        unknown.contains("did you mean `resource[0].path`?"),
        "{unknown}"
    );
    // In order: sections that were not written stand with their relatives.
    let place = |key: &str| all.iter().position(|setting| setting.key == key).unwrap();
    assert!(place("server.tls.cert") < place("tokens.format"));
}

#[test]
fn what_presets_and_other_settings_decide_is_told() {
    let text = format!(
        "public_url = \"https://mcp.example.com\"\n[provider]\npreset = \"google\"\nclient_id = \"c\"\nclient_secret = \"s\"\n\
         {RESOURCE}scopes = [\"a\", \"b\"]\ncredential = {{ type = \"vestibule-token\" }}\n{RING}"
    );
    let report = Report::from_toml(&text, "v.toml", &NoEnvironment);
    for (key, value, origin) in [
        (
            "provider.issuer",
            json!("https://accounts.google.com"),
            "preset google",
        ),
        ("provider.preset", json!("google"), "v.toml:3"),
        ("tokens.claims.username", json!("email"), "preset google"),
        (
            "resource[0].default_scopes",
            json!(["a", "b"]),
            "from scopes",
        ),
        (
            "resource[0].credential.audience",
            json!("http://127.0.0.1:9000/mcp"),
            "from upstream",
        ),
        ("resource[0].timeout", json!("5m"), "default"),
    ] {
        assert_eq!(one(&report, key), (value, origin.to_owned()), "{key}");
    }
}

#[test]
fn the_suggestion_of_a_problem_is_what_to_write() {
    let text = "public_url = \"https://mcp.example.com/\"\n[provider]\nisuer = \"https://id.example\"\npreset = \"congito\"\n";
    let error = read(text).unwrap_err();
    let suggestion = |key: &str| {
        let problem = error.problems().iter().find(|problem| problem.key == key);
        problem.unwrap().suggestion()
    };
    assert_eq!(suggestion("public_url"), Some("https://mcp.example.com"));
    assert_eq!(suggestion("provider.isuer"), Some("issuer"));
    assert_eq!(suggestion("provider.preset"), Some("cognito"));
    assert_eq!(suggestion("provider.client_id"), None);
}

/// A pattern of the schema without its anchors, which the generator of texts does not know.
fn pattern_at(pointer: &str) -> String {
    let schema = schema();
    let pattern = schema.pointer(pointer).and_then(Json::as_str).unwrap();
    let inner = pattern
        .strip_prefix('^')
        .and_then(|rest| rest.strip_suffix('$'));
    inner.unwrap().to_owned()
}

#[test]
fn what_the_schema_lets_pass_is_read() {
    let mut runner = proptest::test_runner::TestRunner::default();
    let mut check = |pointer: &str, accepts: &dyn Fn(&str) -> bool| {
        let texts = proptest::string::string_regex(&pattern_at(pointer)).unwrap();
        // Numbers beyond all bounds are another matter.
        let texts = texts.prop_filter("too long", |text| {
            text.bytes().filter(u8::is_ascii_digit).count() < 7 && text.len() < 40
        });
        runner
            .run(&texts, |text| {
                prop_assert!(accepts(&text), "'{}'", text);
                Ok(())
            })
            .unwrap();
    };
    let duration = "/properties/tokens/properties/access_ttl/anyOf/0/pattern";
    check(duration, &|text| units::duration(text).is_ok());
    let size = "/properties/server/properties/max_body_bytes/anyOf/0/pattern";
    check(size, &|text| units::size(text).is_ok());
    let rate = "/properties/limits/properties/token/properties/total/pattern";
    check(rate, &|text| {
        let bounds = |error: String| error.contains("must be between");
        text.eq_ignore_ascii_case("off") || limits::Rate::parse(text).map_or_else(bounds, |_| true)
    });
}
