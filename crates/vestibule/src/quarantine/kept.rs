//! The quarantine in the store: put, lifted, listed, and read by every replica that follows the store.

use std::collections::HashMap;

use vestibule_oauth::time::UnixTime;

use super::{Quarantined, Who};
use crate::House;
use crate::audit::{Event, Happened, Source};
use crate::grants::Shelf;
use crate::seal::SealError;
use crate::store::{Entry, Expect, Key, Owner, Space, Store, StoreError, Value};

/// Entries read at once.
const PAGE: usize = 500;
/// Every entry of a store has an end, in seconds; a hundred years is none.
const WITHOUT_END: u64 = 100 * 365 * 24 * 3600;

/// The list, for operators.
#[derive(Clone, Copy)]
pub(crate) struct Keeper<'a> {
    house: &'a House,
    store: &'a dyn Store,
    shelf: Shelf<'a>,
}

impl House {
    /// The list in the store; `None` without a store.
    pub(crate) fn keeper(&self) -> Option<Keeper<'_>> {
        Some(Keeper {
            house: self,
            store: self.store()?,
            shelf: self.shelf()?,
        })
    }

    /// Reads the list. Part of following the store.
    pub(crate) async fn follow_quarantine(&self) -> Result<(), StoreError> {
        let Some(keeper) = self.keeper() else {
            return Ok(());
        };
        let (entries, unreadable) = keeper.read().await?;
        let read: HashMap<Who, UnixTime> = entries
            .into_iter()
            .map(|entry| (entry.who.clone(), entry.until()))
            .collect();
        if self.quarantine().replace(read, unreadable, self.now()) {
            self.barrier().alarm.ring();
        }
        Ok(())
    }
}

impl Keeper<'_> {
    /// Shuts out, from now on. An entry for the same is replaced.
    pub(crate) async fn put(&self, entry: &Quarantined, source: &Source) -> Result<(), StoreError> {
        let now = self.house.now();
        let expires_at = entry.ends_at.unwrap_or_else(|| now.plus(WITHOUT_END));
        let (sealer, random) = (self.house.sealer(), self.house.random());
        let value = Value {
            bytes: sealer.seal(entry, Some(expires_at), random).into_bytes(),
            owner: Some(Owner::all_of(Space::Quarantine)),
            expires_at,
        };
        let key = key_of(&entry.who);
        let put = self.store.put(&key, value, Expect::Any);
        self.shelf.within(put).await?;
        let until = Some(entry.until());
        self.house
            .quarantine()
            .change(entry.who.clone(), until, now);
        self.house.barrier().alarm.ring();
        tracing::warn!(
            event = "quarantine.added",
            kind = entry.who.kind(),
            who = entry.named.as_deref().unwrap_or(entry.who.text()),
            why = entry.reason,
            "shut out by an operator"
        );
        let event = Event::new(Happened::QuarantineAdded).note(&entry.reason);
        self.house
            .tell_audit(&about(event, &entry.who).from(source));
        Ok(())
    }

    /// Lets in again; false when nobody was shut out under this very text.
    pub(crate) async fn lift(&self, who: &Who, source: &Source) -> Result<bool, StoreError> {
        let key = key_of(who);
        let was_there = self.shelf.within(self.store.delete(&key)).await?;
        let now = self.house.now();
        self.house.quarantine().change(who.clone(), None, now);
        if was_there {
            tracing::warn!(
                event = "quarantine.lifted",
                kind = who.kind(),
                who = who.text(),
                "let in again by an operator"
            );
            let event = Event::new(Happened::QuarantineLifted);
            self.house.tell_audit(&about(event, who).from(source));
        }
        Ok(was_there)
    }

    /// One entry.
    pub(crate) async fn get(&self, who: &Who) -> Result<Option<Quarantined>, StoreError> {
        let entry = self.shelf.within(self.store.get(&key_of(who))).await?;
        match entry.map(|entry| self.open(&entry)) {
            None | Some(Err(SealError::Expired)) => Ok(None),
            Some(Ok(entry)) => Ok(Some(entry)),
            Some(Err(error)) => Err(StoreError::Corrupt(format!("a quarantine: {error}"))),
        }
    }

    /// The whole list, and the number of entries that cannot be read.
    pub(crate) async fn read(&self) -> Result<(Vec<Quarantined>, usize), StoreError> {
        let owner = Owner::all_of(Space::Quarantine);
        let (mut entries, mut unreadable) = (Vec::new(), 0);
        let mut after: Option<Key> = None;
        loop {
            let asked = self.store.list(&owner, after.as_ref(), PAGE);
            let page = self.shelf.within(asked).await?;
            for entry in &page {
                match self.open(entry) {
                    Ok(entry) => entries.push(entry),
                    Err(SealError::Expired) => {}
                    Err(_) => unreadable += 1,
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok((entries, unreadable)),
            }
        }
    }

    /// An entry that somebody moved to another key does not count.
    fn open(&self, entry: &Entry) -> Result<Quarantined, SealError> {
        let text = std::str::from_utf8(&entry.value.bytes).unwrap_or_default();
        let opened: Quarantined = self.house.sealer().open(text, self.house.now())?;
        if key_of(&opened.who) == entry.key {
            Ok(opened)
        } else {
            Err(SealError::Broken)
        }
    }
}

impl Who {
    /// `user` or `client`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Client(_) => "client",
        }
    }

    /// The user, or the selector's text.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::User(subject) => subject,
            Self::Client(selector) => selector.as_str(),
        }
    }
}

fn about<'a>(event: Event<'a>, who: &'a Who) -> Event<'a> {
    match who {
        Who::User(subject) => event.user(subject),
        Who::Client(selector) => event.client_selector(selector.as_str()),
    }
}

fn key_of(who: &Who) -> Key {
    Key::hashed(Space::Quarantine, &format!("{} {}", who.kind(), who.text()))
}
