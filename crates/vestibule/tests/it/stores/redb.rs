//! The store in a file: the contract, what survives a kill, and what an operator reads when the file cannot be used.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use redb::ReadableDatabase as _;
use vestibule::store::{Expect, Key, Owner, Put, RedbStore, Space, Store, StoreError, Value};
use vestibule_oauth::time::{Clock, ManualClock, SystemClock, UnixTime};

use crate::contract::{self, Bench};

contract::suite!(open);

async fn open() -> Bench {
    let directory = Directory::new();
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let store: Arc<dyn Store> = Arc::new(directory.store(&clock));
    Bench::new(Arc::clone(&store), store, clock, directory)
}

/// Removed after the test.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vestibule-redb-{}-{next}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.0.join("vestibule.redb")
    }

    fn store(&self, clock: &Arc<ManualClock>) -> RedbStore {
        RedbStore::open(&self.file(), Arc::clone(clock) as Arc<dyn Clock>).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn value(bytes: &str, clock: &ManualClock) -> Value {
    Value {
        bytes: bytes.as_bytes().to_vec(),
        owner: Some(Owner::user("ada")),
        expires_at: clock.now().plus(60),
    }
}

async fn set(store: &RedbStore, name: &str, clock: &ManualClock) -> Put {
    let (key, value) = (key(name), value(name, clock));
    store.put(&key, value, Expect::Any).await.unwrap()
}

fn key(name: &str) -> Key {
    Key::hashed(Space::Grant, name)
}

/// Why it does not open.
fn refused(path: &Path) -> StoreError {
    RedbStore::open(path, Arc::new(SystemClock)).unwrap_err()
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let directory = Directory::new();
    let clock = Arc::new(ManualClock::new(UnixTime(1_800_000_000)));
    let store = directory.store(&clock);
    set(&store, "a", &clock).await;
    let entry = store.get(&key("a")).await.unwrap().unwrap();
    drop(store);
    let store = directory.store(&clock);
    assert_eq!(store.get(&key("a")).await.unwrap(), Some(entry.clone()));
    let listed = store.list(&Owner::user("ada"), None, 9).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&entry));
    // Versions go on where they were.
    store.delete(&key("a")).await.unwrap();
    drop(store);
    let store = directory.store(&clock);
    assert_ne!(set(&store, "a", &clock).await, Put::Stored(entry.version));
}

#[tokio::test]
async fn the_file_is_for_its_owner_alone() {
    let directory = Directory::new();
    let store = directory.store(&Arc::default());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.file()), 0o600);
    assert_eq!(store.check().await.unwrap(), [""; 0]);
    fs::set_permissions(directory.file(), fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = store.check().await.unwrap();
    assert!(warnings[0].contains("mode 644"), "{warnings:?}");
}

#[tokio::test]
async fn what_has_ended_is_removed_as_others_are_written() {
    let directory = Directory::new();
    let clock = Arc::new(ManualClock::new(UnixTime(1_800_000_000)));
    let store = directory.store(&clock);
    for i in 0..300 {
        set(&store, &i.to_string(), &clock).await;
    }
    clock.advance(60);
    for _ in 0..10 {
        set(&store, "other", &clock).await;
    }
    drop(store);
    assert_eq!(rows(&directory.file()), [1, 1, 1]);
}

/// How many rows the three tables have.
fn rows(path: &Path) -> [u64; 3] {
    use redb::{ReadableTableMetadata as _, TableDefinition};
    type Row = (u64, u64, Option<&'static str>, &'static [u8]);
    let database = redb::Database::open(path).unwrap();
    let read = database.begin_read().unwrap();
    let entries = read
        .open_table(TableDefinition::<&str, Row>::new("entries"))
        .unwrap();
    let owners = read
        .open_table(TableDefinition::<(&str, &str), ()>::new("owners"))
        .unwrap();
    let ends = read
        .open_table(TableDefinition::<(u64, &str), ()>::new("ends"))
        .unwrap();
    [
        entries.len().unwrap(),
        owners.len().unwrap(),
        ends.len().unwrap(),
    ]
}

/// The test runs itself as another process, which says what was acknowledged until it is killed.
#[tokio::test]
async fn a_killed_process_lost_nothing_that_it_acknowledged() {
    const CHILD: &str = "VESTIBULE_TEST_KILLED";
    let clock = Arc::new(ManualClock::new(UnixTime(1_800_000_000)));
    if let Some(path) = std::env::var_os(CHILD) {
        let store = Arc::new(RedbStore::open(Path::new(&path), Arc::clone(&clock) as _).unwrap());
        // Four at once, so that they share transactions.
        let writers = (0..4).map(|writer| {
            let (store, clock) = (Arc::clone(&store), Arc::clone(&clock));
            tokio::spawn(async move {
                for i in 0_u64.. {
                    let name = format!("{writer}-{i}");
                    set(&store, &name, &clock).await;
                    let mut out = std::io::stdout().lock();
                    out.write_all(format!("\nwritten {name}\n").as_bytes())
                        .unwrap();
                    out.flush().unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        unreachable!("it is killed before");
    }
    let directory = Directory::new();
    let mut acknowledged = Vec::new();
    for life in 0..3 {
        if life > 0 {
            let _ = fs::remove_file(directory.file());
            acknowledged.clear();
        }
        let test = "stores::redb::a_killed_process_lost_nothing_that_it_acknowledged";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, directory.file())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while acknowledged.len() < 200 * (life + 1) {
            let line = lines.next().expect("the child ended by itself").unwrap();
            acknowledged.extend(line.strip_prefix("written ").map(str::to_owned));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said between the last look and its end.
        let rest = lines.map_while(Result::ok);
        acknowledged
            .extend(rest.filter_map(|line| line.strip_prefix("written ").map(str::to_owned)));
        let store = directory.store(&clock);
        for name in &acknowledged {
            let entry = store.get(&key(name)).await.unwrap();
            let bytes = entry
                .unwrap_or_else(|| panic!("{name} is lost"))
                .value
                .bytes;
            assert_eq!(bytes, name.as_bytes());
        }
        let listed = store.list(&Owner::user("ada"), None, usize::MAX).await;
        assert!(listed.unwrap().len() >= acknowledged.len());
        drop(store);
        let [entries, owners, ends] = rows(&directory.file());
        assert!(entries == owners && owners == ends);
    }
}

#[tokio::test]
async fn two_processes_cannot_have_one_file() {
    let directory = Directory::new();
    let _store = directory.store(&Arc::default());
    let error = refused(&directory.file());
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
    assert!(error.to_string().contains("in use by another process"));
}

#[test]
fn a_place_that_cannot_be_used_is_named() {
    let directory = Directory::new();
    for (path, wanted) in [
        (directory.0.join("no/vestibule.redb"), "does not exist"),
        (directory.0.clone(), "is a directory"),
    ] {
        let error = refused(&path);
        assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains(&path.display().to_string()), "{text}");
    }
}

#[test]
fn a_file_that_is_something_else_is_left_alone() {
    let directory = Directory::new();
    for bytes in [&b"[keys]\nno store\n"[..], &[0xa5; 9000]] {
        fs::write(directory.file(), bytes).unwrap();
        let error = refused(&directory.file());
        assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
        assert!(error.to_string().contains("move the file away"), "{error}");
        assert_eq!(fs::read(directory.file()).unwrap(), bytes);
    }
}

#[test]
fn a_damaged_file_says_what_to_do_and_nothing_panics() {
    let directory = Directory::new();
    drop(directory.store(&Arc::default()));
    let whole = fs::read(directory.file()).unwrap();
    // The head of the file, and where it says what is where.
    for from in [0, 64, 128, 192] {
        let mut damaged = whole.clone();
        for byte in &mut damaged[from..from + 64] {
            *byte ^= 0x5a;
        }
        fs::write(directory.file(), &damaged).unwrap();
        // The half of the head that is not in use may be damaged without harm.
        if let Err(error) = RedbStore::open(&directory.file(), Arc::new(SystemClock)) {
            let text = error.to_string();
            assert!(text.contains("vestibule.redb"), "{text}");
            assert!(text.contains("move the file away"), "{text}");
        }
    }
    fs::write(directory.file(), &whole[..whole.len() / 3]).unwrap();
    let error = refused(&directory.file());
    assert!(error.to_string().contains("move the file away"), "{error}");
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let directory = Directory::new();
    drop(directory.store(&Arc::default()));
    let database = redb::Database::open(directory.file()).unwrap();
    let write = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, u64>::new("numbers");
    write
        .open_table(table)
        .unwrap()
        .insert("format", 2)
        .unwrap();
    write.commit().unwrap();
    drop(database);
    let error = refused(&directory.file());
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    assert!(error.to_string().contains("newer version"), "{error}");
}
