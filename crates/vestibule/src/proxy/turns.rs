//! Which of the tasks that are ready goes first.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant as StdInstant};

use tokio::time::Instant;

/// A token that is remembered or sealed has been checked sooner (some 4 µs), a signature has not (RSA, the quickest: 15 µs;
/// W1d of docs/performance.md). On a machine five times slower every request yields, which costs a twentieth of it.
const LONG_CHECK: Duration = Duration::from_micros(10);

/// Lets the others be checked as well when the check took long, so that all of them are sent together. While we check, the
/// upstream has nothing to do and sleeps, and to wake it for each request apart costs a fifth of our time. Gives the moment
/// after.
pub(super) async fn let_others_catch_up(arrived: StdInstant) -> Instant {
    let now = Instant::now();
    if now.into_std().duration_since(arrived) <= LONG_CHECK {
        return now;
    }
    let_others_go_first().await;
    Instant::now()
}

/// Lets every task that is ready have its turn before this one goes on.
///
/// The task goes to the end of the scheduler's queue. After `tokio::task::yield_now` what has come meanwhile would go first as
/// well.
async fn let_others_go_first() {
    let mut gone = false;
    poll_fn(|cx| {
        if gone {
            return Poll::Ready(());
        }
        gone = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[tokio::test]
    async fn all_that_are_ready_have_their_turn_before() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let work = |name: &'static str, is_long: bool| {
            let order = Rc::clone(&order);
            async move {
                order.borrow_mut().push(name);
                if is_long {
                    let_others_go_first().await;
                    order.borrow_mut().push("and on");
                }
            }
        };
        LocalSet::new()
            .run_until(async {
                let tasks = [work("long", true), work("a", false), work("b", false)];
                for task in tasks.map(spawn_local) {
                    task.await.unwrap();
                }
            })
            .await;
        assert_eq!(*order.borrow(), ["long", "a", "b", "and on"]);
    }
}
