//! Scopes (RFC 6749 §3.3): read liberally, stored as an ordered set, written canonically.
//!
//! A scope never fails a sign-in (law 9): blanks, doubled and ill-formed tokens are dropped on reading; what is left is
//! intersected with what a resource offers, so reading can only narrow.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The scope that asks for a refresh token in OpenID Connect. Consumed here, never sent to the provider.
pub const OFFLINE_ACCESS: &str = "offline_access";

/// An ordered set of scope tokens, without doubles. May be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(Vec<String>);

impl ScopeSet {
    /// Reads a space-separated list, dropping blanks, doubles and tokens outside RFC 6749's characters.
    pub fn parse(text: &str) -> Self {
        text.split(|character: char| character.is_ascii_whitespace())
            .map(str::to_owned)
            .collect()
    }

    /// True when there is no scope.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of scopes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// True when `scope` is among them.
    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|own| own == scope)
    }

    /// True when every scope of this set is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|scope| other.contains(scope))
    }

    /// The scopes of this set that `other` has too, in this set's order.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.only(|scope| other.contains(scope))
    }

    /// This set followed by what only `other` has.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).map(str::to_owned).collect()
    }

    /// This set without `scope`.
    #[must_use]
    pub fn without(&self, scope: &str) -> Self {
        self.only(|own| own != scope)
    }

    /// A part of a set needs no checks.
    fn only(&self, kept: impl Fn(&str) -> bool) -> Self {
        let kept = self.0.iter().filter(|own| kept(own));
        Self(kept.cloned().collect())
    }

    /// The tokens as a list, for JSON arrays.
    pub fn to_vec(&self) -> Vec<String> {
        self.0.clone()
    }
}

/// True when `token` is made of `%x21 / %x23-5B / %x5D-7E` only (RFC 6749 §3.3) and is not empty.
pub fn is_scope_token(token: &str) -> bool {
    !token.is_empty()
        && token
            .bytes()
            .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

impl FromIterator<String> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = String>>(tokens: I) -> Self {
        let mut set: Vec<String> = Vec::new();
        for token in tokens {
            if is_scope_token(&token) && !set.contains(&token) {
                set.push(token);
            }
        }
        Self(set)
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::parse(&text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn odd_but_harmless_scopes_of_real_clients_are_read() {
        // facts/pitfalls.md §0.6: `scope=`, a leading space, a double space.
        assert!(ScopeSet::parse("").is_empty());
        assert_eq!(
            ScopeSet::parse(" offline_access").to_string(),
            "offline_access"
        );
        assert_eq!(ScopeSet::parse("a  b\ta").to_string(), "a b");
    }

    #[test]
    fn a_scope_cannot_break_out_of_a_quoted_challenge_parameter() {
        assert!(ScopeSet::parse("a\"b c\\d é").is_empty());
    }

    proptest! {
        #[test]
        fn writing_and_reading_again_changes_nothing(text in ".{0,80}") {
            let once = ScopeSet::parse(&text);
            prop_assert_eq!(ScopeSet::parse(&once.to_string()), once);
        }

        #[test]
        fn an_intersection_never_widens(a in "[a-d ]{0,12}", b in "[a-d ]{0,12}") {
            let (a, b) = (ScopeSet::parse(&a), ScopeSet::parse(&b));
            let both = a.intersection(&b);
            prop_assert!(both.is_subset(&a) && both.is_subset(&b));
            prop_assert!(a.is_subset(&a.union(&b)) && b.is_subset(&a.union(&b)));
        }
    }
}
