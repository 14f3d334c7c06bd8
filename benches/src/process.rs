//! Processes under test: started on one CPU, measured through `/proc`, ended by their ids.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Fallible, load};

/// The CPU of the process under test. Load and mock server have the other one.
pub(crate) const TARGET_CPU: usize = 1;
/// The CPU of everything else.
pub(crate) const LOAD_CPU: usize = 0;

/// A process with its descendants. It ends with this value.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) log: PathBuf,
    pub(crate) started: Instant,
}

/// A command that runs on one CPU, where there are two.
pub(crate) fn pinned(cpu: usize, program: &Path) -> Command {
    if !has_two_cpus() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &cpu.to_string()]).arg(program);
    command
}

/// Leaves the other CPU to the process under test. Whoever makes the load there too, now and then, takes from it what they
/// then measure.
pub(crate) fn pin_load() -> Fallible<()> {
    if !has_two_cpus() {
        return Ok(());
    }
    let mut command = Command::new("taskset");
    let (cpu, itself) = (LOAD_CPU.to_string(), std::process::id().to_string());
    command.args(["--all-tasks", "--cpu-list", "--pid", &cpu, &itself]);
    let ended = command.stdout(Stdio::null()).status()?;
    if ended.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {ended}").into())
    }
}

/// What the machine has, not what we may use: we are pinned ourselves.
fn has_two_cpus() -> bool {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let machine = fs::read_to_string("/proc/cpuinfo").map_or(cpus, |text| {
        text.lines()
            .filter(|line| line.starts_with("processor"))
            .count()
    });
    machine > 1
}

/// The same command, run by `tool` on the same CPU.
pub(crate) fn under(command: &Command, tool: &[&str]) -> Command {
    let whole = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let mut words: Vec<OsString> = whole.map(OsString::from).collect();
    let at = if command.get_program() == "taskset" {
        3
    } else {
        0
    };
    words.splice(at..at, tool.iter().map(OsString::from));
    let mut words = words.into_iter();
    let mut under = Command::new(words.next().unwrap_or_default());
    under.args(words).env_clear();
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            under.env(name, value);
        }
    }
    under
}

impl Process {
    /// Starts `command` with its output in `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Fallible<Self> {
        let file = File::create(log)?;
        let started = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Self {
            child,
            log: log.to_owned(),
            started,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until somebody listens at `address`.
    pub(crate) async fn listens(&mut self, address: SocketAddr) -> Fallible<()> {
        let began = Instant::now();
        while load::connect(address).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it has ended ({status}): {}", self.tail()).into());
            }
            if began.elapsed() > Duration::from_secs(60) {
                return Err(format!("nobody listens at {address}: {}", self.tail()).into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The end of what it wrote.
    pub(crate) fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let from = text.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
        text.get(from..).unwrap_or_default().to_owned()
    }

    /// Seconds of CPU that it and its descendants have had, without threads that have ended. To the nanosecond: the ticks of
    /// `/proc/PID/stat` are a hundredth of a second.
    pub(crate) fn cpu(&self) -> f64 {
        tree(self.id()).into_iter().map(nanoseconds).sum::<f64>() / 1e9
    }

    /// Its share of the memory of this machine, in KiB (PSS), with its descendants.
    pub(crate) fn memory(&self) -> f64 {
        tree(self.id()).into_iter().filter_map(pss).sum()
    }

    /// Asks it to end, as `kill` does.
    pub(crate) fn terminate(&self) {
        for id in tree(self.id()) {
            let _ = Command::new("kill").arg(id.to_string()).status();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![root];
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = ids
        .filter_map(|id| Some((id, stat(id)?.get(1)?.parse().ok()?)))
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        let children = parents.iter().filter(|(_, own)| *own == parent);
        tree.extend(children.map(|(id, _)| *id));
        next += 1;
    }
    tree
}

/// The fields of `/proc/ID/stat` from the third on: what stands before them may hold blanks.
fn stat(id: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn nanoseconds(id: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else {
        return 0.0;
    };
    let of = |thread: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    threads.filter_map(of).sum()
}

fn pss(id: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Ports of the loopback that nobody listens on.
pub(crate) fn free_ports<const N: usize>() -> Fallible<[u16; N]> {
    let mut bound = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        bound.push(listener);
    }
    Ok(ports)
}

/// An address of the loopback.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
