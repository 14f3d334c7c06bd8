//! Everything that a page reflects is escaped (T10): names, addresses, states and parameter names of an attacker's making.

use http::StatusCode;
use serde_json::json;

use super::{STATE, STOPPED, UNKNOWN, WEB, ask, owned, with};
use crate::support::{Client, TestHouse, replace};

const SCRIPT: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>";

#[tokio::test]
async fn t10_the_name_of_a_client_runs_nothing() {
    let house = TestHouse::new().await;
    let body = json!({ "client_name": SCRIPT, "redirect_uris": [WEB] });
    let registered = house.post_json("/register", &body).await.json();
    assert_eq!(registered["client_name"], SCRIPT);
    let client = Client {
        id: registered["client_id"].as_str().unwrap().to_owned(),
        redirect_uri: WEB.to_owned(),
        verifier: "v".repeat(43),
    };
    let page = ask(&house, &client, owned).await;
    let escaped = "&#34;&#39;&#62;&#60;script&#62;alert(1)&#60;/script&#62;&#60;img src=x onerror=alert(2)&#62;";
    page.assert_page(StatusCode::OK, &format!("Allow {escaped}?"));
    assert_eq!(
        page.text().matches("alert(2)").count(),
        page.text().matches(escaped).count()
    );
}

#[tokio::test]
async fn t10_a_redirect_uri_runs_nothing() {
    let house = TestHouse::new().await;
    let uri = "https://evil.example/cb?a='onclick='alert(1)&b=%22%3E%3Cscript%3E";
    let client = house.register(uri).await;
    let page = ask(&house, &client, owned).await;
    page.assert_page(StatusCode::OK, "Allow Test?");
    let escaped = "a=&#39;onclick=&#39;alert(1)&#38;b=%22%3E%3Cscript%3E";
    assert!(page.text().contains(escaped), "{}", page.text());
    let page = with(&house, &client, "response_type", "token").await;
    page.assert_page(StatusCode::OK, "The sign-in cannot go on");
    assert!(page.text().contains(escaped), "{}", page.text());
    let other = "https://evil.example/other?a='onclick='alert(1)&b";
    for wrong in [
        other,
        SCRIPT,
        "https://evil.example/<script>alert(1)</script>",
    ] {
        let page = with(&house, &client, "redirect_uri", wrong).await;
        page.assert_refusal_page(StatusCode::BAD_REQUEST, STOPPED);
        assert!(!page.text().contains("'onclick"), "{}", page.text());
    }
}

#[tokio::test]
async fn t10_states_resources_and_parameter_names_run_nothing_on_the_page_with_the_link() {
    let house = TestHouse::new().await;
    let client = house.register(WEB).await;
    let cannot = "The sign-in cannot go on";
    let page = ask(&house, &client, |mut good| {
        // The name of a repeated parameter is part of the description.
        good.extend([("<script>alert(1)</script>", "x"); 2]);
        owned(good)
    })
    .await;
    page.assert_page(StatusCode::OK, cannot);
    page.told(WEB, "invalid_request", Some(STATE));
    assert!(page.text().contains("&#60;script&#62;alert(1)"));
    let page = ask(&house, &client, |good| {
        owned(replace(
            replace(good, "state", SCRIPT),
            "response_type",
            SCRIPT,
        ))
    })
    .await;
    page.assert_page(StatusCode::OK, cannot);
    page.told(WEB, "unsupported_response_type", Some(SCRIPT));
    for (name, error) in [
        ("resource", "invalid_target"),
        ("code_challenge", "invalid_request"),
        ("code_challenge_method", "invalid_request"),
        ("response_mode", "invalid_request"),
    ] {
        let page = with(&house, &client, name, SCRIPT).await;
        page.assert_page(StatusCode::OK, cannot);
        page.told(WEB, error, Some(STATE));
        assert!(!page.text().contains("alert("), "{name} is not shown");
    }
}

#[tokio::test]
async fn t10_states_scopes_and_client_ids_are_not_shown_at_all() {
    let house = TestHouse::new().await;
    let client = house.register(WEB).await;
    let page = ask(&house, &client, |good| {
        owned(replace(replace(good, "scope", SCRIPT), "state", SCRIPT))
    })
    .await;
    page.assert_page(StatusCode::OK, "Allow Test?");
    assert!(!page.text().contains("alert("));
    let page = with(&house, &client, "client_id", SCRIPT).await;
    page.assert_refusal_page(StatusCode::BAD_REQUEST, UNKNOWN);
    assert!(!page.text().contains("alert("));
}
