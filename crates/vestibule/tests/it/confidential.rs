//! Registered clients with a secret, and the operator's rules for registration.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::json;
use vestibule::clients::policy::{HostPattern, NamePattern, RedirectRule};
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::secret::Secret;

use crate::support::{Answer, CALLBACK, Client, TestHouse, Tokens};

async fn register(house: &TestHouse, method: Option<&str>) -> Answer {
    let mut body = json!({ "client_name": "Test", "redirect_uris": [CALLBACK] });
    if let Some(method) = method {
        body["token_endpoint_auth_method"] = json!(method);
    }
    let answer = house.post_json("/register", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    answer
}

fn client(answer: &Answer) -> (Client, String) {
    let body = answer.json();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let client = Client {
        id: text("client_id"),
        redirect_uri: CALLBACK.to_owned(),
        verifier: CodeVerifier::generate(&SystemRandom).expose().to_owned(),
    };
    (client, text("client_secret"))
}

async fn post_basic(
    house: &TestHouse,
    path: &str,
    pair: (&str, &str),
    form: &[(&str, &str)],
) -> Answer {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let basic = format!(
        "Basic {}",
        STANDARD.encode(format!("{}:{}", pair.0, pair.1))
    );
    let headers = [
        ("authorization", basic.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    house.request(Method::POST, path, &headers, &form).await
}

#[tokio::test]
async fn only_those_who_ask_get_a_secret() {
    let house = TestHouse::new().await;
    for method in ["client_secret_basic", "client_secret_post"] {
        let body = register(&house, Some(method)).await.json();
        assert_eq!(body["token_endpoint_auth_method"], method);
        assert!(body["client_secret"].as_str().unwrap().starts_with("vcs_"));
        assert_eq!(body["client_secret_expires_at"], 0);
    }
    for method in [None, Some("none"), Some("private_key_jwt")] {
        let body = register(&house, method).await.json();
        assert_eq!(body["token_endpoint_auth_method"], "none", "{method:?}");
        assert_eq!(body.get("client_secret"), None);
        assert_eq!(body.get("client_secret_expires_at"), None);
    }
    let house = TestHouse::with(|settings| settings.clients.confidential = false).await;
    let body = register(&house, Some("client_secret_basic")).await.json();
    assert_eq!(body["token_endpoint_auth_method"], "none");
    assert_eq!(body.get("client_secret"), None);
}

#[tokio::test]
async fn a_stolen_code_or_refresh_token_is_useless_without_the_clients_secret() {
    let house = TestHouse::new().await;
    let (client, secret) = client(&register(&house, Some("client_secret_post")).await);
    let code = house.code(&client).await;
    let form = TestHouse::redemption(&client, &code);
    let bare = house.post_form("/token", &form).await;
    assert_eq!(
        (bare.status, bare.error()),
        (StatusCode::UNAUTHORIZED, "invalid_client".to_owned())
    );
    let wrong = post_basic(&house, "/token", (&client.id, "vcs_wrong"), &form).await;
    assert_eq!(
        (wrong.status, wrong.error()),
        (StatusCode::UNAUTHORIZED, "invalid_client".to_owned())
    );
    assert!(wrong.header("www-authenticate").starts_with("Basic"));
    assert!(!wrong.text().contains("vcs_wrong"));

    // Registered for the form, sent by HTTP Basic together with the id in the form: real clients do so.
    let tokens = Tokens::of(&post_basic(&house, "/token", (&client.id, &secret), &form).await);
    assert_eq!(
        house.refresh(&client, &tokens.refresh).await.error(),
        "invalid_client"
    );
    let revoke = [
        ("token", tokens.refresh.as_str()),
        ("client_id", client.id.as_str()),
    ];
    assert_eq!(
        house.post_form("/revoke", &revoke).await.error(),
        "invalid_client"
    );
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh.as_str()),
        ("client_id", client.id.as_str()),
        ("client_secret", secret.as_str()),
    ];
    assert_eq!(
        house.post_form("/token", &refresh).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_secret_works_on_every_replica_and_after_secrets_were_switched_off() {
    let mut house = TestHouse::new().await;
    let (client, secret) = client(&register(&house, Some("client_secret_basic")).await);
    house.settings.clients.confidential = false;
    house.router = house.replica(2);
    let form = [("token", "x")];
    let answer = post_basic(&house, "/revoke", (&client.id, &secret), &form).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let answer = post_basic(&house, "/revoke", (&client.id, "vcs_wrong"), &form).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn nobody_registers_without_the_initial_access_token_where_one_is_asked_for() {
    let house = TestHouse::with(|settings| {
        settings.clients.initial_access_token = Some(Secret::new("an initial access token"));
    })
    .await;
    let body = json!({ "redirect_uris": [CALLBACK] }).to_string();
    let register = async |authorization: &str| {
        let headers = [
            ("content-type", "application/json"),
            ("authorization", authorization),
        ];
        house
            .request(Method::POST, "/register", &headers, &body)
            .await
    };
    for wrong in [
        "",
        "Bearer",
        "Bearer x",
        "Basic an initial access token",
        "Bearer an initial access toke",
    ] {
        let answer = register(wrong).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong}");
        assert_eq!(answer.error(), "invalid_token");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    assert_eq!(
        register("bearer an initial access token").await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn a_rule_for_redirects_holds_at_registration_and_for_clients_that_were_there_before() {
    let mut house = TestHouse::new().await;
    let before = house.register("https://hosted.example/cb").await;
    let loopback = house.register(CALLBACK).await;
    house.settings.clients.policy.redirects = RedirectRule::parse("claude").unwrap();
    house.router = house.replica(2);
    let register = async |uri: &str| {
        house
            .post_json("/register", &json!({ "redirect_uris": [uri] }))
            .await
    };
    let refused = register("https://hosted.example/cb").await;
    assert_eq!(
        (refused.status, refused.error()),
        (StatusCode::BAD_REQUEST, "invalid_redirect_uri".to_owned())
    );
    for allowed in ["https://claude.ai/api/mcp/auth_callback", CALLBACK] {
        assert_eq!(
            register(allowed).await.status,
            StatusCode::CREATED,
            "{allowed}"
        );
    }
    for (client, status) in [
        (&before, StatusCode::BAD_REQUEST),
        (&loopback, StatusCode::OK),
    ] {
        let challenge = TestHouse::challenge(client);
        let url = TestHouse::authorize_url(&TestHouse::authorization(client, &challenge));
        assert_eq!(house.browser().get(&url).await.status, status);
    }
}

#[tokio::test]
async fn a_client_that_the_operator_refuses_gets_nowhere() {
    let mut house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    house.settings.clients.policy.refused_names = vec![NamePattern::parse("test*").unwrap()];
    house.settings.clients.policy.refused_hosts = vec![HostPattern::parse("evil.example").unwrap()];
    house.router = house.replica(2);
    let answer = house.refresh(&client, &tokens.refresh).await;
    assert_eq!(
        (answer.status, answer.error()),
        (StatusCode::BAD_REQUEST, "unauthorized_client".to_owned())
    );
    for body in [
        json!({ "client_name": "Tester", "redirect_uris": [CALLBACK] }),
        json!({ "client_name": "Nice", "redirect_uris": [CALLBACK, "https://evil.example/cb"] }),
    ] {
        let answer = house.post_json("/register", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let challenge = TestHouse::challenge(&client);
    let url = TestHouse::authorize_url(&TestHouse::authorization(&client, &challenge));
    let page = house.browser().get(&url).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.text().contains("not allowed here"), "{}", page.text());
}
