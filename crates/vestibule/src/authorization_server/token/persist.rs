//! What the provider gave must be kept (design §5.1): writes that are tried again, in the background if need be.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use vestibule_oauth::secret::RefreshToken;
use vestibule_oauth::time::UnixTime;

use crate::House;
use crate::grants::{KeptAccess, Shelf, Shelved, StoredGrant};
use crate::provider::ProviderTokens;
use crate::store::{Expect, Put, StoreError};

/// How long the background goes on when the store stays away.
const LINGER: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is in the store.
    Done,
    /// Somebody else has rotated the grant.
    Overtaken,
    /// The grant was revoked, or is not there any more.
    Gone,
}

/// What a change makes of the record it finds.
pub(super) enum Change {
    /// Write it; that will mean this.
    Write(Kept),
    /// Leave it; that means this.
    Leave(Kept),
}

/// Applies `change` to the record, as it was read or as it is by then, until that is in the store or `within` is over. A
/// write whose answer was lost is looked for before it is done again.
pub(super) async fn persist(
    house: &House,
    shelf: &Shelf<'_>,
    family: &str,
    mut read: Option<Shelved>,
    within: Duration,
    mut change: impl FnMut(&mut StoredGrant) -> Change,
) -> Result<Kept, StoreError> {
    let until = Instant::now() + within;
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match attempt(house, shelf, family, read.take(), &mut change).await {
            Ok(Some(kept)) => return Ok(kept),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= until {
            return Err(error.unwrap_or_else(|| {
                StoreError::Unavailable("others kept writing to the same grant".to_owned())
            }));
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// `None`: somebody else wrote in between.
async fn attempt(
    house: &House,
    shelf: &Shelf<'_>,
    family: &str,
    read: Option<Shelved>,
    change: &mut impl FnMut(&mut StoredGrant) -> Change,
) -> Result<Option<Kept>, StoreError> {
    let shelved = match read {
        Some(shelved) => Some(shelved),
        None => shelf.load(family, house.now()).await?,
    };
    let Some(Shelved { mut grant, version }) = shelved else {
        return Ok(Some(Kept::Gone));
    };
    match change(&mut grant) {
        Change::Leave(kept) => Ok(Some(kept)),
        Change::Write(kept) => {
            let put = shelf.put(&grant, Expect::Version(version)).await?;
            Ok(matches!(put, Put::Stored(_)).then_some(kept))
        }
    }
}

/// Stores a new grant.
pub(super) async fn persist_new(
    house: &House,
    shelf: &Shelf<'_>,
    grant: &StoredGrant,
    token: &RefreshToken,
) -> Result<(), StoreError> {
    let until = Instant::now() + house.persist_within();
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match shelf.put(grant, Expect::Absent).await {
            Ok(Put::Stored(_)) => return Ok(()),
            // Families are random: what is there is what a try before has written, without our hearing of it.
            Ok(Put::Conflict) => match shelf.load(&grant.grant.family, house.now()).await {
                Ok(Some(there)) if there.grant.is_current(token) => return Ok(()),
                Ok(_) => StoreError::Corrupt("another grant has this family".to_owned()),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if Instant::now() >= until {
            return Err(error);
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Goes on in the background: what the provider gave is stored as soon as the store is back, so that any replica can
/// refresh with it. The client's refresh token stays the current one.
pub(super) fn linger(
    house: &Arc<House>,
    family: String,
    generation: u64,
    tokens: ProviderTokens,
    access: Option<KeptAccess>,
    obtained_at: UnixTime,
    unsaved_key: String,
) {
    let house = Arc::clone(house);
    let tasks = house.refreshes().tasks.clone();
    tasks.spawn(async move {
        let Some(shelf) = house.shelf() else {
            return;
        };
        let kept = persist(&house, &shelf, &family, None, LINGER, |record| {
            if record.revoked.is_some() {
                return Change::Leave(Kept::Gone);
            }
            let same = record.generation() == generation;
            if !same && record.obtained_at() >= obtained_at {
                return Change::Leave(Kept::Overtaken);
            }
            record.keep(tokens.refresh.clone(), None, access.clone());
            if same {
                record.release_lease();
            }
            Change::Write(Kept::Done)
        });
        match kept.await {
            Ok(kept) => tracing::info!(family, ?kept, "the store has what the provider gave"),
            Err(error) => {
                tracing::error!(reason = "store_unavailable", family, cause = %error, "what the provider gave could not be stored");
            }
        }
        house.refreshes().unsaved.remove(&unsaved_key);
    });
}
