//! Rotation: publish → promote → retire, with overlap, so that nobody notices (design §6).
//!
//! A key is published first: every replica opens and verifies what it makes, and verifiers outside read it in `/jwks.json`.
//! When all have it, it becomes the current one. The signing key of before then loses its private half; its public half
//! stays until its last token has ended. A sealing key of before stays for good, to open client registrations, which never
//! end (law 7).

use std::fmt;

use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::random::Random;
use vestibule_oauth::time::UnixTime;

use super::{KeyRing, KeyRingError, KeyState, Life, RetiredKey, SealingKey, SigningKeyEntry};

/// Seconds that `/jwks.json` may be kept (its `Cache-Control`).
pub const JWKS_MAX_AGE: u64 = 300;
/// Seconds that replicas are given to read a changed ring, at least.
const RELOAD: u64 = 300;
/// The shortest time between publishing and promoting, in seconds: every replica has read the ring, and after that every
/// kept `/jwks.json` has ended.
pub const MIN_PROPAGATION: u64 = JWKS_MAX_AGE + RELOAD;
/// The longest life of a token that is signed, in seconds: the upper bound of `tokens.access_ttl`.
pub const LONGEST_TOKEN: u64 = 24 * 3600;
/// What verifiers forgive in `exp`, generously.
const SKEW: u64 = 600;
/// Seconds a current key is used before its successor is published, unless told otherwise.
pub const DEFAULT_AFTER: u64 = 90 * 24 * 3600;
/// Seconds between publishing and promoting, unless told otherwise. Some verifiers keep `/jwks.json` for two hours,
/// whatever it says.
pub const DEFAULT_PROPAGATION: u64 = 3 * 3600;

/// When each step is due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Seconds a current key is used before its successor is published.
    pub after: u64,
    /// Seconds between publishing and promoting, and between promoting and retiring.
    pub propagation: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            after: DEFAULT_AFTER,
            propagation: DEFAULT_PROPAGATION,
        }
    }
}

/// Keys of which one succeeds the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The sealing keys.
    Sealing,
    /// The signing keys of an algorithm.
    Signing(SigningAlg),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sealing => f.write_str("sealing"),
            Self::Signing(alg) => write!(f, "{alg} signing"),
        }
    }
}

/// One step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new key is made and made known.
    Publish,
    /// The next key becomes the current one.
    Promote,
    /// The private half of a previous signing key is removed.
    Retire,
    /// The public half of a retired signing key is removed.
    Forget,
}

impl Step {
    /// As in messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Promote => "promote",
            Self::Retire => "retire",
            Self::Forget => "forget",
        }
    }
}

/// A step that will be due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which.
    pub step: Step,
    /// Of which keys.
    pub line: Line,
    /// The id of the key that the step changes; for [`Step::Publish`], of the key that gets a successor.
    pub key: String,
    /// From when on.
    pub due: UnixTime,
}

/// Which steps are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Those that are due.
    Due,
    /// The next one, due or not. The public half of a retired key is never removed before its time.
    Now,
}

/// What an emergency replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compromised {
    /// Every key of the ring.
    All,
    /// The sealing keys.
    Sealing,
    /// The signing keys.
    Signing,
}

impl KeyRing {
    /// What comes next for each key, the earliest first.
    pub fn plan(&self, schedule: &Schedule, now: UnixTime) -> Result<Vec<Planned>, KeyRingError> {
        let mut plan = Vec::new();
        let mut line = |line: Line, keys: Vec<(String, Life)>| {
            let rotating = keys.iter().any(|(_, life)| life.state == KeyState::Next);
            for (key, life) in keys {
                // Nobody knows how long a key without a date has been known to others: as if from now on.
                let waited = life.since.unwrap_or(now).plus(schedule.propagation);
                let (step, due) = match (life.state, line) {
                    (KeyState::Next, _) => (Step::Promote, waited),
                    (KeyState::Current, _) if !rotating => {
                        (Step::Publish, life.since().plus(schedule.after))
                    }
                    (KeyState::Previous, Line::Signing(_)) => (Step::Retire, waited),
                    _ => continue,
                };
                plan.push(Planned {
                    step,
                    line,
                    key,
                    due,
                });
            }
        };
        let sealing = self.sealing.iter().map(|key| (key.id_text(), key.life));
        line(Line::Sealing, sealing.collect());
        for alg in SigningAlg::ALL {
            let own = self.signing.iter().filter(|key| key.alg == alg);
            let keys = own.map(|key| Ok((key.key()?.kid().to_owned(), key.life)));
            line(
                Line::Signing(alg),
                keys.collect::<Result<_, KeyRingError>>()?,
            );
        }
        for key in &self.retired {
            plan.push(Planned {
                step: Step::Forget,
                line: Line::Signing(key.alg),
                key: key.kid().to_owned(),
                due: key.since.plus(LONGEST_TOKEN + SKEW),
            });
        }
        plan.sort_by_key(|planned| planned.due);
        Ok(plan)
    }

    /// The ring after the steps that are done now, and those steps; for [`Step::Publish`] with the id of the new key.
    ///
    /// A key whose state has no date yet gets one, which is not a step.
    pub fn rotate(
        &self,
        schedule: &Schedule,
        when: When,
        now: UnixTime,
        random: &dyn Random,
    ) -> Result<(Self, Vec<Planned>), KeyRingError> {
        let mut ring = self.clone();
        ring.date(now);
        let mut steps = ring.plan(schedule, now)?;
        let forced = steps
            .iter()
            .map(|planned| planned.step)
            .find(|step| when == When::Now && *step != Step::Forget);
        steps.retain(|planned| planned.due <= now || Some(planned.step) == forced);
        for planned in &mut steps {
            ring.take(planned, now, random)?;
        }
        ring.sort();
        Ok((ring, steps))
    }

    /// Makes a signing key of an algorithm that the ring has no key of, and makes it known: it is a next key without a
    /// current one, and [`KeyRing::rotate`] promotes it as any other. Gives its id.
    pub fn add(&mut self, alg: SigningAlg, now: UnixTime) -> Result<String, KeyRingError> {
        if self.signing.iter().any(|key| key.alg == alg) {
            return Err(KeyRingError::Refused(format!(
                "the ring has a {alg} key already; `vestibule keys rotate` gives it a successor"
            )));
        }
        let mut key = SigningKeyEntry::generate(alg, now)?;
        key.life.to(KeyState::Next, now);
        let id = key.key()?.kid().to_owned();
        self.signing.push(key);
        self.sort();
        Ok(id)
    }

    /// True when [`KeyRing::rotate`] has a date to write down, although no step is due.
    pub fn lacks_dates(&self) -> bool {
        let sealing = self.sealing.iter().map(|key| key.life);
        let signing = self.signing.iter().map(|key| key.life);
        sealing.chain(signing).any(|life| life.since.is_none())
    }

    /// New keys in the place of those that somebody else may have. Nothing that was made with these counts any more.
    pub fn replace(
        &self,
        what: Compromised,
        now: UnixTime,
        random: &dyn Random,
    ) -> Result<Self, KeyRingError> {
        let algs = SigningAlg::ALL
            .into_iter()
            .filter(|alg| self.signing.iter().any(|key| key.alg == *alg));
        let new = Self::generate(&algs.collect::<Vec<_>>(), now, random)?;
        Ok(match what {
            Compromised::All => new,
            Compromised::Sealing => Self {
                sealing: new.sealing,
                ..self.clone()
            },
            Compromised::Signing => Self {
                sealing: self.sealing.clone(),
                ..new
            },
        })
    }

    /// Removes previous sealing keys: these, or all when none are named. Gives the ids of those that are gone.
    pub fn drop_sealing(&mut self, ids: &[String]) -> Result<Vec<String>, KeyRingError> {
        for id in ids {
            let state = self.sealing.iter().find(|key| key.id_text() == *id);
            match state.map(|key| key.life.state) {
                Some(KeyState::Previous) => {}
                Some(state) => {
                    return Err(KeyRingError::Refused(format!(
                        "the sealing key {id} is the {} one; only previous ones can be retired",
                        state.as_str()
                    )));
                }
                None => {
                    let message = format!("there is no sealing key {id}");
                    return Err(KeyRingError::Refused(message));
                }
            }
        }
        let goes = |key: &SealingKey| {
            key.life.state == KeyState::Previous && (ids.is_empty() || ids.contains(&key.id_text()))
        };
        let gone = self.sealing.iter().filter(|key| goes(key));
        let gone = gone.map(SealingKey::id_text).collect();
        self.sealing.retain(|key| !goes(key));
        Ok(gone)
    }

    fn date(&mut self, now: UnixTime) {
        let sealing = self.sealing.iter_mut().map(|key| &mut key.life);
        let signing = self.signing.iter_mut().map(|key| &mut key.life);
        for life in sealing.chain(signing).filter(|life| life.since.is_none()) {
            let since = match life.state {
                KeyState::Current => life.created,
                KeyState::Next | KeyState::Previous => now,
            };
            life.since = Some(since);
        }
    }

    fn take(
        &mut self,
        planned: &mut Planned,
        now: UnixTime,
        random: &dyn Random,
    ) -> Result<(), KeyRingError> {
        match (planned.step, planned.line) {
            (Step::Publish, Line::Sealing) => {
                let mut key = SealingKey::generate(now, random);
                while self.sealing.iter().any(|other| other.id == key.id) {
                    key = SealingKey::generate(now, random);
                }
                key.life.to(KeyState::Next, now);
                planned.key = key.id_text();
                self.sealing.push(key);
            }
            (Step::Publish, Line::Signing(alg)) => {
                let mut key = SigningKeyEntry::generate(alg, now)?;
                key.life.to(KeyState::Next, now);
                key.key()?.kid().clone_into(&mut planned.key);
                self.signing.push(key);
            }
            (Step::Promote, Line::Sealing) => {
                promote(self.sealing.iter_mut().map(|key| &mut key.life), now);
            }
            (Step::Promote, Line::Signing(alg)) => {
                let line = self.signing.iter_mut().filter(|key| key.alg == alg);
                promote(line.map(|key| &mut key.life), now);
            }
            (Step::Retire, _) => self.retire(&planned.key, now)?,
            (Step::Forget, _) => self.retired.retain(|key| key.kid() != planned.key),
        }
        Ok(())
    }

    fn retire(&mut self, kid: &str, now: UnixTime) -> Result<(), KeyRingError> {
        let mut kept = Vec::with_capacity(self.signing.len());
        for entry in std::mem::take(&mut self.signing) {
            let key = entry.key()?;
            if key.kid() == kid && entry.life.state == KeyState::Previous {
                self.retired.push(RetiredKey {
                    alg: entry.alg,
                    created: entry.life.created,
                    since: now,
                    jwk: key.public_jwk().clone(),
                });
            } else {
                kept.push(entry);
            }
        }
        self.signing = kept;
        Ok(())
    }
}

fn promote<'a>(line: impl Iterator<Item = &'a mut Life>, now: UnixTime) {
    for life in line {
        match life.state {
            KeyState::Current => life.to(KeyState::Previous, now),
            KeyState::Next => life.to(KeyState::Current, now),
            KeyState::Previous => {}
        }
    }
}

#[cfg(test)]
mod tests;
