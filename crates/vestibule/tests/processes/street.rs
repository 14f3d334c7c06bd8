//! `Street`: the provider and the MCP server in this process, one or two `vestibule serve` beside it, and clients.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::Value;
use vestibule_oauth::random::{Random as _, SystemRandom};
use vestibule_oauth::time::SystemClock;
use vestibule_standin::cognito::{Cognito, CognitoOptions, Endpoint, Fault};
use vestibule_standin::demo::{Demo, DemoOptions};

use crate::browser::Answer;
use crate::client::{Client, HungUp, send};

/// Longer than anything takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(90);

/// What a street is like.
pub(crate) struct Plan<'a> {
    /// Where the store is.
    pub(crate) store: &'a str,
    /// The provider rotates refresh tokens, with this grace; `None` does not rotate.
    pub(crate) rotation: Option<u64>,
    /// `provider.timeout` in seconds; a lease holds 5 seconds longer.
    pub(crate) timeout: u64,
    /// `tokens.provider_recheck` in seconds.
    pub(crate) recheck: u64,
    /// The MCP server, if it is not the demo.
    pub(crate) upstream: Option<String>,
    /// More lines of the `[[resource]]`.
    pub(crate) resource: &'a str,
}

/// Everything that runs for one test. It ends with it.
pub(crate) struct Street {
    pub(crate) cognito: Cognito,
    pub(crate) directory: PathBuf,
    pub(crate) replicas: Vec<Replica>,
    origin: String,
    demo: Demo,
}

/// A process.
pub(crate) struct Replica {
    child: Child,
    name: String,
    directory: PathBuf,
    /// `http://127.0.0.1:PORT`, the same after a restart.
    base: String,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(store: &'a str, rotation: Option<u64>) -> Self {
        Self {
            store,
            rotation,
            timeout: 10,
            recheck: 0,
            upstream: None,
            resource: "",
        }
    }
}

impl Street {
    /// Two processes; one where the store is a file.
    pub(crate) async fn open(plan: Plan<'_>) -> Self {
        let options = CognitoOptions {
            rotation: plan.rotation,
            ..CognitoOptions::default()
        };
        let cognito = Cognito::start(options, Arc::new(SystemClock))
            .await
            .unwrap();
        let demo = Demo::start(DemoOptions::default()).await.unwrap();
        let directory = directory();
        let ports = free_ports();
        let origin = format!("http://localhost:{}", ports[0]);
        cognito.allow_callback(&format!("{origin}/callback"));
        let output = command(&directory)
            .args(["keys", "generate", "--out", "keys.toml"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut street = Self {
            cognito,
            directory,
            replicas: Vec::new(),
            origin,
            demo,
        };
        let count = if plan.store.starts_with("redb:") {
            1
        } else {
            2
        };
        for port in &ports[..count] {
            let name = format!("replica-{}", street.replicas.len());
            let keys = format!("{name}-keys.toml");
            std::fs::copy(
                street.directory.join("keys.toml"),
                street.directory.join(&keys),
            )
            .unwrap();
            let config = street.config(&plan, *port, &keys);
            std::fs::write(street.directory.join(format!("{name}.toml")), config).unwrap();
            let replica = Replica {
                child: start(&street.directory, &name),
                name,
                directory: street.directory.clone(),
                base: format!("http://127.0.0.1:{port}"),
            };
            // One after the other: the first one makes tables.
            replica.ready().await;
            street.replicas.push(replica);
        }
        street
    }

    fn config(&self, plan: &Plan<'_>, port: u16, keys: &str) -> String {
        let cognito = &self.cognito;
        let upstream = plan.upstream.as_deref().unwrap_or(self.demo.url());
        let mut config = String::new();
        writeln!(
            config,
            "public_url = \"{origin}\"\n\
             [server]\nlisten = [\"127.0.0.1:{port}\"]\n\
             [provider]\nissuer = \"{issuer}\"\nclient_id = \"{id}\"\nclient_secret = \"{secret}\"\n\
             scopes = [\"openid\", \"email\", \"profile\"]\npreset = \"cognito\"\ntimeout = \"{timeout}s\"\n\
             [[resource]]\npath = \"/mcp\"\nupstream = \"{upstream}\"\nscopes = [\"mcp:read\", \"mcp:write\"]\n{resource}\
             [resource.credential]\ntype = \"vestibule-token\"\n\
             [tokens]\nprovider_recheck = \"{recheck}s\"\n\
             [keys]\nfile = \"{keys}\"\n\
             [store]\nurl = \"{store}\"\n\
             [limits]\nenabled = false",
            origin = self.origin,
            issuer = cognito.issuer(),
            id = cognito.client_id(),
            secret = cognito.client_secret(),
            timeout = plan.timeout,
            recheck = plan.recheck,
            resource = plan.resource,
            store = plan.store,
        )
        .unwrap();
        config
    }

    /// The last replica; with one process it is the first.
    pub(crate) fn other(&self) -> usize {
        self.replicas.len() - 1
    }

    fn bases(&self) -> Vec<String> {
        let bases = self.replicas.iter().map(|replica| replica.base.clone());
        bases.collect()
    }

    pub(crate) async fn register(&self) -> Client {
        Client::register(&self.origin, self.bases()).await
    }

    /// A new client, signed in: its first refresh token.
    pub(crate) async fn sign_in(&self) -> (Client, String) {
        let client = self.register().await;
        let code = client.code().await;
        let token = client.redeem(&code).await;
        (client, token)
    }

    /// Calls of the provider's token endpoint, those included that have not been answered.
    pub(crate) fn token_calls(&self) -> u64 {
        self.cognito.control().calls(Endpoint::Token)
    }

    /// How often each of the provider's refresh tokens was presented.
    pub(crate) fn presented(&self) -> Vec<u64> {
        let all = self.cognito.control().all_refreshes();
        all.into_values().collect()
    }

    /// The provider takes this long for the next `times` answers.
    pub(crate) fn slow(&self, milliseconds: u64, times: u32) {
        let slow = Fault::Slow(Duration::from_millis(milliseconds));
        let control = self.cognito.control();
        control.set_fault(Endpoint::Token, Some(slow), Some(times));
    }

    /// Begins a refresh at the first replica, and returns when the provider has been asked and takes its time: for half a
    /// second more.
    pub(crate) async fn begin_refresh(
        &self,
        client: &Client,
        token: &str,
    ) -> tokio::task::JoinHandle<Result<Answer, HungUp>> {
        let before = self.token_calls();
        // Others may ask as well.
        self.slow(700, 100);
        let (client, token) = (client.clone(), token.to_owned());
        let asked = tokio::spawn(async move { client.refresh(0, &token).await });
        until("the provider is asked", || self.token_calls() > before).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.cognito.control().clear_faults();
        asked
    }
}

impl Replica {
    /// As `kill -NAME` does.
    pub(crate) fn signal(&self, name: &str) {
        assert!(signal(self.child.id(), name));
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it in an orderly way.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success());
    }

    pub(crate) async fn start(&mut self) {
        self.child = start(&self.directory, &self.name);
        self.ready().await;
    }

    /// Another key ring, read at SIGHUP.
    pub(crate) async fn take_keys(&self, ring: &str) {
        let file = self.directory.join(format!("{}-keys.toml", self.name));
        let loaded = || self.log().matches("configuration reloaded").count();
        let before = loaded();
        std::fs::write(file, ring).unwrap();
        self.signal("HUP");
        until("the keys are read", || loaded() > before).await;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The lines of the log with this `event`.
    pub(crate) fn said(&self, event: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &Value| line["event"] == event)
            .collect()
    }

    pub(crate) fn log(&self) -> String {
        let file = self.directory.join(format!("{}.log", self.name));
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// Where it listens, without the scheme.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// What it has of the memory of this machine, in KiB (PSS).
    pub(crate) fn memory(&self) -> u64 {
        let rollup = format!("/proc/{}/smaps_rollup", self.child.id());
        let rollup = std::fs::read_to_string(rollup).unwrap();
        let line = rollup.lines().find(|line| line.starts_with("Pss:"));
        let pss = line.unwrap().split_whitespace().nth(1);
        pss.unwrap().parse().unwrap()
    }

    async fn ready(&self) {
        let started = Instant::now();
        let url = format!("{}/readyz", self.base);
        loop {
            let answer = send(Method::GET, &url, &[], String::new()).await;
            if answer.is_ok_and(|answer| answer.status == StatusCode::OK) {
                return;
            }
            assert!(started.elapsed() < LONG, "not ready: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Waits until `reached`.
pub(crate) async fn until(what: &str, reached: impl Fn() -> bool) {
    let started = Instant::now();
    while !reached() {
        assert!(started.elapsed() < LONG, "{what}: never");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// As `kill -NAME PID` does. False when there is no such process.
pub(crate) fn signal(pid: u32, name: &str) -> bool {
    let arguments = [format!("-{name}"), pid.to_string()];
    let output = Command::new("kill").args(arguments).output();
    output.unwrap().status.success()
}

/// A directory for one test, outside of the source tree: the servers of some tests run as another user.
pub(crate) fn directory() -> PathBuf {
    let name = format!("vestibule-{}", SystemRandom.token(9));
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir(&directory).unwrap();
    directory
}

/// Ports that nobody listens on.
pub(crate) fn free_ports() -> [u16; 2] {
    let bound = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    bound.map(|listener| listener.local_addr().unwrap().port())
}

/// The program that is tested, or another build of it.
pub(crate) fn program() -> std::ffi::OsString {
    std::env::var_os("VESTIBULE_TEST_PROGRAM")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_vestibule").into())
}

pub(crate) fn command(directory: &Path) -> Command {
    let mut command = Command::new(program());
    let aws = std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"AWS_"));
    command.current_dir(directory).env_clear().envs(aws);
    command
}

fn start(directory: &Path, name: &str) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(directory.join(format!("{name}.log")))
        .unwrap();
    let mut child = command(directory)
        .args(["serve", "--config", &format!("{name}.toml")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    if line.is_empty() {
        let log = std::fs::read_to_string(directory.join(format!("{name}.log")));
        panic!("it has ended: {}", log.unwrap());
    }
    child
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended, and then it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(30).collect();
            for line in last.into_iter().rev() {
                eprintln!("{}: {line}", self.name);
            }
        }
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        self.replicas.clear();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
