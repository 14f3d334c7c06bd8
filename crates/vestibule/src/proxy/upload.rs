//! The request body on its way up: streamed, counted against a limit, and watched for silence.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes};
use http_body::{Body as _, Frame, SizeHint};
use thiserror::Error;
use tokio::time::Instant;

/// The body was longer than allowed.
#[derive(Debug, Error)]
#[error("the request body is longer than allowed")]
struct TooLong;

/// What is known about a body that somebody else is reading.
pub(super) struct Progress {
    /// When the head of its request came.
    started: Instant,
    /// Milliseconds after `started` at which the body last moved.
    moved: AtomicU64,
    too_long: AtomicBool,
}

impl Progress {
    /// True when the body ran over its limit.
    pub(super) fn is_too_long(&self) -> bool {
        self.too_long.load(Ordering::Relaxed)
    }

    /// Returns when the body has not moved for `limit`, counted from `now` at the earliest. A large upload over a slow line
    /// is not a silent upstream.
    pub(super) async fn silence(&self, now: Instant, limit: Duration) {
        let mut until = now + limit;
        loop {
            tokio::time::sleep_until(until).await;
            let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
            let later = self.started + moved + limit;
            if later <= until {
                return;
            }
            until = later;
        }
    }

    fn note(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }
}

/// A body with a limit.
pub(super) struct Upload {
    body: Body,
    left: usize,
    progress: Arc<Progress>,
    /// Whether it was asked for before. The first time is the beginning of the exchange, which is noted already.
    begun: bool,
}

impl Upload {
    /// Wraps `body`, whose head came at `arrived`; `None` when it announces more than `limit` bytes.
    pub(super) fn new(body: Body, limit: usize, arrived: Instant) -> Option<(Self, Arc<Progress>)> {
        if body.size_hint().lower() > limit as u64 {
            return None;
        }
        let progress = Arc::new(Progress {
            started: arrived,
            moved: AtomicU64::new(0),
            too_long: AtomicBool::new(false),
        });
        let upload = Self {
            body,
            left: limit,
            progress: Arc::clone(&progress),
            begun: false,
        };
        Some((upload, progress))
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // Being asked for more is a sign of life of the upstream, and what came one of the client.
        if self.begun {
            self.progress.note();
        }
        self.begun = true;
        let Some(frame) = std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            let Some(left) = self.left.checked_sub(data.len()) else {
                self.progress.too_long.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(TooLong.into())));
            };
            self.left = left;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
