//! The key ring: the keys we seal and sign with, current ones first (design §6).
//!
//! A ring is a small TOML file. One sealing key and one signing key of each algorithm is the current one; the others open
//! and verify only: the next one, which is to become the current, and previous ones. `rotation` moves them on.

mod age;
mod file;
mod generate;
mod life;
pub mod rotation;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use vestibule_oauth::jose::{JwkSet, SigningAlg, SigningKey};
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::UnixTime;
use zeroize::{Zeroize as _, Zeroizing};

pub use age::KeyAges;
pub use file::{LockedRing, check_file, write};
pub use life::{KeyState, Life};

use life::{WrittenLife, lives};

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

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRing {
    #[serde(default)]
    sealing: Vec<WrittenSealing>,
    #[serde(default)]
    signing: Vec<WrittenSigning>,
    #[serde(default)]
    retired: Vec<WrittenRetired>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSealing {
    id: String,
    created: UnixTime,
    state: Option<KeyState>,
    since: Option<UnixTime>,
    secret: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSigning {
    alg: SigningAlg,
    created: UnixTime,
    state: Option<KeyState>,
    since: Option<UnixTime>,
    pem: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRetired {
    alg: SigningAlg,
    created: UnixTime,
    since: UnixTime,
    jwk: String,
}

impl KeyRing {
    /// Reads the text of a key ring file.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let written: WrittenRing = toml::from_str(text).map_err(|error| malformed(text, &error))?;
        let mut ring = Self {
            sealing: read_sealing(&written.sealing)?,
            signing: read_signing(written.signing)?,
            retired: written
                .retired
                .iter()
                .map(RetiredKey::read)
                .collect::<Result<_, _>>()?,
        };
        ring.sort();
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
                "\n[[sealing]]\nid = \"{}\"\n{}secret = \"{secret}\"\n",
                key.id_text(),
                life_text(&key.life)
            );
            secret.zeroize();
        }
        for key in &self.signing {
            let (alg, life, pem) = (key.alg, life_text(&key.life), key.pem.expose().trim_end());
            let _ = write!(
                text,
                "\n[[signing]]\nalg = \"{alg}\"\n{life}pem = \"\"\"\n{pem}\n\"\"\"\n"
            );
        }
        for key in &self.retired {
            let _ = write!(
                text,
                "\n[[retired]]\nalg = \"{}\"\ncreated = {}\nsince = {}\njwk = '{}'\n",
                key.alg, key.created, key.since, key.jwk
            );
        }
        Secret::new(text)
    }

    /// The signing key for new tokens of `alg`.
    pub fn current_signing(&self, alg: SigningAlg) -> Option<&SigningKeyEntry> {
        self.signing.iter().find(|key| key.alg == alg)
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

    fn read(written: &WrittenRetired) -> Result<Self, KeyRingError> {
        let wrong = || KeyRingError::Content("a [[retired]] key's jwk is no public key".to_owned());
        let jwk: Value = serde_json::from_str(&written.jwk).map_err(|_| wrong())?;
        let usable = JwkSet::from_values(std::slice::from_ref(&jwk));
        // A private key would be published.
        let is_public = ["d", "p", "q", "k"]
            .iter()
            .all(|name| jwk.get(name).is_none());
        let has_id = jwk.get("kid").is_some_and(Value::is_string);
        if usable.is_empty() || !is_public || !has_id {
            return Err(wrong());
        }
        Ok(Self {
            alg: written.alg,
            created: written.created,
            since: written.since,
            jwk,
        })
    }
}

impl SealingKey {
    /// The id as it stands in the file: eight hexadecimal digits.
    pub fn id_text(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id))
    }

    fn read(written: &WrittenSealing, life: Life) -> Result<Self, KeyRingError> {
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
            life,
            secret,
        })
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

const HEADER: &str = "\
# The key ring of a Vestibule installation. Keep it secret and keep it safe: whoever reads it can sign in as anybody,
# and without it everybody has to sign in again. Every replica needs the same ring.
# `vestibule keys status FILE` says what each key is for, `vestibule keys rotate FILE` changes them.
";

fn read_sealing(written: &[WrittenSealing]) -> Result<Vec<SealingKey>, KeyRingError> {
    let written_life = |key: &WrittenSealing| WrittenLife {
        created: key.created,
        state: key.state,
        since: key.since,
    };
    let line: Vec<_> = written.iter().map(written_life).collect();
    let lives = lives(&line, "[[sealing]]")?;
    let keys = written.iter().zip(lives);
    keys.map(|(key, life)| SealingKey::read(key, life))
        .collect()
}

fn read_signing(written: Vec<WrittenSigning>) -> Result<Vec<SigningKeyEntry>, KeyRingError> {
    let mut keys = Vec::with_capacity(written.len());
    for alg in SigningAlg::ALL {
        let own = |key: &&WrittenSigning| key.alg == alg;
        let written_life = |key: &WrittenSigning| WrittenLife {
            created: key.created,
            state: key.state,
            since: key.since,
        };
        let line: Vec<_> = written.iter().filter(own).map(written_life).collect();
        keys.push((
            alg,
            lives(&line, &format!("[[signing]] {alg}"))?.into_iter(),
        ));
    }
    // In the order of the file, with the life that each has in its line.
    let entry = |key: WrittenSigning| {
        let (_, line) = keys.iter_mut().find(|(alg, _)| *alg == key.alg)?;
        Some(SigningKeyEntry {
            alg: key.alg,
            life: line.next()?,
            pem: key.pem,
        })
    };
    Ok(written.into_iter().filter_map(entry).collect())
}

fn life_text(life: &Life) -> String {
    let state = life.state.as_str();
    let mut text = format!("created = {}\nstate = \"{state}\"\n", life.created);
    if let Some(since) = life.since {
        let _ = writeln!(text, "since = {since}");
    }
    text
}

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
        assert_eq!(
            again.sealing[0].life,
            Life::current(UnixTime(1_795_000_000))
        );
        for alg in SigningAlg::ALL {
            let entry = again.current_signing(alg).unwrap();
            let key = entry.key().unwrap();
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
                "line 10",
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
                format!(
                    "{good}\n[[sealing]]{}",
                    sealing.replace("current", "previous")
                ),
                "two [[sealing]] keys",
            ),
            (
                format!("{good}\n[[sealing]]{sealing}"),
                "exactly one current",
            ),
            (
                good.replace("\"current\"", "\"previous\""),
                "exactly one current",
            ),
            (good.replace("\"current\"", "\"retired\""), "retired"),
            (
                format!(
                    "{good}\n[[sealing]]{}",
                    sealing.replace("state = \"current\"\n", "")
                ),
                "some have none",
            ),
            (
                format!(
                    "{good}\n[[retired]]\nalg = \"ES256\"\ncreated = 1\nsince = 2\njwk = '{{\"kty\":\"oct\",\"kid\":\"x\",\"k\":\"{secret}\"}}'\n"
                ),
                "no public key",
            ),
        ] {
            let error = KeyRing::parse(&broken).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains(secret), "{error}");
        }
    }

    /// Rings that were written before there were states go by the order, current first.
    #[test]
    fn a_ring_of_before_there_were_states_goes_by_its_order() {
        use KeyState::{Current, Next, Previous};
        let key = |n: u8, created: u64| {
            let secret = URL_SAFE_NO_PAD.encode([n; 32]);
            format!(
                "[[sealing]]\nid = \"0000000{n}\"\ncreated = {created}\nsecret = \"{secret}\"\n"
            )
        };
        let written = ring().to_toml().expose().to_owned();
        let (_, signing) = written.split_once("\n[[signing]]").unwrap();
        let written = format!("[[signing]]{signing}\n");
        let lines = written.split_inclusive('\n');
        let signing: String = lines
            .filter(|line| !line.starts_with("state") && !line.starts_with("since"))
            .collect();
        let read = |keys: &[String]| {
            let ring = KeyRing::parse(&format!("{}{signing}", keys.concat())).unwrap();
            assert_eq!(ring.signing.len(), SigningAlg::ALL.len());
            let keys = ring.sealing.iter();
            keys.map(|key| (key.id[3], key.life.state))
                .collect::<Vec<_>>()
        };
        assert_eq!(read(&[key(1, 5)]), [(1, Current)]);
        // New keys in front: rotated by hand.
        assert_eq!(read(&[key(2, 9), key(1, 5)]), [(2, Current), (1, Previous)]);
        // Behind: published by hand.
        assert_eq!(
            read(&[key(2, 5), key(1, 1), key(3, 9)]),
            [(2, Current), (3, Next), (1, Previous)]
        );
    }
}
