//! Who signed in last in this browser: the consent page says so, and lets the user be somebody else.

use http::StatusCode;

use super::rig::{ADA, BOB, HOST, house, sign_in};
use crate::support::{Answer, Browser, CALLBACK, ORIGIN, TestHouse, Tokens};

const COOKIE: &str = "__Host-vestibule-account";
const SAYS: &str = "Last time, <strong>ada@example.com</strong> (your account)";

async fn consent(house: &TestHouse, browser: &mut Browser) -> (crate::support::Client, Answer) {
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let params = TestHouse::authorization(&client, &challenge);
    let page = browser.get(&TestHouse::authorize_url(&params)).await;
    assert_eq!(page.status, StatusCode::OK);
    (client, page)
}

#[tokio::test]
async fn the_consent_page_says_who_it_was_and_another_account_can_be_chosen() {
    let house = house().await;
    let mut browser = house.browser();
    let (_, page) = consent(&house, &mut browser).await;
    assert!(!page.text().contains("Last time"));
    sign_in(&house, &mut browser, ADA).await;
    // Longer than the session of `/connections`.
    house.clock.advance(3600);
    let (client, page) = consent(&house, &mut browser).await;
    assert!(page.text().contains(SAYS), "{}", page.text());
    let ticket = page.input("ticket");
    let form = [
        ("ticket", ticket.as_str()),
        ("decision", "approve"),
        ("another", "yes"),
    ];
    let away = browser.post(&format!("{ORIGIN}/consent"), &form).await;
    assert_eq!(
        away.location_param("prompt").as_deref(),
        Some("select_account")
    );
    // Who it will be is not known: the old name goes.
    assert!(!browser.jars[HOST].contains_key(COOKIE));
    // The provider knows Ada's session, and asks all the same.
    let back = browser
        .sign_in_at_provider(away.location(), BOB.0, BOB.1)
        .await;
    let answer = browser.get(back.location()).await;
    let code = answer.location_param("code").unwrap();
    let tokens = Tokens::of(&house.redeem(&client, &code).await);
    house.whoami(&tokens.access).await;
    let bobs = sign_in(&house, &mut browser, BOB).await;
    assert!(bobs.text().contains("<h2>Test</h2>"), "{}", bobs.text());
}

#[tokio::test]
async fn without_the_box_the_provider_is_asked_as_always() {
    let house = house().await;
    let mut browser = house.browser();
    sign_in(&house, &mut browser, ADA).await;
    let (_, page) = consent(&house, &mut browser).await;
    let ticket = page.input("ticket");
    let form = [("ticket", ticket.as_str()), ("decision", "approve")];
    let away = browser.post(&format!("{ORIGIN}/consent"), &form).await;
    assert_eq!(away.location_param("prompt"), None);
    assert!(browser.jars[HOST].contains_key(COOKIE));
}

#[tokio::test]
async fn a_name_that_somebody_else_sealed_or_that_is_old_is_not_shown() {
    let house = house().await;
    let mut browser = house.browser();
    sign_in(&house, &mut browser, ADA).await;
    let good = browser.jars[HOST][COOKIE].clone();
    let session = browser.jars[HOST]["__Host-vestibule-session"].clone();
    for text in [
        "vla_AAAA".to_owned(),
        session.replace("vss_", "vla_"),
        good[4..].to_owned(),
    ] {
        browser
            .jars
            .get_mut(HOST)
            .unwrap()
            .insert(COOKIE.to_owned(), text);
        assert!(
            !consent(&house, &mut browser)
                .await
                .1
                .text()
                .contains("Last time")
        );
    }
    browser
        .jars
        .get_mut(HOST)
        .unwrap()
        .insert(COOKIE.to_owned(), good);
    assert!(consent(&house, &mut browser).await.1.text().contains(SAYS));
    house.clock.advance(30 * 24 * 3600);
    assert!(
        !consent(&house, &mut browser)
            .await
            .1
            .text()
            .contains("Last time")
    );
}
