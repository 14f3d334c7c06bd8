//! Which of several resources a sign-in is for, and with whose scopes (RFC 8707; T25; law 9).

use http::StatusCode;
use vestibule::settings::{ResourceSettings, Settings};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::url::Endpoint;

use super::{STATE, WEB, ask, owned, with};
use crate::support::{Answer, CALLBACK, Client, MCP, ORIGIN, TestHouse, replace, without};

const SECOND: &str = "https://mcp.example.test/tools/b";

fn second_resource(settings: &mut Settings) {
    let upstream = Endpoint::parse("http://127.0.0.1:9/mcp").unwrap();
    let mut second = ResourceSettings::new(&settings.public_url, "/tools/b", upstream).unwrap();
    second.scopes = ScopeSet::parse("b:use");
    settings.resources.push(second);
}

/// Asks for these resources.
async fn ask_for(house: &TestHouse, client: &Client, resources: &[&str]) -> Answer {
    ask(house, client, |good| {
        let mut params = owned(without(good, "resource"));
        params.extend(resources.iter().map(|uri| ("resource", (*uri).to_owned())));
        params
    })
    .await
}

#[tokio::test]
async fn t25_no_spelling_makes_a_foreign_resource_ours() {
    let house = TestHouse::with(second_resource).await;
    let local = house.register(CALLBACK).await;
    let web = house.register(WEB).await;
    for foreign in [
        "https://evil.example/mcp",
        "https://mcp.example.test.evil.example/mcp",
        "https://mcp.example.test@evil.example/mcp",
        "http://mcp.example.test/mcp",
        "https://mcp.example.test:8443/mcp",
        "https://mcp.example.test/MCP",
        "https://mcp.example.test/mcp//",
        "https://mcp.example.test/mcp/other",
        "https://mcp.example.test/other/../mcp",
        "https://mcp.example.test/mcp#x",
        "https://mcp.example.test/tools",
        "mcp",
        "\"><script>alert(1)</script>",
        "*",
    ] {
        let answer = with(&house, &local, "resource", foreign).await;
        assert_eq!(answer.status, StatusCode::FOUND, "{foreign}");
        let told = answer.told(CALLBACK, "invalid_target", Some(STATE));
        assert!(!told.as_str().contains("alert"), "{told}");
        let answer = with(&house, &web, "resource", foreign).await;
        answer.assert_page(StatusCode::OK, "The sign-in cannot go on");
        answer.told(WEB, "invalid_target", Some(STATE));
    }
    house.assert_provider_untouched();
}

#[tokio::test]
async fn t25_two_different_resources_are_an_invalid_target_in_either_order() {
    let house = TestHouse::with(second_resource).await;
    let client = house.register(CALLBACK).await;
    for pair in [[MCP, SECOND], [SECOND, MCP], ["https://evil.example", MCP]] {
        let answer = ask_for(&house, &client, &pair).await;
        assert_eq!(answer.status, StatusCode::FOUND, "{pair:?}");
        answer.told(CALLBACK, "invalid_target", Some(STATE));
    }
    let same = [MCP, "https://MCP.example.test:443/mcp/"];
    let page = ask_for(&house, &client, &same).await;
    page.assert_page(StatusCode::OK, "Allow Test?");
    assert!(page.text().contains("<q>Demo</q>"));
}

#[tokio::test]
async fn the_page_names_the_resource_that_was_meant() {
    let house = TestHouse::with(second_resource).await;
    let client = house.register(CALLBACK).await;
    for spelling in [
        SECOND,
        "https://mcp.example.test/tools/b/",
        "HTTPS://MCP.EXAMPLE.TEST/tools/b",
        "https://mcp.example.test:443/tools/b",
    ] {
        let page = with(&house, &client, "resource", spelling).await;
        page.assert_page(StatusCode::OK, "Allow Test?");
        assert!(page.text().contains(&format!("<q>{SECOND}</q>")));
    }
    // The origin names none of several; who sends it signed in when there was one.
    let slash = format!("{ORIGIN}/");
    for first in [&[][..], &[""], &[MCP], &[ORIGIN], &[&slash], &[ORIGIN, MCP]] {
        let page = ask_for(&house, &client, first).await;
        page.assert_page(StatusCode::OK, "Allow Test?");
        assert!(page.text().contains("<q>Demo</q>"), "{first:?}");
        assert!(!page.text().contains(SECOND), "{first:?}");
    }
}

#[tokio::test]
async fn a_client_that_knows_the_only_resource_by_its_origin_survives_a_second_one() {
    let mut house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    house.reload(|settings, _| second_resource(settings));
    let refresh = async |resource: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens.refresh.as_str()),
            ("client_id", client.id.as_str()),
            ("resource", resource),
        ];
        house.post_form("/token", &form).await
    };
    let refreshed = refresh(ORIGIN).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    house
        .whoami(refreshed.json()["access_token"].as_str().unwrap())
        .await;
    // The origin never means the second one.
    assert_eq!(refresh(SECOND).await.error(), "invalid_target");
}

#[tokio::test]
async fn the_scopes_of_one_resource_mean_nothing_at_another() {
    let house = TestHouse::with(second_resource).await;
    let client = house.register(CALLBACK).await;
    let page = with(&house, &client, "scope", "b:use").await;
    assert_eq!(page.scopes(), ["mcp:read"], "the default of the first");
    let page = ask(&house, &client, |good| {
        let all = "mcp:read mcp:write b:use offline_access";
        owned(replace(replace(good, "resource", SECOND), "scope", all))
    })
    .await;
    page.assert_page(StatusCode::OK, "Allow Test?");
    assert_eq!(page.scopes(), ["b:use"]);
}
