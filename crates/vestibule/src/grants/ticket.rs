//! `Ticket`: the refresh token of a grant that is in the store (RFC 6749 §1.5, design §5).

use serde::{Deserialize, Serialize};
use vestibule_oauth::random::Random;

use crate::seal::{Kind, Sealable};

/// Which grant, and which of its refresh tokens. It says nothing to its holder and holds nothing of the provider's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The grant.
    #[serde(rename = "f")]
    pub family: String,
    /// Counts the refresh tokens of a grant. A ticket that is ahead of its record tells that the store has lost writes.
    #[serde(rename = "n")]
    pub generation: u64,
    /// So that nobody who reads the store, not even with our keys, can make up the text that opens a kept answer.
    #[serde(rename = "k")]
    secret: String,
}

impl Sealable for Ticket {
    const KIND: Kind = Kind::Ticket;
}

impl Ticket {
    /// A new one.
    pub fn new(family: String, generation: u64, random: &dyn Random) -> Self {
        Self {
            family,
            generation,
            secret: random.token(16),
        }
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket")
            .field("family", &self.family)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
