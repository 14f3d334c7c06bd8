//! The workloads: what is asked of whom, and which figures come out.

mod flows;
mod memory;
mod start;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use crate::load::{Load, Plan, connect};
use crate::results::{Row, Samples};
use crate::targets::{Absent, KINDS, Kind, Takes, Target, World};
use crate::wire::Reader;
use crate::{Fallible, note};

/// Keep-alive connections of the load.
pub(crate) const CONNECTIONS: usize = 16;
/// The same for targets that are so slow that more would only wait.
const FEW_CONNECTIONS: usize = 4;
/// Before anything is counted.
const WARM: Duration = Duration::from_millis(300);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Requests with a token, of so many different ones.
    Calls(usize),
    /// Answers that are bursts of events.
    Burst,
    /// Streams with an event every 10 ms.
    Paced,
    /// Requests without a token.
    Challenge,
    /// The metadata document.
    Discovery,
    /// Whole sign-ins.
    Flow,
    /// Refreshes.
    Refresh,
    /// Streams on which nothing happens.
    Idle,
    /// From nothing to the first answer.
    Start,
}

/// One workload.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) work: Work,
    /// What all are compared with.
    pub(crate) floor: &'static str,
    pub(crate) targets: &'static [&'static str],
}

/// Every workload, in the order of the document.
pub(crate) const WORKLOADS: [Workload; 10] = [
    Workload {
        name: "W1",
        what: "`POST /mcp`, a call of a tool of 500 bytes, an answer of 1 KiB of JSON; 8 tokens in turn, 16 connections",
        work: Work::Calls(8),
        floor: "floor",
        targets: &[
            "direct",
            "floor",
            "floor-rs256",
            "vestibule",
            "vestibule-credential",
            "vestibule-jwt",
            "vestibule-rules",
            "nginx",
            "haproxy",
            "haproxy-jwt",
            "envoy-jwt",
            "envoy-jwt-cache",
            "express",
            "fastmcp",
        ],
    },
    Workload {
        name: "W1d",
        what: "the same with 10,000 different tokens in turn",
        work: Work::Calls(10_000),
        floor: "floor",
        targets: &[
            "floor",
            "floor-rs256",
            "vestibule",
            "vestibule-credential",
            "vestibule-jwt",
            "haproxy-jwt",
            "envoy-jwt",
            "envoy-jwt-cache",
        ],
    },
    Workload {
        name: "W2",
        what: "answers that are bursts of 100 events of 150 bytes, on 8 connections; figures are per event",
        work: Work::Burst,
        floor: "floor",
        targets: &[
            "direct",
            "floor",
            "vestibule",
            "nginx",
            "haproxy",
            "envoy-jwt-cache",
            "express",
        ],
    },
    Workload {
        name: "W2p",
        what: "50 streams with an event every 10 ms; figures are per event",
        work: Work::Paced,
        floor: "floor",
        targets: &[
            "direct",
            "floor",
            "vestibule",
            "nginx",
            "haproxy",
            "envoy-jwt-cache",
        ],
    },
    Workload {
        name: "W3",
        what: "`POST /mcp` without a token: 401 and a challenge",
        work: Work::Challenge,
        floor: "floor-rs256",
        targets: &[
            "floor-rs256",
            "vestibule",
            "haproxy-jwt",
            "express",
            "fastmcp",
        ],
    },
    Workload {
        name: "W4",
        what: "`GET /.well-known/oauth-protected-resource/mcp`",
        work: Work::Discovery,
        floor: "floor-rs256",
        targets: &["floor-rs256", "vestibule", "express"],
    },
    Workload {
        name: "W5",
        what: "whole sign-ins of 4 agents at once: register, authorize, consent, the provider (a stand-in beside the load), callback, token",
        work: Work::Flow,
        floor: "",
        targets: &["vestibule", "vestibule-redb", "fastmcp-proxy"],
    },
    Workload {
        name: "W6",
        what: "refreshes of 4 agents at once; without a store each asks the provider (which signs new tokens once a second, so that nobody waits for it), with one the provider is asked every five minutes",
        work: Work::Refresh,
        floor: "",
        targets: &["vestibule", "vestibule-redb", "fastmcp-proxy"],
    },
    Workload {
        name: "W7",
        what: "event streams on which nothing happens",
        work: Work::Idle,
        floor: "",
        targets: &["floor", "vestibule", "nginx", "envoy-jwt-cache"],
    },
    Workload {
        name: "W8",
        what: "from the start of the process to its first answer",
        work: Work::Start,
        floor: "",
        targets: &[
            "floor-rs256",
            "vestibule",
            "vestibule-redb",
            "nginx",
            "haproxy-jwt",
            "envoy-jwt",
            "express",
            "fastmcp",
        ],
    },
];

/// How long and how often.
#[derive(Clone, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) window: Duration,
    pub(crate) streams: usize,
    /// Only these, if there are any.
    pub(crate) targets: Vec<String>,
}

impl Workload {
    fn kinds(&self, effort: &Effort) -> Vec<&'static Kind> {
        let wanted = |name: &str| {
            self.targets.contains(&name)
                && (effort.targets.is_empty()
                    || name == self.floor
                    || effort.targets.iter().any(|own| own == name))
        };
        KINDS.iter().filter(|kind| wanted(kind.name)).collect()
    }

    /// Measures every target, one after the other, round by round.
    pub(crate) async fn run(&self, world: &World, effort: &Effort) -> Fallible<Vec<Row>> {
        if self.work == Work::Start {
            return start::run(world, &self.kinds(effort), effort).await;
        }
        let mut rows = Vec::new();
        let mut running = Vec::new();
        for kind in self.kinds(effort) {
            let mut row = Row {
                target: kind.name.to_owned(),
                ..Row::default()
            };
            match world.start(kind).await? {
                Ok(target) => {
                    row.version.clone_from(&target.version);
                    running.push(target);
                }
                Err(Absent(why)) => row.absent = Some(why),
            }
            rows.push(row);
        }
        let mut samples = Samples::default();
        match self.work {
            Work::Flow | Work::Refresh => {
                for _ in 0..effort.rounds {
                    for target in &running {
                        let refresh = self.work == Work::Refresh;
                        let figures = flows::round(target, effort, refresh).await?;
                        note(&format!("{} {} {figures:?}", self.name, target.kind.name));
                        samples.add(target.kind.name, &figures);
                    }
                }
            }
            Work::Idle => {
                let taken: Vec<Takes> = running.iter().map(|target| target.kind.takes).collect();
                let tokens = Tokens::obtain(world, 8, &taken).await?;
                for target in &running {
                    let request = idle(&tokens, target);
                    let figures = memory::round(target, &request, effort).await?;
                    note(&format!("{} {} {figures:?}", self.name, target.kind.name));
                    samples.add(target.kind.name, &figures);
                }
            }
            _ => self.rounds(world, effort, &running, &mut samples).await?,
        }
        samples.compare("cpu", self.floor);
        for row in &mut rows {
            row.figures = samples.figures(&row.target);
        }
        Ok(rows)
    }

    async fn rounds(
        &self,
        world: &World,
        effort: &Effort,
        running: &[Target],
        samples: &mut Samples,
    ) -> Fallible<()> {
        let count = match self.work {
            Work::Calls(count) => count,
            Work::Burst | Work::Paced => 8,
            _ => 0,
        };
        let taken: Vec<Takes> = running.iter().map(|target| target.kind.takes).collect();
        let tokens = Tokens::obtain(world, count, &taken).await?;
        let mut plans = Vec::new();
        for target in running {
            let plan = self.plan(target, &tokens);
            self.check(target, &plan).await?;
            plans.push(plan);
        }
        for _ in 0..effort.rounds {
            for (target, plan) in running.iter().zip(&plans) {
                let figures = self.round(target, plan, effort.window).await?;
                note(&format!("{} {} {figures:?}", self.name, target.kind.name));
                samples.add(target.kind.name, &figures);
            }
        }
        Ok(())
    }

    /// What is sent to a target.
    pub(crate) fn plan(&self, target: &Target, tokens: &Tokens) -> Plan {
        let own = tokens.of(target.kind);
        let calls = |tool: &str| own.iter().map(|token| call(token, tool)).collect();
        let (connections, requests, expect) = match self.work {
            Work::Burst => (8, calls("burst"), 200),
            Work::Paced => (50, calls("paced"), 200),
            Work::Challenge => (CONNECTIONS, vec![call("", "bench_tool")], 401),
            Work::Discovery => (CONNECTIONS, vec![discovery()], 200),
            _ => (CONNECTIONS, calls("bench_tool"), 200),
        };
        let connections = if target.kind.slow && self.work != Work::Paced {
            FEW_CONNECTIONS
        } else {
            connections
        };
        Plan {
            address: target.address,
            connections,
            requests: Rc::from(requests),
            turn: Rc::default(),
            expect,
        }
    }

    /// What is measured does what it must: every token opens, a changed one does not where tokens are looked at.
    async fn check(&self, target: &Target, plan: &Plan) -> Fallible<()> {
        let name = target.kind.name;
        let first = plan.requests.first().cloned().unwrap_or_default();
        let (status, body) = ask(plan.address, &first).await?;
        if status != plan.expect {
            let log = target.process.tail();
            return Err(format!("{name}: status {status}: {body}\n{log}").into());
        }
        if matches!(self.work, Work::Calls(_)) && target.kind.guards {
            let forged = forged(&first).ok_or("the request has no token")?;
            let (status, body) = ask(plan.address, &forged).await?;
            if status != 401 {
                return Err(format!("{name}: a changed token gives {status}: {body}").into());
            }
        }
        Ok(())
    }

    async fn round(
        &self,
        target: &Target,
        plan: &Plan,
        window: Duration,
    ) -> Fallible<Vec<(&'static str, f64)>> {
        let events = matches!(self.work, Work::Burst | Work::Paced);
        let mut load = if events {
            Load::events(plan)
        } else {
            Load::requests(plan)
        };
        tokio::time::sleep(WARM).await;
        load.mark();
        let before = target.process.cpu();
        tokio::time::sleep(window).await;
        let cpu = target.process.cpu() - before;
        let counted = load.finish();
        let name = target.kind.name;
        if counted.errors > 0 || counted.count == 0 {
            let error = counted.first_error.unwrap_or_default();
            return Err(format!("{name}: {} errors, first: {error}", counted.errors).into());
        }
        let count = whole(counted.count);
        Ok(vec![
            ("cpu", cpu * 1e6 / count),
            ("rate", count / counted.seconds),
            ("p50", counted.quantile(0.5)),
            ("p99", counted.quantile(0.99)),
            ("p999", counted.quantile(0.999)),
            ("pss", target.process.memory() / 1024.0),
        ])
    }
}

/// A count for a division.
#[expect(clippy::cast_precision_loss, reason = "a count for a table")]
pub(crate) fn whole(count: usize) -> f64 {
    count as f64
}

/// Tokens of both forms, from sign-ins at Vestibules that only give them out.
pub(crate) struct Tokens {
    sealed: Vec<String>,
    jwt: Vec<String>,
}

impl Tokens {
    /// So many of each form that is `taken`.
    pub(crate) async fn obtain(world: &World, count: usize, taken: &[Takes]) -> Fallible<Self> {
        let mut both = [Vec::new(), Vec::new()];
        let forms = [("vestibule", Takes::Sealed), ("vestibule-jwt", Takes::Jwt)];
        for ((name, form), tokens) in forms.into_iter().zip(&mut both) {
            if count == 0 || !taken.contains(&form) {
                continue;
            }
            let kind = KINDS
                .iter()
                .find(|kind| kind.name == name)
                .ok_or("no such kind")?;
            let Ok(issuer) = world.start(kind).await? else {
                return Err("our own program is not there".into());
            };
            note(&format!("{count} tokens of {name}"));
            *tokens = world.tokens(issuer.address, count).await?;
        }
        let [sealed, jwt] = both;
        Ok(Self { sealed, jwt })
    }

    pub(crate) fn of(&self, kind: &Kind) -> &[String] {
        match kind.takes {
            Takes::Sealed => &self.sealed,
            Takes::Jwt => &self.jwt,
        }
    }
}

/// A call of a tool, with a body of 500 bytes; without a token when that is empty.
pub(crate) fn call(token: &str, tool: &str) -> Bytes {
    let frame = |text: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"{tool}\",\"arguments\":{{\"text\":\"{text}\"}}}}}}"
        )
    };
    let body = frame(&"y".repeat(500 - frame("").len()));
    let authorization = if token.is_empty() {
        String::new()
    } else {
        format!("authorization: Bearer {token}\r\n")
    };
    Bytes::from(format!(
        "POST /mcp HTTP/1.1\r\nhost: mcp.bench.example\r\nuser-agent: bench/1\r\n{authorization}\
         accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n\
         mcp-protocol-version: 2025-11-25\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn discovery() -> Bytes {
    Bytes::from_static(
        b"GET /.well-known/oauth-protected-resource/mcp HTTP/1.1\r\nhost: mcp.bench.example\r\naccept: application/json\r\n\r\n",
    )
}

fn idle(tokens: &Tokens, target: &Target) -> Bytes {
    let token = tokens.of(target.kind).first().map_or("", String::as_str);
    Bytes::from(format!(
        "GET /mcp HTTP/1.1\r\nhost: mcp.bench.example\r\nauthorization: Bearer {token}\r\naccept: text/event-stream\r\n\r\n"
    ))
}

/// The same request with a character of the token exchanged, in the middle of what makes it genuine.
fn forged(request: &Bytes) -> Option<Bytes> {
    let text = std::str::from_utf8(request).ok()?;
    let (before, rest) = text.split_once("Bearer ")?;
    let (token, after) = rest.split_once("\r\n")?;
    let (kept, last) = token.split_at(token.len() - 20);
    let other = if last.starts_with('A') { 'B' } else { 'A' };
    let last = last.get(1..)?;
    Some(Bytes::from(format!(
        "{before}Bearer {kept}{other}{last}\r\n{after}"
    )))
}

/// One request on a connection of its own: status and body.
pub(crate) async fn ask(address: SocketAddr, request: &Bytes) -> Fallible<(u16, String)> {
    let mut reader = Reader::new(connect(address).await?);
    reader.stream().write_all(request).await?;
    let head = reader.answer().await?;
    let mut framing = head.framing;
    let first = reader.piece(&mut framing).await?.unwrap_or_default();
    Ok((
        head.status,
        String::from_utf8_lossy(&first).chars().take(300).collect(),
    ))
}
