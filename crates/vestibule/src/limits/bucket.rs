//! Token buckets in a fixed amount of memory: the generic cell rate algorithm over a small table of atomics.
//!
//! A key owns two cells, picked by a keyed digest; a request is refused only when both are empty. So nothing is ever
//! evicted or swept, a stranger who invents keys cannot make the table grow, and to empty a given other key's cells he
//! would have to know the digest's key. (The `governor` crate has neither a capacity nor our clock: its keyed store grows
//! with every new key until it is swept.)

use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip128::{Hasher128 as _, SipHasher13};
use vestibule_oauth::time::UnixTime;

use crate::settings::Rate;

/// Cells in each of the two rows: 128 KiB for a table.
const ROW: usize = 1 << 13;

/// One rate for many keys. A clone counts in the same cells.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    seed: [u8; 16],
    /// Microseconds that one request takes out of a bucket.
    cost: u64,
    /// Microseconds that a full bucket holds.
    capacity: u64,
    cells: Arc<Cells>,
}

/// The cells of a table, made when the first request is counted: most tables of most servers count nothing.
#[derive(Debug)]
struct Cells {
    row: usize,
    /// When the bucket will be full again, in microseconds since 1970. Two rows, one after the other.
    table: std::sync::OnceLock<Box<[AtomicU64]>>,
}

impl Cells {
    fn rows(&self) -> (&[AtomicU64], &[AtomicU64]) {
        let make = || (0..self.row * 2).map(|_| AtomicU64::new(0)).collect();
        self.table.get_or_init(make).split_at(self.row)
    }
}

impl Buckets {
    /// A bucket for each key.
    pub(super) fn keyed(rate: Rate, seed: [u8; 16]) -> Self {
        Self::new(rate, seed, ROW)
    }

    /// One bucket for everybody.
    pub(super) fn single(rate: Rate) -> Self {
        Self::new(rate, [0; 16], 1)
    }

    /// The same buckets, as full as they are, at another rate. A bucket that lacks more than the new one holds begins
    /// anew: see `take_from`.
    pub(super) fn at(&self, rate: Rate) -> Self {
        let (capacity, cost) = capacity_and_cost(rate);
        Self {
            seed: self.seed,
            cost,
            capacity,
            cells: Arc::clone(&self.cells),
        }
    }

    fn new(rate: Rate, seed: [u8; 16], row: usize) -> Self {
        let (capacity, cost) = capacity_and_cost(rate);
        Self {
            seed,
            cost,
            capacity,
            cells: Arc::new(Cells {
                row,
                table: std::sync::OnceLock::new(),
            }),
        }
    }

    /// Takes one request out of the bucket of `key`, or says after how many seconds there is one.
    pub(super) fn take(&self, key: &[&[u8]], now: UnixTime) -> Result<(), u64> {
        let now = now.0.saturating_mul(1_000_000);
        let [first, second] = self.cells_of(key);
        let first = self.take_from(first, now);
        let second = self.take_from(second, now);
        match (first, second) {
            (Err(one), Err(other)) => Err(one.min(other).div_ceil(1_000_000).max(1)),
            _ => Ok(()),
        }
    }

    fn take_from(&self, cell: Option<&AtomicU64>, now: u64) -> Result<(), u64> {
        let Some(cell) = cell else {
            return Ok(());
        };
        let mut wait = 0;
        let taken = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            // Further ahead than a bucket can be means that the clock was set back: it begins anew, or its owner would
            // be locked out for as long as the clock was ahead.
            let possible = now..=now.saturating_add(self.capacity);
            let full_at = if possible.contains(&full_at) {
                full_at
            } else {
                now
            };
            let after = full_at.saturating_add(self.cost);
            wait = after.saturating_sub(now.saturating_add(self.capacity));
            (wait == 0).then_some(after)
        });
        taken.map(|_| ()).map_err(|_| wait)
    }

    fn cells_of(&self, key: &[&[u8]]) -> [Option<&AtomicU64>; 2] {
        let (first, second) = self.cells.rows();
        if first.len() == 1 {
            return [first.first(), second.first()];
        }
        let mut digest = SipHasher13::new_with_key(&self.seed);
        for part in key {
            digest.write(&part.len().to_be_bytes());
            digest.write(part);
        }
        let digest = digest.finish128();
        let index = |half: u64| usize::try_from(half % first.len() as u64).unwrap_or_default();
        [first.get(index(digest.h1)), second.get(index(digest.h2))]
    }
}

/// Both in microseconds.
fn capacity_and_cost(rate: Rate) -> (u64, u64) {
    let capacity = u64::try_from(rate.period().as_micros())
        .unwrap_or(u64::MAX / 4)
        .max(1);
    (capacity, (capacity / u64::from(rate.requests())).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(rate: &str) -> Buckets {
        Buckets::keyed(Rate::parse(rate).unwrap(), [7; 16])
    }

    fn taken(buckets: &Buckets, key: &str, now: UnixTime, tries: usize) -> usize {
        (0..tries)
            .filter(|_| buckets.take(&[key.as_bytes()], now).is_ok())
            .count()
    }

    #[test]
    fn a_bucket_holds_its_number_and_refills_over_its_period() {
        let buckets = buckets("60/1m");
        let start = UnixTime(1_000_000);
        assert_eq!(taken(&buckets, "a", start, 100), 60);
        assert_eq!(buckets.take(&[b"a"], start), Err(1));
        assert_eq!(taken(&buckets, "a", start.plus(1), 100), 1);
        assert_eq!(taken(&buckets, "a", start.plus(11), 100), 10);
        assert_eq!(taken(&buckets, "a", start.plus(3600), 100), 60);
    }

    #[test]
    fn the_wait_is_the_time_until_the_next_one() {
        let buckets = buckets("2/10m");
        let start = UnixTime(1_000_000);
        assert_eq!(taken(&buckets, "a", start, 3), 2);
        assert_eq!(buckets.take(&[b"a"], start), Err(300));
        assert_eq!(buckets.take(&[b"a"], start.plus(299)), Err(1));
        assert_eq!(buckets.take(&[b"a"], start.plus(300)), Ok(()));
    }

    #[test]
    fn keys_do_not_share_and_parts_of_a_key_do_not_run_together() {
        let buckets = buckets("1/1m");
        let now = UnixTime(1_000_000);
        for key in [[&b"ab"[..], b"c"], [b"a", b"bc"], [b"", b"abc"]] {
            assert_eq!(buckets.take(&key, now), Ok(()), "{key:?}");
            assert!(buckets.take(&key, now).is_err(), "{key:?}");
        }
    }

    #[test]
    fn a_flood_of_invented_keys_neither_grows_the_table_nor_empties_another_ones_bucket() {
        let buckets = buckets("10/1m");
        let now = UnixTime(1_000_000);
        let size = |buckets: &Buckets| buckets.cells.rows().0.len();
        let before = size(&buckets);
        // An attacker with 500 networks, each of them at its limit.
        for network in 0_u32..500 {
            for _ in 0..20 {
                let _ = buckets.take(&[&network.to_be_bytes()], now);
            }
        }
        assert_eq!(size(&buckets), before);
        let bystanders = (1_000_u32..2_000)
            .filter(|key| buckets.take(&[&key.to_be_bytes()], now).is_err())
            .count();
        assert!(bystanders <= 15, "{bystanders} of 1000 were refused");
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let buckets = buckets("10/1m");
        let start = UnixTime(1_000_000);
        assert_eq!(taken(&buckets, "a", start, 20), 10);
        let earlier = start.minus(86_400);
        assert_eq!(taken(&buckets, "a", earlier, 20), 10);
    }
}
