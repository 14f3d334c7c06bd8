//! Quarantine: users and clients that are shut out until an operator lifts it, or until it ends by itself.
//!
//! The list is in the store. Every replica reads the whole of it when it looks for revocations, so what one replica is told
//! holds there at once and at the others within seconds. Nothing is revoked: whoever is let in again goes on with the
//! tokens they have.

mod barrier;
mod kept;
mod selector;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use vestibule_oauth::time::UnixTime;

use crate::grants::fingerprint;
use crate::seal::{Kind, Sealable};

pub(crate) use barrier::Barrier;
pub(crate) use kept::Keeper;
pub use selector::{ClientSelector, Presented};

/// Seconds in which what was changed here counts more than what the list says: a list may be a little late.
const OWN_WORD: u64 = 5;

/// Who is shut out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Who {
    /// A user: `sub` as our tokens say it.
    #[serde(rename = "u")]
    User(String),
    /// A client, or all that fit.
    #[serde(rename = "c")]
    Client(ClientSelector),
}

/// An entry of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Who.
    #[serde(rename = "w")]
    pub who: Who,
    /// What the operator wrote to say who, where it says more than a digest.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
    /// Why, for other operators. Never shown to the one it is about.
    #[serde(rename = "r")]
    pub reason: String,
    /// Since when.
    #[serde(rename = "t")]
    pub since: UnixTime,
    /// Until when; `None` until it is lifted.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<UnixTime>,
}

impl Sealable for Quarantined {
    const KIND: Kind = Kind::Quarantine;
}

impl Quarantined {
    fn until(&self) -> UnixTime {
        self.ends_at.unwrap_or(UnixTime(u64::MAX))
    }
}

/// What this process knows of the list.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    state: Mutex<State>,
    listed: ArcSwap<Listed>,
}

#[derive(Debug, Default)]
struct State {
    /// As it was read last.
    read: HashMap<Who, UnixTime>,
    /// What was changed here lately: when, and until when it holds; `None` when it was lifted.
    own: HashMap<Who, (UnixTime, Option<UnixTime>)>,
    unreadable: usize,
}

/// The list as requests ask it: until when each is shut out.
#[derive(Debug, Default)]
struct Listed {
    users: HashMap<String, UnixTime>,
    /// By the digest of the client id.
    clients: HashMap<String, UnixTime>,
    patterns: Vec<(ClientSelector, UnixTime)>,
}

impl Quarantine {
    /// True when the user is shut out. `subject` is `sub` as our tokens say it.
    pub(crate) fn has_user(&self, subject: &str, now: UnixTime) -> bool {
        let listed = self.listed.load();
        listed.users.get(subject).is_some_and(|until| *until > now)
    }

    /// True when the client is shut out. `name` is asked for only when some entry is about names.
    pub(crate) fn has_client<N: AsRef<str>>(
        &self,
        id: &str,
        name: impl FnOnce() -> Option<N>,
        now: UnixTime,
    ) -> bool {
        let listed = self.listed.load();
        if listed.clients.is_empty() && listed.patterns.is_empty() {
            return false;
        }
        let by_id = || listed.clients.get(&fingerprint(id));
        if !listed.clients.is_empty() && by_id().is_some_and(|until| *until > now) {
            return true;
        }
        let open = || listed.patterns.iter().filter(|(_, until)| *until > now);
        let name = if open().any(|(selector, _)| selector.is_by_name()) {
            name()
        } else {
            None
        };
        let presented = Presented {
            id,
            name: name.as_ref().map(AsRef::as_ref),
        };
        open().any(|(selector, _)| selector.matches(&presented))
    }

    /// How many users and clients are shut out now.
    pub(crate) fn count(&self, now: UnixTime) -> (usize, usize) {
        let listed = self.listed.load();
        let open = |until: &&UnixTime| **until > now;
        let patterns = listed.patterns.iter().map(|(_, until)| until).filter(open);
        let clients = listed.clients.values().filter(open).count() + patterns.count();
        (listed.users.values().filter(open).count(), clients)
    }

    /// Takes over the list as it was read. `unreadable` entries are said in the log when their number changes.
    fn replace(&self, read: HashMap<Who, UnixTime>, unreadable: usize, now: UnixTime) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if unreadable != state.unreadable {
            tracing::error!(
                reason = "quarantine_unreadable",
                entries = unreadable,
                "entries of the quarantine cannot be read and have no effect; put them there again"
            );
            state.unreadable = unreadable;
        }
        state.read = read;
        self.publish(&mut state, now);
    }

    /// What was just changed by this process.
    fn change(&self, who: Who, until: Option<UnixTime>, now: UnixTime) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.own.insert(who, (now, until));
        self.publish(&mut state, now);
    }

    fn publish(&self, state: &mut State, now: UnixTime) {
        state.own.retain(|_, (at, _)| now < at.plus(OWN_WORD));
        let others = state.read.iter();
        let others = others.filter(|(who, _)| !state.own.contains_key(who));
        let own = state.own.iter();
        let own = own.filter_map(|(who, (_, until))| Some((who, until.as_ref()?)));
        let mut listed = Listed::default();
        for (who, until) in others.chain(own) {
            match who {
                Who::User(subject) => {
                    listed.users.insert(subject.clone(), *until);
                }
                Who::Client(selector) => match selector.digest() {
                    Some(digest) => {
                        listed.clients.insert(digest.to_owned(), *until);
                    }
                    None => listed.patterns.push((selector.clone(), *until)),
                },
            }
        }
        self.listed.store(std::sync::Arc::new(listed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_000_000);

    fn client(text: &str) -> Who {
        Who::Client(ClientSelector::parse(text).unwrap())
    }

    #[test]
    fn the_word_of_this_process_counts_for_a_while_and_then_the_list() {
        let quarantine = Quarantine::default();
        let ada = || Who::User("ada".to_owned());
        quarantine.change(ada(), Some(NOW.plus(60)), NOW);
        assert!(quarantine.has_user("ada", NOW));
        // A list that was read before the change.
        quarantine.replace(HashMap::new(), 0, NOW);
        assert!(quarantine.has_user("ada", NOW));
        quarantine.replace(HashMap::new(), 0, NOW.plus(OWN_WORD));
        assert!(!quarantine.has_user("ada", NOW));
        let listed = HashMap::from([(ada(), NOW.plus(60))]);
        quarantine.replace(listed.clone(), 0, NOW.plus(OWN_WORD));
        assert!(quarantine.has_user("ada", NOW) && !quarantine.has_user("bob", NOW));
        quarantine.change(ada(), None, NOW.plus(OWN_WORD));
        quarantine.replace(listed, 0, NOW.plus(OWN_WORD));
        assert!(!quarantine.has_user("ada", NOW));
    }

    #[test]
    fn an_entry_ends_by_itself() {
        let quarantine = Quarantine::default();
        quarantine.change(client("desk"), Some(NOW.plus(60)), NOW);
        let shut = |at| quarantine.has_client("desk", || None::<String>, at);
        assert!(shut(NOW.plus(59)) && !shut(NOW.plus(60)));
        quarantine.change(client("name:evil*"), None, NOW);
        quarantine.change(Who::User("ada".to_owned()), Some(NOW.plus(90)), NOW);
        assert_eq!(quarantine.count(NOW.plus(59)), (1, 1));
        assert_eq!(quarantine.count(NOW.plus(60)), (1, 0));
    }

    #[test]
    fn names_are_asked_for_only_when_an_entry_is_about_names() {
        let quarantine = Quarantine::default();
        let until = Some(NOW.plus(60));
        quarantine.change(client("host:evil.example"), until, NOW);
        let asked = std::cell::Cell::new(0);
        let shut = |id: &str| {
            let name = || {
                asked.set(asked.get() + 1);
                Some("Evil Editor")
            };
            quarantine.has_client(id, name, NOW)
        };
        assert!(shut("https://evil.example/client") && !shut("desk"));
        assert_eq!(asked.get(), 0);
        quarantine.change(client("name:evil*"), until, NOW);
        assert!(shut("desk"));
        assert_eq!(asked.get(), 1);
    }
}
