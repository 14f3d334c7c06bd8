//! The contract of stores against those that need no server. The others: `tests/stores/main.rs`.

mod memory {
    use std::sync::Arc;

    use vestibule::store::{MemoryStore, Store};
    use vestibule_oauth::time::{Clock, ManualClock, SystemClock};

    use crate::contract::{self, Bench};

    async fn open() -> Bench {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let store: Arc<dyn Store> =
            Arc::new(MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>));
        Bench::new(Arc::clone(&store), store, clock, ())
    }

    contract::suite!(open);
}
