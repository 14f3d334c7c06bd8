//! A store that fails on command.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vestibule::settings::Settings;
use vestibule::store::{
    Entry, Expect, Key, MemoryStore, Owner, Put, Space, Store, StoreError, Value,
};
use vestibule_standin::cognito::CognitoOptions;

use super::TestHouse;

/// How a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It does not happen, and says so.
    Refused,
    /// It does not happen, and nobody answers.
    Hangs,
    /// It happens, and nobody hears of it.
    AnswerLost,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Writes that still succeed.
    good: u64,
    /// Writes that fail then.
    bad: u64,
    trouble: Trouble,
}

/// A store in front of another one. Each replica may have one of its own.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: Mutex<Option<Plan>>,
    down: Mutex<Option<Trouble>>,
}

impl FaultyStore {
    pub(crate) fn before(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            plan: Mutex::default(),
            down: Mutex::default(),
        })
    }

    /// After `good` writes, `bad` fail.
    pub(crate) fn fail_writes(&self, good: u64, bad: u64, trouble: Trouble) {
        *self.plan.lock().unwrap() = Some(Plan { good, bad, trouble });
    }

    /// Every call fails from now on.
    pub(crate) fn down(&self, trouble: Trouble) {
        *self.down.lock().unwrap() = Some(trouble);
    }

    pub(crate) fn mend(&self) {
        *self.down.lock().unwrap() = None;
        *self.plan.lock().unwrap() = None;
    }

    async fn any_call(&self) -> Result<(), StoreError> {
        let down = *self.down.lock().unwrap();
        match down {
            None => Ok(()),
            Some(trouble) => fail(trouble).await,
        }
    }

    fn trouble_of_write(&self) -> Option<Trouble> {
        let mut plan = self.plan.lock().unwrap();
        let plan = plan.as_mut()?;
        if plan.good > 0 {
            plan.good -= 1;
            return None;
        }
        plan.bad = plan.bad.checked_sub(1)?;
        Some(plan.trouble)
    }
}

async fn fail(trouble: Trouble) -> Result<(), StoreError> {
    if trouble == Trouble::Hangs {
        std::future::pending::<()>().await;
    }
    Err(StoreError::Unavailable(
        "out of order at secret-host".to_owned(),
    ))
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.any_call().await?;
        self.inner.get(key).await
    }

    async fn put(&self, key: &Key, value: Value, expect: Expect) -> Result<Put, StoreError> {
        self.any_call().await?;
        match self.trouble_of_write() {
            None => self.inner.put(key, value, expect).await,
            Some(trouble) => {
                if trouble == Trouble::AnswerLost {
                    self.inner.put(key, value, expect).await?;
                }
                fail(trouble).await?;
                unreachable!()
            }
        }
    }

    async fn take(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.any_call().await?;
        self.inner.take(key).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.any_call().await?;
        self.inner.delete(key).await
    }

    async fn list(
        &self,
        owner: &Owner,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.any_call().await?;
        self.inner.list(owner, after, limit).await
    }

    async fn scan(
        &self,
        space: Space,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<String>), StoreError> {
        self.any_call().await?;
        self.inner.scan(space, cursor, limit).await
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.any_call().await?;
        self.inner.check().await
    }

    fn describe(&self) -> String {
        "faulty".to_owned()
    }
}

impl TestHouse {
    /// A house whose store can be broken.
    pub(crate) async fn with_faulty_store(
        change: impl FnOnce(&mut Settings),
    ) -> (Self, Arc<FaultyStore>) {
        let mut faulty = None;
        let house = Self::with_store(
            CognitoOptions::default(),
            |clock| {
                let store = FaultyStore::before(Arc::new(MemoryStore::new(clock)));
                faulty = Some(Arc::clone(&store));
                Some(store)
            },
            change,
        );
        (house.await, faulty.unwrap())
    }
}
