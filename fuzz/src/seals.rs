//! What comes back from strangers and must be ours: signed tokens and sealed artefacts.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use vestibule::fuzz_hooks;
use vestibule::keys::KeyRing;
use vestibule::seal::{Kind, Sealable, Sealer};
use vestibule_oauth::jose::{JwkSet, Jws, SigningAlg, SigningKey};
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::UnixTime;
use vestibule_oauth::url::Origin;

const NOW: UnixTime = UnixTime(1_800_000_000);

/// Input: a token, or a set of keys. Nobody else can sign for our keys, so nothing may ever be accepted.
pub fn jws(data: &[u8]) {
    static KEYS: OnceLock<JwkSet> = OnceLock::new();
    let ours = KEYS.get_or_init(|| {
        let ring = KeyRing::generate(&SigningAlg::ALL, NOW, &SystemRandom).expect("a ring");
        let public = ring.signing.iter().map(|entry| {
            let key = SigningKey::from_pem(entry.alg, &entry.pem).expect("our own key");
            key.public_jwk().clone()
        });
        JwkSet::from_values(&public.collect::<Vec<_>>())
    });
    let theirs = JwkSet::parse(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(token) = Jws::parse(text) else {
        return;
    };
    assert!(text.len() <= Jws::MAX_LENGTH);
    assert!(
        token.verify(ours).is_err(),
        "a forged token was accepted: {text}"
    );
    if let Ok(theirs) = theirs {
        let _ = token.verify(&theirs);
    }
}

/// JSON of anybody's making, sealed as if it were ours: what a bug in an older version could have left behind.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Made<const KIND: usize>(Value);

impl<const KIND: usize> Sealable for Made<KIND> {
    const KIND: Kind = Kind::ALL[KIND];
}

/// One for each kind: with a new kind this array has the wrong length.
const MADE: [fn(&Sealer, &Value, &[u8]); Kind::ALL.len()] = [
    made::<0>, made::<1>, made::<2>, made::<3>, made::<4>, made::<5>, made::<6>, made::<7>,
    made::<8>, made::<9>, made::<10>, made::<11>, made::<12>, made::<13>, made::<14>, made::<15>,
];

/// Input: a sealed text, or JSON to be sealed.
pub fn sealed(data: &[u8]) {
    static SEALER: OnceLock<Sealer> = OnceLock::new();
    let sealer = SEALER.get_or_init(|| {
        let origin = Origin::parse("https://mcp.example.com").expect("an origin");
        let ring = KeyRing::generate(&[], NOW, &SystemRandom).expect("a ring");
        let keys = ring.sealing.iter().map(|key| (key.id, &key.secret));
        Sealer::new(origin, keys).expect("a key")
    });
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for kind in Kind::ALL {
        let opens = fuzz_hooks::opens(sealer, kind, text, NOW);
        assert!(!opens, "a forged seal opened as {kind:?}: {text}");
    }
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        // One kind for each input, so that the many kinds cost no more than few.
        MADE[seed(data) % MADE.len()](sealer, &value, data);
    }
}

/// Seals `value` for one purpose: it opens for no other, not after its time, and not with one bit changed.
fn made<const KIND: usize>(sealer: &Sealer, value: &Value, data: &[u8]) {
    let text = sealer.seal(
        &Made::<KIND>(value.clone()),
        Some(NOW.plus(60)),
        &SystemRandom,
    );
    let back: Made<KIND> = sealer.open(&text, NOW).expect("what was just sealed");
    assert_eq!(&back.0, value);
    for kind in Kind::ALL {
        let opens = fuzz_hooks::opens(sealer, kind, &text, NOW);
        assert!(
            !opens || kind == Kind::ALL[KIND],
            "{:?} opened as {kind:?}",
            Kind::ALL[KIND]
        );
    }
    assert!(sealer.open::<Made<KIND>>(&text, NOW.plus(60)).is_err());
    let mut bytes = text.into_bytes();
    let seed = seed(data);
    let place = seed % bytes.len();
    // A bit that base64url keeps a letter, or does not: both must fail.
    bytes[place] ^= 1 << (seed % 5);
    if let Ok(changed) = String::from_utf8(bytes) {
        assert!(
            sealer.open::<Made<KIND>>(&changed, NOW).is_err(),
            "{changed}"
        );
    }
}

/// A number that the input decides.
fn seed(data: &[u8]) -> usize {
    data.iter().fold(0, |sum: usize, byte| {
        sum.wrapping_mul(31) + usize::from(*byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_made_and_has_a_prefix_of_its_own() {
        let mut prefixes: Vec<_> = Kind::ALL.iter().map(|kind| kind.prefix()).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        assert_eq!(prefixes.len(), MADE.len());
        // The order of the enum: what is derived for a kind is found by its number.
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number, "{kind:?}");
        }
    }
}
