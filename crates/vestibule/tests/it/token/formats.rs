//! The two formats of access tokens (design §3, RFC 9068), and forgeries of both at the door (T23, T24).

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value, json};
use vestibule::settings::{CredentialSettings, TokenFormat};
use vestibule_oauth::jose::{SigningAlg, SigningKey};
use vestibule_oauth::time::Clock as _;
use vestibule_standin::cognito::Lifetimes;

use super::fake_provider::signing_key;
use crate::support::{MCP, ORIGIN, TestHouse, Tokens};

async fn jwt_house(alg: SigningAlg) -> TestHouse {
    TestHouse::with(|settings| {
        settings.tokens.signing_alg = alg;
        settings.resources[0].token_format = TokenFormat::Jwt;
    })
    .await
}

#[tokio::test]
async fn a_jwt_verifies_through_our_published_keys_with_every_algorithm() {
    for (alg, algorithm) in [
        (SigningAlg::Es256, Algorithm::ES256),
        (SigningAlg::Rs256, Algorithm::RS256),
        (SigningAlg::EdDsa, Algorithm::EdDSA),
    ] {
        let house = jwt_house(alg).await;
        let (client, tokens) = house.sign_in().await;
        // Another library, and only what anybody can read.
        let header = jsonwebtoken::decode_header(&tokens.access).unwrap();
        assert_eq!(header.alg, algorithm);
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        let jwks: JwkSet = serde_json::from_slice(&house.get("/jwks.json").await.body).unwrap();
        let key = jwks.find(header.kid.as_deref().unwrap()).unwrap();
        let mut rules = Validation::new(algorithm);
        rules.set_audience(&[MCP]);
        rules.set_issuer(&[ORIGIN]);
        let key = DecodingKey::from_jwk(key).unwrap();
        let token = jsonwebtoken::decode::<Value>(&tokens.access, &key, &rules).unwrap();

        let claims = token.claims;
        let now = house.clock.now().0;
        assert_eq!(claims["iss"], ORIGIN);
        assert_eq!(claims["aud"], MCP);
        assert_eq!(claims["client_id"], client.id);
        assert_eq!(claims["scope"], "mcp:read mcp:write");
        assert_eq!(claims["iat"], now);
        assert_eq!(claims["exp"], now + 3600);
        assert_eq!(claims["groups"], json!(["admins", "staff"]));
        assert_eq!(claims["email"], "ada@example.com");
        assert_eq!(claims["username"], "ada");
        assert!(claims["jti"].as_str().is_some_and(|jti| jti.len() > 16));
        let seen = house.whoami(&tokens.access).await;
        assert_eq!(claims["sub"], seen["subject"]);
        let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
        house.whoami(&fresh.access).await;
    }
}

#[tokio::test]
async fn a_sealed_token_says_nothing_to_its_holder() {
    let house = TestHouse::with(|settings| {
        settings.resources[0].credential = CredentialSettings::ProviderToken;
    })
    .await;
    let (_, tokens) = house.sign_in().await;
    let seen = house.whoami(&tokens.access).await;
    let carried = house.demo.last_headers()["authorization"].clone();
    let carried = carried.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    for token in [&tokens.access, &tokens.refresh] {
        assert!(!token.contains('.'), "it looks like a JWT");
        let (_, envelope) = token.split_once('_').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(envelope).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for secret in [
            // Long enough that no random bytes spell them.
            "ada@example.com",
            "admins",
            seen["subject"].as_str().unwrap(),
            carried,
        ] {
            assert!(!text.contains(secret), "{secret}");
        }
    }
}

#[tokio::test]
async fn an_access_token_does_not_outlive_the_provider_token_it_carries() {
    let carrying = TestHouse::with(|settings| {
        settings.resources[0].credential = CredentialSettings::ProviderToken;
    })
    .await;
    let plain = TestHouse::new().await;
    for (house, expected) in [(&carrying, 600), (&plain, 3600)] {
        let lifetimes = Lifetimes {
            access: 600,
            ..Lifetimes::default()
        };
        house.cognito.control().set_lifetimes(lifetimes);
        let (client, tokens) = house.sign_in().await;
        assert_eq!(tokens.expires_in, expected);
        house.clock.advance(expected - 1);
        house.whoami(&tokens.access).await;
        house.clock.advance(1);
        house.assert_shut(&tokens.access, "at its end").await;
        let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
        assert_eq!(fresh.expires_in, expected);
        house.whoami(&fresh.access).await;
    }
}

/// What a good token of ours says.
fn claims(house: &TestHouse, client_id: &str) -> Map<String, Value> {
    let now = house.clock.now().0;
    let claims = json!({
        "iss": ORIGIN, "aud": MCP, "sub": "somebody", "client_id": client_id, "scope": "mcp:read",
        "jti": "family.1", "iat": now, "exp": now + 600,
    });
    claims.as_object().unwrap().clone()
}

fn own_key(house: &TestHouse, alg: SigningAlg) -> SigningKey {
    let entry = house.ring.current_signing(alg).unwrap();
    SigningKey::from_pem(alg, &entry.pem).unwrap()
}

#[tokio::test]
async fn t23_claims_that_are_not_for_this_door_are_refused_although_we_signed_them() {
    let house = jwt_house(SigningAlg::Es256).await;
    let key = own_key(&house, SigningAlg::Es256);
    let good = claims(&house, "desk");
    let now = house.clock.now().0;
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims.insert(name.to_owned(), value);
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.remove(name);
        claims
    };
    for (why, claims) in [
        ("wrong iss", with("iss", json!("https://evil.example"))),
        (
            "iss with a slash",
            with("iss", json!("https://mcp.example.test/")),
        ),
        ("no iss", without("iss")),
        (
            "wrong aud",
            with("aud", json!("https://mcp.example.test/other")),
        ),
        ("aud is only the origin", with("aud", json!(ORIGIN))),
        (
            "aud with a slash",
            with("aud", json!("https://mcp.example.test/mcp/")),
        ),
        ("no aud", without("aud")),
        ("empty aud", with("aud", json!([]))),
        ("expired this second", with("exp", json!(now))),
        ("no exp", without("exp")),
        ("exp as text", with("exp", json!("4102444800"))),
        ("not yet valid", with("nbf", json!(now + 600))),
        ("issued in the future", with("iat", json!(now + 600))),
        ("no sub", without("sub")),
        ("no jti", without("jti")),
        ("no client_id", without("client_id")),
    ] {
        let token = key.sign("at+jwt", &claims).unwrap();
        house.assert_shut(&token, why).await;
    }
    for typ in ["JWT", "id_token+jwt", "vestibule-upstream+jwt", ""] {
        let token = key.sign(typ, &good).unwrap();
        house.assert_shut(&token, &format!("typ '{typ}'")).await;
    }
    // The same claims of the right type open the door, so each refusal was for its own reason.
    house.whoami(&key.sign("at+jwt", &good).unwrap()).await;
    house
        .whoami(&key.sign("application/at+jwt", &good).unwrap())
        .await;
}

#[tokio::test]
async fn t23_unsigned_tokens_and_swapped_algorithms_are_refused() {
    let house = jwt_house(SigningAlg::Rs256).await;
    let key = own_key(&house, SigningAlg::Rs256);
    let good = key.sign("at+jwt", &claims(&house, "desk")).unwrap();
    house.whoami(&good).await;
    let mut parts = good.split('.');
    let (_, payload, signature) = (parts.next(), parts.next().unwrap(), parts.next().unwrap());
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = |alg: &str| encode(&json!({ "alg": alg, "typ": "at+jwt", "kid": key.kid() }));
    let public = key.public_jwk();
    let modulus = public["n"].as_str().unwrap();
    let hmac_with = |secret: &[u8]| {
        let signed = format!("{}.{payload}", header("HS256"));
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, secret),
            signed.as_bytes(),
        );
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    };
    let crit = encode(
        &json!({ "alg": "RS256", "typ": "at+jwt", "kid": key.kid(), "crit": ["x"], "x": 1 }),
    );
    let jwk = signing_key(SigningAlg::Es256);
    let embedded = encode(
        &json!({ "alg": "ES256", "typ": "at+jwt", "kid": jwk.kid(), "jwk": jwk.public_jwk() }),
    );
    let stranger = jwk.sign("at+jwt", &claims(&house, "desk")).unwrap();
    let stranger_signature = stranger.rsplit_once('.').unwrap().1;
    for (why, token) in [
        (
            "alg none without signature",
            format!("{}.{payload}.", header("none")),
        ),
        (
            "alg none with a signature",
            format!("{}.{payload}.{signature}", header("none")),
        ),
        (
            "alg NONE",
            format!("{}.{payload}.{signature}", header("NONE")),
        ),
        ("HMAC with the modulus", hmac_with(modulus.as_bytes())),
        (
            "HMAC with the public JWK",
            hmac_with(public.to_string().as_bytes()),
        ),
        ("HMAC with nothing", hmac_with(b"")),
        (
            "PS256 for RS256",
            format!("{}.{payload}.{signature}", header("PS256")),
        ),
        (
            "ES256 for RS256",
            format!("{}.{payload}.{signature}", header("ES256")),
        ),
        (
            "critical extension",
            format!("{crit}.{payload}.{signature}"),
        ),
        (
            "a key in the header",
            format!("{embedded}.{payload}.{stranger_signature}"),
        ),
        ("a stranger's key", stranger.clone()),
        ("two signatures", format!("{good}.{signature}")),
        ("cut", good[..good.len() - 10].to_owned()),
        ("padded", format!("{good}=")),
    ] {
        house.assert_shut(&token, why).await;
    }
}

#[tokio::test]
async fn t23_a_sealed_token_that_was_changed_is_refused() {
    let house = TestHouse::new().await;
    let (_, tokens) = house.sign_in().await;
    let token = &tokens.access;
    for position in [
        5,
        10,
        14,
        20,
        40,
        token.len() / 2,
        token.len() - 8,
        token.len() - 2,
    ] {
        let mut bytes = token.clone().into_bytes();
        bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        house
            .assert_shut(&changed, &format!("changed at {position}"))
            .await;
    }
    for (why, text) in [
        ("cut", token[..token.len() - 4].to_owned()),
        ("longer", format!("{token}AAAA")),
        ("the prefix", "vat_".to_owned()),
        ("another prefix", token.replacen("vat_", "vrt_", 1)),
        ("no prefix", token.replacen("vat_", "", 1)),
    ] {
        house.assert_shut(&text, why).await;
    }
    house.whoami(token).await;
}

/// What an upstream receives must not open our door: a curious upstream holds thousands of them.
#[tokio::test]
async fn t24_tokens_that_travel_upstream_do_not_open_the_door() {
    for credential in [
        CredentialSettings::VestibuleToken {
            audience: "https://upstream.example/".to_owned(),
        },
        // The worst case: an upstream with the same audience as the resource.
        CredentialSettings::VestibuleToken {
            audience: MCP.to_owned(),
        },
        CredentialSettings::ProviderToken,
    ] {
        let why = format!("{credential:?}");
        let house = TestHouse::with(|settings| settings.resources[0].credential = credential).await;
        let (_, tokens) = house.sign_in().await;
        house.whoami(&tokens.access).await;
        let received = house.demo.last_headers()["authorization"].clone();
        let received = received.to_str().unwrap().strip_prefix("Bearer ").unwrap();
        assert_eq!(received.split('.').count(), 3, "{why}");
        house.assert_shut(received, &why).await;
    }
}
