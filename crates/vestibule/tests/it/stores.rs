//! The stores that need no server, against the contract (`tests/contract`) and what they promise beyond it. The others:
//! `tests/stores/main.rs`.

mod many;
mod readiness;
mod redb;

use std::sync::Arc;

use vestibule::store::{MemoryStore, Store};
use vestibule_oauth::time::{Clock, ManualClock, SystemClock};

use crate::contract::{self, Bench};

mod memory {
    super::contract::suite!(super::memory);
}

async fn memory() -> Bench {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>));
    Bench::new(Arc::clone(&store), store, clock, ())
}
