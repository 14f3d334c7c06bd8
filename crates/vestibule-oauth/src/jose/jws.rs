//! Compact JWS (RFC 7515 §3.1): strict reading of the header, verification against one key set, signing.

use std::cell::RefCell;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use jsonwebtoken::Algorithm;
use memchr::memchr_iter;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{JwkSet, SigningAlg};
use crate::base64url::BASE64URL;
use crate::secret::Secret;

/// Why a token is not a valid signature. None of it is worth telling the sender; all of it is worth logging.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JwsError {
    /// Not three base64url parts, or larger than [`Jws::MAX_LENGTH`].
    #[error("not a compact JWS")]
    Malformed,
    /// The header is not JSON or names no known algorithm (`none` is not known).
    #[error("the JWS header cannot be read or names an algorithm we do not accept")]
    Header,
    /// RFC 7515 §4.1.11: an extension we do not know must be refused.
    #[error("the JWS header has critical extensions")]
    Critical,
    /// RFC 8725 §3.11: another kind of token.
    #[error("the JWS is of type '{0}', which is not expected here")]
    Type(String),
    /// The key set has no such key. A reason to fetch the set again.
    #[error("no key with the id {0:?}")]
    UnknownKey(Option<String>),
    /// The key exists and is for another algorithm.
    #[error("the key is not for the algorithm of the header")]
    KeyMismatch,
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Signature,
    /// The payload is not a JSON object.
    #[error("the payload is not a JSON object")]
    Payload,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// Longest text of a header that is remembered, in bytes.
const REMEMBERED: usize = 512;

thread_local! {
    /// The header that was read last, by its text: an issuer writes the same one into all tokens that it signs with a key, and
    /// to read it takes as long as to read half of what such a token says.
    static LAST: RefCell<Option<(Box<str>, Arc<Header>)>> = const { RefCell::new(None) };
}

impl Header {
    fn read(text: &str) -> Result<Arc<Self>, JwsError> {
        let known = LAST.with_borrow(|last| match last {
            Some((known, header)) if **known == *text => Some(Arc::clone(header)),
            _ => None,
        });
        if let Some(header) = known {
            return Ok(header);
        }
        let header = BASE64URL.decode(text).map_err(|_| JwsError::Malformed)?;
        let header: Self = serde_json::from_slice(&header).map_err(|_| JwsError::Header)?;
        if header.crit.is_some() {
            return Err(JwsError::Critical);
        }
        if matches!(
            header.alg,
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
        ) {
            return Err(JwsError::Header);
        }
        let header = Arc::new(header);
        if text.len() <= REMEMBERED {
            LAST.set(Some((text.into(), Arc::clone(&header))));
        }
        Ok(header)
    }
}

/// A token that was split and whose header was read; nothing is verified yet.
#[derive(Debug)]
pub struct Jws<'a> {
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
    header: Arc<Header>,
}

impl<'a> Jws<'a> {
    /// Longest token looked at, in bytes.
    pub const MAX_LENGTH: usize = 16 * 1024;

    /// Splits a compact JWS and reads its header.
    pub fn parse(token: &'a str) -> Result<Self, JwsError> {
        if token.len() > Self::MAX_LENGTH {
            return Err(JwsError::Malformed);
        }
        let (signed, header, payload, signature) = parts(token).ok_or(JwsError::Malformed)?;
        Ok(Self {
            signed,
            payload,
            signature,
            header: Header::read(header)?,
        })
    }

    /// The key id of the header.
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Refuses every type but those named. `None` among them allows a header without `typ` (Cognito has none). The
    /// `application/` prefix is optional (RFC 7515 §4.1.9) and case does not matter.
    pub fn expect_type(self, allowed: &[Option<&str>]) -> Result<Self, JwsError> {
        let own = self
            .header
            .typ
            .as_deref()
            .map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
        let fits = allowed.iter().any(|allowed| match (allowed, own) {
            (None, None) => true,
            (Some(allowed), Some(own)) => allowed.eq_ignore_ascii_case(own),
            _ => false,
        });
        if fits {
            Ok(self)
        } else {
            Err(JwsError::Type(own.unwrap_or_default().to_owned()))
        }
    }

    /// Verifies the signature with the key that the header names and gives the payload, which is a JSON object.
    pub fn verify(&self, keys: &JwkSet) -> Result<Map<String, Value>, JwsError> {
        self.verify_into(keys)
    }

    /// The same for who reads the object in another way.
    pub fn verify_into<T: DeserializeOwned>(&self, keys: &JwkSet) -> Result<T, JwsError> {
        let key = keys
            .find(self.kid())
            .ok_or_else(|| JwsError::UnknownKey(self.header.kid.clone()))?;
        let key = key
            .verifying(self.header.alg)
            .ok_or(JwsError::KeyMismatch)?;
        let signature = BASE64URL
            .decode(self.signature)
            .map_err(|_| JwsError::Signature)?;
        key.verify_sig(self.signed.as_bytes(), &signature)
            .map_err(|_| JwsError::Signature)?;
        let payload = BASE64URL
            .decode(self.payload)
            .map_err(|_| JwsError::Payload)?;
        // Looked through for UTF-8 once, and not text by text.
        let payload = std::str::from_utf8(&payload).map_err(|_| JwsError::Payload)?;
        serde_json::from_str(payload).map_err(|_| JwsError::Payload)
    }
}

/// What is signed, the header and the payload in it, and the signature, which is there.
fn parts(token: &str) -> Option<(&str, &str, &str, &str)> {
    let mut dots = memchr_iter(b'.', token.as_bytes());
    let (first, second) = (dots.next()?, dots.next()?);
    if dots.next().is_some() {
        return None;
    }
    let (signed, signature) = (token.get(..second)?, token.get(second + 1..)?);
    let (header, payload) = (signed.get(..first)?, signed.get(first + 1..)?);
    (!signature.is_empty()).then_some((signed, header, payload, signature))
}

/// Why a private key cannot sign.
#[derive(Debug, Error)]
pub enum SigningKeyError {
    /// Not a PKCS#8 PEM of the stated kind.
    #[error("the {0} key is not a PKCS#8 PEM of that kind")]
    Malformed(SigningAlg),
    /// It parsed, but signing and verifying a probe failed.
    #[error("the {0} key does not sign")]
    Unusable(SigningAlg),
}

/// A private key with its RFC 7638 thumbprint as `kid`.
pub struct SigningKey {
    alg: SigningAlg,
    kid: String,
    key: KeyPair,
    public: Value,
}

/// Parsed once: to check a pair takes longer than to sign with it.
enum KeyPair {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl KeyPair {
    fn read(alg: SigningAlg, pem: &Secret) -> Option<Self> {
        let key = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).ok()?;
        match (alg, &key) {
            (SigningAlg::Es256, PrivateKeyDer::Pkcs8(key)) => {
                let (kind, der) = (&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der());
                EcdsaKeyPair::from_pkcs8(kind, der).ok().map(Self::Es256)
            }
            (SigningAlg::Rs256, PrivateKeyDer::Pkcs8(key)) => {
                let pair = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der());
                pair.ok().map(Self::Rs256)
            }
            (SigningAlg::Rs256, PrivateKeyDer::Pkcs1(key)) => {
                let pair = RsaKeyPair::from_der(key.secret_pkcs1_der());
                pair.ok().map(Self::Rs256)
            }
            (SigningAlg::EdDsa, PrivateKeyDer::Pkcs8(key)) => {
                let pair = Ed25519KeyPair::from_pkcs8(key.secret_pkcs8_der());
                pair.ok().map(Self::EdDsa)
            }
            _ => None,
        }
    }

    /// The public half as a JWK (RFC 7518 §6, RFC 8037 §2): the members that a thumbprint is made of, in its order.
    fn public(&self) -> Option<Vec<(&'static str, String)>> {
        let encode = |bytes: &[u8]| BASE64URL.encode(bytes);
        match self {
            Self::Es256(pair) => {
                // An uncompressed point (SEC 1 §2.3.3).
                let point = pair.public_key().as_ref().strip_prefix(&[4])?;
                let (x, y) = point.split_at_checked(32)?;
                Some(vec![
                    ("crv", "P-256".to_owned()),
                    ("kty", "EC".to_owned()),
                    ("x", encode(x)),
                    ("y", encode(y)),
                ])
            }
            Self::Rs256(pair) => {
                let key = pair.public_key();
                let (e, n) = (key.exponent(), key.modulus());
                Some(vec![
                    ("e", encode(e.big_endian_without_leading_zero())),
                    ("kty", "RSA".to_owned()),
                    ("n", encode(n.big_endian_without_leading_zero())),
                ])
            }
            Self::EdDsa(pair) => Some(vec![
                ("crv", "Ed25519".to_owned()),
                ("kty", "OKP".to_owned()),
                ("x", encode(pair.public_key().as_ref())),
            ]),
        }
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .ok()?;
                Some(signature)
            }
            Self::EdDsa(pair) => Some(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl SigningKey {
    /// Reads a PKCS#8 PEM and proves that it signs.
    pub fn from_pem(alg: SigningAlg, pem: &Secret) -> Result<Self, SigningKeyError> {
        let malformed = || SigningKeyError::Malformed(alg);
        let key = KeyPair::read(alg, pem).ok_or_else(malformed)?;
        let members = key.public().ok_or_else(malformed)?;
        let kid = thumbprint(&members);
        let public = members.into_iter().chain([
            ("kid", kid.clone()),
            ("use", "sig".to_owned()),
            ("alg", alg.as_str().to_owned()),
        ]);
        let public = public.map(|(name, value)| (name.to_owned(), json!(value)));
        let signing = Self {
            alg,
            kid,
            key,
            public: Value::Object(public.collect()),
        };
        // Some encodings fail only when used (facts/rust.md A.3), so use the key once.
        let probe = signing
            .sign("probe", &Map::new())
            .map_err(|_| SigningKeyError::Unusable(alg))?;
        let set = JwkSet::from_values(std::slice::from_ref(&signing.public));
        Jws::parse(&probe)
            .and_then(|jws| jws.verify(&set))
            .map_err(|_| SigningKeyError::Unusable(alg))?;
        Ok(signing)
    }

    /// The algorithm.
    pub fn alg(&self) -> SigningAlg {
        self.alg
    }

    /// The key id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half as a JWK with `kid`, `use` and `alg`.
    pub fn public_jwk(&self) -> &Value {
        &self.public
    }

    /// Signs claims under a header with this `typ` (`at+jwt` for access tokens, RFC 9068 §2.1).
    pub fn sign(&self, typ: &str, claims: &Map<String, Value>) -> Result<String, SigningKeyError> {
        let header = json!({ "typ": typ, "alg": self.alg.as_str(), "kid": self.kid });
        let encode = |value: &[u8]| BASE64URL.encode(value);
        let claims = serde_json::to_vec(claims).map_err(|_| SigningKeyError::Unusable(self.alg))?;
        let signed = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(&claims)
        );
        let signature = self.key.sign(signed.as_bytes());
        let signature = signature.ok_or(SigningKeyError::Unusable(self.alg))?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }
}

/// RFC 7638: the members that make the key, in lexicographic order. Their values need no escapes.
fn thumbprint(members: &[(&'static str, String)]) -> String {
    let member = |(name, value): &(&str, String)| format!("\"{name}\":\"{value}\"");
    let members: Vec<String> = members.iter().map(member).collect();
    let json = format!("{{{}}}", members.join(","));
    BASE64URL.encode(digest(&SHA256, json.as_bytes()))
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("alg", &self.alg)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn pem(der: &[u8]) -> Secret {
        Secret::new(format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der)
        ))
    }

    fn key(alg: SigningAlg) -> SigningKey {
        let pem = match alg {
            SigningAlg::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                pem(pair.to_pkcs8v1().unwrap().as_ref())
            }
            SigningAlg::EdDsa => pem(Ed25519KeyPair::generate()
                .unwrap()
                .to_pkcs8v1()
                .unwrap()
                .as_ref()),
            SigningAlg::Rs256 => {
                let pair =
                    aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
                pem(AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair)
                    .unwrap()
                    .as_ref())
            }
        };
        SigningKey::from_pem(alg, &pem).unwrap()
    }

    fn claims() -> Map<String, Value> {
        json!({ "sub": "ada" }).as_object().unwrap().clone()
    }

    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_7638() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64\
            tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbIS\
            D08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let members = [
            ("e", "AQAB".to_owned()),
            ("kty", "RSA".to_owned()),
            ("n", n.to_owned()),
        ];
        let expected = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
        assert_eq!(thumbprint(&members), expected);
        for alg in SigningAlg::ALL {
            let key = key(alg);
            let jwk: jsonwebtoken::jwk::Jwk =
                serde_json::from_value(key.public_jwk().clone()).unwrap();
            let hash = jsonwebtoken::jwk::ThumbprintHash::SHA256;
            assert_eq!(jwk.thumbprint(hash).unwrap(), key.kid());
        }
    }

    #[test]
    fn an_rsa_key_may_come_as_pkcs1_too() {
        let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        // What a PKCS#8 document of an RSA key holds behind its first 26 bytes (RFC 5208 §5).
        let pkcs1 = STANDARD.encode(pkcs8.as_ref().get(26..).unwrap());
        let text =
            format!("-----BEGIN RSA PRIVATE KEY-----\n{pkcs1}\n-----END RSA PRIVATE KEY-----\n");
        let one = SigningKey::from_pem(SigningAlg::Rs256, &Secret::new(text)).unwrap();
        let other = SigningKey::from_pem(SigningAlg::Rs256, &pem(pkcs8.as_ref())).unwrap();
        assert_eq!(one.kid(), other.kid());
    }

    #[test]
    fn what_is_signed_verifies_with_every_algorithm() {
        for alg in SigningAlg::ALL {
            let key = key(alg);
            let set = JwkSet::from_values(&[key.public_jwk().clone()]);
            let token = key.sign("at+jwt", &claims()).unwrap();
            let jws = Jws::parse(&token)
                .unwrap()
                .expect_type(&[Some("at+jwt")])
                .unwrap();
            assert_eq!(jws.verify(&set).unwrap(), claims(), "{alg}");
            assert!(
                key.public_jwk().get("d").is_none(),
                "{alg}: the public half must not hold the private one"
            );
        }
    }

    #[test]
    fn t23_unsigned_swapped_and_foreign_tokens_are_refused() {
        let key = key(SigningAlg::Es256);
        let set = JwkSet::from_values(&[key.public_jwk().clone()]);
        let token = key.sign("at+jwt", &claims()).unwrap();
        let encode = |value: Value| BASE64URL.encode(value.to_string());
        let payload = token.split('.').nth(1).unwrap();
        let signature = token.split('.').nth(2).unwrap();
        let with_header = |header: Value| format!("{}.{payload}.{signature}", encode(header));
        let refuse = |token: &str| {
            Jws::parse(token)
                .and_then(|jws| jws.verify(&set))
                .unwrap_err()
        };

        assert_eq!(
            refuse(&with_header(json!({"alg":"none","kid":key.kid()}))),
            JwsError::Header
        );
        assert_eq!(
            refuse(&with_header(json!({"alg":"HS256","kid":key.kid()}))),
            JwsError::Header
        );
        assert_eq!(
            refuse(&with_header(json!({"alg":"RS256","kid":key.kid()}))),
            JwsError::KeyMismatch
        );
        assert_eq!(
            refuse(&with_header(json!({"alg":"ES256","kid":"other"}))),
            JwsError::UnknownKey(Some("other".into()))
        );
        assert_eq!(
            refuse(&with_header(
                json!({"alg":"ES256","kid":key.kid(),"crit":["x"]})
            )),
            JwsError::Critical
        );
        assert_eq!(
            refuse(&with_header(json!({"alg":"ES256","kid":key.kid()}))),
            JwsError::Signature
        );
        assert_eq!(refuse("a.b"), JwsError::Malformed);
        assert_eq!(refuse("a.b.c.d"), JwsError::Malformed);
        assert_eq!(
            refuse(&format!(
                "{}.{}.",
                token.split('.').next().unwrap(),
                payload
            )),
            JwsError::Malformed
        );
        assert_eq!(
            refuse(&"a".repeat(Jws::MAX_LENGTH + 1)),
            JwsError::Malformed
        );
        let typed = Jws::parse(&token)
            .unwrap()
            .expect_type(&[None, Some("JWT")])
            .unwrap_err();
        assert_eq!(typed, JwsError::Type("at+jwt".into()));
    }

    #[test]
    fn a_header_that_was_read_before_lends_nothing_to_another() {
        let (key, other) = (key(SigningAlg::Es256), key(SigningAlg::Es256));
        let set = JwkSet::from_values(&[key.public_jwk().clone()]);
        let good = key.sign("at+jwt", &claims()).unwrap();
        let id_token = key.sign("id_token+jwt", &claims()).unwrap();
        let foreign = other.sign("at+jwt", &claims()).unwrap();
        let (_, rest) = good.split_once('.').unwrap();
        let unsigned = format!("{}.{rest}", BASE64URL.encode(r#"{"alg":"none"}"#));
        let long = format!("{}.{rest}", "A".repeat(REMEMBERED + 4));
        let read = |token: &str| {
            let jws = Jws::parse(token)?.expect_type(&[Some("at+jwt")])?;
            jws.verify(&set).map(|_| ())
        };
        for _ in 0..3 {
            assert_eq!(read(&good), Ok(()));
            assert_eq!(read(&good), Ok(()));
            assert_eq!(read(&id_token), Err(JwsError::Type("id_token+jwt".into())));
            assert_eq!(read(&good), Ok(()));
            let unknown = JwsError::UnknownKey(Some(other.kid().to_owned()));
            assert_eq!(read(&foreign), Err(unknown));
            assert_eq!(read(&unsigned), Err(JwsError::Header));
            assert_eq!(read(&long), Err(JwsError::Header));
        }
    }

    #[test]
    fn every_bit_of_a_token_counts() {
        let key = key(SigningAlg::EdDsa);
        let set = JwkSet::from_values(&[key.public_jwk().clone()]);
        let token = key.sign("at+jwt", &claims()).unwrap();
        for index in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let Ok(text) = String::from_utf8(bytes) else {
                continue;
            };
            let outcome = Jws::parse(&text).and_then(|jws| jws.verify(&set));
            assert!(outcome.is_err(), "a change at {index} went unnoticed");
        }
    }
}
