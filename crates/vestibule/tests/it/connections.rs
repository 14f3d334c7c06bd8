//! `/connections`: a person signs in, sees what is connected, takes it back, and leaves.

mod account;
mod attacks;
mod quarantine;
pub(crate) mod rig;
mod troubles;

use http::{Method, StatusCode};
use serde_json::json;
use vestibule::settings::ScopeDetail;
use vestibule_standin::cognito::{CognitoOptions, Endpoint};

use crate::support::{CALLBACK, Client, ORIGIN, TestHouse, Tokens};
use rig::{ADA, BOB, PAGE, REVOKE, families, house, open, sign_in, sign_in_with};

const TITLE: &str = "What you have connected";

#[tokio::test]
async fn a_person_signs_in_sees_the_connection_and_ends_it_everywhere() {
    let house = house().await;
    let (client, tokens) = house.sign_in().await;
    let mut browser = house.browser();
    let ask = browser.get(PAGE).await;
    ask.assert_page(StatusCode::OK, "Sign in to see what you have connected");
    let list = sign_in(&house, &mut browser, ADA).await;
    list.assert_page(StatusCode::OK, TITLE);
    let html = list.text();
    for part in [
        "<strong>ada@example.com</strong> (your account)",
        "<h2>Test</h2>",
        "chose this name itself",
        "<dd>Demo</dd>",
        "<code>mcp:read</code>",
        "<code>localhost:4711</code>",
        "<time datetime=\"20",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let ticket = list.input("ticket");
    let family = families(&list).pop().unwrap();
    let calls = house.cognito.control().calls(Endpoint::Revoke);
    let form = [("ticket", ticket.as_str()), ("grant", family.as_str())];
    let answer = browser.post(REVOKE, &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    assert_eq!(answer.location(), PAGE);
    house.assert_shut(&tokens.access, "disconnected").await;
    let refused = house.refresh(&client, &tokens.refresh).await;
    refused.assert_refused(400, "invalid_grant", "disconnected");
    assert_eq!(house.cognito.control().calls(Endpoint::Revoke), calls + 1);
    let list = browser.get(PAGE).await;
    assert!(
        list.text().contains("Disconnected. The application"),
        "{}",
        list.text()
    );
    assert!(families(&list).is_empty());
    // It is said once.
    let again = browser.get(PAGE).await;
    assert!(!again.text().contains("Disconnected."), "{}", again.text());
    assert!(again.text().contains("No application is connected"));
    // The same button once more, as after "back".
    let answer = browser.post(REVOKE, &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let list = browser.get(PAGE).await;
    assert!(list.text().contains("had ended already"), "{}", list.text());
}

#[tokio::test]
async fn disconnect_all_ends_what_is_mine_and_nothing_else() {
    let house = house().await;
    let mut mine = Vec::new();
    for _ in 0..3 {
        mine.push(house.sign_in().await);
    }
    let bobs = house.register(CALLBACK).await;
    let code = house.code_of(&bobs, BOB.0, BOB.1).await;
    let theirs = Tokens::of(&house.redeem(&bobs, &code).await);
    let mut browser = house.browser();
    let list = sign_in(&house, &mut browser, ADA).await;
    assert_eq!(families(&list).len(), 3);
    let ticket = list.input("ticket");
    let calls = house.cognito.control().calls(Endpoint::Revoke);
    browser
        .post(REVOKE, &[("ticket", &ticket), ("all", "yes")])
        .await;
    let list = browser.get(PAGE).await;
    assert!(
        list.text().contains("3 connections were ended"),
        "{}",
        list.text()
    );
    assert!(families(&list).is_empty());
    assert_eq!(house.cognito.control().calls(Endpoint::Revoke), calls + 3);
    for (client, tokens) in &mine {
        house.assert_shut(&tokens.access, "all").await;
        let refused = house.refresh(client, &tokens.refresh).await;
        refused.assert_refused(400, "invalid_grant", "all");
    }
    house.whoami(&theirs.access).await;
    Tokens::of(&house.refresh(&bobs, &theirs.refresh).await);
}

#[tokio::test]
async fn the_providers_tokens_of_this_sign_in_are_not_kept() {
    let house = house().await;
    sign_in(&house, &mut house.browser(), ADA).await;
    // Given back, once: Cognito gives a refresh token whether it is wanted or not.
    assert_eq!(house.cognito.control().calls(Endpoint::Revoke), 1);
    assert!(house.cognito.control().all_refreshes().is_empty());
}

#[tokio::test]
async fn scopes_are_in_words_and_the_host_of_a_document_is_told() {
    let house = TestHouse::stored(CognitoOptions::default(), |settings| {
        settings.resources[0].scope_details = vec![ScopeDetail {
            name: "mcp:read".to_owned(),
            description: Some("Read your notes".to_owned()),
            description_ja: Some("メモを読む".to_owned()),
            ..ScopeDetail::default()
        }];
    })
    .await;
    house.sign_in().await;
    let mut browser = house.browser();
    let list = sign_in(&house, &mut browser, ADA).await;
    assert!(list.text().contains("Read your notes"), "{}", list.text());
    let japanese = [("accept-language", "ja")];
    let list = browser.send(Method::GET, PAGE, &japanese, None).await;
    assert!(list.text().contains("メモを読む") && list.text().contains("接続を解除する"));
    assert!(list.text().contains("<html lang=\"ja\">"));
}

#[tokio::test]
async fn many_connections_come_page_by_page_and_each_of_them_once() {
    let house = house().await;
    let client = house.register(CALLBACK).await;
    for _ in 0..53 {
        let code = house.code_of(&client, ADA.0, ADA.1).await;
        Tokens::of(&house.redeem(&client, &code).await);
    }
    let mut browser = house.browser();
    let first = sign_in(&house, &mut browser, ADA).await;
    let mut seen = families(&first);
    assert_eq!(seen.len(), 50);
    let html = first.text();
    let next = html.split("href=\"/connections?after=").nth(1).unwrap();
    let next = next.split('"').next().unwrap();
    let second = browser.get(&format!("{PAGE}?after={next}")).await;
    seen.extend(families(&second));
    assert!(!second.text().contains("?after="), "{}", second.text());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 53);
    // A cursor that somebody made up is the first page, or an empty one; never an error.
    for cursor in ["", "x", "0~", "0~%2F", "9~a", "0~zzzz"] {
        let answer = browser.get(&format!("{PAGE}?after={cursor}")).await;
        answer.assert_page(StatusCode::OK, TITLE);
    }
}

#[tokio::test]
async fn a_program_with_the_session_reads_the_same_list() {
    let house = house().await;
    let json = [("accept", "application/json")];
    let mut browser = house.browser();
    let answer = browser.send(Method::GET, PAGE, &json, None).await;
    assert_eq!(answer.json(), json!({ "kept": true, "signed_in": false }));
    house.sign_in().await;
    sign_in(&house, &mut browser, ADA).await;
    let answer = browser.send(Method::GET, PAGE, &json, None).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!(body["account"], "ada@example.com");
    let line = &body["connections"][0];
    assert_eq!(line["client_name"], "Test");
    assert_eq!(line["redirect_host"], "localhost:4711");
    assert_eq!(line["scope"], "mcp:read mcp:write");
    // Nothing in it ends anything.
    assert!(!answer.text().contains("vft_"));
}

#[tokio::test]
async fn without_a_store_the_page_says_so_and_offers_nothing_half() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let page = browser.get(PAGE).await;
    page.assert_page(StatusCode::OK, "This server keeps no record of connections");
    assert!(!page.text().contains("<form"), "{}", page.text());
    assert!(page.text().contains("href=\"/logout\""));
    for path in ["sign-in", "revoke", "sign-out"] {
        let answer = browser
            .post(&format!("{PAGE}/{path}"), &[("ticket", "x")])
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
    house.assert_provider_untouched();
}

#[tokio::test]
async fn leaving_ends_the_session_in_this_browser_and_in_any_copy_of_it() {
    let house = house().await;
    let mut browser = house.browser();
    let list = sign_in(&house, &mut browser, ADA).await;
    let mut copy = house.browser();
    copy.jars = browser.jars.clone();
    assert!(open(&mut copy).await);
    let ticket = list.input("ticket");
    let answer = browser
        .post(&format!("{PAGE}/sign-out"), &[("ticket", &ticket)])
        .await;
    assert_eq!(answer.location(), PAGE);
    assert!(!open(&mut browser).await);
    assert!(!open(&mut copy).await, "the copy");
    let cookies = browser.jars["mcp.example.test"].keys();
    let left: Vec<_> = cookies.filter(|name| !name.ends_with("browser")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn signing_out_at_the_provider_ends_it_as_well() {
    let mut options = CognitoOptions::default();
    options.clients[0].logout_urls = vec![format!("{ORIGIN}/logout/done")];
    let house = TestHouse::stored(options, |_| {}).await;
    let mut browser = house.browser();
    sign_in(&house, &mut browser, ADA).await;
    assert!(open(&mut browser).await);
    let form = [("provider", "default")];
    browser.post(&format!("{ORIGIN}/logout"), &form).await;
    assert!(!open(&mut browser).await);
}

#[tokio::test]
async fn another_account_can_be_chosen_although_the_provider_knows_the_browser() {
    let house = house().await;
    let mut browser = house.browser();
    sign_in(&house, &mut browser, ADA).await;
    // The provider's session would answer without a form.
    browser.jars.get_mut("mcp.example.test").unwrap().clear();
    let list = sign_in_with(&house, &mut browser, BOB, &[("another", "yes")]).await;
    assert!(list.text().contains("bob@example.com"), "{}", list.text());
}

#[tokio::test]
async fn what_is_listed_says_what_a_refresh_did_and_forgets_what_ended() {
    let house = house().await;
    let (client, tokens): (Client, Tokens) = house.sign_in().await;
    house.clock.advance(600);
    let tokens = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    let mut browser = house.browser();
    let list = sign_in(&house, &mut browser, ADA).await.text();
    let times: Vec<_> = list.split("datetime=\"").skip(1).collect();
    assert_ne!(times[0][..20], times[1][..20], "created and last used");
    // The client signs out by itself.
    let form = [
        ("token", tokens.refresh.as_str()),
        ("client_id", &client.id),
    ];
    house.post_form("/revoke", &form).await;
    assert!(families(&browser.get(PAGE).await).is_empty());
}
