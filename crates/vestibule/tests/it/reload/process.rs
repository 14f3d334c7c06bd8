//! The program itself: SIGHUP, changed files, broken files, and what cannot change.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;

const CONFIG: &str = "\
public_url = \"http://localhost:8080\"
[server]
listen = [\"127.0.0.1:0\"]
[provider]
issuer = \"http://127.0.0.1:1/pool\"
client_id = \"c\"
client_secret_file = \"secret\"
[[resource]]
path = \"/mcp\"
upstream = \"http://127.0.0.1:1/mcp\"
[keys]
file = \"keys.toml\"
";

/// Longer than two looks at the files, on a busy machine.
const LONG: Duration = Duration::from_secs(30);

/// A client that believes one certificate.
pub(super) fn believing(certificate: &CertificateDer<'static>) -> tokio_rustls::TlsConnector {
    tokio_rustls::TlsConnector::from(client_config(certificate))
}

fn client_config(certificate: &CertificateDer<'static>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Every handshake is a whole one.
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// `vestibule serve` in a directory of its own.
struct Serving {
    directory: PathBuf,
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
}

impl Serving {
    fn start(name: &str, config: &str, prepare: impl FnOnce(&Self)) -> Self {
        let directory =
            std::env::temp_dir().join(format!("vestibule-reload-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let child = Self::command(&directory, &["--version"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut serving = Self {
            directory,
            child,
            address: String::new(),
            log: Arc::default(),
        };
        serving.child.wait().unwrap();
        serving.write("vestibule.toml", config);
        serving.write("secret", "the secret at the provider\n");
        serving.run(&["keys", "generate", "--out", "keys.toml"]);
        prepare(&serving);
        serving.child = Self::command(&serving.directory, &["serve"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(serving.child.stderr.take().unwrap());
        let log = Arc::clone(&serving.log);
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                writeln!(log.lock().unwrap(), "{line}").unwrap();
            }
        });
        let mut announcement = String::new();
        BufReader::new(serving.child.stdout.take().unwrap())
            .read_line(&mut announcement)
            .unwrap();
        let after = announcement
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        serving.address = after
            .unwrap_or_else(|| panic!("'{announcement}' {}", serving.log()))
            .to_owned();
        serving
    }

    fn command(directory: &PathBuf, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.args(arguments).current_dir(directory).env_clear();
        command
    }

    fn run(&self, arguments: &[&str]) {
        let status = Self::command(&self.directory, arguments).status();
        assert!(status.unwrap().success());
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.join(name), text).unwrap();
    }

    fn hang_up(&self) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(status.unwrap().success());
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn get(&self, path: &str) -> Value {
        json_of(TcpStream::connect(&self.address).unwrap(), path)
    }

    fn config(&self) -> Value {
        self.get("/readyz")["config"].clone()
    }

    fn scopes(&self) -> Value {
        self.get("/.well-known/oauth-protected-resource/mcp")["scopes_supported"].clone()
    }

    fn keys(&self) -> usize {
        self.get("/jwks.json")["keys"].as_array().unwrap().len()
    }

    #[track_caller]
    fn until_logged(&self, text: &str) {
        self.until(text, || self.log().contains(text));
    }

    #[track_caller]
    fn until(&self, what: &str, mut reached: impl FnMut() -> bool) {
        let start = Instant::now();
        while !reached() {
            assert!(start.elapsed() < LONG, "{what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn json_of(mut stream: impl Read + Write, path: &str) -> Value {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {answer}"))
}

fn with_scopes(scopes: &str) -> String {
    CONFIG.replace(
        "path = \"/mcp\"",
        &format!("path = \"/mcp\"\nscopes = {scopes}"),
    )
}

#[test]
fn sighup_takes_a_good_configuration_at_once_and_keeps_the_old_one_instead_of_a_bad_one() {
    let serving = Serving::start("hup", &with_scopes("[\"a\"]"), |_| {});
    assert_eq!(serving.scopes(), serde_json::json!(["a"]));
    let first = serving.config();
    assert!(first["loaded_at"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(first["last_error"], Value::Null);

    serving.write("vestibule.toml", &with_scopes("[\"a\", \"b\"]"));
    serving.hang_up();
    serving.until("the new scopes", || {
        serving.scopes() == serde_json::json!(["a", "b"])
    });
    serving.until_logged("configuration reloaded");

    let secret = "a-secret-where-none-belongs";
    serving.write(
        "vestibule.toml",
        &with_scopes("[\"c\"]").replace("/mcp\"\n[", &format!("/mcp\"\ntimeout = \"{secret}\"\n[")),
    );
    serving.hang_up();
    serving.until("the error", || {
        serving.config()["last_error"] != Value::Null
    });
    assert_eq!(serving.config()["last_error"], "vestibule.toml:12:1");
    assert!(!serving.get("/readyz").to_string().contains(secret));
    serving.until_logged("configuration not taken");
    let log = serving.log();
    let line = log
        .lines()
        .find(|line| line.contains("configuration not taken"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(
        line.contains("vestibule.toml:12:1: resource[0].timeout"),
        "{line}"
    );
    assert!(line.contains("\"ERROR\""), "{line}");
    assert_eq!(
        serving.scopes(),
        serde_json::json!(["a", "b"]),
        "the old one serves"
    );

    serving.write("vestibule.toml", &with_scopes("[\"d\"]"));
    serving.hang_up();
    serving.until("the mended one", || {
        serving.scopes() == serde_json::json!(["d"])
    });
    assert_eq!(serving.config()["last_error"], Value::Null);
}

#[test]
fn what_is_bound_once_is_refused_whole() {
    let serving = Serving::start("fixed", &with_scopes("[\"a\"]"), |_| {});
    let other = with_scopes("[\"b\"]").replace("127.0.0.1:0", "[::1]:0");
    serving.write("vestibule.toml", &other);
    serving.hang_up();
    serving.until("the refusal", || {
        serving.config()["last_error"] == "server.listen"
    });
    serving.until_logged("server.listen cannot change while the server runs");
    assert_eq!(serving.scopes(), serde_json::json!(["a"]));
}

#[test]
fn changed_files_are_noticed_one_by_one() {
    let serving = Serving::start("files", CONFIG, |_| {});
    assert_eq!(serving.keys(), 1);
    serving.run(&["keys", "rotate", "--now", "keys.toml"]);
    serving.until("the next key", || serving.keys() == 2);

    // A secret that is gone, for instance between two steps of whoever replaces it.
    std::fs::remove_file(serving.directory.join("secret")).unwrap();
    serving.until("the error", || {
        serving.config()["last_error"] != Value::Null
    });
    serving.until_logged("client_secret_file");
    assert_eq!(serving.keys(), 2);
    let reloads = || serving.log().matches("configuration reloaded").count();
    let before = reloads();
    serving.write("secret", "another secret\n");
    serving.until("the secret", || {
        serving.config()["last_error"] == Value::Null
    });
    serving.until("the line", || reloads() == before + 1);
}

#[test]
fn a_file_that_is_still_being_written_is_not_read() {
    let serving = Serving::start("half", &with_scopes("[\"a\"]"), |_| {});
    let whole = with_scopes("[\"b\"]");
    // Longer than an interval altogether, but never the same for as long as one.
    for part in 1..=6 {
        serving.write("vestibule.toml", &whole[..whole.len() * part / 6]);
        std::thread::sleep(Duration::from_millis(700));
    }
    serving.until("the whole file", || {
        serving.scopes() == serde_json::json!(["b"])
    });
    assert!(
        !serving.log().contains("configuration not taken"),
        "{}",
        serving.log()
    );
}

#[test]
fn a_renewed_certificate_is_served_to_new_handshakes() {
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let put = |serving: &Serving, pair: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        serving.write("cert.pem", &pair.cert.pem());
        serving.write("key.pem", &pair.signing_key.serialize_pem());
    };
    let (old, new) = (pair(), pair());
    let config = CONFIG.replace(
        "127.0.0.1:0\"]",
        "127.0.0.1:0\"]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }",
    );
    let serving = Serving::start("tls", &config, |serving| put(serving, &old));
    let healthy = |certificate: &CertificateDer<'static>| {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = rustls::ClientConnection::new(client_config(certificate), name).unwrap();
        let mut socket = TcpStream::connect(&serving.address).unwrap();
        let mut stream = rustls::Stream::new(&mut client, &mut socket);
        let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).is_ok() && stream.read(&mut [0; 64]).is_ok()
    };
    assert!(healthy(old.cert.der()) && !healthy(new.cert.der()));
    put(&serving, &new);
    serving.until("the new certificate", || healthy(new.cert.der()));
    assert!(!healthy(old.cert.der()));
}
