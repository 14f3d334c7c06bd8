//! Codes and refresh tokens: used twice, used up, taken from another request.

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use vestibule_standin::cognito::{CognitoOptions, Endpoint, Fault};

use super::initialize;
use crate::support::{CALLBACK, Client, TestHouse, Tokens};

/// obot, PR #44: hourly logins.
#[tokio::test]
async fn a_refresh_does_not_revoke_the_token_it_just_issued() {
    for rotation in [None, Some(0), Some(60)] {
        let options = CognitoOptions {
            rotation,
            ..CognitoOptions::default()
        };
        let house = TestHouse::build(options, |_| {}).await;
        let (client, mut tokens) = house.sign_in().await;
        for round in 0..4 {
            house.clock.advance(3000);
            tokens = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
            let answer = house.call(&tokens.access, &initialize()).await;
            assert_eq!(answer.status, 200, "{rotation:?}, round {round}");
        }
    }
}

/// obot: `if codeVerifier != ""`.
#[tokio::test]
async fn pkce_is_not_bypassed_by_leaving_the_verifier_out() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let good = TestHouse::redemption(&client, &code);
    let without: Vec<_> = good
        .iter()
        .copied()
        .filter(|(name, _)| *name != "code_verifier")
        .collect();
    let other = "a".repeat(43);
    for wrong in [None, Some(""), Some("short"), Some(other.as_str())] {
        let mut form = without.clone();
        form.extend(wrong.map(|verifier| ("code_verifier", verifier)));
        let answer = house.post_form("/token", &form).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong:?}");
        assert!(answer.json().get("access_token").is_none());
    }
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 0);
    // The attempts of a thief do not use the owner's code up.
    Tokens::of(&house.post_form("/token", &good).await);
}

/// obot: validated first, deleted after issuing.
#[tokio::test]
async fn a_code_presented_twenty_times_at_once_works_exactly_once() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let form = TestHouse::redemption(&client, &code);
    let answers = join_all((0..20).map(|_| house.post_form("/token", &form))).await;
    let (good, bad): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|answer| answer.status == StatusCode::OK);
    assert_eq!(good.len(), 1);
    for answer in bad {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.error(), "invalid_grant");
    }
    let late = house.post_form("/token", &form).await;
    assert_eq!(late.error(), "invalid_grant");
}

/// obot: the list of registered URIs was looked at, not the request.
#[tokio::test]
async fn the_redirect_uri_at_the_token_endpoint_is_the_one_of_the_request() {
    let house = TestHouse::new().await;
    let (first, second) = ("https://app.example/one", "https://app.example/two");
    let answer = house
        .post_json("/register", &json!({ "redirect_uris": [first, second] }))
        .await;
    let client = Client {
        id: answer.json()["client_id"].as_str().unwrap().to_owned(),
        redirect_uri: first.to_owned(),
        ..house.register(CALLBACK).await
    };
    let code = house.code(&client).await;
    let swapped = Client {
        redirect_uri: second.to_owned(),
        ..client.clone()
    };
    let answer = house
        .post_form("/token", &TestHouse::redemption(&swapped, &code))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.error(), "invalid_grant");

    // Not even the port of a loopback one, which was free until the request was made.
    let client = house.register("http://127.0.0.1/cb").await;
    let client = Client {
        redirect_uri: "http://127.0.0.1:5001/cb".to_owned(),
        ..client
    };
    let code = house.code(&client).await;
    let swapped = Client {
        redirect_uri: "http://127.0.0.1:5002/cb".to_owned(),
        ..client.clone()
    };
    let answer = house
        .post_form("/token", &TestHouse::redemption(&swapped, &code))
        .await;
    assert_eq!(answer.error(), "invalid_grant");
    Tokens::of(
        &house
            .post_form("/token", &TestHouse::redemption(&client, &code))
            .await,
    );
}

/// obot #7501: `invalid_request` strands clients, which sign in again only on `invalid_grant`.
#[tokio::test]
async fn a_dead_refresh_token_is_an_invalid_grant() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let mut flipped = tokens.refresh.clone();
    let last = flipped.pop().unwrap();
    flipped.push(if last == 'A' { 'B' } else { 'A' });
    let foreign = house.register(CALLBACK).await;
    let mut answers = vec![
        house.refresh(&client, "vgr_nonsense").await,
        house.refresh(&client, "not even that").await,
        house.refresh(&client, &flipped).await,
        house.refresh(&client, &tokens.access).await,
        house.refresh(&foreign, &tokens.refresh).await,
    ];
    house.cognito.control().revoke_all();
    answers.push(house.refresh(&client, &tokens.refresh).await);
    house.clock.advance(31 * 24 * 3600);
    answers.push(house.refresh(&client, &tokens.refresh).await);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{number}");
        assert_eq!(answer.error(), "invalid_grant", "{number}");
    }
}

/// FastMCP: four parallel refreshes made four families, or killed the winner's token.
#[tokio::test]
async fn parallel_refreshes_of_one_token_log_nobody_out() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let answers = join_all((0..8).map(|_| house.refresh(&client, &tokens.refresh))).await;
    for answer in &answers {
        let tokens = Tokens::of(answer);
        assert_eq!(house.call(&tokens.access, &initialize()).await.status, 200);
        Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    }
    // And they are one family: revoking one ends all.
    let newest = Tokens::of(answers.last().unwrap());
    let form = [
        ("token", newest.refresh.as_str()),
        ("client_id", client.id.as_str()),
    ];
    assert_eq!(house.post_form("/revoke", &form).await.status, 200);
    for answer in &answers {
        let tokens = Tokens::of(answer);
        assert_eq!(house.call(&tokens.access, &initialize()).await.status, 401);
        let dead = house.refresh(&client, &tokens.refresh).await;
        assert_eq!(dead.error(), "invalid_grant");
    }
}

/// FastMCP: 400 for every public client, and no effect.
#[tokio::test]
async fn revocation_works_for_public_clients() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    assert_eq!(house.call(&tokens.access, &initialize()).await.status, 200);
    let form = [
        ("token", tokens.access.as_str()),
        ("client_id", client.id.as_str()),
    ];
    let answer = house.post_form("/revoke", &form).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(house.call(&tokens.access, &initialize()).await.status, 401);

    let tokens = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    let form = [
        ("token", tokens.refresh.as_str()),
        ("client_id", client.id.as_str()),
    ];
    assert_eq!(house.post_form("/revoke", &form).await.status, 200);
    assert_eq!(house.call(&tokens.access, &initialize()).await.status, 401);
    let dead = house.refresh(&client, &tokens.refresh).await;
    assert_eq!(dead.error(), "invalid_grant");
    assert_eq!(house.cognito.control().calls(Endpoint::Revoke), 1);
}

/// FastMCP: 500 in plain text while the provider was away.
#[tokio::test]
async fn a_provider_that_is_away_is_told_as_such_and_ends_no_grant() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let control = house.cognito.control();
    for status in [500, 502, 503, 429] {
        control.set_fault(Endpoint::Token, Some(Fault::Status(status)), None);
        let answer = house.refresh(&client, &tokens.refresh).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{status}");
        assert_eq!(answer.error(), "temporarily_unavailable");
        assert!(!answer.header("retry-after").is_empty());
    }
    control.clear_faults();
    Tokens::of(&house.refresh(&client, &tokens.refresh).await);
}

/// FastMCP: a 20 MB registration was read and stored.
#[tokio::test]
async fn a_registration_of_twenty_megabytes_is_refused() {
    let house = TestHouse::new().await;
    let body = json!({ "redirect_uris": [CALLBACK], "client_name": "x".repeat(20 << 20) });
    let answer = house.post_json("/register", &body).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.error(), "invalid_request");
    // Just below the cap of the body, and still nothing that a URL could carry.
    let many: Vec<String> = (0..16)
        .map(|number| format!("https://app.example/{number}/{}", "x".repeat(900)))
        .collect();
    let answer = house
        .post_json("/register", &json!({ "redirect_uris": many }))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
}
