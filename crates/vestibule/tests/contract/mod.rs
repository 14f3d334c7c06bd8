//! What every store owes (`vestibule::store::Store`): one suite of async functions, run against each backend by
//! `contract::suite!(open)`, where `open` is an async function that gives a [`Bench`].
//!
//! A bench may share its server with other tests that run at the same time: every test has keys and owners of its own, and
//! where it looks at a whole space, it looks for its own entries only.

mod basics;
mod listing;
mod races;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use vestibule::store::{Entry, Expect, Key, Owner, Put, Space, Store, Value, Version};
use vestibule_oauth::random::{Random as _, SystemRandom};
use vestibule_oauth::time::{Clock as _, ManualClock};

pub(crate) use basics::*;
pub(crate) use listing::*;
pub(crate) use races::*;

/// A store under test.
pub(crate) struct Bench {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// What another replica has: the same entries through connections of its own, where a backend can do that.
    pub(crate) other: Arc<dyn Store>,
    /// The clock of both.
    pub(crate) clock: Arc<ManualClock>,
    /// Makes the names of this test its own.
    run: String,
    _keep: Box<dyn Any>,
}

/// One test for each rule of the suite. `$open` is called for each of them.
macro_rules! suite {
    ($open:path) => {
        $crate::contract::suite! { $open:
            what_is_put_is_read_with_its_version,
            absent_version_and_any_are_told_apart,
            an_entry_that_has_ended_is_absent_for_every_operation,
            a_longer_life_can_be_given,
            an_end_far_away_or_long_ago_is_no_trouble,
            versions_are_never_used_again,
            any_bytes_can_be_stored,
            big_values_come_back_whole,
            delete_says_whether_it_was_there,
            take_gives_it_once,
            the_other_replica_sees_it_at_once,
            many_keys_do_not_mix,
            check_creates_what_is_missing,
            it_says_what_it_is_without_a_password,
            a_list_is_in_the_order_of_keys_and_in_pages,
            a_list_is_of_one_owner,
            a_list_leaves_out_what_has_ended,
            a_list_follows_a_change_of_owner,
            a_list_can_be_followed_by_time,
            a_scan_finds_all_that_is_there_all_the_time,
            a_scan_stays_in_its_space,
            of_many_that_take_one_gets_it,
            of_many_that_create_one_wins,
            of_many_that_replace_one_wins,
            counting_by_compare_and_swap_loses_nothing,
            what_was_dropped_in_the_middle_is_whole_or_not_there
        }
    };
    ($open:path: $($rule:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rule() {
            $crate::contract::$rule(&$open().await).await;
        }
    )+};
}
pub(crate) use suite;

impl Bench {
    /// `keep` is dropped after the test, such as the directory of a file.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        other: Arc<dyn Store>,
        clock: Arc<ManualClock>,
        keep: impl Any,
    ) -> Self {
        Self {
            store,
            other,
            clock,
            run: SystemRandom.token(12),
            _keep: Box::new(keep),
        }
    }

    fn key(&self, name: &str) -> Key {
        self.key_in(Space::Once, name)
    }

    fn key_in(&self, space: Space, name: &str) -> Key {
        Key::hashed(space, &format!("{} {name}", self.run))
    }

    fn owner(&self, name: &str) -> Owner {
        Owner::user(&format!("{} {name}", self.run))
    }

    /// That ends in an hour and belongs to nobody.
    fn value(&self, bytes: impl Into<Vec<u8>>) -> Value {
        Value {
            bytes: bytes.into(),
            owner: None,
            expires_at: self.clock.now().plus(3600),
        }
    }

    fn owned(&self, bytes: impl Into<Vec<u8>>, owner: &Owner) -> Value {
        Value {
            owner: Some(owner.clone()),
            ..self.value(bytes)
        }
    }

    async fn get(&self, key: &Key) -> Option<Entry> {
        self.store.get(key).await.unwrap()
    }

    async fn put(&self, key: &Key, value: Value, expect: Expect) -> Put {
        self.store.put(key, value, expect).await.unwrap()
    }

    /// Whatever is there.
    async fn set(&self, key: &Key, value: Value) -> Version {
        stored(&self.put(key, value, Expect::Any).await)
    }

    /// The texts of a whole list.
    async fn list(&self, owner: &Owner) -> Vec<String> {
        let entries = self.store.list(owner, None, 1000).await.unwrap();
        entries.iter().map(text).collect()
    }

    /// A list may lag behind: it has some seconds to become what it should be.
    async fn list_becomes(&self, owner: &Owner, wanted: &[&str]) {
        let mut wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        wanted.sort();
        let mut seen = Vec::new();
        for _ in 0..100 {
            seen = self.list(owner).await;
            seen.sort();
            if seen == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the list is {seen:?} and not {wanted:?}");
    }
}

fn stored(put: &Put) -> Version {
    match put {
        Put::Stored(version) => *version,
        Put::Conflict => panic!("a conflict"),
    }
}

fn text(entry: &Entry) -> String {
    String::from_utf8(entry.value.bytes.clone()).unwrap()
}

/// Runs `count` of them at once and gives what they gave.
async fn at_once<F>(count: usize, start: impl Fn(usize) -> F) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let running: Vec<_> = (0..count).map(|i| tokio::spawn(start(i))).collect();
    let mut all = Vec::new();
    for one in running {
        all.push(one.await.unwrap());
    }
    all
}
