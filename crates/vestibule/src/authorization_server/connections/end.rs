//! Ends connections: here first and for every replica, then at the provider.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::Instant;

use super::error::ConnectionsError;
use super::list;
use crate::House;
use crate::audit::Source;
use crate::grants::{Account, Grant, Notice, RevokedWhy, StoredGrant};
use crate::store::StoreError;

/// More than anybody has, and few enough for one request.
const AT_ONCE: usize = 1000;
/// How long the page waits for the provider's word. After that it is told in the background.
const TELL_WITHIN: Duration = Duration::from_secs(5);
/// Providers' revocation endpoints asked at a time.
const TOGETHER: usize = 8;

/// What is to be ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The grant of this family.
    One(String),
    /// Every grant of the user.
    All,
}

/// Ends what is the account's. A family of somebody else is answered like one that has ended: nothing happens, and nothing
/// can be learned.
pub(super) async fn end(
    house: &Arc<House>,
    account: &Account,
    what: Ending,
    source: &Source,
) -> Result<Notice, ConnectionsError> {
    let (grants, more) = match what {
        Ending::All => {
            let listed = list::live(house, account, None, AT_ONCE).await?;
            (listed.grants, listed.next.is_some())
        }
        Ending::One(family) => (one(house, account, &family).await?, false),
    };
    let mut ended = Vec::new();
    let mut trouble = None;
    for grant in grants {
        let family = &grant.grant.family;
        match house.revoke_family(family, RevokedWhy::User, source).await {
            // As it is now: the provider may have rotated its token since the list was read.
            Ok(marked) => ended.push(marked.unwrap_or(grant).grant),
            Err(error) => {
                trouble = Some(error);
                break;
            }
        }
    }
    let count = u32::try_from(ended.len()).unwrap_or(u32::MAX);
    let provider_told = tell(house, ended).await;
    match trouble {
        Some(error) => Err(error.into()),
        None => Ok(Notice {
            ended: count,
            provider_told,
            more,
        }),
    }
}

async fn one(
    house: &House,
    account: &Account,
    family: &str,
) -> Result<Vec<StoredGrant>, StoreError> {
    let Some(shelf) = house.shelf() else {
        return Ok(Vec::new());
    };
    let shelved = shelf.load(family, house.now()).await?;
    let grant = shelved.map(|shelved| shelved.grant);
    Ok(grant
        .filter(|grant| list::is_live_of(grant, account))
        .into_iter()
        .collect())
}

/// Tells the providers; what they have not heard in time they are told in the background. True when nothing is left to tell.
async fn tell(house: &Arc<House>, grants: Vec<Grant>) -> bool {
    let deadline = Instant::now() + TELL_WITHIN;
    let tell_one = |grant: Grant| async move {
        let call = tokio::time::timeout_at(deadline, house.revoke_at_provider(&grant)).await;
        let told = matches!(call, Ok(Ok(())));
        if !told {
            house.tell_provider(&grant);
        }
        told
    };
    stream::iter(grants)
        .map(tell_one)
        .buffer_unordered(TOGETHER)
        .fold(true, |all, told| async move { all && told })
        .await
}
