//! S1 and S12: discovery, JWKS, and the tokens those keys sign.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};
use vestibule_standin::cognito::IssuerForm;

use crate::harness::{Answer, Browser, Street, jwt_part, text};

async fn well_known(street: &Street, name: &str) -> Answer {
    let url = format!("{}/.well-known/{name}", street.cognito.issuer());
    Browser::default().get(&url).await
}

#[tokio::test]
async fn s1_discovery_has_exactly_cognitos_fields() {
    let street = Street::open().await;
    let document = well_known(&street, "openid-configuration").await.json();
    let issuer = street.cognito.issuer();
    let domain = street.cognito.domain();
    assert_eq!(
        document,
        json!({
            "authorization_endpoint": format!("{domain}/oauth2/authorize"),
            "end_session_endpoint": format!("{domain}/logout"),
            "id_token_signing_alg_values_supported": ["RS256"],
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
            "response_types_supported": ["code", "token"],
            "revocation_endpoint": format!("{domain}/oauth2/revoke"),
            "scopes_supported": ["openid", "email", "phone", "profile"],
            "subject_types_supported": ["public"],
            "token_endpoint": format!("{domain}/oauth2/token"),
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "userinfo_endpoint": format!("{domain}/oauth2/userInfo"),
        })
    );
    assert!(issuer.ends_with("/us-east-1_EXAMPLE1"));
    assert!(
        !issuer.starts_with(domain),
        "issuer host and domain host differ"
    );
}

#[tokio::test]
async fn s1_the_rfc_8414_path_is_a_400() {
    let street = Street::open().await;
    let answer = well_known(&street, "oauth-authorization-server").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn s1_a_pool_without_a_domain_names_no_endpoints_and_has_none() {
    let street = Street::open_with(|options| options.pool_has_domain = false).await;
    let document = well_known(&street, "openid-configuration").await.json();
    assert!(document.get("authorization_endpoint").is_none());
    assert!(document.get("token_endpoint").is_none());
    assert_eq!(street.authorize(&[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_updated_issuer_form_names_another_host_in_discovery_and_tokens() {
    let street = Street::open_with(|options| options.issuer_form = IssuerForm::Updated).await;
    let issuer = street.cognito.issuer();
    let original = issuer.replace("localhost", "127.0.0.1");
    assert_ne!(original, issuer);
    let url = format!("{original}/.well-known/openid-configuration");
    let document = Browser::default().get(&url).await.json();
    assert_eq!(document["issuer"], issuer);
    let tokens = street.tokens(&[]).await;
    assert_eq!(jwt_part(&tokens["access_token"], 1)["iss"], issuer);
}

/// Checks the signature with jsonwebtoken and the published keys; gives the key id.
fn verify(jwks: &Value, token: &Value) -> String {
    let header = jwt_part(token, 0);
    let kid = text(&header, "kid");
    let set: JwkSet = serde_json::from_value(jwks.clone()).unwrap();
    let key = DecodingKey::from_jwk(set.find(kid).unwrap()).unwrap();
    let (message, signature) = token.as_str().unwrap().rsplit_once('.').unwrap();
    assert!(
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, Algorithm::RS256)
            .unwrap()
    );
    kid.to_owned()
}

#[tokio::test]
async fn s12_two_keys_with_awkward_ids_sign_id_and_access_tokens_without_a_typ() {
    let street = Street::open().await;
    let jwks = well_known(&street, "jwks.json").await.json();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 2);
    let tokens = street.tokens(&[]).await;
    let access = verify(&jwks, &tokens["access_token"]);
    let id = verify(&jwks, &tokens["id_token"]);
    assert_ne!(access, id);
    for kid in [&access, &id] {
        assert!(kid.contains('/') && kid.contains('+') && kid.ends_with('='));
        assert_eq!(STANDARD.decode(kid).unwrap().len(), 32);
    }
    for token in ["access_token", "id_token"] {
        let header = jwt_part(&tokens[token], 0);
        let names: BTreeSet<_> = header.as_object().unwrap().keys().collect();
        assert!(names.into_iter().eq(["alg", "kid"]));
    }
}

#[tokio::test]
async fn s12_claims_are_cognitos() {
    let street = Street::open().await;
    let tokens = street.tokens(&[("nonce", Some("n-1"))]).await;
    let mut access = jwt_part(&tokens["access_token"], 1);
    let mut id = jwt_part(&tokens["id_token"], 1);
    let sub = text(&access, "sub").to_owned();
    for claims in [&mut access, &mut id] {
        for random in ["jti", "origin_jti", "event_id"] {
            assert_eq!(text(claims, random).len(), 36, "{random}");
            claims.as_object_mut().unwrap().remove(random);
        }
    }
    let at_hash = id.as_object_mut().unwrap().remove("at_hash").unwrap();
    assert_eq!(at_hash.as_str().unwrap().len(), 22);
    assert_eq!(
        access,
        json!({
            "sub": sub,
            "iss": street.cognito.issuer(),
            "client_id": street.cognito.client_id(),
            "token_use": "access",
            "scope": "openid email mcp/read",
            "username": "ada",
            "cognito:groups": ["admins", "staff"],
            "version": 2,
            "auth_time": 1_800_000_000_u64,
            "iat": 1_800_000_000_u64,
            "exp": 1_800_003_600_u64,
        })
    );
    assert_eq!(
        id,
        json!({
            "sub": sub,
            "iss": street.cognito.issuer(),
            "aud": street.cognito.client_id(),
            "token_use": "id",
            "cognito:username": "ada",
            "cognito:groups": ["admins", "staff"],
            "email": "ada@example.com",
            "email_verified": true,
            "nonce": "n-1",
            "auth_time": 1_800_000_000_u64,
            "iat": 1_800_000_000_u64,
            "exp": 1_800_003_600_u64,
        })
    );
}

#[tokio::test]
async fn s12_rotated_keys_sign_at_once_and_the_old_ones_stay_published_for_one_rotation() {
    let street = Street::open().await;
    let before = street.tokens(&[]).await;
    let old = well_known(&street, "jwks.json").await.json();
    street.cognito.control().rotate_keys();
    let after = street.tokens(&[]).await;
    let jwks = well_known(&street, "jwks.json").await.json();
    let new_kid = verify(&jwks, &after["access_token"]);
    assert_ne!(new_kid, verify(&jwks, &before["access_token"]));
    assert!(!old.to_string().contains(&new_kid));
    street.cognito.control().rotate_keys();
    let jwks = well_known(&street, "jwks.json").await.json();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 4);
    assert!(
        !jwks
            .to_string()
            .contains(&verify(&old, &before["access_token"]))
    );
}
