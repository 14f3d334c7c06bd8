//! `/connections` when the provider or the store is away, and with several providers.

use http::StatusCode;
use vestibule::settings::ProviderSettings;
use vestibule_oauth::url::Issuer;
use vestibule_standin::cognito::{Endpoint, Fault};

use super::rig::{ADA, PAGE, REVOKE, connected, families, house, leave, sign_in, up_to_callback};
use crate::grants::rig::eventually;
use crate::support::{TestHouse, Trouble};

const AWAY: &str = "The connections cannot be read or changed right now";

#[tokio::test]
async fn a_provider_that_is_away_keeps_nothing_alive_here_and_is_told_later() {
    let house = house().await;
    let (client, tokens) = house.sign_in().await;
    let (mut browser, ticket, family) = connected(&house).await;
    let control = house.cognito.control();
    control.set_fault(Endpoint::Revoke, Some(Fault::Status(503)), Some(1));
    let form = [("ticket", ticket.as_str()), ("grant", family.as_str())];
    assert_eq!(
        browser.post(REVOKE, &form).await.status,
        StatusCode::SEE_OTHER
    );
    let list = browser.get(PAGE).await;
    assert!(
        list.text().contains("could not be told yet"),
        "{}",
        list.text()
    );
    assert!(families(&list).is_empty());
    house.assert_shut(&tokens.access, "dead here").await;
    let refused = house.refresh(&client, &tokens.refresh).await;
    refused.assert_refused(400, "invalid_grant", "dead here");
    eventually(|| control.calls(Endpoint::Revoke) == 3).await;
}

#[tokio::test]
async fn a_store_that_is_away_is_said_and_nothing_is_claimed() {
    let (house, store) = TestHouse::with_faulty_store(|_| {}).await;
    let (client, tokens) = house.sign_in().await;
    let (mut browser, ticket, family) = connected(&house).await;
    store.down(Trouble::Refused);
    let page = browser.get(PAGE).await;
    page.assert_refusal_page(StatusCode::SERVICE_UNAVAILABLE, AWAY);
    assert_eq!(page.header("retry-after"), "5");
    for what in [("grant", family.as_str()), ("all", "yes")] {
        let answer = browser.post(REVOKE, &[("ticket", &ticket), what]).await;
        answer.assert_refusal_page(StatusCode::SERVICE_UNAVAILABLE, AWAY);
    }
    store.mend();
    let form = [("ticket", ticket.as_str()), ("grant", family.as_str())];
    assert_eq!(
        browser.post(REVOKE, &form).await.status,
        StatusCode::SEE_OTHER
    );
    let refused = house.refresh(&client, &tokens.refresh).await;
    refused.assert_refused(400, "invalid_grant", "the second try");
}

#[tokio::test]
async fn a_provider_that_says_no_or_nothing_is_a_page_and_no_session() {
    let house = house().await;
    let control = house.cognito.control();
    let mut browser = house.browser();
    let callback = up_to_callback(&mut browser, ADA).await;
    control.set_fault(Endpoint::Token, Some(Fault::Status(503)), Some(1));
    let answer = browser.get(&callback).await;
    answer.assert_refusal_page(StatusCode::SERVICE_UNAVAILABLE, "You are not signed in");
    let away = leave(&mut browser, &[]).await;
    let state = away.location_param("state").unwrap();
    let said = "error=access_denied&error_description=%3Cb%3Esecret";
    let callback = format!("https://mcp.example.test/callback?{said}&state={state}");
    let answer = browser.get(&callback).await;
    answer.assert_refusal_page(StatusCode::FORBIDDEN, "You are not signed in");
    assert!(!answer.text().contains("secret"), "the provider's words");
}

/// A subject is written another way where there are several providers; what was connected before must not hide.
#[tokio::test]
async fn what_was_connected_before_there_was_a_second_provider_is_found_and_ended() {
    let mut house = house().await;
    let (_, before) = house.sign_in().await;
    house.reload(|settings, _| {
        let issuer = Issuer::parse("http://127.0.0.1:1/pool").unwrap();
        settings.further_providers = vec![ProviderSettings {
            id: "gone".to_owned(),
            ..ProviderSettings::new(issuer, "c")
        }];
        settings.resources[0].providers = vec!["default".to_owned()];
    });
    let (_, after) = house.sign_in().await;
    let mut browser = house.browser();
    let list = sign_in(&house, &mut browser, ADA).await;
    assert_eq!(families(&list).len(), 2, "{}", list.text());
    let ticket = list.input("ticket");
    let form = [("ticket", ticket.as_str()), ("all", "yes")];
    browser.post(REVOKE, &form).await;
    for tokens in [before, after] {
        house.assert_shut(&tokens.access, "all").await;
    }
}
