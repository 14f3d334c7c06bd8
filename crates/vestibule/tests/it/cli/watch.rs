//! `vestibule serve` with metrics and an audit stream: listeners, signals, and the end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{CONFIG, stderr};
use crate::support::Place;

const LONG: Duration = Duration::from_secs(30);

struct Serving {
    child: Child,
    /// What it says on standard output.
    said: Vec<String>,
    place: Place,
}

impl Serving {
    /// `lines`: how many of them are awaited.
    fn start(name: &str, more: &str, lines: usize) -> Self {
        let place = Place::new(name);
        place.write("vestibule.toml", &format!("{CONFIG}{more}"));
        let made = place.run(&["keys", "generate", "--out", "keys.toml"]);
        assert!(made.status.success(), "{}", stderr(&made));
        let mut command = place.command(&["serve"]);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = said.take(lines).map(Result::unwrap).collect();
        Self { child, said, place }
    }

    fn address(&self, whom: &str) -> &str {
        let line = self.said.iter().find(|line| line.contains(whom)).unwrap();
        let word = line.split(' ').find(|word| word.starts_with("http://"));
        word.unwrap().strip_prefix("http://").unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    fn audit(&self) -> Vec<Value> {
        let text = self.place.read("audit.log");
        let read = |line: &str| serde_json::from_str(line).unwrap();
        text.lines().map(read).collect()
    }

    #[track_caller]
    fn until(&self, what: &str, mut reached: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !reached(self) {
            assert!(start.elapsed() < LONG, "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_have_a_listener_of_their_own_and_count_connections_and_reloads() {
    let serving = Serving::start("watch-metrics", "[metrics]\nlisten = \"127.0.0.1:0\"\n", 2);
    let (public, metrics) = (serving.address("for http"), serving.address("for metrics"));
    assert!(get(public, "/healthz").starts_with("HTTP/1.1 200"));
    let _open = TcpStream::connect(public).unwrap();
    serving.until("the connection", |_| {
        get(metrics, "/metrics").contains("\nvestibule_active_connections 1\n")
    });
    let text = get(metrics, "/metrics");
    let asked = "vestibule_http_requests_total{route=\"/healthz\",method=\"GET\",code=\"200\"} 1\n";
    assert!(text.contains(asked), "{text}");
    assert!(get(public, "/metrics").starts_with("HTTP/1.1 404"));
    serving.signal("-HUP");
    serving.until("the reload", |_| {
        let text = get(metrics, "/metrics");
        text.contains("vestibule_config_reloads_total{outcome=\"taken\"} 1\n")
            && text.contains(asked)
    });
}

#[test]
fn sighup_makes_a_new_audit_file_and_every_event_is_written_before_the_end() {
    let mut serving = Serving::start("watch-audit", "[audit]\nto = \"audit.log\"\n", 1);
    let public = serving.address("for http").to_owned();
    assert!(get(&public, "/authorize?client_id=nobody").starts_with("HTTP/1.1 400"));
    serving.until("the refusal", |serving| !serving.audit().is_empty());
    let line = serving.audit().remove(0);
    assert_eq!(line["type"], "authorize.refused");
    assert_eq!(line["source"]["ip"], "127.0.0.1");
    let (log, old) = (
        serving.place.0.join("audit.log"),
        serving.place.0.join("audit.1"),
    );
    std::fs::rename(&log, &old).unwrap();
    serving.signal("-HUP");
    serving.until("the new file", |_| log.exists());
    serving.until("the event", |serving| !serving.audit().is_empty());
    let line = serving.audit().remove(0);
    assert_eq!(
        (&line["type"], &line["note"]),
        (&"config.reloaded".into(), &"SIGHUP".into())
    );
    serving.place.write("vestibule.toml", "nonsense");
    serving.signal("-HUP");
    serving.until("the refusal", |serving| serving.audit().len() == 2);
    assert_eq!(serving.audit()[1]["outcome"], "failure");
    for _ in 0..20 {
        get(&public, "/authorize?client_id=nobody");
    }
    serving.signal("-TERM");
    assert!(serving.child.wait().unwrap().success());
    assert_eq!(serving.audit().len(), 22);
    assert_eq!(serving.place.read("audit.1").lines().count(), 1);
}

#[test]
fn a_rotation_is_told_with_the_ids_of_the_keys_that_came_and_of_those_in_use() {
    let serving = Serving::start("watch-keys", "[audit]\nto = \"audit.log\"\n", 1);
    let public = serving.address("for http").to_owned();
    let rotated = serving.place.run(&["keys", "rotate", "--now", "keys.toml"]);
    assert!(rotated.status.success(), "{}", stderr(&rotated));
    serving.signal("-HUP");
    let of_keys = |line: &Value| line["type"] == "key.rotated";
    serving.until("the event", |serving| serving.audit().iter().any(of_keys));
    let line = serving.audit().into_iter().find(of_keys).unwrap();
    let told = |name: &str| line["keys"][name].as_array().unwrap().clone();
    assert_eq!(told("went"), Vec::<Value>::new());
    let published = get(&public, "/jwks.json");
    let is_published = |id: &Value| published.contains(&format!("\"kid\":{id}"));
    // One for sealing, and one for signing, which waits.
    assert_eq!(told("came").len(), 2, "{line}");
    assert_eq!(told("came").iter().filter(|id| is_published(id)).count(), 1);
    assert!(is_published(&line["keys"]["signing"]), "{line}");
    assert!(!told("came").contains(&line["keys"]["signing"]));
    assert!(!told("came").contains(&line["keys"]["sealing"]));
}

#[test]
fn an_audit_file_that_cannot_be_written_keeps_the_server_from_starting() {
    let place = Place::new("watch-unwritable");
    let more = "[audit]\nto = \"/nonexistent/directory/audit.log\"\n";
    place.write("vestibule.toml", &format!("{CONFIG}{more}"));
    place.run(&["keys", "generate", "--out", "keys.toml"]);
    let output = place.run(&["serve"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("audit.to: /nonexistent/directory/audit.log"),
        "{}",
        stderr(&output)
    );
}
