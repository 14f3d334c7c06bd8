//! Sign-ins and refreshes: agents that do one after the other, and the CPU time that each costs.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::{Effort, whole};
use crate::Fallible;
use crate::sign_in::Agent;
use crate::targets::Target;

const AGENTS: usize = 4;

/// One round, after each agent has signed in once.
pub(super) async fn round(
    target: &Target,
    effort: &Effort,
    refresh: bool,
) -> Fallible<Vec<(&'static str, f64)>> {
    let mut agents = Vec::new();
    for _ in 0..AGENTS {
        let mut agent = Agent::new(target.address);
        if !target.kind.ours {
            // FastMCP hands scopes on to the provider, which has no others of ours.
            agent = agent.asking_for("openid");
        }
        let tokens = agent.sign_in().await?;
        agents.push((agent, tokens));
    }
    let took = Rc::new(RefCell::new(Vec::new()));
    let began = Instant::now();
    let window = effort.window;
    let before = target.process.cpu();
    let mut running = JoinSet::new();
    for (mut agent, mut tokens) in agents {
        let took = Rc::clone(&took);
        running.spawn_local(async move {
            while began.elapsed() < window {
                let asked = Instant::now();
                tokens = if refresh {
                    agent.refresh(&tokens).await?
                } else {
                    agent.sign_in().await?
                };
                took.borrow_mut().push(asked.elapsed().as_secs_f64() * 1e6);
            }
            Fallible::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let cpu = target.process.cpu() - before;
    let seconds = began.elapsed().as_secs_f64();
    let mut took = took.take();
    took.sort_by(f64::total_cmp);
    let at = |share: usize| {
        took.get(took.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    Ok(vec![
        ("cpu", cpu * 1e6 / whole(took.len().max(1))),
        ("rate", whole(took.len()) / seconds),
        ("p50", at(50)),
        ("p99", at(99)),
        ("pss", target.process.memory() / 1024.0),
    ])
}
