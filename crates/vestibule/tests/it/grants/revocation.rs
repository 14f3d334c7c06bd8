//! Revocation with a store: the family, at every replica, at the provider (RFC 7009); and codes that come twice.

use http::StatusCode;
use vestibule_standin::cognito::{Endpoint, Fault};

use super::rig::{post, stored};
use crate::support::{CALLBACK, Client, TestHouse, Tokens, Trouble};

async fn revoke(house: &TestHouse, client: &Client, token: &str) -> StatusCode {
    let form = [("token", token), ("client_id", client.id.as_str())];
    house.post_form("/revoke", &form).await.status
}

#[tokio::test]
async fn a_revoked_family_is_dead_at_every_replica_within_one_look_at_the_list() {
    let mut house = stored(Some(60)).await;
    let other = house.faulty_replica(2);
    other.house.follow_once().await.unwrap();
    let (client, first) = house.sign_in().await;
    let (neighbour, theirs) = house.sign_in().await;
    let second = Tokens::of(&house.refresh(&client, &first.refresh).await);
    // Any refresh token of the family will do, the replaced one as well.
    assert_eq!(revoke(&house, &client, &first.refresh).await, 200);
    assert_eq!(house.cognito.control().calls(Endpoint::Revoke), 1);
    house.assert_shut(&second.access, "here, at once").await;
    let here = std::mem::replace(&mut house.router, other.router.clone());
    let answer = house.refresh(&client, &second.refresh).await;
    answer.assert_refused(400, "invalid_grant", "elsewhere, at once");
    // Nobody reads the store for an access token …
    assert_eq!(other.house.follow_once().await.unwrap(), 1);
    // … but everybody follows the list.
    for tokens in [&first, &second] {
        house.assert_shut(&tokens.access, "elsewhere").await;
    }
    house.whoami(&theirs.access).await;
    house.router = here;
    Tokens::of(&house.refresh(&neighbour, &theirs.refresh).await);
    assert_eq!(revoke(&house, &client, &second.refresh).await, 200);
}

#[tokio::test]
async fn a_revoked_access_token_is_refused_elsewhere_too_and_the_grant_goes_on() {
    let mut house = stored(None).await;
    let other = house.faulty_replica(2);
    let (client, tokens) = house.sign_in().await;
    assert_eq!(revoke(&house, &client, &tokens.access).await, 200);
    house.assert_shut(&tokens.access, "here").await;
    other.house.follow_once().await.unwrap();
    house.router = other.router.clone();
    house.assert_shut(&tokens.access, "elsewhere").await;
    let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    house.whoami(&fresh.access).await;
}

#[tokio::test]
async fn a_replica_that_has_just_started_knows_what_was_revoked_before_it_is_ready() {
    let mut house = stored(None).await;
    let (client, tokens) = house.sign_in().await;
    assert_eq!(revoke(&house, &client, &tokens.refresh).await, 200);
    house.clock.advance(3000);
    let late = house.faulty_replica(2);
    house.router = late.router.clone();
    let ready = house.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json()["store"]),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            &"revocations_unread".into()
        )
    );
    late.store.down(Trouble::Refused);
    assert!(late.house.follow_once().await.is_err());
    assert_eq!(house.get("/readyz").await.status, 503);
    late.store.mend();
    late.house.follow_once().await.unwrap();
    assert_eq!(house.get("/readyz").await.status, 200);
    house
        .assert_shut(&tokens.access, "revoked before the start")
        .await;
}

/// An outage of the store: the list is read from where it was left.
#[tokio::test]
async fn nothing_of_the_list_is_missed_while_the_store_is_away() {
    let mut house = stored(None).await;
    let other = house.faulty_replica(2);
    other.house.follow_once().await.unwrap();
    let (client, tokens) = house.sign_in().await;
    other.store.down(Trouble::Refused);
    assert_eq!(revoke(&house, &client, &tokens.refresh).await, 200);
    for _ in 0..5 {
        house.clock.advance(300);
        assert!(other.house.follow_once().await.is_err());
    }
    other.store.mend();
    other.house.follow_once().await.unwrap();
    house.router = other.router.clone();
    house
        .assert_shut(&tokens.access, "revoked during the outage")
        .await;
}

#[tokio::test]
async fn a_revocation_that_cannot_be_kept_is_503_and_works_when_it_is_repeated() {
    let house = stored(None).await;
    let (client, tokens) = house.sign_in().await;
    let replica = house.faulty_replica(2);
    let form = [
        ("token", tokens.refresh.as_str()),
        ("client_id", client.id.as_str()),
    ];
    replica.store.down(Trouble::Refused);
    let answer = post(&replica.router, "/revoke", &form).await;
    answer.assert_refused(503, "temporarily_unavailable", "the store is away");
    replica.store.mend();
    let away = Some(Fault::Status(503));
    house
        .cognito
        .control()
        .set_fault(Endpoint::Revoke, away, Some(1));
    let answer = post(&replica.router, "/revoke", &form).await;
    answer.assert_refused(503, "temporarily_unavailable", "the provider is away");
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "dead here all the same");
    assert_eq!(post(&replica.router, "/revoke", &form).await.status, 200);
    assert_eq!(house.cognito.control().calls(Endpoint::Revoke), 2);
}

#[tokio::test]
async fn t_a_code_that_comes_again_ends_what_it_gave() {
    let house = stored(None).await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let tokens = Tokens::of(&house.redeem(&client, &code).await);
    // A thief without the verifier changes nothing, nor does another client.
    let thief = house.register(CALLBACK).await;
    for other in [
        Client {
            id: client.id.clone(),
            ..thief.clone()
        },
        Client {
            id: thief.id.clone(),
            ..client.clone()
        },
    ] {
        let answer = house.redeem(&other, &code).await;
        answer.assert_refused(400, "invalid_grant", "not the whole of it");
    }
    let calls = house.token_calls();
    house.whoami(&tokens.access).await;
    let tokens = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    let answer = house.redeem(&client, &code).await;
    answer.assert_refused(400, "invalid_grant", "replayed");
    assert_eq!(house.token_calls(), calls + 1, "only the refresh");
    house
        .assert_shut(&tokens.access, "of the replayed code")
        .await;
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "of the replayed code");
}

/// The provider rotates while the grant is being revoked, and has not heard of that: its new token must not live on.
#[tokio::test]
async fn a_refresh_that_is_overtaken_by_a_revocation_leaves_nothing_alive() {
    let house = stored(Some(0)).await;
    let (client, tokens) = house.sign_in().await;
    let control = house.cognito.control();
    let slow = Some(Fault::Slow(std::time::Duration::from_millis(300)));
    control.set_fault(Endpoint::Token, slow, None);
    control.set_fault(Endpoint::Revoke, Some(Fault::Status(503)), Some(1));
    let refresh = house.refresh(&client, &tokens.refresh);
    let revoke = async {
        tokio::time::sleep(std::time::Duration::from_millis(80)).await;
        revoke(&house, &client, &tokens.refresh).await
    };
    let (answer, revoked) = futures_util::future::join(refresh, revoke).await;
    assert_eq!(revoked, 503);
    answer.assert_refused(400, "invalid_grant", "revoked in the meantime");
    assert_eq!(house.presented_refreshes(), [1]);
    super::rig::eventually(|| control.calls(Endpoint::Revoke) == 2).await;
}
