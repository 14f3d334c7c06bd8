//! Secrets in memory: zeroized on drop, compared in constant time, never printed.

use std::fmt;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// Text that must not be seen: no `Display`, no `Serialize`; `Debug` prints a fingerprint that tells two secrets
/// apart in a log without giving either away.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text; the caller keeps no copy.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Call it only where it goes on the wire or into a cryptographic function.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The first 48 bits of the SHA-256, for logs.
    pub fn fingerprint(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.0.as_bytes());
        digest
            .as_ref()
            .iter()
            .take(6)
            .fold(String::new(), |mut text, byte| {
                use fmt::Write as _;
                let _ = write!(text, "{byte:02x}");
                text
            })
    }

    /// True when there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes())
            .is_ok()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}…)", self.fingerprint())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

macro_rules! secret_kinds {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Secret);

        impl $name {
            /// Wraps the text.
            pub fn new(text: impl Into<String>) -> Self {
                Self(Secret::new(text))
            }

            /// The text itself; only for the wire and for cryptography.
            pub fn expose(&self) -> &str {
                self.0.expose()
            }
        }
    )*};
}

secret_kinds! {
    /// An access token, ours or the provider's.
    AccessToken;
    /// A refresh token, ours or the provider's.
    RefreshToken;
    /// An OpenID Connect ID token as it came over the wire, not yet verified.
    IdToken;
    /// An authorization code, ours or the provider's.
    AuthorizationCode;
    /// A client's secret.
    ClientSecret;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_a_fingerprint_and_not_the_text() {
        let shown = format!("{:?}", AccessToken::new("super-secret"));
        assert!(!shown.contains("super-secret"), "{shown}");
        assert!(shown.contains(&Secret::new("super-secret").fingerprint()));
    }

    #[test]
    fn equality_is_by_content() {
        assert_eq!(Secret::new("a"), Secret::new("a"));
        assert_ne!(Secret::new("a"), Secret::new("b"));
        assert_ne!(Secret::new("a"), Secret::new("aa"));
    }
}
