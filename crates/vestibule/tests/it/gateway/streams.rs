//! Streams that are open when the grant behind them ends.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;
use vestibule::settings::AdminSettings;
use vestibule_oauth::secret::Secret;
use vestibule_standin::cognito::CognitoOptions;

use crate::support::TestHouse;

const TOKEN: &str = "an operator's token of forty characters!";

/// Opens a session and listens to it.
async fn listen(house: &TestHouse, token: &str) -> Body {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "test", "version": "0" } });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let body = body.to_string();
    let opened = house.request(Method::POST, "/mcp", &headers, &body).await;
    let session = opened.header("mcp-session-id").to_owned();
    let request = Request::get("/mcp")
        .header("host", "mcp.example.test")
        .header("authorization", &bearer)
        .header("accept", "text/event-stream")
        .header("mcp-session-id", session)
        .body(Body::empty());
    let answer = house
        .router
        .clone()
        .oneshot(request.unwrap())
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut body = answer.into_body();
    assert!(!ends(&mut body).await, "ended at once");
    body
}

/// True when the stream ends, in good order, within some seconds.
async fn ends(body: &mut Body) -> bool {
    let reading = async {
        while let Some(frame) = body.frame().await {
            frame.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(2), reading)
        .await
        .is_ok()
}

#[tokio::test]
async fn a_revoked_grant_ends_its_stream_and_no_other_also_after_a_reload() {
    let mut house = TestHouse::new().await;
    let (client, ada) = house.sign_in().await;
    let (_, bob) = house.sign_in_as("bob", "builder").await;
    let mut of_ada = listen(&house, &ada.access).await;
    let mut of_bob = listen(&house, &bob.access).await;
    house.reload(|_, _| {});
    let form = [
        ("token", ada.refresh.as_str()),
        ("client_id", client.id.as_str()),
    ];
    assert_eq!(house.post_form("/revoke", &form).await.status, 200);
    assert!(
        ends(&mut of_ada).await,
        "the stream of a revoked grant lives"
    );
    assert!(!ends(&mut of_bob).await, "a stranger's stream was ended");
}

#[tokio::test]
async fn a_grant_that_is_revoked_at_another_replica_ends_its_stream_here() {
    let mut house = TestHouse::stored(CognitoOptions::default(), |_| {}).await;
    let (client, ada) = house.sign_in().await;
    let mut stream = listen(&house, &ada.access).await;
    house.router = house.replica(9);
    let form = [
        ("token", ada.refresh.as_str()),
        ("client_id", client.id.as_str()),
    ];
    assert_eq!(house.post_form("/revoke", &form).await.status, 200);
    assert!(!ends(&mut stream).await, "nobody has told us yet");
    house.house.follow_once().await.unwrap();
    assert!(ends(&mut stream).await);
}

#[tokio::test]
async fn a_user_in_quarantine_listens_no_longer() {
    let house = TestHouse::stored(CognitoOptions::default(), |settings| {
        settings.admin = Some(AdminSettings {
            token: Secret::new(TOKEN),
            listen: AdminSettings::default_listen(),
        });
    })
    .await;
    let (_, ada) = house.sign_in().await;
    let mut stream = listen(&house, &ada.access).await;
    let seen = house.whoami(&ada.access).await;
    let user = seen["claims"]["sub"].as_str().unwrap();
    crate::admin::quarantine_user(&house, TOKEN, user).await;
    assert!(ends(&mut stream).await);
}
