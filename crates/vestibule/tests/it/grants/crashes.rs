//! Clients that hang up and replicas that die between the provider's answer and the commit (facts/pitfalls.md §E1).

use std::sync::Arc;
use std::time::Duration;

use vestibule_standin::cognito::{Endpoint, Fault};

use super::rig::{eventually, stored};
use crate::support::{Tokens, Trouble};

#[tokio::test]
async fn a_client_that_hangs_up_does_not_cancel_what_the_provider_has_done() {
    let house = stored(Some(0)).await;
    let (client, tokens) = house.sign_in().await;
    let slow = Some(Fault::Slow(Duration::from_millis(150)));
    house
        .cognito
        .control()
        .set_fault(Endpoint::Token, slow, None);
    let replica = house.faulty_replica(2);
    let asked = replica.refresh(&client, &tokens.refresh);
    assert!(
        tokio::time::timeout(Duration::from_millis(60), asked)
            .await
            .is_err()
    );
    replica.house.settle(Duration::from_secs(5)).await;
    let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    assert_eq!(house.presented_refreshes(), [1]);
    house.whoami(&fresh.access).await;
}

#[tokio::test]
async fn a_client_that_hangs_up_at_the_redemption_has_left_nothing_half_done() {
    let house = stored(Some(0)).await;
    let client = house.register(crate::support::CALLBACK).await;
    let code = house.code(&client).await;
    let slow = Some(Fault::Slow(Duration::from_millis(150)));
    house
        .cognito
        .control()
        .set_fault(Endpoint::Token, slow, None);
    let asked = house.redeem(&client, &code);
    assert!(
        tokio::time::timeout(Duration::from_millis(60), asked)
            .await
            .is_err()
    );
    eventually(|| house.token_calls() == 1).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    let answer = house.redeem(&client, &code).await;
    answer.assert_refused(400, "invalid_grant", "used");
}

/// A replica that has asked the provider and cannot write any more: for the others it is dead.
async fn killed_after_the_answer(
    house: &crate::support::TestHouse,
    trouble: Trouble,
) -> (super::rig::Replica, crate::support::Client, Tokens) {
    let (client, tokens) = house.sign_in().await;
    let dying = house.faulty_replica(2);
    dying.store.fail_writes(1, u64::MAX, trouble);
    let answer = dying.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(503, "temporarily_unavailable", "not committed");
    assert_eq!(house.presented_refreshes(), [1]);
    (dying, client, tokens)
}

#[tokio::test]
async fn after_a_crash_the_next_replica_goes_on_when_the_lease_is_over() {
    for (rotation, presented) in [(None, vec![2]), (Some(60), vec![2])] {
        for trouble in [Trouble::Refused, Trouble::Hangs] {
            let house = stored(rotation).await;
            let (_dying, client, tokens) = killed_after_the_answer(&house, trouble).await;
            let calls = house.token_calls();
            let answer = house.refresh(&client, &tokens.refresh).await;
            answer.assert_refused(503, "temporarily_unavailable", "the lease is open");
            assert_eq!(house.token_calls(), calls);
            house.clock.advance(10);
            let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
            assert_eq!(house.presented_refreshes(), presented);
            house.whoami(&fresh.access).await;
            Tokens::of(&house.refresh(&client, &fresh.refresh).await);
        }
    }
}

/// Without grace the provider's old token is dead. As long as the holder of the lease may come back with the new one,
/// nobody is logged out for it.
#[tokio::test]
async fn a_holder_that_was_only_slow_saves_a_grant_that_the_provider_would_not_refresh() {
    let house = stored(Some(0)).await;
    let (dying, client, tokens) = killed_after_the_answer(&house, Trouble::Refused).await;
    house.clock.advance(10);
    for _ in 0..2 {
        let answer = house.refresh(&client, &tokens.refresh).await;
        answer.assert_refused(503, "temporarily_unavailable", "it may come back");
    }
    dying.store.mend();
    dying.house.settle(Duration::from_secs(10)).await;
    let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    house.whoami(&fresh.access).await;
}

#[tokio::test]
async fn a_holder_that_never_comes_back_ends_the_wait() {
    let house = stored(Some(0)).await;
    let (_dying, client, tokens) = killed_after_the_answer(&house, Trouble::Refused).await;
    house.clock.advance(10);
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(503, "temporarily_unavailable", "it may come back");
    house.clock.advance(40);
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "it has not come back");
}

/// A replica that is slower than its lease: another one has gone on. Both get the same tokens out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_comes_back_after_its_lease_answers_as_the_others_do() {
    let house = stored(Some(60)).await;
    let (client, tokens) = house.sign_in().await;
    let slow = Some(Fault::Slow(Duration::from_millis(300)));
    house
        .cognito
        .control()
        .set_fault(Endpoint::Token, slow, Some(1));
    let sleeper = Arc::new(house.faulty_replica(2));
    let asked = {
        let (sleeper, client, token) =
            (Arc::clone(&sleeper), client.clone(), tokens.refresh.clone());
        tokio::spawn(async move { sleeper.refresh(&client, &token).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    house.clock.advance(10);
    let quick = house.refresh(&client, &tokens.refresh).await;
    let slow = asked.await.unwrap();
    assert_eq!(quick.json()["refresh_token"], slow.json()["refresh_token"]);
    let fresh = Tokens::of(&slow);
    house.clock.advance(3600);
    let next = Tokens::of(&house.refresh(&client, &fresh.refresh).await);
    house.whoami(&next.access).await;
}
