//! A store in one file (redb), for one process: what `vestibule serve` uses unless it is told otherwise.
//!
//! Writes of many callers share a transaction and so an fsync; a caller is answered when its write is on the disk. One
//! thread writes, reads run beside it on the threads for blocking work.

mod file;
mod tables;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use vestibule_oauth::time::Clock;

use self::file::File;
use self::writer::Writer;
use super::{Entry, Expect, Key, Owner, Put, Space, Store, StoreError, Value};

/// One file.
pub struct RedbStore {
    file: Arc<File>,
    writer: Writer,
    clock: Arc<dyn Clock>,
}

impl RedbStore {
    /// Opens the file or makes it, for its owner alone (mode 0600). The directory must exist. Blocks: after a crash the file
    /// is looked through.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let file = Arc::new(File::open(path)?);
        let writer = Writer::start(Arc::clone(&file), Arc::clone(&clock))?;
        Ok(Self {
            file,
            writer,
            clock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &PathBuf {
        self.file.path()
    }

    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&tables::Readable) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = Arc::clone(&self.file);
        let asked = tokio::task::spawn_blocking(move || file.read(ask)).await;
        asked.unwrap_or_else(|gone| Err(StoreError::Unavailable(gone.to_string())))
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let (key, now) = (key.clone(), self.clock.now());
        self.read(move |tables| tables.get(&key, now)).await
    }

    async fn put(&self, key: &Key, value: Value, expect: Expect) -> Result<Put, StoreError> {
        let (key, now) = (key.clone(), self.clock.now());
        self.writer
            .write(move |tables| tables.put(&key, &value, expect, now))
            .await
    }

    async fn take(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let (key, now) = (key.clone(), self.clock.now());
        self.writer
            .write(move |tables| {
                let taken = tables.remove(&key)?;
                Ok(taken.filter(|entry| entry.value.expires_at > now))
            })
            .await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.take(key).await?.is_some())
    }

    async fn list(
        &self,
        owner: &Owner,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (owner, after, now) = (owner.clone(), after.cloned(), self.clock.now());
        self.read(move |tables| tables.list(&owner, after.as_ref(), limit, now))
            .await
    }

    async fn scan(
        &self,
        space: Space,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<String>), StoreError> {
        let (cursor, now) = (cursor.map(str::to_owned), self.clock.now());
        self.read(move |tables| tables.scan(space, cursor.as_deref(), limit, now))
            .await
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        // A full disk or a file that cannot be written shows here and not at the first sign-in.
        self.writer
            .write(|tables| {
                tables.touch();
                Ok(())
            })
            .await?;
        Ok(self.file.warnings())
    }

    fn describe(&self) -> String {
        format!("redb:{}", self.file.path().display())
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore")
            .field("path", self.path())
            .finish_non_exhaustive()
    }
}
