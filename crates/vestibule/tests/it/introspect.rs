//! `POST /introspect` (RFC 7662): what a resource server hears of its own tokens, and that nobody hears anything else.

use http::Method;
use serde_json::{Value, json};
use vestibule::settings::{
    AdminSettings, EndpointLimits, IntrospectionClient, Rate, ResourceSettings, Settings,
    TokenFormat,
};
use vestibule_oauth::secret::{ClientSecret, Secret};
use vestibule_oauth::time::Clock as _;
use vestibule_standin::cognito::CognitoOptions;

use crate::support::{Answer, CALLBACK, MCP, ORIGIN, TestHouse, Tokens};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

/// Two resources, each with a server that may ask about it.
fn two(settings: &mut Settings) {
    let first = &settings.resources[0];
    let other = ResourceSettings {
        scopes: first.scopes.clone(),
        ..ResourceSettings::new(&settings.public_url, "/other", first.upstream.clone()).unwrap()
    };
    settings.resources.push(other);
    for (client_id, secret, path) in [("tools", SECRET, "/mcp"), ("other", OTHER, "/other")] {
        settings.introspection.clients.push(IntrospectionClient {
            client_id: client_id.to_owned(),
            secret: ClientSecret::new(secret),
            resources: vec![path.to_owned()],
        });
    }
}

async fn house() -> TestHouse {
    TestHouse::stored(CognitoOptions::default(), two).await
}

async fn ask_as(house: &TestHouse, id: &str, secret: &str, token: &str) -> Answer {
    let form = [
        ("client_id", id),
        ("client_secret", secret),
        ("token", token),
    ];
    house.post_form("/introspect", &form).await
}

async fn ask(house: &TestHouse, token: &str) -> Value {
    let answer = ask_as(house, "tools", SECRET, token).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

/// The one answer for everything that is not to be told, to the byte.
async fn assert_inactive(house: &TestHouse, token: &str, why: &str) {
    let answer = ask_as(house, "tools", SECRET, token).await;
    assert_eq!(answer.status, 200, "{why}: {}", answer.text());
    assert_eq!(answer.text(), "{\"active\":false}", "{why}");
}

#[tokio::test]
async fn a_resource_server_hears_what_its_tokens_say_in_both_formats() {
    for format in [TokenFormat::Sealed, TokenFormat::Jwt] {
        let house = TestHouse::stored(CognitoOptions::default(), |settings| {
            two(settings);
            settings.resources[0].token_format = format;
        })
        .await;
        let (client, tokens) = house.sign_in().await;
        let told = ask(&house, &tokens.access).await;
        let now = house.clock.now().0;
        for (name, value) in [
            ("active", json!(true)),
            ("scope", json!(tokens.scope)),
            ("client_id", json!(client.id)),
            ("token_type", json!("Bearer")),
            ("iat", json!(now)),
            ("exp", json!(now + tokens.expires_in)),
            ("aud", json!(MCP)),
            ("iss", json!(ORIGIN)),
        ] {
            assert_eq!(told[name], value, "{format:?} {name}: {told}");
        }
        assert!(told["sub"].is_string() && told["jti"].is_string(), "{told}");
        assert_eq!(told["groups"], json!(["admins", "staff"]), "{told}");
        assert!(told["username"].is_string(), "{told}");
        assert!(!told.to_string().contains("vat_"), "{told}");
    }
}

#[tokio::test]
async fn what_is_over_revoked_or_no_access_token_is_inactive() {
    let house = house().await;
    let (client, tokens) = house.sign_in().await;
    assert_inactive(&house, &tokens.refresh, "a refresh token").await;
    assert_inactive(&house, &client.id, "a client id").await;
    assert_inactive(&house, "nonsense", "nonsense").await;
    assert_inactive(&house, "vat_AAAA", "a forged one").await;
    let mut changed = tokens.access.clone();
    changed.pop();
    assert_inactive(&house, &changed, "a changed one").await;
    let form = [("token", tokens.access.as_str()), ("client_id", &client.id)];
    assert_eq!(house.post_form("/revoke", &form).await.status, 200);
    assert_inactive(&house, &tokens.access, "a revoked one").await;
    let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    assert_eq!(ask(&house, &fresh.access).await["active"], true);
    house.clock.advance(fresh.expires_in);
    assert_inactive(&house, &fresh.access, "an expired one").await;
}

#[tokio::test]
async fn a_jwt_is_over_to_the_second() {
    let house = TestHouse::stored(CognitoOptions::default(), |settings| {
        two(settings);
        settings.resources[0].token_format = TokenFormat::Jwt;
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    house.clock.advance(tokens.expires_in - 1);
    assert_eq!(ask(&house, &tokens.access).await["active"], true);
    house.clock.advance(1);
    assert_inactive(&house, &tokens.access, "an expired one").await;
}

#[tokio::test]
async fn t_the_server_of_another_resource_hears_nothing() {
    let house = house().await;
    let (_, tokens) = house.sign_in().await;
    assert_eq!(ask(&house, &tokens.access).await["active"], true);
    let answer = ask_as(&house, "other", OTHER, &tokens.access).await;
    assert_eq!(answer.text(), "{\"active\":false}");
}

#[tokio::test]
async fn t_nobody_asks_without_the_secret_of_a_resource_server() {
    let house = house().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let tokens = Tokens::of(&house.redeem(&client, &code).await);
    for (id, secret) in [
        ("tools", ""),
        ("tools", OTHER),
        ("tools", &SECRET[1..]),
        ("nobody", SECRET),
        ("desk", ""),
        (client.id.as_str(), ""),
    ] {
        let answer = ask_as(&house, id, secret, &tokens.access).await;
        answer.assert_refused(401, "invalid_client", id);
        assert!(answer.header("www-authenticate").starts_with("Basic"));
        assert!(!answer.text().contains("active"), "{}", answer.text());
    }
    let form = [("token", tokens.access.as_str())];
    let answer = house.post_form("/introspect", &form).await;
    answer.assert_refused(401, "invalid_client", "nobody");
    // A token does not open the door to what it says.
    let bearer = format!("Bearer {}", tokens.access);
    let form = format!("token={}", tokens.access);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let answer = house
        .request(Method::POST, "/introspect", &headers, &form)
        .await;
    answer.assert_refused(401, "invalid_client", "by the token itself");
    // Nor is a resource server a client: it cannot ask for tokens.
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh.as_str()),
        ("client_id", "tools"),
        ("client_secret", SECRET),
    ];
    let answer = house.post_form("/token", &form).await;
    answer.assert_refused(401, "invalid_client", "at the token endpoint");
}

#[tokio::test]
async fn t_secret_and_token_in_the_query_are_not_looked_at() {
    let house = house().await;
    let (_, tokens) = house.sign_in().await;
    let query = format!(
        "/introspect?client_id=tools&client_secret={SECRET}&token={}",
        tokens.access
    );
    assert_eq!(house.get(&query).await.status, 405);
    let answer = house.post_form(&query, &[]).await;
    answer.assert_refused(401, "invalid_client", "in the query");
    let basic = "Basic dG9vbHM6MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let headers = [
        ("authorization", basic),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let answer = house.request(Method::POST, &query, &headers, "").await;
    answer.assert_refused(400, "invalid_request", "the token in the query");
    let form = format!("token={}", tokens.access);
    let answer = house
        .request(Method::POST, "/introspect", &headers, &form)
        .await;
    assert_eq!(answer.json()["active"], true, "by Basic: {}", answer.text());
    // No page of another origin reads an answer.
    let headers = [headers[0], headers[1], ("origin", "https://evil.example")];
    let answer = house
        .request(Method::POST, "/introspect", &headers, &form)
        .await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn who_is_in_quarantine_is_inactive() {
    let house = TestHouse::stored(CognitoOptions::default(), |settings| {
        two(settings);
        settings.admin = Some(AdminSettings {
            token: Secret::new(SECRET),
            listen: AdminSettings::default_listen(),
        });
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    let told = ask(&house, &tokens.access).await;
    crate::admin::quarantine_user(&house, SECRET, told["sub"].as_str().unwrap()).await;
    assert_inactive(&house, &tokens.access, "in quarantine").await;
}

#[tokio::test]
async fn it_is_advertised_and_there_only_when_somebody_may_ask() {
    let path = "/.well-known/oauth-authorization-server";
    let plain = TestHouse::new().await;
    let metadata = plain.get(path).await.json();
    assert!(
        metadata.get("introspection_endpoint").is_none(),
        "{metadata}"
    );
    let name = "introspection_endpoint_auth_methods_supported";
    assert!(metadata.get(name).is_none(), "{metadata}");
    let form = [("token", "x")];
    assert_eq!(plain.post_form("/introspect", &form).await.status, 404);
    let metadata = house().await.get(path).await.json();
    assert_eq!(
        metadata["introspection_endpoint"],
        format!("{ORIGIN}/introspect")
    );
    assert_eq!(
        metadata[name],
        json!(["client_secret_basic", "client_secret_post"])
    );
}

#[tokio::test]
async fn it_has_limits() {
    let house = TestHouse::stored(CognitoOptions::default(), |settings| {
        two(settings);
        settings.limits.introspect = EndpointLimits {
            total: Rate::parse("3/1m").ok(),
            ..EndpointLimits::default()
        };
    })
    .await;
    for _ in 0..3 {
        assert_inactive(&house, "nonsense", "within the limit").await;
    }
    let answer = ask_as(&house, "tools", SECRET, "nonsense").await;
    assert_eq!(answer.status, 429);
    assert!(!answer.header("retry-after").is_empty());
}
