//! `Alarm`: rings when a grant was withdrawn or somebody was shut out, so that streams which are open ask whether it was theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// What is withdrawn within this time rings once: whoever ends their own grants one after the other does not keep every
/// stream busy.
const TOGETHER: Duration = Duration::from_millis(500);

/// One bell for all streams of a process.
#[derive(Debug, Default)]
pub struct Alarm {
    bell: Arc<Notify>,
    pulled: AtomicBool,
    rings: AtomicU64,
}

impl Alarm {
    /// Rings in half a second. To be called on a Tokio runtime.
    pub fn ring(self: &Arc<Self>) {
        if self.pulled.swap(true, Ordering::AcqRel) {
            return;
        }
        let alarm = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(TOGETHER).await;
            // Taken back first: what is withdrawn while the bell rings rings again.
            alarm.pulled.store(false, Ordering::Release);
            alarm.rings.fetch_add(1, Ordering::AcqRel);
            alarm.bell.notify_waiters();
        });
    }

    /// How often it rang: cheaper to ask than to listen, for who is awake.
    pub(crate) fn rings(&self) -> u64 {
        self.rings.load(Ordering::Acquire)
    }

    /// Ends at the next ring after this call, polled or not.
    pub(crate) fn listen(&self) -> OwnedNotified {
        Arc::clone(&self.bell).notified_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_pulls_ring_once_and_a_later_one_again() {
        let alarm = Arc::new(Alarm::default());
        for _ in 0..2 {
            let first = alarm.listen();
            alarm.ring();
            alarm.ring();
            let before = alarm.rings();
            first.await;
            assert_eq!(alarm.rings(), before + 1);
            let second = alarm.listen();
            let silence = tokio::time::timeout(Duration::from_secs(60), second).await;
            assert!(silence.is_err());
        }
    }
}
