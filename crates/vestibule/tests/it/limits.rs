//! Limits, trusted proxies and the origin lock, from the outside: who is refused, how, and who never is.

use std::net::SocketAddr;

use axum::body::Body;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use serde_json::json;
use tower::ServiceExt as _;
use vestibule::arrival::PeerAddr;
use vestibule::settings::{EndpointLimits, Rate, Settings};
use vestibule_oauth::secret::Secret;
use vestibule_standin::cognito::Endpoint;

use crate::support::{Answer, CALLBACK, MCP, TestHouse};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn rate(text: &str) -> Option<Rate> {
    Rate::parse(text).ok()
}

fn per_address(text: &str) -> EndpointLimits {
    EndpointLimits {
        per_address: rate(text),
        ..EndpointLimits::default()
    }
}

async fn house(change: impl FnOnce(&mut Settings)) -> TestHouse {
    TestHouse::with(change).await
}

/// A request over a connection from `peer`.
async fn from(
    house: &TestHouse,
    peer: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "mcp.example.test")
        .extension(PeerAddr(SocketAddr::new(peer.parse().unwrap(), 5000)));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    house
        .send(request.body(Body::from(body.to_owned())).unwrap())
        .await
}

async fn register_from(house: &TestHouse, peer: &str, headers: &[(&str, &str)]) -> Answer {
    let body = json!({ "redirect_uris": [CALLBACK] }).to_string();
    let headers = [&[("content-type", "application/json")], headers].concat();
    from(house, peer, Method::POST, "/register", &headers, &body).await
}

#[track_caller]
fn assert_oauth_429(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.error(), "temporarily_unavailable");
    assert_eq!(answer.json()["reference"].as_str().unwrap().len(), 13);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(answer.header("cache-control"), "no-store");
    // A browser-based client can read it.
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(
        answer
            .header("access-control-expose-headers")
            .to_ascii_lowercase()
            .contains("retry-after")
    );
}

#[tokio::test]
async fn a_flood_of_registrations_from_one_network_is_refused_and_nobody_elses() {
    let house = house(|settings| settings.limits.register = per_address("3/1m")).await;
    for last in 1..=3 {
        let answer = register_from(&house, &format!("203.0.113.{last}"), &[]).await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    assert_oauth_429(&register_from(&house, "203.0.113.9", &[]).await);
    let elsewhere = register_from(&house, "198.51.100.1", &[]).await;
    assert_eq!(elsewhere.status, StatusCode::CREATED);
    house.clock.advance(20);
    let later = register_from(&house, "203.0.113.9", &[]).await;
    assert_eq!(later.status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_attacker_who_invents_addresses_in_x_forwarded_for_is_counted_as_one() {
    let house = house(|settings| {
        settings.limits.register = per_address("3/1m");
        settings.server.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut statuses = Vec::new();
    for number in 0..5 {
        let invented = format!("192.0.{number}.1, 203.0.113.7");
        let header = [("x-forwarded-for", invented.as_str())];
        statuses.push(
            register_from(&house, "10.0.0.5", &header)
                .await
                .status
                .as_u16(),
        );
    }
    assert_eq!(statuses, [201, 201, 201, 429, 429]);
    // The people behind the same proxy are apart from the attacker.
    let other = register_from(&house, "10.0.0.5", &[("x-forwarded-for", "198.51.100.1")]).await;
    assert_eq!(other.status, StatusCode::CREATED);
}

#[tokio::test]
async fn discovery_keys_health_and_preflights_are_never_answered_with_429() {
    let house = house(|settings| {
        let one = EndpointLimits {
            per_address: rate("1/24h"),
            total: rate("1/24h"),
            ..EndpointLimits::default()
        };
        settings.limits.register = one;
        settings.limits.token = one;
        settings.limits.authorize = one;
    })
    .await;
    for _ in 0..3 {
        for path in [
            "/.well-known/oauth-protected-resource/mcp",
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
            "/jwks.json",
            "/healthz",
        ] {
            let answer = from(&house, "203.0.113.1", Method::GET, path, &[], "").await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
        }
        let preflight = [
            ("origin", "https://app.example"),
            ("access-control-request-method", "POST"),
        ];
        let answer = from(
            &house,
            "203.0.113.1",
            Method::OPTIONS,
            "/token",
            &preflight,
            "",
        )
        .await;
        assert!(answer.status.is_success(), "{}", answer.status);
        let wrong = from(&house, "203.0.113.1", Method::GET, "/token", &[], "").await;
        assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
        let challenge = from(&house, "203.0.113.1", Method::POST, "/mcp", &[], "{}").await;
        assert_eq!(challenge.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_person_gets_a_page_and_can_go_on_after_reloading_it() {
    let house = house(|settings| {
        settings.limits.callback.total = rate("1/1m");
    })
    .await;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    let first = house.browse(&mut browser, &client, "ada", "lovelace").await;
    assert!(first.location_param("code").is_some());

    let approved = house.approve(&mut browser, &client).await;
    let back = browser
        .sign_in_at_provider(approved.location(), "ada", "lovelace")
        .await;
    let refused = browser.get(back.location()).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.header("content-type").starts_with("text/html"));
    assert_eq!(refused.header("retry-after"), "60");
    let page = refused.text();
    assert!(
        page.contains("Reference") && page.contains("Wait 60 seconds"),
        "{page}"
    );
    house.clock.advance(60);
    let again = browser.get(back.location()).await;
    assert!(again.location_param("code").is_some(), "{}", again.text());
}

#[tokio::test]
async fn a_flood_of_sign_outs_is_stopped_before_the_provider_and_the_page_is_not() {
    let house = house(|settings| settings.limits.logout.total = rate("2/1m")).await;
    let form = [("provider", "nobody")];
    for expected in [400, 400, 429] {
        let answer = house.post_form("/logout", &form).await;
        assert_eq!(answer.status.as_u16(), expected);
    }
    let refused = house.post_form("/logout", &form).await;
    assert_eq!(refused.header("retry-after"), "30");
    assert_eq!(house.get("/logout").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_refreshes_in_a_loop_is_stopped_before_the_provider_and_keeps_its_token() {
    let house = house(|settings| {
        settings.limits.token.per_user = rate("5/1m");
    })
    .await;
    let (client, tokens) = house.sign_in().await;
    house.cognito.control().reset_counters();
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(
            house
                .refresh(&client, &tokens.refresh)
                .await
                .status
                .as_u16(),
        );
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
    // The same token within a minute is one question.
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 1);
    assert_oauth_429(&house.refresh(&client, &tokens.refresh).await);
    house.clock.advance(12);
    let later = house.refresh(&client, &tokens.refresh).await;
    assert_eq!(later.status, StatusCode::OK, "{}", later.text());
}

#[tokio::test]
async fn one_client_behind_a_shared_address_does_not_lock_its_neighbours_out() {
    let house = house(|settings| {
        settings.limits.token.per_client = rate("4/1m");
    })
    .await;
    let loud = house.register(CALLBACK).await;
    let quiet = house.register(CALLBACK).await;
    let redeem = async |client: &crate::support::Client| {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(TestHouse::redemption(client, "vco_nonsense"))
            .finish();
        let headers = [(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")];
        from(
            &house,
            "203.0.113.7",
            Method::POST,
            "/token",
            &headers,
            &form,
        )
        .await
    };
    for _ in 0..4 {
        assert_eq!(redeem(&loud).await.error(), "invalid_grant");
    }
    assert_oauth_429(&redeem(&loud).await);
    assert_eq!(redeem(&quiet).await.error(), "invalid_grant");
}

#[tokio::test]
async fn a_user_who_floods_the_tools_gets_a_json_rpc_429_and_others_do_not() {
    let house = house(|settings| {
        settings.limits.mcp.per_user = rate("2/1m");
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "t", "version": "1" } } });
    assert_eq!(house.call(&tokens.access, &call).await.status, 200);
    assert_eq!(house.call(&tokens.access, &call).await.status, 200);
    let reached = house.demo.requests();
    let refused = house.call(&tokens.access, &call).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.header("retry-after"), "30");
    assert_eq!(refused.json()["jsonrpc"], "2.0");
    assert_eq!(house.demo.requests(), reached);

    let client = house.register(CALLBACK).await;
    let code = house
        .browse(&mut house.browser(), &client, "bob", "builder")
        .await
        .location_param("code")
        .unwrap();
    let answer = house
        .post_form("/token", &TestHouse::redemption(&client, &code))
        .await;
    let bob = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(house.call(&bob, &call).await.status, 200);
}

#[tokio::test]
async fn the_defaults_meet_no_honest_client() {
    let house = house(|_| {}).await;
    // A hosted assistant: a burst of users registering and signing in from one network.
    for _ in 0..500 {
        let answer = register_from(&house, "203.0.113.7", &[]).await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    // rmcp: a refresh for every request in the last half minute of a token.
    let (client, tokens) = house.sign_in().await;
    for _ in 0..100 {
        let answer = house.refresh(&client, &tokens.refresh).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn an_attacker_who_goes_around_the_front_reaches_nothing_but_health() {
    let house = house(|settings| {
        settings.server.origin_secrets = vec![Secret::new(SECRET)];
    })
    .await;
    for (method, path) in [
        (Method::GET, "/.well-known/oauth-authorization-server"),
        (Method::GET, "/authorize"),
        (Method::POST, "/token"),
        (Method::POST, "/mcp"),
        (Method::OPTIONS, "/mcp"),
        (Method::GET, "/nothing"),
    ] {
        let answer = house.request(method.clone(), path, &[], "").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
        assert_eq!(answer.error(), "access_denied");
        assert!(!answer.text().contains(SECRET));
        let wrong = [("x-vestibule-origin", "0123456789abcdef0123456789abcdeF")];
        let answer = house.request(method.clone(), path, &wrong, "").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
    assert_eq!(house.get("/healthz").await.status, StatusCode::OK);
    let right = [("x-vestibule-origin", SECRET)];
    let path = "/.well-known/oauth-authorization-server";
    let answer = house.request(Method::GET, path, &right, "").await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn the_secret_of_the_front_does_not_reach_the_mcp_server() {
    let house = TestHouse::new().await;
    let (_, tokens) = house.sign_in().await;
    let bearer = format!("Bearer {}", tokens.access);
    let locked = house_with_lock(&house);
    let request = Request::post("/mcp")
        .header(HOST, "mcp.example.test")
        .header("authorization", bearer)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("x-vestibule-origin", SECRET)
        .body(Body::from(
            json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string(),
        ))
        .unwrap();
    let before = house.demo.requests();
    locked.oneshot(request).await.unwrap();
    assert_eq!(house.demo.requests(), before + 1);
    let seen = house.demo.last_headers();
    assert!(
        !seen.contains_key("x-vestibule-origin") && seen.values().all(|value| value != SECRET),
        "{seen:?}"
    );
    assert_eq!(house.settings.resources[0].uri.as_str(), MCP);
}

/// A replica of `house` behind a front.
fn house_with_lock(house: &TestHouse) -> axum::Router {
    let mut settings = house.settings.clone();
    settings.server.origin_secrets = vec![Secret::new(SECRET)];
    house.replica_with(&settings, 7)
}
