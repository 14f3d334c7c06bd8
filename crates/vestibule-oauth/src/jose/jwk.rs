//! JSON Web Key sets (RFC 7517): read tolerantly, a key we do not understand never spoils its neighbours.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine as _;
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use serde_json::Value;

use crate::base64url::BASE64URL;

/// What a key of each type may verify.
const BY_RSA: [(Algorithm, &RsaParameters); 4] = [
    (Algorithm::RS256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::RS384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::RS512, &RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::PS256, &RSA_PSS_2048_8192_SHA256),
];

/// A public key that can verify one or more algorithms.
#[derive(Clone)]
pub struct PublicKey {
    kid: Option<String>,
    /// Parsed once: that takes a fifth of what a verification takes.
    verifying: Vec<(Algorithm, ParsedPublicKey)>,
}

impl PublicKey {
    /// The key id, if it has one. Cognito's contain `/`, `+` and `=`.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The key as it verifies this algorithm; `None` when it is not for it.
    pub(super) fn verifying(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        let own = self.verifying.iter().find(|(own, _)| *own == algorithm);
        own.map(|(_, key)| key)
    }

    fn algorithms(&self) -> Vec<Algorithm> {
        self.verifying.iter().map(|(own, _)| *own).collect()
    }

    /// Reads one key; `None` when it is not a signature key of a type and algorithm we verify. Symmetric keys are never
    /// taken out of a set: that would let a public document name an HMAC key (FastMCP #3430).
    fn from_value(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        let wrong_use =
            matches!(&jwk.common.public_key_use, Some(usage) if *usage != PublicKeyUse::Signature);
        let operations = jwk.common.key_operations.as_ref();
        if wrong_use
            || operations.is_some_and(|operations| !operations.contains(&KeyOperations::Verify))
        {
            return None;
        }
        let stated = value.get("alg").and_then(Value::as_str);
        let wanted = |own: Algorithm| stated.is_none_or(|stated| format!("{own:?}") == stated);
        let decode = |text: &str| BASE64URL.decode(text).ok();
        let one = |own: Algorithm, by: &'static dyn VerificationAlgorithm, bytes: &[u8]| {
            let key = ParsedPublicKey::new(by, bytes).ok()?;
            Some(vec![(own, key)]).filter(|_| wanted(own))
        };
        let verifying = match &jwk.algorithm {
            AlgorithmParameters::RSA(parameters) => {
                let (n, e) = (decode(&parameters.n)?, decode(&parameters.e)?);
                let components = RsaPublicKeyComponents { n, e };
                let by = BY_RSA.iter().filter(|(own, _)| wanted(*own));
                by.map(|(own, by)| Some((*own, components.to_parsed_public_key(by).ok()?)))
                    .collect::<Option<Vec<_>>>()?
            }
            AlgorithmParameters::EllipticCurve(parameters) => {
                let (x, y) = (decode(&parameters.x)?, decode(&parameters.y)?);
                // An uncompressed point (SEC 1 §2.3.3).
                let point = [&[4], x.as_slice(), &y].concat();
                match parameters.curve {
                    EllipticCurve::P256 => one(Algorithm::ES256, &ECDSA_P256_SHA256_FIXED, &point)?,
                    EllipticCurve::P384 => one(Algorithm::ES384, &ECDSA_P384_SHA384_FIXED, &point)?,
                    _ => return None,
                }
            }
            AlgorithmParameters::OctetKeyPair(parameters)
                if parameters.curve == EllipticCurve::Ed25519 =>
            {
                one(Algorithm::EdDSA, &ED25519, &decode(&parameters.x)?)?
            }
            _ => return None,
        };
        (!verifying.is_empty()).then_some(Self {
            kid: jwk.common.key_id,
            verifying,
        })
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicKey")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms())
            .finish_non_exhaustive()
    }
}

/// A set of public keys.
#[derive(Clone, Debug, Default)]
pub struct JwkSet {
    keys: Vec<PublicKey>,
}

impl JwkSet {
    /// Reads a JWKS document. Keys that cannot be used are left out; a document without `keys` is an error.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(serde::Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(json)?;
        Ok(Self::from_values(&document.keys))
    }

    /// Takes keys that are already JSON values.
    pub fn from_values(keys: &[Value]) -> Self {
        Self {
            keys: keys.iter().filter_map(PublicKey::from_value).collect(),
        }
    }

    /// The key a token names. Without a `kid` the only key of a set is meant.
    pub fn find(&self, kid: Option<&str>) -> Option<&PublicKey> {
        match (kid, self.keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// The number of usable keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True when there is no usable key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_does_not_spoil_its_neighbours() {
        // FastMCP #4515: one Ed25519 key rejected all tokens.
        let json = br#"{"keys":[
            {"kty":"FUTURE","kid":"f"},
            {"kty":"EC","crv":"secp256k1","kid":"k","x":"AA","y":"AA"},
            {"kty":"oct","kid":"hmac","k":"c2VjcmV0"},
            {"kty":"RSA","use":"enc","kid":"e","n":"AQAB","e":"AQAB"},
            {"kty":"OKP","crv":"Ed25519","kid":"ed/+=","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let set = JwkSet::parse(json).unwrap();
        assert_eq!(set.len(), 1);
        assert!(set.find(Some("ed/+=")).is_some());
        assert!(set.find(Some("hmac")).is_none());
    }

    #[test]
    fn an_error_page_is_not_a_key_set() {
        assert!(JwkSet::parse(b"<html>").is_err());
        assert!(JwkSet::parse(b"{}").is_err());
    }
}
