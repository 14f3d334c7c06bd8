//! Who drives a connection of hyper's, and is not woken for what it does itself.
//!
//! Whenever something is taken out of a body, hyper (1.12) wakes the task that drives the connection the body comes from, so
//! that more is read. Here that is mostly the task that takes it, which is awake: each request would have two turns of its
//! task for nothing, and each event of a stream one.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;

/// What a body gives.
pub type Polled = Poll<Option<Result<Frame<Bytes>, hyper::Error>>>;

/// Wakes whoever drives a connection, as the waker that the connection is polled with.
#[derive(Debug, Default)]
pub struct Driver(AtomicWaker);

thread_local! {
    /// While this thread takes something out of a body: whether hyper would have woken the driver for it.
    static TAKING: Cell<Option<bool>> = const { Cell::new(None) };
}

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Another thread may bring word of the socket meanwhile, and is heard.
        if TAKING.get().is_some() {
            TAKING.set(Some(true));
        } else {
            self.0.wake();
        }
    }
}

impl Driver {
    /// The task that drives the connection from now on. To be said each time before the connection is polled.
    pub fn register(&self, cx: &Context<'_>) {
        self.0.register(cx.waker());
    }
}

/// Takes what has come out of a body, and wakes no [`Driver`] for it. True with it when the connection is to be polled again:
/// by who takes, before it waits, or by waking the driver, unless the body has ended.
pub fn take(body: &mut Incoming, cx: &mut Context<'_>) -> (Polled, bool) {
    /// Also when hyper panics.
    struct Taken;
    impl Drop for Taken {
        fn drop(&mut self) {
            TAKING.set(None);
        }
    }
    TAKING.set(Some(false));
    let _taken = Taken;
    let polled = Pin::new(body).poll_frame(cx);
    (polled, TAKING.get() == Some(true))
}
