//! Many callers at once, on two replicas, and callers that go away in the middle.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use vestibule::store::{Expect, Key, Put, Store, Value};

use super::{Bench, at_once, stored, text};

const RACERS: usize = 16;
const ROUNDS: usize = 10;

pub(crate) async fn of_many_that_take_one_gets_it(bench: &Bench) {
    for round in 0..ROUNDS {
        let key = bench.key(&format!("{round}"));
        bench.set(&key, bench.value("x")).await;
        let taken = at_once(RACERS, |racer| {
            let (store, key) = (bench.replica(racer), key.clone());
            async move { store.take(&key).await.unwrap() }
        });
        assert_eq!(taken.await.into_iter().flatten().count(), 1);
    }
}

pub(crate) async fn of_many_that_create_one_wins(bench: &Bench) {
    let owner = bench.owner("ada");
    for round in 0..ROUNDS {
        let key = bench.key(&format!("{round}"));
        // Every other time something is there that has ended.
        if round % 2 == 1 {
            bench.set(&key, bench.owned("ended", &owner)).await;
            bench.clock.advance(3600);
        }
        one_wins(bench, &key, Expect::Absent).await;
    }
}

pub(crate) async fn of_many_that_replace_one_wins(bench: &Bench) {
    for round in 0..ROUNDS {
        let key = bench.key(&format!("{round}"));
        let version = bench.set(&key, bench.value("old")).await;
        one_wins(bench, &key, Expect::Version(version)).await;
    }
}

/// Races to write under `expect`: exactly one is told that it wrote, and what it wrote is there.
async fn one_wins(bench: &Bench, key: &Key, expect: Expect) {
    let owner = bench.owner("ada");
    let puts = at_once(RACERS, |racer| {
        let (store, key) = (bench.replica(racer), key.clone());
        let value = bench.owned(format!("{racer}"), &owner);
        async move { store.put(&key, value, expect).await.unwrap() }
    });
    let puts = puts.await;
    let won: Vec<(usize, &Put)> = puts
        .iter()
        .enumerate()
        .filter(|(_, put)| **put != Put::Conflict)
        .collect();
    let [(winner, put)] = won.as_slice() else {
        panic!("{} winners", won.len());
    };
    let entry = bench.get(key).await.unwrap();
    assert_eq!(text(&entry), winner.to_string());
    assert_eq!(entry.version, stored(put));
}

pub(crate) async fn counting_by_compare_and_swap_loses_nothing(bench: &Bench) {
    let key = bench.key("count");
    let value = |count: u32| bench.value(count.to_string());
    bench.set(&key, value(0)).await;
    let end = bench.value("").expires_at;
    at_once(4, |racer| {
        let (store, key) = (bench.replica(racer), key.clone());
        async move {
            let mut done = 0;
            while done < 8 {
                let entry = store.get(&key).await.unwrap().unwrap();
                let count: u32 = text(&entry).parse().unwrap();
                let next = Value {
                    bytes: (count + 1).to_string().into_bytes(),
                    owner: None,
                    expires_at: end,
                };
                let put = store.put(&key, next, Expect::Version(entry.version)).await;
                if put.unwrap() != Put::Conflict {
                    done += 1;
                }
            }
        }
    })
    .await;
    assert_eq!(text(&bench.get(&key).await.unwrap()), "32");
}

pub(crate) async fn what_was_dropped_in_the_middle_is_whole_or_not_there(bench: &Bench) {
    let owner = bench.owner("ada");
    let patience = |step: u64| Duration::from_micros(step * 30);
    for step in 0..60 {
        let key = bench.key(&format!("{step}"));
        bench.set(&key, bench.owned("old", &owner)).await;
        let new = bench.owned("new".repeat(10_000), &bench.owner("grace"));
        let _ = timeout(patience(step), bench.store.put(&key, new, Expect::Any)).await;
        // The write may still be on its way: it happens as a whole or not at all, and it happens once.
        let entry = bench.get(&key).await.unwrap();
        assert!(["old", &"new".repeat(10_000)].contains(&text(&entry).as_str()));
        let _ = timeout(patience(step), bench.store.take(&key)).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        if let Some(entry) = bench.get(&key).await {
            let put = bench.put(
                &key,
                bench.owned("last", &owner),
                Expect::Version(entry.version),
            );
            match put.await {
                // The taker may be so slow that it takes this one.
                Put::Stored(_) => {
                    let there = bench.get(&key).await;
                    assert!(there.is_none_or(|entry| text(&entry) == "last"));
                }
                Put::Conflict => {}
            }
            bench.store.delete(&key).await.unwrap();
        }
    }
    // So many at once that a pool which loses what was dropped has nothing left.
    at_once(200, |racer| {
        let (store, key) = (bench.replica(racer), bench.key(&format!("{racer}")));
        let value = bench.value("x");
        async move {
            let put = store.put(&key, value, Expect::Any);
            let _ = timeout(Duration::from_micros(racer as u64 * 20), put).await;
        }
    })
    .await;
    // Until the last stragglers have arrived, which takes longer on a busy machine.
    for _ in 0..100 {
        for step in 0..60 {
            let key = bench.key(&format!("{step}"));
            bench.store.delete(&key).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        if bench.list(&owner).await.is_empty() && bench.list(&bench.owner("grace")).await.is_empty()
        {
            break;
        }
    }
    let key = bench.key("afterwards");
    bench.set(&key, bench.owned("fine", &owner)).await;
    assert_eq!(text(&bench.get(&key).await.unwrap()), "fine");
    bench.list_becomes(&owner, &["fine"]).await;
    bench.list_becomes(&bench.owner("grace"), &[]).await;
}

impl Bench {
    fn replica(&self, racer: usize) -> Arc<dyn Store> {
        Arc::clone(if racer.is_multiple_of(2) {
            &self.store
        } else {
            &self.other
        })
    }
}
