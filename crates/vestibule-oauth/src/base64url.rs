//! base64url without padding (RFC 7515 §2), in which tokens, keys and digests are written.

#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_feature = "neon")
))]
mod engine {
    use std::sync::LazyLock;

    use base64::engine::Simd;
    use base64::engine::general_purpose::NO_PAD;

    /// With what this CPU has for it. Byte by byte, a token of a kilobyte takes as long as all that is done with its claims.
    pub static BASE64URL: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(NO_PAD));
}

#[cfg(not(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_feature = "neon")
)))]
mod engine {
    use base64::engine::general_purpose::{GeneralPurpose, URL_SAFE_NO_PAD};

    /// As on any CPU.
    pub static BASE64URL: GeneralPurpose = URL_SAFE_NO_PAD;
}

pub use engine::BASE64URL;

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_the_cpu_has_writes_and_reads_the_same(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let text = URL_SAFE_NO_PAD.encode(&bytes);
            prop_assert_eq!(&BASE64URL.encode(&bytes), &text);
            prop_assert_eq!(BASE64URL.decode(text).unwrap(), bytes);
        }

        #[test]
        fn whatever_the_cpu_has_refuses_the_same(text in "[A-Za-z0-9_-]{0,300}[A-Za-z0-9+/=. _-]{0,3}[A-Za-z0-9_-]{0,90}") {
            prop_assert_eq!(BASE64URL.decode(&text), URL_SAFE_NO_PAD.decode(&text));
        }
    }
}
