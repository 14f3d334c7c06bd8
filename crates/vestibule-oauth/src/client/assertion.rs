//! `private_key_jwt` (RFC 7521 §4.2, RFC 7523 §2.2 and §3): a client proves itself with a signed, short-lived assertion.

use base64::Engine as _;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::base64url::BASE64URL;
use crate::jose::{Audience, Claims, ClaimsError, Expected, JwkSet, Jws, JwsError, SKEW_SECONDS};
use crate::secret::Secret;
use crate::time::UnixTime;

/// The one `client_assertion_type` there is for signed assertions.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An assertion as it came over the wire: nothing of it is verified. Until it expires it is as good as a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAssertion(Secret);

/// What an assertion must say.
#[derive(Clone, Copy, Debug)]
pub struct AssertionRules<'a> {
    /// `iss` and `sub`.
    pub client_id: &'a str,
    /// One of these and nothing else must be `aud`: our issuer, which is what SDKs send, or our token endpoint.
    pub audiences: [&'a str; 2],
    /// The current moment.
    pub now: UnixTime,
}

/// A verified assertion. It counts once: whoever holds this must remember `token_id` until `expires_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedAssertion {
    /// `jti`.
    pub token_id: String,
    /// `exp`, with what clocks may differ.
    pub expires_at: UnixTime,
}

/// Why an assertion proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AssertionError {
    /// The signature, or the form.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// A claim.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// `aud` is not exactly us: not a text, or a list of one text, that names the issuer or the token endpoint.
    #[error("aud must be exactly this server's issuer or its token endpoint")]
    Audience,
    /// Too long a life makes a stolen assertion too useful.
    #[error("exp lies more than {max} seconds ahead", max = ClientAssertion::MAX_LIFETIME)]
    Lifetime,
    /// No usable `jti`.
    #[error("jti must be a text of 1 to {max} bytes", max = ClientAssertion::MAX_TOKEN_ID)]
    TokenId,
}

impl ClientAssertion {
    /// How far `exp` may lie ahead, in seconds.
    pub const MAX_LIFETIME: u64 = 300;
    /// Longest `jti`, in bytes.
    pub const MAX_TOKEN_ID: usize = 256;
    /// The algorithms that [`JwkSet`] verifies, for metadata.
    pub const ALGORITHMS: [&str; 7] = [
        "ES256", "ES384", "EdDSA", "PS256", "RS256", "RS384", "RS512",
    ];

    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Secret::new(text))
    }

    /// The `sub` it claims, unverified: which client to look up when the request does not say (RFC 7521 §4.2).
    pub fn claimed_subject(&self) -> Option<String> {
        let text = self.0.expose();
        if text.len() > Jws::MAX_LENGTH {
            return None;
        }
        let payload = BASE64URL.decode(text.split('.').nth(1)?).ok()?;
        let claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
        claims.get("sub")?.as_str().map(str::to_owned)
    }

    /// Verifies the signature with the client's keys, then every claim.
    pub fn verify(
        &self,
        keys: &JwkSet,
        rules: &AssertionRules<'_>,
    ) -> Result<CheckedAssertion, AssertionError> {
        Self::check(self.jws()?.verify(keys)?, rules)
    }

    /// The signature, for a caller whose keys are elsewhere; what it verifies goes to [`Self::check`].
    pub fn jws(&self) -> Result<Jws<'_>, JwsError> {
        let types = [None, Some("JWT"), Some("client-authentication+jwt")];
        Jws::parse(self.0.expose())?.expect_type(&types)
    }

    /// Checks the claims of a verified assertion.
    pub fn check(
        verified: Map<String, Value>,
        rules: &AssertionRules<'_>,
    ) -> Result<CheckedAssertion, AssertionError> {
        let expected = Expected {
            issuer: rules.client_id,
            audience: Audience::Unchecked,
            now: rules.now,
        };
        let claims = Claims::check(verified, &expected)?;
        claims.require("sub", rules.client_id)?;
        let audience = match claims.get("aud") {
            Some(Value::String(one)) => Some(one.as_str()),
            Some(Value::Array(list)) => match list.as_slice() {
                [Value::String(one)] => Some(one.as_str()),
                _ => None,
            },
            _ => None,
        };
        if !audience.is_some_and(|audience| rules.audiences.contains(&audience)) {
            return Err(AssertionError::Audience);
        }
        let expires_at = claims.expires_at();
        if expires_at > rules.now.plus(Self::MAX_LIFETIME + SKEW_SECONDS) {
            return Err(AssertionError::Lifetime);
        }
        let token_id = claims.text("jti").map_err(|_| AssertionError::TokenId)?;
        if token_id.len() > Self::MAX_TOKEN_ID {
            return Err(AssertionError::TokenId);
        }
        Ok(CheckedAssertion {
            token_id: token_id.to_owned(),
            expires_at: expires_at.plus(SKEW_SECONDS),
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;
    use crate::jose::{SigningAlg, SigningKey};

    const NOW: UnixTime = UnixTime(1_800_000_000);
    const CLIENT: &str = "https://app.example/client.json";
    const ISSUER: &str = "https://h";
    const TOKEN_ENDPOINT: &str = "https://h/token";

    fn key() -> SigningKey {
        let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(pair.to_pkcs8v1().unwrap().as_ref())
        );
        SigningKey::from_pem(SigningAlg::EdDsa, &Secret::new(pem)).unwrap()
    }

    fn claims() -> Value {
        json!({ "iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "exp": NOW.0 + 60, "jti": "1" })
    }

    fn verify(key: &SigningKey, claims: &Value) -> Result<CheckedAssertion, AssertionError> {
        let text = key.sign("JWT", claims.as_object().unwrap()).unwrap();
        let keys = JwkSet::from_values(&[key.public_jwk().clone()]);
        let rules = AssertionRules {
            client_id: CLIENT,
            audiences: [ISSUER, TOKEN_ENDPOINT],
            now: NOW,
        };
        ClientAssertion::new(text).verify(&keys, &rules)
    }

    #[test]
    fn issuer_and_token_endpoint_are_the_two_audiences() {
        let key = key();
        for audience in [json!(ISSUER), json!(TOKEN_ENDPOINT), json!([ISSUER])] {
            let mut claims = claims();
            claims["aud"] = audience;
            let checked = verify(&key, &claims).unwrap();
            assert_eq!(checked.token_id, "1");
            assert_eq!(checked.expires_at, NOW.plus(60 + SKEW_SECONDS));
        }
    }

    #[test]
    fn an_assertion_made_for_another_server_or_client_proves_nothing() {
        let key = key();
        for (name, value) in [
            ("aud", json!("https://other")),
            ("aud", json!("https://h/")),
            ("aud", json!(["https://h", "https://other"])),
            ("aud", json!([])),
            ("aud", Value::Null),
            ("iss", json!("https://other.example/client.json")),
            ("sub", json!("https://other.example/client.json")),
            ("sub", Value::Null),
            ("jti", Value::Null),
            ("jti", json!("")),
            ("jti", json!("x".repeat(257))),
            ("exp", Value::Null),
            ("exp", json!(NOW.0 - SKEW_SECONDS)),
            ("exp", json!(NOW.0 + 3600)),
            ("nbf", json!(NOW.0 + 3600)),
        ] {
            let mut claims = claims();
            claims[name] = value.clone();
            assert!(verify(&key, &claims).is_err(), "{name} = {value}");
        }
    }

    #[test]
    fn an_assertion_signed_with_somebody_elses_key_proves_nothing() {
        let (own, other) = (key(), key());
        let text = other.sign("JWT", claims().as_object().unwrap()).unwrap();
        let keys = JwkSet::from_values(&[own.public_jwk().clone()]);
        let rules = AssertionRules {
            client_id: CLIENT,
            audiences: [ISSUER, TOKEN_ENDPOINT],
            now: NOW,
        };
        assert!(ClientAssertion::new(text).verify(&keys, &rules).is_err());
    }

    #[test]
    fn an_access_token_is_not_an_assertion() {
        let key = key();
        let text = key.sign("at+jwt", claims().as_object().unwrap()).unwrap();
        let keys = JwkSet::from_values(&[key.public_jwk().clone()]);
        let rules = AssertionRules {
            client_id: CLIENT,
            audiences: [ISSUER, TOKEN_ENDPOINT],
            now: NOW,
        };
        let error = ClientAssertion::new(text)
            .verify(&keys, &rules)
            .unwrap_err();
        assert!(matches!(error, AssertionError::Jws(JwsError::Type(_))));
    }

    #[test]
    fn the_claimed_subject_of_rubbish_is_nothing() {
        for text in ["", "a.b.c", "....", "a"] {
            assert_eq!(ClientAssertion::new(text).claimed_subject(), None, "{text}");
        }
    }
}
