//! `vestibule keys` as a script and cron see it: what changes, what does not, and what is said where.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Output, Stdio};

use serde_json::Value;
use vestibule::keys::KeyRing;

use super::{Place, stderr, stdout};

fn place(name: &str) -> Place {
    let place = Place::new(name);
    let output = place.run(&["keys", "generate", "--out", "keys.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    place
}

/// As if all that the ring says had happened long ago.
fn aged(ring: &str) -> String {
    let line = |line| match line {
        line if str::starts_with(line, "since") => "since = 1700000000\n",
        line => line,
    };
    ring.split_inclusive('\n').map(line).collect()
}

fn states(place: &Place) -> Vec<String> {
    let output = place.run(&["keys", "status", "keys.toml", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = report["keys"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    keys.map(|key| format!("{} {}", text(&key["use"]), text(&key["state"])))
        .collect()
}

fn filter(place: &Place, arguments: &[&str], input: &str) -> Output {
    let mut command = place.command(arguments);
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[test]
fn rotate_can_be_run_by_cron_from_the_first_day_to_the_last() {
    let place = place("rotate");
    let first = place.read("keys.toml");
    let rotate = ["keys", "rotate", "keys.toml"];
    let output = place.run(&rotate);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(
        said.contains("nothing is due") && said.contains("next: publish (sealing) in "),
        "{said}"
    );
    assert_eq!(place.read("keys.toml"), first, "nothing was due");

    let mut seen = Vec::new();
    for _ in 0..4 {
        place.write("keys.toml", &aged(&place.read("keys.toml")));
        let before = place.read("keys.toml");
        let dry = place.run(&["keys", "rotate", "keys.toml", "--dry-run"]);
        assert_eq!(dry.status.code(), Some(0), "{}", stderr(&dry));
        assert_eq!(
            place.read("keys.toml"),
            before,
            "--dry-run changed the ring"
        );
        let output = place.run(&rotate);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let metadata = std::fs::metadata(place.0.join("keys.toml")).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o600);
        seen.push(states(&place).join(", "));
    }
    assert_eq!(
        seen,
        [
            "sealing current, sealing next, signing current, signing next",
            "sealing current, sealing previous, signing current, signing previous",
            // Both are due, since everything is long ago.
            "sealing current, sealing next, sealing previous, signing current, signing next, signing retired",
            "sealing current, sealing previous, sealing previous, signing current, signing previous",
        ]
    );
    let files = std::fs::read_dir(&place.0).unwrap().count();
    assert_eq!(files, 1, "something was left behind");
    let table = stdout(&place.run(&["keys", "list", "keys.toml"]));
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(table.contains("stays for client registrations"), "{table}");
    for secret in place
        .read("keys.toml")
        .lines()
        .filter(|line| line.starts_with("secret"))
    {
        let secret = secret.split('"').nth(1).unwrap();
        assert!(!table.contains(secret));
    }
}

#[test]
fn a_ring_that_is_not_a_file_goes_through_as_text() {
    let place = place("filter");
    let ring = place.read("keys.toml");
    let output = filter(&place, &["keys", "rotate", "-"], &ring);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), ring, "unchanged to the byte");
    assert!(stderr(&output).contains("nothing is due"));
    let output = filter(&place, &["keys", "rotate", "-", "--now"], &ring);
    let changed = KeyRing::parse(&stdout(&output)).unwrap();
    assert_eq!((changed.sealing.len(), changed.signing.len()), (2, 2));
    assert!(stderr(&output).contains("published"), "{}", stderr(&output));
    assert_eq!(place.read("keys.toml"), ring);

    let to_file = ["keys", "rotate", "keys.toml", "--now", "--out", "new.toml"];
    assert_eq!(place.run(&to_file).status.code(), Some(0));
    assert_eq!(place.read("keys.toml"), ring);
    let written = KeyRing::parse(&place.read("new.toml")).unwrap();
    assert_eq!(written.sealing.len(), 2);
    let broken = filter(&place, &["keys", "rotate", "-"], "no ring");
    assert_eq!(broken.status.code(), Some(2));
    assert!(broken.stdout.is_empty());
}

#[test]
fn two_runs_at_once_do_one_step() {
    let place = place("at-once");
    place.write("keys.toml", &aged(&place.read("keys.toml")));
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let mut command = place.command(&["keys", "rotate", "keys.toml"]);
            let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let mut idle = 0;
    for run in runs {
        let output = run.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        idle += usize::from(stdout(&output).contains("nothing is due"));
    }
    assert_eq!(idle, 3);
    assert_eq!(states(&place).len(), 4);
}

#[test]
fn an_algorithm_is_added_published_and_then_promoted() {
    let place = place("add");
    let add = ["keys", "add", "keys.toml", "--alg", "EdDSA"];
    let output = place.run(&add);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    for part in [
        "published the EdDSA signing key",
        "every replica must read the ring again",
        "next: promote (EdDSA signing) in ",
        "tokens.signing_alg = \"EdDSA\"",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let published = place.read("keys.toml");
    assert_eq!(
        states(&place),
        ["sealing current", "signing current", "signing next"]
    );
    let twice = place.run(&add);
    assert_eq!(twice.status.code(), Some(2));
    assert!(stderr(&twice).contains("keys rotate"), "{}", stderr(&twice));
    let other = ["keys", "add", "keys.toml", "--alg", "HS256"];
    assert_eq!(place.run(&other).status.code(), Some(2));
    assert_eq!(place.read("keys.toml"), published);
    // Too early for it.
    let rotate = ["keys", "rotate", "keys.toml"];
    assert!(stdout(&place.run(&rotate)).contains("nothing is due"));
    place.write("keys.toml", &aged(&published));
    let said = stdout(&place.run(&rotate));
    assert!(said.contains("promoted the EdDSA signing key"), "{said}");

    let piped = filter(&place, &["keys", "add", "-", "--alg", "RS256"], &published);
    assert_eq!(piped.status.code(), Some(0), "{}", stderr(&piped));
    let ring = KeyRing::parse(&stdout(&piped)).unwrap();
    assert_eq!(ring.signing.len(), 3);
    assert!(stderr(&piped).contains("published the RS256"));
}

#[test]
fn an_emergency_says_who_must_sign_in_again() {
    let place = place("emergency");
    let before = place.read("keys.toml");
    let dry = place.run(&["keys", "rotate", "keys.toml", "--emergency", "--dry-run"]);
    assert!(
        stdout(&dry).contains("must sign in again"),
        "{}",
        stdout(&dry)
    );
    assert_eq!(place.read("keys.toml"), before);
    let signing = [
        "keys",
        "rotate",
        "keys.toml",
        "--emergency",
        "--only",
        "signing",
    ];
    let output = place.run(&signing);
    let said = stdout(&output);
    assert!(
        said.contains("nobody has to sign in") && !said.contains("register"),
        "{said}"
    );
    let (old, new) = (KeyRing::parse(&before).unwrap(), place.read("keys.toml"));
    let new = KeyRing::parse(&new).unwrap();
    assert_eq!(old.sealing[0].id, new.sealing[0].id);
    assert_ne!(old.signing[0].pem, new.signing[0].pem);
    let output = place.run(&["keys", "rotate", "keys.toml", "--emergency"]);
    assert!(stdout(&output).contains("must register again"));
    let new = KeyRing::parse(&place.read("keys.toml")).unwrap();
    assert_eq!((new.sealing.len(), new.signing.len()), (1, 1));
    assert_ne!(old.sealing[0].id, new.sealing[0].id);
}

#[test]
fn sealing_keys_go_only_when_somebody_says_yes() {
    let place = place("retire");
    let now = ["keys", "rotate", "keys.toml", "--now"];
    for _ in 0..2 {
        assert_eq!(place.run(&now).status.code(), Some(0));
    }
    let before = place.read("keys.toml");
    let retire = ["keys", "retire", "keys.toml", "--sealing"];
    let output = place.run(&retire);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("must register again"),
        "{}",
        stderr(&output)
    );
    assert_eq!(place.read("keys.toml"), before);
    let yes = [&retire[..], &["--yes-clients-must-register-again"]].concat();
    assert_eq!(place.run(&yes).status.code(), Some(0));
    assert_eq!(states(&place)[0], "sealing current");
    assert_eq!(
        KeyRing::parse(&place.read("keys.toml"))
            .unwrap()
            .sealing
            .len(),
        1
    );
    assert!(stdout(&place.run(&yes)).contains("no previous sealing key"));
}

#[test]
fn a_schedule_that_verifiers_cannot_follow_is_refused() {
    let place = place("schedule");
    let before = place.read("keys.toml");
    for wrong in [
        &["--propagation", "9m"][..],
        &["--propagation", "1h", "--after", "1h"],
        &["--after", "soon"],
        &["--now", "--emergency"],
        &["--only", "signing"],
    ] {
        let arguments = [&["keys", "rotate", "keys.toml"], wrong].concat();
        let output = place.run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(place.read("keys.toml"), before);
}
