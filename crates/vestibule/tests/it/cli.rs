//! The program as a script sees it: exit codes, what goes to stdout and to stderr, and an orderly end on a signal.

mod keys;
mod operators;
mod watch;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::Place;

const CONFIG: &str = "\
public_url = \"http://localhost:8080\"
[server]
listen = [\"127.0.0.1:0\"]
[provider]
issuer = \"http://127.0.0.1:1/pool\"
client_id = \"c\"
[[resource]]
path = \"/mcp\"
upstream = \"http://127.0.0.1:1/mcp\"
[keys]
file = \"keys.toml\"
";

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn help_is_no_error_and_bad_usage_is_2() {
    let place = Place::new("help");
    let help = place.run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(stdout(&help).contains("Exit codes:"), "{}", stdout(&help));
    assert_eq!(place.run(&["--version"]).status.code(), Some(0));
    for wrong in [
        &["sevre"][..],
        &[],
        &["serve", "--nope"],
        &["keys", "generate", "--alg", "HS256"],
    ] {
        let output = place.run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{wrong:?}"
        );
    }
}

#[test]
fn a_bad_configuration_is_2_with_one_error_line_for_each_problem() {
    let place = Place::new("config");
    place.write(
        "vestibule.toml",
        &CONFIG
            .replace("client_id", "cleint_id")
            .replace("/mcp\"\nup", "/token\"\nup"),
    );
    let output = place.run(&["serve"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty());
    assert!(
        text.lines().count() >= 4 && text.lines().all(|line| line.starts_with("error: ")),
        "{text}"
    );
    assert!(
        text.contains(
            "error: vestibule.toml:6:1: provider.cleint_id: unknown key; did you mean `client_id`?"
        ),
        "{text}"
    );
    assert!(
        text.contains("error: vestibule.toml:8:1: resource[0].path"),
        "{text}"
    );
    assert!(text.contains("keys.file"), "{text}");

    let output = place.run(&["serve", "--config", "elsewhere.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("error: elsewhere.toml: cannot read"),
        "{}",
        stderr(&output)
    );
    let mut command = place.command(&["serve"]);
    let output = command
        .env("VESTIBULE_CONFIG", "named.toml")
        .output()
        .unwrap();
    assert!(
        stderr(&output).contains("named.toml"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_signing_algorithm_without_a_key_is_a_bad_configuration() {
    let place = Place::new("alg");
    place.write(
        "vestibule.toml",
        &format!("{CONFIG}[tokens]\nsigning_alg = \"RS256\"\n"),
    );
    assert!(
        place
            .run(&["keys", "generate", "--out", "keys.toml"])
            .status
            .success()
    );
    let output = place.run(&["serve"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("RS256"), "{}", stderr(&output));
}

#[test]
fn keys_go_to_stdout_or_to_a_private_file_that_is_not_replaced_by_accident() {
    let place = Place::new("keys");
    let output = place.run(&[
        "keys", "generate", "--alg", "ES256", "--alg", "EdDSA", "--alg", "ES256",
    ]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
    let ring = vestibule::keys::KeyRing::parse(&stdout(&output)).unwrap();
    assert_eq!((ring.sealing.len(), ring.signing.len()), (1, 2));

    let generate = ["keys", "generate", "--out", "keys.toml"];
    assert_eq!(place.run(&generate).status.code(), Some(0));
    assert_eq!(
        std::fs::metadata(place.0.join("keys.toml")).unwrap().mode() & 0o777,
        0o600
    );
    let first = place.read("keys.toml");
    let again = place.run(&generate);
    assert_eq!(again.status.code(), Some(2));
    assert!(
        stderr(&again).starts_with("error: keys.toml exists"),
        "{}",
        stderr(&again)
    );
    assert_eq!(place.read("keys.toml"), first);
    assert_eq!(
        place
            .run(&["keys", "generate", "--out", "keys.toml", "--force"])
            .status
            .code(),
        Some(0)
    );
    assert_ne!(place.read("keys.toml"), first);
    assert_eq!(
        place
            .run(&["keys", "generate", "--out", "no/such/keys.toml"])
            .status
            .code(),
        Some(1)
    );
}

#[test]
fn serve_says_where_it_listens_answers_and_ends_well_on_a_signal() {
    for signal in ["TERM", "INT"] {
        let place = Place::new(signal);
        place.write("vestibule.toml", CONFIG);
        assert!(
            place
                .run(&["keys", "generate", "--out", "keys.toml"])
                .status
                .success()
        );
        let mut child = place
            .command(&["serve"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut announcement = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut announcement)
            .unwrap();
        let address = announcement
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let answer = get(
            address.unwrap_or_else(|| panic!("no address in '{announcement}'")),
            "/healthz",
        );
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let store = std::fs::metadata(place.0.join("vestibule.redb"));
        assert_eq!(store.unwrap().mode() & 0o777, 0o600);
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(end(&mut child), Some(0), "{signal}");
        let mut log = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        assert!(
            log.lines().all(|line| line.starts_with('{')),
            "one JSON object a line: {log}"
        );
        assert!(log.contains(&format!("SIG{signal}")), "{log}");
    }
}

#[test]
fn an_address_in_use_is_a_failure_while_running() {
    let place = Place::new("in-use");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    place.write("vestibule.toml", &CONFIG.replace("127.0.0.1:0", &address));
    assert!(
        place
            .run(&["keys", "generate", "--out", "keys.toml"])
            .status
            .success()
    );
    let output = place.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains(&format!("error: cannot listen on {address}")),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_store_that_cannot_be_used_stops_the_start_and_says_what_to_do() {
    let place = Place::new("store");
    place.run(&["keys", "generate", "--out", "keys.toml"]);
    let with = |url: &str| format!("{CONFIG}[store]\nurl = \"{url}\"\n");
    place.write("vestibule.toml", &with("redb:no/such/vestibule.redb"));
    let output = place.run(&["serve"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(
        text.contains("error: store: ") && text.contains("does not exist"),
        "{text}"
    );

    // The default, whose file is something else.
    place.write("vestibule.toml", CONFIG);
    std::fs::create_dir(place.0.join("vestibule.redb")).unwrap();
    let output = place.run(&["serve"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(
        text.contains("is a directory") && text.contains("store.url"),
        "{text}"
    );

    let output = place.run(&["dev", "--port", "0", "--ephemeral", "--store", "mysql://x"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("is no store"),
        "{}",
        stderr(&output)
    );
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The exit code, if the program ends within ten seconds.
fn end(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    None
}

/// The configuration of `serve` in the documentation and in `tests/clients` names its key ring relative to itself.
#[test]
fn paths_in_the_configuration_are_relative_to_it() {
    let place = Place::new("relative");
    std::fs::create_dir_all(place.0.join("etc")).unwrap();
    place.write("etc/vestibule.toml", CONFIG);
    assert!(
        place
            .run(&["keys", "generate", "--out", "etc/keys.toml"])
            .status
            .success()
    );
    let settings = vestibule::settings::Settings::load(
        Some(&place.0.join(Path::new("etc/vestibule.toml"))),
        &vestibule::settings::NoEnvironment,
    );
    let keys = settings.unwrap().keys;
    assert!(
        matches!(keys, vestibule::settings::KeysSettings::File(file) if file == place.0.join("etc/keys.toml"))
    );
}
