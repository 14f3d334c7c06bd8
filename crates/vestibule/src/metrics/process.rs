//! What every Prometheus client says of its process, under the names that they agree on: from `/proc`, which is read when
//! somebody asks. Where there is none, or it does not tell, there is no such metric.

use std::fmt;
use std::fs;
use std::sync::OnceLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::param::{clock_ticks_per_second, page_size};

use super::Described;

/// Reads and writes them.
#[derive(Debug)]
pub(super) struct Process;

/// One of them.
struct Figure {
    /// Without `_total`.
    name: &'static str,
    kind: MetricType,
    help: &'static str,
    read: fn() -> Option<f64>,
}

const FIGURES: [Figure; 5] = [
    Figure {
        name: "process_cpu_seconds",
        kind: MetricType::Counter,
        help: "Processor time that the process has used, its own and the system's for it. On Linux.",
        read: cpu_seconds,
    },
    Figure {
        name: "process_resident_memory_bytes",
        kind: MetricType::Gauge,
        help: "Memory of the process that is in RAM. On Linux.",
        read: resident_bytes,
    },
    Figure {
        name: "process_open_fds",
        kind: MetricType::Gauge,
        help: "File descriptors that are open: connections, files. On Linux.",
        read: open_descriptors,
    },
    Figure {
        name: "process_max_fds",
        kind: MetricType::Gauge,
        help: "How many file descriptors may be open. On Linux.",
        read: most_descriptors,
    },
    Figure {
        name: "process_start_time_seconds",
        kind: MetricType::Gauge,
        help: "When the process started, in seconds since 1970. On Linux.",
        read: start_time,
    },
];

impl Process {
    /// For the documents.
    pub(super) fn described() -> impl Iterator<Item = Described> {
        FIGURES.iter().map(|figure| {
            let kind = figure.kind.as_str();
            let suffix = if kind == "counter" { "_total" } else { "" };
            Described {
                name: format!("{}{suffix}", figure.name),
                kind,
                labels: Vec::new(),
                help: figure.help,
            }
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for figure in &FIGURES {
            let Some(value) = (figure.read)() else {
                continue;
            };
            let to = encoder.encode_descriptor(figure.name, figure.help, None, figure.kind)?;
            match figure.kind {
                MetricType::Counter => ConstCounter::new(value).encode(to)?,
                _ => ConstGauge::new(value).encode(to)?,
            }
        }
        Ok(())
    }
}

/// The fields of `/proc/self/stat` by their numbers in proc_pid_stat(5).
struct Stat(String);

impl Stat {
    fn read() -> Option<Self> {
        fs::read_to_string("/proc/self/stat").ok().map(Self)
    }

    /// Field `number`, from the third on: the second is the name, which may hold blanks and brackets.
    fn field(&self, number: usize) -> Option<f64> {
        let (_, behind_name) = self.0.rsplit_once(") ")?;
        let field = behind_name
            .split_ascii_whitespace()
            .nth(number.checked_sub(3)?)?;
        field.parse().ok()
    }
}

/// `utime` and `stime`.
fn cpu_seconds() -> Option<f64> {
    let stat = Stat::read()?;
    Some((stat.field(14)? + stat.field(15)?) / ticks_per_second()?)
}

/// `rss`.
fn resident_bytes() -> Option<f64> {
    let page = u32::try_from(page_size()).ok()?;
    Some(Stat::read()?.field(24)? * f64::from(page))
}

/// Linux says the number as the size of the directory, from 6.2 on. Before, the entries are counted, without the one that is
/// for counting.
fn open_descriptors() -> Option<f64> {
    const OPEN: &str = "/proc/self/fd";
    let said = fs::metadata(OPEN).ok()?.len();
    let open = if said > 0 {
        u32::try_from(said).ok()?
    } else {
        u32::try_from(fs::read_dir(OPEN).ok()?.count())
            .ok()?
            .checked_sub(1)?
    };
    Some(f64::from(open))
}

/// The soft limit.
fn most_descriptors() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match limit.split_ascii_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

/// `starttime` after the computer's start. It does not change.
fn start_time() -> Option<f64> {
    static STARTED: OnceLock<Option<f64>> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let booted = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        let booted: f64 = booted.trim().parse().ok()?;
        Some(booted + Stat::read()?.field(22)? / ticks_per_second()?)
    })
}

fn ticks_per_second() -> Option<f64> {
    u32::try_from(clock_ticks_per_second()).ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::time::{Clock as _, SystemClock, UnixTime};

    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_moves_no_field() {
        let stat = Stat("7 (a) R b (c) S 1 2 3".to_owned());
        assert_eq!(stat.field(4), Some(1.0));
        assert_eq!(stat.field(3), None, "no number");
        assert_eq!(stat.field(7), None);
        assert_eq!(stat.field(2), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_is_told_as_it_is() {
        let used = cpu_seconds().unwrap();
        assert!((0.0..10_000.0).contains(&used), "{used}");
        let before = resident_bytes().unwrap();
        let held = vec![1_u8; 64 << 20];
        let after = resident_bytes().unwrap();
        assert!(after - before > 60e6 && held.iter().all(|byte| *byte == 1));
        let before = open_descriptors().unwrap();
        let files: Vec<_> = (0..500)
            .map(|_| fs::File::open("/proc/self/stat").unwrap())
            .collect();
        let after = open_descriptors().unwrap();
        // Other tests of this process open and close some meanwhile.
        assert!(
            (450.0..550.0).contains(&(after - before)),
            "{before} {after}"
        );
        drop(files);
        assert!(most_descriptors().unwrap() >= after);
        let UnixTime(now) = SystemClock.now();
        let now = f64::from(u32::try_from(now).unwrap());
        let age = now - start_time().unwrap();
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}
