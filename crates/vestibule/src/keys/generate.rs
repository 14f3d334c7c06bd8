//! Making new keys: 256-bit sealing keys, and signing keys as PKCS#8 in PEM (RFC 5958, RFC 7468).

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::random::Random;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::UnixTime;
use zeroize::Zeroizing;

use super::{KeyRing, KeyRingError, Life, SealingKey, SigningKeyEntry};

impl KeyRing {
    /// A new ring: one sealing key, and one signing key for each of `algs` (ES256 when there are none).
    ///
    /// The sealing key comes from `random`. The signing keys come from aws-lc-rs, which brings its own generator.
    pub fn generate(
        algs: &[SigningAlg],
        now: UnixTime,
        random: &dyn Random,
    ) -> Result<Self, KeyRingError> {
        let algs = if algs.is_empty() {
            &[SigningAlg::Es256]
        } else {
            algs
        };
        let signing = algs
            .iter()
            .map(|alg| SigningKeyEntry::generate(*alg, now))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            sealing: vec![SealingKey::generate(now, random)],
            signing,
            retired: Vec::new(),
        })
    }
}

impl SealingKey {
    /// A new key with a random id.
    pub fn generate(now: UnixTime, random: &dyn Random) -> Self {
        let mut id = [0; 4];
        random.fill(&mut id);
        let mut secret = Zeroizing::new([0; 32]);
        random.fill(secret.as_mut_slice());
        Self {
            id,
            life: Life::current(now),
            secret,
        }
    }
}

impl SigningKeyEntry {
    /// A new key. RSA keys have 2048 bits and take up to a second.
    pub fn generate(alg: SigningAlg, now: UnixTime) -> Result<Self, KeyRingError> {
        let failed = |_| KeyRingError::Generation(alg);
        let pem = match alg {
            SigningAlg::Es256 => {
                let pair =
                    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
                pem(pair.to_pkcs8v1().map_err(failed)?.as_ref())
            }
            SigningAlg::Rs256 => pem(RsaKeyPair::generate(KeySize::Rsa2048)
                .map_err(failed)?
                .as_der()
                .map_err(failed)?
                .as_ref()),
            SigningAlg::EdDsa => pem(Ed25519KeyPair::generate()
                .map_err(failed)?
                .to_pkcs8v1()
                .map_err(failed)?
                .as_ref()),
        };
        Ok(Self {
            alg,
            life: Life::current(now),
            pem,
        })
    }
}

/// PEM with lines of 64 characters (RFC 7468 §2).
fn pem(der: &[u8]) -> Secret {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut text = String::with_capacity(encoded.len() + encoded.len() / 64 + 64);
    text.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = encoded.as_str();
    while let Some((line, tail)) = rest.split_at_checked(64) {
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    if !rest.is_empty() {
        text.push_str(rest);
        text.push('\n');
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    Secret::new(text)
}
