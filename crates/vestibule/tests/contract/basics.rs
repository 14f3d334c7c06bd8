//! One caller at a time: what is written, what is expected, and when it ends.

use vestibule::store::{Expect, Put, Value, Version};
use vestibule_oauth::time::{Clock as _, UnixTime};

use super::{Bench, stored, text};

pub(crate) async fn what_is_put_is_read_with_its_version(bench: &Bench) {
    let key = bench.key("a");
    let owner = bench.owner("ada");
    let value = bench.owned("one", &owner);
    assert_eq!(bench.get(&key).await, None);
    let version = bench.set(&key, value.clone()).await;
    let entry = bench.get(&key).await.unwrap();
    assert_eq!(entry.key, key);
    assert_eq!(entry.value, value);
    assert_eq!(entry.version, version);
    // Reading changes nothing.
    assert_eq!(bench.get(&key).await.unwrap(), entry);
    let without_owner = bench.value("two");
    bench.set(&key, without_owner.clone()).await;
    assert_eq!(bench.get(&key).await.unwrap().value, without_owner);
}

pub(crate) async fn absent_version_and_any_are_told_apart(bench: &Bench) {
    let key = bench.key("a");
    let nowhere = Expect::Version(Version(7));
    assert_eq!(
        bench.put(&key, bench.value("x"), nowhere).await,
        Put::Conflict
    );
    assert_eq!(bench.get(&key).await, None);
    let first = stored(&bench.put(&key, bench.value("first"), Expect::Absent).await);
    assert_eq!(
        bench.put(&key, bench.value("x"), Expect::Absent).await,
        Put::Conflict
    );
    let second = stored(
        &bench
            .put(&key, bench.value("second"), Expect::Version(first))
            .await,
    );
    assert_eq!(
        bench
            .put(&key, bench.value("x"), Expect::Version(first))
            .await,
        Put::Conflict
    );
    let entry = bench.get(&key).await.unwrap();
    assert_eq!((text(&entry).as_str(), entry.version), ("second", second));
    let third = bench.set(&key, bench.value("third")).await;
    let entry = bench.get(&key).await.unwrap();
    assert_eq!((text(&entry).as_str(), entry.version), ("third", third));
}

pub(crate) async fn an_entry_that_has_ended_is_absent_for_every_operation(bench: &Bench) {
    let owner = bench.owner("ada");
    let names = ["get", "put", "replace", "take", "delete", "list"];
    let mut versions = Vec::new();
    for name in names {
        versions.push(bench.set(&bench.key(name), bench.owned(name, &owner)).await);
    }
    bench.clock.advance(3599);
    assert!(bench.get(&bench.key("get")).await.is_some());
    bench.clock.advance(1);
    assert_eq!(bench.get(&bench.key("get")).await, None);
    assert_eq!(bench.store.take(&bench.key("take")).await.unwrap(), None);
    assert!(!bench.store.delete(&bench.key("delete")).await.unwrap());
    assert!(bench.list(&owner).await.is_empty());
    let replace = bench.key("replace");
    let gone = Expect::Version(versions[2]);
    assert_eq!(
        bench.put(&replace, bench.value("x"), gone).await,
        Put::Conflict
    );
    assert_eq!(bench.get(&replace).await, None);
    let key = bench.key("put");
    stored(&bench.put(&key, bench.value("new"), Expect::Absent).await);
    assert_eq!(text(&bench.get(&key).await.unwrap()), "new");
}

pub(crate) async fn a_longer_life_can_be_given(bench: &Bench) {
    let key = bench.key("a");
    let version = bench.set(&key, bench.value("one")).await;
    bench.clock.advance(1800);
    let longer = bench.value("one");
    stored(
        &bench
            .put(&key, longer.clone(), Expect::Version(version))
            .await,
    );
    bench.clock.advance(1801);
    assert_eq!(bench.get(&key).await.unwrap().value, longer);
    bench.clock.advance(1799);
    assert_eq!(bench.get(&key).await, None);
}

pub(crate) async fn an_end_far_away_or_long_ago_is_no_trouble(bench: &Bench) {
    let far = Value {
        expires_at: bench.clock.now().plus(100 * 365 * 86_400),
        ..bench.value("far")
    };
    let key = bench.key("far");
    bench.set(&key, far.clone()).await;
    assert_eq!(bench.get(&key).await.unwrap().value, far);
    let key = bench.key("past");
    for past in [UnixTime(0), bench.clock.now().minus(1), bench.clock.now()] {
        bench.set(&key, bench.value("alive")).await;
        let ended = Value {
            expires_at: past,
            ..bench.value("past")
        };
        bench.set(&key, ended).await;
        assert_eq!(bench.get(&key).await, None, "{past}");
    }
}

pub(crate) async fn versions_are_never_used_again(bench: &Bench) {
    let key = bench.key("a");
    let mut seen: Vec<Version> = Vec::new();
    for round in 0..20 {
        let version = stored(&bench.put(&key, bench.value("x"), Expect::Absent).await);
        assert!(!seen.contains(&version), "{version:?} again");
        // Who read an earlier life of the key does not overwrite this one.
        for old in &seen {
            let put = bench.put(&key, bench.value("y"), Expect::Version(*old));
            assert_eq!(put.await, Put::Conflict);
        }
        seen.push(version);
        match round % 3 {
            0 => assert!(bench.store.delete(&key).await.unwrap()),
            1 => assert!(bench.store.take(&key).await.unwrap().is_some()),
            _ => bench.clock.advance(3600),
        }
    }
}

pub(crate) async fn any_bytes_can_be_stored(bench: &Bench) {
    let all: Vec<u8> = (0..=255).collect();
    let values: [&[u8]; 6] = [b"", b"\0", &all, b"\xff\xfe", b"%s'\"\\", b"\r\n"];
    for bytes in values {
        let key = bench.key("a");
        bench.set(&key, bench.value(bytes)).await;
        assert_eq!(bench.get(&key).await.unwrap().value.bytes, bytes);
        let taken = bench.store.take(&key).await.unwrap().unwrap();
        assert_eq!(taken.value.bytes, bytes);
    }
}

pub(crate) async fn big_values_come_back_whole(bench: &Bench) {
    let owner = bench.owner("ada");
    let big: Vec<u8> = (0_u32..350 * 1024).map(|i| (i % 251) as u8).collect();
    let (one, two) = (bench.key("one"), bench.key("two"));
    let version = bench.set(&one, bench.owned(big.clone(), &owner)).await;
    bench.set(&two, bench.owned(big.clone(), &owner)).await;
    assert_eq!(bench.get(&one).await.unwrap().value.bytes, big);
    let mut other = big.clone();
    other.reverse();
    let value = bench.owned(other.clone(), &owner);
    stored(&bench.put(&one, value, Expect::Version(version)).await);
    let taken = bench.store.take(&one).await.unwrap().unwrap();
    assert_eq!(taken.value.bytes, other);
    assert_eq!(bench.get(&two).await.unwrap().value.bytes, big);
}

pub(crate) async fn delete_says_whether_it_was_there(bench: &Bench) {
    let (key, beside) = (bench.key("a"), bench.key("b"));
    let owner = bench.owner("ada");
    assert!(!bench.store.delete(&key).await.unwrap());
    bench.set(&key, bench.owned("a", &owner)).await;
    bench.set(&beside, bench.owned("b", &owner)).await;
    assert!(bench.store.delete(&key).await.unwrap());
    assert!(!bench.store.delete(&key).await.unwrap());
    assert_eq!(bench.get(&key).await, None);
    assert!(bench.get(&beside).await.is_some());
    bench.list_becomes(&owner, &["b"]).await;
}

pub(crate) async fn take_gives_it_once(bench: &Bench) {
    let (key, beside) = (bench.key("a"), bench.key("b"));
    let owner = bench.owner("ada");
    assert_eq!(bench.store.take(&key).await.unwrap(), None);
    let value = bench.owned("a", &owner);
    let version = bench.set(&key, value.clone()).await;
    bench.set(&beside, bench.owned("b", &owner)).await;
    let taken = bench.store.take(&key).await.unwrap().unwrap();
    assert_eq!((taken.key.clone(), taken.version), (key.clone(), version));
    assert_eq!(taken.value, value);
    assert_eq!(bench.store.take(&key).await.unwrap(), None);
    assert_eq!(bench.get(&key).await, None);
    bench.list_becomes(&owner, &["b"]).await;
}

pub(crate) async fn the_other_replica_sees_it_at_once(bench: &Bench) {
    for round in 0..20 {
        let key = bench.key(&format!("{round}"));
        let version = bench.set(&key, bench.value("here")).await;
        let there = bench.other.get(&key).await.unwrap().unwrap();
        assert_eq!(there.version, version);
        let changed = bench.value("there");
        let put = bench
            .other
            .put(&key, changed.clone(), Expect::Version(version));
        let version = stored(&put.await.unwrap());
        let entry = bench.get(&key).await.unwrap();
        assert_eq!((entry.value, entry.version), (changed, version));
        assert!(bench.other.delete(&key).await.unwrap());
        assert_eq!(bench.get(&key).await, None);
    }
}

pub(crate) async fn many_keys_do_not_mix(bench: &Bench) {
    let names: Vec<String> = (0..300).map(|i| format!("key {i}")).collect();
    for name in &names {
        bench
            .set(&bench.key(name), bench.value(name.as_str()))
            .await;
    }
    for name in names.iter().step_by(3) {
        assert!(bench.store.delete(&bench.key(name)).await.unwrap());
    }
    for (index, name) in names.iter().enumerate() {
        let entry = bench.get(&bench.key(name)).await;
        let expected = (index % 3 != 0).then(|| name.clone());
        assert_eq!(entry.as_ref().map(text), expected);
    }
}

pub(crate) async fn check_creates_what_is_missing(bench: &Bench) {
    // Whoever opened it asked already; asking again, also on two replicas at once, breaks nothing.
    let key = bench.key("a");
    bench.set(&key, bench.value("kept")).await;
    let (first, second) = tokio::join!(bench.store.check(), bench.other.check());
    first.unwrap();
    second.unwrap();
    assert_eq!(text(&bench.get(&key).await.unwrap()), "kept");
}

pub(crate) async fn it_says_what_it_is_without_a_password(bench: &Bench) {
    let (said, shown) = (bench.store.describe(), format!("{:?}", bench.store));
    assert!(!said.is_empty());
    for text in [said, shown] {
        // The servers of these tests have this password, those that have one.
        assert!(!text.contains("open-sesame"), "{text}");
    }
}
