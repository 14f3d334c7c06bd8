//! `POST /consent`: only the browser that was shown the page decides, and the provider sees nothing of the client's.

mod forms;
mod remembered;

use http::{Method, StatusCode};
use url::Url;
use vestibule_standin::cognito::{Endpoint, Fault};

use crate::support::{Answer, Browser, CALLBACK, Client, ORIGIN, TestHouse};

const STATE: &str = "client state &=#+é";
const CONSENT: &str = "https://mcp.example.test/consent";
const STOPPED: &str = "The sign-in was stopped for your safety";

/// The consent page for a good request of a new client.
async fn page(house: &TestHouse, browser: &mut Browser, redirect_uri: &str) -> (Client, Answer) {
    let client = house.register(redirect_uri).await;
    let challenge = TestHouse::challenge(&client);
    let page = browser
        .get(&TestHouse::authorize_url(&TestHouse::authorization(
            &client, &challenge,
        )))
        .await;
    assert_eq!(page.status, StatusCode::OK);
    (client, page)
}

async fn decide(browser: &mut Browser, page: &Answer, decision: &str) -> Answer {
    browser
        .post(
            CONSENT,
            &[("ticket", &page.input("ticket")), ("decision", decision)],
        )
        .await
}

/// Nothing happened: a page, no cookie of a flow, and the provider was not asked.
#[track_caller]
fn assert_nothing_happened(house: &TestHouse, answer: &Answer, status: StatusCode, title: &str) {
    answer.assert_refusal_page(status, title);
    assert!(answer.set_cookies().is_empty());
    house.assert_provider_untouched();
}

#[tokio::test]
async fn approval_sends_the_browser_to_the_provider_with_nothing_of_the_clients() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (client, page) = page(&house, &mut browser, CALLBACK).await;
    let answer = decide(&mut browser, &page, "approve").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("cache-control"), "no-store");
    let url = Url::parse(answer.location()).unwrap();
    assert!(url.as_str().starts_with(house.cognito.domain()), "{url}");
    let mut names: Vec<String> = url
        .query_pairs()
        .map(|(name, _)| name.into_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "client_id",
            "code_challenge",
            "code_challenge_method",
            "nonce",
            "redirect_uri",
            "response_type",
            "scope",
            "state"
        ]
    );
    let param = |name| answer.location_param(name).unwrap();
    assert_eq!(param("client_id"), house.cognito.client_id());
    assert_eq!(param("redirect_uri"), format!("{ORIGIN}/callback"));
    assert_eq!(param("scope"), "openid email profile");
    assert_eq!(param("code_challenge_method"), "S256");
    assert_ne!(
        param("code_challenge"),
        TestHouse::challenge(&client),
        "our own PKCE"
    );
    assert_eq!(param("state").len(), 22);
    assert!(!url.as_str().contains("client+state") && !url.as_str().contains("localhost%3A4711"));

    let flow: Vec<&str> = answer.set_cookies();
    assert_eq!(flow.len(), 1, "{flow:?}");
    assert!(
        flow[0].starts_with(&format!("__Host-vestibule-flow-{}=vfl_", param("state"))),
        "{flow:?}"
    );
    for attribute in [
        "; Path=/",
        "; Max-Age=600",
        "; HttpOnly",
        "; SameSite=Lax",
        "; Secure",
    ] {
        assert!(flow[0].contains(attribute), "{flow:?}");
    }
}

#[tokio::test]
async fn a_configured_resource_is_sent_to_the_provider_and_the_clients_is_not() {
    let house =
        TestHouse::with(|settings| settings.provider.resource = Some("https://api.example".into()))
            .await;
    let mut browser = house.browser();
    let (_, page) = page(&house, &mut browser, CALLBACK).await;
    let answer = decide(&mut browser, &page, "approve").await;
    assert_eq!(
        answer.location_param("resource").as_deref(),
        Some("https://api.example")
    );
}

#[tokio::test]
async fn denial_is_access_denied_by_redirect_on_this_computer() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, page) = page(&house, &mut browser, CALLBACK).await;
    let answer = decide(&mut browser, &page, "deny").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    answer.told(CALLBACK, "access_denied", Some(STATE));
    assert!(answer.set_cookies().is_empty());
    house.assert_provider_untouched();
}

#[tokio::test]
async fn denial_waits_for_a_click_when_the_answer_goes_to_a_website() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, page) = page(&house, &mut browser, "https://app.example/cb").await;
    let answer = decide(&mut browser, &page, "deny").await;
    answer.assert_page(StatusCode::OK, "Nothing was allowed");
    answer.told("https://app.example/cb", "access_denied", Some(STATE));
}

#[tokio::test]
async fn t5_a_live_session_at_the_provider_does_not_skip_consent() {
    // GHSA-c2jp-c369-7pvx: the provider signs a known browser in without a word, so our page is the only gate.
    let house = TestHouse::new().await;
    let victim_client = house.register(CALLBACK).await;
    let mut victim = house.browser();
    let signed_in = house
        .browse(&mut victim, &victim_client, "ada", "lovelace")
        .await;
    assert!(signed_in.location_param("code").is_some());
    house.cognito.control().reset_counters();

    let attacker = house.register("https://evil.example/cb").await;
    let challenge = TestHouse::challenge(&attacker);
    let page = victim
        .get(&TestHouse::authorize_url(&TestHouse::authorization(
            &attacker, &challenge,
        )))
        .await;
    page.assert_page(StatusCode::OK, "Allow Test?");
    assert!(page.text().contains("evil.example"));
    house.assert_provider_untouched();
}

#[tokio::test]
async fn t8_a_ticket_of_the_attackers_is_worthless_in_another_browser() {
    // FastMCP #3519: a cross-site form with the attacker's own transaction.
    let house = TestHouse::new().await;
    let mut attacker = house.browser();
    let (_, page) = page(&house, &mut attacker, "https://evil.example/cb").await;
    let fields = [
        ("ticket", page.input("ticket")),
        ("decision", "approve".to_owned()),
    ];
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();

    // A victim without any cookie, and one with a cookie of its own.
    let mut victim = house.browser();
    let answer = victim.post(CONSENT, &fields).await;
    assert_nothing_happened(&house, &answer, StatusCode::FORBIDDEN, STOPPED);
    let own_client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&own_client);
    victim
        .get(&TestHouse::authorize_url(&TestHouse::authorization(
            &own_client,
            &challenge,
        )))
        .await;
    let answer = victim.post(CONSENT, &fields).await;
    assert_nothing_happened(&house, &answer, StatusCode::FORBIDDEN, STOPPED);
}

#[tokio::test]
async fn t8_a_form_sent_by_another_site_counts_for_nothing() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, page) = page(&house, &mut browser, CALLBACK).await;
    let ticket = page.input("ticket");
    let fields = [("ticket", ticket.as_str()), ("decision", "approve")];
    for headers in [
        vec![
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ],
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
        vec![("origin", "https://mcp.example.test:8443")],
        vec![("origin", "http://mcp.example.test")],
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("origin", ORIGIN), ("sec-fetch-site", "none")],
    ] {
        let answer = browser
            .send(Method::POST, CONSENT, &headers, Some(&fields))
            .await;
        assert_nothing_happened(&house, &answer, StatusCode::FORBIDDEN, STOPPED);
    }
    // A browser too old to say where the form stood is still held to its cookie.
    let answer = browser
        .send(Method::POST, CONSENT, &[], Some(&fields))
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_ticket_ends_after_fifteen_minutes() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (_, page) = page(&house, &mut browser, CALLBACK).await;
    house.clock.advance(899);
    assert_eq!(
        decide(&mut browser, &page, "deny").await.status,
        StatusCode::SEE_OTHER
    );
    house.clock.advance(1);
    let answer = decide(&mut browser, &page, "approve").await;
    assert_nothing_happened(
        &house,
        &answer,
        StatusCode::BAD_REQUEST,
        "This page was open for too long",
    );
}

#[tokio::test]
async fn a_form_that_is_not_ours_counts_for_nothing() {
    let house = TestHouse::new().await;
    let mut browser = house.browser();
    let (client, page) = page(&house, &mut browser, CALLBACK).await;
    let ticket = page.input("ticket");
    let mut tampered = ticket.clone().into_bytes();
    tampered[40] ^= 1;
    let tampered = String::from_utf8(tampered).unwrap();
    let renamed = client.id.replace("vcl_", "vct_");
    for fields in [
        vec![("ticket", tampered.as_str()), ("decision", "approve")],
        vec![("ticket", renamed.as_str()), ("decision", "approve")],
        vec![("ticket", client.id.as_str()), ("decision", "approve")],
        vec![("ticket", ""), ("decision", "approve")],
        vec![("decision", "approve")],
        vec![("ticket", ticket.as_str())],
        vec![("ticket", ticket.as_str()), ("decision", "maybe")],
        vec![
            ("ticket", ticket.as_str()),
            ("decision", "approve"),
            ("decision", "deny"),
        ],
    ] {
        let answer = browser.post(CONSENT, &fields).await;
        assert_nothing_happened(
            &house,
            &answer,
            StatusCode::BAD_REQUEST,
            "Your answer could not be read",
        );
    }
    let large = "a".repeat(40_000);
    let answer = browser
        .post(CONSENT, &[("ticket", &large), ("decision", "approve")])
        .await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        browser.get(CONSENT).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test]
async fn a_provider_that_is_down_is_told_to_the_client_and_forgotten_when_it_is_back() {
    let house = TestHouse::new().await;
    house
        .cognito
        .control()
        .set_fault(Endpoint::Discovery, Some(Fault::Status(503)), None);
    let mut browser = house.browser();
    let (_, page) = page(&house, &mut browser, CALLBACK).await;
    let answer = decide(&mut browser, &page, "approve").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    answer.told(CALLBACK, "temporarily_unavailable", Some(STATE));
    assert!(answer.set_cookies().is_empty());
    let ready = house.get("/readyz").await;
    assert_eq!(
        (
            ready.status,
            ready.json()["status"].as_str().unwrap().to_owned()
        ),
        (StatusCode::SERVICE_UNAVAILABLE, "waiting".into())
    );

    house.cognito.control().clear_faults();
    house.clock.advance(5);
    assert_eq!(
        decide(&mut browser, &page, "approve").await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(house.get("/readyz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn two_tabs_finish_in_either_order() {
    let house = TestHouse::new().await;
    for first in [0, 1] {
        let mut browser = house.browser();
        let (one, page_one) = page(&house, &mut browser, CALLBACK).await;
        let (two, page_two) = page(&house, &mut browser, "http://localhost:4712/callback").await;
        let approved = [
            decide(&mut browser, &page_one, "approve").await,
            decide(&mut browser, &page_two, "approve").await,
        ];
        let clients = [&one, &two];
        for tab in [first, 1 - first] {
            let back = browser
                .sign_in_at_provider(approved[tab].location(), "ada", "lovelace")
                .await;
            let answer = browser.get(back.location()).await;
            let code = answer.location_param("code").expect("a code for each tab");
            assert!(
                answer.location().starts_with(&clients[tab].redirect_uri),
                "{}",
                answer.location()
            );
            let tokens = house
                .post_form("/token", &TestHouse::redemption(clients[tab], &code))
                .await;
            assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
        }
    }
}
