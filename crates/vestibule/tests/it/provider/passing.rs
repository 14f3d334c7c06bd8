//! What of a client's request reaches the provider: only what the operator listed, from page to provider unchanged.

use super::rig::{approve, consent_page};
use crate::support::{CALLBACK, TestHouse};

#[tokio::test]
async fn a_listed_hint_arrives_and_a_client_cannot_silence_or_flood_the_provider() {
    let house = TestHouse::with(|settings| {
        let names = ["login_hint", "prompt", "lang", "identity_provider"];
        settings.provider.pass_through = names.map(str::to_owned).to_vec();
    })
    .await;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    let long = "x".repeat(257);
    let extra = [
        ("login_hint", "ada+1@example.com"),
        ("prompt", "none"),
        ("lang", long.as_str()),
        ("identity_provider", "Corp\r\nSAML"),
        ("acr_values", "urn:x"),
        ("nonce", "of-the-client"),
    ];
    let page = consent_page(&mut browser, &client, "mcp:read", &extra).await;
    let approved = approve(&mut browser, &page, None).await;
    let param = |name: &str| approved.location_param(name);
    assert_eq!(param("login_hint").as_deref(), Some("ada+1@example.com"));
    for left_out in ["prompt", "lang", "identity_provider", "acr_values"] {
        assert_eq!(param(left_out), None, "{left_out}");
    }
    assert_ne!(param("nonce").as_deref(), Some("of-the-client"));
}

#[tokio::test]
async fn nothing_is_handed_on_unless_listed() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    let extra = [("login_hint", "eve"), ("identity_provider", "Evil")];
    let page = consent_page(&mut browser, &client, "mcp:read", &extra).await;
    let approved = approve(&mut browser, &page, None).await;
    assert_eq!(approved.location_param("login_hint"), None);
    assert_eq!(approved.location_param("identity_provider"), None);
}
