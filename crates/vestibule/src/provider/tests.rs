//! The authorization request and the sign-out URL, of providers whose settings know every endpoint.

use std::collections::BTreeMap;

use vestibule_guard::fetch::{AddressPolicy, Trust};
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::{ManualClock, UnixTime};
use vestibule_oauth::url::{Endpoint, Issuer};

use super::*;

fn provider(issuer: &str, change: impl FnOnce(&mut ProviderSettings)) -> Provider {
    let mut settings = ProviderSettings::new(Issuer::parse(issuer).unwrap(), "us");
    let at = |path: &str| Some(Endpoint::parse(&format!("https://id.example{path}")).unwrap());
    settings.discovery = false;
    settings.endpoints.authorization = at("/oauth2/authorize");
    settings.endpoints.token = at("/oauth2/token");
    change(&mut settings);
    Provider::new(
        settings,
        Vec::new(),
        "https://m.example/callback".to_owned(),
        Outbound::new(AddressPolicy::Configured, &Trust::nobody().unwrap()),
        Arc::new(ManualClock::new(UnixTime(1))),
        Arc::default(),
    )
}

async fn asked(
    provider: &Provider,
    scopes: &str,
    passed: &[(&str, &str)],
) -> BTreeMap<String, String> {
    asked_for(provider, scopes, passed, Purpose::Grant, false).await
}

async fn asked_for(
    provider: &Provider,
    scopes: &str,
    passed: &[(&str, &str)],
    purpose: Purpose,
    another_account: bool,
) -> BTreeMap<String, String> {
    let passed: Vec<_> = passed
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let sign_in = SignIn {
        state: "s",
        nonce: "n",
        challenge: &CodeVerifier::generate(&SystemRandom).challenge(),
        scopes: &ScopeSet::parse(scopes),
        passed: &passed,
        purpose,
        another_account,
    };
    let url = provider.authorize_url(&sign_in).await.unwrap();
    let url = url::Url::parse(&url).unwrap();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let count = pairs.len();
    let map: BTreeMap<_, _> = pairs.into_iter().collect();
    assert_eq!(map.len(), count, "a parameter comes twice in {url}");
    map
}

#[tokio::test]
async fn only_listed_parameters_reach_the_provider_and_none_of_ours_is_replaced() {
    let provider = provider("https://id.example", |settings| {
        settings.pass_through = vec!["login_hint".to_owned(), "prompt".to_owned()];
        settings.authorize_params = vec![("audience".to_owned(), "api".to_owned())];
    });
    let passed = [
        ("login_hint", "ada&state=evil"),
        ("prompt", "login none"),
        ("lang", "ja"),
        ("redirect_uri", "https://evil.example"),
        ("audience", "other"),
    ];
    let asked = asked(&provider, "api/read", &passed).await;
    assert_eq!(asked["login_hint"], "ada&state=evil");
    assert_eq!(asked["state"], "s");
    assert_eq!(asked["redirect_uri"], "https://m.example/callback");
    assert_eq!(asked["audience"], "api");
    assert_eq!(asked["scope"], "openid api/read");
    assert!(!asked.contains_key("prompt") && !asked.contains_key("lang"));
}

#[tokio::test]
async fn google_is_asked_so_that_it_gives_a_refresh_token() {
    let mut google = provider("https://accounts.google.com", |settings| {
        settings.pass_through = vec!["prompt".to_owned()];
    });
    let said = asked(&google, "", &[]).await;
    assert_eq!(
        (said["access_type"].as_str(), said["prompt"].as_str()),
        ("offline", "consent")
    );
    assert!(!said["scope"].contains("offline_access"));
    let said = asked(&google, "", &[("prompt", "select_account")]).await;
    assert_eq!(said["prompt"], "select_account");
    google.settings.authorize_params.clear();
    assert!(!asked(&google, "", &[]).await.contains_key("access_type"));
}

#[tokio::test]
async fn to_learn_who_somebody_is_nothing_lasting_is_asked_for() {
    let identity = |provider| async move {
        let provider: Provider = provider;
        asked_for(&provider, "", &[], Purpose::Identity, false).await
    };
    let said = identity(provider("https://accounts.google.com", |_| {})).await;
    assert!(!said.contains_key("access_type") && !said.contains_key("prompt"));
    assert_eq!(said["scope"], "openid email profile");
    let said = identity(provider("https://id.example", |settings| {
        settings.scopes = ScopeSet::parse("openid groups offline_access");
        settings.authorize_params = vec![("audience".to_owned(), "api".to_owned())];
    }))
    .await;
    assert_eq!(said["scope"], "openid groups");
    assert_eq!(said["audience"], "api");
}

#[tokio::test]
async fn another_account_is_one_more_word_of_prompt() {
    let google = provider("https://accounts.google.com", |settings| {
        settings.pass_through = vec!["prompt".to_owned()];
    });
    let generic = provider("https://id.example", |_| {});
    for (provider, passed, expected) in [
        (&google, None, "consent select_account"),
        (&google, Some("login"), "login select_account"),
        (&google, Some("select_account"), "select_account"),
        (&generic, None, "login"),
    ] {
        let passed: Vec<_> = passed.map(|value| ("prompt", value)).into_iter().collect();
        let said = asked_for(provider, "", &passed, Purpose::Grant, true).await;
        assert_eq!(said["prompt"], expected);
    }
}

#[test]
fn an_account_is_called_what_its_owner_knows() {
    let provider = provider("https://id.example", |_| {});
    let called = |claims: serde_json::Value| {
        let identity = Identity {
            subject: "sub".to_owned(),
            claims: claims.as_object().unwrap().clone(),
            complete: true,
        };
        provider.name_of(&identity).to_owned()
    };
    assert_eq!(
        called(serde_json::json!({ "email": "a@b", "name": "A" })),
        "a@b"
    );
    assert_eq!(
        called(serde_json::json!({ "email": " ", "preferred_username": "a" })),
        "a"
    );
    assert_eq!(called(serde_json::json!({ "email": 7, "name": "A" })), "A");
    assert_eq!(called(serde_json::json!({})), "sub");
}

#[tokio::test]
async fn each_kind_is_signed_out_in_its_own_way() {
    let back = "https://m.example/logout/done";
    let encoded = "https%3A%2F%2Fm.example%2Flogout%2Fdone";
    let cognito = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A";
    let url = provider(cognito, |_| {})
        .end_session_url(back)
        .await
        .unwrap();
    assert_eq!(
        url.unwrap(),
        format!("https://id.example/logout?client_id=us&logout_uri={encoded}")
    );
    let standard = |settings: &mut ProviderSettings| {
        settings.endpoints.end_session =
            Some(Endpoint::parse("https://id.example/end?x=1").unwrap());
    };
    let url = provider("https://id.example", standard)
        .end_session_url(back)
        .await
        .unwrap();
    assert_eq!(
        url.unwrap(),
        format!("https://id.example/end?x=1&client_id=us&post_logout_redirect_uri={encoded}")
    );
    for nothing in [
        provider("https://id.example", |_| {}),
        provider("https://accounts.google.com", |_| {}),
        provider(cognito, |settings| settings.end_session = false),
    ] {
        assert_eq!(nothing.end_session_url(back).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_provider_without_discovery_answers_nothing_it_was_not_told() {
    let provider = provider("https://id.example", |_| {});
    assert!(provider.ready().await.is_ok());
    let keys = provider.discovery.keys().await;
    assert!(matches!(keys, Err(ProviderError::Misconfigured(_))));
}

#[test]
fn a_claim_that_is_gone_is_gone_unless_its_source_did_not_answer() {
    let mut provider = provider("https://id.example", |_| {});
    provider.claims = ClaimMapping::defaults(&profile::GENERIC);
    let claims = |value: serde_json::Value| value.as_object().unwrap().clone();
    let before = claims(serde_json::json!({ "groups": ["admins"], "email": "a@b" }));
    let identity = |complete| Identity {
        subject: "ada".to_owned(),
        claims: claims(serde_json::json!({ "email": "new@b", "groups": null })),
        complete,
    };
    let after = provider.map_claims_again(&identity(true), &before);
    assert_eq!(after, claims(serde_json::json!({ "email": "new@b" })));
    let after = provider.map_claims_again(&identity(false), &before);
    assert_eq!(
        after,
        claims(serde_json::json!({ "email": "new@b", "groups": ["admins"] }))
    );
}
