//! How old the keys in use are: for `/readyz`, and for a warning at start when they were forgotten.

use std::time::Duration;

use serde_json::{Value, json};
use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::time::UnixTime;

use super::{KeyRing, KeyState, Life};

const DAY: u64 = 24 * 3600;
/// A published key that was not promoted for this long was forgotten.
const FORGOTTEN: u64 = 7 * DAY;

/// Since when the keys in use are in use.
#[derive(Clone, Copy, Debug)]
pub struct KeyAges {
    sealing: UnixTime,
    signing: UnixTime,
    /// Since when a successor waits.
    next: Option<UnixTime>,
    /// Seconds after which a key should have a successor; zero for never.
    rotate_after: u64,
}

impl KeyAges {
    /// Of the current sealing key and the current key of the algorithm that signs.
    pub fn of(ring: &KeyRing, alg: SigningAlg, rotate_after: Duration) -> Self {
        let lives = |state| {
            let sealing = ring.sealing.iter().map(|key| key.life);
            let own = ring.signing.iter().filter(move |key| key.alg == alg);
            let lives = sealing.chain(own.map(|key| key.life));
            lives.filter(move |life| life.state == state)
        };
        let current = |life: Option<Life>| life.map(|life| life.since()).unwrap_or_default();
        Self {
            sealing: current(ring.sealing.first().map(|key| key.life)),
            signing: current(ring.current_signing(alg).map(|key| key.life)),
            next: lives(KeyState::Next).map(|life| life.since()).min(),
            rotate_after: rotate_after.as_secs(),
        }
    }

    /// Seconds since the signing key is in use.
    pub fn signing_age(&self, now: UnixTime) -> u64 {
        now.since(self.signing)
    }

    /// Seconds since the sealing key is in use.
    pub fn sealing_age(&self, now: UnixTime) -> u64 {
        now.since(self.sealing)
    }

    /// Seconds until the next step of a rotation is overdue, below zero when it is; `None` when there need be none.
    pub fn due_in(&self, now: UnixTime) -> Option<i64> {
        let due = match self.next {
            _ if self.rotate_after == 0 => return None,
            Some(next) => next.plus(FORGOTTEN),
            None => self.signing.min(self.sealing).plus(self.rotate_after),
        };
        let seconds = |time: UnixTime| i64::try_from(time.0).unwrap_or(i64::MAX);
        Some(seconds(due).saturating_sub(seconds(now)))
    }

    /// `keys` of `/readyz`.
    pub fn report(&self, now: UnixTime) -> Value {
        let state = match self.next {
            _ if self.warning(now).is_some() => "overdue",
            Some(_) => "rotating",
            None => "steady",
        };
        json!({
            "signing_age_days": now.since(self.signing) / DAY,
            "sealing_age_days": now.since(self.sealing) / DAY,
            "state": state,
        })
    }

    /// What an operator should be told.
    pub fn warning(&self, now: UnixTime) -> Option<String> {
        if self.rotate_after == 0 {
            return None;
        }
        if let Some(next) = self.next {
            let days = now.since(next) / DAY;
            return (now.since(next) > FORGOTTEN).then(|| {
                format!(
                    "a key was published {days} days ago and is not in use yet; run `vestibule keys rotate`"
                )
            });
        }
        let age = now.since(self.signing.min(self.sealing));
        (age > self.rotate_after).then(|| {
            format!(
                "a key has been in use for {} days, longer than `keys.rotate_after`; run `vestibule keys rotate`",
                age / DAY
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::random::SystemRandom;

    use super::super::rotation::{Schedule, When};
    use super::*;

    #[test]
    fn keys_that_were_forgotten_are_warned_about_and_a_rotation_under_way_is_not() {
        let start = UnixTime(1_800_000_000);
        let limit = Duration::from_secs(90 * DAY);
        let ring = KeyRing::generate(&SigningAlg::ALL, start, &SystemRandom).unwrap();
        let ages = |ring: &KeyRing| KeyAges::of(ring, SigningAlg::Es256, limit);
        let state = |ring: &KeyRing, now| ages(ring).report(now)["state"].clone();
        let later = start.plus(90 * DAY);
        assert_eq!(
            ages(&ring).report(later),
            json!({ "signing_age_days": 90, "sealing_age_days": 90, "state": "steady" })
        );
        assert!(ages(&ring).warning(later).is_none());
        let late = later.plus(1);
        assert_eq!(state(&ring, late), "overdue");
        assert_eq!(ages(&ring).due_in(later), Some(0));
        assert_eq!(ages(&ring).due_in(late), Some(-1));
        assert_eq!(ages(&ring).signing_age(late), 90 * DAY + 1);
        assert!(ages(&ring).warning(late).unwrap().contains("90 days"));
        let never = KeyAges::of(&ring, SigningAlg::Es256, Duration::ZERO);
        assert!(never.warning(late.plus(900 * DAY)).is_none());
        assert_eq!(never.due_in(late), None);

        let rotate = |ring: &KeyRing, now| {
            let rotated = ring.rotate(&Schedule::default(), When::Now, now, &SystemRandom);
            rotated.unwrap().0
        };
        let published = rotate(&ring, late);
        assert_eq!(state(&published, late), "rotating");
        let week = i64::try_from(FORGOTTEN).unwrap();
        assert_eq!(ages(&published).due_in(late), Some(week));
        let forgotten = late.plus(8 * DAY);
        assert_eq!(state(&published, forgotten), "overdue");
        let warning = ages(&published).warning(forgotten).unwrap();
        assert!(warning.contains("8 days ago"), "{warning}");
        let promoted = rotate(&published, late.plus(DAY));
        assert_eq!(
            ages(&promoted).report(late.plus(2 * DAY)),
            json!({ "signing_age_days": 1, "sealing_age_days": 1, "state": "steady" })
        );
    }
}
