//! The store at start: opened, asked what it is like, and asked again for as long as it is not there.

use std::sync::Arc;
use std::time::Duration;

use vestibule_oauth::random::Random;
use vestibule_oauth::time::Clock;

use crate::settings::{StoreSettings, Strings};
use crate::store::{self, Store, StoreError};

/// How long until a store that was not there is asked again.
const AGAIN: Duration = Duration::from_secs(5);

/// Opens what is configured. A store that cannot be used is an error; one that is not there now is asked again later,
/// because it may come back, and whoever holds an access token can work meanwhile.
pub(super) async fn open(
    settings: &StoreSettings,
    env: &dyn Strings,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
) -> Result<Option<Arc<dyn Store>>, StoreError> {
    let Some(store) = store::open(settings, env, Arc::clone(clock), Arc::clone(random)).await?
    else {
        return Ok(None);
    };
    if !asked(store.as_ref()).await? {
        let later = Arc::clone(&store);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(AGAIN).await;
                match asked(later.as_ref()).await {
                    Ok(false) => {}
                    Ok(true) => return,
                    Err(error) => {
                        tracing::error!(store = later.describe(), "{error}");
                        return;
                    }
                }
            }
        });
    }
    Ok(Some(store))
}

/// False when it is not there now.
async fn asked(store: &dyn Store) -> Result<bool, StoreError> {
    let name = store.describe();
    match store.check().await {
        Ok(warnings) => {
            for warning in warnings {
                tracing::warn!(store = name, "{warning}");
            }
            tracing::info!(store = name, "the store is open");
            Ok(true)
        }
        Err(StoreError::Unavailable(why)) => {
            tracing::error!(store = name, "the store cannot be reached: {why}");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
