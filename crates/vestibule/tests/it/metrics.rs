//! The metrics of a whole house: what a sign-in, a call and an attack count, and that nothing from outside is a label.

mod names;

use std::collections::BTreeMap;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::json;
use tower::ServiceExt as _;
use vestibule::settings::{MetricsSettings, Settings, StorePlace};
use vestibule_standin::cognito::{CognitoOptions, Endpoint, Fault};

use crate::policy::set_rules;
use crate::support::{Answer, CALLBACK, TestHouse, Tokens, whole};

const RULES: &str = "
[[resource.rule]]
tools = [\"admin_*\"]
groups = [\"nobody\"]
";

fn with_metrics(settings: &mut Settings) {
    settings.metrics = Some(MetricsSettings {
        listen: ([127, 0, 0, 1], 9464).into(),
    });
    settings.store.place = StorePlace::Memory;
    set_rules(settings, RULES);
}

pub(super) async fn house() -> TestHouse {
    TestHouse::stored(CognitoOptions::default(), with_metrics).await
}

async fn ask(house: &TestHouse, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(Method::GET).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let router = house.house.metrics_router().unwrap();
    let request = request.body(Body::empty()).unwrap();
    whole(router.oneshot(request).await.unwrap()).await
}

pub(super) async fn exposition(house: &TestHouse) -> String {
    let answer = ask(house, "/metrics", &[("host", "127.0.0.1:9464")]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.text()
}

/// Every sample by its series.
pub(super) struct Scrape(pub(super) BTreeMap<String, f64>);

impl Scrape {
    pub(super) async fn of(house: &TestHouse) -> Self {
        let text = exposition(house).await;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        };
        Self(samples.map(sample).collect())
    }

    /// Zero for a series that is not there.
    #[track_caller]
    fn assert(&self, series: &str, value: u32) {
        let found = self.0.get(series).copied().unwrap_or_default();
        let near = |own: &&String| own.starts_with(series.split('{').next().unwrap());
        let near: Vec<_> = self.0.keys().filter(near).collect();
        assert!(
            (found - f64::from(value)).abs() < f64::EPSILON,
            "{series} is {found} and not {value}; there are {near:#?}"
        );
    }
}

#[tokio::test]
async fn the_counters_tell_a_sign_in_a_call_a_refresh_a_refusal_and_a_reuse() {
    let house = house().await;
    house.get("/mcp").await;
    let (client, tokens) = house.sign_in().await;
    house.whoami(&tokens.access).await;
    let forbidden = house
        .tool_at("/mcp", &tokens.access, &[], "admin_wipe")
        .await;
    assert!(
        forbidden.text().contains("Unknown tool"),
        "{}",
        forbidden.text()
    );
    house.clock.advance(tokens.expires_in);
    let second = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    house.clock.advance(61);
    let third = Tokens::of(&house.refresh(&client, &second.refresh).await);
    house.clock.advance(61);
    let reused = house.refresh(&client, &tokens.refresh).await;
    assert_eq!(reused.status, 400, "{}", reused.text());
    house.refresh(&client, &third.refresh).await;
    let denied = house.get("/authorize?client_id=nobody").await;
    assert_eq!(denied.status, 400);

    let scrape = Scrape::of(&house).await;
    for (series, value) in [
        (
            "vestibule_http_requests_total{route=\"resource\",method=\"GET\",code=\"401\"}",
            1,
        ),
        (
            "vestibule_http_requests_total{route=\"resource\",method=\"POST\",code=\"200\"}",
            2,
        ),
        (
            "vestibule_http_requests_total{route=\"/token\",method=\"POST\",code=\"200\"}",
            4,
        ),
        (
            "vestibule_http_requests_total{route=\"/token\",method=\"POST\",code=\"400\"}",
            2,
        ),
        (
            "vestibule_http_request_duration_seconds_count{route=\"/token\"}",
            6,
        ),
        (
            "vestibule_refusals_total{route=\"resource\",reason=\"no_credentials\"}",
            1,
        ),
        (
            "vestibule_refusals_total{route=\"resource\",reason=\"not_entitled\"}",
            1,
        ),
        (
            "vestibule_refusals_total{route=\"/token\",reason=\"refresh_reuse\"}",
            1,
        ),
        (
            "vestibule_refusals_total{route=\"/token\",reason=\"grant_dead\"}",
            1,
        ),
        (
            "vestibule_oauth_registrations_total{kind=\"public\",outcome=\"registered\"}",
            1,
        ),
        (
            "vestibule_oauth_authorizations_total{outcome=\"asked\",reason=\"none\"}",
            1,
        ),
        (
            "vestibule_oauth_authorizations_total{outcome=\"approved\",reason=\"none\"}",
            1,
        ),
        (
            "vestibule_oauth_authorizations_total{outcome=\"answered\",reason=\"none\"}",
            1,
        ),
        (
            "vestibule_oauth_authorizations_total{outcome=\"refused\",reason=\"client_unknown\"}",
            1,
        ),
        (
            "vestibule_oauth_tokens_issued_total{grant=\"authorization_code\"}",
            1,
        ),
        (
            "vestibule_oauth_tokens_issued_total{grant=\"refresh_token\"}",
            2,
        ),
        ("vestibule_oauth_refreshes_total{outcome=\"provider\"}", 1),
        ("vestibule_oauth_refreshes_total{outcome=\"kept\"}", 1),
        ("vestibule_oauth_refreshes_total{outcome=\"replayed\"}", 1),
        ("vestibule_oauth_refreshes_total{outcome=\"refused\"}", 2),
        (
            "vestibule_oauth_refreshes_total{outcome=\"unavailable\"}",
            0,
        ),
        ("vestibule_refresh_reuse_total", 1),
        (
            "vestibule_oauth_grants_revoked_total{reason=\"refresh_reuse\"}",
            1,
        ),
        (
            "vestibule_idp_request_duration_seconds_count{endpoint=\"discovery\",outcome=\"ok\"}",
            2,
        ),
        (
            "vestibule_idp_request_duration_seconds_count{endpoint=\"token\",outcome=\"ok\"}",
            2,
        ),
        (
            "vestibule_upstream_request_duration_seconds_count{outcome=\"2xx\"}",
            1,
        ),
        (
            "vestibule_mcp_operation_duration_seconds_count{mcp_method_name=\"tools/call\"}",
            2,
        ),
        ("vestibule_policy_decisions_total{decision=\"allowed\"}", 1),
        (
            "vestibule_policy_decisions_total{decision=\"not_entitled\"}",
            1,
        ),
        (
            "vestibule_store_errors_total{backend=\"memory\",op=\"get\",fault=\"unavailable\"}",
            0,
        ),
        ("vestibule_active_streams", 0),
        ("vestibule_config_last_reload_successful", 1),
    ] {
        scrape.assert(series, value);
    }
    let written = "vestibule_store_op_duration_seconds_count{backend=\"memory\",op=\"put\"}";
    assert!(scrape.0[written] >= 3.0);
    let age = scrape.0["vestibule_signing_key_age_seconds"];
    assert!((age - f64::from(3600 + 61 + 61)).abs() < 1.0, "{age}");
    assert!(scrape.0["vestibule_key_rotation_due_seconds"] > 0.0);
    let version = concat!(
        "vestibule_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\"}"
    );
    scrape.assert(version, 1);
}

#[tokio::test]
async fn trouble_at_the_provider_is_told_apart_from_refusals() {
    let house = house().await;
    let (client, tokens) = house.sign_in().await;
    house.clock.advance(tokens.expires_in);
    let control = house.cognito.control();
    control.set_fault(Endpoint::Token, Some(Fault::Status(503)), Some(1));
    let answer = house.refresh(&client, &tokens.refresh).await;
    assert_eq!(answer.status, 503);
    control.revoke_all();
    assert_eq!(house.refresh(&client, &tokens.refresh).await.status, 400);
    let scrape = Scrape::of(&house).await;
    let provider = |outcome: &str| {
        format!(
            "vestibule_idp_request_duration_seconds_count{{endpoint=\"token\",outcome=\"{outcome}\"}}"
        )
    };
    scrape.assert(&provider("ok"), 1);
    scrape.assert(&provider("unavailable"), 1);
    scrape.assert(&provider("refused"), 1);
    scrape.assert(
        "vestibule_oauth_refreshes_total{outcome=\"unavailable\"}",
        1,
    );
    scrape.assert(
        "vestibule_oauth_grants_revoked_total{reason=\"provider_invalid_grant\"}",
        1,
    );
}

/// A stream is open from its first byte until somebody drops it.
#[tokio::test]
async fn an_open_stream_is_counted_until_it_ends() {
    let house = house().await;
    let (_, tokens) = house.sign_in().await;
    let session = crate::policy::session(&house, &tokens.access).await;
    let request = Request::builder()
        .uri("/mcp")
        .header("host", "mcp.example.test")
        .header("authorization", format!("Bearer {}", tokens.access))
        .header("accept", "text/event-stream")
        .header("mcp-session-id", session);
    let request = request.body(Body::empty()).unwrap();
    let stream = house.router.clone().oneshot(request).await.unwrap();
    assert_eq!(stream.status(), 200);
    let scrape = Scrape::of(&house).await;
    scrape.assert("vestibule_active_streams", 1);
    scrape.assert(
        "vestibule_mcp_operation_duration_seconds_count{mcp_method_name=\"stream\"}",
        1,
    );
    drop(stream);
    Scrape::of(&house)
        .await
        .assert("vestibule_active_streams", 0);
}

/// A stranger who could make a series could fill the memory of every Prometheus that looks here.
#[tokio::test]
async fn nothing_that_strangers_send_becomes_a_label_or_a_series() {
    let house = house().await;
    let (client, tokens) = house.sign_in().await;
    let before: Vec<String> = {
        stir(&house, &tokens, &client.id, "zzfirst").await;
        Scrape::of(&house).await.0.into_keys().collect()
    };
    for turn in 0..20 {
        stir(&house, &tokens, &client.id, &format!("zzevil{turn}")).await;
    }
    let after = exposition(&house).await;
    let series: Vec<String> = Scrape::of(&house).await.0.into_keys().collect();
    assert_eq!(
        series, before,
        "the same series, however often and whatever is sent"
    );
    let ada = house.whoami(&tokens.access).await["subject"].clone();
    let ada = ada.as_str().unwrap();
    for secret in [
        "zzevil",
        "zzfirst",
        ada,
        "desk",
        "whoami",
        &client.id,
        &tokens.access,
    ] {
        assert!(!after.contains(secret), "{secret} is in the exposition");
    }
}

/// Sends `word` wherever a stranger can put one.
async fn stir(house: &TestHouse, tokens: &Tokens, client: &str, word: &str) {
    let method = Method::from_bytes(word.to_uppercase().as_bytes()).unwrap();
    house.request(method.clone(), "/mcp", &[], "").await;
    house.request(method, &format!("/{word}/x"), &[], "").await;
    house.get(&format!("/.well-known/{word}")).await;
    house.get(&format!("/callback/{word}?state={word}")).await;
    house
        .get(&format!("/authorize?client_id={word}&scope={word}"))
        .await;
    house
        .get(&format!(
            "/authorize?client_id={client}&redirect_uri=https://{word}.example/"
        ))
        .await;
    let uris = json!([format!("http://localhost/{word}")]);
    let registration = json!({ "client_name": word, "redirect_uris": uris });
    house.post_json("/register", &registration).await;
    house
        .post_json("/register", &json!({ "client_name": word }))
        .await;
    house
        .post_form("/token", &[("grant_type", word), ("client_id", word)])
        .await;
    house
        .refresh(
            &crate::support::Client {
                id: client.to_owned(),
                redirect_uri: CALLBACK.to_owned(),
                verifier: String::new(),
            },
            word,
        )
        .await;
    house
        .call(word, &json!({ "jsonrpc": "2.0", "id": 1, "method": word }))
        .await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": word, "params": { "name": word } });
    house.call(&tokens.access, &call).await;
    house
        .tool_at("/mcp", &tokens.access, &[], &format!("admin_{word}"))
        .await;
    let bearer = format!("Bearer {}", tokens.access);
    for headers in [
        [("authorization", bearer.as_str()), ("mcp-method", word)],
        [("authorization", bearer.as_str()), ("content-type", word)],
        [("host", word), ("user-agent", word)],
    ] {
        house.request(Method::POST, "/mcp", &headers, word).await;
    }
}

#[tokio::test]
async fn the_listener_has_metrics_and_nothing_else_and_the_public_one_has_none() {
    let house = house().await;
    let local = ("host", "127.0.0.1:9464");
    let answer = ask(&house, "/metrics", &[local]).await;
    assert_eq!(
        answer.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    for path in [
        "/",
        "/mcp",
        "/token",
        "/admin/grants",
        "/readyz",
        "/metrics/x",
    ] {
        assert_eq!(ask(&house, path, &[local]).await.status, 404, "{path}");
    }
    assert_eq!(house.get("/metrics").await.status, 404);
    let without = TestHouse::new().await;
    assert!(without.house.metrics_router().is_none());
}

#[tokio::test]
async fn a_web_page_cannot_read_the_metrics_of_this_computer() {
    let house = house().await;
    let local = ("host", "localhost:9464");
    for headers in [
        vec![("host", "evil.example")],
        vec![local, ("origin", "https://evil.example")],
        vec![local, ("sec-fetch-site", "cross-site")],
        vec![],
    ] {
        let answer = ask(&house, "/metrics", &headers).await;
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    for site in ["none", "same-origin"] {
        let answer = ask(&house, "/metrics", &[local, ("sec-fetch-site", site)]).await;
        assert_eq!(answer.status, 200);
    }
    // Scrapers come to other listeners under whatever name the network has for them.
    let elsewhere = TestHouse::with(|settings| {
        settings.metrics = Some(MetricsSettings {
            listen: ([10, 0, 0, 1], 9464).into(),
        });
    })
    .await;
    let answer = ask(&elsewhere, "/metrics", &[("host", "10.0.0.1:9464")]).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_reload_goes_on_counting_and_does_not_measure_the_store_twice() {
    let mut house = house().await;
    house.sign_in().await;
    let issued = "vestibule_oauth_tokens_issued_total{grant=\"authorization_code\"}";
    Scrape::of(&house).await.assert(issued, 1);
    let puts = "vestibule_store_op_duration_seconds_count{backend=\"memory\",op=\"put\"}";
    let first = Scrape::of(&house).await.0[puts];
    house.reload(|settings, _| settings.pages.landing = false);
    house.sign_in().await;
    let scrape = Scrape::of(&house).await;
    scrape.assert(issued, 2);
    assert!((scrape.0[puts] - first * 2.0).abs() < f64::EPSILON);
}
