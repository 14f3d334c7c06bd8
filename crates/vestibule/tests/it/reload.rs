//! A new configuration while the house serves: what is new at once, what goes on, and what is not forgotten.

mod front;
mod process;

use std::time::Duration;

use axum::body::Body;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::time::timeout;
use tower::ServiceExt as _;
use vestibule::keys::KeyRing;
use vestibule::settings::{EndpointLimits, Rate, Settings, TokenFormat};
use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::Clock as _;
use vestibule_standin::cognito::{Endpoint, Fault};

use crate::support::{CALLBACK, Client, ClientSite, TestHouse, tool_call};

#[tokio::test]
async fn a_new_setting_holds_from_the_next_request_on_and_nobody_signs_in_again() {
    let mut house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    house.reload(|settings, _| {
        settings.clients.registration = false;
        settings.resources[0].name = Some("Renamed".to_owned());
    });
    let body = json!({ "redirect_uris": [CALLBACK] });
    let refused = house.post_json("/register", &body).await;
    assert!(!refused.status.is_success(), "{}", refused.text());
    let metadata = house.get("/.well-known/oauth-protected-resource/mcp").await;
    assert_eq!(metadata.json()["resource_name"], "Renamed");
    house.whoami(&tokens.access).await;
    let refreshed = house.refresh(&client, &tokens.refresh).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
}

#[tokio::test]
async fn a_sign_in_goes_on_over_a_reload_at_every_step() {
    let mut house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    house.reload(|_, _| {});
    let mut browser = house.browser();
    let approved = house.approve(&mut browser, &client).await;
    house.reload(|_, _| {});
    let back = browser
        .sign_in_at_provider(approved.location(), "ada", "lovelace")
        .await;
    // The rest of the way in the same browser, at the new house.
    let jars = browser.jars;
    let mut browser = house.browser();
    browser.jars = jars;
    let code = browser.get(back.location()).await.location_param("code");
    house.reload(|_, _| {});
    let code = code.unwrap();
    let form = TestHouse::redemption(&client, &code);
    let answer = house.post_form("/token", &form).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

#[tokio::test]
async fn keys_are_rotated_without_logging_anybody_out() {
    for format in [TokenFormat::Sealed, TokenFormat::Jwt] {
        let mut house =
            TestHouse::with(|settings| settings.resources[0].token_format = format).await;
        let (client, tokens) = house.sign_in().await;
        let published = async |house: &TestHouse| {
            let keys = house.get("/jwks.json").await.json()["keys"].clone();
            keys.as_array().unwrap().len()
        };
        let before = published(&house).await;
        let more = KeyRing::generate(&SigningAlg::ALL, house.clock.now(), &SystemRandom).unwrap();
        house.reload(|_, ring| {
            ring.sealing.insert(0, more.sealing[0].clone());
            ring.signing.splice(0..0, more.signing.iter().cloned());
        });
        assert_eq!(published(&house).await, 2 * before);
        house.whoami(&tokens.access).await;
        let fresh = house.refresh(&client, &tokens.refresh).await;
        assert_eq!(fresh.status, StatusCode::OK, "{}", fresh.text());
        house
            .whoami(fresh.json()["access_token"].as_str().unwrap())
            .await;
    }
}

#[tokio::test]
async fn a_token_of_a_key_that_was_taken_away_is_refused_though_it_was_let_in_before() {
    for format in [TokenFormat::Sealed, TokenFormat::Jwt] {
        let mut house =
            TestHouse::with(|settings| settings.resources[0].token_format = format).await;
        let (_, tokens) = house.sign_in().await;
        house.whoami(&tokens.access).await;
        let now = house.clock.now();
        let other = KeyRing::generate(&[SigningAlg::Es256], now, &SystemRandom).unwrap();
        house.reload(|_, ring| *ring = other.clone());
        house.assert_shut(&tokens.access, "another ring").await;
    }
}

#[tokio::test]
async fn an_attacker_who_makes_the_operator_reload_gets_no_fresh_limit() {
    let change = |settings: &mut Settings| {
        settings.limits.register = EndpointLimits {
            total: Rate::parse("2/1h").ok(),
            ..EndpointLimits::default()
        };
    };
    let mut house = TestHouse::with(change).await;
    house.register(CALLBACK).await;
    house.register(CALLBACK).await;
    house.reload(|settings, _| settings.resources[0].name = None);
    let body = json!({ "redirect_uris": [CALLBACK] });
    let answer = house.post_json("/register", &body).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_revoked_token_stays_revoked() {
    let mut house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let form = [
        ("token", tokens.access.as_str()),
        ("client_id", client.id.as_str()),
    ];
    assert_eq!(
        house.post_form("/revoke", &form).await.status,
        StatusCode::OK
    );
    house.reload(|_, _| {});
    let (_, body) = tool_call("whoami", &json!({}));
    let answer = house.call(&tokens.access, &body).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_known_of_providers_and_clients_is_kept_while_they_are_the_same() {
    let site = ClientSite::start().await;
    let mut house = TestHouse::with(|settings| site.configure(settings)).await;
    let id = "https://client.example/oauth/client.json";
    let redirect_uri = "https://client.example/cb";
    site.serves(&json!({ "client_id": id, "client_name": "C", "redirect_uris": [redirect_uri] }));
    let authorize = async |house: &TestHouse| {
        let client = Client {
            id: id.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            verifier: CodeVerifier::generate(&SystemRandom).expose().to_owned(),
        };
        let challenge = TestHouse::challenge(&client);
        let url = TestHouse::authorize_url(&TestHouse::authorization(&client, &challenge));
        let answer = house.browser().get(&url).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    };
    let (client, tokens) = house.sign_in().await;
    authorize(&house).await;
    let asked = (
        house.cognito.control().calls(Endpoint::Discovery),
        house.cognito.control().calls(Endpoint::Jwks),
    );
    let down = Some(Fault::Status(503));
    house
        .cognito
        .control()
        .set_fault(Endpoint::Discovery, down, None);
    house.reload(|settings, _| {
        settings.provider.label = "Work".to_owned();
        settings.clients.registration = false;
    });
    authorize(&house).await;
    let ready = house.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK, "{}", ready.text());
    let fresh = house.refresh(&client, &tokens.refresh).await;
    assert_eq!(fresh.status, StatusCode::OK, "{}", fresh.text());
    assert_eq!(site.requests(), 1, "the document is still in memory");
    assert_eq!(
        (
            house.cognito.control().calls(Endpoint::Discovery),
            house.cognito.control().calls(Endpoint::Jwks)
        ),
        asked
    );
    // Other limits for documents: what was read under the old ones does not count.
    house.reload(|settings, _| settings.clients.document_max_bytes = 2048);
    authorize(&house).await;
    assert_eq!(site.requests(), 2);
}

#[tokio::test]
async fn a_stream_goes_on_in_the_old_house_until_its_end() {
    let mut house = TestHouse::new().await;
    let (_, tokens) = house.sign_in().await;
    let (headers, mut body) = tool_call("countdown", &json!({ "from": 8, "interval_ms": 100 }));
    body["params"]["_meta"]["progressToken"] = json!("p");
    let mut request = Request::post("/mcp")
        .header(HOST, "mcp.example.test")
        .header(AUTHORIZATION, format!("Bearer {}", tokens.access));
    for (name, value) in &headers {
        request = request.header(*name, value);
    }
    let request = request.body(Body::from(body.to_string())).unwrap();
    let response = house.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut stream = response.into_body();
    let mut text = String::new();
    let mut reloaded = false;
    while let Some(frame) = timeout(Duration::from_secs(10), stream.frame())
        .await
        .unwrap()
    {
        if let Ok(data) = frame.unwrap().into_data() {
            text.push_str(std::str::from_utf8(&data).unwrap());
        }
        if !reloaded && text.contains("6 to go") {
            // The old house is held by nothing but this stream; even its resource is gone.
            house.reload(|settings, _| {
                settings.resources[0].timeout = Duration::from_secs(1);
                settings.resources[0].ca_file = None;
            });
            reloaded = true;
        }
    }
    assert!(reloaded && text.contains("\"counted\":8"), "{text}");
}
