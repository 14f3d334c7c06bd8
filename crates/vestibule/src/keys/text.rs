//! The text of a key ring file (TOML): reading, writing, and errors that show no key.

use std::fmt::Write as _;

use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;
use vestibule_oauth::base64url::BASE64URL;
use vestibule_oauth::jose::{JwkSet, SigningAlg};
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::UnixTime;
use zeroize::{Zeroize as _, Zeroizing};

use super::life::{WrittenLife, lives};
use super::{KeyRing, KeyRingError, KeyState, Life, RetiredKey, SealingKey, SigningKeyEntry};

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
        // Others may be known and not in use yet.
        let current = |key: &SigningKeyEntry| key.life.state == KeyState::Current;
        if !ring.signing.iter().any(current) {
            return Err(KeyRingError::Content(
                "no [[signing]] key is current".to_owned(),
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
            let mut secret = BASE64URL.encode(key.secret.as_slice());
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
}

impl RetiredKey {
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
    fn read(written: &WrittenSealing, life: Life) -> Result<Self, KeyRingError> {
        // Neither text is repeated: somebody may have mixed them up.
        let wrong = |what: &str| KeyRingError::Content(format!("a [[sealing]] key's {what}"));
        let id = Some(&written.id)
            .filter(|id| id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|id| u32::from_str_radix(id, 16).ok())
            .ok_or_else(|| wrong("id is not eight hexadecimal digits"))?;
        let bytes = BASE64URL
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
    let lives = lives(&line, "[[sealing]]", false)?;
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
            lives(&line, &format!("[[signing]] {alg}"), true)?.into_iter(),
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
