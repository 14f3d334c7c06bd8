//! At the resource: whose token, for whom, and until when.

use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use vestibule::settings::{CredentialSettings, ResourceSettings, TokenFormat};
use vestibule_oauth::jose::{SigningAlg, SigningKey};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::time::Clock as _;
use vestibule_oauth::url::{Endpoint, Origin};
use vestibule_standin::demo::{Demo, DemoOptions};

use super::{claims, initialize, sign_in_as, upstream_claims};
use crate::support::{CALLBACK, MCP, ORIGIN, TestHouse};

/// sigbit: `sub` was `user` for everybody.
#[tokio::test]
async fn two_people_are_two_subjects_to_the_mcp_server() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let mut subjects = Vec::new();
    for (user, password) in [("ada", "lovelace"), ("bob", "builder"), ("ada", "lovelace")] {
        let tokens = sign_in_as(&house, &client, user, password).await;
        assert_eq!(house.call(&tokens.access, &initialize()).await.status, 200);
        let claims = upstream_claims(&house);
        assert_eq!(claims["username"], user);
        subjects.push(claims["sub"].as_str().unwrap().to_owned());
    }
    assert!(!subjects[0].is_empty());
    assert_ne!(subjects[0], subjects[1]);
    assert_eq!(subjects[0], subjects[2]);
}

/// sigbit: `aud` was empty, and nobody looked at it.
#[tokio::test]
async fn a_token_names_its_audience_at_both_doors() {
    let house = jwt_house().await;
    let (client, tokens) = house.sign_in().await;
    let access = claims(&tokens.access);
    assert_eq!(access["aud"], MCP);
    assert_eq!(access["iss"], ORIGIN);
    assert_eq!(access["client_id"], client.id.as_str());
    assert_eq!(house.call(&tokens.access, &initialize()).await.status, 200);
    let upstream = upstream_claims(&house);
    assert_eq!(
        upstream["aud"],
        house.settings.resources[0].upstream.as_str()
    );
    // What the MCP server got is no key to our own door.
    let headers = house.demo.last_headers();
    let inner = headers["authorization"].to_str().unwrap();
    let inner = inner.strip_prefix("Bearer ").unwrap();
    assert_eq!(house.call(inner, &initialize()).await.status, 401);
}

/// FastMCP: a token without `exp` was accepted; hyprmcp: `iss` and `aud` were never checked.
#[tokio::test]
async fn a_token_that_leaves_a_claim_out_or_names_another_door_is_refused() {
    let house = jwt_house().await;
    let (_, tokens) = house.sign_in().await;
    let Value::Object(good) = claims(&tokens.access) else {
        panic!("no claims");
    };
    let entry = house.ring.current_signing(SigningAlg::Es256).unwrap();
    let key = SigningKey::from_pem(SigningAlg::Es256, &entry.pem).unwrap();
    let present = async |typ: &str, claims: &Map<String, Value>| {
        let token = key.sign(typ, claims).unwrap();
        house.call(&token, &initialize()).await
    };
    // The forged ones below differ from a good one in one thing each.
    assert_eq!(present("at+jwt", &good).await.status, 200);
    for claim in ["exp", "iss", "aud", "sub", "client_id", "jti"] {
        let mut without = good.clone();
        without.remove(claim);
        let answer = present("at+jwt", &without).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "without {claim}");
    }
    let past = house.clock.now().minus(3600).0;
    for (claim, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", json!(format!("{ORIGIN}/"))),
        ("aud", json!("https://mcp.example.test/other")),
        ("aud", json!([])),
        ("aud", json!("")),
        ("exp", json!(past)),
        ("exp", json!("never")),
        ("exp", Value::Null),
        ("nbf", json!(house.clock.now().plus(3600).0)),
    ] {
        let mut changed = good.clone();
        changed.insert(claim.to_owned(), value.clone());
        let answer = present("at+jwt", &changed).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{claim} {value}");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    for typ in ["JWT", "vestibule-upstream+jwt", ""] {
        assert_eq!(present(typ, &good).await.status, 401, "{typ}");
    }
}

/// metamcp, PR #122: `resource` with a slash that the user had not typed; VS Code refused it.
#[tokio::test]
async fn the_resource_in_the_metadata_is_the_url_that_users_type() {
    let house = TestHouse::new().await;
    let challenge = house.request(Method::POST, "/mcp", &[], "{}").await;
    let challenge = challenge.header("www-authenticate").to_owned();
    let url = challenge
        .split("resource_metadata=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap();
    let path = url.strip_prefix(ORIGIN).unwrap();
    let document = house.get(path).await.json();
    assert_eq!(document["resource"], MCP);
    assert_eq!(document["authorization_servers"], json!([ORIGIN]));
    let server = house.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(server.json()["issuer"], ORIGIN);
}

/// wso2 #2869: only POST was gated; sigbit: no challenge at all.
#[tokio::test]
async fn every_method_on_the_mcp_path_is_gated() {
    let house = TestHouse::new().await;
    for path in ["/mcp", "/mcp/", "/mcp/deeper", "/mcp?x=1"] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for headers in [
                &[][..],
                &[("mcp-session-id", "known")],
                &[("accept", "text/event-stream"), ("last-event-id", "1")],
                &[(AUTHORIZATION.as_str(), "Bearer ")],
                &[(AUTHORIZATION.as_str(), "Basic Zm9vOmJhcg==")],
            ] {
                let answer = house.request(method.clone(), path, headers, "").await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
                let challenge = answer.header("www-authenticate");
                assert!(
                    challenge.starts_with("Bearer ") && challenge.contains("resource_metadata="),
                    "{method} {path}: {challenge}"
                );
            }
        }
    }
    assert_eq!(house.demo.requests(), 0);
}

/// GHSA-mvgg-jvj2-4frq: a session begun on one route was usable on another, under another policy.
#[tokio::test]
async fn a_session_of_one_route_is_nothing_on_another() {
    let second = Demo::start(DemoOptions::default()).await.unwrap();
    let upstream = Endpoint::parse(second.url()).unwrap();
    let house = TestHouse::with(|settings| {
        let origin = Origin::parse(ORIGIN).unwrap();
        settings.resources.push(ResourceSettings {
            scopes: ScopeSet::parse("mcp:read"),
            default_scopes: ScopeSet::parse("mcp:read"),
            credential: CredentialSettings::None,
            ..ResourceSettings::new(&origin, "/other", upstream.clone()).unwrap()
        });
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    let answer = house.call(&tokens.access, &initialize()).await;
    let session = answer.header("mcp-session-id").to_owned();
    assert!(!session.is_empty());

    // The same token does not open the other route.
    let refused = house.call_at("/other", &tokens.access, &initialize()).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(second.requests(), 0);

    // And with a token for it, the session leads nowhere.
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let mut params = TestHouse::authorization(&client, &challenge);
    params.retain(|(name, _)| *name != "resource");
    let other = format!("{ORIGIN}/other");
    params.push(("resource", &other));
    let mut browser = house.browser();
    let page = browser.get(&TestHouse::authorize_url(&params)).await;
    let form = [("ticket", &*page.input("ticket")), ("decision", "approve")];
    let approved = browser.post(&format!("{ORIGIN}/consent"), &form).await;
    let back = browser
        .sign_in_at_provider(approved.location(), "ada", "lovelace")
        .await;
    let code = browser.get(back.location()).await;
    let code = code.location_param("code").unwrap();
    let mut form = TestHouse::redemption(&client, &code);
    form.retain(|(name, _)| *name != "resource");
    let token = house.post_form("/token", &form).await;
    let token = token.json()["access_token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }).to_string();
    let headers = [
        (AUTHORIZATION.as_str(), bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-06-18"),
        ("mcp-session-id", session.as_str()),
    ];
    let before = house.demo.requests();
    let answer = house.request(Method::POST, "/other", &headers, &list).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text());
    // Neither server hears of it: a session belongs to its resource.
    assert_eq!((second.requests(), house.demo.requests()), (0, before));
    // The token of the other route is refused on the first one, session or not.
    let answer = house.request(Method::POST, "/mcp", &headers, &list).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

/// A house whose access tokens are JWTs.
async fn jwt_house() -> TestHouse {
    TestHouse::with(|settings| settings.resources[0].token_format = TokenFormat::Jwt).await
}
