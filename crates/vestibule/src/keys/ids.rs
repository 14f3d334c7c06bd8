//! The ids of a ring's keys, and how those of two rings differ, for the audit stream to tell.

use std::collections::BTreeSet;

use serde::Serialize;
use vestibule_oauth::jose::SigningAlg;

use super::{KeyRing, SealingKey};

/// The ids of keys: `kid`s of signing keys, and ids of sealing keys. They are no secrets: they stand in `/jwks.json` and at the
/// head of what is signed or sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIds {
    /// Of every key with which something may have been made that is still good: next, current, previous and retired ones.
    known: BTreeSet<String>,
    signing: Option<String>,
    sealing: Option<String>,
}

/// How the keys of a ring differ from those before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// Ids of keys that were not known before.
    pub came: Vec<String>,
    /// Ids of keys that are known no more: what was made with them is not good any longer.
    pub went: Vec<String>,
    /// The `kid` of the key that signs now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing: Option<String>,
    /// The id of the key that seals now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealing: Option<String>,
}

impl KeyIds {
    /// Of a ring whose key for `alg` signs.
    pub fn of(ring: &KeyRing, alg: SigningAlg) -> Self {
        let sealing = ring.sealing.iter().map(SealingKey::id_text);
        let signing = ring.signing.iter().filter_map(|entry| entry.key().ok());
        let signing = signing.map(|key| key.kid().to_owned());
        let retired = ring.retired.iter().map(|key| key.kid().to_owned());
        let current = ring.current_signing(alg);
        Self {
            known: sealing.chain(signing).chain(retired).collect(),
            signing: current
                .and_then(|entry| entry.key().ok())
                .map(|key| key.kid().to_owned()),
            sealing: ring.sealing.first().map(SealingKey::id_text),
        }
    }

    /// How they differ from those `before`; `None` when they do not.
    pub fn since(&self, before: &Self) -> Option<KeyChange> {
        let not_in =
            |own: &Self, other: &Self| own.known.difference(&other.known).cloned().collect();
        (self != before).then(|| KeyChange {
            came: not_in(self, before),
            went: not_in(before, self),
            signing: self.signing.clone(),
            sealing: self.sealing.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::random::SystemRandom;
    use vestibule_oauth::time::UnixTime;

    use super::*;
    use crate::keys::rotation::{Schedule, When};

    const ALG: SigningAlg = SigningAlg::Es256;
    const DAY: u64 = 24 * 3600;

    #[test]
    fn what_comes_is_told_when_it_is_published_and_what_goes_when_it_is_forgotten() {
        let start = UnixTime(1_790_000_000);
        let rotate = |ring: &KeyRing, days: u64| {
            let now = start.plus(days * DAY);
            let rotated = ring.rotate(&Schedule::default(), When::Now, now, &SystemRandom);
            rotated.unwrap().0
        };
        let first = KeyRing::generate(&[ALG], start, &SystemRandom).unwrap();
        let before = KeyIds::of(&first, ALG);
        assert_eq!(before.since(&before.clone()), None);
        let published = rotate(&first, 1);
        let ids = KeyIds::of(&published, ALG);
        let change = ids.since(&before).unwrap();
        assert_eq!((change.came.len(), change.went.len()), (2, 0), "{change:?}");
        assert_eq!(change.signing, before.signing, "it only waits");
        let promoted = KeyIds::of(&rotate(&published, 3), ALG);
        let change = promoted.since(&ids).unwrap();
        assert_eq!((change.came.len(), change.went.len()), (0, 0), "{change:?}");
        assert_ne!(change.signing, before.signing);
        assert_ne!(change.sealing, before.sealing);
        let other = KeyRing::generate(&[ALG], start, &SystemRandom).unwrap();
        let change = KeyIds::of(&other, ALG).since(&before).unwrap();
        assert_eq!(change.went, Vec::from_iter(before.known.clone()));
        assert_eq!(change.came.len(), 2);
    }
}
