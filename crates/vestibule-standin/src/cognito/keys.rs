//! The pool's signing keys and its JWKS (facts/cognito §2.9): two RSA keys, one for ID tokens and one for access tokens.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::cognito::random;

/// One generation of keys.
pub(crate) struct KeySet {
    /// Signs ID tokens; first in the JWKS, as in Cognito.
    pub(crate) id: SigningKey,
    /// Signs access tokens.
    pub(crate) access: SigningKey,
}

impl KeySet {
    /// The keys every stand-in of this process starts with: making RSA keys is slow, and tests start many.
    pub(crate) fn shared() -> Result<Arc<Self>, Unspecified> {
        static SHARED: OnceLock<Result<Arc<KeySet>, Unspecified>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::generate().map(Arc::new))
            .clone()
    }

    /// New keys. Blocks for some tens of milliseconds.
    pub(crate) fn generate() -> Result<Self, Unspecified> {
        Ok(Self {
            id: SigningKey::generate()?,
            access: SigningKey::generate()?,
        })
    }
}

/// The keys in use and, after a rotation, the ones before them, which stay published.
#[derive(Clone)]
pub(crate) struct KeyRing {
    /// What signs.
    pub(crate) current: Arc<KeySet>,
    /// What signed before the last rotation.
    pub(crate) previous: Option<Arc<KeySet>>,
}

impl KeyRing {
    /// The JWKS document.
    pub(crate) fn jwks(&self) -> Value {
        let keys: Vec<Value> = self.all().map(SigningKey::jwk).collect();
        json!({ "keys": keys })
    }

    /// The claims of a JWT signed by any published key; `None` if it is none of ours.
    pub(crate) fn verify(&self, token: &str) -> Option<Value> {
        let (message, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !self
            .all()
            .any(|key| key.verifies(message.as_bytes(), &signature))
        {
            return None;
        }
        let (_header, claims) = message.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }

    fn all(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.current)
            .chain(&self.previous)
            .flat_map(|set| [&set.id, &set.access])
    }
}

/// An RSA key with its id.
pub(crate) struct SigningKey {
    kid: String,
    pair: KeyPair,
}

impl SigningKey {
    fn generate() -> Result<Self, Unspecified> {
        Ok(Self {
            kid: random::key_id(),
            pair: KeyPair::generate(KeySize::Rsa2048)?,
        })
    }

    /// A compact JWS over `claims`. The header has `kid` and `alg` and, like Cognito's, no `typ`.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, Unspecified> {
        // The key id is base64, so it needs no JSON escape.
        let header = format!(r#"{{"kid":"{}","alg":"RS256"}}"#, self.kid);
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            message.as_bytes(),
            &mut signature,
        )?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let public = RsaPublicKeyComponents::from(self.pair.public_key());
        public
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .is_ok()
    }

    fn jwk(&self) -> Value {
        let public = self.pair.public_key();
        let encode = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
        json!({
            "alg": "RS256",
            "e": encode(public.exponent().big_endian_without_leading_zero()),
            "kid": self.kid,
            "kty": "RSA",
            "n": encode(public.modulus().big_endian_without_leading_zero()),
            "use": "sig",
        })
    }
}
