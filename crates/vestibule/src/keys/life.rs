//! The life of a key: next, current, previous (design §6). Which state each key of a line is in, and what may not be.

use serde::Deserialize;
use vestibule_oauth::time::UnixTime;

use super::KeyRingError;

/// What a key is used for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Seals and signs what is new.
    Current,
    /// Known to every replica and verifier, so that it can become the current one.
    Next,
    /// Opens and verifies what was made with it.
    Previous,
}

impl KeyState {
    /// As it stands in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Next => "next",
            Self::Previous => "previous",
        }
    }
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it was made.
    pub created: UnixTime,
    /// What it is used for.
    pub state: KeyState,
    /// Since when. `None` in rings that were written before states were.
    pub since: Option<UnixTime>,
}

impl Life {
    /// A key that is made now and used at once.
    pub fn current(now: UnixTime) -> Self {
        Self {
            created: now,
            state: KeyState::Current,
            since: Some(now),
        }
    }

    /// Since when it is in its state, as far as that is known.
    pub fn since(&self) -> UnixTime {
        self.since.unwrap_or(self.created)
    }

    pub(super) fn to(&mut self, state: KeyState, now: UnixTime) {
        self.state = state;
        self.since = Some(now);
    }
}

/// A life as it was written: `state` and `since` are missing in older rings.
#[derive(Clone, Copy, Debug)]
pub(super) struct WrittenLife {
    pub(super) created: UnixTime,
    pub(super) state: Option<KeyState>,
    pub(super) since: Option<UnixTime>,
}

/// The lives of one line: the sealing keys, or the signing keys of one algorithm. `what` names the line in errors.
///
/// Without states the first key is the current one, as it always was; of those behind it, one that is younger was put
/// there to become the next, and the others are previous ones. A line that `may_begin` may have a next key alone.
pub(super) fn lives(
    written: &[WrittenLife],
    what: &str,
    may_begin: bool,
) -> Result<Vec<Life>, KeyRingError> {
    let wrong = |text: &str| Err(KeyRingError::Content(format!("{text} {what} key")));
    let count = |state| {
        written
            .iter()
            .filter(|key| key.state == Some(state))
            .count()
    };
    if written.iter().all(|key| key.state.is_none()) {
        return Ok(by_order(written));
    }
    if written.iter().any(|key| key.state.is_none()) {
        return Err(KeyRingError::Content(format!(
            "some {what} keys have a `state` and some have none; write `state = \"next\"` for one that is to come"
        )));
    }
    let begins = may_begin && written.len() == 1 && count(KeyState::Next) == 1;
    if count(KeyState::Current) != 1 && !begins {
        return wrong("there must be exactly one current");
    }
    if count(KeyState::Next) > 1 {
        return wrong("there is more than one next");
    }
    let life = |key: &WrittenLife| {
        key.state.map(|state| Life {
            created: key.created,
            state,
            since: key.since,
        })
    };
    Ok(written.iter().filter_map(life).collect())
}

fn by_order(written: &[WrittenLife]) -> Vec<Life> {
    let current = written.first().map(|key| key.created).unwrap_or_default();
    let mut next_is_free = true;
    let life = |(index, key): (usize, &WrittenLife)| {
        let state = if index == 0 {
            KeyState::Current
        } else if key.created > current && std::mem::take(&mut next_is_free) {
            KeyState::Next
        } else {
            KeyState::Previous
        };
        Life {
            created: key.created,
            state,
            since: key.since,
        }
    };
    written.iter().enumerate().map(life).collect()
}
