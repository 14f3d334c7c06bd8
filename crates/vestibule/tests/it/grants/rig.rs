//! A store that fails on command, replicas one by one, and what refresh tests ask again and again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use http::Request;
use http::header::{CONTENT_TYPE, HOST};
use tower::ServiceExt as _;
use vestibule::House;
use vestibule::settings::Settings;
use vestibule::store::{Entry, Expect, Key, Owner, Put, Space, Store, StoreError, Value};
use vestibule_oauth::time::{Clock, ManualClock};
use vestibule_standin::cognito::{CognitoOptions, Endpoint};

use crate::support::{Answer, Client, SeededRandom, TestHouse, whole};

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
    pub(super) fn fail_writes(&self, good: u64, bad: u64, trouble: Trouble) {
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
    Err(StoreError::Unavailable("out of order".to_owned()))
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
        self.inner.check().await
    }

    fn describe(&self) -> String {
        "faulty".to_owned()
    }
}

/// One replica with a store of its own before the common one.
pub(super) struct Replica {
    pub(super) house: Arc<House>,
    pub(super) router: Router,
    pub(super) store: Arc<FaultyStore>,
}

impl Replica {
    pub(super) async fn refresh(&self, client: &Client, token: &str) -> Answer {
        refresh_at(&self.router, client, token).await
    }
}

pub(super) async fn refresh_at(router: &Router, client: &Client, token: &str) -> Answer {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", client.id.as_str()),
    ];
    post(router, "/token", &form).await
}

pub(super) async fn post(router: &Router, path: &str, form: &[(&str, &str)]) -> Answer {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let request = Request::post(path)
        .header(HOST, "mcp.example.test")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    whole(router.clone().oneshot(request).await.unwrap()).await
}

/// A pool that rotates, with this grace; `None` does not rotate.
pub(super) fn pool(rotation: Option<u64>) -> CognitoOptions {
    CognitoOptions {
        rotation,
        ..CognitoOptions::default()
    }
}

/// The provider is asked at every refresh, and is given up on soon.
pub(super) fn strict(settings: &mut Settings) {
    settings.tokens.provider_recheck = Duration::ZERO;
    settings.provider.timeout = Duration::from_secs(1);
}

pub(super) async fn stored(rotation: Option<u64>) -> TestHouse {
    TestHouse::stored(pool(rotation), strict).await
}

impl TestHouse {
    /// A replica whose store can be broken for it alone.
    pub(super) fn faulty_replica(&self, seed: u64) -> Replica {
        self.faulty_replica_at(seed, &self.clock)
    }

    /// One with a clock of its own.
    pub(super) fn faulty_replica_at(&self, seed: u64, clock: &Arc<ManualClock>) -> Replica {
        let store = FaultyStore::before(self.store.clone().unwrap());
        let house = House::build(
            self.settings.clone(),
            &self.ring,
            Some(Arc::clone(&store) as Arc<dyn Store>),
            Arc::clone(clock) as Arc<dyn Clock>,
            Arc::new(SeededRandom::new(seed)),
        )
        .unwrap();
        Replica {
            router: house.router(),
            house,
            store,
        }
    }

    /// Calls of the provider's token endpoint, the redemption of the code among them.
    pub(super) fn token_calls(&self) -> u64 {
        self.cognito.control().calls(Endpoint::Token)
    }

    /// How often each of the provider's refresh tokens was presented.
    pub(super) fn presented_refreshes(&self) -> Vec<u64> {
        self.cognito
            .control()
            .all_refreshes()
            .into_values()
            .collect()
    }
}

/// Tries `what` until it is true.
pub(crate) async fn eventually(mut what: impl FnMut() -> bool) {
    for _ in 0..200 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not happen");
}
