//! A replica is killed when the provider has answered and nothing of it is in the store (facts/pitfalls.md §E1).
//!
//! The process is stopped while the provider takes its time, so that the answer reaches the machine and not the program.

use std::time::{Duration, Instant};

use futures_util::future::join;

use crate::client::{Client, assert_busy, refresh_token};
use crate::street::{Plan, Street, until};

/// With a provider that does not rotate, and with one that gives the replaced token some grace.
pub(crate) async fn killed_between_the_answer_and_the_commit_nobody_is_logged_out(store: &str) {
    if store.starts_with("redb:") {
        // One file is for one process: it comes back.
        nobody_is_logged_out(store, None).await;
        nobody_is_logged_out(store, Some(60)).await;
    } else {
        let without = nobody_is_logged_out(store, None);
        join(without, nobody_is_logged_out(store, Some(60))).await;
    }
}

async fn nobody_is_logged_out(store: &str, rotation: Option<u64>) {
    let (mut street, client, token) = killed(store, rotation).await;
    if street.other() == 0 {
        street.replicas[0].start().await;
    }
    let answer = client.refresh_until_good(street.other(), &token).await;
    assert_eq!(street.presented(), [2], "asked again after the lease");
    if street.other() == 1 {
        street.replicas[0].start().await;
    }
    client.assert_open(&answer).await;
    // The one that was killed is back, and has nothing to say against it.
    assert_eq!(client.refresh(0, &token).await.unwrap().body, answer.body);
    refresh_token(&client.refresh(0, &refresh_token(&answer)).await.unwrap());
}

/// The documented end: a provider that rotates without grace gave the only living token to a process that died.
pub(crate) async fn killed_with_the_only_living_token(store: &str) {
    let (street, client, token) = killed(store, Some(0)).await;
    let started = Instant::now();
    loop {
        let answer = client.refresh(1, &token).await.unwrap();
        if answer.status == 400 {
            assert_eq!(answer.error(), "invalid_grant");
            break;
        }
        assert_busy(&answer);
        assert!(started.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // The lease, and the time in which the holder may come back.
    assert!(started.elapsed() > Duration::from_secs(30));
    drop(street);
}

async fn killed(store: &str, rotation: Option<u64>) -> (Street, Client, String) {
    let mut street = Street::open(Plan {
        timeout: 2,
        ..Plan::new(store, rotation)
    })
    .await;
    let (client, token) = street.sign_in().await;
    let asked = street.begin_refresh(&client, &token).await;
    street.replicas[0].signal("STOP");
    until("the provider has answered", || street.presented() == [1]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    street.replicas[0].kill();
    assert!(asked.await.unwrap().is_err(), "it was answered");
    (street, client, token)
}
