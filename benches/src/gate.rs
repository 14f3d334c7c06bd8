//! What CI runs: instructions for each request under callgrind, and CPU time as a ratio to the floor. Requests per second
//! and latencies say more about what else a machine does than about us.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::{Load, Plan};
use crate::sign_in::{self, Agent};
use crate::targets::{Absent, KINDS, Kind, Takes, Target, World};
use crate::workloads::{Effort, Tokens, WORKLOADS, Work, Workload, whole};
use crate::{Fallible, cpu_model, note, places, root};

/// Above what is written down by no more than this: two runs differ by up to two percent. Callgrind shows programs the same
/// CPU wherever it runs, as long as the architecture is the same.
const TOLERANCE: f64 = 1.05;
/// The same for instructions of another architecture, and for CPU time of another kind of CPU.
const TOLERANCE_ELSEWHERE: f64 = 1.30;
/// Requests under callgrind before counting begins, and while it counts.
const WARM: usize = 400;
const COUNTED: usize = 1500;
/// The same for whole sign-ins and for refreshes, which are many requests or long ones.
const WARM_FLOWS: usize = 30;
const COUNTED_FLOWS: usize = 150;
/// The same for events, of which a stream has one every 10 ms.
const WARM_EVENTS: usize = 50;
const COUNTED_EVENTS: usize = 500;
/// What is counted: kind and workload.
const COUNT: [(&str, &str); 12] = [
    ("floor", "W1"),
    ("floor", "W2p"),
    ("vestibule", "W1"),
    ("vestibule", "W2p"),
    ("vestibule-credential", "W1"),
    ("vestibule-jwt", "W1"),
    ("vestibule-jwt", "W1d"),
    ("vestibule-rules", "W1"),
    ("vestibule", "W3"),
    ("vestibule", "W4"),
    ("vestibule", "W5"),
    ("vestibule", "W6"),
];
/// What is compared with the floor: workload and kinds.
const COMPARE: [(&str, &[&str]); 2] = [
    (
        "W1",
        &["vestibule", "vestibule-credential", "vestibule-jwt"],
    ),
    ("W3", &["vestibule"]),
];

/// `benches/bounds.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Bounds {
    /// The architecture that the instructions are of.
    arch: String,
    /// The CPU that the ratios are of.
    cpu: String,
    /// Instructions for each request or event, as they were counted.
    instructions: BTreeMap<String, f64>,
    /// The most that CPU time divided by the floor's may be.
    ratios: BTreeMap<String, f64>,
}

/// Measures, and fails when something is above its bound; writes the bounds down instead when asked to.
pub(crate) async fn run(record: bool) -> Fallible<()> {
    let file = root().join("benches/bounds.json");
    let (programs, directory) = places()?;
    let world = World::open(&programs, &directory).await?;
    let instructions = instructions(&world).await?;
    let bounds =
        |file: &Path| -> Fallible<Bounds> { Ok(serde_json::from_str(&fs::read_to_string(file)?)?) };
    if record {
        let bounds = Bounds {
            arch: ARCH.to_owned(),
            instructions,
            ..bounds(&file)?
        };
        return Ok(fs::write(
            file,
            serde_json::to_string_pretty(&bounds)? + "\n",
        )?);
    }
    let bounds = bounds(&file)?;
    let tolerance = if bounds.arch == ARCH {
        TOLERANCE
    } else {
        TOLERANCE_ELSEWHERE
    };
    let mut said = String::new();
    let mut broken = 0;
    for (name, counted) in &instructions {
        let bound = bounds.instructions.get(name).copied().unwrap_or_default() * tolerance;
        let good = *counted <= bound;
        broken += usize::from(!good);
        let verdict = if good { "good" } else { "TOO MANY" };
        writeln!(
            said,
            "{verdict:8} {name:28} {counted:9.0} instructions, at most {bound:9.0}"
        )?;
    }
    let tolerance = if bounds.cpu == cpu_model() {
        1.0
    } else {
        TOLERANCE_ELSEWHERE
    };
    for (name, ratio) in ratios(&world).await? {
        let bound = bounds.ratios.get(&name).copied().unwrap_or_default() * tolerance;
        let good = ratio <= bound;
        broken += usize::from(!good);
        let verdict = if good { "good" } else { "TOO MUCH" };
        writeln!(
            said,
            "{verdict:8} {name:28} {ratio:9.2} × the floor's CPU time, at most {bound:5.2}"
        )?;
    }
    write!(std::io::stdout(), "{said}")?;
    if broken > 0 {
        let hint = "if the cost is wanted: `./bench gate --record`, and say why in the commit";
        return Err(format!("{broken} bounds are exceeded; {hint}").into());
    }
    Ok(())
}

fn workload(name: &str) -> Fallible<&'static Workload> {
    let found = WORKLOADS.iter().find(|workload| workload.name == name);
    Ok(found.ok_or_else(|| format!("no workload {name}"))?)
}

async fn instructions(world: &World) -> Fallible<BTreeMap<String, f64>> {
    let few = Tokens::obtain(world, 8, &[Takes::Sealed, Takes::Jwt]).await?;
    // So many that none comes again.
    let many = Tokens::obtain(world, WARM + COUNTED, &[Takes::Jwt]).await?;
    let mut counted = BTreeMap::new();
    for kind in &KINDS {
        let own: Vec<&Workload> = COUNT
            .iter()
            .filter(|(name, _)| *name == kind.name)
            .map(|(_, name)| workload(name))
            .collect::<Fallible<_>>()?;
        if own.is_empty() {
            continue;
        }
        let base = world.directory.join(format!("callgrind.{}", kind.name));
        let target = under_callgrind(world, kind, &base).await?;
        let mut dumps = 0;
        for workload in own {
            let tokens = if matches!(workload.work, Work::Calls(count) if count > 8) {
                &many
            } else {
                &few
            };
            let (warm, times) = match workload.work {
                Work::Flow | Work::Refresh => (WARM_FLOWS, COUNTED_FLOWS),
                Work::Paced => (WARM_EVENTS, COUNTED_EVENTS),
                _ => (WARM, COUNTED),
            };
            let mut worker = Worker::begin(workload, &target, tokens).await?;
            worker.exactly(warm).await?;
            dump(&target, &base, &mut dumps)?;
            worker.exactly(times).await?;
            let sum = dump(&target, &base, &mut dumps)?;
            let name = format!("{} {}", kind.name, workload.name);
            let each = (sum / whole(times)).round();
            note(&format!("{name}: {each} instructions"));
            counted.insert(name, each);
        }
    }
    Ok(counted)
}

/// Who does the work of a workload, one piece after the other.
enum Worker {
    /// Asks on one connection, or listens there.
    Asks(Load),
    /// Signs in as a client does.
    SignsIn(Agent),
    /// Refreshes what it got last.
    Refreshes(Agent, sign_in::Tokens),
}

impl Worker {
    async fn begin(workload: &Workload, target: &Target, tokens: &Tokens) -> Fallible<Self> {
        let mut agent = Agent::new(target.address);
        Ok(match workload.work {
            Work::Flow => Self::SignsIn(agent),
            Work::Refresh => {
                let tokens = agent.sign_in().await?;
                Self::Refreshes(agent, tokens)
            }
            _ => {
                let plan = Plan {
                    connections: 1,
                    ..workload.plan(target, tokens)
                };
                Self::Asks(if workload.work == Work::Paced {
                    Load::events(&plan)
                } else {
                    Load::on_demand(&plan)
                })
            }
        })
    }

    async fn exactly(&mut self, times: usize) -> Fallible<()> {
        match self {
            Self::Asks(load) => load.exactly(times).await?,
            Self::SignsIn(agent) => {
                for _ in 0..times {
                    agent.sign_in().await?;
                }
            }
            Self::Refreshes(agent, tokens) => {
                for _ in 0..times {
                    *tokens = agent.refresh(tokens).await?;
                }
            }
        }
        Ok(())
    }
}

async fn under_callgrind(world: &World, kind: &'static Kind, base: &Path) -> Fallible<Target> {
    let file = format!("--callgrind-out-file={}", base.display());
    let tool = ["valgrind", "--quiet", "--tool=callgrind", &file];
    match world.start_under(kind, &tool).await? {
        Ok(target) => Ok(target),
        Err(Absent(why)) => Err(format!("{}: {why}", kind.name).into()),
    }
}

/// Makes callgrind write down what it has counted since the last time; gives the sum.
fn dump(target: &Target, base: &Path, dumps: &mut usize) -> Fallible<f64> {
    let id = format!("--pid={}", target.process.id());
    let said = Command::new("vgdb").args([id.as_str(), "dump"]).output()?;
    if !said.status.success() {
        return Err(String::from_utf8_lossy(&said.stderr).into_owned().into());
    }
    *dumps += 1;
    let file = format!("{}.{dumps}", base.display());
    let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let sum = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals: "));
    let sum = sum.ok_or_else(|| format!("{file}: no totals"))?;
    Ok(sum.trim().parse()?)
}

async fn ratios(world: &World) -> Fallible<BTreeMap<String, f64>> {
    let mut ratios = BTreeMap::new();
    for (name, kinds) in COMPARE {
        let effort = Effort {
            rounds: 5,
            window: Duration::from_millis(700),
            streams: 0,
            targets: kinds.iter().map(|&name| name.to_owned()).collect(),
        };
        for row in workload(name)?.run(world, &effort).await? {
            if let Some(ratio) = row
                .figures
                .get("ratio")
                .filter(|_| kinds.contains(&row.target.as_str()))
            {
                ratios.insert(format!("{} {name}", row.target), ratio.median);
            }
        }
    }
    Ok(ratios)
}
