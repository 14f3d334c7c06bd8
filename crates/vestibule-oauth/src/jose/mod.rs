//! JOSE: signatures (RFC 7515), keys (RFC 7517) and claims (RFC 7519, RFC 9068) with checks of our own.
//!
//! `jsonwebtoken` reads the words of JWKs and headers; keys and signatures are aws-lc's, so that a key is parsed once, and the
//! claims are judged here: with the validation of `jsonwebtoken` a missing `aud`, an `iss` array and unknown `crit` headers
//! pass, and it reads the system clock (facts/rust.md A.3).

mod claims;
mod jwk;
mod jws;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use claims::{Audience, Claims, ClaimsError, Expected, Members, SKEW_SECONDS};
pub use jwk::{JwkSet, PublicKey};
pub use jws::{Jws, JwsError, SigningKey, SigningKeyError};

/// The algorithms we sign with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SigningAlg {
    /// ECDSA on P-256: the default, small and understood everywhere.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// RSA 2048 PKCS#1 v1.5: what AWS authorizers want.
    #[serde(rename = "RS256")]
    Rs256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl SigningAlg {
    /// Every algorithm, for error messages and tests.
    pub const ALL: [Self; 3] = [Self::Es256, Self::Rs256, Self::EdDsa];

    /// The JOSE name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for SigningAlg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SigningAlg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL
            .into_iter()
            .find(|alg| alg.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            format!("'{text}' is not a signing algorithm; use ES256, RS256 or EdDSA")
        })
    }
}
