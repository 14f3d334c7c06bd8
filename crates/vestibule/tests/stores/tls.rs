//! Redis and PostgreSQL by TLS: the right authority and name, and what an operator reads when something is wrong. The
//! certificate is for `localhost` alone; the servers are at 127.0.0.1.

use std::path::PathBuf;
use std::sync::Arc;

use vestibule::store::{
    Expect, Key, Owner, PostgresStore, Put, RedisStore, Space, Store, StoreError, Value,
};
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::{Clock as _, SystemClock};

use crate::server;

fn file(name: &str) -> PathBuf {
    PathBuf::from(server("VESTIBULE_TEST_TLS").expose()).join(name)
}

/// With the authority in this file, or only those of the system.
fn redis(url: &str, authority: Option<&str>) -> Result<Arc<dyn Store>, StoreError> {
    let ca_file = authority.map(file);
    let url = Secret::new(url);
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    Ok(Arc::new(RedisStore::open(
        &url,
        ca_file.as_deref(),
        clock,
        random,
    )?))
}

fn postgres(url: &str, authority: Option<&str>) -> Result<Arc<dyn Store>, StoreError> {
    let ca_file = authority.map(file);
    let url = Secret::new(url);
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    Ok(Arc::new(PostgresStore::open(
        &url,
        ca_file.as_deref(),
        clock,
        random,
    )?))
}

/// Everything that is ever asked of a store.
async fn assert_works(store: &Arc<dyn Store>) {
    assert_eq!(store.check().await.unwrap(), [""; 0]);
    let (key, owner) = (
        Key::hashed(Space::Grant, "by TLS"),
        Owner::user("Ada by TLS"),
    );
    let value = Value {
        bytes: vec![7; 100_000],
        owner: Some(owner.clone()),
        expires_at: SystemClock.now().plus(60),
    };
    let put = store.put(&key, value.clone(), Expect::Any).await.unwrap();
    assert!(matches!(put, Put::Stored(_)));
    let entry = store.get(&key).await.unwrap().unwrap();
    assert_eq!(entry.value, value);
    let listed = store.list(&owner, None, 9).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&entry));
    let (page, _) = store.scan(Space::Grant, None, 1000).await.unwrap();
    assert!(page.contains(&entry));
    assert_eq!(store.take(&key).await.unwrap(), Some(entry));
}

/// It cannot be used, whoever asks and however often; the operator is told this, and no password.
async fn assert_refused(store: Result<Arc<dyn Store>, StoreError>, told: &[&str]) {
    let mut errors = Vec::new();
    match store {
        Err(error) => errors.push(error),
        Ok(store) => {
            errors.push(store.check().await.unwrap_err());
            let key = Key::hashed(Space::Grant, "a");
            errors.push(store.get(&key).await.unwrap_err());
        }
    }
    for error in errors {
        let text = format!("{error} {error:?}");
        assert!(matches!(error, StoreError::Misconfigured(_)), "{text}");
        for part in told {
            assert!(text.contains(part), "{part}: {text}");
        }
        for secret in ["sesame", "barley"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn redis_by_tls_with_the_rights_that_the_documents_ask_for() {
    let url = server("VESTIBULE_TEST_REDIS_TLS");
    assert_works(&redis(url.expose(), Some("ca.pem")).unwrap()).await;
    let valkey = url.expose().replace("rediss:", "valkeys:");
    assert_works(&redis(&valkey, Some("ca.pem")).unwrap()).await;
}

#[tokio::test]
async fn t_somebody_else_in_the_place_of_redis_gets_no_password() {
    let url = server("VESTIBULE_TEST_REDIS_TLS");
    let url = url.expose();
    let elsewhere = url.replace("localhost", "127.0.0.1");
    assert_refused(redis(url, None), &["store.ca_file", "authority"]).await;
    assert_refused(redis(url, Some("other-ca.pem")), &["store.ca_file"]).await;
    assert_refused(
        redis(&elsewhere, Some("ca.pem")),
        &["another name", "store.url"],
    )
    .await;
    // The client's way to say that nothing is to be verified.
    let insecure = format!("{url}#insecure");
    assert_refused(redis(&insecure, Some("ca.pem")), &["store.ca_file"]).await;
    let insecure = url.replace("/0", "/#insecure");
    assert_refused(redis(&insecure, None), &["store.ca_file"]).await;
}

#[tokio::test]
async fn redis_with_and_without_tls_are_told_apart() {
    let url = server("VESTIBULE_TEST_REDIS_TLS");
    let plain = url.expose().replace("rediss:", "redis:");
    let store = redis(&plain, None).unwrap();
    // It cannot be told from a server that is going down, so it is asked again.
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.contains("write rediss://"), "{error}");
    assert_refused(
        redis(&plain, Some("ca.pem")),
        &["rediss://", "store.ca_file"],
    )
    .await;
    let by_tls = server("VESTIBULE_TEST_REDIS");
    let by_tls = by_tls.expose().replace("redis:", "rediss:");
    let store = redis(&by_tls, Some("ca.pem")).unwrap();
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.contains("write redis://"), "{error}");
}

#[tokio::test]
async fn a_redis_user_that_is_wrong_or_may_too_little_is_said_and_no_password() {
    let url = server("VESTIBULE_TEST_REDIS_TLS");
    let url = url.expose();
    for (from, to, told) in [
        ("open-sesame", "close-barley", "user or password"),
        ("vestibule:", "somebody:", "user or password"),
        ("vestibule:", ":", "user or password"),
        ("vestibule:", "nobody:", "~{vestibule}:* +@read"),
    ] {
        let wrong = url.replacen(from, to, 1);
        assert_refused(redis(&wrong, Some("ca.pem")), &[told]).await;
    }
    let none = url.replace("vestibule:open-sesame@", "");
    assert_refused(redis(&none, Some("ca.pem")), &["user or password"]).await;
}

#[tokio::test]
async fn postgres_by_tls_in_every_spelling() {
    let url = server("VESTIBULE_TEST_POSTGRES_TLS");
    let url = url.expose();
    // Without a word TLS is spoken where the server can.
    for mode in ["", "?sslmode=require", "?sslmode=verify-full"] {
        let store = postgres(&format!("{url}{mode}"), Some("ca.pem")).unwrap();
        assert_works(&store).await;
    }
}

#[tokio::test]
async fn t_somebody_else_in_the_place_of_postgres_gets_no_password() {
    let url = server("VESTIBULE_TEST_POSTGRES_TLS");
    for mode in ["?sslmode=verify-full", "?sslmode=require", ""] {
        let url = format!("{}{mode}", url.expose());
        let elsewhere = url.replace("localhost", "127.0.0.1");
        assert_refused(postgres(&url, None), &["store.ca_file", "authority"]).await;
        assert_refused(postgres(&url, Some("other-ca.pem")), &["store.ca_file"]).await;
        assert_refused(
            postgres(&elsewhere, Some("ca.pem")),
            &["another name", "store.url"],
        )
        .await;
    }
}

#[tokio::test]
async fn postgres_with_and_without_tls_are_told_apart() {
    let url = server("VESTIBULE_TEST_POSTGRES_TLS");
    let plain = format!("{}?sslmode=disable", url.expose());
    assert_refused(postgres(&plain, None), &["sslmode=require"]).await;
    let none = server("VESTIBULE_TEST_PGBOUNCER");
    for mode in ["require", "verify-full"] {
        let by_tls = format!("{}?sslmode={mode}", none.expose());
        let store = postgres(&by_tls, Some("ca.pem"));
        assert_refused(store, &["speaks no TLS", "sslmode"]).await;
    }
}

#[tokio::test]
async fn options_of_other_clients_of_postgres_are_answered_with_ours() {
    let url = server("VESTIBULE_TEST_POSTGRES_TLS");
    for (option, told) in [
        ("sslmode=verify-ca", "verify-full"),
        ("sslmode=allow", "sslmode"),
        ("sslrootcert=/etc/ca.pem", "store.ca_file"),
    ] {
        let url = format!("{}?{option}", url.expose());
        assert_refused(postgres(&url, Some("ca.pem")), &[told]).await;
    }
}

#[tokio::test]
async fn a_postgres_user_that_is_wrong_is_said_and_no_password() {
    let url = server("VESTIBULE_TEST_POSTGRES_TLS");
    for (from, to) in [("open-sesame", "close-barley"), ("//by_tls", "//nobody")] {
        let wrong = url.expose().replacen(from, to, 1);
        assert_refused(postgres(&wrong, Some("ca.pem")), &["user or password"]).await;
    }
}

#[test]
fn an_authority_file_that_cannot_be_read_is_named() {
    let redis_url = server("VESTIBULE_TEST_REDIS_TLS");
    let postgres_url = server("VESTIBULE_TEST_POSTGRES_TLS");
    for name in ["nowhere.pem", "key.pem"] {
        for store in [
            redis(redis_url.expose(), Some(name)),
            postgres(postgres_url.expose(), Some(name)),
        ] {
            let error = store.unwrap_err().to_string();
            assert!(
                error.contains("store.ca_file") && error.contains(name),
                "{error}"
            );
        }
    }
}
