//! What comes back from strangers and must be ours: signed tokens and sealed artefacts.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use vestibule::grants::{Access, Code, ConsentTicket, Flow, Grant, StoredGrant, Ticket};
use vestibule::keys::KeyRing;
use vestibule::seal::{Kind, Sealable, Sealer};
use vestibule_oauth::client::Registration;
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
    const KIND: Kind = [
        Kind::Registration,
        Kind::Consent,
        Kind::Flow,
        Kind::Code,
        Kind::Grant,
        Kind::Access,
        Kind::Ticket,
        Kind::StoredGrant,
    ][KIND];
}

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
    assert_eq!(
        opened(sealer, text),
        [false; 8],
        "a forged seal opened: {text}"
    );
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        made::<0>(sealer, &value, data);
        made::<1>(sealer, &value, data);
        made::<2>(sealer, &value, data);
        made::<3>(sealer, &value, data);
        made::<4>(sealer, &value, data);
        made::<5>(sealer, &value, data);
        made::<6>(sealer, &value, data);
        made::<7>(sealer, &value, data);
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
    for (purpose, opened) in opened(sealer, &text).into_iter().enumerate() {
        assert!(!opened || purpose == KIND, "{KIND} opened as {purpose}");
    }
    assert!(sealer.open::<Made<KIND>>(&text, NOW.plus(60)).is_err());
    let mut bytes = text.into_bytes();
    let seed = data.iter().fold(0, |sum: usize, byte| {
        sum.wrapping_mul(31) + usize::from(*byte)
    });
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

/// For which purposes it opens.
fn opened(sealer: &Sealer, text: &str) -> [bool; 8] {
    [
        sealer.open::<Registration>(text, NOW).is_ok(),
        sealer.open::<ConsentTicket>(text, NOW).is_ok(),
        sealer.open::<Flow>(text, NOW).is_ok(),
        sealer.open::<Code>(text, NOW).is_ok(),
        sealer.open::<Grant>(text, NOW).is_ok(),
        sealer.open::<Access>(text, NOW).is_ok(),
        sealer.open::<Ticket>(text, NOW).is_ok(),
        sealer.open::<StoredGrant>(text, NOW).is_ok(),
    ]
}
