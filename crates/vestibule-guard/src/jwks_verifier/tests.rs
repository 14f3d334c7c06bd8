//! T23 and T25: what a forger or a neighbour may try with a JWT.

use serde_json::json;
use vestibule_oauth::time::ManualClock;

use super::*;
use crate::keys::{DEFAULT_TTL_SECONDS, JwksSource};
use crate::testing::{self, ISSUER, NOW, RESOURCE, Server};

async fn verifier(binding: Binding) -> (JwtVerifier, Server) {
    let server = Server::start(testing::key_set(&[&testing::key(0)])).await;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let keys = JwksSource::new(
        server.url(),
        testing::outbound(),
        Arc::clone(&clock),
        DEFAULT_TTL_SECONDS,
    );
    let issuer = Issuer::parse(ISSUER).unwrap();
    (JwtVerifier::new(issuer, keys, clock, binding), server)
}

async fn verify(
    verifier: &JwtVerifier,
    typ: &str,
    changes: Value,
) -> Result<Verified<()>, TokenRefusal> {
    let token = testing::key(0)
        .sign(typ, &testing::claims(&changes))
        .unwrap();
    let resource = ResourceUri::parse(RESOURCE).unwrap();
    verifier.verify(&token, &resource).await
}

#[tokio::test]
async fn a_good_token_tells_who_calls() {
    let (verifier, _server) = verifier(Binding::Resource).await;
    let found = verify(&verifier, "at+jwt", json!({ "cognito:groups": ["a"] })).await;
    let found = found.unwrap();
    assert_eq!(found.subject, "ada");
    assert_eq!(found.client_id, "desktop");
    assert_eq!(found.scope.to_string(), "mcp/read");
    assert_eq!(found.token_id, "t-1");
    assert_eq!(found.claims["cognito:groups"], json!(["a"]));
    let listed = verify(
        &verifier,
        "JWT",
        json!({ "scope": null, "scp": ["a", "b"] }),
    )
    .await;
    assert_eq!(listed.unwrap().scope.to_string(), "a b");
}

#[tokio::test]
async fn t23_tokens_of_the_wrong_kind_are_refused() {
    use TokenRefusal::{Expired, Malformed, WrongAudience, WrongIssuer};
    let (verifier, _server) = verifier(Binding::Resource).await;
    for (typ, changes, refusal) in [
        ("id_token+jwt", json!({}), Malformed),
        ("dpop+jwt", json!({}), Malformed),
        ("JWT", json!({ "token_use": "id" }), Malformed),
        ("JWT", json!({ "at_hash": "x" }), Malformed),
        (
            "at+jwt",
            json!({ "aud": "https://other/mcp" }),
            WrongAudience,
        ),
        ("at+jwt", json!({ "aud": null }), WrongAudience),
        ("at+jwt", json!({ "iss": "https://evil" }), WrongIssuer),
        ("at+jwt", json!({ "iss": null }), WrongIssuer),
        ("at+jwt", json!({ "exp": NOW.0 - 600 }), Expired),
        ("at+jwt", json!({ "exp": null }), Malformed),
        ("at+jwt", json!({ "sub": null }), Malformed),
    ] {
        let result = verify(&verifier, typ, changes.clone()).await;
        assert_eq!(result.err(), Some(refusal), "{typ} {changes}");
    }
}

#[tokio::test]
async fn a_token_with_a_foreign_signature_is_not_genuine() {
    let (verifier, _server) = verifier(Binding::Resource).await;
    let resource = ResourceUri::parse(RESOURCE).unwrap();
    let good = testing::key(0)
        .sign("at+jwt", &testing::claims(&json!({})))
        .unwrap();
    let other = testing::key(0)
        .sign("at+jwt", &testing::claims(&json!({ "sub": "eve" })))
        .unwrap();
    let mixed = format!(
        "{}.{}",
        other.rsplit_once('.').unwrap().0,
        good.rsplit_once('.').unwrap().1
    );
    let refusal = verifier.verify(&mixed, &resource).await.err();
    assert_eq!(refusal, Some(TokenRefusal::Signature));
    let refusal = verifier.verify("sealed-token", &resource).await.err();
    assert_eq!(refusal, Some(TokenRefusal::Malformed));
}

#[tokio::test]
async fn bound_by_client_id_only_access_tokens_of_these_clients_pass() {
    let (verifier, _server) = verifier(Binding::ClientIds(vec!["desktop".into()])).await;
    let cognito = json!({ "aud": null, "token_use": "access" });
    assert!(verify(&verifier, "JWT", cognito).await.is_ok());
    for (changes, refusal) in [
        (
            json!({ "token_use": "access", "client_id": "other" }),
            TokenRefusal::WrongAudience,
        ),
        (
            json!({ "token_use": "access", "client_id": null }),
            TokenRefusal::WrongAudience,
        ),
        (json!({ "token_use": "id" }), TokenRefusal::Malformed),
        (json!({}), TokenRefusal::Malformed),
    ] {
        let result = verify(&verifier, "JWT", changes.clone()).await;
        assert_eq!(result.err(), Some(refusal), "{changes}");
    }
}

#[tokio::test]
async fn an_issuer_that_is_away_does_not_log_anybody_out() {
    let (verifier, server) = verifier(Binding::Resource).await;
    server.answer(503, "");
    let result = verify(&verifier, "at+jwt", json!({})).await;
    assert_eq!(result.err(), Some(TokenRefusal::Unavailable));
}
