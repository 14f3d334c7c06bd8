//! One-time assertions (RFC 7523 §3 `jti`): what was used is remembered until it would expire anyway.
//!
//! The memory is this process's own. With a store, what is new here is written there as well, so that an assertion counts
//! once at all replicas. Without one, another replica would accept it once more within its five minutes; it stays bound
//! to this server by `aud`, and is of use only together with a code or refresh token of that client.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use vestibule_oauth::time::UnixTime;

use crate::store::{Expect, Key, Put, Space, Store, StoreError, Value};

/// Assertions remembered of one owner, and of all.
const MAX_EACH: usize = 1024;
const MAX_ALL: usize = 32 * 1024;

/// What [`UsedAssertions::use_once`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Never seen: it counts.
    First,
    /// Seen before.
    Again,
    /// Too many live ones to remember another, so it cannot be told whether this one is new.
    Full,
}

/// The assertions that were used.
#[derive(Debug, Default)]
pub(super) struct UsedAssertions(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// By owner, then by digest of client and `jti`.
    owners: HashMap<String, HashMap<[u8; 32], UnixTime>>,
    count: usize,
}

impl UsedAssertions {
    /// Uses an assertion. `owner` is whoever can make many clients: the host of a metadata document, or the client.
    pub(super) fn use_once(
        &self,
        owner: &str,
        client_id: &str,
        token_id: &str,
        expires_at: UnixTime,
        now: UnixTime,
    ) -> Use {
        let key = key_of(client_id, token_id);
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = &mut *memory;
        let full = |memory: &Memory| {
            let own = memory.owners.get(owner).map_or(0, HashMap::len);
            own >= MAX_EACH || memory.count >= MAX_ALL
        };
        if full(memory) {
            for used in memory.owners.values_mut() {
                used.retain(|_, end| *end > now);
            }
            memory.owners.retain(|_, used| !used.is_empty());
            memory.count = memory.owners.values().map(HashMap::len).sum();
        }
        let used = memory.owners.get(owner);
        if used
            .and_then(|used| used.get(&key))
            .is_some_and(|end| *end > now)
        {
            return Use::Again;
        }
        if full(memory) {
            return Use::Full;
        }
        let used = memory.owners.entry(owner.to_owned()).or_default();
        if used.insert(key, expires_at).is_none() {
            memory.count += 1;
        }
        Use::First
    }

    /// Uses an assertion at all replicas that share `store`. When that does not answer, nothing was used: the client may
    /// come back with the same assertion.
    pub(super) async fn use_once_everywhere(
        &self,
        store: Option<&dyn Store>,
        owner: &str,
        client_id: &str,
        token_id: &str,
        expires_at: UnixTime,
        now: UnixTime,
    ) -> Result<Use, StoreError> {
        let found = self.use_once(owner, client_id, token_id, expires_at, now);
        let (Some(store), Use::First) = (store, found) else {
            return Ok(found);
        };
        let key = Key::hashed(Space::Once, &format!("assertion\0{client_id}\0{token_id}"));
        let value = Value {
            bytes: Vec::new(),
            owner: None,
            expires_at,
        };
        match store.put(&key, value, Expect::Absent).await {
            Ok(Put::Stored(_)) => Ok(Use::First),
            Ok(Put::Conflict) => Ok(Use::Again),
            Err(error) => {
                self.forget(owner, client_id, token_id);
                Err(error)
            }
        }
    }

    fn forget(&self, owner: &str, client_id: &str, token_id: &str) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used = memory.owners.get_mut(owner);
        if used.is_some_and(|used| used.remove(&key_of(client_id, token_id)).is_some()) {
            memory.count = memory.count.saturating_sub(1);
        }
    }
}

fn key_of(client_id: &str, token_id: &str) -> [u8; 32] {
    let text = format!("{client_id}\0{token_id}");
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_000);

    #[test]
    fn an_assertion_counts_once_for_each_client() {
        let used = UsedAssertions::default();
        let once = |client: &str, now: UnixTime| used.use_once("o", client, "1", NOW.plus(60), now);
        assert_eq!(once("a", NOW), Use::First);
        assert_eq!(once("a", NOW.plus(59)), Use::Again);
        assert_eq!(once("b", NOW), Use::First);
    }

    #[test]
    fn a_flood_of_one_owner_neither_forgets_its_own_nor_shuts_out_others() {
        let used = UsedAssertions::default();
        let flood =
            |n: usize| used.use_once("evil.example", "c", &n.to_string(), NOW.plus(60), NOW);
        for n in 0..MAX_EACH {
            assert_eq!(flood(n), Use::First);
        }
        assert_eq!(flood(MAX_EACH), Use::Full);
        assert_eq!(flood(0), Use::Again);
        assert_eq!(
            used.use_once("good.example", "g", "1", NOW.plus(60), NOW),
            Use::First
        );
        let later = used.use_once("evil.example", "c", "x", NOW.plus(120), NOW.plus(61));
        assert_eq!(later, Use::First);
    }
}
