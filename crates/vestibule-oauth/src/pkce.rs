//! Proof Key for Code Exchange (RFC 7636), S256 only: the `plain` method has no constructor.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::base64url::BASE64URL;
use crate::random::Random;
use crate::secret::Secret;

/// The name of the one method we know.
pub const METHOD_S256: &str = "S256";

/// Why PKCE parameters were refused. Every case is `invalid_request` on the wire (RFC 7636 §4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PkceError {
    /// No `code_challenge`: OAuth 2.1 makes PKCE mandatory.
    #[error("code_challenge is missing; this server requires PKCE with S256")]
    MissingChallenge,
    /// `code_challenge_method` is absent (which means `plain`) or anything but `S256`.
    #[error("code_challenge_method must be S256")]
    UnsupportedMethod,
    /// Not 43 base64url characters, so not a SHA-256.
    #[error(
        "code_challenge must be the base64url SHA-256 of the code_verifier: 43 characters without padding"
    )]
    MalformedChallenge,
    /// Not 43 to 128 unreserved characters (RFC 7636 §4.1).
    #[error("code_verifier must be 43 to 128 characters of A-Z a-z 0-9 - . _ ~")]
    MalformedVerifier,
}

/// The client's S256 challenge: always 43 base64url characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeChallenge(String);

impl CodeChallenge {
    /// Reads the two authorization request parameters.
    pub fn parse(challenge: Option<&str>, method: Option<&str>) -> Result<Self, PkceError> {
        let challenge = challenge.ok_or(PkceError::MissingChallenge)?;
        if method != Some(METHOD_S256) {
            return Err(PkceError::UnsupportedMethod);
        }
        match BASE64URL.decode(challenge) {
            Ok(bytes) if bytes.len() == 32 => Ok(Self(challenge.to_owned())),
            _ => Err(PkceError::MalformedChallenge),
        }
    }

    /// True when `verifier` hashes to this challenge.
    pub fn is_met_by(&self, verifier: &CodeVerifier) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), verifier.challenge().0.as_bytes()).is_ok()
    }

    /// The challenge as it goes into a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A code verifier: 43 to 128 unreserved characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeVerifier(Secret);

impl CodeVerifier {
    /// Reads `code_verifier` of a token request.
    pub fn parse(text: &str) -> Result<Self, PkceError> {
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if (43..=128).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(Secret::new(text)))
        } else {
            Err(PkceError::MalformedVerifier)
        }
    }

    /// A fresh verifier of 256 bits for a request of our own.
    pub fn generate(random: &dyn Random) -> Self {
        Self(Secret::new(random.token(32)))
    }

    /// The S256 challenge of this verifier.
    pub fn challenge(&self) -> CodeChallenge {
        CodeChallenge(BASE64URL.encode(digest(&SHA256, self.0.expose().as_bytes())))
    }

    /// The verifier as it goes to a token endpoint.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 Appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_vector_of_rfc_7636_holds() {
        let challenge = CodeChallenge::parse(Some(CHALLENGE), Some("S256")).unwrap();
        assert!(challenge.is_met_by(&CodeVerifier::parse(VERIFIER).unwrap()));
        assert!(!challenge.is_met_by(&CodeVerifier::parse(&VERIFIER.replace('d', "e")).unwrap()));
    }

    #[test]
    fn plain_missing_and_misshapen_challenges_are_refused() {
        use PkceError::{MalformedChallenge, MissingChallenge, UnsupportedMethod};
        let parse =
            |challenge: Option<&str>, method| CodeChallenge::parse(challenge, method).unwrap_err();
        assert_eq!(parse(None, Some("S256")), MissingChallenge);
        assert_eq!(parse(Some(CHALLENGE), None), UnsupportedMethod);
        assert_eq!(parse(Some(CHALLENGE), Some("plain")), UnsupportedMethod);
        assert_eq!(parse(Some(CHALLENGE), Some("s256")), UnsupportedMethod);
        assert_eq!(
            parse(Some(&CHALLENGE[1..]), Some("S256")),
            MalformedChallenge
        );
        assert_eq!(
            parse(Some(&format!("{CHALLENGE}=")), Some("S256")),
            MalformedChallenge
        );
        assert_eq!(
            parse(Some(VERIFIER.get(..42).unwrap()), Some("S256")),
            MalformedChallenge
        );
    }

    #[test]
    fn verifiers_have_a_length_and_an_alphabet() {
        assert!(CodeVerifier::parse(&"a".repeat(42)).is_err());
        assert!(CodeVerifier::parse(&"a".repeat(128)).is_ok());
        assert!(CodeVerifier::parse(&"a".repeat(129)).is_err());
        assert!(CodeVerifier::parse(&"a b".repeat(20)).is_err());
    }
}
