//! Revocation of grants and tokens: here at once, at the other replicas within seconds (RFC 7009; design §5.3).
//!
//! A revoked grant is marked in its record, which every refresh reads. Access tokens are opened without reading the
//! store, so what was revoked lately is also a list in the store, in the order of time, that every replica follows.

mod provider;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use vestibule_oauth::time::UnixTime;

use crate::House;
use crate::audit::{Event, Happened, Source};
use crate::grants::{RevokedWhy, Shelf, Shelved, StoredGrant};
use crate::seal::{Kind, Sealable};
use crate::store::{Expect, Key, Owner, Put, Space, StoreError, Value};

/// How often the list is read.
const EVERY: Duration = Duration::from_secs(2);
/// Seconds by which each look goes back behind the one before: for clocks that differ, and for stores whose lists are a
/// little late.
const OVERLAP: u64 = 60;
/// Entries read at once.
const PAGE: usize = 500;
/// Tries to mark a record that others keep writing to.
const TRIES: u32 = 20;

/// An entry of the list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Revocation {
    /// A family, or the id of a token.
    #[serde(rename = "i")]
    id: String,
    #[serde(rename = "u")]
    until: UnixTime,
}

impl Sealable for Revocation {
    const KIND: Kind = Kind::Revocation;
}

/// Up to when the list was read; zero before the first time.
#[derive(Debug, Default)]
pub(crate) struct Followed(AtomicU64);

impl House {
    /// Revokes a family: its access tokens are refused here at once and elsewhere within seconds, its refresh tokens
    /// everywhere. The record, as it is then, is given back for whoever tells the provider. `source`: who asked for it.
    pub(crate) async fn revoke_family(
        &self,
        family: &str,
        why: RevokedWhy,
        source: &Source,
    ) -> Result<Option<StoredGrant>, StoreError> {
        let now = self.now();
        let until = now.plus(self.settings().tokens.access_ttl.as_secs());
        self.revoked().add(family, until, now);
        let Some(kept) = self.shelf() else {
            return Ok(None);
        };
        let marked = self.mark_revoked(&kept, family, why).await?;
        self.announce(&kept, family, until).await?;
        tracing::info!(
            event = "grant.revoked",
            reason = why.slug(),
            family,
            "grant revoked"
        );
        self.metrics().grants_revoked.inc((why,));
        let mut event = Event::new(Happened::TokenRevoked)
            .because(why.slug())
            .from(source)
            .grant(family);
        if let Some(record) = &marked {
            event = event.user(&record.user).client_id(&record.client_id);
            event = event.at(&record.grant.resource);
        }
        self.tell_audit(&event);
        Ok(marked)
    }

    async fn mark_revoked(
        &self,
        kept: &Shelf<'_>,
        family: &str,
        why: RevokedWhy,
    ) -> Result<Option<StoredGrant>, StoreError> {
        for _ in 0..TRIES {
            let now = self.now();
            let Some(Shelved { mut grant, version }) = kept.load(family, now).await? else {
                return Ok(None);
            };
            if grant.revoked.is_some() {
                return Ok(Some(grant));
            }
            grant.revoke(why, now);
            if let Put::Stored(_) = kept.put(&grant, Expect::Version(version)).await? {
                return Ok(Some(grant));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(StoreError::Unavailable(
            "others kept writing to the grant that is to be revoked".to_owned(),
        ))
    }

    /// Revokes one access token. Without a store this replica alone knows it.
    pub(crate) async fn revoke_token(&self, id: &str, until: UnixTime) -> Result<(), StoreError> {
        self.revoked().add(id, until, self.now());
        match self.shelf() {
            Some(kept) => self.announce(&kept, id, until).await,
            None => Ok(()),
        }
    }

    async fn announce(
        &self,
        kept: &Shelf<'_>,
        id: &str,
        until: UnixTime,
    ) -> Result<(), StoreError> {
        let Some(store) = self.store() else {
            return Ok(());
        };
        let note = Revocation {
            id: id.to_owned(),
            until,
        };
        let text = self.sealer().seal(&note, Some(until), self.random());
        let value = Value {
            bytes: text.into_bytes(),
            owner: Some(Owner::all_of(Space::Revocation)),
            expires_at: until,
        };
        let key = Key::at(Space::Revocation, self.now(), id);
        kept.within(store.put(&key, value, Expect::Any)).await?;
        Ok(())
    }

    /// Reads what was revoked since the last time, at any replica, and who is in quarantine. Gives the number of
    /// revocations.
    pub async fn follow_once(&self) -> Result<usize, StoreError> {
        let (Some(store), Some(kept)) = (self.store(), self.shelf()) else {
            return Ok(0);
        };
        let now = self.now();
        let longest = self.settings().tokens.access_ttl.as_secs();
        let before = match self.followed.0.load(Ordering::Relaxed) {
            0 => now.minus(longest),
            time => UnixTime(time).min(now),
        };
        let owner = Owner::all_of(Space::Revocation);
        let mut after = Key::since(Space::Revocation, before.minus(OVERLAP));
        let mut count = 0;
        loop {
            let page = kept.within(store.list(&owner, Some(&after), PAGE)).await?;
            for entry in &page {
                let text = std::str::from_utf8(&entry.value.bytes).unwrap_or_default();
                match self.sealer().open::<Revocation>(text, now) {
                    Ok(note) => self.revoked().add(&note.id, note.until, now),
                    Err(error) => {
                        tracing::warn!(reason = "revocation_unreadable", cause = %error, "an entry of the list of revocations was passed over");
                    }
                }
            }
            count += page.len();
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.key.clone(),
                _ => break,
            }
        }
        self.follow_quarantine().await?;
        self.followed.0.store(now.0, Ordering::Relaxed);
        Ok(count)
    }

    /// Follows the list for as long as the process lives; ends at once without a store. A store that is away is said once,
    /// and so is its return.
    pub async fn follow_store(self: Arc<Self>) {
        if self.store().is_none() {
            return;
        }
        let mut away = false;
        loop {
            match self.follow_once().await {
                Ok(_) if away => {
                    tracing::info!("the store answers again; revocations are followed");
                    away = false;
                }
                Err(error) if !away => {
                    tracing::error!(reason = "store_unavailable", cause = %error, "revocations of other replicas are not heard");
                    away = true;
                }
                Ok(_) | Err(_) => {}
            }
            sleep(EVERY).await;
        }
    }

    /// True when this replica has read what was revoked before it started; without a store there is nothing to read.
    pub(crate) fn has_followed(&self) -> bool {
        self.store().is_none() || self.followed.0.load(Ordering::Relaxed) > 0
    }
}
