//! What was revoked on this replica: token ids and families, until the last token of theirs would expire anyway.
//!
//! With carried state there is no place that all replicas read, so another replica lets a revoked *access* token live
//! until it expires (at most `tokens.access_ttl`). A revoked refresh token is dead everywhere at once if the
//! provider's own was revoked.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use vestibule_oauth::time::UnixTime;

use super::access::family_of;

/// Bounded memory of revocations.
#[derive(Debug, Default)]
pub struct RevokedTokens(Mutex<HashMap<String, UnixTime>>);

impl RevokedTokens {
    /// Entries kept at most. When it is full, those that end soonest go first.
    const CAPACITY: usize = 100_000;

    /// Refuses a token id or a family until `until`; true when it was not refused before.
    pub fn add(&self, id: &str, until: UnixTime, now: UnixTime) -> bool {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= Self::CAPACITY {
            entries.retain(|_, end| *end > now);
        }
        if entries.len() >= Self::CAPACITY {
            let soonest = entries
                .iter()
                .min_by_key(|(_, end)| **end)
                .map(|(id, _)| id.clone());
            soonest.map(|id| entries.remove(&id));
        }
        entries.insert(id.to_owned(), until).is_none()
    }

    /// True when this token or its family was revoked.
    pub fn contains(&self, token_id: &str, now: UnixTime) -> bool {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let live = |id: &str| entries.get(id).is_some_and(|end| *end > now);
        !entries.is_empty() && (live(token_id) || live(family_of(token_id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_covers_its_tokens_and_no_other() {
        let revoked = RevokedTokens::default();
        let now = UnixTime(10);
        revoked.add("fam", now.plus(60), now);
        revoked.add("other.1", now.plus(60), now);
        assert!(
            revoked.contains("fam.7", now)
                && revoked.contains("fam", now)
                && revoked.contains("other.1", now)
        );
        assert!(!revoked.contains("other.2", now) && !revoked.contains("famous.1", now));
        assert!(!revoked.contains("fam.7", now.plus(60)));
    }
}
