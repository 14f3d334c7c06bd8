//! The thread that writes: many callers' changes in one transaction, and a broom for what has ended.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;
use vestibule_oauth::time::Clock;

use super::super::StoreError;
use super::file::File;
use super::tables::Tables;

/// How many writes may wait. At 200 writes a second, as a slow disk does, these are many seconds.
const WAITING: usize = 4096;
/// How many share a transaction.
const BATCH: usize = 256;
/// How many ended entries go with each transaction, and in one of their own when there is nothing else to do.
const SWEPT_ALONG: usize = 64;
const SWEPT_ALONE: usize = 1024;
/// How often there is a look for ended entries while nothing is written.
const IDLE: Duration = Duration::from_secs(30);
/// How often, after an error of the disk, it is tried whether it is over, while nobody else tries.
const AGAIN: Duration = Duration::from_secs(2);

/// The thread; it ends, and the file is closed, when this is dropped.
pub(super) struct Writer {
    jobs: Option<SyncSender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(file: Arc<File>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let (jobs, waiting) = sync_channel(WAITING);
        let thread = thread::Builder::new()
            .name("vestibule-store".to_owned())
            .spawn(move || run(&file, clock.as_ref(), &waiting))
            .map_err(|error| StoreError::Unavailable(format!("no thread to write: {error}")))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Does `work` in a transaction and gives what it gave once that is on the disk. If the caller goes away, it is done
    /// nevertheless.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let unavailable = |why: &str| StoreError::Unavailable(why.to_owned());
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Write {
            work: Some(work),
            result: None,
            answer,
        });
        let Some(jobs) = &self.jobs else {
            return Err(unavailable("it is closed"));
        };
        jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => unavailable("too many writes are waiting"),
            TrySendError::Disconnected(_) => unavailable("the thread that writes has ended"),
        })?;
        answered
            .await
            .unwrap_or_else(|_| Err(unavailable("the thread that writes has ended")))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Whatever it died of was logged; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// What waits to be written, whatever it gives.
trait Job: Send {
    fn work(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Write<T, W> {
    work: Option<W>,
    result: Option<T>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, W> Job for Write<T, W>
where
    W: FnOnce(&mut Tables<'_>) -> Result<T, redb::Error> + Send,
{
    fn work(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error> {
        if let Some(work) = self.work.take() {
            self.result = Some(work(tables)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let not_done = || StoreError::Unavailable("it was not written".to_owned());
        let Self { result, answer, .. } = *self;
        // Who asked may have gone.
        let _ = answer.send(committed.and_then(|()| result.ok_or_else(not_done)));
    }
}

fn run(file: &File, clock: &dyn Clock, waiting: &Receiver<Box<dyn Job>>) {
    loop {
        let wait = if file.has_failed() { AGAIN } else { IDLE };
        let first = match waiting.recv_timeout(wait) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) if file.has_failed() => {
                // A write that nobody waits for. What it fails of is in the log already.
                let _ = file.write(|tables| {
                    tables.touch();
                    Ok(())
                });
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {
                sweep(file, clock, waiting);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut batch = vec![first];
        batch.extend(waiting.try_iter().take(BATCH - 1));
        write(file, clock, batch);
    }
}

/// All of them or none. One that cannot be done fails those that came with it: it is the disk that fails, not the job.
fn write(file: &File, clock: &dyn Clock, mut batch: Vec<Box<dyn Job>>) {
    let committed = file.write(|tables| {
        for job in &mut batch {
            job.work(tables)?;
        }
        tables.sweep(SWEPT_ALONG, clock.now())?;
        Ok(())
    });
    for job in batch {
        job.answer(committed.clone());
    }
}

/// Removes what has ended, a bounded number in each transaction; whoever writes meanwhile waits for one of them only.
fn sweep(file: &File, clock: &dyn Clock, waiting: &Receiver<Box<dyn Job>>) {
    loop {
        let mut swept = 0;
        let done = file.write(|tables| {
            swept = tables.sweep(SWEPT_ALONE, clock.now())?;
            Ok(())
        });
        if let Err(error) = done {
            tracing::warn!(%error, "cannot remove what has ended");
            return;
        }
        if swept < SWEPT_ALONE {
            return;
        }
        let batch: Vec<_> = waiting.try_iter().take(BATCH).collect();
        if !batch.is_empty() {
            write(file, clock, batch);
        }
    }
}
