//! S5, S7, S10 and S11: what `/oauth2/token` gives and how it refuses.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::json;
use vestibule_standin::cognito::AppClient;

use crate::harness::{
    Answer, Browser, CALLBACK, CHALLENGE, Street, VERIFIER, basic, jwt_part, text,
};

#[tokio::test]
async fn a_code_gives_tokens_and_no_scope_member() {
    let street = Street::open().await;
    let code = street.sign_in(&[]).await.param("code");
    let answer = street.redeem(&code).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("x-amz-cognito-request-id").len(), 36);
    let tokens = answer.json();
    let names: BTreeSet<_> = tokens.as_object().unwrap().keys().collect();
    assert!(names.into_iter().eq([
        "access_token",
        "expires_in",
        "id_token",
        "refresh_token",
        "token_type"
    ]));
    assert_eq!(tokens["expires_in"], 3600);
    assert_eq!(tokens["token_type"], "Bearer");
}

#[tokio::test]
async fn a_secret_may_come_in_the_form() {
    let street = Street::open().await;
    let code = street.sign_in(&[]).await.param("code");
    let answer = street
        .post(
            "/oauth2/token",
            None,
            &[
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("redirect_uri", CALLBACK),
                ("client_id", street.cognito.client_id()),
                ("client_secret", street.cognito.client_secret()),
            ],
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

async fn redeem_with(street: &Street, challenge: bool, verifier: Option<&str>) -> Answer {
    let change = [
        ("code_challenge", Some(CHALLENGE)),
        ("code_challenge_method", Some("S256")),
    ];
    let change = if challenge { &change[..] } else { &[] };
    let code = street.sign_in(change).await.param("code");
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", CALLBACK),
    ];
    form.extend(verifier.map(|verifier| ("code_verifier", verifier)));
    street.token(&form).await
}

#[tokio::test]
async fn s5_the_verifier_is_checked_when_there_was_a_challenge() {
    let street = Street::open().await;
    let good = redeem_with(&street, true, Some(VERIFIER)).await;
    assert_eq!(good.status, StatusCode::OK);
    let wrong = VERIFIER.replace('d', "e");
    for verifier in [None, Some(wrong.as_str()), Some("short"), Some(CHALLENGE)] {
        redeem_with(&street, true, verifier)
            .await
            .assert_error("invalid_grant");
    }
}

#[tokio::test]
async fn s5_assumption_a_verifier_without_a_challenge_is_refused() {
    let street = Street::open().await;
    redeem_with(&street, false, Some(VERIFIER))
        .await
        .assert_error("invalid_grant");
}

#[tokio::test]
async fn s7_a_code_is_a_uuid_that_works_once() {
    let street = Street::open().await;
    let code = street.sign_in(&[]).await.param("code");
    let dashes: Vec<_> = code.match_indices('-').map(|(at, _)| at).collect();
    assert_eq!((code.len(), dashes), (36, vec![8, 13, 18, 23]));
    assert_eq!(street.redeem(&code).await.status, StatusCode::OK);
    street.redeem(&code).await.assert_error("invalid_grant");
}

#[tokio::test]
async fn s7_a_code_lives_five_minutes() {
    let street = Street::open().await;
    let early = street.sign_in(&[]).await.param("code");
    let late = street.sign_in(&[]).await.param("code");
    street.clock.advance(299);
    assert_eq!(street.redeem(&early).await.status, StatusCode::OK);
    street.clock.advance(1);
    street.redeem(&late).await.assert_error("invalid_grant");
}

#[tokio::test]
async fn s7_a_stolen_code_is_useless_to_another_client_and_survives_the_attempt() {
    let street = Street::open_with(|options| {
        options.clients.push(AppClient {
            client_id: "thief".to_owned(),
            callback_urls: vec![CALLBACK.to_owned()],
            scopes: vec!["openid".to_owned()],
            ..AppClient::default()
        });
    })
    .await;
    let code = street.sign_in(&[]).await.param("code");
    let theft = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
        ("client_id", "thief"),
    ];
    street
        .post("/oauth2/token", None, &theft)
        .await
        .assert_error("invalid_grant");
    assert_eq!(street.redeem(&code).await.status, StatusCode::OK);
}

#[tokio::test]
async fn s10_another_redirect_uri_is_unauthorized_client_invalid_redirect() {
    let street = Street::open().await;
    let code = street.sign_in(&[]).await.param("code");
    let answer = street
        .token(&[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", "http://127.0.0.1:9/oauth/callback/"),
        ])
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.json(),
        json!({ "error": "unauthorized_client", "error_description": "invalid_redirect" })
    );
}

#[tokio::test]
async fn s10_a_confidential_client_without_its_secret_is_invalid_client_with_400() {
    let street = Street::open().await;
    let id = street.cognito.client_id();
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let named = [form[0], form[1], ("client_id", id)];
    let answers = [
        street.post("/oauth2/token", None, &named).await,
        street
            .post("/oauth2/token", Some(&basic(id, "wrong")), &form)
            .await,
        street
            .post("/oauth2/token", Some(&basic("nobody", "x")), &form)
            .await,
        street.post("/oauth2/token", Some("Basic %%%"), &form).await,
    ];
    for answer in answers {
        answer.assert_error("invalid_client");
        assert_eq!(answer.header("x-amz-cognito-request-id").len(), 36);
    }
}

#[tokio::test]
async fn s10_a_dummy_code_tells_a_right_secret_from_a_wrong_one() {
    let street = Street::open().await;
    street.redeem("dummy").await.assert_error("invalid_grant");
}

#[tokio::test]
async fn s10_malformed_requests() {
    let street = Street::open().await;
    for form in [
        &[][..],
        &[("grant_type", "authorization_code")],
        &[("grant_type", "authorization_code"), ("code", "x")],
        &[("grant_type", "refresh_token")],
    ] {
        street.token(form).await.assert_error("invalid_request");
    }
    street
        .token(&[("grant_type", "password")])
        .await
        .assert_error("unsupported_grant_type");
    street
        .token(&[("grant_type", "client_credentials")])
        .await
        .assert_error("unauthorized_client");
    let get = street.get("/oauth2/token", &[]).await;
    assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
    let url = format!("{}/oauth2/token", street.cognito.domain());
    let json = [("content-type", "application/json")];
    let answer = Browser::default()
        .send(Method::POST, &url, &json, None)
        .await;
    answer.assert_error("invalid_request");
}

#[tokio::test]
async fn s10_the_email_scope_without_read_permission_fails_only_at_the_exchange() {
    let street = Street::open_with(|options| options.email_verified_readable = false).await;
    let code = street.sign_in(&[]).await.param("code");
    street.redeem(&code).await.assert_error("invalid_grant");
    let narrow = street.tokens(&[("scope", Some("openid mcp/read"))]).await;
    assert!(narrow.get("access_token").is_some());
}

#[tokio::test]
async fn s11_without_rotation_refresh_gives_no_refresh_token_and_the_old_one_goes_on() {
    let street = Street::open().await;
    let tokens = street.tokens(&[("nonce", Some("n"))]).await;
    let refresh_token = text(&tokens, "refresh_token");
    assert!(refresh_token.len() >= 1700);
    assert_eq!(refresh_token.matches('.').count(), 4);
    street.clock.advance(100);
    for _ in 0..2 {
        let answer = street.refresh(refresh_token).await;
        assert_eq!(answer.status, StatusCode::OK);
        let fresh = answer.json();
        assert!(fresh.get("refresh_token").is_none());
        let (old, new) = (
            jwt_part(&tokens["access_token"], 1),
            jwt_part(&fresh["access_token"], 1),
        );
        assert_ne!(old["jti"], new["jti"]);
        assert_eq!(old["origin_jti"], new["origin_jti"]);
        assert_eq!(old["auth_time"], new["auth_time"]);
        assert_eq!(new["iat"], 1_800_000_100_u64);
    }
    assert_eq!(street.cognito.control().refreshes(refresh_token), 2);
}

#[tokio::test]
async fn s11_a_replaced_refresh_token_lives_for_the_grace_and_its_reuse_afterwards_is_refused() {
    let street = Street::open_with(|options| options.rotation = Some(10)).await;
    let tokens = street.tokens(&[]).await;
    let first = text(&tokens, "refresh_token");
    let second = street.refresh(first).await.json();
    let second = text(&second, "refresh_token");
    assert_ne!(first, second);
    street.clock.advance(9);
    assert_eq!(street.refresh(first).await.status, StatusCode::OK);
    street.clock.advance(1);
    street.refresh(first).await.assert_error("invalid_grant");
    assert_eq!(street.refresh(second).await.status, StatusCode::OK);
    assert_eq!(street.cognito.control().refreshes(first), 3);
}

#[tokio::test]
async fn for_load_the_refreshes_of_a_sign_in_give_the_same_tokens_for_a_while() {
    let street = Street::open_with(|options| {
        options.rotation = Some(10);
        options.same_tokens = Some(2);
    })
    .await;
    let (ada, other) = (street.tokens(&[]).await, street.tokens(&[]).await);
    let first = street.refresh(text(&ada, "refresh_token")).await.json();
    street.clock.advance(1);
    let again = street.refresh(text(&first, "refresh_token")).await.json();
    for name in ["access_token", "id_token"] {
        assert_eq!(first[name], again[name]);
        assert_ne!(first[name], ada[name]);
    }
    assert_ne!(first["refresh_token"], again["refresh_token"]);
    let other = street.refresh(text(&other, "refresh_token")).await.json();
    assert_ne!(first["access_token"], other["access_token"]);
    street.clock.advance(1);
    let later = street.refresh(text(&again, "refresh_token")).await.json();
    assert_ne!(first["access_token"], later["access_token"]);
}

#[tokio::test]
async fn s11_a_grace_of_zero_kills_the_replaced_token_at_once() {
    let street = Street::open_with(|options| options.rotation = Some(0)).await;
    let tokens = street.tokens(&[]).await;
    let first = text(&tokens, "refresh_token");
    assert_eq!(street.refresh(first).await.status, StatusCode::OK);
    street.refresh(first).await.assert_error("invalid_grant");
}

#[tokio::test]
async fn s11_assumption_rotation_does_not_extend_the_life_of_a_sign_in() {
    let street = Street::open_with(|options| {
        options.rotation = Some(60);
        options.lifetimes.refresh = 7200;
    })
    .await;
    let tokens = street.tokens(&[]).await;
    street.clock.advance(7000);
    let second = street.refresh(text(&tokens, "refresh_token")).await.json();
    street.clock.advance(200);
    street
        .refresh(text(&second, "refresh_token"))
        .await
        .assert_error("invalid_grant");
}

#[tokio::test]
async fn s11_a_stolen_refresh_token_is_useless_to_another_client() {
    let street = Street::open_with(|options| {
        options.clients.push(AppClient {
            client_id: "thief".to_owned(),
            ..AppClient::default()
        });
    })
    .await;
    let tokens = street.tokens(&[]).await;
    let theft = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&tokens, "refresh_token")),
        ("client_id", "thief"),
    ];
    street
        .post("/oauth2/token", None, &theft)
        .await
        .assert_error("invalid_grant");
}

#[tokio::test]
async fn s11_revoke_all_ends_every_sign_in() {
    let street = Street::open().await;
    let tokens = street.tokens(&[]).await;
    street.cognito.control().revoke_all();
    street
        .refresh(text(&tokens, "refresh_token"))
        .await
        .assert_error("invalid_grant");
}
