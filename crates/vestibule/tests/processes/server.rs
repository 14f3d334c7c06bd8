//! A Redis or PostgreSQL server of one test's own, which is stopped, killed and started again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::street::{directory, free_ports, signal};

/// It ends with the test.
pub(crate) struct Server {
    program: &'static str,
    arguments: Vec<String>,
    directory: PathBuf,
    child: Child,
    pub(crate) url: String,
}

impl Server {
    /// Every write is in the log before it is answered, as docs/configuration.md recommends.
    pub(crate) async fn redis() -> Self {
        let (directory, [port, _]) = (directory(), free_ports());
        let arguments = format!(
            "--bind 127.0.0.1 --port {port} --dir {} --appendonly yes",
            directory.display()
        );
        let url = format!("redis://127.0.0.1:{port}/0");
        Self::start("redis-server", &arguments, directory, url).await
    }

    pub(crate) async fn postgres() -> Self {
        let (directory, [port, _]) = (directory(), free_ports());
        if is_root() {
            let mut chown = Command::new("chown");
            let status = chown.arg("postgres").arg(&directory).status();
            assert!(status.unwrap().success());
        }
        let data = directory.join("data");
        let output = command("initdb", &directory)
            .args(["--username", "vestibule", "--auth", "trust", "--no-sync"])
            .arg("--pgdata")
            .arg(&data)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let shown = directory.display();
        let arguments = format!(
            "-D {} -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={shown}",
            data.display()
        );
        let url = format!("postgres://vestibule@127.0.0.1:{port}/postgres?sslmode=disable");
        Self::start("postgres", &arguments, directory, url).await
    }

    async fn start(
        program: &'static str,
        arguments: &str,
        directory: PathBuf,
        url: String,
    ) -> Self {
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let server = Self {
            child: run(program, &arguments, &directory),
            program,
            arguments,
            directory,
            url,
        };
        for _ in 0..500 {
            if server.answers().await {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{program} does not answer");
    }

    async fn answers(&self) -> bool {
        if self.program == "postgres" {
            let connected = tokio_postgres::connect(&self.url, tokio_postgres::NoTls);
            return connected.await.is_ok();
        }
        let client = redis::Client::open(self.url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.is_ok()
    }

    /// The server and what it has started.
    fn processes(&self) -> Vec<u32> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        [own].into_iter().chain(children).collect()
    }

    /// It answers nobody, and nobody is told.
    pub(crate) fn stand_still(&self) {
        self.signal("STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        for pid in self.processes() {
            // Children come and go.
            let there = signal(pid, name);
            assert!(there || pid != self.child.id());
        }
    }

    /// As if the machine had lost its power.
    pub(crate) fn kill(&mut self) {
        let all = self.processes();
        // Otherwise the children would be told in time.
        self.stand_still();
        for pid in all {
            let _ = signal(pid, "KILL");
        }
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = run(self.program, &self.arguments, &self.directory);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// PostgreSQL refuses to run as root.
fn command(program: &str, directory: &Path) -> Command {
    let mut command = if is_root() && program != "redis-server" {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        command.args(["--", program]);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(directory).stdin(Stdio::null());
    command
}

fn run(program: &str, arguments: &[String], directory: &Path) -> Child {
    let log = directory.join("server.log");
    let log = fs::File::options().create(true).append(true).open(log);
    let log = log.unwrap();
    command(program, directory)
        .args(arguments)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}
