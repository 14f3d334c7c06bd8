//! Where lines go: a queue with an end, and a thread that writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::metrics::Metrics;
use crate::metrics::labels::AuditOutcome;
use crate::settings::AuditSink;

/// Lines that wait at most: some megabytes.
const QUEUE: usize = 8192;
/// How often a full queue is looked at by somebody who waits for its end.
const LOOK: Duration = Duration::from_millis(10);

enum Job {
    Line(String),
    Reopen,
    Flush(oneshot::Sender<()>),
}

/// The way to the thread. When it is dropped, the thread writes what it has and ends.
pub(super) struct Sink {
    jobs: SyncSender<Job>,
    metrics: Arc<Metrics>,
    /// Said in the log when it begins and when it is over.
    is_full: AtomicBool,
}

impl Sink {
    pub(super) fn open(to: AuditSink, metrics: Arc<Metrics>) -> io::Result<Self> {
        let out = Out::open(&to)?;
        let (jobs, queue) = sync_channel(QUEUE);
        let writer = Writer {
            to,
            out,
            metrics: Arc::clone(&metrics),
            failing: false,
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&queue))?;
        Ok(Self {
            jobs,
            metrics,
            is_full: AtomicBool::new(false),
        })
    }

    /// Never waits.
    pub(super) fn put(&self, line: String) {
        match self.jobs.try_send(Job::Line(line)) {
            Ok(()) => {
                if self.is_full.load(Ordering::Relaxed)
                    && self.is_full.swap(false, Ordering::Relaxed)
                {
                    tracing::warn!("audit events are taken again");
                }
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.metrics.audit_events.inc((AuditOutcome::Dropped,));
                if !self.is_full.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        reason = "audit_full",
                        waiting = QUEUE,
                        "audit events are dropped: the place they go to is too slow"
                    );
                }
            }
        }
    }

    pub(super) fn reopen(&self) {
        // A queue that is full will be written to the old file; the next signal opens the new one.
        if self.jobs.try_send(Job::Reopen).is_err() {
            tracing::error!(
                reason = "audit_full",
                "the audit file was not opened again; send the signal once more"
            );
        }
    }

    pub(super) async fn flush(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        let (written, done) = oneshot::channel();
        let mut job = Job::Flush(written);
        loop {
            match self.jobs.try_send(job) {
                Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) if Instant::now() < until => job = back,
                Ok(()) | Err(TrySendError::Full(_)) => break,
            }
            sleep(LOOK).await;
        }
        if !matches!(tokio::time::timeout_at(until, done).await, Ok(Ok(()))) {
            tracing::error!("not every audit event was written before the end");
        }
    }
}

/// What is written to.
enum Out {
    Stdout,
    Stderr,
    File(File),
}

impl Out {
    fn open(to: &AuditSink) -> io::Result<Self> {
        match to {
            AuditSink::Stdout => Ok(Self::Stdout),
            AuditSink::Stderr => Ok(Self::Stderr),
            AuditSink::File(path) => append(path).map(Self::File),
        }
    }

    /// A line in one call, so that several processes can append to one file.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(line)?;
                out.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(line),
            Self::File(file) => file.write_all(line),
        }
    }
}

/// New files are for their owner only.
fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    options.open(path).map_err(named)
}

struct Writer {
    to: AuditSink,
    out: Out,
    metrics: Arc<Metrics>,
    /// The last line did not get out, or not whole.
    failing: bool,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Line(line) => self.write(&line),
                Job::Reopen => match Out::open(&self.to) {
                    Ok(out) => self.out = out,
                    Err(error) => tracing::error!(
                        reason = "audit_unwritable", %error,
                        "the audit file cannot be opened again; events go on to the one that is open"
                    ),
                },
                Job::Flush(written) => {
                    // Whoever asked may have stopped waiting.
                    let _ = written.send(());
                }
            }
        }
    }

    fn write(&mut self, line: &str) {
        // What was cut off must not run into this line.
        let written = if self.failing {
            self.out.write(format!("\n{line}").as_bytes())
        } else {
            self.out.write(line.as_bytes())
        };
        let outcome = match written {
            Ok(()) => {
                if self.failing {
                    tracing::warn!("audit events are written again");
                    self.failing = false;
                }
                AuditOutcome::Written
            }
            Err(error) => {
                if !self.failing {
                    tracing::error!(reason = "audit_unwritable", %error, "audit events cannot be written and are lost");
                    self.failing = true;
                }
                AuditOutcome::Failed
            }
        };
        self.metrics.audit_events.inc((outcome,));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::TestDirectory;

    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn lines_are_appended_in_order_and_a_file_that_was_moved_away_is_made_anew() {
        let directory = TestDirectory::new("audit");
        let path = directory.write("audit.log", "before\n");
        let metrics = Arc::new(Metrics::default());
        let sink = Sink::open(AuditSink::File(path.clone()), Arc::clone(&metrics)).unwrap();
        sink.put("one\n".to_owned());
        sink.flush(SOON).await;
        let moved = path.with_extension("1");
        std::fs::rename(&path, &moved).unwrap();
        sink.put("two\n".to_owned());
        sink.reopen();
        sink.put("three\n".to_owned());
        sink.flush(SOON).await;
        assert_eq!(
            std::fs::read_to_string(&moved).unwrap(),
            "before\none\ntwo\n"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(metrics.audit_events.value((AuditOutcome::Written,)), 3);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_counted_and_nobody_waits() {
        let metrics = Arc::new(Metrics::default());
        let full = AuditSink::File("/dev/full".into());
        let sink = Sink::open(full, Arc::clone(&metrics)).unwrap();
        sink.put("one\n".to_owned());
        sink.put("two\n".to_owned());
        sink.flush(SOON).await;
        assert_eq!(metrics.audit_events.value((AuditOutcome::Failed,)), 2);
        let nowhere = AuditSink::File("/nonexistent/directory/audit.log".into());
        assert!(Sink::open(nowhere, metrics).is_err());
    }

    #[test]
    fn a_full_queue_drops_counts_and_does_not_wait() {
        let metrics = Arc::new(Metrics::default());
        // Nobody reads.
        let (jobs, queue) = sync_channel(1);
        let sink = Sink {
            jobs,
            metrics: Arc::clone(&metrics),
            is_full: AtomicBool::new(false),
        };
        for _ in 0..3 {
            sink.put("x\n".to_owned());
        }
        assert_eq!(metrics.audit_events.value((AuditOutcome::Dropped,)), 2);
        drop(queue);
    }
}
