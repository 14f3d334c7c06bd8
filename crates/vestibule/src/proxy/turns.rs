//! Which of the tasks that are ready goes first.

use std::future::poll_fn;
use std::task::Poll;

/// Lets every task that is ready have its turn before this one goes on.
///
/// The task goes to the end of the scheduler's queue. After `tokio::task::yield_now` what has come meanwhile would go first as
/// well.
pub(super) async fn let_others_go_first() {
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
