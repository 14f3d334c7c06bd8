//! Redirect URIs that no registration and no comparison may let through, and requests that name nobody: a page (T1, T3).

use http::StatusCode;
use serde_json::json;
use vestibule_oauth::url::PrivateUseSchemes;

use super::{APP, STOPPED, UNREADABLE, WEB, ask, desk, lacking, owned, with};
use crate::support::{CALLBACK, Client, TestHouse, replace, without};

/// Nobody's redirect URIs.
const HOSTILE: [&str; 17] = [
    "https://evil.example/cb",
    "javascript:alert(1)",
    "jAvAsCrIpT:alert(1)",
    "java\tscript:alert(1)",
    "java\nscript:alert(1)",
    " javascript:alert(1)",
    "\u{1}javascript:alert(1)",
    "javascript\u{0}:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "blob:https://app.example/x",
    "about:blank",
    "//evil.example/cb",
    "/cb",
    "urn:ietf:wg:oauth:2.0:oob",
    "x",
];

async fn assert_stopped(house: &TestHouse, client: &Client, foreign: &[&str]) {
    for redirect_uri in foreign.iter().chain(&HOSTILE) {
        let page = with(house, client, "redirect_uri", redirect_uri).await;
        page.assert_refusal_page(StatusCode::BAD_REQUEST, STOPPED);
        assert!(page.set_cookies().is_empty(), "{redirect_uri}");
    }
    house.assert_provider_untouched();
}

#[tokio::test]
async fn t1_no_neighbour_of_a_loopback_address_gets_an_answer() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let foreign = [
        "http://localhost:4711/callback/",
        "http://localhost:4711/callback/evil",
        "http://localhost:4711/Callback",
        "http://localhost:4711/callback?next=https://evil.example",
        "http://localhost:4711/callback#x",
        "http://127.0.0.1:4711/callback",
        "http://[::1]:4711/callback",
        "https://localhost:4711/callback",
        "http://localhost.evil.example:4711/callback",
        "http://localhost:4711@evil.example/callback",
        "http://evil.example:4711/callback",
        "http://localhost:99999999/callback",
        "http://localhost:4711/x/../callback",
        "http://localhost:4711/%2e/callback",
    ];
    assert_stopped(&house, &client, &foreign).await;
}

#[tokio::test]
async fn t1_no_neighbour_of_a_website_gets_an_answer() {
    let house = TestHouse::new().await;
    let client = house.register(WEB).await;
    let foreign = [
        "https://app.example/cb/",
        "https://app.example/cb?x=1",
        "https://app.example/CB",
        "https://APP.example/cb",
        "https://app.example:443/cb",
        "https://app.example:8443/cb",
        "http://app.example/cb",
        "https://app.example.evil.example/cb",
        "https://app.example@evil.example/cb",
        "https://app.example%2eevil.example/cb",
        "https://evil.example/https://app.example/cb",
        CALLBACK,
    ];
    assert_stopped(&house, &client, &foreign).await;
}

#[tokio::test]
async fn t1_no_neighbour_of_the_operators_own_client_gets_an_answer() {
    let house = TestHouse::new().await;
    let foreign = [
        "https://desk.example/cb/",
        "https://desk.example:8443/cb",
        "https://desk.example.evil.example/cb",
        "http://desk.example/cb",
        CALLBACK,
    ];
    assert_stopped(&house, &desk(), &foreign).await;
}

#[tokio::test]
async fn t1_no_neighbour_of_an_applications_own_scheme_gets_an_answer() {
    let house = TestHouse::new().await;
    let client = house.register(APP).await;
    let foreign = [
        "cursor://evil/oauth/callback",
        "cursor://anysphere.cursor-mcp/oauth/callback/x",
        "cursor:anysphere.cursor-mcp/oauth/callback",
        "Cursor://anysphere.cursor-mcp/oauth/callback",
        "vscode://anysphere.cursor-mcp/oauth/callback",
        "cursor-evil://anysphere.cursor-mcp/oauth/callback",
    ];
    assert_stopped(&house, &client, &foreign).await;
}

#[tokio::test]
async fn without_a_readable_client_there_is_only_a_page() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let good = || TestHouse::authorization(&client, &challenge);
    let long = "x".repeat(17 * 1024);
    let mut too_long = good();
    too_long.push(("padding", &long));
    let mut too_many = good();
    too_many.extend([("resource", "https://mcp.example.test/mcp"); 64]);
    for params in [
        without(good(), "client_id"),
        replace(good(), "client_id", ""),
        replace(good(), "state", "\u{fffd}"),
        too_long,
        too_many,
    ] {
        let url = TestHouse::authorize_url(&params);
        let page = house.browser().get(&url).await;
        page.assert_refusal_page(StatusCode::BAD_REQUEST, UNREADABLE);
        assert!(page.set_cookies().is_empty());
    }
    for path in ["/authorize", "/authorize?", "/authorize?client_id=%ff%fe"] {
        let page = house.get(path).await;
        page.assert_refusal_page(StatusCode::BAD_REQUEST, UNREADABLE);
    }
    house.assert_provider_untouched();
}

/// The operator took a scheme off the list. A client that registered it before is stopped, whether it names the URI or not.
#[tokio::test]
async fn t16_a_scheme_that_is_not_on_the_list_any_more_gets_no_answer() {
    let mut house = TestHouse::new().await;
    let client = house.register(APP).await;
    house.settings.clients.private_use_schemes = PrivateUseSchemes::new([]);
    house.router = house.replica(2);
    for answer in [
        ask(&house, &client, owned).await,
        lacking(&house, &client, "redirect_uri").await,
    ] {
        answer.assert_refusal_page(StatusCode::BAD_REQUEST, STOPPED);
    }
    house.assert_provider_untouched();
}

#[tokio::test]
async fn a_redirect_uri_is_left_out_only_where_there_is_no_choice() {
    let house = TestHouse::new().await;
    let mut client = house.register(CALLBACK).await;
    let page = lacking(&house, &client, "redirect_uri").await;
    page.assert_page(StatusCode::OK, "Allow Test?");
    assert!(page.text().contains(CALLBACK));
    let body = json!({ "client_name": "Test", "redirect_uris": [CALLBACK, WEB] });
    let two = house.post_json("/register", &body).await.json();
    two["client_id"]
        .as_str()
        .unwrap()
        .clone_into(&mut client.id);
    let page = lacking(&house, &client, "redirect_uri").await;
    page.assert_refusal_page(StatusCode::BAD_REQUEST, STOPPED);
    let page = ask(&house, &client, owned).await;
    page.assert_page(StatusCode::OK, "Allow Test?");
}
