//! The file: opened for one process, opened again after an error, and what its errors mean to the operator.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use redb::Database;

use super::super::StoreError;
use super::tables::{FORMAT, Readable, Tables};

/// redb's own default is 1 GiB, and it uses all of it (facts/performance.md, 8 and P9).
const CACHE_BYTES: usize = 16 << 20;

/// A file and its database; `None` after an error that it could not be opened again from.
pub(super) struct File {
    path: PathBuf,
    database: RwLock<Option<Database>>,
    /// redb answers nothing more after an error of the disk, until the file is opened again.
    failed: AtomicBool,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            path: path.to_owned(),
            database: RwLock::new(Some(open(path)?)),
            failed: AtomicBool::new(false),
        })
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// True from an error of the disk until something was written again.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    pub(super) fn read<T>(
        &self,
        ask: impl FnOnce(&Readable) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        // Some pages would still be read and others not; and whoever reads is about to write.
        if self.has_failed() {
            return Err(self.explain(&redb::Error::PreviousIo));
        }
        self.with(|database| ask(&Readable::open(database)?))
    }

    /// One transaction, on the disk when this returns. One at a time.
    pub(super) fn write(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let again = self.has_failed();
        if again {
            self.open_again()?;
        }
        self.with(|database| {
            // Without redb's quick repair: with it, a write among a million grants takes four times as long; without, that
            // file is looked through for seconds after a crash.
            let transaction = database.begin_write()?;
            let mut tables = Tables::open(&transaction)?;
            work(&mut tables)?;
            if tables.finish()? {
                transaction.commit()?;
            } else {
                transaction.abort()?;
            }
            Ok(())
        })?;
        if again {
            self.failed.store(false, Ordering::SeqCst);
            tracing::info!(file = %self.path.display(), "the store can be written again");
        }
        Ok(())
    }

    /// What the operator should know.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mode = fs::metadata(&self.path).map(|meta| meta.permissions().mode() & 0o777);
        match mode {
            Ok(mode) if mode & 0o077 != 0 => vec![format!(
                "others may read or write {} (mode {mode:o}); run `chmod 600` on it",
                self.path.display()
            )],
            _ => Vec::new(),
        }
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else {
            return Err(self.explain(&redb::Error::PreviousIo));
        };
        work(database).map_err(|error| {
            self.failed.store(true, Ordering::SeqCst);
            self.explain(&error)
        })
    }

    /// After an error, closes the file and opens it: what was not committed is rolled back.
    fn open_again(&self) -> Result<(), StoreError> {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *database = None;
        *database = Some(open(&self.path)?);
        Ok(())
    }

    fn explain(&self, error: &redb::Error) -> StoreError {
        explain(&self.path, error)
    }
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let failed = |error: redb::Error| explain(path, &error);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| failed(error.into()))?;
    let shown = path.display().to_string();
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .set_repair_callback(move |_| {
            tracing::info!(file = shown, "the store was not closed; looking through it");
        })
        .create_file(file)
        .map_err(|error| failed(error.into()))?;
    let format = mark(&database).map_err(failed)?;
    if format > FORMAT {
        return Err(StoreError::Corrupt(format!(
            "{} was written by a newer version of Vestibule (format {format}, this one knows {FORMAT}); run that \
             version, or move the file away: then everybody signs in again",
            path.display()
        )));
    }
    Ok(database)
}

/// Creates the tables of a new file and gives the format of an old one.
fn mark(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let mut tables = Tables::open(&transaction)?;
    let format = tables.format()?;
    if tables.finish()? {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(format)
}

fn explain(path: &Path, error: &redb::Error) -> StoreError {
    let file = path.display();
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::Misconfigured(format!(
            "{file} is in use by another process; one process at a time can have it. Stop the other one, name another \
             file, or use a store that processes can share"
        )),
        redb::Error::Io(error) => io_trouble(path, error),
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => StoreError::Unavailable(format!(
            "{file} could not be read or written and is not open yet"
        )),
        redb::Error::UpgradeRequired(version) => StoreError::Corrupt(format!(
            "{file} has version {version} of redb's format, which this version of Vestibule does not read; run the \
             version that wrote it, or move the file away: then everybody signs in again"
        )),
        other => StoreError::Corrupt(format!(
            "{file} is damaged, or no store of Vestibule's ({other}); put back a copy, or move the file away: then \
             everybody signs in again"
        )),
    }
}

fn io_trouble(path: &Path, error: &io::Error) -> StoreError {
    let file = path.display();
    let directory = path.parent().unwrap_or(path).display();
    match error.kind() {
        ErrorKind::NotFound => StoreError::Misconfigured(format!(
            "the directory of {file} does not exist; make it, for the user that runs Vestibule"
        )),
        ErrorKind::PermissionDenied => StoreError::Misconfigured(format!(
            "{file} may not be read and written by this user; give the file and {directory} to the user that runs \
             Vestibule"
        )),
        ErrorKind::ReadOnlyFilesystem => StoreError::Misconfigured(format!(
            "{file} lies on a file system that can only be read; name a file elsewhere"
        )),
        ErrorKind::IsADirectory => {
            StoreError::Misconfigured(format!("{file} is a directory; name a file in it"))
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StoreError::Unavailable(format!("no room is left for {file}: {error}"))
        }
        // What redb says of a file that is something else.
        ErrorKind::InvalidData => StoreError::Corrupt(format!(
            "{file} is damaged, or no store of Vestibule's ({error}); put back a copy, or move the file away: then \
             everybody signs in again"
        )),
        _ => StoreError::Unavailable(format!("{file}: {error}")),
    }
}
