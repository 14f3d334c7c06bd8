//! A session belongs to the user and client that opened it (T27).

use http::Method;
use serde_json::json;

use super::{bob, house, post_with, request, session};
use crate::support::{Answer, TestHouse};

async fn whoami(house: &TestHouse, token: &str, session: &str) -> Answer {
    let call = request("tools/call", &json!({ "name": "whoami", "arguments": {} }));
    post_with(house, token, &[("mcp-session-id", session)], &call).await
}

#[tokio::test]
async fn t27_the_session_of_another_user_does_not_exist() {
    let house = TestHouse::new().await;
    let ada = house.sign_in().await.1;
    let opened = session(&house, &ada.access).await;
    let own = whoami(&house, &ada.access, &opened).await;
    let seen = own.rpc()["result"]["structuredContent"]["headers"]["mcp-session-id"].clone();
    let inner = seen.as_str().unwrap();
    assert!(
        opened.starts_with(inner) && opened != inner,
        "{opened} {inner}"
    );

    let bob = bob(&house).await;
    let before = house.demo.requests();
    let changed = format!("{}x", &opened[..opened.len() - 1]);
    for stolen in [opened.as_str(), inner, changed.as_str(), "", "~", "x~x"] {
        let answer = whoami(&house, &bob.access, stolen).await;
        assert_eq!(answer.status, 404, "{stolen}");
        let said = answer.rpc()["error"]["message"].clone();
        let said = said.as_str().unwrap();
        assert!(
            said.starts_with("session not found (reference "),
            "{stolen}: {said}"
        );
    }
    let bearer = format!("Bearer {}", bob.access);
    let headers = [
        ("authorization", bearer.as_str()),
        ("accept", "text/event-stream"),
        ("mcp-session-id", opened.as_str()),
    ];
    for method in [Method::GET, Method::DELETE] {
        let answer = house.request(method.clone(), "/mcp", &headers, "").await;
        assert_eq!(answer.status, 404, "{method}");
    }
    let doubled = [
        ("mcp-session-id", opened.as_str()),
        ("mcp-session-id", opened.as_str()),
    ];
    let call = request("ping", &json!({}));
    assert_eq!(
        post_with(&house, &ada.access, &doubled, &call).await.status,
        404
    );
    assert_eq!(house.demo.requests(), before);
    assert_eq!(whoami(&house, &ada.access, &opened).await.status, 200);
}

/// A second client of the same user is another principal: it may have fewer scopes.
#[tokio::test]
async fn t27_the_session_of_another_client_does_not_exist() {
    let house = TestHouse::new().await;
    let one = house.sign_in().await.1;
    let other = house.sign_in().await.1;
    let opened = session(&house, &one.access).await;
    assert_eq!(whoami(&house, &other.access, &opened).await.status, 404);
}

#[tokio::test]
async fn a_session_goes_on_at_another_replica() {
    let mut house = TestHouse::new().await;
    let ada = house.sign_in().await.1;
    let opened = session(&house, &ada.access).await;
    house.router = house.replica(9);
    assert_eq!(whoami(&house, &ada.access, &opened).await.status, 200);
}

#[tokio::test]
async fn an_operator_can_leave_sessions_to_the_server() {
    let house = house("bind_sessions = false\n").await;
    let ada = house.sign_in().await.1;
    let opened = session(&house, &ada.access).await;
    let own = whoami(&house, &ada.access, &opened).await;
    let seen = &own.rpc()["result"]["structuredContent"]["headers"]["mcp-session-id"];
    assert_eq!(seen, &json!(opened));
}

/// Servers behind CGI and WSGI read `Mcp_Session_Id` as the header that was checked.
#[tokio::test]
async fn t27_an_underscore_does_not_smuggle_a_session() {
    let house = TestHouse::new().await;
    let ada = house.sign_in().await.1;
    let opened = session(&house, &ada.access).await;
    let headers = [
        ("mcp-session-id", opened.as_str()),
        ("mcp_session_id", "stolen"),
    ];
    post_with(&house, &ada.access, &headers, &request("ping", &json!({}))).await;
    assert!(!house.demo.last_headers().contains_key("mcp_session_id"));
}
