//! Several providers: the choice, whose answer counts, whose token goes where, and whose `sub` it is.

use http::StatusCode;
use vestibule::settings::{ProviderSettings, Settings, TokenFormat};
use vestibule_standin::cognito::{Cognito, CognitoOptions, Endpoint};

use super::rig::{approve, claims, consent_page, second_pool, sign_in_at};
use crate::support::{Answer, CALLBACK, ORIGIN, TestHouse, Tokens};

const ADA: (&str, &str) = ("ada", "lovelace");
const SCOPE: &str = "mcp:read mcp:write";

async fn two_providers() -> (TestHouse, Cognito) {
    let (pool, guests) = second_pool().await;
    let house = TestHouse::with(|settings| choice(settings, guests)).await;
    (house, pool)
}

/// Staff first, then guests.
fn choice(settings: &mut Settings, guests: ProviderSettings) {
    "staff".clone_into(&mut settings.provider.id);
    "Staff account".clone_into(&mut settings.provider.label);
    settings.further_providers = vec![guests];
    settings.resources[0].providers = vec!["staff".to_owned(), "guests".to_owned()];
    settings.resources[0].token_format = TokenFormat::Jwt;
}

#[tokio::test]
async fn the_user_chooses_and_equal_subs_of_two_providers_stay_two_users() {
    let (house, pool) = two_providers().await;
    let client = house.register(CALLBACK).await;
    let page = consent_page(&mut house.browser(), &client, SCOPE, &[]).await;
    for part in [
        "Staff account",
        "Guest account",
        "value=\"guests\"",
        "type=\"radio\"",
    ] {
        assert!(page.text().contains(part), "{part}");
    }
    let mut subjects = Vec::new();
    for chosen in [None, Some("staff"), Some("guests")] {
        let answer = sign_in_at(&house, &client, chosen, ADA, SCOPE).await;
        let tokens = Tokens::of(&answer);
        let subject = claims(&tokens.access)["sub"].as_str().unwrap().to_owned();
        let refreshed = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
        assert_eq!(claims(&refreshed.access)["sub"], subject.as_str());
        subjects.push(subject);
    }
    let bare = subjects[0].strip_prefix("staff:").unwrap();
    assert_eq!(subjects[1], subjects[0]);
    assert_eq!(subjects[2], format!("guests:{bare}"));
    // Each refresh went to the pool that signed the user in.
    assert_eq!(pool.control().all_refreshes().len(), 1);
    assert_eq!(house.cognito.control().all_refreshes().len(), 2);
}

#[tokio::test]
async fn the_provider_of_the_last_sign_in_is_chosen_and_before_it_the_first_one() {
    let (pool, guests) = second_pool().await;
    let change = |settings: &mut Settings| choice(settings, guests);
    let house = TestHouse::stored(CognitoOptions::default(), change).await;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    let chosen = |page: &Answer| {
        let text = page.text();
        let checked = text.split("<input").filter(|input| {
            let input = input.split('>').next().unwrap();
            input.contains("type=\"radio\"") && input.contains(" checked")
        });
        let ids = checked.map(|input| input.split("value=\"").nth(1).unwrap());
        let ids: Vec<_> = ids.map(|id| id.split('"').next().unwrap()).collect();
        ids.join(" ")
    };
    let page = consent_page(&mut browser, &client, SCOPE, &[]).await;
    assert_eq!(chosen(&page), "staff");
    let form = browser.get(&format!("{ORIGIN}/connections")).await;
    let ticket = form.input("ticket");
    let form = [("ticket", ticket.as_str()), ("provider", "guests")];
    let sign_in = format!("{ORIGIN}/connections/sign-in");
    let away = browser.post(&sign_in, &form).await;
    assert!(away.location().starts_with(pool.domain()));
    let back = browser
        .sign_in_at_provider(away.location(), ADA.0, ADA.1)
        .await;
    browser.get(back.location()).await;
    let page = consent_page(&mut browser, &client, SCOPE, &[]).await;
    assert!(page.text().contains("(Guest account)"), "{}", page.text());
    assert_eq!(chosen(&page), "guests");
}

#[tokio::test]
async fn one_provider_means_no_choice_and_the_bare_sub() {
    let house = TestHouse::with(|settings| {
        settings.resources[0].token_format = TokenFormat::Jwt;
    })
    .await;
    let client = house.register(CALLBACK).await;
    let page = consent_page(&mut house.browser(), &client, SCOPE, &[]).await;
    assert!(!page.text().contains("name=\"provider\""));
    let tokens = Tokens::of(&sign_in_at(&house, &client, None, ADA, SCOPE).await);
    assert!(
        !claims(&tokens.access)["sub"]
            .as_str()
            .unwrap()
            .contains(':')
    );
}

#[tokio::test]
async fn a_provider_that_the_resource_does_not_allow_cannot_be_chosen() {
    let (pool, guests) = second_pool().await;
    let house = TestHouse::with(|settings| {
        settings.further_providers = vec![guests];
    })
    .await;
    let client = house.register(CALLBACK).await;
    for chosen in ["guests", "nobody"] {
        let mut browser = house.browser();
        let page = consent_page(&mut browser, &client, SCOPE, &[]).await;
        let answer = approve(&mut browser, &page, Some(chosen)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
        assert_eq!(answer.header("set-cookie"), "");
    }
    assert_eq!(pool.control().calls(Endpoint::Authorize), 0);
}

#[tokio::test]
async fn an_answer_of_one_provider_does_not_pass_for_anothers() {
    let (house, pool) = two_providers().await;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    let page = consent_page(&mut browser, &client, SCOPE, &[]).await;
    let approved = approve(&mut browser, &page, Some("guests")).await;
    assert!(approved.location().starts_with(pool.domain()));
    let state = approved.location_param("state").unwrap();
    let callback = format!("{ORIGIN}/callback?code=stolen&state={state}&iss=");
    let answer = browser
        .get(&format!("{callback}{}", house.cognito.issuer()))
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
}

#[tokio::test]
async fn a_code_of_one_provider_injected_into_anothers_sign_in_is_worth_nothing() {
    let (house, pool) = two_providers().await;
    let client = house.register(CALLBACK).await;
    // Somebody's code at the first provider, caught on its way back.
    let mut other = house.browser();
    let page = consent_page(&mut other, &client, SCOPE, &[]).await;
    let approved = approve(&mut other, &page, Some("staff")).await;
    let caught = other
        .sign_in_at_provider(approved.location(), ADA.0, ADA.1)
        .await
        .location_param("code")
        .unwrap();
    // A sign-in at the second provider is answered with it.
    let mut browser = house.browser();
    let page = consent_page(&mut browser, &client, SCOPE, &[]).await;
    let approved = approve(&mut browser, &page, Some("guests")).await;
    let state = approved.location_param("state").unwrap();
    let answer = browser
        .get(&format!(
            "{ORIGIN}/callback/guests?code={caught}&state={state}"
        ))
        .await;
    let code = answer.location_param("code").unwrap();
    let answer = house
        .post_form("/token", &TestHouse::redemption(&client, &code))
        .await;
    assert_eq!(answer.error(), "invalid_grant");
    assert_eq!(pool.control().calls(Endpoint::Token), 1);
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 0);
}

/// RFC 9700 §4.4: the provider that was asked sends the browser on to the other one, with our state, and hopes to be
/// given the code that comes back. Neither of them sends `iss`.
#[tokio::test]
async fn t23_an_answer_at_the_callback_of_another_provider_is_refused() {
    let (house, pool) = two_providers().await;
    let client = house.register(CALLBACK).await;
    for (asked, asked_at, elsewhere) in [
        ("guests", "/callback/guests", "/callback"),
        ("guests", "/callback/guests", "/callback/nobody"),
        ("staff", "/callback", "/callback/guests"),
        ("staff", "/callback", "/callback/staff"),
    ] {
        let mut browser = house.browser();
        let page = consent_page(&mut browser, &client, SCOPE, &[]).await;
        let approved = approve(&mut browser, &page, Some(asked)).await;
        let callback = approved.location_param("redirect_uri").unwrap();
        assert_eq!(callback, format!("{ORIGIN}{asked_at}"));
        let state = approved.location_param("state").unwrap();
        let url = format!("{ORIGIN}{elsewhere}?code=caught&state={state}");
        let answer = browser.get(&url).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{elsewhere}");
        assert!(answer.text().contains("stopped for your safety"));
    }
    assert_eq!(pool.control().calls(Endpoint::Token), 0);
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 0);
}

#[tokio::test]
async fn a_refresh_token_of_a_provider_that_was_removed_goes_to_no_other() {
    let (mut house, _pool) = two_providers().await;
    let client = house.register(CALLBACK).await;
    let tokens = Tokens::of(&sign_in_at(&house, &client, Some("guests"), ADA, SCOPE).await);
    house.settings.further_providers = Vec::new();
    house.settings.resources[0].providers = Vec::new();
    house.router = house.replica(2);
    house.cognito.control().reset_counters();
    let answer = house.refresh(&client, &tokens.refresh).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (StatusCode::BAD_REQUEST, "invalid_grant")
    );
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 0);
}

#[tokio::test]
async fn one_provider_that_is_away_leaves_the_house_ready_for_the_others() {
    let gone = "http://127.0.0.1:1/pool";
    let house = TestHouse::with(|settings| {
        let issuer = vestibule_oauth::url::Issuer::parse(gone).unwrap();
        settings.further_providers = vec![ProviderSettings {
            id: "gone".to_owned(),
            ..ProviderSettings::new(issuer, "c")
        }];
    })
    .await;
    let answer = house.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.json();
    assert_eq!(body["provider"], "ok");
    assert_eq!(body["providers"]["gone"], "provider_unavailable");
}
