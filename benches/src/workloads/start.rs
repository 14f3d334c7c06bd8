//! How long a process takes from nothing to its first answer.

use std::time::Duration;

use super::{Effort, ask, call, whole};
use crate::results::{Row, Samples};
use crate::targets::{Absent, Kind, World};
use crate::{Fallible, note};

/// Starts of each kind.
const STARTS: usize = 9;

/// All kinds, in turn.
pub(super) async fn run(
    world: &World,
    kinds: &[&'static Kind],
    effort: &Effort,
) -> Fallible<Vec<Row>> {
    let mut rows: Vec<Row> = kinds
        .iter()
        .map(|kind| Row {
            target: kind.name.to_owned(),
            ..Row::default()
        })
        .collect();
    let mut samples = Samples::default();
    let request = call("", "bench_tool");
    for _ in 0..STARTS.min(effort.rounds.max(3) * 2) {
        for (kind, row) in kinds.iter().zip(&mut rows) {
            let target = match world.start(kind).await? {
                Ok(target) => target,
                Err(Absent(why)) => {
                    row.absent = Some(why);
                    continue;
                }
            };
            let (status, _) = ask(target.address, &request).await?;
            let took = target.process.started.elapsed();
            if kind.guards && status != 401 {
                return Err(format!("{}: {status} instead of 401", kind.name).into());
            }
            let cpu = target.process.cpu();
            row.version.clone_from(&target.version);
            tokio::time::sleep(Duration::from_millis(200)).await;
            let mut figures = vec![
                ("first_ms", took.as_secs_f64() * 1e3),
                ("start_cpu_ms", cpu * 1e3),
                ("idle_mib", target.process.memory() / 1024.0),
            ];
            if kind.ours {
                let size = std::fs::metadata(world.programs.join("vestibule"))?.len();
                figures.push((
                    "size_mib",
                    whole(usize::try_from(size)?) / f64::from(1 << 20),
                ));
            }
            note(&format!("W8 {} {figures:?}", kind.name));
            samples.add(kind.name, &figures);
        }
    }
    for row in &mut rows {
        row.figures = samples.figures(&row.target);
    }
    Ok(rows)
}
