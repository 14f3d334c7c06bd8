//! `GET /callback`: the browser that consented comes back; nobody else, nothing twice, and never the provider's words.

mod endings;

use http::{Method, StatusCode};
use vestibule_standin::cognito::{Endpoint, Fault};

use crate::support::{Answer, Browser, CALLBACK, Client, ORIGIN, TestHouse, replace};

const STATE: &str = "client state &=#+é";
const OTHER_BROWSER: &str = "This browser did not begin the sign-in";

/// A sign-in up to the provider's redirect: the client, and the callback URL the browser was sent to.
async fn up_to_callback(house: &TestHouse, browser: &mut Browser) -> (Client, String) {
    let client = house.register(CALLBACK).await;
    let approved = house.approve(browser, &client).await;
    let back = browser
        .sign_in_at_provider(approved.location(), "ada", "lovelace")
        .await;
    (client, back.location().to_owned())
}

/// The callback URL with another value for a parameter.
fn with(callback: &str, name: &str, value: Option<&str>) -> String {
    let mut url = url::Url::parse(callback).unwrap();
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .into_owned()
        .filter(|(own, _)| own != name)
        .collect();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(kept)
        .extend_pairs(value.map(|value| (name, value)));
    url.into()
}

#[track_caller]
fn assert_no_code(answer: &Answer, status: StatusCode, title: &str) {
    answer.assert_refusal_page(status, title);
}

#[tokio::test]
async fn success_brings_code_state_and_iss_and_the_cookie_goes() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (client, callback) = up_to_callback(&house, &mut browser).await;
    let answer = browser.get(&callback).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(
        answer
            .location()
            .starts_with(&format!("{CALLBACK}?code=vac_")),
        "{}",
        answer.location()
    );
    assert_eq!(answer.location_param("state").as_deref(), Some(STATE));
    assert_eq!(answer.location_param("iss").as_deref(), Some(ORIGIN));
    let provider_code = url::Url::parse(&callback)
        .unwrap()
        .query_pairs()
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned();
    assert!(
        !answer.location().contains(&provider_code),
        "the provider's code stays sealed"
    );
    assert!(
        answer
            .set_cookies()
            .iter()
            .all(|cookie| cookie.contains("Max-Age=0")),
        "{:?}",
        answer.set_cookies()
    );
    assert!(
        !browser.jars["mcp.example.test"]
            .keys()
            .any(|name| name.contains("flow"))
    );
    let code = answer.location_param("code").unwrap();
    assert_eq!(
        house
            .post_form("/token", &TestHouse::redemption(&client, &code))
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_state_of_four_kilobytes_comes_back_byte_for_byte() {
    let house = TestHouse::new().await;
    for state in ["x".repeat(4096), "é%00&=+/?#\"<>\\ ".repeat(250)] {
        let client = house.register(CALLBACK).await;
        let challenge = TestHouse::challenge(&client);
        let mut browser = house.browser();
        let params = replace(
            TestHouse::authorization(&client, &challenge),
            "state",
            &state,
        );
        let page = browser.get(&TestHouse::authorize_url(&params)).await;
        assert_eq!(page.status, StatusCode::OK, "{} bytes", state.len());
        let approved = browser
            .post(
                &format!("{ORIGIN}/consent"),
                &[("ticket", &page.input("ticket")), ("decision", "approve")],
            )
            .await;
        for cookie in approved.set_cookies() {
            assert!(
                cookie.split(';').next().unwrap().len() <= 4096,
                "browsers drop longer cookies"
            );
        }
        assert!(approved.location_param("state").unwrap().len() < 200);
        let back = browser
            .sign_in_at_provider(approved.location(), "ada", "lovelace")
            .await;
        let answer = browser.get(back.location()).await;
        assert_eq!(answer.location_param("state"), Some(state));
        assert!(
            !browser.jars["mcp.example.test"]
                .keys()
                .any(|name| name.contains("flow")),
            "every part of the cookie goes"
        );
    }
}

#[tokio::test]
async fn t7_a_callback_in_another_browser_gets_no_code() {
    // CVE-2026-27124: the attacker consents in their browser and lets the victim finish.
    let house = TestHouse::new().await;
    let mut attacker = house.browser();
    let (_, callback) = up_to_callback(&house, &mut attacker).await;
    house.cognito.control().reset_counters();
    let mut victim = house.browser();
    let answer = victim.get(&callback).await;
    assert_no_code(&answer, StatusCode::FORBIDDEN, OTHER_BROWSER);
    // Nor with a flow of its own.
    house
        .approve(&mut victim, &house.register(CALLBACK).await)
        .await;
    assert_no_code(
        &victim.get(&callback).await,
        StatusCode::FORBIDDEN,
        OTHER_BROWSER,
    );
    assert_eq!(
        house.cognito.control().calls(Endpoint::Token),
        0,
        "the provider's code was not used"
    );
    // The browser that began it can still finish.
    assert!(
        attacker
            .get(&callback)
            .await
            .location_param("code")
            .is_some()
    );
}

#[tokio::test]
async fn t7_a_flow_cookie_renamed_to_another_state_does_not_pass() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, first) = up_to_callback(&house, &mut browser).await;
    let approved = house
        .approve(&mut browser, &house.register(CALLBACK).await)
        .await;
    let other = approved.location_param("state").unwrap();
    let state = url::Url::parse(&first)
        .unwrap()
        .query_pairs()
        .find(|(name, _)| name == "state")
        .unwrap()
        .1
        .into_owned();
    let jar = browser.jars.get_mut("mcp.example.test").unwrap();
    let swapped = jar[&format!("__Host-vestibule-flow-{other}")].clone();
    jar.insert(format!("__Host-vestibule-flow-{state}"), swapped);
    assert_no_code(
        &browser.get(&first).await,
        StatusCode::FORBIDDEN,
        OTHER_BROWSER,
    );
}

#[tokio::test]
async fn t29_a_client_state_that_somebody_used_before_does_not_matter() {
    // PostHog#97529: callback records keyed by the client's own state.
    let house = TestHouse::new().await;
    let mut attacker = house.browser();
    let (attacker_client, attacker_callback) = up_to_callback(&house, &mut attacker).await;
    let mut victim = house.browser();
    let (victim_client, victim_callback) = up_to_callback(&house, &mut victim).await;
    assert_ne!(attacker_callback, victim_callback);
    let victims = victim
        .get(&victim_callback)
        .await
        .location_param("code")
        .unwrap();
    let attackers = attacker
        .get(&attacker_callback)
        .await
        .location_param("code")
        .unwrap();
    for (client, code, status) in [
        (&attacker_client, &victims, StatusCode::BAD_REQUEST),
        (&victim_client, &attackers, StatusCode::BAD_REQUEST),
        (&victim_client, &victims, StatusCode::OK),
        (&attacker_client, &attackers, StatusCode::OK),
    ] {
        assert_eq!(
            house
                .post_form("/token", &TestHouse::redemption(client, code))
                .await
                .status,
            status
        );
    }
}

#[tokio::test]
async fn a_callback_works_once() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, callback) = up_to_callback(&house, &mut browser).await;
    assert!(
        browser
            .get(&callback)
            .await
            .location_param("code")
            .is_some()
    );
    assert_no_code(
        &browser.get(&callback).await,
        StatusCode::FORBIDDEN,
        OTHER_BROWSER,
    );
}

#[tokio::test]
async fn a_sign_in_ends_after_ten_minutes() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, callback) = up_to_callback(&house, &mut browser).await;
    house.clock.advance(600);
    assert_no_code(
        &browser.get(&callback).await,
        StatusCode::BAD_REQUEST,
        "The sign-in took too long",
    );
}

#[tokio::test]
async fn a_callback_without_its_values_is_a_page() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, callback) = up_to_callback(&house, &mut browser).await;
    let unreadable = "The sign-in answer cannot be read";
    for url in [
        with(&callback, "state", None),
        with(&callback, "state", Some("")),
        format!("{callback}&state=x"),
        format!("{callback}&code=x"),
        format!("{ORIGIN}/callback"),
    ] {
        assert_no_code(
            &browser.get(&url).await,
            StatusCode::BAD_REQUEST,
            unreadable,
        );
    }
    for state in [
        "x",
        "AAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAA;A",
        "\r\nSet-Cookie: a=b",
    ] {
        let answer = browser.get(&with(&callback, "state", Some(state))).await;
        assert_no_code(&answer, StatusCode::FORBIDDEN, OTHER_BROWSER);
        assert!(
            answer
                .set_cookies()
                .iter()
                .all(|cookie| cookie.starts_with("__Host-vestibule-flow-AAAA")
                    && cookie.contains("Max-Age=0"))
        );
    }
}

#[tokio::test]
async fn an_answer_with_neither_code_nor_error_is_told_to_the_client() {
    let house = TestHouse::new().await;
    for nothing in [None, Some("")] {
        let mut browser = house.browser();
        let (_, callback) = up_to_callback(&house, &mut browser).await;
        let answer = browser.get(&with(&callback, "code", nothing)).await;
        assert_eq!(answer.status, StatusCode::FOUND);
        answer.told(CALLBACK, "server_error", Some(STATE));
        // With that the sign-in is over.
        let again = browser.get(&callback).await;
        assert_no_code(&again, StatusCode::FORBIDDEN, OTHER_BROWSER);
    }
}

/// Scanners of links and previews ask with HEAD first.
#[tokio::test]
async fn a_look_with_head_does_not_use_the_sign_in_up() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, callback) = up_to_callback(&house, &mut browser).await;
    let look = browser.send(Method::HEAD, &callback, &[], None).await;
    assert_eq!(look.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(look.header("allow"), "GET");
    assert!(look.set_cookies().is_empty() && look.header("location").is_empty());
    let answer = browser.get(&callback).await;
    assert!(answer.location_param("code").is_some());
}

#[tokio::test]
async fn t23_an_answer_from_another_issuer_is_refused() {
    // RFC 9207: the mix-up attack.
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, callback) = up_to_callback(&house, &mut browser).await;
    let answer = browser
        .get(&with(&callback, "iss", Some("https://evil.example")))
        .await;
    assert_no_code(
        &answer,
        StatusCode::FORBIDDEN,
        "The sign-in was stopped for your safety",
    );
    let (_, callback) = up_to_callback(&house, &mut browser).await;
    let own = with(&callback, "iss", Some(house.cognito.issuer()));
    assert!(browser.get(&own).await.location_param("code").is_some());
}

#[tokio::test]
async fn every_error_of_the_provider_is_told_in_our_words() {
    // facts/cognito §2.3.
    let house = TestHouse::new().await;
    for (error, description, told) in [
        (
            "access_denied",
            "User <script>alert(1)</script> cancelled",
            "access_denied",
        ),
        ("login_required", "", "access_denied"),
        ("invalid_request", "invalid_scope", "server_error"),
        ("invalid_scope", "", "server_error"),
        (
            "invalid_request",
            "Okta IdP Error - 503 secret-detail",
            "temporarily_unavailable",
        ),
        (
            "invalid_request",
            "Timeout occurred in calling IdP token endpoint",
            "temporarily_unavailable",
        ),
        (
            "invalid_request",
            "Connection reset",
            "temporarily_unavailable",
        ),
        ("server_error", "Read timed out", "temporarily_unavailable"),
        ("server_error", "secret-detail", "server_error"),
        ("unauthorized_client", "", "server_error"),
        ("something_new\r\nX: y", "", "server_error"),
    ] {
        let fault = Fault::RedirectError {
            error: error.to_owned(),
            description: description.to_owned(),
        };
        house
            .cognito
            .control()
            .set_fault(Endpoint::Authorize, Some(fault), Some(1));
        let client = house.register(CALLBACK).await;
        let mut browser = house.browser();
        let approved = house.approve(&mut browser, &client).await;
        let back = browser.get(approved.location()).await;
        let answer = browser.get(back.location()).await;
        assert_eq!(answer.status, StatusCode::FOUND, "{error}");
        let url = answer.told(CALLBACK, told, Some(STATE));
        for never in [
            "alert",
            "secret-detail",
            "Okta",
            "IdP",
            "Timeout",
            "something_new",
        ] {
            assert!(!url.as_str().contains(never), "{never} in {url}");
        }
        assert!(
            answer
                .set_cookies()
                .iter()
                .all(|cookie| cookie.contains("Max-Age=0"))
        );
    }
}

#[tokio::test]
async fn t7_an_error_of_the_provider_in_another_browser_tells_the_client_nothing() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    let approved = house.approve(&mut browser, &client).await;
    let state = approved.location_param("state").unwrap();
    let url = format!("{ORIGIN}/callback?error=access_denied&state={state}");
    assert_no_code(
        &house.browser().get(&url).await,
        StatusCode::FORBIDDEN,
        OTHER_BROWSER,
    );
    browser
        .get(&url)
        .await
        .told(CALLBACK, "access_denied", Some(STATE));
}
