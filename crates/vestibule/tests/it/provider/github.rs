//! OAuth without OpenID Connect, as GitHub has it: no ID token, no discovery, errors with status 200, tokens for ever.

use http::StatusCode;
use serde_json::json;
use vestibule::settings::{ClaimMapping, TokenFormat};

use super::rig::{OAuthOnly, approve, claims, consent_page};
use crate::support::{Answer, CALLBACK, Client, TestHouse, Tokens};

async fn house_before(github: &OAuthOnly) -> TestHouse {
    TestHouse::with(|settings| {
        settings.provider = github.settings();
        settings.tokens.claims = ClaimMapping::defaults(settings.provider.preset);
        settings.resources[0].token_format = TokenFormat::Jwt;
    })
    .await
}

async fn sign_in(house: &TestHouse) -> (Client, Answer) {
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    let page = consent_page(&mut browser, &client, "mcp:read", &[]).await;
    let approved = approve(&mut browser, &page, None).await;
    let back = browser.get(approved.location()).await;
    let answer = browser.get(back.location()).await;
    let code = answer.location_param("code").unwrap();
    let form = TestHouse::redemption(&client, &code);
    let answer = house.post_form("/token", &form).await;
    (client, answer)
}

#[tokio::test]
async fn the_api_says_who_signed_in() {
    let github = OAuthOnly::start().await;
    let house = house_before(&github).await;
    let (_, answer) = sign_in(&house).await;
    let access = claims(&Tokens::of(&answer).access);
    assert_eq!(access["sub"], "583231");
    assert_eq!(access["username"], "octocat");
    assert!(access.get("email").is_none());
    let script = github.script.lock().unwrap();
    assert_eq!(script.asked["scope"], "read:user");
    assert_eq!(script.asked["code_challenge_method"], "S256");
    assert_eq!(script.redeemed["client_secret"], "hush");
    assert!(script.redeemed["code_verifier"].len() >= 43);
    assert_eq!(script.calls, ["Bearer gho_1"]);
}

#[tokio::test]
async fn a_token_that_never_ends_is_checked_at_every_refresh() {
    let github = OAuthOnly::start().await;
    let house = house_before(&github).await;
    let (client, answer) = sign_in(&house).await;
    let tokens = Tokens::of(&answer);
    github.change(|script| {
        script.user = Some(json!({ "id": 583_231, "login": "renamed" }));
        script.redeemed.clear();
    });
    let refreshed = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    assert_eq!(claims(&refreshed.access)["username"], "renamed");
    assert!(github.script.lock().unwrap().redeemed.is_empty());
    // Away: nothing is lost.
    github.change(|script| script.broken = Some(502));
    let answer = house.refresh(&client, &refreshed.refresh).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    // Revoked there: the grant is dead.
    github.change(|script| {
        script.broken = None;
        script.user = None;
    });
    let answer = house.refresh(&client, &refreshed.refresh).await;
    assert_eq!(answer.error(), "invalid_grant");
}

#[tokio::test]
async fn a_token_that_suddenly_belongs_to_somebody_else_is_refused() {
    let github = OAuthOnly::start().await;
    let house = house_before(&github).await;
    let (client, answer) = sign_in(&house).await;
    github.change(|script| script.user = Some(json!({ "id": 1, "login": "eve" })));
    let answer = house.refresh(&client, &Tokens::of(&answer).refresh).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn tokens_that_end_are_refreshed_and_a_failing_api_does_not_lose_the_new_one() {
    let github = OAuthOnly::start().await;
    let token = |number: u8| json!({ "access_token": format!("ghu_{number}"), "token_type": "bearer", "expires_in": 28800, "refresh_token": format!("ghr_{number}") });
    github.change(|script| script.token = token(1));
    let house = house_before(&github).await;
    let (client, answer) = sign_in(&house).await;
    let tokens = Tokens::of(&answer);
    github.change(|script| {
        script.token = token(2);
        script.broken = Some(500);
    });
    let refreshed = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    assert_eq!(claims(&refreshed.access)["username"], "octocat");
    assert_eq!(
        github.script.lock().unwrap().redeemed["refresh_token"],
        "ghr_1"
    );
    github.change(|script| script.broken = None);
    Tokens::of(&house.refresh(&client, &refreshed.refresh).await);
    assert_eq!(
        github.script.lock().unwrap().redeemed["refresh_token"],
        "ghr_2"
    );
}

#[tokio::test]
async fn an_error_with_status_200_is_an_error() {
    let github = OAuthOnly::start().await;
    let house = house_before(&github).await;
    for (error, status, outside) in [
        ("bad_verification_code", 400, "invalid_grant"),
        ("incorrect_client_credentials", 500, "server_error"),
    ] {
        github.change(|script| script.token = json!({ "error": error }));
        let (_, answer) = sign_in(&house).await;
        assert_eq!(
            (answer.status.as_u16(), answer.error().as_str()),
            (status, outside)
        );
    }
}

#[tokio::test]
async fn nobody_without_an_id_signs_in() {
    let github = OAuthOnly::start().await;
    let house = house_before(&github).await;
    for user in [
        json!({ "login": "x" }),
        json!({ "id": "" }),
        json!({ "id": null }),
        json!([]),
    ] {
        github.change(|script| script.user = Some(user));
        let (_, answer) = sign_in(&house).await;
        assert_eq!(answer.error(), "server_error", "{}", answer.text());
    }
}
