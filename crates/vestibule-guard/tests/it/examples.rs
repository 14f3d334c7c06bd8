//! The examples, started as they are and used as a client would, with tokens of the Cognito stand-in.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::Full;
use serde_json::{Value, json};
use vestibule_guard::SystemClock;
use vestibule_standin::cognito::{AppClient, Cognito, CognitoOptions};

use crate::support::{listen, send, sign_in};
use crate::{axum_rest, rmcp_server};

const ADA: (&str, &str) = ("ada", "lovelace");
const BOB: (&str, &str) = ("bob", "builder");
/// A second app client of the same pool, for another service.
const OTHER: (&str, &str) = ("other", "its-secret");

async fn cognito() -> Cognito {
    let mut options = CognitoOptions::default();
    let mut other: AppClient = options.clients[0].clone();
    OTHER.0.clone_into(&mut other.client_id);
    other.client_secret = Some(OTHER.1.to_owned());
    options.clients.push(other);
    Cognito::start(options, Arc::new(SystemClock))
        .await
        .unwrap()
}

async fn ask(method: Method, url: &str, token: Option<&str>, body: Value) -> Response<Bytes> {
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-06-18");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    send(request.body(Full::from(body)).unwrap()).await
}

fn challenge(response: &Response<Bytes>) -> &str {
    let value = response.headers().get(header::WWW_AUTHENTICATE);
    value.map_or("", |value| value.to_str().unwrap())
}

fn text(response: &Response<Bytes>) -> String {
    String::from_utf8(response.body().to_vec()).unwrap()
}

/// Follows the challenge to the metadata, as every client does, and gives the authorization server.
async fn discover(url: &str) -> String {
    let response = ask(Method::POST, url, None, json!({})).await;
    assert_eq!(response.status(), 401);
    let challenge = challenge(&response);
    assert!(challenge.starts_with("Bearer resource_metadata=\""));
    assert!(challenge.ends_with("scope=\"mcp/read mcp/write\""));
    let metadata = challenge.split('"').nth(1).unwrap().to_owned();
    let document = ask(Method::GET, &metadata, None, Value::Null).await;
    assert_eq!(document.status(), 200);
    let document: Value = serde_json::from_slice(document.body()).unwrap();
    assert_eq!(document["resource"], url);
    assert_eq!(
        document["scopes_supported"],
        json!(["mcp/read", "mcp/write"])
    );
    document["authorization_servers"][0]
        .as_str()
        .unwrap()
        .into()
}

#[tokio::test]
async fn the_rmcp_example_lets_in_who_signed_in_through_its_client() {
    let cognito = cognito().await;
    let listener = listen().await;
    let url = format!(
        "http://localhost:{}/mcp",
        listener.local_addr().unwrap().port()
    );
    let (issuer, client_id) = (cognito.issuer().to_owned(), cognito.client_id().to_owned());
    tokio::spawn(async move { rmcp_server::serve(listener, &issuer, &client_id).await });
    assert_eq!(discover(&url).await, cognito.issuer());

    let client = (cognito.client_id(), cognito.client_secret());
    let call = |name: &'static str, token: String| {
        let url = url.clone();
        async move {
            let call = json!({
                "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": { "name": name, "arguments": {} },
            });
            let response = ask(Method::POST, &url, Some(&token), call).await;
            (response.status().as_u16(), text(&response))
        }
    };
    let scopes = "openid mcp/read mcp/write";
    let ada = sign_in(&cognito, client, ADA, scopes, None).await;
    let (status, said) = call("whoami", ada.access.clone()).await;
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("with openid mcp/read mcp/write"), "{said}");
    let (_, said) = call("delete_notes", ada.access.clone()).await;
    assert!(said.contains("the notes are gone"), "{said}");

    // In a tool a scope or a group is missing: a JSON-RPC error.
    let reader = sign_in(&cognito, client, ADA, "mcp/read", None).await;
    let (status, said) = call("delete_notes", reader.access).await;
    assert_eq!(status, 200);
    assert!(said.contains("insufficient_scope"), "{said}");
    let bob = sign_in(&cognito, client, BOB, scopes, None).await;
    let (_, said) = call("delete_notes", bob.access).await;
    assert!(said.contains("group_required"), "{said}");

    // Other tokens of the same pool do not come in at all.
    let other = sign_in(&cognito, OTHER, ADA, scopes, None).await;
    for token in [ada.id, ada.refresh, other.access] {
        let response = ask(Method::POST, &url, Some(&token), json!({})).await;
        assert_eq!(response.status(), 401);
        assert!(challenge(&response).contains("error=\"invalid_token\""));
    }
    let without = sign_in(&cognito, client, ADA, "openid", None).await;
    let response = ask(Method::POST, &url, Some(&without.access), json!({})).await;
    assert_eq!(response.status(), 403);
    assert!(challenge(&response).contains("error=\"insufficient_scope\""));
    assert!(challenge(&response).contains("mcp/read"));
}

#[tokio::test]
async fn the_axum_example_lets_in_tokens_meant_for_it() {
    let cognito = cognito().await;
    let listener = listen().await;
    let url = format!(
        "http://localhost:{}/notes",
        listener.local_addr().unwrap().port()
    );
    let issuer = cognito.issuer().to_owned();
    tokio::spawn(async move { axum_rest::serve(listener, &issuer).await });
    assert_eq!(discover(&url).await, cognito.issuer());

    let client = (cognito.client_id(), cognito.client_secret());
    let token = |user, scope, resource: String| {
        let cognito = &cognito;
        async move {
            sign_in(cognito, client, user, scope, Some(&resource))
                .await
                .access
        }
    };
    let all = "mcp/read mcp/write";
    let ada = token(ADA, all, url.clone()).await;
    let notes = ask(Method::GET, &url, Some(&ada), Value::Null).await;
    assert_eq!(text(&notes), "the notes of ada, admins, staff");
    let deleted = ask(Method::DELETE, &url, Some(&ada), Value::Null).await;
    assert_eq!(text(&deleted), "the notes are gone");

    let reader = token(ADA, "mcp/read", url.clone()).await;
    let listed = ask(Method::GET, &url, Some(&reader), Value::Null).await;
    assert_eq!(listed.status(), 200);
    let refused = ask(Method::POST, &url, Some(&reader), Value::Null).await;
    assert_eq!(refused.status(), 403);
    let step_up = challenge(&refused);
    assert!(
        step_up.contains("error=\"insufficient_scope\""),
        "{step_up}"
    );
    assert!(
        step_up.ends_with("scope=\"mcp/read mcp/write\""),
        "{step_up}"
    );

    let bob = token(BOB, all, url.clone()).await;
    let refused = ask(Method::DELETE, &url, Some(&bob), Value::Null).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(challenge(&refused), "", "no scope would help");
    let added = ask(Method::POST, &url, Some(&bob), Value::Null).await;
    assert_eq!(text(&added), format!("added for {}", client.0));

    for elsewhere in ["https://other.example/notes", &format!("{url}/deeper")] {
        let foreign = token(ADA, all, elsewhere.to_owned()).await;
        let refused = ask(Method::GET, &url, Some(&foreign), Value::Null).await;
        assert_eq!(refused.status(), 401, "{elsewhere}");
        assert!(challenge(&refused).contains("meant for another resource"));
    }
    let unbound = sign_in(&cognito, client, ADA, all, None).await;
    let refused = ask(Method::GET, &url, Some(&unbound.access), Value::Null).await;
    assert_eq!(refused.status(), 401, "no audience");
}
