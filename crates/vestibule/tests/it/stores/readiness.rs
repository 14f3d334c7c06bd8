//! What `/readyz` says of the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::StatusCode;
use vestibule::store::{
    Entry, Expect, Key, MemoryStore, Owner, Put, Space, Store, StoreError, Value,
};
use vestibule_standin::cognito::CognitoOptions;

use crate::support::TestHouse;

/// A store that can be away.
#[derive(Debug)]
struct Faulty {
    inside: MemoryStore,
    away: Arc<AtomicBool>,
}

impl Faulty {
    fn there(&self) -> Result<&MemoryStore, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable("away: secret-host".to_owned()))
        } else {
            Ok(&self.inside)
        }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.there()?.get(key).await
    }

    async fn put(&self, key: &Key, value: Value, expect: Expect) -> Result<Put, StoreError> {
        self.there()?.put(key, value, expect).await
    }

    async fn take(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.there()?.take(key).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.there()?.delete(key).await
    }

    async fn list(
        &self,
        owner: &Owner,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.there()?.list(owner, after, limit).await
    }

    async fn scan(
        &self,
        space: Space,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<String>), StoreError> {
        self.there()?.scan(space, cursor, limit).await
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.there()?.check().await
    }

    fn describe(&self) -> String {
        "faulty".to_owned()
    }
}

#[tokio::test]
async fn a_house_is_ready_once_its_store_has_answered() {
    let away = Arc::new(AtomicBool::new(true));
    let faults = Arc::clone(&away);
    let house = TestHouse::with_store(
        CognitoOptions::default(),
        |clock| {
            Some(Arc::new(Faulty {
                inside: MemoryStore::new(clock),
                away: faults,
            }))
        },
        |_| {},
    );
    let house = house.await;
    let seen = async || {
        let answer = house.get("/readyz").await;
        assert!(!answer.text().contains("secret-host"));
        let body = answer.json();
        let word = |name: &str| body[name].as_str().unwrap().to_owned();
        (answer.status, word("status"), word("store"))
    };
    let said = |status, word: &str, store: &str| (status, word.to_owned(), store.to_owned());
    let waiting = said(StatusCode::SERVICE_UNAVAILABLE, "waiting", "unavailable");
    assert_eq!(seen().await, waiting);
    away.store(false, Ordering::SeqCst);
    let unread = said(
        StatusCode::SERVICE_UNAVAILABLE,
        "waiting",
        "revocations_unread",
    );
    assert_eq!(seen().await, unread);
    house.house.follow_once().await.unwrap();
    assert_eq!(seen().await, said(StatusCode::OK, "ready", "ok"));
    // Tokens that were issued go on working, so it stays in service.
    away.store(true, Ordering::SeqCst);
    assert_eq!(seen().await, said(StatusCode::OK, "ready", "unavailable"));
}

#[tokio::test]
async fn without_a_store_nothing_is_said_of_one() {
    let house = TestHouse::new().await;
    assert!(house.get("/readyz").await.json().get("store").is_none());
    let house = TestHouse::stored(CognitoOptions::default(), |_| {}).await;
    house.house.follow_once().await.unwrap();
    assert_eq!(house.get("/readyz").await.json()["store"], "ok");
}
