//! What a stream costs on which nothing happens, and what comes back when all of them go at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use super::{Effort, whole};
use crate::Fallible;
use crate::load::connect;
use crate::targets::Target;
use crate::wire::Reader;

/// How long memory has to come back.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the streams are watched.
const STILL: Duration = Duration::from_secs(5);

/// Opens the streams, looks, and lets them go.
pub(super) async fn round(
    target: &Target,
    request: &Bytes,
    effort: &Effort,
) -> Fallible<Vec<(&'static str, f64)>> {
    let count = effort.streams;
    let process = &target.process;
    drop(open(target, request).await?);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = process.memory();
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let stream = open(target, request)
            .await
            .map_err(|error| format!("{}: stream {}: {error}", target.kind.name, streams.len()))?;
        streams.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let cpu = process.cpu();
    tokio::time::sleep(STILL).await;
    let cpu = process.cpu() - cpu;
    let open = process.memory();
    drop(streams);
    let (closed, mut after) = (Instant::now(), open);
    let mut took = PATIENCE;
    while closed.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_secs(1)).await;
        after = process.memory();
        if open - after >= 0.8 * (open - before) {
            took = closed.elapsed();
            break;
        }
    }
    // What comes back late counts as well.
    tokio::time::sleep(Duration::from_secs(3)).await;
    after = after.min(process.memory());
    Ok(vec![
        ("streams", whole(count)),
        ("idle_mib", before / 1024.0),
        ("open_mib", open / 1024.0),
        ("stream_kib", (open - before) / whole(count)),
        ("still_us", cpu * 1e6 / STILL.as_secs_f64() / whole(count)),
        ("returned", 100.0 * (open - after) / (open - before)),
        ("returned_s", took.as_secs_f64()),
    ])
}

/// One stream whose headers are here.
async fn open(target: &Target, request: &Bytes) -> Fallible<Reader<tokio::net::TcpStream>> {
    let mut reader = Reader::new(connect(target.address).await?);
    reader.stream().write_all(request).await?;
    let head = reader.answer().await?;
    if head.status != 200 {
        return Err(format!("status {}", head.status).into());
    }
    Ok(reader)
}
