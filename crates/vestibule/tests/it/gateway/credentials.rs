//! What the upstream receives (design §1 "Credential"): ours, and never anything of the client's (T18, T28).

use http::{HeaderName, Method};
use serde_json::json;
use vestibule::settings::CredentialSettings;
use vestibule_oauth::jose::{JwkSet, Jws};
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::Clock as _;

use crate::support::{ORIGIN, TestHouse, tool_call};

async fn house(credential: CredentialSettings) -> TestHouse {
    TestHouse::with(|settings| settings.resources[0].credential = credential).await
}

/// The bearer token of the upstream's newest request.
fn bearer_upstream(house: &TestHouse) -> String {
    let headers = house.demo.last_headers();
    assert_eq!(headers.get_all("authorization").iter().count(), 1);
    let value = headers["authorization"].to_str().unwrap();
    value.strip_prefix("Bearer ").unwrap().to_owned()
}

#[tokio::test]
async fn a_vestibule_token_tells_the_upstream_who_calls_and_verifies_through_our_keys() {
    let house = TestHouse::new().await;
    let (client, tokens) = house.sign_in().await;
    let seen = house.whoami(&tokens.access).await;
    let token = bearer_upstream(&house);
    assert_ne!(token, tokens.access);

    let jwks = house.get("/jwks.json").await.json();
    let keys = JwkSet::from_values(jwks["keys"].as_array().unwrap());
    let claims = Jws::parse(&token)
        .unwrap()
        .expect_type(&[Some("vestibule-upstream+jwt")])
        .unwrap()
        .verify(&keys)
        .unwrap();
    let now = house.clock.now().0;
    assert_eq!(claims["iss"], ORIGIN);
    assert_eq!(claims["aud"], house.demo.url());
    assert_eq!(claims["client_id"], client.id);
    assert_eq!(claims["scope"], "mcp:read mcp:write");
    assert_eq!(claims["groups"], json!(["admins", "staff"]));
    assert_eq!(claims["email"], "ada@example.com");
    assert_eq!(claims["iat"], now);
    assert_eq!(claims["exp"], now + 300);
    assert_eq!(claims["sub"], seen["subject"]);
    assert_eq!(seen["groups"], json!(["admins", "staff"]));

    // Used again for half of its life, and no longer.
    for (seconds, again) in [(149, true), (1, false)] {
        house.clock.advance(seconds);
        house.whoami(&tokens.access).await;
        assert_eq!(bearer_upstream(&house) == token, again, "after {seconds} s");
    }

    // It does not outlive the client's own token.
    house.clock.advance(3440);
    house.whoami(&tokens.access).await;
    let last = Jws::parse(&bearer_upstream(&house))
        .unwrap()
        .verify(&keys)
        .unwrap();
    assert_eq!(last["exp"], now + 3600);
}

#[tokio::test]
async fn two_people_behind_one_client_never_share_a_token_for_the_upstream() {
    let house = TestHouse::new().await;
    let (_, ada) = house.sign_in().await;
    let (_, bob) = house.sign_in_as("bob", "builder").await;
    for _ in 0..2 {
        for (tokens, name) in [(&ada, "ada"), (&bob, "bob")] {
            let seen = house.whoami(&tokens.access).await;
            assert_eq!(seen["claims"]["username"], name, "{seen}");
        }
    }
}

#[tokio::test]
async fn a_provider_token_is_the_users_own_at_the_provider() {
    let house = house(CredentialSettings::ProviderToken).await;
    let (client, tokens) = house.sign_in().await;
    let seen = house.whoami(&tokens.access).await;
    assert_eq!(seen["claims"]["iss"], house.cognito.issuer());
    assert_eq!(seen["claims"]["token_use"], "access");
    assert_eq!(seen["claims"]["username"], "ada");
    let first = bearer_upstream(&house);
    let fresh = crate::support::Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    house.whoami(&fresh.access).await;
    assert_ne!(
        bearer_upstream(&house),
        first,
        "the refresh brought a new one"
    );
}

/// A token from before the credential was changed leads to a new sign-in, never to a call without identity.
#[tokio::test]
async fn a_token_that_carries_nothing_for_the_upstream_asks_for_a_new_sign_in() {
    let mut house = house(CredentialSettings::None).await;
    let (client, tokens) = house.sign_in().await;
    house.settings.resources[0].credential = CredentialSettings::ProviderToken;
    house.router = house.replica(2);
    house.assert_shut(&tokens.access, "nothing carried").await;
    let fresh = crate::support::Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    let seen = house.whoami(&fresh.access).await;
    assert_eq!(seen["claims"]["username"], "ada");
}

#[tokio::test]
async fn none_sends_no_credential_at_all() {
    let house = house(CredentialSettings::None).await;
    let (_, tokens) = house.sign_in().await;
    let seen = house.whoami(&tokens.access).await;
    assert_eq!(seen["bearer"]["kind"], "absent");
    assert!(!house.demo.last_headers().contains_key("authorization"));
}

#[tokio::test]
async fn a_fixed_header_is_ours_whatever_the_client_sends_under_its_name() {
    let house = house(CredentialSettings::Header {
        name: HeaderName::from_static("x-api-key"),
        value: Secret::new("the-operators"),
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    for theirs in [
        vec![],
        vec![
            ("x-api-key", "mine"),
            ("x_api_key", "mine"),
            ("X-Api-Key", "mine"),
        ],
    ] {
        let answer = house
            .tool_at("/mcp", &tokens.access, &theirs, "whoami")
            .await;
        assert_eq!(answer.status, 200);
        let headers = house.demo.last_headers();
        let values: Vec<_> = headers.get_all("x-api-key").iter().collect();
        assert_eq!(values, ["the-operators"]);
        assert!(!headers.contains_key("authorization") && !headers.contains_key("x_api_key"));
        assert!(!answer.text().contains("the-operators"));
    }
}

#[tokio::test]
async fn t18_nothing_of_the_clients_credentials_or_claims_about_itself_travels_upstream() {
    let client_sends = [
        (
            "cookie",
            "__Host-vestibule-flow-x=secret-cookie; session=secret-session",
        ),
        ("proxy-authorization", "Basic secret-proxy"),
        ("x-forwarded-for", "203.0.113.66"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-user", "admin"),
        ("x_forwarded_user", "admin"),
        ("forwarded", "for=203.0.113.66"),
        ("x-real-ip", "203.0.113.66"),
        ("x-amzn-oidc-identity", "admin"),
        ("x-amzn-bedrock-agentcore-runtime-user-id", "admin"),
        ("x-vestibule-sub", "admin"),
        ("x-auth-request-user", "admin"),
        ("x-remote-user", "admin"),
        ("x-http-method-override", "DELETE"),
        ("connection", "close, x-hop"),
        ("x-hop", "secret-hop"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("via", "1.1 evil"),
    ];
    for credential in [
        CredentialSettings::None,
        CredentialSettings::VestibuleToken {
            audience: "https://up.example/".to_owned(),
        },
        CredentialSettings::ProviderToken,
        CredentialSettings::Header {
            name: HeaderName::from_static("x-api-key"),
            value: Secret::new("the-operators"),
        },
    ] {
        let why = format!("{credential:?}");
        let house = house(credential).await;
        let (client, tokens) = house.sign_in().await;
        let extra = [
            client_sends.as_slice(),
            &[("x-kept", "kept"), ("traceparent", "00-1-2-3")],
        ]
        .concat();
        let answer = house
            .tool_at("/mcp", &tokens.access, &extra, "whoami")
            .await;
        assert_eq!(answer.status, 200, "{why}: {}", answer.text());
        let headers = house.demo.last_headers();
        // The demo answers on the address that it was called at, not on the one that the client named.
        assert!(
            house.demo.url().contains(headers["host"].to_str().unwrap()),
            "{why}"
        );
        for (name, _) in client_sends {
            assert!(!headers.contains_key(name), "{why}: {name}");
        }
        let all = format!("{headers:?}");
        for secret in [
            tokens.access.as_str(),
            &tokens.refresh,
            &client.id,
            "secret-",
            "evil.example",
            "203.0.113",
        ] {
            assert!(!all.contains(secret), "{why}: {secret}");
        }
        // What is no lie and no secret goes on.
        assert_eq!(headers["x-kept"], "kept", "{why}");
        assert_eq!(headers["traceparent"], "00-1-2-3", "{why}");
        assert_eq!(headers["mcp-method"], "tools/call", "{why}");
    }
}

#[tokio::test]
async fn t28_two_users_at_the_same_time_are_never_mixed_up() {
    let house = TestHouse::new().await;
    let (_, ada) = house.sign_in_as("ada", "lovelace").await;
    let (_, bob) = house.sign_in_as("bob", "builder").await;
    let calls = (0..50).map(|number| {
        let (token, email) = if number % 2 == 0 {
            (&ada.access, "ada@example.com")
        } else {
            (&bob.access, "bob@example.com")
        };
        let house = &house;
        async move {
            let (headers, body) = tool_call("echo", &json!({ "text": format!("call {number}") }));
            let (bearer, body) = (format!("Bearer {token}"), body.to_string());
            let mut all = vec![("authorization", bearer.as_str())];
            all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
            let echo = house.request(Method::POST, "/mcp", &all, &body);
            let (who, echo) = tokio::join!(house.whoami(token), echo);
            assert_eq!(who["claims"]["email"], email, "call {number}");
            let text = &echo.rpc()["result"]["content"][0]["text"];
            assert_eq!(*text, format!("call {number}"));
        }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(house.demo.calls(), 100);
}
