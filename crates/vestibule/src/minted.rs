//! Signed tokens that are used for more than one request: a signature costs more than the rest of the request.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use vestibule_oauth::time::UnixTime;

/// Signed tokens by what they were made from, at most a certain number of them. A key must say all that stands in the
/// token: the id of an access token does, because what an access token says does not change.
///
/// Two maps: when the young one is half of what is allowed, it becomes the old one, and what was old is dropped. What is
/// used moves to the young one, so it stays.
#[derive(Debug)]
pub struct Minted<K> {
    limit: usize,
    kept: Mutex<Generations<K>>,
}

#[derive(Debug)]
struct Generations<K> {
    young: HashMap<K, (UnixTime, String)>,
    old: HashMap<K, (UnixTime, String)>,
}

/// Some two kilobytes each.
const DEFAULT_LIMIT: usize = 4096;

impl<K> Default for Minted<K> {
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

impl<K> Minted<K> {
    /// Keeps at most `limit` tokens.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: Mutex::new(Generations {
                young: HashMap::new(),
                old: HashMap::new(),
            }),
        }
    }
}

impl<K: Eq + Hash> Minted<K> {
    /// The token for `key`, unless it is `now` too old to be used again.
    pub fn get<Q>(&self, key: &Q, now: UnixTime) -> Option<String>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, token)) = kept.young.get(key) {
            if now < *until {
                return Some(token.clone());
            }
            kept.young.remove(key);
            return None;
        }
        let (until, token) = kept.old.remove(key)?;
        if now >= until {
            return None;
        }
        kept.put(key.to_owned(), token.clone(), until, self.limit);
        Some(token)
    }

    /// Keeps a token that may be used again before `until`.
    pub fn put(&self, key: K, token: String, until: UnixTime) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.put(key, token, until, self.limit);
    }
}

impl<K: Eq + Hash> Generations<K> {
    fn put(&mut self, key: K, token: String, until: UnixTime, limit: usize) {
        if self.young.len() >= (limit / 2).max(1) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, (until, token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_again_until_its_time() {
        let minted = Minted::new(8);
        minted.put("a".to_owned(), "token".to_owned(), UnixTime(100));
        assert_eq!(minted.get("a", UnixTime(99)).as_deref(), Some("token"));
        assert_eq!(minted.get("b", UnixTime(99)), None);
        assert_eq!(minted.get("a", UnixTime(100)), None);
        assert_eq!(minted.get("a", UnixTime(99)), None, "dropped");
    }

    #[test]
    fn a_stranger_with_many_tokens_does_not_fill_the_memory() {
        let minted = Minted::new(8);
        minted.put("kept".to_owned(), "k".to_owned(), UnixTime(100));
        for number in 0..1000 {
            minted.put(number.to_string(), "t".to_owned(), UnixTime(100));
            assert!(minted.get("kept", UnixTime(1)).is_some(), "{number}");
            let kept = minted.kept.lock().unwrap();
            assert!(kept.young.len() + kept.old.len() <= 8);
        }
        assert_eq!(minted.get("1", UnixTime(1)), None);
    }
}
