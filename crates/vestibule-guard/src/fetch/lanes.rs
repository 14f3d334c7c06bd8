//! HTTP/2 to one server over as many connections as its streams need (RFC 9113 §5.1.2).
//!
//! The client library keeps one connection per host. A server that allows a hundred streams on it, all of them listening,
//! would let the next request wait for ever; so requests beyond a hundred take another connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Streams at once on one connection: no server should allow fewer (RFC 9113 §6.5.2).
const STREAMS: usize = 100;

/// Clients of one connection each.
pub(super) struct Lanes<C> {
    make: Box<dyn Fn() -> C + Send + Sync>,
    lanes: Mutex<Vec<(C, Busy)>>,
}

impl<C: Clone> Lanes<C> {
    pub(super) fn new(make: impl Fn() -> C + Send + Sync + 'static) -> Self {
        Self {
            make: Box::new(make),
            lanes: Mutex::default(),
        }
    }

    /// A client with room for one more exchange, which lasts until the second value is dropped.
    pub(super) fn take(&self) -> (C, Busy) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        // The first ones fill up first, so that the last ones fall idle and are closed.
        let free = lanes.iter().find(|(_, busy)| busy.count() < STREAMS);
        if let Some((client, busy)) = free {
            return (client.clone(), busy.one_more());
        }
        let (client, busy) = ((self.make)(), Busy::default());
        let taken = (client.clone(), busy.one_more());
        lanes.push((client, busy));
        taken
    }
}

/// Counts the exchanges of one lane: each holds a clone.
#[derive(Debug, Default)]
pub(super) struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn one_more(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // The lane's own value was never counted and goes with the lane.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_is_left_and_taken_again_when_there_is_room() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let lanes = Lanes::new(move || counter.fetch_add(1, Ordering::Relaxed));
        let mut open: Vec<_> = (0..STREAMS).map(|_| lanes.take()).collect();
        assert!(open.iter().all(|(lane, _)| *lane == 0));
        let over = lanes.take();
        assert_eq!(over.0, 1);
        drop(open.pop());
        assert_eq!(lanes.take().0, 0);
        drop(over);
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }
}
