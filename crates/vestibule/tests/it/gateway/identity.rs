//! What the upstream is told of the caller besides the credential, and what attackers try to tell it instead (T18).

use std::time::Duration;

use http::HeaderName;
use serde_json::json;
use vestibule::settings::{ClaimMapping, CredentialSettings, Settings};
use vestibule::upstream_identity::{IDENTITY_TOKEN_TYPE, IdentityToken, UpstreamIdentity};
use vestibule_oauth::jose::{JwkSet, Jws};
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::Clock as _;
use vestibule_standin::cognito::CognitoOptions;

use crate::support::{ORIGIN, TestHouse, Tokens};

fn headers<const N: usize>(pairs: [(&'static str, &str); N]) -> Vec<(HeaderName, String)> {
    let pair =
        |(name, claim): (&'static str, &str)| (HeaderName::from_static(name), claim.to_owned());
    pairs.map(pair).into()
}

/// An API key for the server, and who calls beside it.
fn set(settings: &mut Settings) {
    settings.resources[0].credential = CredentialSettings::Header {
        name: HeaderName::from_static("x-api-key"),
        value: Secret::new("the-operators"),
    };
    settings.resources[0].identity = UpstreamIdentity {
        headers: headers([
            ("x-user", "sub"),
            ("x-groups", "groups"),
            ("x-mail", "email"),
            ("x-app", "client_id"),
            ("x-scope", "scope"),
            ("x-department", "department"),
            // What AgentCore takes for the user; from a client it would be a lie.
            ("x-amzn-bedrock-agentcore-runtime-user-id", "sub"),
        ]),
        token: None,
    };
    settings.tokens.claims.push(ClaimMapping {
        name: "department".to_owned(),
        from: "custom:department".to_owned(),
    });
}

async fn call(house: &TestHouse, tokens: &Tokens, extra: &[(&str, &str)]) -> http::HeaderMap {
    let answer = house.tool_at("/mcp", &tokens.access, extra, "whoami").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    house.demo.last_headers()
}

#[tokio::test]
async fn claims_of_the_caller_stand_in_the_headers_that_the_operator_chose() {
    let mut options = CognitoOptions::default();
    for user in &mut options.users {
        user.groups = ["staff", "a,admins", "Zürich", "x\r\nx-user: root"]
            .map(str::to_owned)
            .into();
    }
    let house = TestHouse::build(options, set).await;
    let (client, tokens) = house.sign_in().await;
    let upstream = call(&house, &tokens, &[]).await;
    assert_eq!(
        upstream["x-user"],
        upstream["x-amzn-bedrock-agentcore-runtime-user-id"]
    );
    assert!(!upstream["x-user"].is_empty());
    assert_eq!(upstream["x-groups"], "staff,a%2Cadmins,Z%C3%BCrich");
    assert_eq!(upstream["x-mail"], "ada@example.com");
    assert_eq!(upstream["x-app"], client.id);
    assert_eq!(upstream["x-scope"], tokens.scope);
    assert_eq!(upstream["x-api-key"], "the-operators");
    assert!(!upstream.contains_key("x-department"), "nothing to tell");
}

#[tokio::test]
async fn t18_whatever_a_client_sends_under_one_of_these_names_ends_here() {
    let house = TestHouse::with(|settings| {
        set(settings);
        settings.resources[0].identity.token = Some(IdentityToken {
            header: HeaderName::from_static("x-who"),
            ..IdentityToken::new("https://up.example")
        });
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    let honest = call(&house, &tokens, &[]).await;
    for (name, value) in [
        ("x-user", "root"),
        ("X-User", "root"),
        ("x_user", "root"),
        ("X_USER", "root"),
        ("x-groups", "admins"),
        ("x_groups", "admins"),
        // The caller has no such claim, and still must not make one up.
        ("x-department", "board"),
        ("x_department", "board"),
        ("x-who", "ey.ey.ey"),
        ("x_who", "ey.ey.ey"),
        ("x-amzn_bedrock-agentcore-runtime-user-id", "root"),
    ] {
        // Twice, and named as of this connection only: neither takes ours away.
        let forged = [
            (name, value),
            (name, "again"),
            ("connection", "x-user, x-who"),
        ];
        let upstream = call(&house, &tokens, &forged).await;
        for ours in [
            "x-user",
            "x-groups",
            "x-who",
            "x-amzn-bedrock-agentcore-runtime-user-id",
        ] {
            let values: Vec<_> = upstream.get_all(ours).iter().collect();
            assert_eq!(values, [&honest[ours]], "{name}: {ours}");
        }
        let folded = |name: &HeaderName| name.as_str().replace('_', "-");
        let departments = upstream
            .keys()
            .filter(|name| folded(name) == "x-department");
        assert_eq!(departments.count(), 0, "{name}");
        assert!(
            !upstream.keys().any(|name| name.as_str().contains('_')),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_signed_identity_verifies_through_our_keys_beside_any_credential() {
    let audience = "https://tools.internal.example";
    for credential in [
        CredentialSettings::None,
        CredentialSettings::ProviderToken,
        CredentialSettings::VestibuleToken {
            audience: "https://other.example".to_owned(),
        },
    ] {
        let house = TestHouse::with(|settings| {
            settings.resources[0].credential = credential;
            settings.resources[0].identity.token = Some(IdentityToken {
                claims: vec!["groups".to_owned()],
                lifetime: Duration::from_secs(120),
                ..IdentityToken::new(audience)
            });
        })
        .await;
        let (client, tokens) = house.sign_in().await;
        let jwks = house.get("/jwks.json").await.json();
        let keys = JwkSet::from_values(jwks["keys"].as_array().unwrap());
        let token = async || {
            let upstream = call(&house, &tokens, &[("x-vestibule-identity", "forged")]).await;
            upstream["x-vestibule-identity"]
                .to_str()
                .unwrap()
                .to_owned()
        };
        let read = |token: &str| {
            let parsed = Jws::parse(token).unwrap();
            let typed = parsed.expect_type(&[Some(IDENTITY_TOKEN_TYPE)]).unwrap();
            typed.verify(&keys).unwrap()
        };
        let first = token().await;
        let claims = read(&first);
        let now = house.clock.now().0;
        assert_eq!(claims["iss"], ORIGIN);
        assert_eq!(claims["aud"], audience);
        assert_eq!(claims["client_id"], client.id);
        assert_eq!(claims["groups"], json!(["admins", "staff"]));
        assert_eq!(claims["iat"], now);
        assert_eq!(claims["exp"], now + 120);
        assert!(claims["sub"].as_str().is_some_and(|sub| !sub.is_empty()));
        assert!(!claims.contains_key("email"), "not chosen");
        // At our own door it opens nothing.
        house.assert_shut(&first, "an identity token").await;
        // Signed once for a while, and never handed out when it is more than half through.
        house.clock.advance(59);
        assert_eq!(token().await, first);
        house.clock.advance(1);
        let second = token().await;
        assert_ne!(second, first);
        assert_eq!(read(&second)["exp"], now + 180);
        // It does not outlive the client's own token.
        house.clock.advance(3530);
        assert_eq!(read(&token().await)["exp"], now + 3600);
    }
}

#[tokio::test]
async fn two_users_never_get_each_others_identity_token() {
    let house = TestHouse::with(|settings| {
        settings.resources[0].identity.token = Some(IdentityToken {
            claims: vec!["email".to_owned()],
            ..IdentityToken::new("https://up.example")
        });
    })
    .await;
    let (_, ada) = house.sign_in_as("ada", "lovelace").await;
    let (_, bob) = house.sign_in_as("bob", "builder").await;
    for _ in 0..2 {
        for (tokens, email) in [(&ada, "ada@example.com"), (&bob, "bob@example.com")] {
            let upstream = call(&house, tokens, &[]).await;
            let token = upstream["x-vestibule-identity"].to_str().unwrap();
            let payload = token.split('.').nth(1).unwrap();
            let payload =
                base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload);
            let claims: serde_json::Value = serde_json::from_slice(&payload.unwrap()).unwrap();
            assert_eq!(claims["email"], email);
        }
    }
}
