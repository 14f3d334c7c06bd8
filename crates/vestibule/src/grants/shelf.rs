//! `Shelf`: stored grants in and out of the store, sealed, each call within a time of its own.

use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vestibule_oauth::random::Random;
use vestibule_oauth::time::UnixTime;

use super::StoredGrant;
use crate::seal::{Kind, SealError, Sealable, Sealer};
use crate::store::{Expect, Key, Owner, Put, Space, Store, StoreError, Value, Version};

/// Where grants are kept.
#[derive(Clone, Copy, Debug)]
pub struct Shelf<'a> {
    store: &'a dyn Store,
    sealer: &'a Sealer,
    random: &'a dyn Random,
    patience: Duration,
}

/// A grant as it was read.
#[derive(Debug)]
pub struct Shelved {
    /// The record.
    pub grant: StoredGrant,
    /// By which write.
    pub version: Version,
}

/// A code that was redeemed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UsedCode {
    #[serde(rename = "f")]
    family: String,
}

impl Sealable for UsedCode {
    const KIND: Kind = Kind::UsedCode;
}

fn code_key(mark: &str) -> Key {
    Key::hashed(Space::Once, &format!("code {mark}"))
}

impl<'a> Shelf<'a> {
    /// Every call to the store is given `patience`.
    pub fn new(
        store: &'a dyn Store,
        sealer: &'a Sealer,
        random: &'a dyn Random,
        patience: Duration,
    ) -> Self {
        Self {
            store,
            sealer,
            random,
            patience,
        }
    }

    /// Reads a grant. A record that somebody moved to another key does not count.
    pub async fn load(&self, family: &str, now: UnixTime) -> Result<Option<Shelved>, StoreError> {
        let key = Key::hashed(Space::Grant, family);
        let Some(entry) = self.within(self.store.get(&key)).await? else {
            return Ok(None);
        };
        match self.open(&entry.value.bytes, now)? {
            Some(grant) if grant.grant.family == family => Ok(Some(Shelved {
                grant,
                version: entry.version,
            })),
            Some(_) => Err(StoreError::Corrupt(
                "a grant stands under the key of another".to_owned(),
            )),
            None => Ok(None),
        }
    }

    /// Opens the bytes of a record; `None` when its time is over.
    pub fn open(&self, bytes: &[u8], now: UnixTime) -> Result<Option<StoredGrant>, StoreError> {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        match self.sealer.open(text, now) {
            Ok(grant) => Ok(Some(grant)),
            Err(SealError::Expired) => Ok(None),
            Err(error) => Err(StoreError::Corrupt(format!("a grant: {error}"))),
        }
    }

    /// Writes a grant.
    pub async fn put(&self, grant: &StoredGrant, expect: Expect) -> Result<Put, StoreError> {
        let text = self.sealer.seal(grant, Some(grant.ends_at), self.random);
        let value = Value {
            bytes: text.into_bytes(),
            owner: Some(Owner::user(&grant.user)),
            expires_at: grant.ends_at,
        };
        let key = Key::hashed(Space::Grant, &grant.grant.family);
        self.within(self.store.put(&key, value, expect)).await
    }

    /// The family that a code gave, if it was redeemed. `mark` is the hash of the code.
    pub async fn used_code(&self, mark: &str, now: UnixTime) -> Result<Option<String>, StoreError> {
        let key = code_key(mark);
        let entry = self.within(self.store.get(&key)).await?;
        let text = entry.map(|entry| String::from_utf8_lossy(&entry.value.bytes).into_owned());
        let used = text.map(|text| self.sealer.open::<UsedCode>(&text, now));
        match used {
            None | Some(Err(SealError::Expired)) => Ok(None),
            Some(Ok(used)) => Ok(Some(used.family)),
            Some(Err(error)) => Err(StoreError::Corrupt(format!("a used code: {error}"))),
        }
    }

    /// Remembers that a code was redeemed, for as long as it could be presented again.
    pub async fn mark_code(
        &self,
        mark: &str,
        family: &str,
        until: UnixTime,
    ) -> Result<(), StoreError> {
        let used = UsedCode {
            family: family.to_owned(),
        };
        let value = Value {
            bytes: self
                .sealer
                .seal(&used, Some(until), self.random)
                .into_bytes(),
            owner: None,
            expires_at: until,
        };
        let key = code_key(mark);
        let put = self.store.put(&key, value, Expect::Any);
        self.within(put).await.map(drop)
    }

    /// Any call, within the time.
    pub async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.patience, call).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Unavailable(format!(
                "no answer within {} ms",
                self.patience.as_millis()
            ))),
        }
    }
}
