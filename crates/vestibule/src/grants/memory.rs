//! `Memory`: what a browser need not be asked again, sealed into a cookie of its own (attack T9).
//!
//! An entry is one decision of one user: this client as it was then, this redirect URI, this resource, these scopes, until
//! then. Nothing of it grants anything: it saves a page, and the sign-in that follows must be the same user's.

use serde::{Deserialize, Serialize};
use serde_json::json;

use vestibule_oauth::client::{Client, MatchedRedirect};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::time::UnixTime;

use super::fingerprint;
use crate::seal::{Kind, Sealable};

/// Who asks, for which resource, and where the answer goes: a fingerprint that changes with anything that matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Asked(String);

impl Asked {
    /// The client as it is described today, with the exact redirect URI and the resource's path.
    pub fn new(client: &Client, redirect: &MatchedRedirect, resource: &str) -> Self {
        let what = json!([client.fingerprint(), redirect.uri().as_str(), resource]);
        Self(fingerprint(&what.to_string()))
    }
}

/// A user of a provider, without saying who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserDigest(String);

impl UserDigest {
    /// The user with this `sub` at the provider with this id.
    pub fn of(provider: &str, subject: &str) -> Self {
        Self(fingerprint(&json!([provider, subject]).to_string()))
    }
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    #[serde(rename = "a")]
    asked: Asked,
    /// What was approved.
    #[serde(rename = "o")]
    scope: ScopeSet,
    /// Id of the provider that signed the user in.
    #[serde(rename = "d")]
    provider: String,
    /// Who approved.
    #[serde(rename = "s")]
    user: UserDigest,
    /// When.
    #[serde(rename = "t")]
    since: UnixTime,
    /// When it last saved a page.
    #[serde(rename = "l", default)]
    used: UnixTime,
}

impl Remembered {
    /// Seconds in which an entry saves one page. Who comes back sooner had something go wrong, as with another account
    /// at the provider: the page is the way out. It also bounds the flows that a page of a neighbouring host can begin.
    pub const PAUSE: u64 = 600;

    /// A decision of now.
    pub fn new(
        asked: Asked,
        scope: ScopeSet,
        provider: String,
        user: UserDigest,
        now: UnixTime,
    ) -> Self {
        Self {
            asked,
            scope,
            provider,
            user,
            since: now,
            used: UnixTime::default(),
        }
    }

    /// What was approved.
    pub fn scope(&self) -> &ScopeSet {
        &self.scope
    }

    /// Id of the provider that signed the user in.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Who approved.
    pub fn user(&self) -> &UserDigest {
        &self.user
    }

    /// True when the page would ask nothing new, and was not saved a moment ago.
    pub fn covers(&self, scope: &ScopeSet, now: UnixTime) -> bool {
        scope.is_subset(&self.scope) && now >= self.used.plus(Self::PAUSE)
    }
}

/// The decisions that one browser remembers, the oldest first.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Memory(Vec<Remembered>);

impl Sealable for Memory {
    const KIND: Kind = Kind::Memory;
}

impl Memory {
    /// More applications than a person uses from one browser; as many as fit into one small cookie.
    pub const MOST: usize = 8;

    /// Leaves out what is older than `lifetime` seconds, which the operator may have shortened meanwhile.
    #[must_use]
    pub fn at(mut self, now: UnixTime, lifetime: u64) -> Self {
        self.0.retain(|own| now < own.since.plus(lifetime));
        self
    }

    /// True when nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was decided about this.
    pub fn find(&self, asked: &Asked) -> Option<&Remembered> {
        self.0.iter().find(|own| own.asked == *asked)
    }

    /// Remembers a decision instead of an earlier one about the same.
    pub fn put(&mut self, decision: Remembered) {
        self.forget(&decision.asked);
        self.0.push(decision);
        while self.0.len() > Self::MOST {
            self.forget_oldest();
        }
    }

    /// Forgets what was decided about this. True when there was something.
    pub fn forget(&mut self, asked: &Asked) -> bool {
        let before = self.0.len();
        self.0.retain(|own| own.asked != *asked);
        self.0.len() < before
    }

    /// Forgets the oldest decision.
    pub fn forget_oldest(&mut self) {
        if !self.0.is_empty() {
            self.0.remove(0);
        }
    }

    /// Notes that the decision about this saved a page just now.
    pub fn use_now(&mut self, asked: &Asked, now: UnixTime) {
        for own in self.0.iter_mut().filter(|own| own.asked == *asked) {
            own.used = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_000_000);
    const LIFETIME: u64 = 86_400;

    fn decision(asked: &str, at: UnixTime) -> Remembered {
        Remembered::new(
            Asked(asked.to_owned()),
            ScopeSet::parse("a b"),
            "default".to_owned(),
            UserDigest::of("default", "ada"),
            at,
        )
    }

    #[test]
    fn the_oldest_of_too_many_goes_and_a_new_decision_replaces_the_old_one() {
        let mut memory = Memory::default();
        for number in 0..=Memory::MOST {
            memory.put(decision(&number.to_string(), NOW));
        }
        assert_eq!(memory.0.len(), Memory::MOST);
        assert_eq!(memory.find(&Asked("0".to_owned())), None);
        memory.put(decision("1", NOW.plus(1)));
        assert_eq!(memory.0.len(), Memory::MOST);
        assert_eq!(
            memory.find(&Asked("1".to_owned())).unwrap().since,
            NOW.plus(1)
        );
        assert!(memory.forget(&Asked("1".to_owned())));
        assert!(!memory.forget(&Asked("1".to_owned())));
    }

    #[test]
    fn a_decision_ends_to_the_second() {
        let remembered = |later| {
            let mut memory = Memory::default();
            memory.put(decision("x", NOW));
            !memory.at(NOW.plus(later), LIFETIME).is_empty()
        };
        assert!(remembered(LIFETIME - 1));
        assert!(!remembered(LIFETIME));
    }

    #[test]
    fn a_decision_covers_the_same_or_less_and_one_page_in_ten_minutes() {
        let mut memory = Memory::default();
        memory.put(decision("x", NOW));
        let asked = Asked("x".to_owned());
        let covers = |memory: &Memory, scope: &str, later| {
            let found = memory.find(&asked).unwrap();
            found.covers(&ScopeSet::parse(scope), NOW.plus(later))
        };
        for scope in ["a b", "b", ""] {
            assert!(covers(&memory, scope, 0), "{scope}");
        }
        assert!(!covers(&memory, "a c", 0));
        memory.use_now(&asked, NOW);
        assert!(!covers(&memory, "a", Remembered::PAUSE - 1));
        assert!(covers(&memory, "a", Remembered::PAUSE));
    }

    #[test]
    fn users_of_two_providers_with_one_sub_are_two() {
        assert_ne!(UserDigest::of("a", "b"), UserDigest::of("b", "b"));
        assert_ne!(UserDigest::of("a", "bc"), UserDigest::of("ab", "c"));
    }
}
