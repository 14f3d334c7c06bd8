//! `/logout`: asked first, sent by our own page only, and all the way through the provider's.

use http::{Method, StatusCode};
use vestibule_standin::cognito::CognitoOptions;

use super::rig::second_pool;
use crate::support::{CALLBACK, ORIGIN, TestHouse};

async fn house() -> TestHouse {
    let mut options = CognitoOptions::default();
    options.clients[0].logout_urls = vec![format!("{ORIGIN}/logout/done")];
    TestHouse::build(options, |_| {}).await
}

#[tokio::test]
async fn signing_out_ends_the_providers_session_and_comes_back() {
    let house = house().await;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    house.browse(&mut browser, &client, "ada", "lovelace").await;
    let page = browser.get(&format!("{ORIGIN}/logout")).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        page.text()
            .contains("<form method=\"post\" action=\"/logout\">")
    );
    let answer = browser
        .post(&format!("{ORIGIN}/logout"), &[("provider", "default")])
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let location = answer.location().to_owned();
    assert!(location.starts_with(&format!("{}/logout?client_id=", house.cognito.domain())));
    let back = browser.get(&location).await;
    assert_eq!(back.location(), format!("{ORIGIN}/logout/done"));
    let done = browser.get(back.location()).await;
    assert!(done.text().contains("signed out"), "{}", done.text());
    // The next sign-in sees the form again.
    let approved = house.approve(&mut browser, &client).await;
    let next = browser.get(approved.location()).await;
    let next = browser.get(&absolute(&house, next.location())).await;
    assert!(next.text().contains("<form"), "{}", next.text());
}

fn absolute(house: &TestHouse, location: &str) -> String {
    if location.starts_with('/') {
        format!("{}{location}", house.cognito.domain())
    } else {
        location.to_owned()
    }
}

#[tokio::test]
async fn another_site_cannot_sign_anybody_out() {
    let house = house().await;
    let form: &[(&str, &str)] = &[("provider", "default")];
    for headers in [
        [("origin", "https://evil.example"), ("accept", "*/*")],
        [("sec-fetch-site", "cross-site"), ("accept", "*/*")],
        [("origin", "null"), ("sec-fetch-site", "same-site")],
    ] {
        let answer = house
            .browser()
            .send(
                Method::POST,
                &format!("{ORIGIN}/logout"),
                &headers,
                Some(form),
            )
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.header("location"), "");
    }
    // A link or an image changes nothing.
    let page = house
        .get("/logout?provider=default&post_logout_redirect_uri=https://evil.example")
        .await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.text().contains("evil.example"));
}

#[tokio::test]
async fn only_providers_that_can_are_offered() {
    let (_pool, guests) = second_pool().await;
    let two = TestHouse::with(|settings| settings.further_providers = vec![guests]).await;
    let page = two.get("/logout").await;
    assert!(page.text().contains("Sign out of Guest account"));
    let none = TestHouse::with(|settings| settings.provider.end_session = false).await;
    let page = none.get("/logout").await;
    assert!(!page.text().contains("<form"));
    let form = [("provider", "default")];
    assert_eq!(
        none.post_form("/logout", &form).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        two.post_form("/logout", &[("provider", "x")]).await.status,
        StatusCode::BAD_REQUEST
    );
}
