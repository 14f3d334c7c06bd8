//! The key ring: the keys we seal and sign with, current ones first (design §6).
//!
//! A ring is a small TOML file. One sealing key and one signing key of each algorithm is the current one; the others open
//! and verify only: the next one, which is to become the current, and previous ones. An algorithm that was just added has a
//! next key only. `rotation` moves them on.

mod age;
mod file;
mod generate;
mod ids;
mod life;
pub mod rotation;
mod text;

use serde_json::Value;
use thiserror::Error;
use vestibule_oauth::jose::{SigningAlg, SigningKey};
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::UnixTime;
use zeroize::Zeroizing;

pub use age::KeyAges;
pub use file::{LockedRing, check_file, write};
pub use ids::{KeyChange, KeyIds};
pub use life::{KeyState, Life};

/// The keys of one installation. Every replica must have the same ring.
#[derive(Clone, Debug)]
pub struct KeyRing {
    /// The sealing keys: the current one, the next one, previous ones; never empty.
    pub sealing: Vec<SealingKey>,
    /// The signing keys: current ones, next ones, previous ones; never empty.
    pub signing: Vec<SigningKeyEntry>,
    /// The public halves of signing keys that are gone, as long as there may be tokens of theirs.
    pub retired: Vec<RetiredKey>,
}

/// A root key for sealing; the keys for each purpose are derived from it.
#[derive(Clone)]
pub struct SealingKey {
    /// Stands at the head of everything sealed with it.
    pub id: [u8; 4],
    /// Where it is in its life.
    pub life: Life,
    /// The key.
    pub secret: Zeroizing<[u8; 32]>,
}

/// A private key for signing.
#[derive(Clone, Debug)]
pub struct SigningKeyEntry {
    /// What it signs with.
    pub alg: SigningAlg,
    /// Where it is in its life.
    pub life: Life,
    /// The key: PKCS#8 in PEM.
    pub pem: Secret,
}

/// What is left of a signing key: enough to verify, not enough to sign.
#[derive(Clone, Debug)]
pub struct RetiredKey {
    /// What it signed with.
    pub alg: SigningAlg,
    /// When it was made.
    pub created: UnixTime,
    /// When the private key was removed.
    pub since: UnixTime,
    /// The public key, with its `kid`.
    pub jwk: Value,
}

/// Why there is no key ring.
#[derive(Debug, Error)]
pub enum KeyRingError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Writing would destroy a ring, and with it everybody's sign-in.
    #[error(
        "{0} exists; its keys would be lost and everybody signed out (use --force to replace it)"
    )]
    Exists(String),
    /// Anybody on this computer could put in a key of theirs.
    #[error("{0} can be written by other users of this computer; run `chmod 600 {0}`")]
    WritableByOthers(String),
    /// The text is not a ring.
    #[error("line {line}: {message}")]
    Malformed {
        /// Where, from one; 0 when unknown.
        line: usize,
        /// What is wrong, without any key material.
        message: String,
    },
    /// The text is a ring with something missing or doubled.
    #[error("{0}")]
    Content(String),
    /// A command would do more harm than it says.
    #[error("{0}")]
    Refused(String),
    /// The cryptographic library made no key.
    #[error("could not make a {0} key")]
    Generation(SigningAlg),
}

impl KeyRing {
    /// The signing key for new tokens of `alg`; `None` when there is none, or only one that is not in use yet.
    pub fn current_signing(&self, alg: SigningAlg) -> Option<&SigningKeyEntry> {
        let own = |key: &&SigningKeyEntry| key.alg == alg && key.life.state == KeyState::Current;
        self.signing.iter().find(own)
    }

    /// Current keys before next ones before previous ones: whoever seals or signs takes the first.
    fn sort(&mut self) {
        self.sealing.sort_by_key(|key| key.life.state);
        self.signing.sort_by_key(|key| key.life.state);
    }
}

impl SigningKeyEntry {
    /// The private key, ready to sign, with its thumbprint as `kid`.
    pub fn key(&self) -> Result<SigningKey, KeyRingError> {
        SigningKey::from_pem(self.alg, &self.pem)
            .map_err(|error| KeyRingError::Content(error.to_string()))
    }
}

impl RetiredKey {
    /// The key id.
    pub fn kid(&self) -> &str {
        self.jwk.get("kid").and_then(Value::as_str).unwrap_or("?")
    }
}

impl SealingKey {
    /// The id as it stands in the file: eight hexadecimal digits.
    pub fn id_text(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id))
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey")
            .field("id", &self.id_text())
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
