//! What a form may hold and what it leads to: other sealed values, other media types, a second click, each kind of client.

use http::{Method, StatusCode};
use serde_json::json;
use vestibule_standin::cognito::{CognitoOptions, Endpoint, Fault};

use super::{CONSENT, STATE, STOPPED, assert_nothing_happened, decide, page};
use crate::support::{CALLBACK, Client, ORIGIN, TestHouse, replace};

const UNREADABLE: &str = "Your answer could not be read";
const WEB: &str = "https://app.example/cb";

#[tokio::test]
async fn t8_no_other_sealed_value_passes_for_a_ticket() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let code = house.code(&client).await;
    house.cognito.control().reset_counters();
    let mut browser = house.browser();
    let (_, form) = page(&house, &mut browser, CALLBACK).await;
    let mut approving = house.browser();
    let (_, other) = page(&house, &mut approving, CALLBACK).await;
    let approved = decide(&mut approving, &other, "approve").await;
    let cookie = approved.set_cookies()[0].to_owned();
    let flow = cookie.split_once('=').unwrap().1.split(';').next().unwrap();
    house.cognito.control().reset_counters();
    let sealed = [
        (client.id.as_str(), "vcl_"),
        (&code, "vac_"),
        (flow, "vfl_"),
        (&tokens.refresh, "vrt_"),
        (&tokens.access, "vat_"),
    ];
    for (value, prefix) in sealed {
        assert!(value.starts_with(prefix), "{value}");
        for ticket in [value.to_owned(), value.replacen(prefix, "vct_", 1)] {
            let form = [("ticket", ticket.as_str()), ("decision", "approve")];
            let answer = browser.post(CONSENT, &form).await;
            assert_nothing_happened(&house, &answer, StatusCode::BAD_REQUEST, UNREADABLE);
        }
    }
    // The browser is a good one: its own ticket works.
    let answer = decide(&mut browser, &form, "approve").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn t8_a_ticket_of_another_deployment_does_not_open() {
    let house = TestHouse::new().await;
    let other = TestHouse::new().await;
    let mut browser = other.browser();
    let (_, form) = page(&other, &mut browser, CALLBACK).await;
    let ticket = form.input("ticket");
    let fields = [("ticket", ticket.as_str()), ("decision", "approve")];
    let mut here = house.browser();
    // The very cookie that goes with the ticket.
    here.jars = browser.jars.clone();
    let answer = here.post(CONSENT, &fields).await;
    assert_nothing_happened(&house, &answer, StatusCode::BAD_REQUEST, UNREADABLE);
}

#[tokio::test]
async fn t8_denying_needs_the_same_browser_as_approving() {
    let house = TestHouse::new().await;
    let mut attacker = house.browser();
    let (_, form) = page(&house, &mut attacker, CALLBACK).await;
    let ticket = form.input("ticket");
    let fields = [("ticket", ticket.as_str()), ("decision", "deny")];
    let answer = house.browser().post(CONSENT, &fields).await;
    assert_nothing_happened(&house, &answer, StatusCode::FORBIDDEN, STOPPED);
}

#[tokio::test]
async fn t8_a_cookie_of_another_shape_is_no_cookie() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, form) = page(&house, &mut browser, CALLBACK).await;
    let ticket = form.input("ticket");
    let fields = [("ticket", ticket.as_str()), ("decision", "approve")];
    let jar = &browser.jars["mcp.example.test"];
    let value = jar["__Host-vestibule-browser"].clone();
    // The second to last is what a page of a neighbouring host can set.
    for (name, value) in [
        ("__Host-vestibule-browser", format!("{value}A")),
        ("__Host-vestibule-browser", value[1..].to_owned()),
        ("__Host-vestibule-browser", String::new()),
        ("vestibule-browser", value.clone()),
        ("__host-vestibule-browser", value.clone()),
    ] {
        let mut other = house.browser();
        let jar = other.jars.entry("mcp.example.test".to_owned()).or_default();
        jar.insert(name.to_owned(), value.clone());
        let answer = other.post(CONSENT, &fields).await;
        assert_nothing_happened(&house, &answer, StatusCode::FORBIDDEN, STOPPED);
    }
}

#[tokio::test]
async fn only_a_form_is_read_and_no_other_page_may_read_the_answer() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, form) = page(&house, &mut browser, CALLBACK).await;
    let body = json!({ "ticket": form.input("ticket"), "decision": "approve" }).to_string();
    let cookie = &browser.jars["mcp.example.test"]["__Host-vestibule-browser"];
    let cookie = format!("__Host-vestibule-browser={cookie}");
    for media_type in [
        "application/json",
        "text/plain",
        "multipart/form-data; boundary=x",
    ] {
        let headers = [("cookie", cookie.as_str()), ("content-type", media_type)];
        let answer = house
            .request(Method::POST, "/consent", &headers, &body)
            .await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(answer.error(), "invalid_request");
        assert!(answer.set_cookies().is_empty());
    }
    let headers = [
        ("origin", ORIGIN),
        ("access-control-request-method", "POST"),
    ];
    let answer = house
        .request(Method::OPTIONS, "/consent", &headers, "")
        .await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    house.assert_provider_untouched();
}

#[tokio::test]
async fn a_form_up_to_the_limit_is_read_and_one_byte_more_is_not() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, form) = page(&house, &mut browser, CALLBACK).await;
    let ticket = form.input("ticket");
    let fixed = format!("ticket={ticket}&decision=deny&padding=").len();
    for (length, status) in [
        (32 * 1024, StatusCode::SEE_OTHER),
        (32 * 1024 + 1, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let padding = "x".repeat(length - fixed);
        let fields = [
            ("ticket", ticket.as_str()),
            ("decision", "deny"),
            ("padding", &padding),
        ];
        let answer = browser.post(CONSENT, &fields).await;
        assert_eq!(answer.status, status, "{length}");
        assert_eq!(
            answer.headers.contains_key("location"),
            status.is_redirection()
        );
    }
}

#[tokio::test]
async fn the_largest_request_that_is_shown_can_be_approved_and_comes_back() {
    // What doubles in JSON is carried in another form: nothing that is allowed grows by more than a third.
    let house = TestHouse::new().await;
    for (state, redirect_uri) in [
        (
            "\"".repeat(4096),
            "http://localhost:4711/callback".to_owned(),
        ),
        (
            "\\".repeat(3000),
            format!("http://localhost:4711/{}", "p".repeat(1200)),
        ),
        ("\u{10348}".repeat(1024), CALLBACK.to_owned()),
    ] {
        let client: Client = house.register(&redirect_uri).await;
        let challenge = TestHouse::challenge(&client);
        let params = TestHouse::authorization(&client, &challenge);
        let mut browser = house.browser();
        let url = TestHouse::authorize_url(&replace(params, "state", &state));
        let form = browser.get(&url).await;
        form.assert_page(StatusCode::OK, "Allow Test?");
        let approved = decide(&mut browser, &form, "approve").await;
        assert_eq!(approved.status, StatusCode::SEE_OTHER);
        let cookies = approved.set_cookies();
        let size: usize = cookies.iter().map(|cookie| cookie.find(';').unwrap()).sum();
        // Servers allow 8 KiB for a header by default, and proxies little more.
        assert!(size < 8600, "{size} bytes of cookies");
        let back = browser
            .sign_in_at_provider(approved.location(), "ada", "lovelace")
            .await;
        let answer = browser.get(back.location()).await;
        assert_eq!(answer.location_param("state"), Some(state));
        assert!(answer.location_param("code").is_some());
    }
}

#[tokio::test]
async fn a_second_click_begins_a_second_sign_in_and_either_can_be_finished() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, form) = page(&house, &mut browser, CALLBACK).await;
    let first = decide(&mut browser, &form, "approve").await;
    let second = decide(&mut browser, &form, "approve").await;
    for name in ["state", "nonce", "code_challenge"] {
        let values = (first.location_param(name), second.location_param(name));
        assert!(values.0.is_some() && values.0 != values.1, "{name}");
    }
    for approved in [second, first] {
        let back = browser
            .sign_in_at_provider(approved.location(), "ada", "lovelace")
            .await;
        let answer = browser.get(back.location()).await;
        assert!(answer.location_param("code").is_some());
    }
}

#[tokio::test]
async fn a_provider_that_is_down_is_told_to_a_website_without_a_second_click() {
    let house = TestHouse::new().await;
    let fault = Some(Fault::Status(503));
    let control = house.cognito.control();
    control.set_fault(Endpoint::Discovery, fault, None);
    let mut browser = house.browser();
    let (_, form) = page(&house, &mut browser, WEB).await;
    let answer = decide(&mut browser, &form, "approve").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    answer.told(WEB, "temporarily_unavailable", Some(STATE));
    assert!(answer.set_cookies().is_empty());
    assert_eq!(control.calls(Endpoint::Authorize), 0);
}

#[tokio::test]
async fn what_is_wrong_with_the_provider_is_told_without_its_address() {
    let no_domain = CognitoOptions {
        pool_has_domain: false,
        ..CognitoOptions::default()
    };
    let house = TestHouse::build(no_domain, |_| {}).await;
    assert_server_error(&house).await;
    for fault in [Fault::WrongIssuer, Fault::TruncatedJson] {
        let house = TestHouse::new().await;
        let control = house.cognito.control();
        control.set_fault(Endpoint::Discovery, Some(fault), None);
        assert_server_error(&house).await;
    }
}

async fn assert_server_error(house: &TestHouse) {
    let mut browser = house.browser();
    let (_, form) = page(house, &mut browser, CALLBACK).await;
    let answer = decide(&mut browser, &form, "approve").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let told = answer.told(CALLBACK, "server_error", Some(STATE));
    for never in ["127.0.0.1", "EXAMPLE1", "cognito", "issuer", "json"] {
        assert!(!told.as_str().contains(never), "{never} in {told}");
    }
    assert!(answer.set_cookies().is_empty());
}
