//! Many grants in the file: latency and memory stay flat. Twenty thousand by default; `VESTIBULE_TEST_GRANTS=1000000` is the
//! measurement of facts/performance.md P9 (better in a release build).

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vestibule::store::{Expect, Key, Owner, Put, RedbStore, Space, Store, Value};
use vestibule_oauth::time::{Clock as _, SystemClock};

/// The size of a sealed grant with three earlier answers.
const BYTES: usize = 700;
const FEW: usize = 1000;
const SAMPLES: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_grants_cost_no_more_than_few() {
    let many = std::env::var_os("VESTIBULE_TEST_GRANTS");
    let many = many.map_or(20_000, |many| many.to_str().unwrap().parse().unwrap());
    let directory = super::redb::Directory::new();
    let store = RedbStore::open(&directory.file(), Arc::new(SystemClock)).unwrap();
    let store = Arc::new(store);
    fill(&store, 0, FEW).await;
    let (put, get) = sample(&store, FEW).await;
    report(FEW, put, get);
    let started = Instant::now();
    fill(&store, FEW, many).await;
    let (put_of_many, get_of_many) = sample(&store, many).await;
    let pss = report(many, put_of_many, get_of_many);
    say(&format!("filled in {:?}", started.elapsed()));
    // A million of them took 1.5 times the time of a thousand; the rest is for machines with other work.
    assert!(
        get_of_many < get * 4 + Duration::from_millis(1),
        "{get:?} {get_of_many:?}"
    );
    assert!(
        put_of_many < put * 4 + Duration::from_millis(4),
        "{put:?} {put_of_many:?}"
    );
    assert!(pss < 64 << 10, "{pss} KiB");
}

async fn fill(store: &Arc<RedbStore>, from: usize, to: usize) {
    let mut next = from;
    while next < to {
        let until = (next + 256).min(to);
        let puts = (next..until).map(|number| {
            let store = Arc::clone(store);
            tokio::spawn(async move { set(&store, number).await })
        });
        for put in puts.collect::<Vec<_>>() {
            assert!(matches!(put.await.unwrap(), Put::Stored(_)));
        }
        next = until;
    }
}

async fn set(store: &RedbStore, number: usize) -> Put {
    let value = Value {
        bytes: vec![0x5a; BYTES],
        owner: Some(Owner::user(&format!("user {}", number / 3))),
        expires_at: SystemClock.now().plus(86_400 + number as u64),
    };
    store.put(&key(number), value, Expect::Any).await.unwrap()
}

fn key(number: usize) -> Key {
    Key::hashed(Space::Grant, &number.to_string())
}

/// The medians of a write and a read, one after the other, all over the file.
async fn sample(store: &RedbStore, count: usize) -> (Duration, Duration) {
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for step in 0..SAMPLES {
        let number = step * 7919 % count;
        let started = Instant::now();
        set(store, number).await;
        puts.push(started.elapsed());
        let started = Instant::now();
        assert!(
            store
                .get(&key(number * 31 % count))
                .await
                .unwrap()
                .is_some()
        );
        gets.push(started.elapsed());
    }
    puts.sort();
    gets.sort();
    (puts[SAMPLES / 2], gets[SAMPLES / 2])
}

/// Says what was measured, and gives the memory of this process in KiB (PSS).
fn report(count: usize, put: Duration, get: Duration) -> usize {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup
        .lines()
        .find(|line| line.starts_with("Pss:"))
        .unwrap();
    let pss = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    say(&format!(
        "{count} grants: put p50 {put:?}, get p50 {get:?}, PSS {pss} KiB"
    ));
    pss
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{text}\n").as_bytes()).unwrap();
}
