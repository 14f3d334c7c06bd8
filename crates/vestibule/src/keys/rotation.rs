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
            .filter(|alg| self.current_signing(*alg).is_some());
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
mod tests {
    use vestibule_oauth::random::SystemRandom;

    use super::*;

    const START: UnixTime = UnixTime(1_800_000_000);
    const DAY: u64 = 24 * 3600;

    fn ring() -> KeyRing {
        KeyRing::generate(
            &[SigningAlg::Es256, SigningAlg::EdDsa],
            START,
            &SystemRandom,
        )
        .unwrap()
    }

    fn rotate(ring: &KeyRing, when: When, now: UnixTime) -> (KeyRing, Vec<Step>) {
        let rotated = ring.rotate(&Schedule::default(), when, now, &SystemRandom);
        let (rotated, steps) = rotated.unwrap();
        // What is written can be read, and means the same.
        let again = KeyRing::parse(rotated.to_toml().expose()).unwrap();
        assert_eq!(again.to_toml(), rotated.to_toml());
        (rotated, steps.into_iter().map(|step| step.step).collect())
    }

    fn states(ring: &KeyRing) -> (Vec<KeyState>, Vec<KeyState>, usize) {
        (
            ring.sealing.iter().map(|key| key.life.state).collect(),
            ring.signing.iter().map(|key| key.life.state).collect(),
            ring.retired.len(),
        )
    }

    #[test]
    fn a_daily_run_takes_each_step_when_it_is_due_and_no_other() {
        use KeyState::{Current, Next, Previous};
        let mut ring = ring();
        let mut seen = Vec::new();
        for day in 0..=94 {
            let now = START.plus(day * DAY);
            let (rotated, steps) = rotate(&ring, When::Due, now);
            let (again, none) = rotate(&rotated, When::Due, now);
            assert!(none.is_empty(), "twice on day {day}");
            assert_eq!(again.to_toml(), rotated.to_toml(), "changed without a step");
            if !steps.is_empty() {
                seen.push((day, steps[0], states(&rotated)));
            }
            ring = rotated;
        }
        let published = (vec![Current, Next], vec![Current, Current, Next, Next], 0);
        let promoted = (
            vec![Current, Previous],
            vec![Current, Current, Previous, Previous],
            0,
        );
        let retired = (vec![Current, Previous], vec![Current, Current], 2);
        let forgotten = (vec![Current, Previous], vec![Current, Current], 0);
        assert_eq!(
            seen,
            [
                (90, Step::Publish, published),
                (91, Step::Promote, promoted),
                (92, Step::Retire, retired),
                (94, Step::Forget, forgotten),
            ]
        );
    }

    #[test]
    fn a_key_is_not_promoted_before_every_verifier_had_time_to_read_it() {
        let (published, _) = rotate(&ring(), When::Now, START);
        let early = START.plus(DEFAULT_PROPAGATION - 1);
        assert!(rotate(&published, When::Due, early).1.is_empty());
        let due = START.plus(DEFAULT_PROPAGATION);
        assert_eq!(rotate(&published, When::Due, due).1, [Step::Promote; 3]);
        const { assert!(DEFAULT_PROPAGATION > MIN_PROPAGATION && MIN_PROPAGATION > JWKS_MAX_AGE) };
    }

    #[test]
    fn now_takes_one_step_at_a_time_and_never_forgets_a_key_with_live_tokens() {
        let mut ring = ring();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let (rotated, steps) = rotate(&ring, When::Now, START.plus(1));
            ring = rotated;
            seen.push(steps[0]);
        }
        assert_eq!(
            seen,
            [Step::Publish, Step::Promote, Step::Retire, Step::Publish]
        );
        assert_eq!(ring.retired.len(), 2);
    }

    #[test]
    fn a_published_key_without_a_date_waits_from_the_first_run_on() {
        let (mut published, _) = rotate(&ring(), When::Now, START);
        for key in &mut published.sealing {
            key.life.since = None;
        }
        assert!(published.lacks_dates());
        let later = START.plus(DAY);
        let (dated, steps) = rotate(&published, When::Due, later);
        assert_eq!(steps, [Step::Promote; 2], "the signing keys have dates");
        assert!(!dated.lacks_dates());
        assert_eq!(dated.sealing[1].life.since, Some(later));
        let (_, steps) = rotate(&dated, When::Due, later.plus(DEFAULT_PROPAGATION));
        assert_eq!(steps[..], [Step::Promote, Step::Retire, Step::Retire]);
    }

    #[test]
    fn a_retired_key_is_public_only() {
        let mut ring = ring();
        let old = ring.signing[0].pem.clone();
        let kid = ring.signing[0].key().unwrap().kid().to_owned();
        for _ in 0..3 {
            ring = rotate(&ring, When::Now, START.plus(1)).0;
        }
        let text = ring.to_toml();
        let line = old.expose().lines().nth(1).unwrap();
        assert!(
            !text.expose().contains(line),
            "the private key is still there"
        );
        assert!(ring.retired.iter().any(|key| key.kid() == kid));
        assert!(ring.retired.iter().all(|key| key.jwk.get("d").is_none()));
    }

    #[test]
    fn an_emergency_keeps_nothing_that_somebody_else_may_have() {
        let mut old = ring();
        for _ in 0..3 {
            old = rotate(&old, When::Now, START).0;
        }
        let replaced = |what| old.replace(what, START, &SystemRandom).unwrap();
        let ids = |ring: &KeyRing| ring.sealing.iter().map(|key| key.id).collect::<Vec<_>>();
        let kids = |ring: &KeyRing| {
            let own = ring
                .signing
                .iter()
                .map(|key| key.key().unwrap().kid().to_owned());
            let retired = ring.retired.iter().map(|key| key.kid().to_owned());
            own.chain(retired).collect::<Vec<_>>()
        };
        let (all, sealing, signing) = (
            replaced(Compromised::All),
            replaced(Compromised::Sealing),
            replaced(Compromised::Signing),
        );
        for (ring, sealing_new, signing_new) in [
            (&all, true, true),
            (&sealing, true, false),
            (&signing, false, true),
        ] {
            let kept = ids(ring).iter().any(|id| ids(&old).contains(id));
            assert_eq!(kept, !sealing_new);
            let kept = kids(ring).iter().any(|kid| kids(&old).contains(kid));
            assert_eq!(kept, !signing_new);
            for alg in [SigningAlg::Es256, SigningAlg::EdDsa] {
                assert!(ring.current_signing(alg).is_some(), "{alg}");
            }
        }
    }

    #[test]
    fn only_previous_sealing_keys_can_be_dropped() {
        let mut ring = ring();
        for _ in 0..4 {
            ring = rotate(&ring, When::Now, START).0;
        }
        let ids: Vec<_> = ring.sealing.iter().map(SealingKey::id_text).collect();
        let [current, next, previous] = ids.as_slice() else {
            panic!("{ids:?}")
        };
        for (id, says) in [
            (current.as_str(), "current"),
            (next, "next"),
            ("ffffffff", "no sealing key"),
        ] {
            let error = ring.clone().drop_sealing(&[id.to_owned()]).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let mut named = ring.clone();
        let gone = named.drop_sealing(std::slice::from_ref(previous)).unwrap();
        assert_eq!(gone, std::slice::from_ref(previous));
        assert_eq!(named.sealing.len(), 2);
        let gone = ring.drop_sealing(&[]).unwrap();
        assert_eq!(gone, std::slice::from_ref(previous));
    }
}
