//! The body of a request that is answered before all of it has come.
//!
//! hyper closes such a connection of HTTP/1 as soon as the answer is out. Who is still sending finds it closed, and a proxy
//! in front of us that sends head and body apart (those written in Go do) tells its client 502 instead of our answer. So what
//! is small and on its way is let arrive first, whatever the answer is and whoever gives it.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake as _, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::header::EXPECT;
use http_body::{Body as _, SizeHint};
use hyper::body::Incoming;
use tokio::time::timeout;
use vestibule_guard::driver::{self, Driver, Polled};

/// So many bytes are waited for, …
const SMALL: u64 = 64 << 10;
/// … for so long.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Where the body of a connection's present request is left by who does not read all of it.
#[derive(Debug)]
pub(super) struct Unread {
    body: Mutex<Option<Incoming>>,
    driver: Arc<Driver>,
}

impl Unread {
    /// Nothing yet, on a connection with this driver.
    pub(super) fn new(driver: Arc<Driver>) -> Self {
        Self {
            body: Mutex::default(),
            driver,
        }
    }

    /// The next frame of a body of this connection. Its driver has no turn for the last one: that costs 1,300 instructions of
    /// the 21,000 that a refusal takes.
    fn take(&self, body: &mut Incoming, cx: &mut Context<'_>) -> Polled {
        let (polled, again) = driver::take(body, cx);
        if again && !body.is_end_stream() {
            self.driver.wake_by_ref();
        }
        polled
    }

    /// The request, whose body comes back here if it is dropped too early.
    pub(super) fn watch(self: &Arc<Self>, request: hyper::Request<Incoming>) -> Request {
        // Who asks first whether to send it is told by the answer that it need not.
        let waits = request.headers().contains_key(EXPECT);
        request.map(|body| {
            if body.is_end_stream() {
                return Body::empty();
            }
            if waits || body.size_hint().lower() > SMALL {
                return Body::new(body);
            }
            Body::new(Arriving {
                body: Some(body),
                unread: Arc::clone(self),
            })
        })
    }

    /// Waits until what is left of a small body has come.
    pub(super) async fn arrive(&self) {
        let Some(mut body) = self.lock().take() else {
            return;
        };
        let arriving = async {
            let mut left = SMALL;
            while !body.is_end_stream()
                && let Some(Ok(frame)) = poll_fn(|cx| self.take(&mut body, cx)).await
            {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(less) = left.checked_sub(length) else {
                    return;
                };
                left = less;
            }
        };
        let mut arriving = pin!(arriving);
        // Mostly it is here, and no clock is asked.
        let here = poll_fn(|cx| Poll::Ready(arriving.as_mut().poll(cx).is_ready()));
        if !here.await {
            let _ = timeout(ON_ITS_WAY, arriving).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Incoming>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that is given back if it is dropped before its end.
struct Arriving {
    /// `None` after the end.
    body: Option<Incoming>,
    unread: Arc<Unread>,
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(this.unread.take(body, cx));
        if !matches!(frame, Some(Ok(_))) {
            this.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let ended = SizeHint::with_exact(0);
        self.body.as_ref().map_or(ended, Incoming::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        if unread.is_some() {
            *self.unread.lock() = unread;
        }
    }
}
