//! ID tokens that must not be believed (OpenID Connect Core §3.1.3.7, §12.2), from a provider that says anything.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use vestibule_oauth::jose::SigningAlg;

use super::fake_provider::{CLIENT_ID, SUBJECT, Waiting, signing_key};
use crate::support::Tokens;

fn with(claims: &Map<String, Value>, name: &str, value: Value) -> Map<String, Value> {
    let mut claims = claims.clone();
    claims.insert(name.to_owned(), value);
    claims
}

fn without(claims: &Map<String, Value>, name: &str) -> Map<String, Value> {
    let mut claims = claims.clone();
    claims.remove(name);
    claims
}

#[tokio::test]
async fn an_id_token_that_is_not_for_this_sign_in_signs_nobody_in() {
    let waiting = Waiting::new().await;
    let (good, now) = (waiting.claims(), waiting.now());
    let issuer = waiting.provider.issuer.clone();
    for (why, claims) in [
        (
            "another sign-in's nonce",
            with(&good, "nonce", json!("other")),
        ),
        ("no nonce", without(&good, "nonce")),
        ("another client", with(&good, "aud", json!("other-app"))),
        ("no audience", without(&good, "aud")),
        (
            "several audiences without azp",
            with(&good, "aud", json!([CLIENT_ID, "other"])),
        ),
        (
            "another authorized party",
            with(&good, "azp", json!("other-app")),
        ),
        (
            "another issuer",
            with(&good, "iss", json!(format!("{issuer}/"))),
        ),
        ("no issuer", without(&good, "iss")),
        ("expired", with(&good, "exp", json!(now - 31))),
        ("no expiry", without(&good, "exp")),
        ("from the future", with(&good, "iat", json!(now + 31))),
        ("no subject", without(&good, "sub")),
        ("an access token", with(&good, "token_use", json!("access"))),
    ] {
        let answer = waiting.redeem(&claims).await;
        answer.assert_refused(500, "server_error", why);
    }
    // The same with everything right does sign in, so each refusal was for its own reason.
    let tokens = Tokens::of(&waiting.redeem(&good).await);
    let seen = waiting.house.whoami(&tokens.access).await;
    assert_eq!(seen["subject"], SUBJECT);
}

#[tokio::test]
async fn t23_an_id_token_with_a_forged_signature_signs_nobody_in() {
    let waiting = Waiting::new().await;
    let claims = waiting.claims();
    let good = waiting.provider.key.sign("JWT", &claims).unwrap();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let payload = signed.split_once('.').unwrap().1;
    let header = |header: Value| URL_SAFE_NO_PAD.encode(header.to_string());
    let kid = waiting.provider.key.kid();
    let other = with(&claims, "sub", json!("admin"));
    let other = URL_SAFE_NO_PAD.encode(json!(other).to_string());
    let stranger = signing_key(SigningAlg::Es256).sign("JWT", &claims).unwrap();
    let none = header(json!({ "alg": "none", "typ": "JWT", "kid": kid }));
    let hs256 = header(json!({ "alg": "HS256", "typ": "JWT", "kid": kid }));
    let rs256 = header(json!({ "alg": "RS256", "typ": "JWT", "kid": kid }));
    for (why, token) in [
        ("unsigned", format!("{none}.{payload}.")),
        (
            "alg none with a signature",
            format!("{none}.{payload}.{signature}"),
        ),
        (
            "HMAC with the public key",
            format!("{hs256}.{payload}.{signature}"),
        ),
        (
            "another algorithm of the key",
            format!("{rs256}.{payload}.{signature}"),
        ),
        ("a stranger's key", stranger),
        (
            "other claims under the signature",
            format!("{}.{other}.{signature}", signed.split_once('.').unwrap().0),
        ),
        (
            "an access token's type",
            waiting.provider.key.sign("at+jwt", &claims).unwrap(),
        ),
        ("garbage", "garbage".to_owned()),
    ] {
        let answer = waiting.redeem_with(Some(&token)).await;
        answer.assert_refused(500, "server_error", why);
    }
    let answer = waiting.redeem_with(None).await;
    answer.assert_refused(500, "server_error", "no id_token");
    Tokens::of(&waiting.redeem_with(Some(&good)).await);
}

#[tokio::test]
async fn groups_that_change_at_the_provider_show_after_the_next_refresh() {
    let waiting = Waiting::new().await;
    let (house, client) = (&waiting.house, &waiting.client);
    let first = Tokens::of(&waiting.redeem(&waiting.claims()).await);
    assert_eq!(
        house.whoami(&first.access).await["groups"],
        json!(["staff"])
    );

    let promoted = with(
        &without(&waiting.claims(), "nonce"),
        "groups",
        json!(["admins"]),
    );
    let promoted = waiting.provider.key.sign("JWT", &promoted).unwrap();
    waiting.provider.answers(Some(&promoted));
    let second = Tokens::of(&house.refresh(client, &first.refresh).await);
    assert_eq!(
        house.whoami(&second.access).await["groups"],
        json!(["admins"])
    );

    // A refresh without an ID token says nothing about groups: the last known ones stay.
    waiting.provider.answers(None);
    let third = Tokens::of(&house.refresh(client, &second.refresh).await);
    assert_eq!(
        house.whoami(&third.access).await["groups"],
        json!(["admins"])
    );
}

#[tokio::test]
async fn a_refresh_does_not_turn_one_user_into_another() {
    let waiting = Waiting::new().await;
    let (house, client) = (&waiting.house, &waiting.client);
    let first = Tokens::of(&waiting.redeem(&waiting.claims()).await);
    let other = with(&waiting.claims(), "sub", json!("user-2"));
    waiting
        .provider
        .answers(Some(&waiting.provider.key.sign("JWT", &other).unwrap()));
    let answer = house.refresh(client, &first.refresh).await;
    answer.assert_refused(500, "server_error", "another subject");
    let stranger = signing_key(SigningAlg::Es256)
        .sign("JWT", &waiting.claims())
        .unwrap();
    waiting.provider.answers(Some(&stranger));
    let answer = house.refresh(client, &first.refresh).await;
    answer.assert_refused(500, "server_error", "a stranger's key");
}
