//! Registration over the wire: sizes, media types, methods, odd members, and the whole matrix of redirect URIs (T30).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use futures_util::stream;
use http::{Method, Request, StatusCode};
use serde_json::json;

use super::assert_registered;
use crate::support::{Answer, Browser, CALLBACK, Client, ORIGIN, TestHouse};

#[track_caller]
fn assert_refused(answer: &Answer, status: StatusCode, error: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.error(), error);
    let body = answer.json();
    assert_eq!(body["reference"].as_str().unwrap().len(), 13);
    assert!(!body["error_description"].as_str().unwrap().is_empty());
    assert_eq!(body.get("client_id"), None);
    assert_eq!(body.get("client_secret"), None);
}

/// The authorize endpoint's answer to a good request of a client with this id.
async fn ask(router: &axum::Router, client_id: &str, redirect_uri: &str) -> Answer {
    let client = Client {
        id: client_id.to_owned(),
        redirect_uri: redirect_uri.to_owned(),
        verifier: "v".repeat(43),
    };
    let challenge = TestHouse::challenge(&client);
    let url = TestHouse::authorize_url(&TestHouse::authorization(&client, &challenge));
    Browser::new(ORIGIN, vec![router.clone()]).get(&url).await
}

#[tokio::test]
async fn t30_one_dangerous_redirect_uri_spoils_a_registration_alone_and_among_good_ones() {
    let house = TestHouse::new().await;
    for uri in [
        "http://app.example/cb",
        "http://127.1/cb",
        "http://2130706433/cb",
        "http://0x7f.0.0.1/cb",
        "http://0.0.0.0/cb",
        "http://127.0.0.1.evil.example/cb",
        "http://localhost.evil.example/cb",
        "http://localhost@evil.example/cb",
        "http://[::ffff:127.0.0.1]/cb",
        "http://localhost:99999999/cb",
        "https://app.example/cb#",
        "https://user:password@app.example/cb",
        "https://app.example/a/../cb",
        "https://app.example/a/%2e%2E/cb",
        "https://app.example\\@evil.example/",
        "https://app.example/\r\nSet-Cookie: a=b",
        "https://app.example/<script>",
        "https://app.example/\"x",
        "https://app.example/ü",
        "https:app.example/cb",
        "https:///cb",
        " javascript:alert(1)",
        "java\nscript:alert(1)",
        "blob:https://app.example/x",
        "about:blank",
        "vbscript:x",
        "urn:ietf:wg:oauth:2.0:oob",
        "//app.example/cb",
        "*",
    ] {
        for uris in [vec![uri], vec![CALLBACK, uri], vec![uri, CALLBACK]] {
            let body = json!({ "redirect_uris": uris });
            let answer = house.post_json("/register", &body).await;
            assert_refused(&answer, StatusCode::BAD_REQUEST, "invalid_redirect_uri");
        }
    }
}

#[tokio::test]
async fn every_redirect_uri_that_is_registered_can_be_used() {
    let house = TestHouse::new().await;
    let uris = [
        "https://insiders.vscode.dev/redirect",
        "http://127.0.0.1/",
        "http://127.0.0.1:33418/",
        "http://[::1]:33418/cb",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://app.example/cb?tenant=%41",
    ];
    let body = json!({ "client_name": "Test", "redirect_uris": uris });
    let registered = assert_registered(&house.post_json("/register", &body).await);
    assert_eq!(registered["redirect_uris"], json!(uris));
    for uri in uris {
        let id = registered["client_id"].as_str().unwrap();
        let page = ask(&house.router, id, uri).await;
        page.assert_page(StatusCode::OK, "Allow Test?");
        assert!(page.text().contains(uri), "{uri}");
    }
}

#[tokio::test]
async fn absent_odd_and_unknown_members_do_not_matter() {
    let house = TestHouse::new().await;
    for members in [
        json!({}),
        json!({"scope": ""}),
        json!({"scope": "unknown other:scope"}),
        json!({"client_name": null, "scope": null, "grant_types": null}),
        json!({"x_unknown": {"deep": [1, null]}, "contacts": [], "logo_uri": "javascript:alert(1)"}),
        json!({"token_endpoint_auth_method": "something_new", "application_type": "other"}),
        json!({"client_name": "\u{200b}"}),
        json!({"client_secret": "mine", "client_id": "mine", "registration_access_token": "mine"}),
    ] {
        let mut body = json!({ "redirect_uris": [CALLBACK] });
        let own = members.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(own);
        let answer = house.post_json("/register", &body).await;
        let registered = assert_registered(&answer);
        assert_eq!(registered["token_endpoint_auth_method"], "none");
        assert_eq!(registered["scope"], "mcp:read mcp:write", "{members}");
        assert_eq!(registered.get("client_name"), None, "{members}");
        assert!(!answer.text().contains("mine"), "{members}");
        assert!(!answer.text().contains("alert"), "{members}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_a_registration_is_refused() {
    let house = TestHouse::new().await;
    for body in [
        "",
        "{",
        "null",
        "\"text\"",
        "redirect_uris=y",
        r#"{"redirect_uris":[1]}"#,
        r#"{"redirect_uris":[null]}"#,
        r#"{"redirect_uris":["http://localhost/cb"],"redirect_uris":["https://evil.example/cb"]}"#,
        r#"{"redirect_uris":["http://localhost/cb"]} {}"#,
    ] {
        let json = [("content-type", "application/json")];
        let answer = house.request(Method::POST, "/register", &json, body).await;
        assert_refused(&answer, StatusCode::BAD_REQUEST, "invalid_client_metadata");
    }
    let bytes = Request::post("/register").header("content-type", "application/json");
    let bytes = bytes.body(Body::from(&b"{\"client_name\":\"\xff\"}"[..]));
    let answer = house.send(bytes.unwrap()).await;
    assert_refused(&answer, StatusCode::BAD_REQUEST, "invalid_client_metadata");
}

#[tokio::test]
async fn only_json_is_read_whatever_its_parameters() {
    let house = TestHouse::new().await;
    let body = json!({ "redirect_uris": [CALLBACK] }).to_string();
    let wrong = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    for media_type in [
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "",
    ] {
        let headers = [("content-type", media_type)];
        let answer = house
            .request(Method::POST, "/register", &headers, &body)
            .await;
        assert_refused(&answer, wrong, "invalid_request");
    }
    let answer = house.request(Method::POST, "/register", &[], &body).await;
    assert_refused(&answer, wrong, "invalid_request");
    for media_type in ["application/json; charset=utf-8", "Application/JSON"] {
        let headers = [("content-type", media_type)];
        let answer = house
            .request(Method::POST, "/register", &headers, &body)
            .await;
        assert_registered(&answer);
    }
}

/// Twenty megabytes in pieces of 1 KiB; counts the pieces that are taken.
fn flood(taken: &Arc<AtomicUsize>) -> Body {
    let taken = Arc::clone(taken);
    let pieces = (0..20 * 1024).map(move |_| {
        taken.fetch_add(1, Ordering::SeqCst);
        Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1024]))
    });
    Body::from_stream(stream::iter(pieces))
}

#[tokio::test]
async fn twenty_megabytes_are_refused_before_they_are_read() {
    let house = TestHouse::new().await;
    let taken = Arc::new(AtomicUsize::new(0));
    let request = || Request::post("/register").header("content-type", "application/json");
    let announced = request().header("content-length", 20 * 1024 * 1024);
    let answer = house.send(announced.body(flood(&taken)).unwrap()).await;
    assert_refused(&answer, StatusCode::PAYLOAD_TOO_LARGE, "invalid_request");
    assert_eq!(taken.load(Ordering::SeqCst), 0, "pieces read");
    let answer = house.send(request().body(flood(&taken)).unwrap()).await;
    assert_refused(&answer, StatusCode::PAYLOAD_TOO_LARGE, "invalid_request");
    let read = taken.load(Ordering::SeqCst);
    assert!((16..=18).contains(&read), "{read} pieces read");
}

#[tokio::test]
async fn the_longest_client_id_that_is_given_out_still_works() {
    let house = TestHouse::new().await;
    let uri = |n: usize| format!("https://app.example/{n}/{}", "a".repeat(900));
    let fits = json!({ "client_name": "Test", "redirect_uris": [uri(0), uri(1), uri(2)] });
    let registered = assert_registered(&house.post_json("/register", &fits).await);
    let id = registered["client_id"].as_str().unwrap();
    assert!(id.len() > 3500 && id.len() <= 4096, "{}", id.len());
    let page = ask(&house.router, id, &uri(2)).await;
    page.assert_page(StatusCode::OK, "Allow Test?");
    let exceeds = json!({ "redirect_uris": [uri(0), uri(1), uri(2), uri(3)] });
    let answer = house.post_json("/register", &exceeds).await;
    assert_refused(&answer, StatusCode::BAD_REQUEST, "invalid_client_metadata");
}

#[tokio::test]
async fn registration_takes_only_post_and_answers_preflights() {
    let house = TestHouse::new().await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = house.request(method, "/register", &[], "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), "POST");
        assert_eq!(answer.error(), "invalid_request");
    }
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let answer = house
        .request(Method::OPTIONS, "/register", &preflight, "")
        .await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let allowed = answer.header("access-control-allow-headers");
    assert!(allowed.to_ascii_lowercase().contains("content-type"));
    assert!(
        answer
            .header("access-control-allow-methods")
            .contains("POST")
    );
    assert!(
        !answer
            .headers
            .contains_key("access-control-allow-credentials")
    );
}

#[tokio::test]
async fn a_client_id_outlives_twenty_years() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    house.clock.advance(20 * 365 * 24 * 3600);
    let page = ask(&house.replica(2), &client.id, CALLBACK).await;
    page.assert_page(StatusCode::OK, "Allow Test?");
}
