//! How often strangers can make this server fetch: one allowance for all, one for each host (SEP-991 "rate limit").

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use vestibule_oauth::time::UnixTime;

/// Requests at once and per minute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) per_minute: u32,
}

/// For all hosts together.
const ALL: Rate = Rate {
    burst: 60,
    per_minute: 120,
};
/// For one host. Hosts with a document per installation (chatgpt.com) need more than one.
const EACH: Rate = Rate {
    burst: 20,
    per_minute: 30,
};
/// Hosts remembered. When it is full, those with their whole allowance go; if none has, a new host waits.
const MAX_HOSTS: usize = 1024;

/// Sixtieths of a request, so that a per-minute rate adds whole numbers each second.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    sixtieths: u64,
    at: UnixTime,
}

impl Bucket {
    fn full(rate: Rate, now: UnixTime) -> Self {
        Self {
            sixtieths: u64::from(rate.burst) * 60,
            at: now,
        }
    }

    fn refill(&mut self, rate: Rate, now: UnixTime) {
        let gained = now
            .since(self.at)
            .saturating_mul(u64::from(rate.per_minute));
        let most = u64::from(rate.burst) * 60;
        self.sixtieths = self.sixtieths.saturating_add(gained).min(most);
        self.at = self.at.max(now);
    }

    fn is_full(&self, rate: Rate) -> bool {
        self.sixtieths == u64::from(rate.burst) * 60
    }
}

/// The allowances.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    all: Option<Bucket>,
    hosts: HashMap<String, Bucket>,
}

impl Throttle {
    /// Takes one request to `host`; false when there is none left.
    pub(super) fn take(&self, host: &str, now: UnixTime) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { all, hosts } = &mut *buckets;
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(host) {
            hosts.retain(|_, bucket| {
                bucket.refill(EACH, now);
                !bucket.is_full(EACH)
            });
            if hosts.len() >= MAX_HOSTS {
                return false;
            }
        }
        let all = all.get_or_insert_with(|| Bucket::full(ALL, now));
        all.refill(ALL, now);
        let host = hosts
            .entry(host.to_owned())
            .or_insert_with(|| Bucket::full(EACH, now));
        host.refill(EACH, now);
        if all.sixtieths < 60 || host.sixtieths < 60 {
            return false;
        }
        all.sixtieths -= 60;
        host.sixtieths -= 60;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_000);

    fn taken(throttle: &Throttle, host: &str, now: UnixTime) -> usize {
        (0..1000).take_while(|_| throttle.take(host, now)).count()
    }

    #[test]
    fn one_host_cannot_use_what_belongs_to_all() {
        let throttle = Throttle::default();
        assert_eq!(taken(&throttle, "evil.example", NOW), 20);
        assert!(throttle.take("good.example", NOW));
        assert_eq!(taken(&throttle, "evil.example", NOW.plus(60)), 20);
        assert_eq!(taken(&throttle, "evil.example", NOW.plus(62)), 1);
    }

    #[test]
    fn many_hosts_cannot_use_more_than_the_common_allowance() {
        let throttle = Throttle::default();
        let hosts = (0..200).filter(|n| throttle.take(&format!("h{n}.example"), NOW));
        assert_eq!(hosts.count(), 60);
        assert!(throttle.take("h0.example", NOW.plus(1)));
    }

    #[test]
    fn memory_is_bounded_by_hosts_that_are_at_rest() {
        let throttle = Throttle::default();
        for n in 0..3000_u64 {
            assert!(throttle.take(&format!("h{n}.example"), NOW.plus(n)));
        }
        assert!(throttle.0.lock().unwrap().hosts.len() <= MAX_HOSTS);
    }
}
