//! Identifiers in the shapes Cognito gives them (facts/cognito §2.3, §2.9): the stand-in's one source of randomness.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use vestibule_oauth::random::{Random as _, SystemRandom};

/// The JOSE header a real refresh token starts with: `{"cty":"JWT","enc":"A256GCM","alg":"RSA-OAEP"}`.
const REFRESH_HEADER: &str = "eyJjdHkiOiJKV1QiLCJlbmMiOiJBMjU2R0NNIiwiYWxnIjoiUlNBLU9BRVAifQ";

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    SystemRandom.fill(&mut out);
    out
}

/// A random (version 4) UUID: codes, `jti`, `event_id`, request ids.
pub(crate) fn uuid() -> String {
    let mut raw = bytes::<16>();
    raw[6] = (raw[6] & 0x0f) | 0x40;
    raw[8] = (raw[8] & 0x3f) | 0x80;
    format_uuid(&raw)
}

/// Sixteen bytes in the 8-4-4-4-12 form.
pub(crate) fn format_uuid(raw: &[u8; 16]) -> String {
    let hex = hex(raw);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A key id like Cognito's: standard base64 of 32 bytes, here always with `/`, `+` and `=` in it,
/// so that nobody can treat it as a path segment or as base64url and get away with it.
pub(crate) fn key_id() -> String {
    loop {
        let kid = STANDARD.encode(bytes::<32>());
        if kid.contains('/') && kid.contains('+') {
            return kid;
        }
    }
}

/// An opaque refresh token in the five-part shape and size (about 1.8 KB) of the real one.
pub(crate) fn refresh_token() -> String {
    format!(
        "{REFRESH_HEADER}.{}.{}.{}.{}",
        URL_SAFE_NO_PAD.encode(bytes::<256>()),
        URL_SAFE_NO_PAD.encode(bytes::<12>()),
        URL_SAFE_NO_PAD.encode(bytes::<1000>()),
        URL_SAFE_NO_PAD.encode(bytes::<16>()),
    )
}

/// 256 bits as base64url: session and CSRF cookies.
pub(crate) fn cookie() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let id = uuid();
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(refresh_token().len() >= 1700);
        assert!(key_id().ends_with('='));
    }
}
