//! Randomness as a parameter: identifiers, nonces and verifiers all come from a [`Random`].

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A source of unpredictable bytes: the operating system's in production, a seeded one in tests.
pub trait Random: fmt::Debug + Send + Sync {
    /// Fills `out`.
    fn fill(&self, out: &mut [u8]);

    /// `N` fresh bytes as base64url without padding, for identifiers that travel in URLs.
    fn token(&self, bytes: usize) -> String {
        let mut buffer = vec![0; bytes];
        self.fill(&mut buffer);
        URL_SAFE_NO_PAD.encode(buffer)
    }
}

/// The operating system's generator, through aws-lc-rs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(
        clippy::expect_used,
        reason = "a machine without randomness must not go on issuing tokens"
    )]
    fn fill(&self, out: &mut [u8]) {
        aws_lc_rs::rand::fill(out).expect("the operating system's random number generator failed");
    }
}
