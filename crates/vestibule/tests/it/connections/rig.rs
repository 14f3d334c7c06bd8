//! What these tests share: the steps of a person's own sign-in, and what stands on the page.

use http::StatusCode;
use vestibule_standin::cognito::{CognitoOptions, Endpoint};

use crate::grants::rig::eventually;
use crate::support::{Answer, Browser, TestHouse};

pub(crate) const PAGE: &str = "https://mcp.example.test/connections";
pub(crate) const SIGN_IN: &str = "https://mcp.example.test/connections/sign-in";
pub(crate) const REVOKE: &str = "https://mcp.example.test/connections/revoke";
pub(crate) const SESSION: &str = "__Host-vestibule-session";
pub(crate) const HOST: &str = "mcp.example.test";
pub(crate) const ADA: (&str, &str) = ("ada", "lovelace");
pub(crate) const BOB: (&str, &str) = ("bob", "builder");

pub(crate) async fn house() -> TestHouse {
    TestHouse::stored(CognitoOptions::default(), |_| {}).await
}

/// The form of the page, sent: on to the provider.
pub(crate) async fn leave(browser: &mut Browser, more: &[(&str, &str)]) -> Answer {
    let page = browser.get(PAGE).await;
    let ticket = page.input("ticket");
    let mut form = vec![("ticket", ticket.as_str()), ("provider", "default")];
    form.extend_from_slice(more);
    let answer = browser.post(SIGN_IN, &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    answer
}

/// Up to the callback, which is not opened.
pub(crate) async fn up_to_callback(
    browser: &mut Browser,
    (username, password): (&str, &str),
) -> String {
    let away = leave(browser, &[]).await;
    let back = browser
        .sign_in_at_provider(away.location(), username, password)
        .await;
    back.location().to_owned()
}

/// All the way to the list.
pub(crate) async fn sign_in(
    house: &TestHouse,
    browser: &mut Browser,
    user: (&str, &str),
) -> Answer {
    sign_in_with(house, browser, user, &[]).await
}

pub(crate) async fn sign_in_with(
    house: &TestHouse,
    browser: &mut Browser,
    (username, password): (&str, &str),
    more: &[(&str, &str)],
) -> Answer {
    let given_back = || house.cognito.control().calls(Endpoint::Revoke);
    let before = given_back();
    let away = leave(browser, more).await;
    assert!(away.location().starts_with(house.cognito.domain()));
    let back = browser
        .sign_in_at_provider(away.location(), username, password)
        .await;
    let answer = browser.get(back.location()).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    assert_eq!(answer.location(), PAGE);
    // In the background.
    eventually(|| given_back() > before).await;
    let list = browser.get(PAGE).await;
    assert_eq!(list.status, StatusCode::OK, "{}", list.text());
    list
}

/// Is somebody signed in there?
pub(crate) async fn open(browser: &mut Browser) -> bool {
    let page = browser.get(PAGE).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    page.text().contains("You are signed in as")
}

/// The connections that the page has buttons for.
pub(crate) fn families(page: &Answer) -> Vec<String> {
    let html = page.text();
    let buttons = html.split("name=\"grant\" value=\"").skip(1);
    buttons
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

/// Ada's list, with one connection of hers: the browser, the ticket of its forms, and the family.
pub(crate) async fn connected(house: &TestHouse) -> (Browser, String, String) {
    let mut browser = house.browser();
    let list = sign_in(house, &mut browser, ADA).await;
    let family = families(&list).pop().expect("a connection");
    (browser, list.input("ticket"), family)
}
