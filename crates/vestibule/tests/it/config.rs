//! `vestibule config` as a script sees it.

use serde_json::Value;

use crate::support::Place;

const CONFIG: &str = "\
public_url = \"http://localhost:8080\"
[provider]
issuer = \"http://127.0.0.1:1/pool\"
client_id = \"c\"
client_secret = \"hush-hush\"
[[resource]]
path = \"/mcp\"
upstream = \"http://127.0.0.1:1/mcp\"
[keys]
file = \"keys.toml\"
";

fn place(name: &str) -> Place {
    let place = Place::new(name);
    place.write("vestibule.toml", CONFIG);
    let keys = place.run(&["keys", "generate", "--out", "keys.toml"]);
    assert!(keys.status.success());
    place
}

#[test]
fn the_schema_is_printed_without_a_configuration() {
    let output = Place::new("schema").run(&["config", "schema"]);
    assert_eq!(output.status.code(), Some(0));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, vestibule::settings::schema());
}

#[test]
fn every_setting_is_printed_with_its_source_and_no_secret() {
    let place = place("explain");
    let mut command = place.command(&["config", "explain"]);
    let output = command
        .env("VESTIBULE__LOG__FILTER", "warn")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "public_url = \"http://localhost:8080\"  # vestibule.toml:1",
        "provider.client_secret = (set)  # vestibule.toml:5",
        "provider.scopes = [\"openid\"]  # preset generic",
        "resource[0].token_format = \"sealed\"  # from tokens.format",
        "tokens.access_ttl = \"1h\"  # default",
        "server.tls.cert = -  # not set",
        "log.filter = \"warn\"  # VESTIBULE__LOG__FILTER",
    ] {
        assert!(
            text.lines().any(|printed| printed == line),
            "no '{line}' in\n{text}"
        );
    }
    assert!(!text.contains("hush"), "{text}");

    let output = place.run(&["config", "explain", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let list = list.as_array().unwrap();
    let secret = list
        .iter()
        .find(|setting| setting["key"] == "provider.client_secret");
    let secret = secret.unwrap();
    assert_eq!(secret["value"], "(set)");
    assert_eq!(secret["origin"]["from"], "file");
    assert_eq!(secret["origin"]["line"], 5);
    assert_eq!(secret["variable"], "VESTIBULE__PROVIDER__CLIENT_SECRET");
}

#[test]
fn one_setting_is_explained_in_words() {
    let place = place("explain-one");
    let output = place.run(&["config", "explain", "resource.path"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("resource[0].path = \"/mcp\"  # vestibule.toml:7\n  The public path."),
        "{text}"
    );
    assert!(
        text.contains("variable: VESTIBULE__RESOURCE__0__PATH"),
        "{text}"
    );

    let output = place.run(&["config", "explain", "resorce.path"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("did you mean `resource[].path`?"), "{text}");
}

#[test]
fn a_wrong_configuration_is_explained_as_far_as_it_goes_and_is_2() {
    let place = place("explain-wrong");
    place.write("vestibule.toml", &CONFIG.replace("issuer", "isuer"));
    let output = place.run(&["config", "explain"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("provider.client_id = \"c\""), "{text}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("did you mean `issuer`?"), "{text}");
}
