//! S8 and S13: the form, the browser session, sign-out, userInfo and revocation.

use http::StatusCode;
use serde_json::json;
use vestibule_standin::cognito::{AppClient, CognitoOptions, ManagedLoginVersion};

use crate::harness::{Browser, CALLBACK, Street, basic, text};

fn add_second_client(options: &mut CognitoOptions) {
    options.clients.push(AppClient {
        client_id: "second".to_owned(),
        callback_urls: vec![CALLBACK.to_owned()],
        scopes: vec!["openid".to_owned()],
        ..AppClient::default()
    });
}

#[tokio::test]
async fn a_wrong_password_shows_the_form_again_with_status_200() {
    let street = Street::open().await;
    let mut browser = Browser::default();
    let form = browser.get(&street.authorize_url(&[])).await;
    let page = browser.get(form.location()).await;
    let again = browser.submit(form.location(), &page, "ada", "wrong").await;
    assert_eq!(again.status, StatusCode::OK);
    assert!(again.body.contains("Incorrect username or password."));
    let done = browser
        .submit(form.location(), &again, "ada", "lovelace")
        .await;
    assert!(done.location().starts_with(CALLBACK));
}

#[tokio::test]
async fn a_form_posted_from_another_browser_is_refused() {
    let street = Street::open().await;
    let mut browser = Browser::default();
    let form = browser.get(&street.authorize_url(&[])).await;
    let page = browser.get(form.location()).await;
    let mut other = Browser::default();
    let answer = other
        .submit(form.location(), &page, "ada", "lovelace")
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(!other.cookies.contains_key("cognito"));
}

#[tokio::test]
async fn a_query_cannot_put_markup_into_the_form() {
    let street = Street::open().await;
    let form = street
        .authorize_url(&[("nonce", Some("\"><script>"))])
        .replace("/oauth2/authorize", "/login");
    // Quotes may stand raw in a query; the form's `action` repeats it.
    let page = Browser::default()
        .get(&format!("{form}&x='onfocus='alert(1)"))
        .await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.body.contains("<script"));
    assert!(!page.body.contains("x='onfocus"));
    assert!(page.body.contains("x=&#39;onfocus"));
}

#[tokio::test]
async fn s8_a_signed_in_browser_is_let_through_silently_for_any_client() {
    let street = Street::open_with(add_second_client).await;
    let mut browser = Browser::default();
    browser.sign_in(&street.authorize_url(&[])).await;
    let other = street.authorize_url(&[("client_id", Some("second")), ("scope", Some("openid"))]);
    assert!(browser.get(&other).await.location().starts_with(CALLBACK));

    street.clock.advance(3600);
    assert!(browser.get(&other).await.location().contains("/login?"));
}

#[tokio::test]
async fn s8_sessions_end_on_command() {
    let street = Street::open().await;
    let mut browser = Browser::default();
    browser.sign_in(&street.authorize_url(&[])).await;
    street.cognito.control().end_sessions();
    let answer = browser.get(&street.authorize_url(&[])).await;
    assert!(answer.location().contains("/login?"));
}

#[tokio::test]
async fn s8_prompt_login_forces_the_form_and_prompt_none_never_shows_it() {
    let street = Street::open().await;
    let mut browser = Browser::default();
    let silent = street.authorize_url(&[("prompt", Some("none"))]);
    let answer = browser.get(&silent).await;
    assert_eq!(
        answer.location(),
        format!("{CALLBACK}?error=login_required&state=s-1")
    );
    browser.sign_in(&street.authorize_url(&[])).await;
    assert_eq!(browser.get(&silent).await.param("code").len(), 36);
    let forced = street.authorize_url(&[("prompt", Some("login"))]);
    assert!(browser.get(&forced).await.location().contains("/login?"));
    let odd = street.authorize_url(&[("prompt", Some("none login"))]);
    assert_eq!(browser.get(&odd).await.param("error"), "invalid_request");
}

#[tokio::test]
async fn s8_the_classic_pages_ignore_prompt() {
    let street = Street::open_with(|options| {
        options.managed_login_version = ManagedLoginVersion::Classic;
    })
    .await;
    let mut browser = Browser::default();
    let silent = street.authorize_url(&[("prompt", Some("none"))]);
    assert!(browser.get(&silent).await.location().contains("/login?"));
    browser.sign_in(&street.authorize_url(&[])).await;
    let forced = street.authorize_url(&[("prompt", Some("login"))]);
    assert!(browser.get(&forced).await.location().starts_with(CALLBACK));
}

#[tokio::test]
async fn logout_ends_the_session_and_goes_only_to_registered_addresses() {
    let street = Street::open_with(|options| {
        options.clients[0].logout_urls = vec!["http://localhost/bye".to_owned()];
    })
    .await;
    let mut browser = Browser::default();
    browser.sign_in(&street.authorize_url(&[])).await;
    let base = format!(
        "{}/logout?client_id={}",
        street.cognito.domain(),
        street.cognito.client_id()
    );
    let evil = browser
        .get(&format!("{base}&logout_uri=https://evil.example"))
        .await;
    assert_eq!(evil.status, StatusCode::BAD_REQUEST);
    let good = browser
        .get(&format!("{base}&logout_uri=http://localhost/bye"))
        .await;
    assert_eq!(good.location(), "http://localhost/bye");
    let answer = browser.get(&street.authorize_url(&[])).await;
    assert!(answer.location().contains("/login?"));
}

#[tokio::test]
async fn userinfo_gives_email_verified_as_a_string() {
    let street = Street::open().await;
    let tokens = street.tokens(&[]).await;
    let bearer = format!("Bearer {}", text(&tokens, "access_token"));
    let answer = street
        .get("/oauth2/userInfo", &[("authorization", &bearer)])
        .await;
    let mut body = answer.json();
    assert_eq!(text(&body, "sub").len(), 36);
    body.as_object_mut().unwrap().remove("sub");
    assert_eq!(
        body,
        json!({ "username": "ada", "email": "ada@example.com", "email_verified": "true" })
    );
}

#[tokio::test]
async fn userinfo_refuses_with_challenges_that_have_no_scheme() {
    let street = Street::open().await;
    let none = street.get("/oauth2/userInfo", &[]).await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST);
    assert!(
        none.header("www-authenticate")
            .starts_with("error=\"invalid_request\"")
    );

    let tokens = street.tokens(&[]).await;
    let id = format!("Bearer {}", text(&tokens, "id_token"));
    let access = format!("Bearer {}", text(&tokens, "access_token"));
    let narrow = street.tokens(&[("scope", Some("mcp/read"))]).await;
    assert!(narrow.get("id_token").is_none(), "no openid, no ID token");
    let narrow = format!("Bearer {}", text(&narrow, "access_token"));
    let forged = format!("{}AAAA", access.trim_end_matches(|c| c != '.'));
    for bearer in [&id, &narrow, &forged] {
        let answer = street
            .get("/oauth2/userInfo", &[("authorization", bearer)])
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(
            answer
                .header("www-authenticate")
                .starts_with("error=\"invalid_token\"")
        );
    }
    street.clock.advance(3600);
    let late = street
        .get("/oauth2/userInfo", &[("authorization", &access)])
        .await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn s13_revocation_ends_refresh_and_userinfo_but_not_the_jwt() {
    let street = Street::open_with(|options| options.rotation = Some(60)).await;
    let auth = basic(street.cognito.client_id(), street.cognito.client_secret());
    let tokens = street.tokens(&[]).await;
    let first = text(&tokens, "refresh_token");
    let second = street.refresh(first).await.json();
    let second = text(&second, "refresh_token");
    let answer = street
        .post("/oauth2/revoke", Some(&auth), &[("token", first)])
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
    street.refresh(first).await.assert_error("invalid_grant");
    street.refresh(second).await.assert_error("invalid_grant");
    let bearer = format!("Bearer {}", text(&tokens, "access_token"));
    let userinfo = street
        .get("/oauth2/userInfo", &[("authorization", &bearer)])
        .await;
    assert_eq!(userinfo.status, StatusCode::UNAUTHORIZED);
    // The signature and `exp` are as good as before: verifiers of JWTs have not heard of it.
    let again = street
        .post(
            "/oauth2/revoke",
            Some(&auth),
            &[("token", text(&tokens, "access_token"))],
        )
        .await;
    again.assert_error("unsupported_token_type");
}

#[tokio::test]
async fn s13_revocation_errors() {
    let street = Street::open_with(add_second_client).await;
    let id = street.cognito.client_id().to_owned();
    let auth = basic(&id, street.cognito.client_secret());
    let unknown = street
        .post("/oauth2/revoke", Some(&auth), &[("token", "never-issued")])
        .await;
    assert_eq!(unknown.status, StatusCode::OK);
    street
        .post("/oauth2/revoke", Some(&auth), &[])
        .await
        .assert_error("invalid_request");
    let bad = street
        .post(
            "/oauth2/revoke",
            Some(&basic(&id, "wrong")),
            &[("token", "x")],
        )
        .await;
    assert_eq!(bad.status, StatusCode::UNAUTHORIZED);
    assert_eq!(bad.json(), json!({ "error": "invalid_client" }));

    let tokens = street.tokens(&[]).await;
    let refresh_token = text(&tokens, "refresh_token");
    let stranger = [("token", refresh_token), ("client_id", "second")];
    let answer = street.post("/oauth2/revoke", None, &stranger).await;
    assert_eq!(answer.status, StatusCode::OK);
    let alive = street.refresh(refresh_token).await;
    assert_eq!(
        alive.status,
        StatusCode::OK,
        "another client cannot revoke it"
    );
}

#[tokio::test]
async fn s13_a_pool_without_revocation_says_invalid_request() {
    let street = Street::open_with(|options| options.revocation_enabled = false).await;
    let auth = basic(street.cognito.client_id(), street.cognito.client_secret());
    street
        .post("/oauth2/revoke", Some(&auth), &[("token", "x")])
        .await
        .assert_error("invalid_request");
}
