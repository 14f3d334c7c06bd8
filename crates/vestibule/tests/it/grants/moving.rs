//! A store is added, or taken away: who was signed in without one stays signed in with it.

use std::sync::Arc;

use vestibule::store::{MemoryStore, Store};
use vestibule_oauth::time::Clock;

use super::rig::{pool, strict};
use crate::support::{TestHouse, Tokens};

/// From now on there is a store.
fn add_store(house: &mut TestHouse) {
    let clock = Arc::clone(&house.clock) as Arc<dyn Clock>;
    house.store = Some(Arc::new(MemoryStore::new(clock)) as Arc<dyn Store>);
    house.router = house.replica(2);
}

#[tokio::test]
async fn a_carried_refresh_token_moves_into_the_store_once() {
    for rotation in [None, Some(0)] {
        let mut house = TestHouse::build(pool(rotation), strict).await;
        let (client, carried) = house.sign_in().await;
        assert!(carried.refresh.starts_with("vrt_"));
        add_store(&mut house);
        let answer = house.refresh(&client, &carried.refresh).await;
        let moved = Tokens::of(&answer);
        assert!(moved.refresh.starts_with("vrs_"));
        assert_eq!(house.presented_refreshes(), [1]);
        let again = house.refresh(&client, &carried.refresh).await;
        assert_eq!(again.text(), answer.text());
        assert_eq!(house.presented_refreshes(), [1]);
        let next = Tokens::of(&house.refresh(&client, &moved.refresh).await);
        house.whoami(&next.access).await;
        // The family is the same: what is revoked now covers the tokens of before.
        let form = [
            ("token", next.refresh.as_str()),
            ("client_id", client.id.as_str()),
        ];
        assert_eq!(house.post_form("/revoke", &form).await.status, 200);
        for token in [&carried.access, &moved.access, &next.access] {
            house.assert_shut(token, "of the revoked family").await;
        }
        let answer = house.refresh(&client, &carried.refresh).await;
        answer.assert_refused(400, "invalid_grant", "revoked");
    }
}

#[tokio::test]
async fn t_a_carried_token_that_has_moved_and_comes_much_later_kills_the_family() {
    let mut house = TestHouse::build(pool(None), strict).await;
    let (client, stolen) = house.sign_in().await;
    add_store(&mut house);
    let mut tokens = Tokens::of(&house.refresh(&client, &stolen.refresh).await);
    for _ in 0..4 {
        house.clock.advance(3600);
        tokens = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    }
    let answer = house.refresh(&client, &stolen.refresh).await;
    answer.assert_refused(400, "invalid_grant", "reuse");
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "the family is dead");
}

/// Without a store and without rotation every refresh token of a family works. Siblings that hold different ones go on.
#[tokio::test]
async fn siblings_with_different_carried_tokens_both_move_in() {
    let mut house = TestHouse::build(pool(None), strict).await;
    let (client, first) = house.sign_in().await;
    let second = Tokens::of(&house.refresh(&client, &first.refresh).await);
    add_store(&mut house);
    let newest = Tokens::of(&house.refresh(&client, &second.refresh).await);
    let older = Tokens::of(&house.refresh(&client, &first.refresh).await);
    house.clock.advance(3600);
    for tokens in [newest, older] {
        let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
        house.whoami(&fresh.access).await;
    }
}

#[tokio::test]
async fn a_carried_token_that_was_revoked_at_a_house_with_a_store_does_not_move_in() {
    let mut house = TestHouse::build(pool(None), strict).await;
    let (client, carried) = house.sign_in().await;
    add_store(&mut house);
    let form = [
        ("token", carried.refresh.as_str()),
        ("client_id", client.id.as_str()),
    ];
    assert_eq!(house.post_form("/revoke", &form).await.status, 200);
    house.router = house.replica(3);
    let calls = house.token_calls();
    let answer = house.refresh(&client, &carried.refresh).await;
    answer.assert_refused(400, "invalid_grant", "revoked");
    assert_eq!(house.token_calls(), calls);
}

#[tokio::test]
async fn without_the_store_a_ticket_is_a_dead_grant_and_not_a_server_error() {
    let mut house = TestHouse::stored(pool(None), strict).await;
    let (client, tokens) = house.sign_in().await;
    house.store = None;
    house.router = house.replica(2);
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "the store is gone");
    house.whoami(&tokens.access).await;
}
