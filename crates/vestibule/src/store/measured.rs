//! A store that is watched: how long each operation takes, and what fails.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Entry, Expect, Key, Owner, Put, Space, Store, StoreError, Value};
use crate::metrics::Metrics;
use crate::metrics::labels::{Backend, StoreFault, StoreOp};
use crate::settings::StorePlace;

/// A store with its metrics.
#[derive(Debug)]
pub(crate) struct MeasuredStore {
    inner: Arc<dyn Store>,
    backend: Backend,
    metrics: Arc<Metrics>,
}

impl MeasuredStore {
    /// Watches over `inner`, which stands at `place`.
    pub(crate) fn new(inner: Arc<dyn Store>, place: &StorePlace, metrics: &Arc<Metrics>) -> Self {
        let backend = match place {
            // Without a place in the settings it was handed in by a test.
            StorePlace::Carried | StorePlace::Memory => Backend::Memory,
            StorePlace::Redb(_) => Backend::Redb,
            StorePlace::Redis(_) => Backend::Redis,
            StorePlace::Postgres(_) => Backend::Postgres,
            StorePlace::DynamoDb(_) => Backend::DynamoDb,
        };
        Self {
            inner,
            backend,
            metrics: Arc::clone(metrics),
        }
    }

    async fn measured<T>(
        &self,
        op: StoreOp,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut fault = Fault {
            store: self,
            op,
            what: Some(StoreFault::Abandoned),
        };
        let timing = (self.metrics.store_durations).begin((self.backend, op));
        let result = work.await;
        timing.end((self.backend, op));
        fault.what = result.as_ref().err().map(|error| match error {
            StoreError::Unavailable(_) => StoreFault::Unavailable,
            StoreError::Misconfigured(_) => StoreFault::Misconfigured,
            StoreError::Corrupt(_) => StoreFault::Corrupt,
        });
        result
    }
}

/// Counts what went wrong, also when nobody waits for the end any more.
struct Fault<'a> {
    store: &'a MeasuredStore,
    op: StoreOp,
    what: Option<StoreFault>,
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        if let Some(fault) = self.what {
            let errors = &self.store.metrics.store_errors;
            errors.inc((self.store.backend, self.op, fault));
        }
    }
}

#[async_trait]
impl Store for MeasuredStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.measured(StoreOp::Get, self.inner.get(key)).await
    }

    async fn put(&self, key: &Key, value: Value, expect: Expect) -> Result<Put, StoreError> {
        let put = self.inner.put(key, value, expect);
        self.measured(StoreOp::Put, put).await
    }

    async fn take(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.measured(StoreOp::Take, self.inner.take(key)).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.measured(StoreOp::Delete, self.inner.delete(key)).await
    }

    async fn list(
        &self,
        owner: &Owner,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let list = self.inner.list(owner, after, limit);
        self.measured(StoreOp::List, list).await
    }

    async fn scan(
        &self,
        space: Space,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<String>), StoreError> {
        let scan = self.inner.scan(space, cursor, limit);
        self.measured(StoreOp::Scan, scan).await
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.inner.check().await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vestibule_oauth::time::{ManualClock, UnixTime};

    use super::*;
    use crate::store::MemoryStore;

    /// Fails to put, and never comes back from a look.
    #[derive(Debug)]
    struct Bad(MemoryStore);

    #[async_trait]
    impl Store for Bad {
        async fn get(&self, _: &Key) -> Result<Option<Entry>, StoreError> {
            std::future::pending().await
        }

        async fn put(&self, _: &Key, _: Value, _: Expect) -> Result<Put, StoreError> {
            Err(StoreError::Unavailable("away".to_owned()))
        }

        async fn take(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
            self.0.take(key).await
        }

        async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
            self.0.delete(key).await
        }

        async fn list(
            &self,
            owner: &Owner,
            after: Option<&Key>,
            limit: usize,
        ) -> Result<Vec<Entry>, StoreError> {
            self.0.list(owner, after, limit).await
        }

        async fn scan(
            &self,
            space: Space,
            cursor: Option<&str>,
            limit: usize,
        ) -> Result<(Vec<Entry>, Option<String>), StoreError> {
            self.0.scan(space, cursor, limit).await
        }

        async fn check(&self) -> Result<Vec<String>, StoreError> {
            self.0.check().await
        }

        fn describe(&self) -> String {
            self.0.describe()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn errors_and_what_nobody_waits_for_are_counted() {
        let metrics = Arc::new(Metrics::default());
        let clock = Arc::new(ManualClock::new(UnixTime(1_800_000_000)));
        let bad = Arc::new(Bad(MemoryStore::new(clock)));
        let store = MeasuredStore::new(bad, &StorePlace::Memory, &metrics);
        let key = Key::hashed(Space::Once, "x");
        let value = Value {
            bytes: Vec::new(),
            owner: None,
            expires_at: UnixTime(1_900_000_000),
        };
        store.put(&key, value, Expect::Any).await.unwrap_err();
        let late = tokio::time::timeout(Duration::from_secs(1), store.get(&key)).await;
        assert!(late.is_err());
        assert!(store.take(&key).await.unwrap().is_none());
        let errors = |op, fault| (metrics.store_errors).value((Backend::Memory, op, fault));
        assert_eq!(errors(StoreOp::Put, StoreFault::Unavailable), 1);
        assert_eq!(errors(StoreOp::Get, StoreFault::Abandoned), 1);
        assert_eq!(errors(StoreOp::Take, StoreFault::Abandoned), 0);
    }
}
