//! `POST /register` (RFC 7591): real clients' registrations pass, dangerous ones do not, and nothing is stored.

mod wire;

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use vestibule::keys::KeyRing;
use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::Clock as _;

use crate::support::{Answer, CALLBACK, TestHouse, replace};

#[track_caller]
fn assert_registered(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    let members = body.as_object().unwrap();
    for (name, value) in members {
        assert!(
            !value.is_null() && value != "" && value != &json!([]),
            "{name} is empty: {body}"
        );
    }
    // A secret goes with a method that needs one, and with no other.
    let confidential = body["token_endpoint_auth_method"] != "none";
    assert_eq!(
        members.contains_key("client_secret"),
        confidential,
        "{body}"
    );
    assert!(
        body["client_id"].as_str().unwrap().starts_with("vcl_"),
        "{body}"
    );
    assert!(body["client_id_issued_at"].is_u64(), "{body}");
    body
}

#[tokio::test]
async fn registrations_of_real_clients_pass_and_come_back_as_they_are() {
    // facts/clients.md §3 and §4.
    let house = TestHouse::new().await;
    for (who, body) in [
        (
            "Claude Code",
            json!({"client_name":"Claude Code (demo)","redirect_uris":["http://localhost:52001/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","application_type":"native","scope":"mcp:read"}),
        ),
        (
            "Cursor",
            json!({"client_name":"Cursor","redirect_uris":["cursor://anysphere.cursor-mcp/oauth/callback","https://www.cursor.com/agents/mcp/oauth/callback","http://localhost:8787/callback"],"token_endpoint_auth_method":"none"}),
        ),
        (
            "VS Code",
            json!({"client_name":"Visual Studio Code","redirect_uris":["https://insiders.vscode.dev/redirect","https://vscode.dev/redirect","http://127.0.0.1/","http://127.0.0.1:33418/"],"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"],"application_type":"native"}),
        ),
        (
            "Copilot CLI",
            json!({"redirect_uris":["http://127.0.0.1:40001/"]}),
        ),
        (
            "Qwen Code",
            json!({"redirect_uris":["http://localhost:7777/oauth/callback"],"code_challenge_method":"S256","unknown":{"nested":[1]}}),
        ),
        (
            "Python SDK",
            json!({"redirect_uris":["http://localhost:3030/callback"],"token_endpoint_auth_method":"client_secret_basic","client_uri":null}),
        ),
        (
            "Copilot Studio",
            json!({"redirect_uris":["https://global.consent.azure-apim.net/redirect/tool-1"],"scope":""}),
        ),
    ] {
        let answer = house.post_json("/register", &body).await;
        let registered = assert_registered(&answer);
        assert_eq!(registered["redirect_uris"], body["redirect_uris"], "{who}");
        let asked = body["token_endpoint_auth_method"].as_str();
        assert_eq!(
            registered["token_endpoint_auth_method"],
            asked.unwrap_or("none"),
            "{who}"
        );
        let authorize = TestHouse::authorize_url(&[
            ("client_id", registered["client_id"].as_str().unwrap()),
            ("redirect_uri", body["redirect_uris"][0].as_str().unwrap()),
            ("response_type", "code"),
            (
                "code_challenge",
                "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            ),
            ("code_challenge_method", "S256"),
        ]);
        // Accepted at registration and at authorization by the same rule (facts/clients.md §6.3).
        let page = house.browser().get(&authorize).await;
        assert_eq!(page.status, StatusCode::OK, "{who}: {}", page.text());
        assert!(page.text().contains("Approve"), "{who}");
    }
    house.assert_provider_untouched();
}

#[tokio::test]
async fn the_answer_of_a_registration() {
    let house = TestHouse::new().await;
    let body = json!({"client_name":" Test\u{202e} client ","redirect_uris":[CALLBACK, CALLBACK],"application_type":"native"});
    let mut answer = assert_registered(&house.post_json("/register", &body).await);
    answer["client_id"] = json!("[sealed]");
    answer["client_id_issued_at"] = json!("[now]");
    // In order, whatever the build makes of the order of members.
    let members: BTreeMap<String, Value> = serde_json::from_value(answer).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&members).unwrap());
}

#[tokio::test]
async fn t30_dangerous_redirect_uris_are_invalid_redirect_uri() {
    let house = TestHouse::new().await;
    for uri in [
        "http://app.example/cb",
        "http://127.1/cb",
        "http://localhost@evil.example/cb",
        "https://app.example/cb#fragment",
        "https://user@app.example/cb",
        "https://app.example/a/%2e%2e/cb",
        "ftp://app.example/cb",
        "jAvascript:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "unknown-app://cb",
        "/relative",
        "",
        "https://app.example/\u{0}",
    ] {
        let answer = house
            .post_json("/register", &json!({"redirect_uris":[CALLBACK, uri]}))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{uri:?}");
        assert_eq!(answer.error(), "invalid_redirect_uri", "{uri:?}");
        assert!(!answer.text().contains("client_id\""), "{uri:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn registrations_that_cannot_work_say_why_and_never_500() {
    let house = TestHouse::new().await;
    for (body, error) in [
        // Gemini CLI's second registration (facts/clients.md §3).
        (
            json!({"client_name":"Gemini CLI (Stored OAuth)","redirect_uris":[],"grant_types":[],"response_types":[]}),
            "invalid_redirect_uri",
        ),
        (json!({"client_name":"none"}), "invalid_redirect_uri"),
        (
            json!({"redirect_uris":[CALLBACK],"grant_types":["implicit"]}),
            "invalid_client_metadata",
        ),
        (
            json!({"redirect_uris":[CALLBACK],"response_types":["token"]}),
            "invalid_client_metadata",
        ),
        (
            json!({"redirect_uris":"http://localhost/cb"}),
            "invalid_client_metadata",
        ),
        (json!([]), "invalid_client_metadata"),
        (
            json!({"redirect_uris":vec![CALLBACK; 17]}),
            "invalid_redirect_uri",
        ),
        (
            json!({"redirect_uris":(0..9).map(|n| format!("https://app.example/{n}/{}", "a".repeat(700))).collect::<Vec<_>>()}),
            "invalid_client_metadata",
        ),
    ] {
        let answer = house.post_json("/register", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.error(), error, "{body}");
        assert_eq!(answer.json()["reference"].as_str().unwrap().len(), 13);
    }
}

#[tokio::test]
async fn bodies_of_another_kind_or_size_are_refused() {
    let house = TestHouse::new().await;
    let json = [("content-type", "application/json")];
    let broken = house
        .request(Method::POST, "/register", &json, "{\"redirect_uris\":")
        .await;
    assert_eq!(
        (broken.status, broken.error().as_str()),
        (StatusCode::BAD_REQUEST, "invalid_client_metadata")
    );
    let form = house
        .post_form("/register", &[("redirect_uris", CALLBACK)])
        .await;
    assert_eq!(form.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let large = format!("{{\"client_name\":\"{}\"}}", "a".repeat(20 << 20));
    let large = house
        .request(Method::POST, "/register", &json, &large)
        .await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    let get = house.get("/register").await;
    assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(get.header("allow").contains("POST"));
}

#[tokio::test]
async fn registration_that_is_off_is_forbidden() {
    let house = TestHouse::with(|settings| settings.clients.registration = false).await;
    let answer = house
        .post_json("/register", &json!({"redirect_uris":[CALLBACK]}))
        .await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (StatusCode::FORBIDDEN, "access_denied")
    );
}

#[tokio::test]
async fn a_registration_survives_a_restart_and_dies_with_its_key() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let url = TestHouse::authorize_url(&TestHouse::authorization(&client, &challenge));

    let mut restarted =
        crate::support::Browser::new(crate::support::ORIGIN, vec![house.replica(7)]);
    assert_eq!(restarted.get(&url).await.status, StatusCode::OK);

    let mut other = TestHouse::new().await;
    other.ring = KeyRing::generate(&[SigningAlg::Es256], other.clock.now(), &SystemRandom).unwrap();
    let mut elsewhere =
        crate::support::Browser::new(crate::support::ORIGIN, vec![other.replica(7)]);
    let refused = elsewhere.get(&url).await;
    refused.assert_refusal_page(
        StatusCode::BAD_REQUEST,
        "This server does not know the application",
    );
    let form = replace(
        TestHouse::redemption(&client, "vac_x"),
        "client_id",
        &client.id,
    );
    let token = other.post_form("/token", &form).await;
    assert_eq!(
        (token.status, token.error().as_str()),
        (StatusCode::UNAUTHORIZED, "invalid_client")
    );
}
