//! `vestibule policy test`: what the program says is what the gateway does.

use std::process::{Command, Output};

use serde_json::Value;

const CONFIG: &str = "\
public_url = \"http://localhost:8080\"
[provider]
issuer = \"http://127.0.0.1:1/pool\"
client_id = \"c\"
[tokens.claims]
groups = \"g\"
[keys]
file = \"keys.toml\"
[[resource]]
path = \"/mcp\"
upstream = \"http://127.0.0.1:1/mcp\"
scopes = [\"read\", \"write\"]
[[resource.rule]]
tools = [\"admin_*\"]
groups = [\"admins\"]
[[resource.rule]]
tools = [\"*_write\"]
scopes = [\"write\"]
";

struct Place(std::path::PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("vestibule-policy-{name}-{}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&place.0).unwrap();
        std::fs::write(place.0.join("vestibule.toml"), CONFIG).unwrap();
        assert!(
            place
                .run(&["keys", "generate", "--out", "keys.toml"])
                .status
                .success()
        );
        place
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.args(arguments).current_dir(&self.0).env_clear();
        command.output().unwrap()
    }

    fn test(&self, arguments: &[&str]) -> Output {
        self.run(&[&["policy", "test", "--config", "vestibule.toml"], arguments].concat())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_decision_is_explained_rule_by_rule() {
    let place = Place::new("words");
    let admin = r#"{"groups":["admins"],"scope":"read"}"#;
    let output = place.test(&[
        "--resource",
        "/mcp",
        "--claims",
        admin,
        "--call",
        "tools/call:admin_write",
    ]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        stdout(&output),
        "tools/call:admin_write at /mcp: needs scopes\n  \
         in lists; a call gets 403 insufficient_scope with scope=\"read write\"\n\
         rule[0] (line 13), allow: satisfied\n\
         rule[1] (line 16), allow: not satisfied: needs the scopes `write`\n"
    );
    let output = place.test(&["--call", "tools/call:admin_write", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["decision"], "hidden");
    assert_eq!(told["why"], "the user is in none of the groups `admins`");
    assert_eq!(told["rules"][1]["line"], 16);
    let output = place.test(&["--scope", "write", "--call", "tools/call:x_write", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["decision"], "allowed");
}

#[test]
fn a_question_that_makes_no_sense_is_bad_usage() {
    let place = Place::new("usage");
    for (arguments, says) in [
        (&["--call", "tools/call"][..], "tools/call:NAME"),
        (&["--call", "tools/list:x"], "names nothing"),
        (
            &["--resource", "/other", "--call", "ping"],
            "there are `/mcp`",
        ),
        (&["--claims", "[]", "--call", "ping"], "not a JSON object"),
        (
            &["--token", "vat_x", "--call", "ping"],
            "the token is not good",
        ),
        (
            &["--token", "x", "--claims", "{}", "--call", "ping"],
            "cannot be used with",
        ),
    ] {
        let output = place.test(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(says), "{arguments:?}: {told}");
    }
}
