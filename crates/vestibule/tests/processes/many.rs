//! Sign-ins and refreshes among many grants (facts/performance.md P9): in an empty store, among `VESTIBULE_TEST_GRANTS` of
//! them (5000 by default), and, with a file, while a tenth as many that have ended are removed. `tests/stores/many.sh`
//! measures a million with a release build and writes the table of docs/stores.md. The others are made by hand, as large as a
//! real one, and never read.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use vestibule::store::{Expect, Key, Owner, Put, RedbStore, RedisStore, Space, Store, Value};
use vestibule_oauth::random::{Random as _, SystemRandom};
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::{Clock as _, ManualClock, SystemClock, UnixTime};

use crate::client::{Client, refresh_token};
use crate::server::Server;
use crate::street::{Plan, Street};

/// Sign-ins at each size; each is refreshed so often.
const SIGN_INS: usize = 60;
const ROUNDS: usize = 5;
/// How long ago those ended that are garbage, in seconds.
const LONG_AGO: u64 = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redb_works_among_many_grants_as_among_none() {
    among_many_it_costs_as_among_none("redb", &crate::places::file().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_works_among_many_grants_as_among_none() {
    let server = Server::redis().await;
    among_many_it_costs_as_among_none("Redis", &server.url).await;
}

/// Medians.
#[derive(Clone, Copy)]
struct Took {
    authorize: Duration,
    token: Duration,
    refresh: Duration,
}

async fn among_many_it_costs_as_among_none(name: &str, store: &str) {
    let many = asked_for().unwrap_or(5000);
    let mut street = Street::open(Plan {
        recheck: 3600,
        ..Plan::new(store, Some(0))
    })
    .await;
    // What is done for the first time takes longer.
    measure(&street, 20).await;
    let none = measure(&street, SIGN_INS).await;
    report(name, "none", none, &street);
    let started = Instant::now();
    let now = SystemClock.now();
    fill(&mut street, store, 0..many, now, now.plus(86_400)).await;
    println!("filled in {:?}", started.elapsed());
    let of_many = measure(&street, SIGN_INS).await;
    report(name, &grouped(many), of_many, &street);
    assert_alike(none, of_many);

    if store.starts_with("redb:") {
        let ended = many..many + many / 10;
        let then = now.minus(LONG_AGO);
        fill(&mut street, store, ended, then, now.minus(1)).await;
        let swept = measure(&street, SIGN_INS).await;
        let size = format!(
            "{}, while {} ended ones go",
            grouped(many),
            grouped(many / 10)
        );
        report(name, &size, swept, &street);
        assert_alike(none, swept);
    }
}

/// How many grants somebody wants to see it among. The bounds of P9 hold then: the machine is quiet and the program optimised.
fn asked_for() -> Option<usize> {
    let many = std::env::var_os("VESTIBULE_TEST_GRANTS")?;
    Some(many.to_str().unwrap().parse().unwrap())
}

fn assert_alike(none: Took, many: Took) {
    for (what, none, many) in [
        ("authorize", none.authorize, many.authorize),
        ("token", none.token, many.token),
        ("refresh", none.refresh, many.refresh),
    ] {
        let bound = if asked_for().is_some() {
            none * 3 / 2
        } else {
            none * 4 + Duration::from_millis(5)
        };
        assert!(many <= bound, "{what}: p50 {none:?} became {many:?}");
    }
}

/// Sign-ins, one after the other, and their refreshes.
async fn measure(street: &Street, sign_ins: usize) -> Took {
    let (mut authorize, mut token, mut refresh) = (Vec::new(), Vec::new(), Vec::new());
    let client = street.register().await;
    for _ in 0..sign_ins {
        let started = Instant::now();
        client.ask_for_consent().await;
        authorize.push(started.elapsed());
        let code = client.code().await;
        let started = Instant::now();
        let mut current = client.redeem(&code).await;
        token.push(started.elapsed());
        for _ in 0..ROUNDS {
            refresh.push(refreshed(&client, &mut current).await);
        }
    }
    Took {
        authorize: median(authorize),
        token: median(token),
        refresh: median(refresh),
    }
}

async fn refreshed(client: &Client, token: &mut String) -> Duration {
    let started = Instant::now();
    let answer = client.refresh(0, token).await.unwrap();
    let took = started.elapsed();
    *token = refresh_token(&answer);
    took
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

/// A row of the table, on standard output and in the file `VESTIBULE_TEST_TABLE`.
fn report(name: &str, grants: &str, took: Took, street: &Street) {
    let memory = street.replicas[0].memory();
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
    let row = format!(
        "| {name} | {grants} | {} | {} | {} | {} MB |",
        ms(took.authorize),
        ms(took.token),
        ms(took.refresh),
        memory.div_ceil(1024)
    );
    println!("{row}");
    if let Some(file) = std::env::var_os("VESTIBULE_TEST_TABLE") {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(file);
        writeln!(file.unwrap(), "{row}").unwrap();
    }
    // Without optimisation the code alone is 40 MB, and redb keeps lists to check itself.
    let bound = if asked_for().is_some() { 64 } else { 96 };
    assert!(memory < bound << 10, "{memory} KiB");
}

/// As `1 000 000`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

/// Adds grants with these numbers, of the size of a real one, as if it were `now`; they end at `end` and after.
async fn fill(
    street: &mut Street,
    place: &str,
    numbers: Range<usize>,
    now: UnixTime,
    end: UnixTime,
) {
    let clock = Arc::new(ManualClock::new(now));
    let file = place.strip_prefix("redb:");
    let store: Arc<dyn Store> = if let Some(file) = file {
        // A file is for one process.
        street.replicas[0].stop();
        Arc::new(RedbStore::open(file.as_ref(), clock).unwrap())
    } else {
        Arc::new(
            RedisStore::open(&Secret::new(place), None, clock, Arc::new(SystemRandom)).unwrap(),
        )
    };
    let size = size_of_a_grant(store.as_ref()).await;
    let mut bytes = vec![0; size];
    SystemRandom.fill(&mut bytes);
    let spread = u64::from(end > now) * 86_400;
    let puts = futures_util::stream::iter(numbers).map(|number| {
        let (store, bytes) = (Arc::clone(&store), bytes.clone());
        tokio::spawn(async move {
            let value = Value {
                bytes,
                owner: Some(Owner::user(&format!("user {}", number / 3))),
                expires_at: end.plus(number as u64 % (spread + 1)),
            };
            let key = Key::hashed(Space::Grant, &number.to_string());
            store.put(&key, value, Expect::Any).await.unwrap()
        })
    });
    let mut puts = puts.buffer_unordered(256);
    while let Some(put) = puts.next().await {
        assert!(matches!(put.unwrap(), Put::Stored(_)));
    }
    drop(puts);
    drop(store);
    if file.is_some() {
        street.replicas[0].start().await;
    }
}

async fn size_of_a_grant(store: &dyn Store) -> usize {
    let mut cursor = None;
    loop {
        let (page, next) = store
            .scan(Space::Grant, cursor.as_deref(), 100)
            .await
            .unwrap();
        if let Some(entry) = page.first() {
            return entry.value.bytes.len();
        }
        cursor = Some(next.unwrap());
    }
}
