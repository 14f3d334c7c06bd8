//! Randomness as a parameter: identifiers, nonces and verifiers all come from a [`Random`].

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;

use crate::base64url::BASE64URL;

/// A source of unpredictable bytes: the operating system's in production, a seeded one in tests.
pub trait Random: fmt::Debug + Send + Sync {
    /// Fills `out`.
    fn fill(&self, out: &mut [u8]);

    /// `N` fresh bytes as base64url without padding, for identifiers that travel in URLs.
    fn token(&self, bytes: usize) -> String {
        let mut buffer = vec![0; bytes];
        self.fill(&mut buffer);
        BASE64URL.encode(buffer)
    }

    /// A number that does not come twice, for what is only told apart by it and guards nothing: reference ids.
    fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
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

    /// Counts under a key that nobody knows: a tenth of what eight bytes of the generator take, and every refusal has one.
    fn number(&self) -> u64 {
        static KEY: OnceLock<RandomState> = OnceLock::new();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        KEY.get_or_init(RandomState::new).hash_one(next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_do_not_come_twice_and_tell_nothing_of_each_other() {
        let numbers: Vec<u64> = (0..10_000).map(|_| SystemRandom.number()).collect();
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len());
        // Neighbours differ in half of their bits.
        let differing: u32 = numbers
            .windows(2)
            .map(|pair| (pair[0] ^ pair[1]).count_ones())
            .sum();
        assert!((31 * 9_999..33 * 9_999).contains(&differing), "{differing}");
    }
}
