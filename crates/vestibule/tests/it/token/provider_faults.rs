//! What a client hears when the provider fails at the exchange (design §5.4), and what it can do then.

use std::time::Duration;

use vestibule_oauth::scope::ScopeSet;
use vestibule_standin::cognito::{Endpoint, Fault};

use crate::support::{Browser, CALLBACK, ORIGIN, TestHouse, Tokens};

async fn impatient() -> TestHouse {
    TestHouse::with(|settings| settings.provider.timeout = Duration::from_millis(300)).await
}

/// Faults that the provider's endpoint never saw: nothing is lost, and the same code works afterwards.
#[tokio::test]
async fn a_passing_fault_is_503_and_the_code_can_be_tried_again() {
    let house = impatient().await;
    for (fault, retry_after) in [
        (Fault::Status(500), "5"),
        (Fault::Status(503), "5"),
        (Fault::Status(429), "5"),
        (Fault::RetryAfter(429, 17), "17"),
        (Fault::RetryAfter(503, 120), "120"),
        (Fault::HtmlForbidden, "5"),
        (Fault::Timeout, "5"),
        (
            Fault::ErrorJson(400, "temporarily_unavailable".to_owned()),
            "5",
        ),
    ] {
        let client = house.register(CALLBACK).await;
        let code = house.code(&client).await;
        let control = house.cognito.control();
        control.set_fault(Endpoint::Token, Some(fault.clone()), Some(1));
        let answer = house.redeem(&client, &code).await;
        let why = format!("{fault:?}");
        answer.assert_refused(503, "temporarily_unavailable", &why);
        assert_eq!(answer.header("retry-after"), retry_after, "{why}");
        let tokens = Tokens::of(&house.redeem(&client, &code).await);
        house.whoami(&tokens.access).await;
    }
}

/// Faults that waiting does not mend: the operator must act, and the client is not told to sign in again.
#[tokio::test]
async fn a_refusal_of_our_own_registration_is_a_server_error() {
    let house = TestHouse::new().await;
    for error in [
        "invalid_client",
        "unauthorized_client",
        "invalid_request",
        "unsupported_grant_type",
    ] {
        let client = house.register(CALLBACK).await;
        let code = house.code(&client).await;
        let fault = Fault::ErrorJson(400, error.to_owned());
        house
            .cognito
            .control()
            .set_fault(Endpoint::Token, Some(fault), Some(1));
        let answer = house.redeem(&client, &code).await;
        answer.assert_refused(500, "server_error", error);
        assert!(!answer.headers.contains_key("retry-after"), "{error}");
        assert!(
            !answer.text().contains(error),
            "the provider's words stay inside: {error}"
        );
        Tokens::of(&house.redeem(&client, &code).await);
    }
}

#[tokio::test]
async fn only_invalid_grant_of_the_provider_is_invalid_grant_of_ours() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let fault = Fault::ErrorJson(400, "invalid_grant".to_owned());
    house
        .cognito
        .control()
        .set_fault(Endpoint::Token, Some(fault), Some(1));
    let answer = house.redeem(&client, &code).await;
    answer.assert_refused(400, "invalid_grant", "invalid_grant");
}

/// A cut-off answer may be a fault of the moment, but the provider has used its code up: that is then the truth.
#[tokio::test]
async fn half_an_answer_is_503_and_repeats_none_of_it() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let control = house.cognito.control();
    control.set_fault(Endpoint::Token, Some(Fault::TruncatedJson), Some(1));
    let answer = house.redeem(&client, &code).await;
    answer.assert_refused(503, "temporarily_unavailable", "truncated JSON");
    assert!(!answer.text().contains("eyJ"), "{}", answer.text());
    let again = house.redeem(&client, &code).await;
    again.assert_refused(400, "invalid_grant", "retry");
    // A refresh without rotation can be tried again.
    let (client, tokens) = house.sign_in().await;
    control.set_fault(Endpoint::Token, Some(Fault::TruncatedJson), Some(1));
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(503, "temporarily_unavailable", "truncated JSON");
    Tokens::of(&house.refresh(&client, &tokens.refresh).await);
}

#[tokio::test]
async fn a_discovery_that_fails_is_503_or_a_server_error_before_the_code_is_spent() {
    let house = impatient().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    for (fault, status, error) in [
        (Fault::Status(503), 503, "temporarily_unavailable"),
        (Fault::Timeout, 503, "temporarily_unavailable"),
        (Fault::WrongIssuer, 500, "server_error"),
        (Fault::TruncatedJson, 500, "server_error"),
    ] {
        // A replica that has just started knows nothing of the provider.
        let mut fresh = Browser::new(ORIGIN, vec![house.replica(99)]);
        house
            .cognito
            .control()
            .set_fault(Endpoint::Discovery, Some(fault.clone()), Some(1));
        let calls = house.cognito.control().calls(Endpoint::Token);
        let form = TestHouse::redemption(&client, &code);
        let answer = fresh.post(&format!("{ORIGIN}/token"), &form).await;
        answer.assert_refused(status, error, &format!("{fault:?}"));
        assert_eq!(house.cognito.control().calls(Endpoint::Token), calls);
    }
    Tokens::of(&house.redeem(&client, &code).await);
}

/// A code that was redeemed at the provider cannot be redeemed again, so the keys are asked for first.
#[tokio::test]
async fn keys_that_cannot_be_fetched_are_503_before_the_code_is_spent() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let control = house.cognito.control();
    control.set_fault(Endpoint::Jwks, Some(Fault::Status(500)), Some(1));
    let answer = house.redeem(&client, &code).await;
    answer.assert_refused(503, "temporarily_unavailable", "no keys");
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(control.calls(Endpoint::Token), 0, "the code is unspent");
    house.clock.advance(5);
    let tokens = Tokens::of(&house.redeem(&client, &code).await);
    house.whoami(&tokens.access).await;
}

#[tokio::test]
async fn new_keys_of_the_provider_between_two_sign_ins_are_found() {
    let house = TestHouse::new().await;
    house.sign_in().await;
    let control = house.cognito.control();
    assert_eq!(control.calls(Endpoint::Jwks), 1);
    control.rotate_keys();
    house.clock.advance(60);
    let (_, tokens) = house.sign_in().await;
    house.whoami(&tokens.access).await;
    assert_eq!(
        control.calls(Endpoint::Jwks),
        2,
        "the unknown key id led to one fetch"
    );
    house.sign_in().await;
    assert_eq!(control.calls(Endpoint::Jwks), 2);
}

#[tokio::test]
async fn tokens_of_another_issuer_are_a_server_error() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    house
        .cognito
        .control()
        .set_fault(Endpoint::Token, Some(Fault::WrongIssuer), Some(1));
    let answer = house.redeem(&client, &code).await;
    answer.assert_refused(500, "server_error", "wrong issuer");
}

#[tokio::test]
async fn without_openid_nobody_is_known_and_nothing_is_issued() {
    let house = TestHouse::with(|settings| {
        settings.provider.scopes = ScopeSet::parse("mcp/read");
    })
    .await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let answer = house.redeem(&client, &code).await;
    answer.assert_refused(500, "server_error", "no id_token");
}
