//! The key ring: the keys we seal and sign with, current ones first (design §6).
//!
//! A ring is a small TOML file. The first sealing key and the first signing key of an algorithm are the current ones;
//! the others still open and verify what was made with them, until they are removed.

mod file;
mod generate;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;
use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::UnixTime;
use zeroize::{Zeroize as _, Zeroizing};

pub use file::{check_file, write};

/// The keys of one installation. Every replica must have the same ring.
#[derive(Clone, Debug)]
pub struct KeyRing {
    /// The sealing keys, the current one first; never empty.
    pub sealing: Vec<SealingKey>,
    /// The signing keys, current before previous; never empty.
    pub signing: Vec<SigningKeyEntry>,
}

/// A root key for sealing; the keys for each purpose are derived from it.
#[derive(Clone)]
pub struct SealingKey {
    /// Stands at the head of everything sealed with it.
    pub id: [u8; 4],
    /// When it was made.
    pub created: UnixTime,
    /// The key.
    pub secret: Zeroizing<[u8; 32]>,
}

/// A private key for signing.
#[derive(Clone, Debug)]
pub struct SigningKeyEntry {
    /// What it signs with.
    pub alg: SigningAlg,
    /// When it was made.
    pub created: UnixTime,
    /// The key: PKCS#8 in PEM.
    pub pem: Secret,
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
    /// The cryptographic library made no key.
    #[error("could not make a {0} key")]
    Generation(SigningAlg),
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRing {
    #[serde(default)]
    sealing: Vec<WrittenSealing>,
    #[serde(default)]
    signing: Vec<WrittenSigning>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSealing {
    id: String,
    created: UnixTime,
    secret: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSigning {
    alg: SigningAlg,
    created: UnixTime,
    pem: Secret,
}

impl KeyRing {
    /// Reads the text of a key ring file.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let written: WrittenRing = toml::from_str(text).map_err(|error| malformed(text, &error))?;
        let sealing = written
            .sealing
            .iter()
            .map(SealingKey::read)
            .collect::<Result<Vec<_>, _>>()?;
        let signing = written.signing.into_iter();
        let signing = signing.map(|key| SigningKeyEntry {
            alg: key.alg,
            created: key.created,
            pem: key.pem,
        });
        let ring = Self {
            sealing,
            signing: signing.collect(),
        };
        if ring.sealing.is_empty() {
            return Err(KeyRingError::Content(
                "there is no [[sealing]] key".to_owned(),
            ));
        }
        if ring.signing.is_empty() {
            return Err(KeyRingError::Content(
                "there is no [[signing]] key".to_owned(),
            ));
        }
        for (index, key) in ring.sealing.iter().enumerate() {
            if ring
                .sealing
                .iter()
                .skip(index + 1)
                .any(|other| other.id == key.id)
            {
                return Err(KeyRingError::Content(format!(
                    "two [[sealing]] keys have the id {}",
                    key.id_text()
                )));
            }
        }
        Ok(ring)
    }

    /// The text of a key ring file.
    pub fn to_toml(&self) -> Secret {
        // Sized beforehand, so that no half-grown copy with keys in it stays behind in memory.
        let mut text =
            String::with_capacity(4096 * (1 + self.signing.len()) + 256 * self.sealing.len());
        text.push_str(HEADER);
        for key in &self.sealing {
            let mut secret = URL_SAFE_NO_PAD.encode(key.secret.as_slice());
            let _ = write!(
                text,
                "\n[[sealing]]\nid = \"{}\"\ncreated = {}\nsecret = \"{secret}\"\n",
                key.id_text(),
                key.created
            );
            secret.zeroize();
        }
        for key in &self.signing {
            let (alg, created, pem) = (key.alg, key.created, key.pem.expose().trim_end());
            let _ = write!(
                text,
                "\n[[signing]]\nalg = \"{alg}\"\ncreated = {created}\npem = \"\"\"\n{pem}\n\"\"\"\n"
            );
        }
        Secret::new(text)
    }

    /// The signing key for new tokens of `alg`.
    pub fn current_signing(&self, alg: SigningAlg) -> Option<&SigningKeyEntry> {
        self.signing.iter().find(|key| key.alg == alg)
    }
}

impl SealingKey {
    /// The id as it stands in the file: eight hexadecimal digits.
    pub fn id_text(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id))
    }

    fn read(written: &WrittenSealing) -> Result<Self, KeyRingError> {
        // Neither text is repeated: somebody may have mixed them up.
        let wrong = |what: &str| KeyRingError::Content(format!("a [[sealing]] key's {what}"));
        let id = Some(&written.id)
            .filter(|id| id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|id| u32::from_str_radix(id, 16).ok())
            .ok_or_else(|| wrong("id is not eight hexadecimal digits"))?;
        let bytes = URL_SAFE_NO_PAD
            .decode(written.secret.expose())
            .map(Zeroizing::new);
        let secret = bytes
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok())
            .map(Zeroizing::new)
            .ok_or_else(|| wrong("secret is not 32 bytes in base64url"))?;
        Ok(Self {
            id: id.to_be_bytes(),
            created: written.created,
            secret,
        })
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey")
            .field("id", &self.id_text())
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

const HEADER: &str = "\
# The key ring of a Vestibule installation. Keep it secret and keep it safe: whoever reads it can sign in as anybody,
# and without it everybody has to sign in again. Every replica needs the same ring.
# The first [[sealing]] and the first [[signing]] key of an algorithm are in use; the others still open and verify.
";

/// An error without the line it is about, since that line may hold a key.
fn malformed(text: &str, error: &toml::de::Error) -> KeyRingError {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map_or(0, |before| before.matches('\n').count() + 1);
    let message = error.message();
    // serde's messages about values quote them; those about names and syntax do not.
    let quotes_a_value =
        message.starts_with("invalid type") || message.starts_with("invalid value");
    let message = if quotes_a_value {
        "this is not the kind of value that belongs here"
    } else {
        message
    };
    KeyRingError::Malformed {
        line,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::jose::SigningKey;
    use vestibule_oauth::random::SystemRandom;

    use super::*;

    fn ring() -> KeyRing {
        KeyRing::generate(&SigningAlg::ALL, UnixTime(1_795_000_000), &SystemRandom).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again_and_its_keys_can_sign() {
        let ring = ring();
        let again = KeyRing::parse(ring.to_toml().expose()).unwrap();
        assert_eq!(again.sealing.len(), 1);
        assert_eq!(again.sealing[0].id, ring.sealing[0].id);
        assert_eq!(again.sealing[0].secret, ring.sealing[0].secret);
        assert_eq!(again.sealing[0].created, UnixTime(1_795_000_000));
        for alg in SigningAlg::ALL {
            let entry = again.current_signing(alg).unwrap();
            let key = SigningKey::from_pem(alg, &entry.pem).unwrap();
            assert!(key.sign("JWT", &serde_json::Map::new()).is_ok(), "{alg}");
        }
    }

    #[test]
    fn pem_has_64_columns() {
        let pem = ring()
            .current_signing(SigningAlg::Rs256)
            .unwrap()
            .pem
            .clone();
        let lines: Vec<&str> = pem.expose().lines().collect();
        assert_eq!(lines.first(), Some(&"-----BEGIN PRIVATE KEY-----"));
        assert_eq!(lines.last(), Some(&"-----END PRIVATE KEY-----"));
        assert!(
            lines[1..lines.len() - 2]
                .iter()
                .all(|line| line.len() == 64)
        );
    }

    #[test]
    fn no_key_shows_in_debug_output() {
        let ring = ring();
        let shown = format!("{ring:?}");
        let secret = URL_SAFE_NO_PAD.encode(ring.sealing[0].secret.as_slice());
        assert!(
            !shown.contains(&secret) && !shown.contains("PRIVATE"),
            "{shown}"
        );
        assert!(shown.contains(&ring.sealing[0].id_text()));
    }

    #[test]
    fn a_broken_ring_is_refused_without_showing_its_keys() {
        let good = ring().to_toml().expose().to_owned();
        let line = |start: &str| good.lines().find(|line| line.starts_with(start)).unwrap();
        let (secret_line, id_line) = (line("secret"), line("id"));
        let secret = secret_line
            .trim_start_matches("secret = ")
            .trim_matches('"');
        let (before_signing, _) = good.split_once("\n[[signing]]").unwrap();
        let (_, sealing) = before_signing.split_once("\n[[sealing]]").unwrap();
        for (broken, says) in [
            (
                good.replace(secret_line, &format!("secret = \"{secret}")),
                "line 8",
            ),
            (
                good.replace(id_line, "id = \"xyz\""),
                "eight hexadecimal digits",
            ),
            (
                good.replace(id_line, &format!("id = \"{secret}\"")),
                "eight hexadecimal digits",
            ),
            (
                good.replace(secret_line, "secret = \"c2hvcnQ\""),
                "32 bytes",
            ),
            (
                good.replace("created = 1", &format!("created = \"{secret}\" #")),
                "not the kind of value",
            ),
            (good.replace("alg = \"RS256\"", "alg = \"HS256\""), "HS256"),
            (good.replace("\n[[signing]]", "\n[[singing]]"), "singing"),
            (before_signing.to_owned(), "no [[signing]] key"),
            (String::new(), "no [[sealing]] key"),
            (
                format!("{good}\n[[sealing]]{sealing}"),
                "two [[sealing]] keys",
            ),
        ] {
            let error = KeyRing::parse(&broken).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains(secret), "{error}");
        }
    }
}
