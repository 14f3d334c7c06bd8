//! JSON Web Key sets (RFC 7517): read tolerantly, a key we do not understand never spoils its neighbours.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// A public key that can verify one or more algorithms.
#[derive(Clone)]
pub struct PublicKey {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl PublicKey {
    /// The key id, if it has one. Cognito's contain `/`, `+` and `=`.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(super) fn decoding_key(&self) -> &DecodingKey {
        &self.key
    }

    pub(super) fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
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
        let possible: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
            ],
            AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(parameters)
                if parameters.curve == EllipticCurve::Ed25519 =>
            {
                &[Algorithm::EdDSA]
            }
            _ => return None,
        };
        let stated = value.get("alg").and_then(Value::as_str);
        let algorithms: Vec<Algorithm> = match stated {
            None => possible.to_vec(),
            Some(stated) => possible
                .iter()
                .copied()
                .filter(|own| format!("{own:?}") == stated)
                .collect(),
        };
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        (!algorithms.is_empty()).then_some(Self {
            kid: jwk.common.key_id,
            algorithms,
            key,
        })
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicKey")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
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
