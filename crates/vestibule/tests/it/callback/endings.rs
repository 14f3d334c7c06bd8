//! How a sign-in ends at the callback: at the right minute, with code and error together, with the provider away.

use http::{Method, StatusCode};
use url::Url;
use vestibule_standin::cognito::{Endpoint, Fault};

use super::{OTHER_BROWSER, STATE, assert_no_code, up_to_callback, with};
use crate::support::{Browser, CALLBACK, ORIGIN, TestHouse};

const WEB: &str = "https://app.example/cb";

fn query(url: &str, name: &str) -> String {
    let url = Url::parse(url).unwrap();
    let found = url.query_pairs().find(|(own, _)| own == name);
    found.unwrap().1.into_owned()
}

#[tokio::test]
async fn a_sign_in_can_be_finished_until_the_last_second() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, callback) = up_to_callback(&house, &mut browser).await;
    house.clock.advance(599);
    let answer = browser.get(&callback).await;
    assert!(answer.location_param("code").is_some());
}

#[tokio::test]
async fn the_callback_itself_asks_nothing_of_the_provider() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, callback) = up_to_callback(&house, &mut browser).await;
    house.cognito.control().reset_counters();
    let answer = browser.get(&callback).await;
    assert!(answer.location_param("code").is_some());
    // The provider's code is redeemed at `/token`, by the client that can prove itself.
    house.assert_provider_untouched();
}

#[tokio::test]
async fn an_error_beside_a_code_is_an_error() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, callback) = up_to_callback(&house, &mut browser).await;
    let both = with(&callback, "error", Some("access_denied"));
    let answer = browser.get(&both).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    let told = answer.told(CALLBACK, "access_denied", Some(STATE));
    assert!(!told.as_str().contains(&query(&callback, "code")));
    // And the sign-in is over.
    let again = browser.get(&callback).await;
    assert_no_code(&again, StatusCode::FORBIDDEN, OTHER_BROWSER);
}

#[tokio::test]
async fn t23_no_spelling_of_another_issuer_passes() {
    let house = TestHouse::new().await;
    let issuer = house.cognito.issuer().to_owned();
    for wrong in [
        format!("{issuer}/"),
        issuer.to_uppercase(),
        format!("{issuer}?x"),
        ORIGIN.to_owned(),
        "null".to_owned(),
    ] {
        let mut browser = house.browser();
        let (_, callback) = up_to_callback(&house, &mut browser).await;
        let answer = browser.get(&with(&callback, "iss", Some(&wrong))).await;
        let stopped = "The sign-in was stopped for your safety";
        assert_no_code(&answer, StatusCode::FORBIDDEN, stopped);
        let again = browser.get(&callback).await;
        assert_no_code(&again, StatusCode::FORBIDDEN, OTHER_BROWSER);
    }
    // An error from another issuer is no better.
    let mut browser = house.browser();
    let (_, callback) = up_to_callback(&house, &mut browser).await;
    let forged = with(&callback, "iss", Some("https://evil.example"));
    let forged = with(&forged, "error", Some("access_denied"));
    let answer = browser.get(&forged).await;
    let stopped = "The sign-in was stopped for your safety";
    assert_no_code(&answer, StatusCode::FORBIDDEN, stopped);
}

#[tokio::test]
async fn a_refusal_after_the_password_is_told_to_a_website_without_a_second_click() {
    let house = TestHouse::new().await;
    let client = house.register(WEB).await;
    let mut browser = house.browser();
    let approved = house.approve(&mut browser, &client).await;
    let fault = Fault::RedirectError {
        error: "server_error".to_owned(),
        description: "PreTokenGeneration failed with secret-detail".to_owned(),
    };
    let control = house.cognito.control();
    // The form is shown first, then the password is refused.
    let form = browser.get(approved.location()).await;
    let login = form.location().to_owned();
    control.set_fault(Endpoint::Login, Some(fault), None);
    let back = browser.sign_in_at_provider(&login, "ada", "lovelace").await;
    let answer = browser.get(back.location()).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    let told = answer.told(WEB, "server_error", Some(STATE));
    assert!(!told.as_str().contains("PreTokenGeneration"), "{told}");
    assert!(!told.as_str().contains("secret-detail"), "{told}");
    assert_eq!(control.calls(Endpoint::Token), 0);
}

#[tokio::test]
async fn a_provider_that_is_away_when_the_browser_returns_to_a_new_process() {
    // Whether the provider must name itself in the answer (RFC 9207) stands in its discovery document.
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, callback) = up_to_callback(&house, &mut browser).await;
    let control = house.cognito.control();
    control.set_fault(Endpoint::Discovery, Some(Fault::Status(500)), None);
    let mut restarted = Browser::new(ORIGIN, vec![house.replica(2)]);
    restarted.jars = browser.jars.clone();
    let answer = restarted.get(&callback).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    answer.told(CALLBACK, "temporarily_unavailable", Some(STATE));
}

#[tokio::test]
async fn t7_one_tab_that_fails_leaves_the_other_alone() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, first) = up_to_callback(&house, &mut browser).await;
    let (_, second) = up_to_callback(&house, &mut browser).await;
    let cancelled = with(&with(&first, "code", None), "error", Some("access_denied"));
    let answer = browser.get(&cancelled).await;
    answer.told(CALLBACK, "access_denied", Some(STATE));
    let answer = browser.get(&second).await;
    assert!(answer.location_param("code").is_some());
}

#[tokio::test]
async fn t7_a_flow_of_another_deployment_does_not_open() {
    let house = TestHouse::new().await;
    let other = TestHouse::new().await;
    let mut browser = other.browser();
    let (_, callback) = up_to_callback(&other, &mut browser).await;
    let mut here = house.browser();
    here.jars = browser.jars.clone();
    let answer = here.get(&callback).await;
    assert_no_code(&answer, StatusCode::FORBIDDEN, OTHER_BROWSER);
    house.assert_provider_untouched();
}

#[tokio::test]
async fn t7_a_flow_cookie_that_lost_or_gained_a_part_does_not_open() {
    let house = TestHouse::new().await;
    for change in ["shorter", "longer", "another part"] {
        let mut browser = house.browser();
        let (_, callback) = up_to_callback(&house, &mut browser).await;
        let name = format!("__Host-vestibule-flow-{}", query(&callback, "state"));
        let jar = browser.jars.get_mut("mcp.example.test").unwrap();
        let value = jar[&name].clone();
        match change {
            "shorter" => jar.insert(name, value[..value.len() - 8].to_owned()),
            "longer" => jar.insert(name, format!("{value}AAAA")),
            _ => jar.insert(format!("{name}.1"), "AAAA".to_owned()),
        };
        let answer = browser.get(&callback).await;
        assert_no_code(&answer, StatusCode::FORBIDDEN, OTHER_BROWSER);
    }
}

#[tokio::test]
async fn nobody_else_may_read_the_callback_or_post_to_it() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, callback) = up_to_callback(&house, &mut browser).await;
    let origin = ("origin", "https://app.example");
    for method in [Method::POST, Method::OPTIONS] {
        let headers = [origin, ("access-control-request-method", "GET")];
        let answer = browser.send(method, &callback, &headers, None).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(!answer.headers.contains_key("location"));
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    let answer = browser.send(Method::GET, &callback, &[origin], None).await;
    assert!(answer.location_param("code").is_some());
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
}
