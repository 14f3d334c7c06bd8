//! S16: faults on command, counters, and the control endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use vestibule_oauth::time::SystemClock;
use vestibule_standin::cognito::{Cognito, CognitoOptions, Endpoint, Fault};

use crate::harness::{Answer, Browser, CALLBACK, Street, jwt_part, text};

async fn discovery(street: &Street) -> Answer {
    let url = format!(
        "{}/.well-known/openid-configuration",
        street.cognito.issuer()
    );
    Browser::default().get(&url).await
}

async fn control(street: &Street, method: Method, path: &str, body: &Value) -> Answer {
    let url = format!("{}/_control/{path}", street.cognito.domain());
    Browser::default()
        .send(method, &url, &[], Some(body.to_string()))
        .await
}

#[tokio::test]
async fn s16_a_fault_lasts_as_often_as_asked_and_calls_are_counted() {
    let street = Street::open().await;
    let hand = street.cognito.control();
    hand.set_fault(Endpoint::Token, Some(Fault::Status(503)), Some(2));
    for _ in 0..2 {
        let answer = street.redeem("x").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    street.redeem("x").await.assert_error("invalid_grant");
    assert_eq!(hand.calls(Endpoint::Token), 3);
    assert_eq!(hand.calls(Endpoint::Authorize), 0);
    hand.reset_counters();
    assert_eq!(hand.calls(Endpoint::Token), 0);
}

#[tokio::test]
async fn s16_truncated_json_has_the_effects_of_the_whole_answer() {
    let street = Street::open().await;
    let code = street.sign_in(&[]).await.param("code");
    let hand = street.cognito.control();
    hand.set_fault(Endpoint::Token, Some(Fault::TruncatedJson), Some(1));
    let answer = street.redeem(&code).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.starts_with('{'));
    assert!(serde_json::from_str::<Value>(&answer.body).is_err());
    street.redeem(&code).await.assert_error("invalid_grant");
}

#[tokio::test]
async fn s16_a_wrong_issuer_shows_in_discovery_and_tokens() {
    let street = Street::open().await;
    let hand = street.cognito.control();
    hand.set_fault(Endpoint::Discovery, Some(Fault::WrongIssuer), Some(1));
    let wrong = format!("{}/", street.cognito.issuer());
    assert_eq!(discovery(&street).await.json()["issuer"], wrong);
    assert_eq!(
        discovery(&street).await.json()["issuer"],
        street.cognito.issuer()
    );
    hand.set_fault(Endpoint::Token, Some(Fault::WrongIssuer), None);
    let tokens = street.tokens(&[]).await;
    assert_eq!(jwt_part(&tokens["id_token"], 1)["iss"], wrong);
    hand.clear_faults();
    let tokens = street.tokens(&[]).await;
    assert_eq!(
        jwt_part(&tokens["id_token"], 1)["iss"],
        street.cognito.issuer()
    );
}

#[tokio::test]
async fn s16_a_firewall_answers_html() {
    let street = Street::open().await;
    let fault = Some(Fault::HtmlForbidden);
    street
        .cognito
        .control()
        .set_fault(Endpoint::Jwks, fault, None);
    let url = format!("{}/.well-known/jwks.json", street.cognito.issuer());
    let answer = Browser::default().get(&url).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.header("content-type").starts_with("text/html"));
}

#[tokio::test]
async fn s16_slow_answers_and_answers_that_never_come() {
    let street = Street::open().await;
    let hand = street.cognito.control();
    let delay = Duration::from_millis(150);
    hand.set_fault(Endpoint::Discovery, Some(Fault::Slow(delay)), Some(1));
    let begin = Instant::now();
    assert_eq!(discovery(&street).await.status, StatusCode::OK);
    assert!(begin.elapsed() >= delay);

    hand.set_fault(Endpoint::Discovery, Some(Fault::Timeout), None);
    let waited = tokio::time::timeout(delay, discovery(&street)).await;
    assert!(waited.is_err());
}

#[tokio::test]
async fn s16_an_identity_provider_error_reaches_the_callback() {
    let street = Street::open().await;
    let fault = Fault::RedirectError {
        error: "invalid_request".to_owned(),
        description: "Okta Error - 502 Bad Gateway".to_owned(),
    };
    let hand = street.cognito.control();
    hand.set_fault(Endpoint::Authorize, Some(fault.clone()), Some(1));
    assert_eq!(
        street.authorize(&[]).await.location(),
        format!(
            "{CALLBACK}?error_description=Okta+Error+-+502+Bad+Gateway&state=s-1&error=invalid_request"
        )
    );
    hand.set_fault(Endpoint::Authorize, Some(fault), Some(1));
    let stranger = street
        .authorize(&[("redirect_uri", Some("https://evil.example"))])
        .await;
    assert!(
        stranger.location().contains("/error?"),
        "never to a stranger"
    );
}

#[tokio::test]
async fn s16_an_error_of_choice_at_the_token_endpoint() {
    let street = Street::open().await;
    let fault = Fault::ErrorJson(400, "invalid_grant".to_owned());
    let hand = street.cognito.control();
    hand.set_fault(Endpoint::Token, Some(fault), None);
    let tokens = street.refresh("whatever").await;
    tokens.assert_error("invalid_grant");
}

#[tokio::test]
async fn the_control_endpoint_does_over_http_what_the_handle_does_in_process() {
    let street = Street::open().await;
    let body = json!({ "endpoint": "token", "fault": { "status": 503 }, "times": 1 });
    let set = control(&street, Method::POST, "fault", &body).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.body);
    let broken = street.redeem("x").await;
    assert_eq!(broken.status, StatusCode::SERVICE_UNAVAILABLE);

    for fault in [
        json!("timeout"),
        json!("truncated_json"),
        json!({ "slow_ms": 5 }),
        json!("wrong_issuer"),
        json!("html_forbidden"),
        json!({ "redirect_error": { "error": "a", "description": "b" } }),
        json!({ "error_json": [400, "invalid_grant"] }),
        Value::Null,
    ] {
        let body = json!({ "endpoint": "authorize", "fault": fault });
        let set = control(&street, Method::POST, "fault", &body).await;
        assert_eq!(set.status, StatusCode::OK, "{fault}: {}", set.body);
    }
    for (path, body) in [
        ("fault", json!({ "endpoint": "nowhere" })),
        ("fault", json!({ "endpoint": "token", "fault": "fire" })),
        ("lifetimes", json!({ "acess_seconds": 1 })),
        ("callbacks", json!({ "url": "x", "client_id": "nobody" })),
    ] {
        let answer = control(&street, Method::POST, path, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let none = json!({});
    for (method, path) in [
        (Method::DELETE, "faults"),
        (Method::POST, "rotate-keys"),
        (Method::POST, "end-sessions"),
    ] {
        assert_eq!(control(&street, method, path, &none).await.status, 200);
    }

    let late = json!({ "url": "http://localhost:1/late" });
    control(&street, Method::POST, "callbacks", &late).await;
    let answer = street
        .authorize(&[("redirect_uri", Some("http://localhost:1/late"))])
        .await;
    assert!(answer.location().contains("/login?"));

    let short = json!({ "access_seconds": 7 });
    control(&street, Method::POST, "lifetimes", &short).await;
    let tokens = street.tokens(&[]).await;
    assert_eq!(tokens["expires_in"], 7);

    street.refresh(text(&tokens, "refresh_token")).await;
    let counters = control(&street, Method::GET, "counters", &none)
        .await
        .json();
    assert_eq!(counters["calls"]["token"], 3);
    assert_eq!(counters["refreshes_total"], 1);
    assert_eq!(
        counters["refreshes_by_token_sha256"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
    control(&street, Method::POST, "revoke-all", &none).await;
    street
        .refresh(text(&tokens, "refresh_token"))
        .await
        .assert_error("invalid_grant");
}

#[tokio::test]
async fn a_web_page_in_the_developers_browser_cannot_reach_the_control_endpoint() {
    let street = Street::open().await;
    let url = format!("{}/_control/revoke-all", street.cognito.domain());
    for header in [
        ("origin", "https://evil.example"),
        ("host", "rebound.evil.example"),
    ] {
        let answer = Browser::default()
            .send(Method::POST, &url, &[header], None)
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{header:?}");
    }
}

#[tokio::test]
async fn an_address_that_is_not_loopback_is_refused() {
    let options = CognitoOptions {
        domain_address: SocketAddr::from(([0, 0, 0, 0], 0)),
        ..CognitoOptions::default()
    };
    let refused = Cognito::start(options, Arc::new(SystemClock)).await;
    let error = refused.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn shutdown_and_drop_close_the_listeners_even_with_a_request_hanging() {
    let street = Street::open().await;
    let url = street.authorize_url(&[]);
    let hand = street.cognito.control();
    hand.set_fault(Endpoint::Authorize, Some(Fault::Timeout), None);
    let hanging = tokio::spawn(async move { Browser::default().get(&url).await.status });
    while street.cognito.control().calls(Endpoint::Authorize) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let address: SocketAddr = street
        .cognito
        .domain()
        .trim_start_matches("http://")
        .parse()
        .unwrap();
    tokio::time::timeout(Duration::from_secs(3), street.cognito.shutdown())
        .await
        .unwrap();
    assert_eq!(hanging.await.unwrap(), StatusCode::GATEWAY_TIMEOUT);
    tokio::net::TcpListener::bind(address).await.unwrap();

    let street = Street::open().await;
    let address: SocketAddr = street
        .cognito
        .domain()
        .trim_start_matches("http://")
        .parse()
        .unwrap();
    drop(street);
    tokio::time::timeout(Duration::from_secs(3), async {
        while tokio::net::TcpListener::bind(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}
