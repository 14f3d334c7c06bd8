//! The two bodies of an exchange: what goes out, and what comes back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::connect::BoxError;
use super::lanes::Busy;
use super::pool::Answer;

/// One body type for one client, hence one pool.
pub(super) struct OutgoingBody {
    kind: Outgoing,
    /// Becomes true when nothing more of it will be sent.
    over: Option<Arc<AtomicBool>>,
}

enum Outgoing {
    Full(Full<Bytes>),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl OutgoingBody {
    pub(super) fn full(body: Full<Bytes>) -> Self {
        Self {
            kind: Outgoing::Full(body),
            over: None,
        }
    }

    pub(super) fn stream<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self {
            kind: Outgoing::Stream(body.map_err(Into::into).boxed_unsync()),
            over: None,
        }
    }

    /// Says there when it is over.
    pub(super) fn tell(&mut self, over: Arc<AtomicBool>) {
        self.over = Some(over);
    }
}

impl Drop for OutgoingBody {
    fn drop(&mut self) {
        if let Some(over) = &self.over {
            over.store(true, Ordering::Relaxed);
        }
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().kind {
            Outgoing::Full(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(|never| match never {}),
            Outgoing::Stream(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Outgoing::Full(body) => body.is_end_stream(),
            Outgoing::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Outgoing::Full(body) => body.size_hint(),
            Outgoing::Stream(body) => body.size_hint(),
        }
    }
}

/// The body of an answer as it comes. Dropping it ends the exchange: an HTTP/1.1 connection is closed, an HTTP/2 stream is
/// reset.
#[derive(Debug)]
pub struct Streaming(Kind);

#[derive(Debug)]
enum Kind {
    Http1(Answer),
    Http2 {
        body: Incoming,
        #[expect(dead_code, reason = "it counts until it is dropped")]
        busy: Busy,
    },
}

impl Streaming {
    pub(super) fn http1(body: Answer) -> Self {
        Self(Kind::Http1(body))
    }

    pub(super) fn http2(body: Incoming, busy: Busy) -> Self {
        Self(Kind::Http2 { body, busy })
    }
}

impl Body for Streaming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().0 {
            Kind::Http1(body) => Pin::new(body).poll_frame(context),
            Kind::Http2 { body, .. } => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Http1(body) => body.is_end_stream(),
            Kind::Http2 { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Http1(body) => body.size_hint(),
            Kind::Http2 { body, .. } => body.size_hint(),
        }
    }
}
