//! `Street`: the provider and the MCP server in this process, one or two `vestibule serve` beside it, and clients.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::{Random as _, SystemRandom};
use vestibule_oauth::time::SystemClock;
use vestibule_standin::cognito::{Cognito, CognitoOptions, Endpoint, Fault};
use vestibule_standin::demo::{Demo, DemoOptions};

use crate::browser::{Answer, Browser, whole};

pub(crate) const CALLBACK: &str = "http://localhost:4711/callback";
/// Longer than anything takes on a busy machine.
const LONG: Duration = Duration::from_secs(90);

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

/// A client that signed in.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    verifier: String,
    bases: Vec<String>,
}

/// Nobody answered, or not to the end.
#[derive(Debug)]
pub(crate) struct HungUp;

impl<'a> Plan<'a> {
    pub(crate) fn new(store: &'a str, rotation: Option<u64>) -> Self {
        Self {
            store,
            rotation,
            timeout: 10,
            recheck: 0,
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
        let (cognito, upstream) = (&self.cognito, self.demo.url());
        let mut config = String::new();
        writeln!(
            config,
            "public_url = \"{origin}\"\n\
             [server]\nlisten = [\"127.0.0.1:{port}\"]\n\
             [provider]\nissuer = \"{issuer}\"\nclient_id = \"{id}\"\nclient_secret = \"{secret}\"\n\
             scopes = [\"openid\", \"email\", \"profile\"]\npreset = \"cognito\"\ntimeout = \"{timeout}s\"\n\
             [[resource]]\npath = \"/mcp\"\nupstream = \"{upstream}\"\nscopes = [\"mcp:read\", \"mcp:write\"]\n\
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

    /// Registers a public client.
    pub(crate) async fn register(&self) -> Client {
        let body = json!({ "client_name": "Test", "redirect_uris": [CALLBACK] }).to_string();
        let url = format!("{}/register", self.replicas[0].base);
        let answer = send(Method::POST, &url, &[JSON], body).await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        Client {
            id: answer.json()["client_id"].as_str().unwrap().to_owned(),
            verifier: CodeVerifier::generate(&SystemRandom).expose().to_owned(),
            bases: self.bases(),
        }
    }

    /// Everything that a browser does in Ada's sign-in; gives our code.
    pub(crate) async fn code(&self, client: &Client) -> String {
        let challenge = CodeVerifier::parse(&client.verifier).unwrap().challenge();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", CALLBACK)
            .append_pair("code_challenge", challenge.as_str())
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", "s")
            .append_pair("resource", &format!("{}/mcp", self.origin))
            .finish();
        let mut browser = Browser::new(&self.origin, Vec::new());
        let page = browser
            .get(&format!("{}/authorize?{query}", self.origin))
            .await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        let ticket = page.input("ticket");
        let form = [("ticket", ticket.as_str()), ("decision", "approve")];
        let approved = browser
            .post(&format!("{}/consent", self.origin), &form)
            .await;
        let back = browser
            .sign_in_at_provider(approved.location(), "ada", "lovelace")
            .await;
        let answer = browser.get(back.location()).await;
        let code = answer.location_param("code");
        code.unwrap_or_else(|| panic!("no code in {}", answer.location()))
    }

    /// A new client, signed in: its first refresh token.
    pub(crate) async fn sign_in(&self) -> (Client, String) {
        let client = self.register().await;
        let code = self.code(&client).await;
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

    /// Fails unless the access token of `answer` opens the door of every replica.
    pub(crate) async fn assert_open(&self, answer: &Answer) {
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {token}");
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
        for base in self.bases() {
            let headers = [JSON, ("authorization", &bearer), ACCEPT];
            let url = format!("{base}/mcp");
            let answer = send(Method::POST, &url, &headers, body.clone())
                .await
                .unwrap();
            assert!(
                !matches!(answer.status.as_u16(), 401 | 403 | 500..),
                "{} {}",
                answer.status,
                answer.text()
            );
        }
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");
const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");

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

    fn log(&self) -> String {
        let file = self.directory.join(format!("{}.log", self.name));
        std::fs::read_to_string(file).unwrap_or_default()
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

impl Client {
    /// Redeems a code; gives the refresh token.
    pub(crate) async fn redeem(&self, code: &str) -> String {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("client_id", &self.id),
            ("redirect_uri", CALLBACK),
            ("code_verifier", &self.verifier),
        ];
        let answer = self.post(0, "/token", &form).await.unwrap();
        refresh_token(&answer)
    }

    pub(crate) async fn refresh(&self, replica: usize, token: &str) -> Result<Answer, HungUp> {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", &self.id),
        ];
        self.post(replica, "/token", &form).await
    }

    /// As a client does that is not to be logged out: again after 503 and after no answer. Anything else fails the test.
    pub(crate) async fn refresh_until_good(&self, replica: usize, token: &str) -> Answer {
        let started = Instant::now();
        loop {
            if let Ok(answer) = self.refresh(replica, token).await {
                if answer.status == StatusCode::OK {
                    return answer;
                }
                assert_busy(&answer);
            }
            assert!(started.elapsed() < LONG, "it is never answered");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(crate) async fn post(
        &self,
        replica: usize,
        path: &str,
        form: &[(&str, &str)],
    ) -> Result<Answer, HungUp> {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let url = format!("{}{path}", self.bases[replica]);
        let form = [("content-type", "application/x-www-form-urlencoded")];
        send(Method::POST, &url, &form, body).await
    }
}

/// 503, and when to come again.
#[track_caller]
pub(crate) fn assert_busy(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.error(), "temporarily_unavailable");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[track_caller]
pub(crate) fn refresh_token(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
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
fn command(directory: &Path) -> Command {
    let program = std::env::var_os("VESTIBULE_TEST_PROGRAM")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_vestibule").into());
    let mut command = Command::new(program);
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

async fn send(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Result<Answer, HungUp> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let client = HttpClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let answer = client.request(request).await.map_err(|_| HungUp)?;
    Ok(whole(answer).await)
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
