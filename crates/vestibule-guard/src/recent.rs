//! What was paid for once and is used again for a while: at most so many values, each until its time, and the busy ones stay.

use std::borrow::Borrow;
use std::collections::hash_map::{self, HashMap, RandomState};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::mem;
use std::sync::{Mutex, PoisonError};

use vestibule_oauth::time::UnixTime;

/// How many values [`Recent::default`] keeps.
pub(crate) const DEFAULT_LIMIT: usize = 4096;

/// Values by key, at most a certain number of them, each until a moment of its own. A hit clones the value: let that be
/// cheap.
///
/// Two maps: when the young one is half of what is allowed, it becomes the old one, and what was old is dropped, two values
/// for each new one: thousands at once would hold everybody up. What is used moves to the young one, so it stays. Nothing
/// has to be swept, and a stranger who fills it up pushes out only what nobody asks for.
pub struct Recent<K, V, S = RandomState> {
    limit: usize,
    kept: Mutex<Generations<K, V, S>>,
}

struct Generations<K, V, S> {
    young: HashMap<K, (UnixTime, V), S>,
    old: HashMap<K, (UnixTime, V), S>,
    dropped: hash_map::IntoIter<K, (UnixTime, V)>,
}

/// Places for numbers that are hashes already, under a key that no stranger knows.
pub(crate) type AsItIs = BuildHasherDefault<Number>;

/// Takes the last number for the hash.
#[derive(Default)]
pub(crate) struct Number(u64);

impl Hasher for Number {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl<K, V> Recent<K, V> {
    /// Keeps at most `limit` values; 0 keeps none.
    pub fn new(limit: usize) -> Self {
        Self::with_hasher(limit)
    }
}

impl<K, V, S: Default> Recent<K, V, S> {
    /// The same for keys that `S` gives their places, such as [`AsItIs`].
    pub(crate) fn with_hasher(limit: usize) -> Self {
        Self {
            limit,
            kept: Mutex::new(Generations {
                young: HashMap::default(),
                old: HashMap::default(),
                dropped: HashMap::new().into_iter(),
            }),
        }
    }

    /// How many values are kept at most.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

impl<K, V> Default for Recent<K, V> {
    /// Keeps 4096.
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

impl<K: Eq + Hash, V: Clone, S: BuildHasher + Default> Recent<K, V, S> {
    /// The value for `key`, unless its time is over `now`.
    pub fn get<Q>(&self, key: &Q, now: UnixTime) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, value)) = kept.young.get(key) {
            if now < *until {
                return Some(value.clone());
            }
            kept.young.remove(key);
            return None;
        }
        let (key, (until, value)) = kept.old.remove_entry(key)?;
        if now >= until {
            return None;
        }
        kept.put(key, value.clone(), until, self.limit);
        Some(value)
    }

    /// Keeps a value that may be used again before `until`.
    pub fn put(&self, key: K, value: V, until: UnixTime) {
        if self.limit == 0 {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.put(key, value, until, self.limit);
    }
}

impl<K: Eq + Hash, V, S: BuildHasher + Default> Generations<K, V, S> {
    fn put(&mut self, key: K, value: V, until: UnixTime, limit: usize) {
        if self.young.len() >= (limit / 2).max(1) {
            let old = mem::replace(&mut self.old, mem::take(&mut self.young));
            self.dropped = old.into_iter();
        }
        // All of them have gone when the young map is half as full as it may be.
        self.dropped.by_ref().take(2).for_each(drop);
        if limit < 2 {
            // No room for two generations.
            self.old.clear();
        }
        self.young.insert(key, (until, value));
    }
}

/// Without what is in it: keys and values may be tokens.
impl<K, V, S> fmt::Debug for Recent<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<K, V> Recent<K, V> {
        fn held(&self) -> usize {
            let kept = self.kept.lock().unwrap();
            kept.young.len() + kept.old.len() + kept.dropped.len()
        }
    }

    #[test]
    fn a_value_is_used_again_until_its_time() {
        let recent = Recent::new(8);
        recent.put("a".to_owned(), "value", UnixTime(100));
        assert_eq!(recent.get("a", UnixTime(99)), Some("value"));
        assert_eq!(recent.get("b", UnixTime(99)), None);
        assert_eq!(recent.get("a", UnixTime(100)), None);
        assert_eq!(recent.get("a", UnixTime(99)), None, "dropped");
    }

    #[test]
    fn moving_to_the_young_ones_makes_nothing_younger() {
        let recent = Recent::new(2);
        recent.put("a", 1, UnixTime(100));
        recent.put("b", 2, UnixTime(100));
        assert_eq!(recent.get("a", UnixTime(99)), Some(1), "moved");
        assert_eq!(recent.get("a", UnixTime(100)), None);
        recent.put("c", 3, UnixTime(100));
        recent.put("d", 4, UnixTime(200));
        assert_eq!(recent.get("c", UnixTime(100)), None, "old, and over");
        assert_eq!(recent.get("d", UnixTime(100)), Some(4));
    }

    #[test]
    fn a_later_value_takes_the_place_of_an_earlier_one() {
        let recent = Recent::new(8);
        recent.put("a", 1, UnixTime(100));
        recent.put("a", 2, UnixTime(200));
        assert_eq!(recent.get("a", UnixTime(150)), Some(2));
    }

    #[test]
    fn a_stranger_with_many_keys_does_not_fill_the_memory_and_the_busy_ones_stay() {
        for limit in [0, 1, 2, 3, 8] {
            let recent = Recent::new(limit);
            for number in 0..100 {
                recent.put(number, (), UnixTime(100));
                let held = recent.held();
                assert!(held <= limit, "{held} of {limit}");
            }
            assert_eq!(recent.get(&1, UnixTime(1)), None);
        }
        let recent = Recent::new(8);
        recent.put("busy".to_owned(), (), UnixTime(100));
        for number in 0..1000 {
            recent.put(number.to_string(), (), UnixTime(100));
            assert!(recent.get("busy", UnixTime(1)).is_some(), "{number}");
        }
    }

    #[test]
    fn a_log_line_shows_nothing_of_what_is_kept() {
        let recent = Recent::new(8);
        recent.put("key".to_owned(), "token", UnixTime(100));
        assert_eq!(format!("{recent:?}"), "Recent { limit: 8, .. }");
    }
}
