//! What a forger, a thief or a neighbour may send to a door. Each is refused, and says so in one challenge.

use std::convert::Infallible;
use std::sync::Arc;

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};
use vestibule_guard::{
    Builder, Caller, Clock, Door, ProtectedResource, ResourceUri, TokenRefusal, TrustedIssuer,
    UnixTime, Verified, VerifyToken,
};
use vestibule_oauth::time::ManualClock;

use crate::support::{KeyServer, Signer, encode, outbound};

const NOW: u64 = 1_800_000_000;
const RESOURCE: &str = "https://mcp.example.com/mcp";
const ISSUER: &str = "https://login.example";

#[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": RESOURCE, "sub": "ada", "client_id": "desktop", "scope": "mcp/read",
        "exp": NOW + 600, "iat": NOW, "jti": "t-1",
    });
    for (name, value) in changes.as_object().unwrap().clone() {
        claims[name] = value;
    }
    claims
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(UnixTime(NOW)))
}

fn builder(issuer: TrustedIssuer) -> Builder {
    ProtectedResource::builder()
        .resource(RESOURCE)
        .authorization_server(issuer)
        .outbound(outbound())
        .clock(clock())
}

/// A door whose issuer has the keys of `signer`.
fn door(signer: &Signer) -> Door {
    let issuer = TrustedIssuer::new(ISSUER).jwks(signer.jwks());
    builder(issuer).build().unwrap()
}

/// The status, and the `error` of the challenge.
async fn knock(door: &Door, request: Request<()>) -> (u16, String) {
    let service = service_fn(|request: Request<()>| async move {
        assert!(request.extensions().get::<Caller>().is_some());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let response = door.layer().layer(service).oneshot(request).await.unwrap();
    let challenges: Vec<&HeaderValue> = response
        .headers()
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .collect();
    let error = match challenges.as_slice() {
        [] => String::new(),
        [one] => {
            let text = one.to_str().unwrap();
            let error = text.split_once("error=\"").map(|(_, rest)| rest);
            error.map_or_else(String::new, |rest| {
                rest.split('"').next().unwrap().to_owned()
            })
        }
        _ => panic!("more than one challenge"),
    };
    (response.status().as_u16(), error)
}

async fn present(door: &Door, token: &str) -> (u16, String) {
    let request = Request::post("/mcp").header("authorization", format!("Bearer {token}"));
    knock(door, request.body(()).unwrap()).await
}

async fn assert_refused(door: &Door, token: &str, what: &str) {
    let outcome = present(door, token).await;
    assert_eq!(outcome, (401, "invalid_token".to_owned()), "{what}");
}

#[tokio::test]
async fn alg_none_and_hmac_with_the_public_key_do_not_sign() {
    let signer = Signer::new("k");
    let door = door(&signer);
    assert_eq!(
        present(&door, &signer.token(&claims(json!({})))).await.0,
        200
    );
    let payload = encode(claims(json!({})).to_string());
    for alg in ["none", "None", "nOnE", "NONE", ""] {
        let header = encode(json!({ "alg": alg, "kid": "k" }).to_string());
        assert_refused(&door, &format!("{header}.{payload}."), alg).await;
        assert_refused(&door, &format!("{header}.{payload}.AA"), alg).await;
    }
    // The classic: HS256 keyed with what everybody knows.
    let jwk = signer.jwk().to_string();
    for secret in [signer.public(), jwk.as_bytes(), signer.jwks().as_bytes()] {
        for (alg, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            let header = encode(json!({ "alg": alg, "kid": "k" }).to_string());
            let input = format!("{header}.{payload}");
            let tag = hmac::sign(&hmac::Key::new(algorithm, secret), input.as_bytes());
            assert_refused(&door, &format!("{input}.{}", encode(tag.as_ref())), alg).await;
        }
    }
    // A real ES256 signature under the name of another algorithm.
    for alg in ["RS256", "ES384", "EdDSA", "PS256"] {
        let header = json!({ "alg": alg, "typ": "at+jwt", "kid": "k" });
        let token = signer.sign(&header, &claims(json!({})));
        assert_refused(&door, &token, alg).await;
    }
}

#[tokio::test]
async fn a_key_that_the_token_brings_along_is_not_used_and_its_url_not_fetched() {
    let (signer, forger) = (Signer::new("k"), Signer::new("k"));
    let theirs = KeyServer::start(forger.jwks()).await;
    let door = door(&signer);
    for (name, value) in [
        ("jku", json!(theirs.url)),
        ("x5u", json!(theirs.url)),
        ("jwk", forger.jwk()),
        ("x5c", json!(["MIIB"])),
    ] {
        let mut header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k" });
        header[name] = value;
        let token = forger.sign(&header, &claims(json!({})));
        assert_refused(&door, &token, name).await;
        // Harmless when the signature is right: it is not looked at.
        let token = signer.sign(&header, &claims(json!({})));
        assert_eq!(present(&door, &token).await.0, 200, "{name}");
    }
    let critical = json!({ "alg": "ES256", "kid": "k", "crit": ["x"], "x": 1 });
    let token = signer.sign(&critical, &claims(json!({})));
    assert_refused(&door, &token, "crit").await;
    assert_eq!(theirs.requests(), 0);
}

#[tokio::test]
async fn a_key_id_is_a_name_and_neither_a_path_nor_a_url() {
    let (signer, forger) = (Signer::new("k"), Signer::new("k"));
    let ours = KeyServer::start(signer.jwks()).await;
    let theirs = KeyServer::start(forger.jwks()).await;
    let door = builder(TrustedIssuer::new(ISSUER).jwks_url(&ours.url))
        .build()
        .unwrap();
    for kid in [
        json!("../../../../dev/null"),
        json!("/etc/passwd"),
        json!(theirs.url),
        json!("' UNION SELECT 'k"),
        json!("k\u{0}"),
        json!(""),
        json!(1),
        json!(["k"]),
        json!("x".repeat(8000)),
    ] {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid });
        let token = forger.sign(&header, &claims(json!({})));
        assert_refused(&door, &token, &kid.to_string()).await;
    }
    assert_eq!(theirs.requests(), 0);
    // A flood of key ids that nobody has costs the issuer one request, or two.
    for n in 0..200 {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("k{n}") });
        let token = forger.sign(&header, &claims(json!({})));
        assert_refused(&door, &token, "flood").await;
    }
    assert!(ours.requests() <= 2, "{}", ours.requests());
    assert_eq!(
        present(&door, &signer.token(&claims(json!({})))).await.0,
        200
    );
}

#[tokio::test]
async fn one_trusted_issuer_cannot_speak_for_another_with_the_same_key_id() {
    let (first, second) = (Signer::new("k"), Signer::new("k"));
    let door = builder(TrustedIssuer::new(ISSUER).jwks(first.jwks()))
        .trust(
            TrustedIssuer::new("https://other.example")
                .jwks(second.jwks())
                .audience("api://notes"),
        )
        .build()
        .unwrap();
    let of_second = |changes: Value| {
        let mut all = json!({ "iss": "https://other.example", "aud": "api://notes" });
        for (name, value) in changes.as_object().unwrap().clone() {
            all[name] = value;
        }
        claims(all)
    };
    assert_eq!(
        present(&door, &first.token(&claims(json!({})))).await.0,
        200
    );
    assert_eq!(
        present(&door, &second.token(&of_second(json!({})))).await.0,
        200
    );
    let speaks_for_first = second.token(&claims(json!({})));
    assert_refused(&door, &speaks_for_first, "the other's key").await;
    let wrong_rules = second.token(&of_second(json!({ "aud": RESOURCE })));
    assert_refused(&door, &wrong_rules, "the other's audience").await;
    for issuer in [
        json!("https://evil.example"),
        json!(format!("{ISSUER}/")),
        json!([ISSUER]),
        json!(null),
    ] {
        let token = first.token(&claims(json!({ "iss": issuer })));
        assert_refused(&door, &token, &issuer.to_string()).await;
    }
    // Two issuers in one payload: neither counts.
    let doubled = claims(json!({})).to_string();
    let doubled = doubled.replacen('{', "{\"iss\":\"https://other.example\",", 1);
    let header = encode(json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k" }).to_string());
    let token = format!("{header}.{}.AA", encode(doubled));
    assert_refused(&door, &token, "doubled iss").await;
}

#[tokio::test]
async fn tokens_that_are_not_access_tokens_are_refused() {
    let signer = Signer::new("k");
    let strict = door(&signer);
    // Without an audience to tell them apart.
    let by_client = TrustedIssuer::new(ISSUER)
        .jwks(signer.jwks())
        .client_ids(["desktop"]);
    let lax = builder(by_client).build().unwrap();
    let token = |typ: Value, changes: Value| {
        let header = json!({ "alg": "ES256", "typ": typ, "kid": "k" });
        signer.sign(&header, &claims(changes))
    };
    for (what, token) in [
        ("ID token by type", token(json!("id_token+jwt"), json!({}))),
        ("DPoP proof", token(json!("dpop+jwt"), json!({}))),
        ("logout token", token(json!("logout+jwt"), json!({}))),
        (
            "client assertion",
            token(json!("client-authentication+jwt"), json!({})),
        ),
        (
            "ID token by use",
            token(json!("JWT"), json!({ "token_use": "id" })),
        ),
        (
            "ID token by hash",
            token(json!("JWT"), json!({ "at_hash": "x" })),
        ),
        (
            "refresh token by use",
            token(json!("JWT"), json!({ "token_use": "refresh" })),
        ),
        (
            "refresh token by kind",
            token(json!("JWT"), json!({ "typ": "Refresh" })),
        ),
        ("opaque refresh token", "eyJjdHkiOiJKV1QifQ.a.b.c.d".into()),
    ] {
        assert_refused(&strict, &token, what).await;
        assert_refused(&lax, &token, what).await;
    }
    // An ID token of a frugal issuer: nothing but the audience gives it away.
    let frugal = token(json!("JWT"), json!({ "aud": "desktop" }));
    assert_refused(&strict, &frugal, "frugal").await;
    assert_refused(&lax, &frugal, "frugal").await;
    let marked = token(json!("JWT"), json!({ "token_use": "access", "aud": null }));
    assert_eq!(present(&lax, &marked).await.0, 200);
    let typed = token(json!("at+jwt"), json!({ "aud": "desktop" }));
    assert_eq!(present(&lax, &typed).await.0, 200);
}

#[tokio::test]
async fn time_is_checked_with_half_a_minute_of_patience() {
    let signer = Signer::new("k");
    let door = door(&signer);
    for (changes, good) in [
        (json!({ "exp": NOW - 29 }), true),
        (json!({ "exp": NOW - 30 }), false),
        (json!({ "exp": NOW.to_string() }), false),
        (json!({ "exp": null }), false),
        (json!({ "exp": -1 }), false),
        (json!({ "exp": 1e300 }), false),
        (json!({ "nbf": NOW + 30 }), true),
        (json!({ "nbf": NOW + 31 }), false),
        (json!({ "iat": NOW + 31 }), false),
    ] {
        let status = present(&door, &signer.token(&claims(changes.clone())))
            .await
            .0;
        assert_eq!(status, if good { 200 } else { 401 }, "{changes}");
    }
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_time_and_does_not_vouch_for_others() {
    let signer = Signer::new("k");
    let clock = clock();
    let issuer = TrustedIssuer::new(ISSUER).jwks(signer.jwks());
    let door = builder(issuer)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .build()
        .unwrap();
    let token = signer.token(&claims(json!({ "exp": NOW + 10 })));
    for _ in 0..3 {
        assert_eq!(present(&door, &token).await.0, 200);
    }
    let (input, _) = token.rsplit_once('.').unwrap();
    let other = format!("{input}.{}", encode([0; 64]));
    assert_refused(&door, &other, "same payload, other signature").await;
    clock.advance(10 + 30);
    assert_refused(&door, &token, "expired").await;
}

#[tokio::test]
async fn a_token_stands_once_in_the_authorization_header_and_nowhere_else() {
    let signer = Signer::new("k");
    let door = door(&signer);
    let token = signer.token(&claims(json!({})));
    let good = format!("Bearer {token}");
    let misplaced = (401, "invalid_request".to_owned());
    for (uri, headers) in [
        (format!("/mcp?access_token={token}"), vec![]),
        (
            format!("/mcp?access_token={token}"),
            vec![("authorization", good.clone())],
        ),
        (
            format!("/mcp?a=b&access%5Ftoken={token}"),
            vec![("authorization", good.clone())],
        ),
        (
            "/mcp".into(),
            vec![
                ("authorization", good.clone()),
                ("authorization", good.clone()),
            ],
        ),
        (
            "/mcp".into(),
            vec![
                ("authorization", good.clone()),
                ("authorization", "Basic YTpi".into()),
            ],
        ),
        (
            "/mcp".into(),
            vec![("authorization", format!("{good}, {good}"))],
        ),
        (
            "/mcp".into(),
            vec![("authorization", format!("Bearer {}", "a".repeat(20_000)))],
        ),
    ] {
        let mut request = Request::post(&uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let outcome = knock(&door, request.body(()).unwrap()).await;
        assert_eq!(outcome, misplaced, "{uri}");
    }
    // In other places it is no credential at all.
    for name in ["x-forwarded-access-token", "proxy-authorization", "cookie"] {
        let request = Request::post("/mcp").header(name, &good);
        let outcome = knock(&door, request.body(()).unwrap()).await;
        assert_eq!(outcome, (401, String::new()), "{name}");
    }
}

#[tokio::test]
async fn rubbish_of_every_length_is_refused_without_a_panic() {
    let signer = Signer::new("k");
    let door = door(&signer);
    let token = signer.token(&claims(json!({})));
    for length in 1..token.len() {
        assert_refused(&door, &token[..length], "cut off").await;
    }
    let deep = format!("{}{}", "[".repeat(6000), "]".repeat(6000));
    let header = encode(json!({ "alg": "ES256", "kid": "k" }).to_string());
    let deep = format!("{header}.{}.AA", encode(deep));
    assert_refused(&door, &deep[..16_000], "deep").await;
    for token in [".", "..", "...", "a.b.c", "=", "-._~+/"] {
        let (status, _) = present(&door, token).await;
        assert_eq!(status, 401, "{token}");
    }
}

/// Opaque tokens next to JWTs.
struct House;

impl VerifyToken for House {
    type Extra = ();

    async fn verify(&self, token: &str, _: &ResourceUri) -> Result<Verified, TokenRefusal> {
        match token {
            "opaque" => Ok(Verified::new("bob", "cli", UnixTime(NOW + 60), ())),
            "withdrawn" => Err(TokenRefusal::Revoked),
            "away" => Err(TokenRefusal::Unavailable),
            _ => Err(TokenRefusal::Malformed),
        }
    }
}

#[tokio::test]
async fn a_jwt_of_a_known_issuer_gets_no_second_opinion() {
    /// Believes everything.
    struct Credulous;

    impl VerifyToken for Credulous {
        type Extra = ();

        async fn verify(&self, _: &str, _: &ResourceUri) -> Result<Verified, TokenRefusal> {
            Ok(Verified::new("eve", "evil", UnixTime(NOW + 60), ()))
        }
    }

    let (signer, forger) = (Signer::new("k"), Signer::new("k"));
    let trusted = || TrustedIssuer::new(ISSUER).jwks(signer.jwks());
    let both = builder(trusted()).verifier(House).build().unwrap();
    assert_eq!(present(&both, "opaque").await.0, 200);
    assert_eq!(present(&both, "away").await.0, 503);
    assert_refused(&both, "withdrawn", "withdrawn").await;
    assert_refused(&both, "rubbish", "rubbish").await;
    let credulous = builder(trusted()).verifier(Credulous).build().unwrap();
    let token = forger.token(&claims(json!({})));
    assert_refused(&credulous, &token, "refused by its issuer's rules").await;
}
