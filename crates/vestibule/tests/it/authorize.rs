//! `GET /authorize` (RFC 6749 §4.1.1): who may ask, what is asked back, and what an attacker does not get.

mod audience;
mod requests;
mod strangers;
mod strings;

use http::{Method, StatusCode};
use serde_json::json;
use vestibule::settings::ResourceSettings;
use vestibule_oauth::url::Endpoint;

use crate::support::{Answer, CALLBACK, Client, MCP, ORIGIN, TestHouse, masked, replace, without};

const STATE: &str = "client state &=#+é";
const UNKNOWN: &str = "This server does not know the application";
const STOPPED: &str = "The sign-in was stopped for your safety";
const UNREADABLE: &str = "This sign-in link is not complete";
/// A web application's redirect URI; anybody can register one.
const WEB: &str = "https://app.example/cb";
/// An application that has claimed a scheme.
const APP: &str = "cursor://anysphere.cursor-mcp/oauth/callback";

/// The client that the operator configured, with the verifier of its request.
fn desk() -> Client {
    Client {
        id: "desk".to_owned(),
        redirect_uri: "https://desk.example/cb".to_owned(),
        verifier: "d".repeat(43),
    }
}

/// Sends a good request with one thing changed.
async fn ask(
    house: &TestHouse,
    client: &Client,
    change: impl FnOnce(Vec<(&'static str, &str)>) -> Vec<(&'static str, String)>,
) -> Answer {
    let challenge = TestHouse::challenge(client);
    let params = change(TestHouse::authorization(client, &challenge));
    let params: Vec<(&str, &str)> = params
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    house
        .browser()
        .get(&TestHouse::authorize_url(&params))
        .await
}

fn owned(params: Vec<(&'static str, &str)>) -> Vec<(&'static str, String)> {
    params
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
}

async fn with(house: &TestHouse, client: &Client, name: &'static str, value: &str) -> Answer {
    ask(house, client, |params| owned(replace(params, name, value))).await
}

async fn lacking(house: &TestHouse, client: &Client, name: &str) -> Answer {
    ask(house, client, |params| owned(without(params, name))).await
}

#[tokio::test]
async fn the_consent_page_names_client_resource_scopes_and_redirect() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let page = ask(&house, &client, owned).await;
    page.assert_page(StatusCode::OK, "Allow Test?");
    assert_eq!(page.scopes(), ["mcp:read", "mcp:write"]);
    let html = page.text();
    let (approve, deny) = (
        html.find("value=\"approve\"").unwrap(),
        html.find("value=\"deny\"").unwrap(),
    );
    assert!(
        approve < deny,
        "Approve is the first button of the first form"
    );
    insta::assert_snapshot!(masked(&page));
    house.assert_provider_untouched();
}

#[tokio::test]
async fn the_warning_fits_the_place_the_answer_goes_to() {
    let house = TestHouse::new().await;
    for (uri, warning) in [
        (CALLBACK, "a program on this computer"),
        (
            "https://app.example/cb",
            "the website <code>app.example</code>",
        ),
        (
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "<code>cursor:</code> links",
        ),
    ] {
        let client = house.register(uri).await;
        let page = ask(&house, &client, owned).await;
        assert!(page.text().contains(warning), "{uri}: {}", page.text());
        assert!(page.text().contains("Nobody has checked it"), "{uri}");
    }
}

#[tokio::test]
async fn the_page_can_be_fetched_again_and_changes_nothing() {
    // FastMCP fetches it once before the browser does (facts/clients.md §3).
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let url = TestHouse::authorize_url(&TestHouse::authorization(&client, &challenge));
    let mut browser = house.browser();
    let first = browser.get(&url).await;
    assert_eq!(first.set_cookies().len(), 1);
    assert!(first.set_cookies()[0].starts_with("__Host-vestibule-browser="));
    for cookie in first.set_cookies() {
        for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
    }
    let second = browser.get(&url).await;
    assert!(
        second.set_cookies().is_empty(),
        "the browser keeps its cookie, other tabs need it"
    );
    let head = browser.send(Method::HEAD, &url, &[], None).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    let post = browser.post(&url, &[]).await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
    // Both renderings still work.
    for page in [first, second] {
        let approved = browser
            .post(
                &format!("{ORIGIN}/consent"),
                &[("ticket", &page.input("ticket")), ("decision", "approve")],
            )
            .await;
        assert_eq!(approved.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn t1_a_foreign_redirect_uri_is_never_redirected_to() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let desk = Client {
        id: "desk".into(),
        redirect_uri: "https://desk.example/cb".into(),
        ..client.clone()
    };
    for (client, foreign) in [
        (&client, "https://evil.example/cb"),
        (&client, "http://localhost:4711/other"),
        (&client, "http://127.0.0.1:4711/callback"),
        (&client, "http://localhost:4711/callback/"),
        (&client, "http://localhost:4711/callback?x=1"),
        (&client, "http://localhost:4711/callback#x"),
        (&client, "http://localhost@evil.example/callback"),
        (&client, "javascript:alert(1)"),
        (&desk, "https://desk.example/cb/"),
        (&desk, "https://desk.example:444/cb"),
        (&desk, "https://evil.example/cb"),
    ] {
        let answer = with(&house, client, "redirect_uri", foreign).await;
        answer.assert_refusal_page(StatusCode::BAD_REQUEST, STOPPED);
    }
    // A client that names itself by what cannot be a document's URL, or by the provider's own client id, is no client.
    for id in [
        "https://10.0.0.1/client.json",
        house.cognito.client_id(),
        "nobody",
        "",
    ] {
        let answer = with(&house, &client, "client_id", id).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{id}");
        assert!(!answer.headers.contains_key("location"), "{id}");
        assert!(answer.text().contains("Reference"), "{id}");
    }
    house.assert_provider_untouched();
}

#[tokio::test]
async fn a_loopback_client_may_come_back_on_another_port() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let page = with(
        &house,
        &client,
        "redirect_uri",
        "http://localhost:65000/callback",
    )
    .await;
    assert!(
        page.text().contains("http://localhost:65000/callback"),
        "{}",
        page.text()
    );
    let page = lacking(&house, &client, "redirect_uri").await;
    assert!(
        page.text().contains(CALLBACK),
        "the only registered one is meant"
    );
}

#[tokio::test]
async fn t2_pkce_cannot_be_left_out_or_weakened() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let verifier = client.verifier.clone();
    for answer in [
        lacking(&house, &client, "code_challenge").await,
        with(&house, &client, "code_challenge", "").await,
        lacking(&house, &client, "code_challenge_method").await,
        with(&house, &client, "code_challenge_method", "plain").await,
        with(&house, &client, "code_challenge_method", "s256").await,
        with(&house, &client, "code_challenge", &challenge[1..]).await,
        with(&house, &client, "code_challenge", &format!("{challenge}A")).await,
        with(&house, &client, "code_challenge", &format!("{verifier}=")).await,
    ] {
        answer.told(CALLBACK, "invalid_request", Some(STATE));
        assert!(!answer.text().contains("ticket"));
    }
    house.assert_provider_untouched();
}

#[tokio::test]
async fn t3_a_tampered_client_id_is_no_client() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    for index in [4, 20, client.id.len() - 1] {
        let mut id = client.id.clone().into_bytes();
        id[index] = if id[index] == b'A' { b'B' } else { b'A' };
        let answer = with(
            &house,
            &client,
            "client_id",
            &String::from_utf8(id).unwrap(),
        )
        .await;
        answer.assert_refusal_page(StatusCode::BAD_REQUEST, UNKNOWN);
    }
    for id in [
        "vcl_",
        "vcl_AAAA",
        "vcl_\u{0}",
        &format!("vcl_{}", "A".repeat(5000)),
    ] {
        let answer = with(&house, &client, "client_id", id).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{id:?}");
        assert!(!answer.headers.contains_key("location"));
    }
}

#[tokio::test]
async fn t10_whatever_is_reflected_is_escaped() {
    let house = TestHouse::new().await;
    let evil = "\"><script>alert(1)</script><img src=x onerror=alert(1)>";
    let body =
        json!({"client_name": evil, "redirect_uris": ["https://app.example/cb?%3Cscript%3E='x'"]});
    let id = house.post_json("/register", &body).await.json()["client_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let client = Client {
        id,
        redirect_uri: "https://app.example/cb?%3Cscript%3E='x'".into(),
        verifier: house.register(CALLBACK).await.verifier,
    };
    let page = ask(&house, &client, owned).await;
    assert_eq!(page.status, StatusCode::OK);
    let html = page.text();
    assert!(
        html.contains("&#60;script&#62;alert(1)") || html.contains("&lt;script&gt;alert(1)"),
        "{html}"
    );
    assert!(
        !html.contains("<script") && !html.contains("<img"),
        "{html}"
    );
    for (name, value) in [
        ("state", evil),
        ("scope", evil),
        ("redirect_uri", evil),
        ("client_id", evil),
        ("resource", evil),
    ] {
        let answer = with(&house, &client, name, value).await;
        let html = answer.text();
        assert!(
            !html.contains("<script")
                && !html.contains("<img")
                && !html.contains("onerror=alert(1)>"),
            "{name}: {html}"
        );
    }
}

#[tokio::test]
async fn t25_a_foreign_or_ambiguous_resource_is_invalid_target() {
    let house = TestHouse::with(|settings| {
        let upstream = Endpoint::parse("http://127.0.0.1:9/mcp").unwrap();
        settings
            .resources
            .push(ResourceSettings::new(&settings.public_url, "/b", upstream).unwrap());
    })
    .await;
    let client = house.register(CALLBACK).await;
    for foreign in [
        "https://evil.example/mcp",
        "https://mcp.example.test/other",
        "mcp",
        "https://mcp.example.test/a/../mcp",
    ] {
        with(&house, &client, "resource", foreign).await.told(
            CALLBACK,
            "invalid_target",
            Some(STATE),
        );
    }
    let two = ask(&house, &client, |mut params| {
        params.push(("resource", "https://mcp.example.test/b"));
        owned(params)
    })
    .await;
    two.told(CALLBACK, "invalid_target", Some(STATE));
}

#[tokio::test]
async fn spellings_of_the_resource_and_none_at_all_are_understood() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    for spelling in [
        MCP,
        "https://mcp.example.test/mcp/",
        "HTTPS://MCP.example.test:443/mcp",
        "https://mcp.example.test",
        "https://mcp.example.test/",
    ] {
        assert_eq!(
            with(&house, &client, "resource", spelling)
                .await
                .scopes()
                .len(),
            2,
            "{spelling}"
        );
    }
    assert_eq!(lacking(&house, &client, "resource").await.scopes().len(), 2);
    let twice = ask(&house, &client, |mut params| {
        params.push(("resource", MCP));
        owned(params)
    })
    .await;
    assert_eq!(twice.status, StatusCode::OK);
}

#[tokio::test]
async fn scopes_never_fail_a_sign_in_and_never_widen() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    for (asked, granted) in [
        ("mcp:write", vec!["mcp:write"]),
        (" mcp:read  mcp:read ", vec!["mcp:read"]),
        (
            "mcp:write claudeai openid offline_access",
            vec!["mcp:write"],
        ),
        ("", vec!["mcp:read"]),
        ("claudeai", vec!["mcp:read"]),
        ("offline_access", vec!["mcp:read"]),
        ("mcp:admin", vec!["mcp:read"]),
        ("\"\\ é", vec!["mcp:read"]),
    ] {
        assert_eq!(
            with(&house, &client, "scope", asked).await.scopes(),
            granted,
            "{asked:?}"
        );
    }
    assert_eq!(
        lacking(&house, &client, "scope").await.scopes(),
        ["mcp:read"]
    );
}

#[tokio::test]
async fn other_mistakes_are_told_to_the_client_with_state_and_iss() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "", "invalid_request"),
        ("response_mode", "fragment", "invalid_request"),
        ("response_mode", "form_post", "invalid_request"),
        ("request", "eyJ", "invalid_request"),
        ("request_uri", "https://evil.example/r", "invalid_request"),
    ] {
        let answer = with(&house, &client, name, value).await;
        assert_eq!(answer.status, StatusCode::FOUND, "{name}={value}");
        answer.told(CALLBACK, error, Some(STATE));
    }
    let doubled = ask(&house, &client, |mut params| {
        params.push(("scope", "mcp:read"));
        owned(params)
    })
    .await;
    doubled.told(CALLBACK, "invalid_request", Some(STATE));
    lacking(&house, &client, "state")
        .await
        .assert_page(StatusCode::OK, "Allow Test?");
}

#[tokio::test]
async fn a_doubled_client_id_or_redirect_uri_is_answered_with_a_page() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    for doubled in [
        ("client_id", client.id.as_str()),
        ("redirect_uri", CALLBACK),
    ] {
        let mut params = TestHouse::authorization(&client, &challenge);
        params.push(doubled);
        let answer = house
            .browser()
            .get(&TestHouse::authorize_url(&params))
            .await;
        answer.assert_refusal_page(StatusCode::BAD_REQUEST, "This sign-in link is not complete");
    }
    let long = with(&house, &client, "state", &"a".repeat(20_000)).await;
    long.assert_refusal_page(StatusCode::BAD_REQUEST, "This sign-in link is not complete");
}

#[tokio::test]
async fn an_error_for_a_website_waits_for_a_click() {
    // OAuth 2.1 §7.12.2: anybody can register an https address, and an open redirector is what they want.
    let house = TestHouse::new().await;
    let client = house.register("https://app.example/cb?x=1").await;
    let answer = with(&house, &client, "response_type", "token").await;
    answer.assert_page(StatusCode::OK, "The sign-in cannot go on");
    answer.told(
        "https://app.example/cb?x=1&",
        "unsupported_response_type",
        Some(STATE),
    );
    insta::assert_snapshot!(masked(&answer));
}

#[tokio::test]
async fn a_state_of_four_kilobytes_is_the_longest() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let longest = "s".repeat(4096);
    assert_eq!(
        with(&house, &client, "state", &longest).await.status,
        StatusCode::OK
    );
    let longer = "s".repeat(4097);
    with(&house, &client, "state", &longer)
        .await
        .told(CALLBACK, "invalid_request", Some(&longer));
}

#[tokio::test]
async fn the_page_of_an_unknown_client_says_what_to_do() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let answer = with(&house, &client, "client_id", "nobody").await;
    answer.assert_refusal_page(StatusCode::BAD_REQUEST, UNKNOWN);
    insta::assert_snapshot!(masked(&answer));
}

#[tokio::test]
async fn no_other_page_may_read_the_authorization_endpoint() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let url = TestHouse::authorize_url(&TestHouse::authorization(&client, &challenge));
    for method in [Method::GET, Method::OPTIONS] {
        let answer = house
            .browser()
            .send(
                method,
                &url,
                &[
                    ("origin", "https://app.example"),
                    ("access-control-request-method", "GET"),
                ],
                None,
            )
            .await;
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}
