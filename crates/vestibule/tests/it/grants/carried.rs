//! Without a store: one provider call and one answer for the same refresh token within a minute, on one replica.

use std::time::Duration;

use futures_util::future::join_all;
use vestibule_standin::cognito::{Endpoint, Fault};

use super::rig::pool;
use crate::support::{TestHouse, Tokens};

#[tokio::test]
async fn fifty_refreshes_at_once_are_one_question_and_one_answer() {
    for rotation in [None, Some(0)] {
        let house = TestHouse::build(pool(rotation), |_| {}).await;
        let (client, tokens) = house.sign_in().await;
        let slow = Some(Fault::Slow(Duration::from_millis(50)));
        house
            .cognito
            .control()
            .set_fault(Endpoint::Token, slow, None);
        let calls = (0..50).map(|_| house.refresh(&client, &tokens.refresh));
        let answers = join_all(calls).await;
        let fresh = Tokens::of(&answers[0]);
        assert!(
            answers
                .iter()
                .all(|answer| answer.text() == answers[0].text())
        );
        assert_eq!(house.presented_refreshes(), [1]);
        house.clock.advance(59);
        let late = house.refresh(&client, &tokens.refresh).await;
        assert_eq!(late.text(), answers[0].text());
        assert_eq!(house.presented_refreshes(), [1]);
        house.whoami(&fresh.access).await;
        Tokens::of(&house.refresh(&client, &fresh.refresh).await);
    }
}

#[tokio::test]
async fn another_scope_is_another_question() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let full = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    let narrow = [("scope", "mcp:read")];
    let narrow = Tokens::of(&house.refresh_with(&client, &tokens.refresh, &narrow).await);
    assert_eq!(
        (full.scope.as_str(), narrow.scope.as_str()),
        ("mcp:read mcp:write", "mcp:read")
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_finds_the_answer_when_it_comes_again() {
    let house = TestHouse::build(pool(Some(0)), |_| {}).await;
    let (client, tokens) = house.sign_in().await;
    let slow = Some(Fault::Slow(Duration::from_millis(100)));
    house
        .cognito
        .control()
        .set_fault(Endpoint::Token, slow, None);
    let asked = house.refresh(&client, &tokens.refresh);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), asked)
            .await
            .is_err()
    );
    let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    assert_eq!(house.presented_refreshes(), [1]);
    house.whoami(&fresh.access).await;
}

#[tokio::test]
async fn a_failure_is_not_remembered_and_a_revocation_beats_what_is() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let busy = Some(Fault::Status(503));
    house
        .cognito
        .control()
        .set_fault(Endpoint::Token, busy, Some(1));
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(503, "temporarily_unavailable", "away");
    Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    let form = [
        ("token", tokens.refresh.as_str()),
        ("client_id", client.id.as_str()),
    ];
    assert_eq!(house.post_form("/revoke", &form).await.status, 200);
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "revoked");
}

#[tokio::test]
async fn a_sign_in_ends_for_good() {
    let house = TestHouse::with(|settings| {
        settings.tokens.refresh_ttl = Duration::from_secs(7200);
        settings.tokens.refresh_absolute_ttl = Duration::from_secs(9000);
    })
    .await;
    let (client, mut tokens) = house.sign_in().await;
    house.clock.advance(5000);
    tokens = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    house.clock.advance(3999);
    tokens = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    house.clock.advance(1);
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "the sign-in is over");
}
