//! `POST /revoke` (RFC 7009): what dies, at once and everywhere, and that nobody kills what is another's (T4).

use http::Method;
use vestibule::settings::TokenFormat;
use vestibule_standin::cognito::{CognitoOptions, Endpoint, Fault};

use crate::support::{Answer, CALLBACK, Client, TestHouse, Tokens};

async fn revoke(house: &TestHouse, client: &Client, token: &str) -> Answer {
    let form = [("token", token), ("client_id", client.id.as_str())];
    house.post_form("/revoke", &form).await
}

fn assert_done(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 200, "{why}: {}", answer.text());
    assert!(answer.body.is_empty(), "{why}");
    assert_eq!(answer.header("cache-control"), "no-store", "{why}");
    assert_eq!(answer.header("access-control-allow-origin"), "*", "{why}");
}

/// Fails unless the grant lives: both of its tokens work.
async fn assert_alive(house: &TestHouse, client: &Client, tokens: &Tokens) {
    house.whoami(&tokens.access).await;
    Tokens::of(&house.refresh(client, &tokens.refresh).await);
}

fn provider_calls(house: &TestHouse) -> u64 {
    house.cognito.control().calls(Endpoint::Revoke)
}

#[tokio::test]
async fn a_revoked_refresh_token_is_dead_here_and_at_the_provider_with_its_whole_family() {
    let house = TestHouse::new().await;
    let (client, first) = house.sign_in().await;
    let second = Tokens::of(&house.refresh(&client, &first.refresh).await);
    let (bystander, others) = house.sign_in().await;
    assert_done(&revoke(&house, &client, &second.refresh).await, "revoke");
    assert_eq!(provider_calls(&house), 1);
    for tokens in [&first, &second] {
        house
            .assert_shut(&tokens.access, "of the revoked family")
            .await;
        let calls = house.cognito.control().calls(Endpoint::Token);
        let answer = house.refresh(&client, &tokens.refresh).await;
        answer.assert_refused(400, "invalid_grant", "of the revoked family");
        assert_eq!(house.cognito.control().calls(Endpoint::Token), calls);
    }
    // Another replica has not heard of it; the provider has.
    let mut elsewhere = house;
    elsewhere.router = elsewhere.replica(2);
    let answer = elsewhere.refresh(&client, &second.refresh).await;
    answer.assert_refused(400, "invalid_grant", "at another replica");
    assert_alive(&elsewhere, &bystander, &others).await;
}

#[tokio::test]
async fn revoking_twice_is_no_error() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    for time in ["first", "second"] {
        assert_done(&revoke(&house, &client, &tokens.refresh).await, time);
        assert_done(&revoke(&house, &client, &tokens.access).await, time);
    }
    house.assert_shut(&tokens.access, "revoked").await;
}

#[tokio::test]
async fn a_revoked_access_token_is_refused_at_once_and_the_refresh_token_goes_on() {
    for format in [TokenFormat::Sealed, TokenFormat::Jwt] {
        let house = TestHouse::with(|settings| settings.resources[0].token_format = format).await;
        let (client, tokens) = house.sign_in().await;
        let sibling = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
        // That it was good a moment ago is remembered, and does not help.
        house.whoami(&tokens.access).await;
        assert_done(
            &revoke(&house, &client, &tokens.access).await,
            "access token",
        );
        assert_eq!(provider_calls(&house), 0);
        house.assert_shut(&tokens.access, "revoked").await;
        house.whoami(&sibling.access).await;
        let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
        house.whoami(&fresh.access).await;
    }
}

#[tokio::test]
async fn the_hint_is_only_a_hint() {
    let house = TestHouse::new().await;
    for hint in ["access_token", "refresh_token", "made_up"] {
        let (client, tokens) = house.sign_in().await;
        let form = [
            ("token", tokens.refresh.as_str()),
            ("token_type_hint", hint),
            ("client_id", client.id.as_str()),
        ];
        assert_done(&house.post_form("/revoke", &form).await, hint);
        house.assert_shut(&tokens.access, hint).await;
    }
    assert_eq!(provider_calls(&house), 3);
}

#[tokio::test]
async fn t4_a_client_cannot_revoke_what_was_issued_to_another() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let attacker = house.register(CALLBACK).await;
    let desk = Client {
        id: "desk".to_owned(),
        ..attacker.clone()
    };
    for other in [&attacker, &desk] {
        for token in [&tokens.refresh, &tokens.access] {
            assert_done(&revoke(&house, other, token).await, "another's token");
        }
    }
    assert_eq!(provider_calls(&house), 0);
    assert_alive(&house, &client, &tokens).await;
}

#[tokio::test]
async fn t4_pieces_of_a_token_have_no_effect() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let code = house.code(&client).await;
    let (refresh, access) = (&tokens.refresh, &tokens.access);
    let mut changed = refresh.clone();
    let tail = changed.split_off(changed.len() - 6);
    changed += if tail == "AAAAAA" { "BBBBBB" } else { "AAAAAA" };
    for (why, token) in [
        ("the prefix", "vrt_"),
        ("the prefix of an access token", "vat_"),
        ("the head of the envelope", &refresh[..26]),
        ("cut", &refresh[..refresh.len() - 4]),
        ("changed", &changed),
        ("cut access token", &access[..access.len() - 4]),
        ("the code", &code),
        ("the client_id", &client.id),
        ("a word", "hello"),
        ("a JWT's shape", "eyJhbGciOiJub25lIn0.e30."),
    ] {
        assert_done(&revoke(&house, &client, token).await, why);
    }
    assert_eq!(provider_calls(&house), 0);
    assert_alive(&house, &client, &tokens).await;
    Tokens::of(&house.redeem(&client, &code).await);
}

#[tokio::test]
async fn a_token_that_has_expired_is_nothing_to_revoke() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    house.clock.advance(30 * 24 * 3600);
    for token in [&tokens.access, &tokens.refresh] {
        assert_done(&revoke(&house, &client, token).await, "expired");
    }
    assert_eq!(provider_calls(&house), 0);
}

#[tokio::test]
async fn a_request_that_cannot_be_read_revokes_nothing() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let (id, token) = (client.id.as_str(), tokens.refresh.as_str());
    for (why, status, error, form) in [
        ("no token", 400, "invalid_request", vec![("client_id", id)]),
        (
            "empty token",
            400,
            "invalid_request",
            vec![("client_id", id), ("token", "")],
        ),
        (
            "two tokens",
            400,
            "invalid_request",
            vec![("client_id", id), ("token", token), ("token", token)],
        ),
        ("no client", 401, "invalid_client", vec![("token", token)]),
        (
            "unknown client",
            401,
            "invalid_client",
            vec![("client_id", "nobody"), ("token", token)],
        ),
        (
            "two clients",
            400,
            "invalid_request",
            vec![("client_id", id), ("client_id", "desk"), ("token", token)],
        ),
    ] {
        let answer = house.post_form("/revoke", &form).await;
        answer.assert_refused(status, error, why);
    }
    let body = format!("client_id={id}&token={token}");
    let json = [("content-type", "application/json")];
    let answer = house.request(Method::POST, "/revoke", &json, &body).await;
    answer.assert_refused(415, "invalid_request", "JSON");
    let basic = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("authorization", "Basic !!!"),
    ];
    let answer = house.request(Method::POST, "/revoke", &basic, &body).await;
    answer.assert_refused(401, "invalid_client", "unreadable Basic");
    assert_eq!(
        answer.header("www-authenticate"),
        "Basic realm=\"vestibule\""
    );
    let answer = house.get(&format!("/revoke?{body}")).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), "POST");
    assert_eq!(provider_calls(&house), 0);
    assert_alive(&house, &client, &tokens).await;
}

/// The user who revokes because a laptop was stolen must not depend on the provider being up.
#[tokio::test]
async fn while_the_provider_is_away_the_tokens_are_refused_here_and_the_client_hears_503() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let control = house.cognito.control();
    control.set_fault(Endpoint::Revoke, Some(Fault::Status(503)), Some(1));
    let answer = revoke(&house, &client, &tokens.refresh).await;
    answer.assert_refused(503, "temporarily_unavailable", "provider away");
    assert_eq!(answer.header("retry-after"), "5");
    house.assert_shut(&tokens.access, "revoked here").await;
    let refused = house.refresh(&client, &tokens.refresh).await;
    refused.assert_refused(400, "invalid_grant", "revoked here");
    // RFC 7009 §2.2.1: the client tries again, and then it is dead at the provider as well.
    assert_done(
        &revoke(&house, &client, &tokens.refresh).await,
        "second try",
    );
    assert_eq!(provider_calls(&house), 2);
    let mut elsewhere = house;
    elsewhere.router = elsewhere.replica(2);
    let answer = elsewhere.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "at another replica");
}

/// A pool with token revocation switched off refuses every revocation: that must not look like success.
#[tokio::test]
async fn a_provider_that_refuses_to_revoke_is_not_reported_as_success() {
    let options = CognitoOptions {
        revocation_enabled: false,
        ..CognitoOptions::default()
    };
    let house = TestHouse::build(options, |_| {}).await;
    let (client, tokens) = house.sign_in().await;
    let answer = revoke(&house, &client, &tokens.refresh).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.error(), "server_error");
    assert_eq!(answer.header("retry-after"), "300");
    house.assert_shut(&tokens.access, "revoked here").await;
    let refused = house.refresh(&client, &tokens.refresh).await;
    refused.assert_refused(400, "invalid_grant", "revoked here");
}
