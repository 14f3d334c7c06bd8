//! The provider's part when a grant ends or never begins: its refresh token is revoked there, unless that would end what the
//! user keeps.

use std::time::Duration;

use http::StatusCode;
use vestibule::provider::profile::{self, Profile};
use vestibule::settings::{ScopeDetail, Settings};
use vestibule_standin::cognito::{CognitoOptions, Endpoint};

use super::rig::eventually;
use crate::connections::rig::{ADA, PAGE, REVOKE, families, up_to_callback};
use crate::support::{Answer, Browser, CALLBACK, Client, TestHouse, Tokens};

/// Everything is for a group that nobody is in.
fn shut(settings: &mut Settings) {
    settings.resources[0].scope_details = ["mcp:read", "mcp:write"]
        .map(|name| ScopeDetail {
            name: name.to_owned(),
            groups: vec!["nobody".to_owned()],
            ..ScopeDetail::default()
        })
        .to_vec();
}

fn told(house: &TestHouse) -> u64 {
    house.cognito.control().calls(Endpoint::Revoke)
}

/// Nothing is sent, also not a little later.
async fn assert_told(house: &TestHouse, times: u64, why: &str) {
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(told(house), times, "{why}");
}

async fn revoke(house: &TestHouse, client: &Client, tokens: &Tokens) {
    let form = [
        ("token", tokens.refresh.as_str()),
        ("client_id", client.id.as_str()),
    ];
    let answer = house.post_form("/revoke", &form).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

#[tokio::test]
async fn a_sign_in_that_gives_nothing_leaves_nothing_alive_at_the_provider() {
    let stored = TestHouse::stored(CognitoOptions::default(), shut).await;
    for house in [TestHouse::with(shut).await, stored] {
        let client = house.register(CALLBACK).await;
        let code = house.code(&client).await;
        let answer = house.redeem(&client, &code).await;
        answer.assert_refused(400, "invalid_grant", "nothing is permitted");
        eventually(|| told(&house) == 1).await;
        // The code is used up.
        let answer = house.redeem(&client, &code).await;
        answer.assert_refused(400, "invalid_grant", "again");
        assert_told(&house, 1, "once").await;
    }
}

async fn house_of(preset: &'static Profile) -> TestHouse {
    let change = move |settings: &mut Settings| settings.provider.preset = preset;
    TestHouse::stored(CognitoOptions::default(), change).await
}

#[tokio::test]
async fn where_one_revocation_ends_everything_the_provider_is_told_with_the_last_grant() {
    let house = house_of(&profile::KEYCLOAK).await;
    let (first, its) = house.sign_in().await;
    let (second, others) = house.sign_in().await;
    revoke(&house, &first, &its).await;
    assert_told(&house, 0, "the other one lives").await;
    let refused = house.refresh(&first, &its.refresh).await;
    refused.assert_refused(400, "invalid_grant", "here it has ended");
    let others = Tokens::of(&house.refresh(&second, &others.refresh).await);
    house.whoami(&others.access).await;
    // Once more is no other grant.
    revoke(&house, &first, &its).await;
    assert_told(&house, 0, "still").await;
    revoke(&house, &second, &others).await;
    assert_told(&house, 1, "the last one").await;
}

#[tokio::test]
async fn where_one_revocation_ends_everything_disconnect_all_tells_the_provider() {
    let house = house_of(&profile::KEYCLOAK).await;
    let (first, its) = house.sign_in().await;
    house.sign_in().await;
    let mut browser = house.browser();
    let list = open_list(&house, &mut browser).await;
    let ticket = list.input("ticket");
    let families = families(&list);
    assert_eq!(families.len(), 2);
    let one = [("ticket", ticket.as_str()), ("grant", families[0].as_str())];
    browser.post(REVOKE, &one).await;
    assert_told(&house, 0, "one of two").await;
    browser
        .post(REVOKE, &[("ticket", ticket.as_str()), ("all", "yes")])
        .await;
    eventually(|| told(&house) == 1).await;
    house.assert_shut(&its.access, "ended").await;
    let refused = house.refresh(&first, &its.refresh).await;
    refused.assert_refused(400, "invalid_grant", "ended");
}

/// Ada's list, where the sign-in for it gives nothing back.
async fn open_list(house: &TestHouse, browser: &mut Browser) -> Answer {
    let callback = up_to_callback(browser, ADA).await;
    let answer = browser.get(&callback).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    assert_eq!(told(house), 0);
    browser.get(PAGE).await
}

#[tokio::test]
async fn where_it_ends_nothing_else_every_grant_is_revoked_at_the_provider() {
    let house = house_of(&profile::COGNITO).await;
    let (first, its) = house.sign_in().await;
    let (second, others) = house.sign_in().await;
    revoke(&house, &first, &its).await;
    assert_told(&house, 1, "at once").await;
    Tokens::of(&house.refresh(&second, &others.refresh).await);
}

#[tokio::test]
async fn a_sign_in_that_gives_nothing_does_not_end_what_the_user_has() {
    for preset in [&profile::KEYCLOAK, &profile::GENERIC] {
        let mut house = house_of(preset).await;
        let (client, tokens) = house.sign_in().await;
        let newcomer = house.register(CALLBACK).await;
        let code = house.code(&newcomer).await;
        let open = house.router.clone();
        let mut closed = house.settings.clone();
        shut(&mut closed);
        house.router = house.replica_with(&closed, 2);
        let answer = house.redeem(&newcomer, &code).await;
        answer.assert_refused(400, "invalid_grant", "nothing is permitted");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(told(&house), 0, "{}", preset.name);
        house.router = open;
        Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    }
}
