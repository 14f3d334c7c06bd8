//! What an introspection endpoint may answer, and what a neighbour may try with it.

use serde_json::json;
use vestibule_oauth::time::ManualClock;

use super::*;
use crate::cache::{CacheLimits, Cached};
use crate::testing::{self, ISSUER, NOW, RESOURCE, Server};

fn auth() -> IntrospectionAuth {
    IntrospectionAuth::Basic("notes api".into(), Secret::new("s:e%t"))
}

fn verifier(server: &Server, settings: Introspection) -> IntrospectionVerifier {
    let settings = Introspection {
        endpoint: server.url(),
        ..settings
    };
    let clock = Arc::new(ManualClock::new(NOW));
    IntrospectionVerifier::new(settings, testing::outbound(), clock)
}

fn active(changes: &Value) -> String {
    let mut answer = testing::claims(changes);
    answer.entry("active").or_insert(json!(true));
    Value::Object(answer).to_string()
}

async fn verify(verifier: &impl VerifyToken<Extra = ()>) -> Result<Verified, TokenRefusal> {
    let resource = ResourceUri::parse(RESOURCE).unwrap();
    verifier.verify("opaque+/token=", &resource).await
}

#[tokio::test]
async fn an_active_token_tells_who_calls_and_we_prove_who_asks() {
    let server = Server::start(active(&json!({ "groups": ["staff"] }))).await;
    let verifier = verifier(&server, Introspection::new("", auth()).issuer(ISSUER));
    let found = verify(&verifier).await.unwrap();
    assert_eq!(found.subject, "ada");
    assert_eq!(found.client_id, "desktop");
    assert_eq!(found.issuer, ISSUER);
    assert_eq!(found.scope.to_string(), "mcp/read");
    assert_eq!(found.groups, ["staff"]);
    let request = server.last();
    assert!(request.starts_with("POST /jwks.json"), "{request}");
    // RFC 6749 §2.3.1: both are form-encoded before they are joined.
    let expected = STANDARD.encode("notes+api:s%3Ae%25t");
    assert!(request.contains(&format!("authorization: Basic {expected}")));
    assert!(request.contains("token=opaque%2B%2Ftoken%3D&token_type_hint=access_token"));
}

#[tokio::test]
async fn tokens_of_others_of_another_kind_or_of_another_time_are_refused() {
    use TokenRefusal::{Expired, Inactive, Malformed, WrongAudience, WrongIssuer};
    let server = Server::start(String::new()).await;
    let verifier = verifier(&server, Introspection::new("", auth()).issuer(ISSUER));
    for (changes, refusal) in [
        (json!({ "active": false }), Inactive),
        (json!({ "active": "true" }), Inactive),
        (json!({ "active": 1 }), Inactive),
        (json!({ "aud": null }), WrongAudience),
        (json!({ "aud": "https://other.example" }), WrongAudience),
        (json!({ "aud": ["https://other.example"] }), WrongAudience),
        (json!({ "iss": "https://evil.example" }), WrongIssuer),
        (json!({ "exp": NOW.0 - 60 }), Expired),
        (json!({ "exp": "soon" }), Malformed),
        (json!({ "nbf": NOW.0 + 60 }), Expired),
        (json!({ "token_use": "refresh_token" }), Malformed),
        (json!({ "typ": "Refresh" }), Malformed),
        (json!({ "sub": null, "client_id": null }), Malformed),
    ] {
        server.answer(200, active(&changes));
        assert_eq!(verify(&verifier).await.err(), Some(refusal), "{changes}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_or_talks_nonsense_logs_nobody_out() {
    let server = Server::start(String::new()).await;
    let verifier = verifier(&server, Introspection::new("", auth()));
    let long = format!("{{\"active\":true,\"x\":\"{}\"}}", "a".repeat(70_000));
    for (status, text) in [
        (503, String::new()),
        (401, active(&json!({}))),
        (302, String::new()),
        (200, "<html>".to_owned()),
        (200, "[]".to_owned()),
        (200, long),
    ] {
        server.answer(status, text);
        let refusal = verify(&verifier).await.err();
        assert_eq!(refusal, Some(TokenRefusal::Unavailable), "{status}");
    }
}

#[tokio::test]
async fn a_good_answer_is_remembered_and_a_bad_one_is_not() {
    let server = Server::start(active(&json!({ "exp": null }))).await;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let verifier = verifier(&server, Introspection::new("", auth()));
    let cached = Cached::new(verifier, clock, CacheLimits::default());
    let first = verify(&cached).await.unwrap();
    assert_eq!(first.expires_at, NOW.plus(WITHOUT_EXPIRY_SECONDS));
    verify(&cached).await.unwrap();
    assert_eq!(server.requests(), 1);
    let other = ResourceUri::parse(RESOURCE).unwrap();
    server.answer(200, "{\"active\":false}");
    for _ in 0..2 {
        assert!(cached.verify("other", &other).await.is_err());
    }
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn without_an_audience_only_the_listed_clients_pass() {
    let server = Server::start(active(&json!({ "aud": null }))).await;
    let bound = |ids: &[&str]| {
        let ids = ids.iter().map(|&id| id.to_owned()).collect();
        verifier(
            &server,
            Introspection::new("", auth()).binding(Binding::ClientIds(ids)),
        )
    };
    assert!(verify(&bound(&["desktop"])).await.is_ok());
    let refused = verify(&bound(&["other"])).await.err();
    assert_eq!(refused, Some(TokenRefusal::WrongAudience));
    server.answer(200, active(&json!({ "aud": null, "client_id": null })));
    assert!(verify(&bound(&[""])).await.is_err());
}
