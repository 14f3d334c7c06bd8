//! Redis: the contract, what is left at the server, and what an operator reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vestibule::store::{Expect, Key, Owner, RedisStore, Space, Store, StoreError, Value};
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::{Clock, ManualClock, SystemClock};

use crate::contract::{self, Bench};
use crate::server;

contract::suite!(open);

async fn open() -> Bench {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let url = server("VESTIBULE_TEST_REDIS");
    let store = opened(&url, &clock);
    store.check().await.unwrap();
    Bench::new(Arc::new(store), Arc::new(opened(&url, &clock)), clock, ())
}

fn opened(url: &Secret, clock: &Arc<ManualClock>) -> RedisStore {
    RedisStore::open(
        url,
        None,
        Arc::clone(clock) as Arc<dyn Clock>,
        Arc::new(SystemRandom),
    )
    .unwrap()
}

fn value(clock: &ManualClock, owner: &Owner) -> Value {
    Value {
        bytes: b"x".to_vec(),
        owner: Some(owner.clone()),
        expires_at: clock.now().plus(60),
    }
}

async fn ask<T: redis::FromRedisValue>(url: &Secret, command: &redis::Cmd) -> T {
    let client = redis::Client::open(url.expose()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    command.query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn nothing_stays_at_the_server_for_ever() {
    let url = server("VESTIBULE_TEST_REDIS");
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let store = opened(&url, &clock);
    let owner = Owner::user("somebody of nothing_stays_at_the_server_for_ever");
    for i in 0..40 {
        let key = Key::hashed(Space::Grant, &format!("stays {i}"));
        let put = store.put(&key, value(&clock, &owner), Expect::Any).await;
        put.unwrap();
    }
    for kind in ["o", "e"] {
        let set = format!("{{vestibule}}:{kind}:{}", owner.as_str());
        let life: i64 = ask(&url, redis::cmd("PTTL").arg(&set)).await;
        assert!((1..=400_000).contains(&life), "{life}");
    }
    // The names of what has ended go as others are written, although nobody asks for the list.
    clock.advance(1000);
    for i in 0..3 {
        let key = Key::hashed(Space::Grant, &format!("new {i}"));
        let put = store.put(&key, value(&clock, &owner), Expect::Any).await;
        put.unwrap();
    }
    for kind in ["o", "e"] {
        let set = format!("{{vestibule}}:{kind}:{}", owner.as_str());
        let names: u64 = ask(&url, redis::cmd("ZCARD").arg(&set)).await;
        assert_eq!(names, 3, "{kind}");
    }
}

#[tokio::test]
async fn a_server_that_throws_entries_away_is_refused() {
    let url = server("VESTIBULE_TEST_REDIS_EVICTING");
    let store = opened(&url, &Arc::default());
    let error = store.check().await.unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
    assert!(error.to_string().contains("allkeys-lru"), "{error}");
    assert!(error.to_string().contains("noeviction"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    let right = server("VESTIBULE_TEST_REDIS");
    let wrong = Secret::new(right.expose().replace("open-sesame", "close-barley"));
    let none = Secret::new(right.expose().replace(":open-sesame@", ""));
    for url in [wrong, none] {
        let store = opened(&url, &Arc::default());
        let error = store.check().await.unwrap_err();
        assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
        let text = format!("{error} {error:?} {store:?}");
        assert!(
            !text.contains("barley") && !text.contains("sesame"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_soon() {
    let url = Secret::new("redis://:open-sesame@127.0.0.1:1/0");
    let store = opened(&url, &Arc::default());
    let started = Instant::now();
    let error = store.check().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(!error.to_string().contains("sesame"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_connection_that_was_cut_is_made_again() {
    let url = server("VESTIBULE_TEST_REDIS_EVICTING");
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let store = opened(&url, &clock);
    let key = Key::hashed(Space::Grant, "cut");
    let owner = Owner::user("cut");
    for _ in 0..5 {
        let put = store.put(&key, value(&clock, &owner), Expect::Any).await;
        put.unwrap();
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL")
            .arg("TYPE")
            .arg("normal")
            .arg("SKIPME")
            .arg("yes");
        let _: u64 = ask(&url, &kill).await;
        assert!(store.get(&key).await.unwrap().is_some());
    }
}
