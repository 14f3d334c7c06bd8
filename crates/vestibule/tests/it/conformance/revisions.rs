//! One sign-in for each revision of the MCP authorization specification, done with what that revision has and no more.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use vestibule::settings::TokenFormat;
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::SystemRandom;

use crate::support::{
    Answer, Browser, CALLBACK, Client, MCP, ORIGIN, TestHouse, Tokens, replace, without,
};

/// The path of a URL of ours.
#[track_caller]
fn path(url: &Value) -> String {
    let url = url.as_str().unwrap();
    let path = url.strip_prefix(ORIGIN);
    path.unwrap_or_else(|| panic!("{url} is not ours"))
        .to_owned()
}

fn client(registered: &Answer) -> Client {
    assert_eq!(
        registered.status,
        StatusCode::CREATED,
        "{}",
        registered.text()
    );
    Client {
        id: registered.json()["client_id"].as_str().unwrap().to_owned(),
        redirect_uri: CALLBACK.to_owned(),
        verifier: CodeVerifier::generate(&SystemRandom).expose().to_owned(),
    }
}

/// Approves and signs in; gives the redirect to the client.
async fn browse(house: &TestHouse, url: &str) -> Answer {
    let mut browser = house.browser();
    let page = browser.get(url).await;
    decide(&mut browser, &page, "approve").await
}

async fn decide(browser: &mut Browser, page: &Answer, decision: &str) -> Answer {
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    let form = [("ticket", &*page.input("ticket")), ("decision", decision)];
    let answer = browser.post(&format!("{ORIGIN}/consent"), &form).await;
    if decision == "deny" {
        return answer;
    }
    let back = browser
        .sign_in_at_provider(answer.location(), "ada", "lovelace")
        .await;
    browser.get(back.location()).await
}

async fn initialize(house: &TestHouse, token: &str, version: &str) {
    let params = json!({ "protocolVersion": version, "capabilities": {},
        "clientInfo": { "name": "test", "version": "0" } });
    let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
    let answer = house.call(token, &body).await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{version}: {}",
        answer.text()
    );
    assert_eq!(answer.rpc()["result"]["protocolVersion"], version);
}

/// 2025-03-26 "Fallbacks for Servers without Metadata Discovery": the endpoints are guessed at the origin of the MCP URL,
/// its path discarded. There is no `resource`, and neither scopes nor metadata are known.
#[tokio::test]
async fn a_client_of_2025_03_26_signs_in_without_metadata_resource_or_scope() {
    let house = TestHouse::new().await;
    let challenged = house.request(Method::POST, "/mcp", &[], "{}").await;
    assert_eq!(challenged.status, StatusCode::UNAUTHORIZED);
    let body = json!({ "client_name": "Old", "redirect_uris": [CALLBACK] });
    let client = client(&house.post_json("/register", &body).await);
    let challenge = TestHouse::challenge(&client);
    let params = TestHouse::authorization(&client, &challenge);
    let params = without(without(params, "resource"), "scope");
    let answer = browse(&house, &TestHouse::authorize_url(&params)).await;
    let code = answer.location_param("code").unwrap();
    let form = without(TestHouse::redemption(&client, &code), "resource");
    let tokens = Tokens::of(&house.post_form("/token", &form).await);
    assert_eq!(tokens.scope, "mcp:read", "the defaults of the resource");
    initialize(&house, &tokens.access, "2025-03-26").await;
    let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    initialize(&house, &fresh.access, "2025-03-26").await;
}

/// 2025-03-26 "Authorization Base URL": metadata at the origin, asked for with the version header.
#[tokio::test]
async fn a_client_of_2025_03_26_finds_metadata_at_the_origin_of_the_mcp_url() {
    let house = TestHouse::new().await;
    let version = [("mcp-protocol-version", "2025-03-26")];
    let metadata = "/.well-known/oauth-authorization-server";
    let metadata = house
        .request(Method::GET, metadata, &version, "")
        .await
        .json();
    assert_eq!(metadata["issuer"], ORIGIN);
    // The same places that a client without metadata guesses.
    for (member, guessed) in [
        ("authorization_endpoint", "/authorize"),
        ("token_endpoint", "/token"),
        ("registration_endpoint", "/register"),
    ] {
        assert_eq!(path(&metadata[member]), guessed);
    }
}

/// 2025-06-18: the header of the 401 names the resource's document, that one the server, and `resource` goes into both
/// requests (RFC 9728, RFC 8707).
#[tokio::test]
async fn a_client_of_2025_06_18_follows_the_challenge_and_names_the_resource() {
    let house =
        TestHouse::with(|settings| settings.resources[0].token_format = TokenFormat::Jwt).await;
    let challenged = house.request(Method::POST, "/mcp", &[], "{}").await;
    let challenge = challenged.header("www-authenticate").to_owned();
    let named = challenge.split("resource_metadata=\"").nth(1).unwrap();
    let document = path(&json!(named.split('"').next().unwrap()));
    let document = house.get(&document).await.json();
    assert_eq!(document["resource"], MCP);
    assert_eq!(document["authorization_servers"], json!([ORIGIN]));
    let metadata =
        path(&document["authorization_servers"][0]) + "/.well-known/oauth-authorization-server";
    let metadata = house.get(&metadata).await.json();

    let body = json!({ "redirect_uris": [CALLBACK] });
    let client = client(
        &house
            .post_json(&path(&metadata["registration_endpoint"]), &body)
            .await,
    );
    let challenge = TestHouse::challenge(&client);
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(TestHouse::authorization(&client, &challenge))
        .finish();
    let url = format!(
        "{}?{query}",
        metadata["authorization_endpoint"].as_str().unwrap()
    );
    let code = browse(&house, &url).await.location_param("code").unwrap();
    let form = TestHouse::redemption(&client, &code);
    let tokens = Tokens::of(
        &house
            .post_form(&path(&metadata["token_endpoint"]), &form)
            .await,
    );
    let claims = tokens.access.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims);
    let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    assert_eq!(
        claims["aud"], MCP,
        "the token is for the resource that was named"
    );
    initialize(&house, &tokens.access, "2025-06-18").await;
}

/// 2025-11-25: the document is found by its well-known path as well as by the header; either kind of metadata must say
/// that PKCE is there; the scopes to ask for stand in the challenge.
#[tokio::test]
async fn a_client_of_2025_11_25_needs_no_header_and_refuses_servers_without_pkce() {
    let house = TestHouse::new().await;
    let inserted = house.get("/.well-known/oauth-protected-resource/mcp").await;
    let root = house.get("/.well-known/oauth-protected-resource").await;
    assert_eq!(
        (inserted.status, root.status),
        (StatusCode::OK, StatusCode::OK)
    );
    assert_eq!(inserted.json(), root.json());
    for metadata in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ] {
        let metadata = house.get(metadata).await.json();
        assert_eq!(metadata["issuer"], ORIGIN);
        assert_eq!(
            metadata["code_challenge_methods_supported"],
            json!(["S256"])
        );
        assert_eq!(metadata["client_id_metadata_document_supported"], true);
    }
    let challenged = house.get("/mcp").await;
    let scope = challenged
        .header("www-authenticate")
        .split("scope=\"")
        .nth(1);
    let scope = scope.unwrap().split('"').next().unwrap().to_owned();
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let params = TestHouse::authorization(&client, &challenge);
    let url = TestHouse::authorize_url(&replace(params, "scope", &scope));
    let code = browse(&house, &url).await.location_param("code").unwrap();
    let tokens = Tokens::of(&house.redeem(&client, &code).await);
    assert_eq!(
        tokens.scope, scope,
        "what the challenge asks for is granted"
    );
    initialize(&house, &tokens.access, "2025-11-25").await;
}

/// 2026-07-28: every issuer is compared as text, in the metadata and in every answer, good or bad (RFC 8414 §3.3, RFC
/// 9207). One letter of difference, or one slash, and SDKs stop.
#[tokio::test]
async fn a_client_of_2026_07_28_compares_every_issuer_byte_for_byte() {
    let house = TestHouse::new().await;
    let document = house
        .get("/.well-known/oauth-protected-resource/mcp")
        .await
        .json();
    let expected = document["authorization_servers"][0]
        .as_str()
        .unwrap()
        .to_owned();
    for metadata in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ] {
        let metadata = house.get(metadata).await.json();
        assert_eq!(metadata["issuer"], expected.as_str());
        assert_eq!(
            metadata["authorization_response_iss_parameter_supported"],
            true
        );
        assert_eq!(
            metadata["protected_resources"],
            json!([document["resource"]])
        );
    }
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let good = TestHouse::authorization(&client, &challenge);
    let url = TestHouse::authorize_url(&good);
    let mut browser = house.browser();
    let page = browser.get(&url).await;
    let denied = decide(&mut browser, &page, "deny").await;
    let wrong = TestHouse::authorize_url(&replace(good, "response_type", "token"));
    let wrong = house.browser().get(&wrong).await;
    let done = browse(&house, &url).await;
    for answer in [&denied, &wrong, &done] {
        assert_eq!(
            answer.location_param("iss").as_ref(),
            Some(&expected),
            "{}",
            answer.location()
        );
    }
    let code = done.location_param("code").unwrap();
    let tokens = Tokens::of(&house.redeem(&client, &code).await);
    house.whoami(&tokens.access).await;
}

/// A server that changes its issuer loses every client (2026-07-28 "Authorization Server Binding"): nothing that an
/// operator does with the settings, other than changing `public_url`, may do that.
#[tokio::test]
async fn settings_that_change_leave_issuer_and_clients_as_they_were() {
    let mut house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    house.settings.tokens.format = TokenFormat::Jwt;
    house.settings.resources[0].token_format = TokenFormat::Jwt;
    house.settings.tokens.signing_alg = vestibule_oauth::jose::SigningAlg::EdDsa;
    house.settings.clients.metadata_documents = false;
    house.settings.clients.registration = false;
    house.router = house.replica(2);
    let metadata = house
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert_eq!(metadata["issuer"], ORIGIN);
    house.whoami(&tokens.access).await;
    let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    house.whoami(&fresh.access).await;
    let code = house.code(&client).await;
    Tokens::of(&house.redeem(&client, &code).await);
}
