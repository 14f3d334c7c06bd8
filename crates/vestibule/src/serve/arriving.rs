//! The body of a request that is answered before all of it has come.
//!
//! hyper closes such a connection of HTTP/1 as soon as the answer is out. Who is still sending finds it closed, and a proxy
//! in front of us that sends head and body apart (those written in Go do) tells its client 502 instead of our answer. So what
//! is small and on its way is let arrive first, whatever the answer is and whoever gives it.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::header::EXPECT;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::activity::Activity;

/// So many bytes are waited for, …
const SMALL: u64 = 64 << 10;
/// … for so long.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Where the body of a connection's present request is left by who does not read all of it.
#[derive(Debug)]
pub(super) struct Unread {
    body: Mutex<Option<Incoming>>,
    activity: Arc<Activity>,
}

impl Unread {
    /// Nothing yet, on a connection that is doing this.
    pub(super) fn new(activity: Arc<Activity>) -> Self {
        Self {
            body: Mutex::default(),
            activity,
        }
    }

    /// The next frame of a body of this connection.
    fn frame_of(
        &self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.activity.take(body, |body| body.poll_frame(cx))
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
                && let Some(Ok(frame)) = poll_fn(|cx| self.frame_of(&mut body, cx)).await
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

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(this.unread.frame_of(body, cx));
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
