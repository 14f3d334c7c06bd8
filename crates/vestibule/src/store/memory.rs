//! A store in the memory of this process, for tests and `dev`: gone when it ends, unknown to other processes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use vestibule_oauth::time::{Clock, UnixTime};

use super::{Entry, Expect, Key, Owner, Put, Space, Store, StoreError, Value, Version};

/// Entries in a map.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    writes: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many writes lie between two looks for what has ended.
    const SWEEP_EVERY: u64 = 1024;

    fn live(&self, key: &Key, now: UnixTime) -> Option<&Entry> {
        let entry = self.entries.get(key)?;
        (entry.value.expires_at > now).then_some(entry)
    }

    fn write(&mut self, key: &Key, value: Value, now: UnixTime) -> Version {
        self.writes += 1;
        if self.writes.is_multiple_of(Self::SWEEP_EVERY) {
            self.entries.retain(|_, entry| entry.value.expires_at > now);
        }
        let entry = Entry {
            key: key.clone(),
            value,
            version: Version(self.writes),
        };
        let version = entry.version;
        self.entries.insert(key.clone(), entry);
        version
    }

    fn behind(&self, after: Option<&Key>) -> impl Iterator<Item = &Entry> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries
            .range((from, Bound::Unbounded))
            .map(|(_, entry)| entry)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(self.state().live(key, self.clock.now()).cloned())
    }

    async fn put(&self, key: &Key, value: Value, expect: Expect) -> Result<Put, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let there = state.live(key, now).map(|entry| entry.version);
        let as_expected = match expect {
            Expect::Any => true,
            Expect::Absent => there.is_none(),
            Expect::Version(version) => there == Some(version),
        };
        if as_expected {
            Ok(Put::Stored(state.write(key, value, now)))
        } else {
            Ok(Put::Conflict)
        }
    }

    async fn take(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let now = self.clock.now();
        let taken = self.state().entries.remove(key);
        Ok(taken.filter(|entry| entry.value.expires_at > now))
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
        let now = self.clock.now();
        let theirs = |entry: &&Entry| {
            entry.value.owner.as_ref() == Some(owner) && entry.value.expires_at > now
        };
        let state = self.state();
        Ok(state
            .behind(after)
            .filter(theirs)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn scan(
        &self,
        space: Space,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<String>), StoreError> {
        let now = self.clock.now();
        let prefix = format!("{}/", space.name());
        let after = Key::from_text(cursor.unwrap_or(&prefix).to_owned());
        let state = self.state();
        let here = state
            .behind(Some(&after))
            .take_while(|entry| entry.key.as_str().starts_with(&prefix));
        let page: Vec<Entry> = here
            .filter(|entry| entry.value.expires_at > now)
            .take(limit)
            .cloned()
            .collect();
        let full = page.len() == limit;
        let last = page.last().map(|entry| entry.key.as_str().to_owned());
        Ok((page, last.filter(|_| full)))
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        Ok(vec![
            "what is stored is lost when this process ends".to_owned(),
        ])
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}
