//! Providers that fail and stores that fail: 503 and `Retry-After`, and nothing is lost (design §5.4).

use vestibule_standin::cognito::{Endpoint, Fault};

use super::rig::{eventually, stored};
use crate::support::{CALLBACK, Tokens, Trouble};

#[tokio::test]
async fn a_provider_that_fails_rotates_nothing() {
    for rotation in [None, Some(60), Some(0)] {
        let house = stored(rotation).await;
        let (client, mut tokens) = house.sign_in().await;
        let control = house.cognito.control();
        for fault in [
            Fault::Status(500),
            Fault::Status(429),
            Fault::RetryAfter(503, 17),
            Fault::Timeout,
            Fault::HtmlForbidden,
            Fault::ErrorJson(400, "temporarily_unavailable".to_owned()),
        ] {
            control.set_fault(Endpoint::Token, Some(fault.clone()), Some(1));
            let answer = house.refresh(&client, &tokens.refresh).await;
            answer.assert_refused(503, "temporarily_unavailable", &format!("{fault:?}"));
            let expected = if matches!(fault, Fault::RetryAfter(..)) {
                "17"
            } else {
                "5"
            };
            assert_eq!(answer.header("retry-after"), expected);
            // At once, at another replica: the lease was given back.
            let other = house.faulty_replica(2);
            tokens = Tokens::of(&other.refresh(&client, &tokens.refresh).await);
            house.whoami(&tokens.access).await;
        }
    }
}

#[tokio::test]
async fn half_an_answer_is_mended_within_the_grace_of_the_provider() {
    for rotation in [None, Some(60)] {
        let house = stored(rotation).await;
        let (client, tokens) = house.sign_in().await;
        house
            .cognito
            .control()
            .set_fault(Endpoint::Token, Some(Fault::TruncatedJson), Some(1));
        let answer = house.refresh(&client, &tokens.refresh).await;
        answer.assert_refused(503, "temporarily_unavailable", "truncated");
        let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
        house.whoami(&fresh.access).await;
    }
}

#[tokio::test]
async fn a_grant_that_the_provider_ended_is_dead_with_its_access_tokens() {
    let house = stored(Some(60)).await;
    let (client, tokens) = house.sign_in().await;
    house.cognito.control().revoke_all();
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "ended at the provider");
    assert!(!answer.headers.contains_key("retry-after"));
    house
        .assert_shut(&tokens.access, "of the ended grant")
        .await;
    let calls = house.token_calls();
    let answer = house
        .faulty_replica(2)
        .refresh(&client, &tokens.refresh)
        .await;
    answer.assert_refused(400, "invalid_grant", "at another replica");
    assert_eq!(house.token_calls(), calls);
}

/// The check that fails comes after the provider has rotated: what it gave is kept all the same (design §5.1).
#[tokio::test]
async fn a_rotated_token_is_kept_although_its_id_token_is_wrong() {
    let house = stored(Some(0)).await;
    let (client, tokens) = house.sign_in().await;
    let wrong = Some(Fault::WrongIssuer);
    house
        .cognito
        .control()
        .set_fault(Endpoint::Token, wrong, Some(1));
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(500, "server_error", "wrong issuer");
    let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    house.whoami(&fresh.access).await;
    assert_eq!(house.presented_refreshes(), [1, 1]);
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_the_provider_is_not_asked() {
    let house = stored(Some(0)).await;
    let (client, tokens) = house.sign_in().await;
    let replica = house.faulty_replica(2);
    let calls = house.token_calls();
    for trouble in [Trouble::Refused, Trouble::Hangs] {
        replica.store.down(trouble);
        let answer = replica.refresh(&client, &tokens.refresh).await;
        answer.assert_refused(503, "temporarily_unavailable", &format!("{trouble:?}"));
        assert_eq!(answer.header("retry-after"), "5");
        assert_eq!(house.token_calls(), calls);
        // What was issued goes on working: nobody reads the store for it.
        house.whoami(&tokens.access).await;
    }
    // Away for the lease, or for its answer.
    for trouble in [Trouble::Refused, Trouble::Hangs, Trouble::AnswerLost] {
        replica.store.mend();
        replica.store.fail_writes(0, 1, trouble);
        let answer = replica.refresh(&client, &tokens.refresh).await;
        answer.assert_refused(503, "temporarily_unavailable", &format!("{trouble:?}"));
        assert_eq!(house.token_calls(), calls);
    }
    replica.store.mend();
    let fresh = Tokens::of(&replica.refresh(&client, &tokens.refresh).await);
    house.whoami(&fresh.access).await;
}

#[tokio::test]
async fn a_store_that_stumbles_at_the_commit_is_tried_again_within_the_request() {
    for trouble in [Trouble::Refused, Trouble::AnswerLost] {
        let house = stored(Some(0)).await;
        let (client, tokens) = house.sign_in().await;
        let replica = house.faulty_replica(2);
        // The lease is written, the first tries of the commit are not.
        replica.store.fail_writes(1, 2, trouble);
        let answer = replica.refresh(&client, &tokens.refresh).await;
        let fresh = Tokens::of(&answer);
        assert_eq!(house.presented_refreshes(), [1], "{trouble:?}");
        let again = house.refresh(&client, &tokens.refresh).await;
        assert_eq!(again.text(), answer.text(), "{trouble:?}");
        Tokens::of(&house.refresh(&client, &fresh.refresh).await);
    }
}

/// The provider has rotated without grace and the store has gone away: the only living token is in our memory.
#[tokio::test]
async fn what_the_provider_gave_is_not_lost_while_the_store_is_away() {
    let house = stored(Some(0)).await;
    let (client, tokens) = house.sign_in().await;
    let replica = house.faulty_replica(2);
    replica.store.fail_writes(1, u64::MAX, Trouble::Refused);
    let answer = replica.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(503, "temporarily_unavailable", "not stored");
    assert_eq!(answer.header("retry-after"), "5");
    replica.store.mend();
    // At the same replica, at once, from memory.
    let fresh = Tokens::of(&replica.refresh(&client, &tokens.refresh).await);
    house.whoami(&fresh.access).await;
    assert_eq!(house.presented_refreshes(), [1]);
    let next = Tokens::of(&house.refresh(&client, &fresh.refresh).await);
    house.whoami(&next.access).await;
    assert_eq!(house.presented_refreshes(), [1, 1]);
}

#[tokio::test]
async fn what_the_provider_gave_is_stored_in_the_background_for_every_replica() {
    let house = stored(Some(0)).await;
    let (client, tokens) = house.sign_in().await;
    let replica = house.faulty_replica(2);
    replica.store.fail_writes(1, 8, Trouble::Refused);
    let answer = replica.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(503, "temporarily_unavailable", "not stored");
    replica.store.mend();
    replica
        .house
        .settle(std::time::Duration::from_secs(10))
        .await;
    let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    house.whoami(&fresh.access).await;
    assert_eq!(
        house.presented_refreshes(),
        [1, 1],
        "nothing was presented twice"
    );
}

#[tokio::test]
async fn a_redemption_that_could_not_be_stored_can_be_tried_again() {
    let mut house = stored(Some(0)).await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let replica = house.faulty_replica(2);
    house.router = replica.router.clone();
    replica.store.down(Trouble::Refused);
    let answer = house.redeem(&client, &code).await;
    answer.assert_refused(503, "temporarily_unavailable", "the store is away");
    assert_eq!(house.token_calls(), 0);
    replica.store.mend();
    replica.store.fail_writes(0, u64::MAX, Trouble::Refused);
    let answer = house.redeem(&client, &code).await;
    answer.assert_refused(503, "temporarily_unavailable", "not stored");
    replica.store.mend();
    let tokens = Tokens::of(&house.redeem(&client, &code).await);
    assert_eq!(house.token_calls(), 1);
    house.whoami(&tokens.access).await;
    Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    eventually(|| house.token_calls() == 2).await;
}
