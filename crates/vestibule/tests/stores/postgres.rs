//! PostgreSQL: the contract, directly and behind a pooler, and what an operator reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;
use vestibule::store::{Expect, Key, Owner, PostgresStore, Space, Store, StoreError, Value};
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::{Clock, ManualClock, SystemClock};

use crate::contract::{self, Bench};
use crate::server;

mod directly {
    super::contract::suite!(super::directly_open);
}

/// In transaction mode: a statement and the next one go to different connections.
mod behind_pgbouncer {
    super::contract::suite!(super::behind_pgbouncer_open);
}

async fn directly_open() -> Bench {
    bench(&server("VESTIBULE_TEST_POSTGRES")).await
}

async fn behind_pgbouncer_open() -> Bench {
    bench(&server("VESTIBULE_TEST_PGBOUNCER")).await
}

async fn bench(url: &Secret) -> Bench {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let store = opened(url, &clock);
    store.check().await.unwrap();
    Bench::new(Arc::new(store), Arc::new(opened(url, &clock)), clock, ())
}

fn opened(url: &Secret, clock: &Arc<ManualClock>) -> PostgresStore {
    let url = with(url, "sslmode=disable");
    PostgresStore::open(
        &url,
        None,
        Arc::clone(clock) as Arc<dyn Clock>,
        Arc::new(SystemRandom),
    )
    .unwrap()
}

fn with(url: &Secret, option: &str) -> Secret {
    let sign = if url.expose().contains('?') { '&' } else { '?' };
    Secret::new(format!("{}{sign}{option}", url.expose()))
}

fn value(clock: &ManualClock) -> Value {
    Value {
        bytes: b"x".to_vec(),
        owner: Some(Owner::user("ada")),
        expires_at: clock.now().plus(60),
    }
}

/// As an administrator.
async fn sql(url: &Secret, statement: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(url.expose(), NoTls).await.unwrap();
    let running = tokio::spawn(connection);
    let answer = client.simple_query(statement).await.unwrap();
    drop(client);
    running.await.unwrap().unwrap();
    let rows = answer.into_iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    rows.collect()
}

#[tokio::test]
async fn what_has_ended_is_removed_as_others_are_written() {
    let url = server("VESTIBULE_TEST_POSTGRES");
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let store = opened(&url, &clock);
    store.check().await.unwrap();
    let ended = Key::hashed(Space::Grant, "ended and to be removed");
    let put = store.put(&ended, value(&clock), Expect::Any).await;
    put.unwrap();
    clock.advance(1000);
    let other = Key::hashed(Space::Grant, "another");
    let count = format!(
        "SELECT count(*) FROM vestibule_entries WHERE key = '{}'",
        ended.as_str()
    );
    for _ in 0..40 {
        for _ in 0..64 {
            let put = store.put(&other, value(&clock), Expect::Any).await;
            put.unwrap();
        }
        if sql(&url, &count).await == ["0"] {
            return;
        }
    }
    panic!("it is still there");
}

#[tokio::test]
async fn who_may_not_make_the_table_reads_what_to_run() {
    let url = server("VESTIBULE_TEST_POSTGRES_READER");
    let store = opened(&url, &Arc::default());
    for error in [
        store.check().await.unwrap_err(),
        store
            .get(&Key::hashed(Space::Grant, "a"))
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
        let text = error.to_string();
        for part in ["CREATE TABLE", "expires_at bigint", "GRANT SELECT"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    let right = server("VESTIBULE_TEST_POSTGRES");
    let wrong = Secret::new(right.expose().replace("open-sesame", "close-barley"));
    let nowhere = Secret::new(right.expose().replace("/grants", "/nowhere"));
    for url in [wrong, nowhere] {
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
    let url = Secret::new("postgres://vestibule:open-sesame@127.0.0.1:1/grants");
    let store = opened(&url, &Arc::default());
    let started = Instant::now();
    let error = store.check().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(!error.to_string().contains("sesame"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_connection_that_was_cut_is_made_again() {
    let admin = server("VESTIBULE_TEST_POSTGRES");
    let url = with(&admin, "application_name=to_be_cut");
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let store = opened(&url, &clock);
    store.check().await.unwrap();
    let key = Key::hashed(Space::Grant, "cut");
    for _ in 0..5 {
        let put = store.put(&key, value(&clock), Expect::Any).await;
        put.unwrap();
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'to_be_cut'";
        assert!(!sql(&admin, cut).await.is_empty());
        assert!(store.get(&key).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_lock_does_not_hold_a_request_for_ever() {
    let url = server("VESTIBULE_TEST_POSTGRES");
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let store = opened(&url, &clock);
    store.check().await.unwrap();
    let key = Key::hashed(Space::Grant, "locked");
    let put = store.put(&key, value(&clock), Expect::Any).await;
    put.unwrap();
    let (client, connection) = tokio_postgres::connect(url.expose(), NoTls).await.unwrap();
    let running = tokio::spawn(connection);
    let lock = format!(
        "BEGIN; SELECT 1 FROM vestibule_entries WHERE key = '{}' FOR UPDATE",
        key.as_str()
    );
    client.simple_query(&lock).await.unwrap();
    let started = Instant::now();
    let error = store
        .put(&key, value(&clock), Expect::Any)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(8));
    // Reading goes on meanwhile.
    assert!(store.get(&key).await.unwrap().is_some());
    drop(client);
    running.await.unwrap().unwrap();
}
