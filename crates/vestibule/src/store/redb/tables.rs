//! What is in the file: entries by key, their keys by owner and by end, and two numbers. One transaction changes all of
//! them, so they never disagree.

use std::ops::Bound;

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};
use vestibule_oauth::time::UnixTime;

use super::super::{Entry, Expect, Key, Owner, Put, Space, Value, Version};

/// How this version writes. A higher number in a file is of a newer version.
pub(super) const FORMAT: u64 = 1;

/// Version, end, owner, bytes.
type Row = (u64, u64, Option<&'static str>, &'static [u8]);

const ENTRIES: TableDefinition<'_, &str, Row> = TableDefinition::new("entries");
const OWNERS: TableDefinition<'_, (&str, &str), ()> = TableDefinition::new("owners");
const ENDS: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("ends");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

/// The tables in a transaction that writes.
pub(super) struct Tables<'t> {
    entries: Table<'t, &'static str, Row>,
    owners: Table<'t, (&'static str, &'static str), ()>,
    ends: Table<'t, (u64, &'static str), ()>,
    numbers: Table<'t, &'static str, u64>,
    writes: u64,
    changed: bool,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let numbers = transaction.open_table(NUMBERS)?;
        let writes = number(&numbers, "writes")?.unwrap_or(0);
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            owners: transaction.open_table(OWNERS)?,
            ends: transaction.open_table(ENDS)?,
            numbers,
            writes,
            changed: false,
        })
    }

    /// Which version wrote the file; a new file is marked as ours.
    pub(super) fn format(&mut self) -> Result<u64, redb::Error> {
        if let Some(format) = number(&self.numbers, "format")? {
            return Ok(format);
        }
        self.numbers.insert("format", FORMAT)?;
        self.changed = true;
        Ok(FORMAT)
    }

    /// True when there is something to commit.
    pub(super) fn finish(mut self) -> Result<bool, redb::Error> {
        if self.changed {
            self.numbers.insert("writes", self.writes)?;
        }
        Ok(self.changed)
    }

    /// Makes a commit happen.
    pub(super) fn touch(&mut self) {
        self.changed = true;
    }

    pub(super) fn put(
        &mut self,
        key: &Key,
        value: &Value,
        expect: Expect,
        now: UnixTime,
    ) -> Result<Put, redb::Error> {
        let there = get(&self.entries, key.as_str(), now)?.map(|entry| entry.version);
        let as_expected = match expect {
            Expect::Any => true,
            Expect::Absent => there.is_none(),
            Expect::Version(version) => there == Some(version),
        };
        if !as_expected {
            return Ok(Put::Conflict);
        }
        self.remove(key)?;
        self.writes += 1;
        self.changed = true;
        let (key, end) = (key.as_str(), value.expires_at.0);
        let owner = value.owner.as_ref().map(Owner::as_str);
        let row = (self.writes, end, owner, value.bytes.as_slice());
        self.entries.insert(key, row)?;
        self.ends.insert((end, key), ())?;
        if let Some(owner) = owner {
            self.owners.insert((owner, key), ())?;
        }
        Ok(Put::Stored(Version(self.writes)))
    }

    /// Removes what is there, ended or not.
    pub(super) fn remove(&mut self, key: &Key) -> Result<Option<Entry>, redb::Error> {
        let removed = self.entries.remove(key.as_str())?;
        let Some(entry) = removed.map(|row| entry(key.as_str(), row.value())) else {
            return Ok(None);
        };
        self.changed = true;
        self.ends.remove((entry.value.expires_at.0, key.as_str()))?;
        if let Some(owner) = &entry.value.owner {
            self.owners.remove((owner.as_str(), key.as_str()))?;
        }
        Ok(Some(entry))
    }

    /// Removes what has ended, at most `limit` entries; gives how many.
    pub(super) fn sweep(&mut self, limit: usize, now: UnixTime) -> Result<usize, redb::Error> {
        let ended = self.ends.range((0, "")..(now.0.saturating_add(1), ""))?;
        let mut keys = Vec::new();
        for row in ended.take(limit) {
            keys.push(Key::from_text(row?.0.value().1.to_owned()));
        }
        for key in &keys {
            self.remove(key)?;
        }
        Ok(keys.len())
    }
}

/// The tables in a transaction that reads.
pub(super) struct Readable {
    entries: ReadOnlyTable<&'static str, Row>,
    owners: ReadOnlyTable<(&'static str, &'static str), ()>,
}

impl Readable {
    pub(super) fn open(database: &redb::Database) -> Result<Self, redb::Error> {
        let transaction: ReadTransaction = database.begin_read()?;
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            owners: transaction.open_table(OWNERS)?,
        })
    }

    pub(super) fn get(&self, key: &Key, now: UnixTime) -> Result<Option<Entry>, redb::Error> {
        get(&self.entries, key.as_str(), now)
    }

    pub(super) fn list(
        &self,
        owner: &Owner,
        after: Option<&Key>,
        limit: usize,
        now: UnixTime,
    ) -> Result<Vec<Entry>, redb::Error> {
        let from = (owner.as_str(), after.map_or("", Key::as_str));
        let behind = (Bound::Excluded(from), Bound::Unbounded);
        let mut listed = Vec::new();
        for row in self.owners.range::<(&str, &str)>(behind)? {
            let (row, ()) = {
                let row = row?;
                (row.0, row.1.value())
            };
            let (whose, key) = row.value();
            if whose != owner.as_str() || listed.len() == limit {
                break;
            }
            listed.extend(get(&self.entries, key, now)?);
        }
        Ok(listed)
    }

    /// A page is `limit` rows less those that have ended.
    pub(super) fn scan(
        &self,
        space: Space,
        cursor: Option<&str>,
        limit: usize,
        now: UnixTime,
    ) -> Result<(Vec<Entry>, Option<String>), redb::Error> {
        let prefix = format!("{}/", space.name());
        let behind = (Bound::Excluded(cursor.unwrap_or(&prefix)), Bound::Unbounded);
        let (mut page, mut seen, mut last) = (Vec::new(), 0, None);
        for row in self.entries.range::<&str>(behind)? {
            let (key, row) = row?;
            if !key.value().starts_with(&prefix) {
                break;
            }
            if seen == limit {
                return Ok((page, last));
            }
            seen += 1;
            last = Some(key.value().to_owned());
            let found = entry(key.value(), row.value());
            if found.value.expires_at > now {
                page.push(found);
            }
        }
        Ok((page, None))
    }
}

fn number(
    numbers: &impl ReadableTable<&'static str, u64>,
    name: &str,
) -> Result<Option<u64>, redb::Error> {
    Ok(numbers.get(name)?.map(|number| number.value()))
}

fn get(
    entries: &impl ReadableTable<&'static str, Row>,
    key: &str,
    now: UnixTime,
) -> Result<Option<Entry>, redb::Error> {
    let row = entries.get(key)?;
    Ok(row
        .filter(|row| row.value().1 > now.0)
        .map(|row| entry(key, row.value())))
}

fn entry(key: &str, (version, end, owner, bytes): (u64, u64, Option<&str>, &[u8])) -> Entry {
    Entry {
        key: Key::from_text(key.to_owned()),
        value: Value {
            bytes: bytes.to_vec(),
            owner: owner.map(|owner| Owner::from_text(owner.to_owned())),
            expires_at: UnixTime(end),
        },
        version: Version(version),
    }
}
