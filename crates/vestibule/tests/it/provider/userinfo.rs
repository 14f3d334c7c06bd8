//! The userinfo endpoint: asked when it helps, believed only about the same user, never a reason to fail a sign-in.

use serde_json::{Value, json};
use vestibule::provider::profile;
use vestibule::settings::{ClaimMapping, Settings, TokenFormat, Userinfo};
use vestibule_standin::cognito::{Endpoint, Fault};

use super::rig::{OAuthOnly, claims};
use crate::support::{TestHouse, Tokens};

/// `login` is in the pool's userinfo and not in its ID token.
fn mapped(settings: &mut Settings) {
    settings.provider.preset = &profile::GENERIC;
    settings.resources[0].token_format = TokenFormat::Jwt;
    settings.tokens.claims = [("login", "username"), ("email", "email")]
        .map(|(name, from)| ClaimMapping {
            name: name.to_owned(),
            from: from.to_owned(),
        })
        .to_vec();
}

async fn access_claims(house: &TestHouse) -> Value {
    let (client, tokens) = house.sign_in().await;
    let refreshed = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    let (first, second) = (claims(&tokens.access), claims(&refreshed.access));
    assert_eq!(first["login"], second["login"], "a refresh lost the claim");
    first
}

#[tokio::test]
async fn a_claim_that_the_id_token_lacks_comes_from_userinfo() {
    let house = TestHouse::with(mapped).await;
    assert_eq!(access_claims(&house).await["login"], "ada");
    // Once at the sign-in, once at the refresh.
    assert_eq!(house.cognito.control().calls(Endpoint::UserInfo), 2);
}

#[tokio::test]
async fn userinfo_is_not_asked_for_nothing() {
    let never = TestHouse::with(|settings| {
        mapped(settings);
        settings.provider.userinfo = Userinfo::Never;
    })
    .await;
    assert_eq!(access_claims(&never).await["login"], Value::Null);
    let nothing_missing = TestHouse::with(|settings| {
        mapped(settings);
        settings.tokens.claims.remove(0);
    })
    .await;
    access_claims(&nothing_missing).await;
    let has_no_more = TestHouse::with(|settings| {
        mapped(settings);
        settings.provider.preset = &profile::COGNITO;
    })
    .await;
    access_claims(&has_no_more).await;
    for house in [never, nothing_missing, has_no_more] {
        assert_eq!(house.cognito.control().calls(Endpoint::UserInfo), 0);
    }
}

#[tokio::test]
async fn always_means_always_and_its_values_win() {
    let house = TestHouse::with(|settings| {
        mapped(settings);
        settings.provider.preset = &profile::COGNITO;
        settings.provider.userinfo = Userinfo::Always;
        settings.tokens.claims = vec![ClaimMapping {
            name: "email_verified".to_owned(),
            from: "email_verified".to_owned(),
        }];
    })
    .await;
    // Text in userinfo, a boolean in the ID token.
    assert_eq!(access_claims(&house).await["email_verified"], "true");
}

#[tokio::test]
async fn userinfo_that_fails_fails_no_sign_in() {
    let house = TestHouse::with(mapped).await;
    let faults = [Fault::Status(500), Fault::Status(401), Fault::Status(403)];
    for fault in faults {
        let control = house.cognito.control();
        control.set_fault(Endpoint::UserInfo, Some(fault), None);
        let got = access_claims(&house).await;
        assert_eq!(
            (&got["login"], &got["email"]),
            (&Value::Null, &json!("ada@example.com"))
        );
    }
}

#[tokio::test]
async fn a_refresh_while_userinfo_is_away_keeps_the_claim() {
    let house = TestHouse::with(mapped).await;
    let (client, tokens) = house.sign_in().await;
    let control = house.cognito.control();
    control.set_fault(Endpoint::UserInfo, Some(Fault::Status(503)), None);
    let refreshed = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    assert_eq!(claims(&refreshed.access)["login"], "ada");
}

#[tokio::test]
async fn userinfo_about_another_user_is_not_believed() {
    // OpenID Connect Core §5.3.2: token substitution.
    let other = OAuthOnly::start().await;
    other.change(|script| {
        script.user = Some(json!({ "sub": "eve", "username": "root", "groups": ["admins"] }));
    });
    let house = TestHouse::with(|settings| {
        mapped(settings);
        settings.provider.endpoints.userinfo = Some(other.endpoint("/user"));
    })
    .await;
    let got = access_claims(&house).await;
    assert_eq!(got["login"], Value::Null);
    assert_ne!(got["sub"], "eve");
    assert_eq!(other.script.lock().unwrap().calls.len(), 2);
}
