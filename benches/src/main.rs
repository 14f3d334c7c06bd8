//! The rig (docs/performance.md): measures Vestibule beside bare proxies and others, and writes down what came out.

mod clock;
mod floor;
mod gate;
mod load;
mod process;
mod report;
mod results;
mod sign_in;
mod targets;
mod upstream;
mod wire;
mod workloads;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::task::LocalSet;

use results::{Results, Run};
use targets::World;
use workloads::{Effort, WORKLOADS, Workload};

/// The public URL of every Vestibule here. Nothing is asked at it: it stands in tokens and documents.
pub(crate) const PUBLIC_URL: &str = "https://mcp.bench.example";
/// Where the mock MCP server answers.
pub(crate) const UPSTREAM_PATH: &str = "/mcp";

/// Whatever goes wrong ends the run with a message.
pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures.
#[derive(Parser)]
#[command(name = "vestibule-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure workloads; all of them unless some are named.
    Run {
        /// W1, W1d, W2, W2p, W3 …
        workloads: Vec<String>,
        /// Only these, separated by commas.
        #[arg(long, value_delimiter = ',')]
        targets: Vec<String>,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        #[arg(long, default_value_t = 2.0)]
        secs: f64,
        /// Idle streams of W7.
        #[arg(long, default_value_t = 9500)]
        streams: usize,
        /// Write nothing down.
        #[arg(long)]
        dry: bool,
    },
    /// Fail when a request costs more than it may.
    Gate {
        /// Write down what it costs now as what it may cost.
        #[arg(long)]
        record: bool,
    },
    /// Write the document again from what was measured.
    Render,
    /// The mock MCP server.
    Upstream {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// A bare proxy.
    Floor {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: http::Uri,
        /// Verify RS256 with this key.
        #[arg(long)]
        public_key: Option<PathBuf>,
    },
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Tells whoever waits what is going on.
pub(crate) fn note(line: &str) {
    // Who does not listen is not told.
    let _ = writeln!(std::io::stderr(), "   {line}");
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(LocalSet::new().run_until(run(Arguments::parse().command)))
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Fallible<()> {
    match command {
        Command::Run {
            workloads,
            targets,
            rounds,
            secs,
            streams,
            dry,
        } => {
            let window = Duration::from_secs_f64(secs);
            let effort = Effort {
                rounds,
                window,
                streams,
                targets,
            };
            process::pin_load()?;
            measure(&chosen(&workloads)?, &effort, dry).await
        }
        Command::Gate { record } => {
            process::pin_load()?;
            gate::run(record).await
        }
        Command::Render => write(&Results::load(&root().join("benches/results.json"))?),
        Command::Upstream { listen } => Ok(upstream::serve(listen).await?),
        Command::Floor {
            listen,
            upstream,
            public_key,
        } => floor::serve(listen, upstream, public_key.as_deref()).await,
    }
}

fn chosen(names: &[String]) -> Fallible<Vec<&'static Workload>> {
    if names.is_empty() {
        return Ok(WORKLOADS.iter().collect());
    }
    let find = |name: &String| {
        let found = WORKLOADS.iter().find(|workload| workload.name == name);
        found.ok_or_else(|| format!("there is no workload `{name}`").into())
    };
    names.iter().map(find).collect()
}

/// Where our programs and the files of runs are: beside this program, and below `target/bench`.
pub(crate) fn places() -> Fallible<(PathBuf, PathBuf)> {
    let itself = std::env::current_exe()?;
    let programs = itself
        .parent()
        .ok_or("this program has no place")?
        .to_owned();
    let target = programs.parent().ok_or("this program has no place")?;
    Ok((programs.clone(), target.join("bench")))
}

async fn measure(workloads: &[&'static Workload], effort: &Effort, dry: bool) -> Fallible<()> {
    let (programs, directory) = places()?;
    let file = root().join("benches/results.json");
    for workload in workloads {
        let world = World::open(&programs, &directory).await?;
        let before = load_average();
        let rows = workload.run(&world, effort).await?;
        let mut results = Results::load(&file)?;
        let run = Run {
            date: clock::today(),
            command: typed(workload, effort),
            machine: machine(),
            commit: commit(),
            load_average: [before, load_average()],
            rows,
        };
        results.runs.insert(workload.name.to_owned(), run);
        if dry {
            results.runs.retain(|name, _| name == workload.name);
            writeln!(std::io::stdout(), "{}", report::render(&results))?;
        } else {
            results.save(&file)?;
            write(&results)?;
        }
    }
    Ok(())
}

fn write(results: &Results) -> Fallible<()> {
    Ok(std::fs::write(
        root().join("docs/performance.md"),
        report::render(results),
    )?)
}

/// The command that gives one workload again.
fn typed(workload: &Workload, effort: &Effort) -> String {
    let mut text = format!(
        "./bench {} --rounds {} --secs {}",
        workload.name,
        effort.rounds,
        effort.window.as_secs_f64()
    );
    if workload.name == "W7" {
        text = format!("{text} --streams {}", effort.streams);
    }
    if !effort.targets.is_empty() {
        text = format!("{text} --targets {}", effort.targets.join(","));
    }
    text
}

fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first
        .and_then(|first| first.parse().ok())
        .unwrap_or_default()
}

fn machine() -> String {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let count = read("/proc/cpuinfo")
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel: String = kernel
        .trim()
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    format!(
        "{count} CPUs ({}), Linux {}",
        cpu_model(),
        kernel.trim_end_matches('.')
    )
}

/// What kind of CPU this is. Libraries choose their code by it.
fn cpu_model() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |name: &str| {
        let line = cpus.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map_or("", |(_, value)| value.trim())
    };
    format!("{}, model {}", named("model name"), named("model\t"))
}

fn commit() -> String {
    let said = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude=*"])
        .current_dir(root())
        .output();
    said.map_or_else(
        |_| String::new(),
        |said| String::from_utf8_lossy(&said.stdout).trim().to_owned(),
    )
}
