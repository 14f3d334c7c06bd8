//! Lists by owner and scans of a space: order, pages, and what must not be in them.

use std::collections::BTreeSet;

use vestibule::store::{Expect, Key, Owner, Space, Value};
use vestibule_oauth::time::{Clock as _, UnixTime};

use super::{Bench, text};

pub(crate) async fn a_list_is_in_the_order_of_keys_and_in_pages(bench: &Bench) {
    let owner = bench.owner("ada");
    let names: Vec<String> = (0..25).map(|i| format!("{i}")).collect();
    let mut keys = Vec::new();
    for name in &names {
        let key = bench.key_in(Space::Grant, name);
        bench.set(&key, bench.owned(name.as_str(), &owner)).await;
        keys.push(key);
    }
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.list_becomes(&owner, &texts).await;
    // Bytewise, whatever the collation of the backend: base64url has both cases, digits, `-` and `_`.
    keys.sort();
    for limit in [1, 7, 24, 25, 26] {
        let mut listed = Vec::new();
        loop {
            let page = bench
                .store
                .list(&owner, listed.last(), limit)
                .await
                .unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page.into_iter().map(|entry| entry.key));
        }
        assert_eq!(listed, keys, "pages of {limit}");
    }
    // A cursor need not be there any more.
    let between = keys[10].clone();
    assert!(bench.store.delete(&between).await.unwrap());
    let behind = bench.store.list(&owner, Some(&between), 3).await.unwrap();
    let behind: Vec<Key> = behind.into_iter().map(|entry| entry.key).collect();
    assert_eq!(behind, keys[11..14]);
}

pub(crate) async fn a_list_is_of_one_owner(bench: &Bench) {
    let (ada, grace) = (bench.owner("ada"), bench.owner("grace"));
    // Owners whose names begin alike, or sort next to each other.
    let longer = Owner::from_text(format!("{}/x", ada.as_str()));
    let shorter = Owner::from_text(ada.as_str()[..ada.as_str().len() - 1].to_owned());
    bench.set(&bench.key("a"), bench.owned("ada's", &ada)).await;
    bench
        .set(&bench.key("g"), bench.owned("grace's", &grace))
        .await;
    bench
        .set(&bench.key("l"), bench.owned("longer's", &longer))
        .await;
    bench
        .set(&bench.key("s"), bench.owned("shorter's", &shorter))
        .await;
    bench.set(&bench.key("n"), bench.value("nobody's")).await;
    bench.list_becomes(&ada, &["ada's"]).await;
    bench.list_becomes(&grace, &["grace's"]).await;
    bench.list_becomes(&longer, &["longer's"]).await;
    bench.list_becomes(&shorter, &["shorter's"]).await;
    bench.list_becomes(&bench.owner("mallory"), &[]).await;
}

pub(crate) async fn a_list_leaves_out_what_has_ended(bench: &Bench) {
    let owner = bench.owner("ada");
    // So many that have ended in front of those that have not: a page is not empty because of them.
    let mut keys: Vec<Key> = (0..40).map(|i| bench.key(&format!("{i}"))).collect();
    keys.sort();
    for (index, key) in keys.iter().enumerate() {
        let life = if index < 30 { 10 } else { 3600 };
        let value = Value {
            expires_at: bench.clock.now().plus(life),
            ..bench.owned(format!("{index}"), &owner)
        };
        bench.set(key, value).await;
    }
    bench.clock.advance(10);
    bench
        .list_becomes(
            &owner,
            &["30", "31", "32", "33", "34", "35", "36", "37", "38", "39"],
        )
        .await;
    let page = bench.store.list(&owner, None, 4).await.unwrap();
    let page: Vec<String> = page.iter().map(text).collect();
    assert_eq!(page, ["30", "31", "32", "33"]);
}

pub(crate) async fn a_list_follows_a_change_of_owner(bench: &Bench) {
    let (ada, grace) = (bench.owner("ada"), bench.owner("grace"));
    let key = bench.key("a");
    let version = bench.set(&key, bench.owned("x", &ada)).await;
    bench.list_becomes(&ada, &["x"]).await;
    let put = bench.put(&key, bench.owned("y", &grace), Expect::Version(version));
    super::stored(&put.await);
    bench.list_becomes(&grace, &["y"]).await;
    bench.list_becomes(&ada, &[]).await;
    bench.set(&key, bench.value("z")).await;
    bench.list_becomes(&grace, &[]).await;
    bench.set(&key, bench.owned("again", &ada)).await;
    bench.list_becomes(&ada, &["again"]).await;
    assert!(bench.store.delete(&key).await.unwrap());
    bench.list_becomes(&ada, &[]).await;
    // What has ended leaves nothing behind that belongs to its next life.
    bench.set(&key, bench.owned("old", &ada)).await;
    bench.clock.advance(3600);
    bench
        .put(&key, bench.owned("new", &grace), Expect::Absent)
        .await;
    bench.list_becomes(&grace, &["new"]).await;
    bench.list_becomes(&ada, &[]).await;
}

pub(crate) async fn a_list_can_be_followed_by_time(bench: &Bench) {
    let owner = bench.owner("revocations");
    let start = 1_800_000_000;
    for (time, name) in [(start, "a"), (start + 5, "b"), (start + 12, "c")] {
        let key = Key::at(
            Space::Revocation,
            UnixTime(time),
            bench.owner(name).as_str(),
        );
        bench.set(&key, bench.owned(name, &owner)).await;
    }
    bench.list_becomes(&owner, &["a", "b", "c"]).await;
    for (since, wanted) in [
        (start, &["a", "b", "c"][..]),
        (start + 1, &["b", "c"]),
        (start + 5, &["b", "c"]),
        (start + 6, &["c"]),
        (start + 13, &[]),
    ] {
        let since = Key::since(Space::Revocation, UnixTime(since));
        let newer = bench.store.list(&owner, Some(&since), 100).await.unwrap();
        let newer: Vec<String> = newer.iter().map(text).collect();
        assert_eq!(newer, wanted);
    }
}

pub(crate) async fn a_scan_finds_all_that_is_there_all_the_time(bench: &Bench) {
    let steady: Vec<Key> = (0..60)
        .map(|i| bench.key_in(Space::Consent, &format!("steady {i}")))
        .collect();
    for key in &steady {
        bench.set(key, bench.value("steady")).await;
    }
    let ended = bench.key_in(Space::Consent, "ended");
    let short = Value {
        expires_at: bench.clock.now().plus(1),
        ..bench.value("short")
    };
    bench.set(&ended, short).await;
    bench.clock.advance(1);
    for limit in [1, 8, 1000] {
        let mut seen = BTreeSet::new();
        let mut cursor = None;
        let mut page_number = 0;
        loop {
            let scan = bench.store.scan(Space::Consent, cursor.as_deref(), limit);
            let (page, next) = scan.await.unwrap();
            seen.extend(page.into_iter().map(|entry| entry.key));
            // Others come and go meanwhile.
            if page_number < 40 {
                let coming = bench.key_in(Space::Consent, &format!("{limit} {page_number}"));
                bench.set(&coming, bench.value("coming")).await;
                let going = bench.key_in(Space::Consent, &format!("{limit} {}", page_number / 2));
                bench.store.delete(&going).await.unwrap();
            }
            page_number += 1;
            assert!(page_number < 10_000, "the scan does not end");
            let Some(next) = next else { break };
            cursor = Some(next);
        }
        for key in &steady {
            assert!(seen.contains(key), "pages of {limit}");
        }
        assert!(!seen.contains(&ended));
    }
}

pub(crate) async fn a_scan_stays_in_its_space(bench: &Bench) {
    let spaces = [
        Space::Grant,
        Space::Revocation,
        Space::Quarantine,
        Space::Consent,
        Space::Once,
    ];
    for space in spaces {
        let value = bench.owned(space.name(), &bench.owner("ada"));
        bench.set(&bench.key_in(space, "same"), value).await;
    }
    for space in spaces {
        let own = bench.key_in(space, "same");
        let prefix = format!("{}/", space.name());
        let (mut cursor, mut found) = (None, None);
        loop {
            let scan = bench.store.scan(space, cursor.as_deref(), 100);
            let (page, next) = scan.await.unwrap();
            for entry in page {
                assert!(entry.key.as_str().starts_with(&prefix));
                if entry.key == own {
                    found = Some(entry);
                }
            }
            let Some(next) = next else { break };
            cursor = Some(next);
        }
        let found = found.unwrap();
        assert_eq!(text(&found), space.name());
        assert_eq!(found.value.owner, Some(bench.owner("ada")));
        assert_eq!(bench.get(&own).await.unwrap(), found);
    }
}
