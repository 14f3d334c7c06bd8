//! Several who refresh at once: one question to the provider, one answer for all (design §5.1, §5.2).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use vestibule_oauth::time::{Clock as _, ManualClock};
use vestibule_standin::cognito::{Endpoint, Fault};

use super::rig::{pool, refresh_at, stored, strict};
use crate::support::{TestHouse, Tokens};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_refreshes_at_once_over_two_replicas_are_one_question_and_one_answer() {
    for rotation in [None, Some(60), Some(0)] {
        let house = stored(rotation).await;
        let replicas = [house.replica(2), house.replica(3)];
        let (client, tokens) = house.sign_in().await;
        house.cognito.control().set_fault(
            Endpoint::Token,
            Some(Fault::Slow(Duration::from_millis(100))),
            None,
        );
        let calls = (0..50).map(|n| refresh_at(&replicas[n % 2], &client, &tokens.refresh));
        let answers = join_all(calls).await;
        let first = Tokens::of(&answers[0]);
        for answer in &answers {
            assert_eq!(answer.text(), answers[0].text());
        }
        assert_eq!(house.presented_refreshes(), [1], "{rotation:?}");
        house.whoami(&first.access).await;
        let next = Tokens::of(&house.refresh(&client, &first.refresh).await);
        assert_ne!(next.refresh, first.refresh);
    }
}

/// The same without a single flight in between: each replica gets one request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_lose_the_race_wait_and_answer_the_same() {
    let house = stored(Some(0)).await;
    let (client, tokens) = house.sign_in().await;
    let replicas: Vec<_> = (10..18).map(|seed| house.replica(seed)).collect();
    house.cognito.control().set_fault(
        Endpoint::Token,
        Some(Fault::Slow(Duration::from_millis(150))),
        None,
    );
    let calls = replicas
        .iter()
        .map(|replica| refresh_at(replica, &client, &tokens.refresh));
    let answers = join_all(calls).await;
    for answer in &answers {
        Tokens::of(answer);
        assert_eq!(answer.text(), answers[0].text());
    }
    assert_eq!(house.presented_refreshes(), [1]);
}

/// rmcp and Codex refresh on every request in the last 30 seconds (facts/clients.md §0.8).
#[tokio::test]
async fn a_client_that_refreshes_on_every_request_asks_the_provider_once() {
    let house = TestHouse::stored(pool(Some(0)), |_| {}).await;
    let (client, mut tokens) = house.sign_in().await;
    house.clock.advance(tokens.expires_in - 20);
    let before = house.token_calls();
    for _ in 0..12 {
        house.clock.advance(1);
        tokens = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
        assert_eq!(tokens.expires_in, 3600);
        house.whoami(&tokens.access).await;
    }
    assert_eq!(house.token_calls() - before, 1);
    // After a while the provider is asked again whether the user still is.
    house.clock.advance(301);
    house.cognito.control().revoke_all();
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "the user is gone");
}

/// Several processes of one user read and write one file (facts/clients.md §5 no. 6): each round all of them refresh with
/// what is in it, and the last one to be answered writes.
#[tokio::test]
async fn processes_that_share_a_token_file_stay_signed_in() {
    let house = stored(Some(0)).await;
    let replicas = [house.replica(2), house.replica(3)];
    let (client, mut file) = house.sign_in().await;
    for round in 0..6 {
        house.clock.advance(3590);
        let before = file.clone();
        let calls = (0..5).map(|n| refresh_at(&replicas[n % 2], &client, &before.refresh));
        for answer in join_all(calls).await {
            file = Tokens::of(&answer);
        }
        // One of them read the file before, and comes late.
        house.clock.advance(50);
        let late = refresh_at(&replicas[round % 2], &client, &before.refresh).await;
        assert_eq!(Tokens::of(&late).refresh, file.refresh);
        file = Tokens::of(&late);
        house.whoami(&file.access).await;
    }
    assert!(house.presented_refreshes().iter().all(|times| *times == 1));
}

/// Whoever is slower than the last three rotations within a minute is still answered.
#[tokio::test]
async fn the_last_three_rotations_are_remembered_for_a_minute() {
    let house = stored(Some(0)).await;
    let (client, first) = house.sign_in().await;
    let mut bodies = Vec::new();
    let mut chain = vec![first];
    for _ in 0..3 {
        let answer = house.refresh(&client, &chain.last().unwrap().refresh).await;
        bodies.push(answer.text());
        chain.push(Tokens::of(&answer));
    }
    house.clock.advance(60);
    for (tokens, body) in chain.iter().zip(&bodies) {
        assert_eq!(&house.refresh(&client, &tokens.refresh).await.text(), body);
    }
    Tokens::of(&house.refresh(&client, &chain[3].refresh).await);
}

/// A script starts many processes at once, which share a token and all refresh as they start: each with what the one before
/// it has written, but for one that has read the file and then got no time.
#[tokio::test]
async fn the_slowest_of_many_that_start_at_once_is_answered() {
    let house = stored(Some(0)).await;
    let (client, first) = house.sign_in().await;
    let mut chain = vec![first];
    let mut bodies = Vec::new();
    for _ in 0..16 {
        let answer = house.refresh(&client, &chain.last().unwrap().refresh).await;
        bodies.push(answer.text());
        chain.push(Tokens::of(&answer));
    }
    for (tokens, body) in chain.iter().zip(&bodies) {
        assert_eq!(&house.refresh(&client, &tokens.refresh).await.text(), body);
    }
    // A minute later three are enough: the others are in two hands.
    house.clock.advance(61);
    let last = Tokens::of(&house.refresh(&client, &chain[16].refresh).await);
    let answer = house.refresh(&client, &chain[2].refresh).await;
    answer.assert_refused(400, "invalid_grant", "replaced long ago");
    let answer = house.refresh(&client, &last.refresh).await;
    answer.assert_refused(400, "invalid_grant", "the family is revoked");
}

/// By less than the lease outlasts the provider's time-out nobody notices. By more, a lease may be taken for open or over
/// when it is not: then somebody has to try again, and nobody is logged out.
#[tokio::test]
async fn clocks_of_replicas_may_differ() {
    for (behind, ahead) in [(3, 0), (0, 3), (25, 0), (0, 25)] {
        let house = stored(Some(0)).await;
        let now = house.clock.now();
        let early = Arc::new(ManualClock::new(now.minus(behind)));
        let late = Arc::new(ManualClock::new(now.plus(ahead)));
        let early = house.faulty_replica_at(2, &early);
        let late = house.faulty_replica_at(3, &late);
        let (client, mut tokens) = house.sign_in().await;
        for n in 0..6 {
            let (one, other) = if n % 2 == 0 {
                (&early, &late)
            } else {
                (&late, &early)
            };
            let both = [
                one.refresh(&client, &tokens.refresh),
                other.refresh(&client, &tokens.refresh),
            ];
            let answers = join_all(both).await;
            if behind + ahead < 5 {
                assert_eq!(answers[0].text(), answers[1].text());
                assert!(house.presented_refreshes().iter().all(|times| *times == 1));
            }
            for answer in &answers {
                let status = answer.status.as_u16();
                assert!(matches!(status, 200 | 503), "{}", answer.text());
            }
            tokens = Tokens::of(&one.refresh(&client, &tokens.refresh).await);
        }
    }
}

/// Narrowing and the resource mean the same as without a store.
#[tokio::test]
async fn scope_and_resource_are_checked_before_anything_changes() {
    let house = TestHouse::stored(pool(Some(0)), strict).await;
    let (client, tokens) = house.sign_in().await;
    let calls = house.token_calls();
    let other = [("resource", "https://mcp.example.test/other")];
    let answer = house.refresh_with(&client, &tokens.refresh, &other).await;
    answer.assert_refused(400, "invalid_target", "another resource");
    assert_eq!(house.token_calls(), calls);
    let narrow = [("scope", "mcp:read offline_access")];
    let narrow = Tokens::of(&house.refresh_with(&client, &tokens.refresh, &narrow).await);
    assert_eq!(narrow.scope, "mcp:read");
    let full = Tokens::of(&house.refresh(&client, &narrow.refresh).await);
    assert_eq!(full.scope, "mcp:read mcp:write");
}
