//! What a Redis server must be like: old servers, replicas, clusters and those that throw entries away are refused.

use std::collections::BTreeMap;

use super::super::{Expect, Key, Owner, Space, Store as _, StoreError, Value};
use super::RedisStore;

const OLDEST: (u32, u32) = (6, 2);
/// How many seconds an entry lives that is made to see whether it can be.
const PROBE: u64 = 60;

/// Asks the server what it is like.
pub(super) async fn check(store: &RedisStore) -> Result<Vec<String>, StoreError> {
    let _: String = store.command(&redis::cmd("PING")).await?;
    let told: Result<String, _> = store.command(&redis::cmd("INFO")).await;
    let warnings = match told {
        Ok(told) => judge(&told)?,
        // Some hosted servers keep it to themselves.
        Err(StoreError::Misconfigured(_)) => vec![
            "this Redis user may not use INFO, so it cannot be seen whether the server throws entries away \
             (maxmemory-policy) and keeps them on disk"
                .to_owned(),
        ],
        Err(error) => return Err(error),
    };
    try_all(store).await?;
    Ok(warnings)
}

/// Rights that are missing show here and not at the first sign-in.
async fn try_all(store: &RedisStore) -> Result<(), StoreError> {
    let owner = Owner::all_of(Space::Once);
    let key = Key::hashed(Space::Once, "check");
    let value = Value {
        bytes: Vec::new(),
        owner: Some(owner.clone()),
        expires_at: store.clock.now().plus(PROBE),
    };
    store.put(&key, value, Expect::Any).await?;
    store.list(&owner, None, 1).await?;
    store.scan(Space::Once, None, 1).await?;
    store.take(&key).await?;
    Ok(())
}

/// A server of a cluster knows a part of the keys only.
pub(super) fn cluster() -> StoreError {
    StoreError::Misconfigured(
        "this Redis server is part of a cluster (cluster_enabled:1); use one without cluster mode"
            .to_owned(),
    )
}

fn judge(told: &str) -> Result<Vec<String>, StoreError> {
    let told: BTreeMap<&str, &str> = told
        .lines()
        .filter_map(|line| line.trim().split_once(':'))
        .collect();
    let said = |name: &str| told.get(name).copied().unwrap_or_default();
    let refused = |why: String| Err(StoreError::Misconfigured(why));
    let version = said("redis_version");
    let mut numbers = version.split('.').map_while(|part| part.parse().ok());
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if number < OLDEST {
        return refused(format!(
            "the server is Redis {version}; {}.{} or newer is needed, or any Valkey",
            OLDEST.0, OLDEST.1
        ));
    }
    if said("cluster_enabled") == "1" {
        return Err(cluster());
    }
    if said("role") == "slave" {
        return refused(
            "this Redis server is a replica and cannot be written; name the primary".to_owned(),
        );
    }
    let policy = said("maxmemory_policy");
    if said("maxmemory") != "0" && policy != "noeviction" && !policy.is_empty() {
        return refused(format!(
            "the Redis server throws entries away when its memory is full (maxmemory-policy is {policy}), so people would \
             be signed out and revocations forgotten; run `CONFIG SET maxmemory-policy noeviction`, or set it in the \
             server's configuration or parameter group"
        ));
    }
    let mut warnings = Vec::new();
    if said("maxmemory") == "0" && policy != "noeviction" && !policy.is_empty() {
        warnings.push(format!(
            "maxmemory-policy of the Redis server is {policy}; should it ever get a maxmemory, set noeviction"
        ));
    }
    if said("aof_enabled") == "0" {
        warnings.push(
            "the Redis server writes no append-only file (appendonly is off): what changed since its last snapshot is lost \
             when it restarts, and those people sign in again"
                .to_owned(),
        );
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\ncluster_enabled:0\r\n";

    #[test]
    fn a_server_that_keeps_what_it_is_given_is_fine() {
        assert!(judge(GOOD).unwrap().is_empty());
    }

    #[test]
    fn servers_that_lose_entries_are_refused_with_the_remedy() {
        let evicting = GOOD
            .replace("maxmemory:0", "maxmemory:1000")
            .replace("noeviction", "allkeys-lru");
        for (told, wanted) in [
            (evicting, "CONFIG SET maxmemory-policy noeviction"),
            (GOOD.replace("7.0.15", "6.0.16"), "6.2 or newer"),
            (GOOD.replace("7.0.15", "garbage"), "6.2 or newer"),
            (GOOD.replace("master", "slave"), "name the primary"),
            (
                GOOD.replace("cluster_enabled:0", "cluster_enabled:1"),
                "without cluster mode",
            ),
        ] {
            let error = judge(&told).unwrap_err();
            assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }

    #[test]
    fn a_server_without_a_file_is_worth_a_warning() {
        let warnings = judge(&GOOD.replace("aof_enabled:1", "aof_enabled:0")).unwrap();
        assert!(warnings[0].contains("append-only"), "{warnings:?}");
        let warnings = judge(&GOOD.replace("noeviction", "allkeys-lru")).unwrap();
        assert!(warnings[0].contains("allkeys-lru"), "{warnings:?}");
    }
}
