//! `vestibule grants` and `vestibule quarantine`: in the store itself, and through the server that has it open.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Output, Stdio};

use serde_json::{Value, json};

use super::{CONFIG, stderr, stdout};
use crate::support::Place;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn place(name: &str) -> Place {
    let place = Place::new(name);
    let admin = "[admin]\ntoken_file = \"token\"\nlisten = [\"127.0.0.1:0\"]\n";
    place.write("vestibule.toml", &format!("{CONFIG}{admin}"));
    place.write("token", &format!("{TOKEN}\n"));
    place.write("other", "fedcba9876543210fedcba9876543210\n");
    let made = place.run(&["keys", "generate", "--out", "keys.toml"]);
    assert!(made.status.success(), "{}", stderr(&made));
    place
}

/// A server, and where operators reach it.
struct Server(Child, String);

impl Server {
    fn start(place: &Place) -> Self {
        let mut command = place.command(&["serve"]);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.map(Result::unwrap).nth(1).unwrap();
        assert!(line.ends_with("for operators"), "{line}");
        let url = line.split(' ').find(|word| word.starts_with("http://"));
        let url = url.unwrap().to_owned();
        Self(child, url)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn code(output: &Output, code: i32) -> String {
    let (out, err) = (stdout(output), stderr(output));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    format!("{out}\n{err}")
}

#[test]
fn while_the_server_has_the_file_the_error_says_whom_to_ask_and_the_server_answers() {
    let place = place("operators-server");
    let server = Server::start(&place);
    let said = code(&place.run(&["grants", "list"]), 1);
    assert!(
        said.contains("--url") && said.contains("--token-file"),
        "{said}"
    );
    let ask = |arguments: &[&str], token: &str| {
        let there = ["--url", server.1.as_str(), "--token-file", token];
        place.run(&[arguments, &there].concat())
    };
    let said = code(&ask(&["grants", "list"], "token"), 0);
    assert!(said.starts_with("FAMILY"), "{said}");
    let said = code(&ask(&["grants", "list"], "other"), 1);
    assert!(
        said.contains("the admin token is wrong") && !said.contains("fedcba"),
        "{said}"
    );
    assert!(said.contains("reference"), "{said}");
    let add = [
        "quarantine",
        "add",
        "--client",
        "https://ed.example/c",
        "--reason",
        "lost",
        "--for",
        "2h",
    ];
    let said = code(&ask(&add, "token"), 0);
    assert!(said.starts_with("shut out: client sha256:"), "{said}");
    let listed = ask(&["quarantine", "list", "--json"], "token");
    code(&listed, 0);
    let list: Value = serde_json::from_str(&stdout(&listed)).unwrap();
    assert_eq!(list["quarantine"][0]["named"], "https://ed.example/c");
    let remove = ["quarantine", "remove", "--client", "https://ed.example/c"];
    code(&ask(&remove, "token"), 0);
    let said = code(&ask(&remove, "token"), 1);
    assert!(said.contains("no such entry"), "{said}");
}

#[test]
fn without_a_server_the_store_itself_is_opened() {
    let place = place("operators-store");
    let add = ["quarantine", "add", "--user", "ada", "--reason", "lost"];
    let said = code(&place.run(&add), 0);
    // The only log there is of it.
    assert!(said.contains("quarantine.added"), "{said}");
    let said = code(&place.run(&["quarantine", "list"]), 0);
    assert!(
        said.contains("ada") && said.contains("never") && said.contains("lost"),
        "{said}"
    );
    let listed = place.run(&["grants", "list", "--json"]);
    code(&listed, 0);
    let list: Value = serde_json::from_str(&stdout(&listed)).unwrap();
    assert_eq!(
        list,
        json!({ "grants": [], "unreadable": 0, "more": false })
    );
    code(&place.run(&["grants", "show", "nothing"]), 1);
    code(&place.run(&["grants", "revoke", "nothing"]), 1);
    let said = code(&place.run(&["grants", "revoke", "--all"]), 2);
    assert!(
        said.contains("0 grants would be revoked; say --yes"),
        "{said}"
    );
    let said = code(&place.run(&["grants", "revoke", "--all", "--yes"]), 0);
    assert!(said.starts_with("revoked: 0"), "{said}");
    code(&place.run(&["quarantine", "remove", "--user", "ada"]), 0);
    // The server comes up with what was decided while it was away.
    code(&place.run(&add), 0);
    let server = Server::start(&place);
    let list = [
        "quarantine",
        "list",
        "--url",
        &server.1,
        "--token-file",
        "token",
    ];
    assert!(code(&place.run(&list), 0).contains("ada"));
}

#[test]
fn bad_usage_is_2_and_nothing_is_done() {
    let place = place("operators-usage");
    for wrong in [
        &["grants"][..],
        &["grants", "revoke"],
        &["grants", "revoke", "--all", "--user", "ada"],
        &["grants", "revoke", "family", "--user", "ada"],
        &["grants", "list", "--url", "http://127.0.0.1:1"],
        &["grants", "list", "--token-file", "token"],
        &["grants", "list", "--client", "name:*"],
        &[
            "grants",
            "list",
            "--url",
            "http://10.0.0.1:8081",
            "--token-file",
            "token",
        ],
        &["quarantine", "add", "--reason", "x"],
        &[
            "quarantine",
            "add",
            "--user",
            "a",
            "--client",
            "b",
            "--reason",
            "x",
        ],
        &["quarantine", "add", "--user", "a"],
        &[
            "quarantine",
            "add",
            "--user",
            "a",
            "--reason",
            "x",
            "--for",
            "soon",
        ],
    ] {
        let said = code(&place.run(wrong), 2);
        assert!(!said.trim().is_empty(), "{wrong:?}");
    }
    place.write(
        "vestibule.toml",
        &format!("{CONFIG}[store]\nurl = \"none\"\n"),
    );
    let said = code(&place.run(&["grants", "list"]), 2);
    assert!(said.contains("there is no store"), "{said}");
}
