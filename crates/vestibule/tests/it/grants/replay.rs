//! Old refresh tokens: of clients that lost an answer, and of thieves (design §5.2, §5.3).

use vestibule::store::{Expect, Owner};
use vestibule_standin::cognito::Endpoint;

use super::rig::{eventually, refresh_at, stored};
use crate::support::{CALLBACK, TestHouse, Tokens};

#[tokio::test]
async fn a_lost_answer_is_given_again_however_late_and_says_the_truth() {
    let house = stored(Some(0)).await;
    let other = house.replica(2);
    let (client, tokens) = house.sign_in().await;
    let lost = house.refresh(&client, &tokens.refresh).await;
    let lost_tokens = Tokens::of(&lost);
    let calls = house.token_calls();
    house.clock.advance(60);
    let again = refresh_at(&other, &client, &tokens.refresh).await;
    assert_eq!(again.text(), lost.text());
    house.clock.advance(1740);
    let again = Tokens::of(&refresh_at(&other, &client, &tokens.refresh).await);
    assert_eq!(again.refresh, lost_tokens.refresh);
    assert_eq!((again.expires_in, lost_tokens.expires_in), (1800, 3600));
    house.whoami(&again.access).await;
    house.clock.advance(24 * 3600);
    let again = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    assert_eq!(again.expires_in, 1, "the client refreshes at once");
    assert_eq!(house.token_calls(), calls);
    let fresh = Tokens::of(&house.refresh(&client, &again.refresh).await);
    house.whoami(&fresh.access).await;
}

#[tokio::test]
async fn t_a_stolen_old_token_outside_of_the_window_kills_the_family() {
    let house = stored(Some(0)).await;
    let elsewhere = house.faulty_replica(2);
    let (client, stolen) = house.sign_in().await;
    let second = Tokens::of(&house.refresh(&client, &stolen.refresh).await);
    let third = Tokens::of(&house.refresh(&client, &second.refresh).await);
    // Within the window the answer is the same: it may be a sibling.
    house.clock.advance(60);
    let sibling = Tokens::of(&house.refresh(&client, &stolen.refresh).await);
    assert_eq!(sibling.refresh, second.refresh);
    house.clock.advance(1);
    let answer = house.refresh(&client, &stolen.refresh).await;
    answer.assert_refused(400, "invalid_grant", "reuse");
    for token in [&third, &second] {
        let answer = elsewhere.refresh(&client, &token.refresh).await;
        answer.assert_refused(400, "invalid_grant", "of the same family");
    }
    house.assert_shut(&third.access, "of the same family").await;
    let control = house.cognito.control();
    eventually(|| control.calls(Endpoint::Revoke) == 1).await;
}

#[tokio::test]
async fn t_a_token_older_than_all_that_is_remembered_kills_the_family() {
    let house = stored(None).await;
    let (client, stolen) = house.sign_in().await;
    let mut tokens = stolen.clone();
    for _ in 0..17 {
        tokens = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    }
    let answer = house.refresh(&client, &stolen.refresh).await;
    answer.assert_refused(400, "invalid_grant", "reuse");
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "the family is dead");
}

#[tokio::test]
async fn t_another_client_can_neither_use_a_ticket_nor_hurt_its_owner() {
    let house = stored(Some(0)).await;
    let (client, first) = house.sign_in().await;
    let second = Tokens::of(&house.refresh(&client, &first.refresh).await);
    let third = Tokens::of(&house.refresh(&client, &second.refresh).await);
    house.clock.advance(3600);
    let thief = house.register(CALLBACK).await;
    let calls = house.token_calls();
    for token in [&first, &second, &third] {
        let answer = house.refresh(&thief, &token.refresh).await;
        answer.assert_refused(400, "invalid_grant", "another client");
        let form = [
            ("token", token.refresh.as_str()),
            ("client_id", thief.id.as_str()),
        ];
        assert_eq!(house.post_form("/revoke", &form).await.status, 200);
    }
    assert_eq!(house.token_calls(), calls);
    Tokens::of(&house.refresh(&client, &third.refresh).await);
}

#[tokio::test]
async fn t_what_is_not_a_ticket_of_ours_changes_nothing() {
    let house = stored(None).await;
    let (client, tokens) = house.sign_in().await;
    assert!(tokens.refresh.starts_with("vrs_"));
    assert!(tokens.refresh.len() < 300, "{}", tokens.refresh.len());
    let mut changed = tokens.refresh.clone();
    let tail = changed.split_off(changed.len() - 6);
    changed += if tail == "AAAAAA" { "BBBBBB" } else { "AAAAAA" };
    let renamed = tokens.refresh.replace("vrs_", "vrt_");
    for text in [changed.as_str(), &renamed, "vrs_", &tokens.access] {
        let answer = house.refresh(&client, text).await;
        answer.assert_refused(400, "invalid_grant", text);
    }
    house
        .assert_shut(&tokens.refresh, "a ticket as bearer")
        .await;
    Tokens::of(&house.refresh(&client, &tokens.refresh).await);
}

/// A failover that lost the last writes, or a restored backup: the clients are ahead of the record, and not to blame.
#[tokio::test]
async fn a_store_that_went_back_in_time_logs_nobody_out() {
    let house = stored(None).await;
    let store = house.store.clone().unwrap();
    let (client, tokens) = house.sign_in().await;
    let subject = house.whoami(&tokens.access).await["subject"].clone();
    let owner = Owner::user(subject.as_str().unwrap());
    let backup = store.list(&owner, None, 10).await.unwrap().remove(0);
    let second = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    let third = Tokens::of(&house.refresh(&client, &second.refresh).await);
    let put = store.put(&backup.key, backup.value, Expect::Any).await;
    put.unwrap();
    house.clock.advance(3600);
    let fourth = Tokens::of(&house.refresh(&client, &third.refresh).await);
    house.whoami(&fourth.access).await;
    Tokens::of(&house.refresh(&client, &fourth.refresh).await);
    let answer = house.refresh(&client, &second.refresh).await;
    answer.assert_refused(400, "invalid_grant", "older than what was caught up with");
}

#[tokio::test]
async fn idle_and_absolute_lifetime_end_a_sign_in() {
    use super::rig::{pool, strict};
    use std::time::Duration;
    let house = TestHouse::stored(pool(None), |settings| {
        strict(settings);
        settings.tokens.refresh_ttl = Duration::from_secs(7200);
        settings.tokens.refresh_absolute_ttl = Duration::from_secs(20_000);
    })
    .await;
    let (client, idle) = house.sign_in().await;
    let (other, mut used) = house.sign_in().await;
    for _ in 0..2 {
        house.clock.advance(7199);
        used = Tokens::of(&house.refresh(&other, &used.refresh).await);
    }
    let answer = house.refresh(&client, &idle.refresh).await;
    answer.assert_refused(400, "invalid_grant", "nobody used it");
    house.clock.advance(20_000 - 2 * 7199 - 1);
    used = Tokens::of(&house.refresh(&other, &used.refresh).await);
    house.clock.advance(1);
    let answer = house.refresh(&other, &used.refresh).await;
    answer.assert_refused(400, "invalid_grant", "the sign-in is over");
}
