//! Sealing: authenticated encryption of a typed value for one purpose, with key id and expiry (design §1 "Seal").
//!
//! Everything we hand to a browser, a client or a store and want back unchanged goes through here. The purpose is bound three
//! times: by the type parameter, by the key (HKDF with the purpose as info) and by the additional authenticated data,
//! so a sealed state cannot come back as a code. The issuer is bound too, so two deployments that share a key file by
//! accident do not accept each other's artefacts.
//!
//! Envelope, base64url behind a readable prefix: version (1 byte), key id (4), nonce (12), AES-256-GCM-SIV ciphertext.
//! Plaintext: expiry in seconds (8 bytes, big-endian; 0 is "never"), then JSON.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::hmac;
use base64::Engine as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use zeroize::Zeroizing;

use vestibule_oauth::base64url::BASE64URL;
use vestibule_oauth::random::Random;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::UnixTime;
use vestibule_oauth::url::Origin;

const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 4;
const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;
const EXPIRY_LEN: usize = 8;
/// Bytes that are kept of a tag: 128 bits.
const TAG_LEN: usize = 16;
/// What a client's secret begins with, for people and secret scanners.
const CLIENT_SECRET_PREFIX: &str = "vcs_";

/// What a value is sealed for. One kind, one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A registered client, as its `client_id`.
    Registration,
    /// An authorization request that waits for consent, in the page's form.
    Consent,
    /// A sign-in under way at the provider, in a cookie.
    Flow,
    /// An authorization code.
    Code,
    /// A grant, as the refresh token.
    Grant,
    /// An access token.
    Access,
    /// A refresh token whose grant is in the store.
    Ticket,
    /// A grant in the store.
    StoredGrant,
    /// A revocation in the list that every replica follows.
    Revocation,
    /// What became of a code, for the life of the code.
    UsedCode,
    /// The consents that a browser remembers, in a cookie.
    Memory,
    /// A person's own sign-in under way, in a cookie.
    AccountFlow,
    /// Who is signed in at `/connections`, in a cookie.
    Session,
    /// What a form of `/connections` must bring back.
    FormTicket,
    /// Who signed in last in this browser, in a cookie.
    Account,
    /// A user or client that is shut out, in the store.
    Quarantine,
}

impl Kind {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 16] = [
        Self::Registration,
        Self::Consent,
        Self::Flow,
        Self::Code,
        Self::Grant,
        Self::Access,
        Self::Ticket,
        Self::StoredGrant,
        Self::Revocation,
        Self::UsedCode,
        Self::Memory,
        Self::AccountFlow,
        Self::Session,
        Self::FormTicket,
        Self::Account,
        Self::Quarantine,
    ];

    /// Goes into key derivation and authenticated data. Changing a name kills every artefact of that kind.
    fn name(self) -> &'static str {
        match self {
            Self::Registration => "client registration",
            Self::Consent => "consent",
            Self::Flow => "flow",
            Self::Code => "authorization code",
            Self::Grant => "grant",
            Self::Access => "access token",
            Self::Ticket => "refresh ticket",
            Self::StoredGrant => "stored grant",
            Self::Revocation => "revocation",
            Self::UsedCode => "used code",
            Self::Memory => "remembered consents",
            Self::AccountFlow => "account flow",
            Self::Session => "connections session",
            Self::FormTicket => "connections form",
            Self::Account => "last account",
            Self::Quarantine => "quarantine",
        }
    }

    /// Bytes that most artefacts of this kind fit into: what grows while it is written leaves copies behind.
    fn room(self) -> usize {
        match self {
            // The provider's tokens are in these.
            Self::Grant => 4 * 1024,
            Self::StoredGrant => 8 * 1024,
            _ => 1000,
        }
    }

    /// What the text begins with, for people and secret scanners.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Registration => vestibule_oauth::client::REGISTERED_PREFIX,
            Self::Consent => "vct_",
            Self::Flow => "vfl_",
            Self::Code => "vac_",
            Self::Grant => "vrt_",
            Self::Access => "vat_",
            Self::Ticket => "vrs_",
            Self::StoredGrant => "vsg_",
            Self::Revocation => "vrv_",
            Self::UsedCode => "vuc_",
            Self::Memory => "vmc_",
            Self::AccountFlow => "vaf_",
            Self::Session => "vss_",
            Self::FormTicket => "vft_",
            Self::Account => "vla_",
            Self::Quarantine => "vqu_",
        }
    }
}

/// A value that can be sealed, for exactly one purpose.
pub trait Sealable: Serialize + DeserializeOwned {
    /// The purpose.
    const KIND: Kind;
}

/// Why a sealed text did not open. The sender learns none of this; the log does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// Wrong prefix, not base64url, or too short.
    #[error("not a sealed value of this kind")]
    Malformed,
    /// Sealed with a key that is not in the ring (any more).
    #[error("sealed with a key that this server does not have")]
    UnknownKey,
    /// Changed, or sealed for another purpose or issuer.
    #[error("the seal does not open: changed, or made for something else")]
    Broken,
    /// Too old.
    #[error("expired")]
    Expired,
    /// Opened, but the content does not parse: made by an incompatible version.
    #[error("the sealed content cannot be read")]
    Content,
}

/// A sealing key of the ring with its derived keys.
struct RingKey {
    id: [u8; KEY_ID_LEN],
    derived: Vec<LessSafeKey>,
    /// For what is derived from an artefact instead of sealed: client secrets.
    root: Prk,
    /// For what is public and must come back unchanged.
    tagging: hmac::Key,
}

/// Seals with the current key and opens with every key of the ring.
pub struct Sealer {
    issuer: Origin,
    ring: Vec<RingKey>,
    /// What an artefact of each kind is bound to besides its key.
    bound: Vec<String>,
}

/// The ring holds no key, or key derivation failed.
#[derive(Debug, Error)]
#[error("the key ring has no usable sealing key; run `vestibule keys generate`")]
pub struct NoSealingKey;

impl Sealer {
    /// Derives the keys of every purpose. The first ring key seals; all open.
    pub fn new<'a>(
        issuer: Origin,
        keys: impl IntoIterator<Item = ([u8; KEY_ID_LEN], &'a Zeroizing<[u8; 32]>)>,
    ) -> Result<Self, NoSealingKey> {
        let derive = |(id, secret): ([u8; KEY_ID_LEN], &Zeroizing<[u8; 32]>)| {
            let derived: Result<Vec<_>, _> = Kind::ALL
                .into_iter()
                .map(|kind| derive_key(secret, kind))
                .collect();
            let root = Salt::new(HKDF_SHA256, b"vestibule").extract(secret.as_ref());
            let mut tagging = Zeroizing::new([0; 32]);
            root.expand(&[b"vestibule tag v1"], HKDF_SHA256)
                .and_then(|okm| okm.fill(tagging.as_mut()))
                .map_err(|_| NoSealingKey)?;
            let tagging = hmac::Key::new(hmac::HMAC_SHA256, tagging.as_ref());
            derived.map(|derived| RingKey {
                id,
                derived,
                root,
                tagging,
            })
        };
        let ring = keys
            .into_iter()
            .map(derive)
            .collect::<Result<Vec<_>, _>>()?;
        if ring.is_empty() {
            Err(NoSealingKey)
        } else {
            let bound = Kind::ALL.map(|kind| format!("vestibule\0{}\0{issuer}", kind.name()));
            Ok(Self {
                bound: bound.into(),
                issuer,
                ring,
            })
        }
    }

    /// Seals a value. `expires_at` of `None` is for client registrations only: they live for years (law 7).
    ///
    /// # Panics
    ///
    /// Never: what is sealed serialises, and is far smaller than the cipher's limit.
    #[expect(
        clippy::expect_used,
        reason = "in-memory serialisation and encryption of a few kilobytes cannot fail"
    )]
    pub fn seal<T: Sealable>(
        &self,
        value: &T,
        expires_at: Option<UnixTime>,
        random: &dyn Random,
    ) -> String {
        let key = self.ring.first().expect("checked in `new`");
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let mut envelope = Vec::with_capacity(T::KIND.room());
        envelope.push(VERSION);
        envelope.extend_from_slice(&key.id);
        envelope.extend_from_slice(&nonce);
        envelope.extend_from_slice(&expires_at.unwrap_or_default().0.to_be_bytes());
        serde_json::to_writer(&mut envelope, value).expect("sealed types serialise");
        let (_, body) = envelope.split_at_mut(HEADER_LEN);
        let tag = key
            .key(T::KIND)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                self.aad(T::KIND),
                body,
            )
            .expect("the plaintext is far below the cipher's limit");
        envelope.extend_from_slice(tag.as_ref());
        base64_behind(T::KIND.prefix(), &envelope)
    }

    /// Opens a text that was sealed for this very purpose and has not expired at `now`.
    pub fn open<T: Sealable>(&self, text: &str, now: UnixTime) -> Result<T, SealError> {
        let encoded = text
            .strip_prefix(T::KIND.prefix())
            .ok_or(SealError::Malformed)?;
        let mut envelope = Zeroizing::new(
            BASE64URL
                .decode(encoded)
                .map_err(|_| SealError::Malformed)?,
        );
        if envelope.len() < HEADER_LEN + EXPIRY_LEN || envelope.first() != Some(&VERSION) {
            return Err(SealError::Malformed);
        }
        let (header, body) = envelope.split_at_mut(HEADER_LEN);
        let (id, nonce) = header.get(1..).unwrap_or_default().split_at(KEY_ID_LEN);
        let key = self
            .ring
            .iter()
            .find(|key| key.id == id)
            .ok_or(SealError::UnknownKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Malformed)?;
        let plain = key
            .key(T::KIND)
            .open_in_place(nonce, self.aad(T::KIND), body)
            .map_err(|_| SealError::Broken)?;
        let (expiry, json) = plain
            .split_first_chunk::<EXPIRY_LEN>()
            .ok_or(SealError::Malformed)?;
        let expires_at = UnixTime(u64::from_be_bytes(*expiry));
        if expires_at != UnixTime::default() && expires_at <= now {
            return Err(SealError::Expired);
        }
        serde_json::from_slice(json).map_err(|_| SealError::Content)
    }

    /// A secret that belongs to one sealed text: derived with the key that sealed it, so that it is the same on every
    /// replica and lives as long as that key is in the ring. `None` when the text does not name a key of ours.
    pub fn secret_for(&self, sealed: &str) -> Option<Secret> {
        let (_, encoded) = sealed.split_once('_')?;
        let envelope = BASE64URL.decode(encoded).ok()?;
        let id = envelope.get(1..=KEY_ID_LEN)?;
        let key = self.ring.iter().find(|key| key.id == id)?;
        let info = [
            b"vestibule client secret v1 ".as_slice(),
            self.issuer.as_str().as_bytes(),
            b"\0",
            sealed.as_bytes(),
        ];
        let mut bytes = Zeroizing::new([0; 32]);
        let okm = key.root.expand(&info, HKDF_SHA256).ok()?;
        okm.fill(bytes.as_mut()).ok()?;
        let text = Zeroizing::new(BASE64URL.encode(bytes.as_ref()));
        Some(Secret::new(format!("{CLIENT_SECRET_PREFIX}{}", *text)))
    }

    /// A tag over something that is not secret, for this issuer, with the current key.
    ///
    /// # Panics
    ///
    /// Never: there is a key, and the tag of SHA-256 is longer than what is kept of it.
    #[expect(clippy::expect_used, reason = "a ring has a key, and 32 bytes hold 16")]
    pub(crate) fn tag(&self, bytes: &[u8]) -> [u8; TAG_LEN] {
        let key = self.ring.first().expect("checked in `new`");
        let tag = self.whole_tag(key, bytes);
        *tag.as_ref().first_chunk().expect("SHA-256 gives 32 bytes")
    }

    /// True when [`Self::tag`] made `tag` with a key that is in the ring.
    pub(crate) fn verify_tag(&self, bytes: &[u8], tag: &[u8]) -> bool {
        self.ring.iter().any(|key| {
            let whole = self.whole_tag(key, bytes);
            let kept = whole.as_ref().get(..TAG_LEN).unwrap_or_default();
            verify_slices_are_equal(kept, tag).is_ok()
        })
    }

    fn whole_tag(&self, key: &RingKey, bytes: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&key.tagging);
        context.update(self.issuer.as_str().as_bytes());
        context.update(b"\0");
        context.update(bytes);
        context.sign()
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "one for each kind, in the order of the enum"
    )]
    fn aad(&self, kind: Kind) -> Aad<&str> {
        Aad::from(self.bound[kind as usize].as_str())
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("issuer", &self.issuer)
            .field("keys", &self.ring.len())
            .finish_non_exhaustive()
    }
}

/// Serde for secrets inside a sealed value. `Secret` itself does not serialise, so that none leaves by accident; a field
/// that is carried under seal says so with `#[serde(with = "crate::seal::carried")]`.
pub(crate) mod carried {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use vestibule_oauth::secret::Secret;

    pub(crate) fn serialize<S: Serializer>(
        secret: &Secret,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Secret, D::Error> {
        Secret::deserialize(deserializer)
    }
}

impl RingKey {
    #[expect(
        clippy::indexing_slicing,
        reason = "one derived key per kind, in the order of the enum"
    )]
    fn key(&self, kind: Kind) -> &LessSafeKey {
        &self.derived[kind as usize]
    }
}

/// base64url of `bytes` behind a prefix, without a copy in between.
///
/// # Panics
///
/// Never: a string holds less than `usize` counts, and base64 is ASCII.
#[expect(
    clippy::expect_used,
    reason = "the room is what the encoder asks for, and it writes ASCII"
)]
pub(crate) fn base64_behind(prefix: &str, bytes: &[u8]) -> String {
    let length = base64::encoded_len(bytes.len(), false).expect("far below the limit");
    let mut text = vec![0; prefix.len() + length];
    let (head, tail) = text.split_at_mut(prefix.len());
    head.copy_from_slice(prefix.as_bytes());
    let encoded = BASE64URL.encode_slice(bytes, tail);
    encoded.expect("there is room for all of it");
    String::from_utf8(text).expect("base64 is ASCII")
}

fn derive_key(secret: &Zeroizing<[u8; 32]>, kind: Kind) -> Result<LessSafeKey, NoSealingKey> {
    let info = [b"vestibule seal v1 ", kind.name().as_bytes()];
    let mut bytes = Zeroizing::new([0; 32]);
    Salt::new(HKDF_SHA256, b"vestibule")
        .extract(secret.as_ref())
        .expand(&info, &AES_256_GCM_SIV)
        .and_then(|okm| okm.fill(bytes.as_mut()))
        .map_err(|_| NoSealingKey)?;
    UnboundKey::new(&AES_256_GCM_SIV, bytes.as_ref())
        .map(LessSafeKey::new)
        .map_err(|_| NoSealingKey)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;
    use vestibule_oauth::random::SystemRandom;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct A(String);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct B(String);
    impl Sealable for A {
        const KIND: Kind = Kind::Code;
    }
    impl Sealable for B {
        const KIND: Kind = Kind::Grant;
    }

    const NOW: UnixTime = UnixTime(1_000);

    fn sealer(issuer: &str, keys: &[u8]) -> Sealer {
        let keys: Vec<_> = keys
            .iter()
            .map(|&n| ([n; 4], Zeroizing::new([n; 32])))
            .collect();
        Sealer::new(
            Origin::parse(issuer).unwrap(),
            keys.iter().map(|(id, secret)| (*id, secret)),
        )
        .unwrap()
    }

    fn seal(sealer: &Sealer, text: &str) -> String {
        sealer.seal(&A(text.to_owned()), Some(NOW.plus(60)), &SystemRandom)
    }

    #[test]
    fn a_seal_opens_for_its_purpose_issuer_key_and_time_only() {
        let house = sealer("https://h", &[1]);
        let sealed = seal(&house, "x");
        assert_eq!(house.open::<A>(&sealed, NOW), Ok(A("x".into())));
        assert_eq!(house.open::<B>(&sealed, NOW), Err(SealError::Malformed));
        let renamed = sealed.replace(Kind::Code.prefix(), Kind::Grant.prefix());
        assert_eq!(house.open::<B>(&renamed, NOW), Err(SealError::Broken));
        assert_eq!(
            sealer("https://other", &[1]).open::<A>(&sealed, NOW),
            Err(SealError::Broken)
        );
        assert_eq!(
            sealer("https://h", &[2]).open::<A>(&sealed, NOW),
            Err(SealError::UnknownKey)
        );
        assert_eq!(
            house.open::<A>(&sealed, NOW.plus(60)),
            Err(SealError::Expired)
        );
    }

    #[test]
    fn an_older_key_of_the_ring_still_opens_and_the_first_seals() {
        let before = sealer("https://h", &[1]);
        let after = sealer("https://h", &[2, 1]);
        assert!(after.open::<A>(&seal(&before, "x"), NOW).is_ok());
        assert_eq!(
            before.open::<A>(&seal(&after, "x"), NOW),
            Err(SealError::UnknownKey)
        );
    }

    #[test]
    fn a_derived_secret_belongs_to_one_text_one_key_and_one_issuer() {
        let house = sealer("https://h", &[1]);
        let (one, two) = (seal(&house, "x"), seal(&house, "x"));
        let secret = |house: &Sealer, text: &str| house.secret_for(text);
        assert!(secret(&house, &one).is_some());
        assert_eq!(
            secret(&house, &one),
            secret(&sealer("https://h", &[2, 1]), &one)
        );
        assert_ne!(secret(&house, &one), secret(&house, &two));
        assert_ne!(
            secret(&house, &one),
            secret(&sealer("https://other", &[1]), &one)
        );
        assert_eq!(secret(&sealer("https://h", &[2]), &one), None);
        for rubbish in ["", "vcl_", "vcl_AAAA", "vcl_!"] {
            assert_eq!(secret(&house, rubbish), None, "{rubbish}");
        }
    }

    #[test]
    fn a_tag_belongs_to_its_bytes_its_issuer_and_a_key_of_the_ring() {
        let house = sealer("https://h", &[1]);
        let tag = house.tag(b"session");
        assert!(house.verify_tag(b"session", &tag));
        assert!(sealer("https://h", &[2, 1]).verify_tag(b"session", &tag));
        assert!(!sealer("https://h", &[2]).verify_tag(b"session", &tag));
        assert!(!sealer("https://other", &[1]).verify_tag(b"session", &tag));
        assert!(!house.verify_tag(b"Session", &tag));
        for short in [&tag[..0], &tag[..15]] {
            assert!(!house.verify_tag(b"session", short));
        }
    }

    #[test]
    fn the_same_value_never_gives_the_same_text() {
        let house = sealer("https://h", &[1]);
        assert_ne!(seal(&house, "x"), seal(&house, "x"));
    }

    proptest! {
        #[test]
        fn any_change_of_any_bit_is_noticed(text in ".{0,40}", position in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let house = sealer("https://h", &[1]);
            let sealed = seal(&house, &text);
            let mut bytes = BASE64URL.decode(&sealed[4..]).unwrap();
            let index = position.index(bytes.len());
            bytes[index] ^= 1 << bit;
            let changed = format!("vac_{}", BASE64URL.encode(bytes));
            prop_assert!(house.open::<A>(&changed, NOW).is_err());
        }

        #[test]
        fn no_text_panics(text in "(vac_)?[A-Za-z0-9_-]{0,80}") {
            prop_assert!(sealer("https://h", &[1]).open::<A>(&text, NOW).is_err());
        }
    }
}
