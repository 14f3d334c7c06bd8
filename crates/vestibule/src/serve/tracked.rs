//! The body of a response on its way out, and when it is asked for more.
//!
//! A connection with HTTP/1 polls the body in its own task, and so its turns can be told apart: hyper asks a body that has
//! nothing once more in the same turn. That would go all the way to the socket of the upstream again, for nothing: what has
//! come since wakes the task for another turn.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use super::activity::InFlight;

pin_project! {
    /// A response body that keeps its request in flight until it ends or is dropped.
    pub(super) struct Tracked {
        #[pin]
        body: Body,
        in_flight: InFlight,
        // The turn in which it had nothing.
        waits_since: Option<u64>,
    }
}

impl Tracked {
    pub(super) fn new(body: Body, in_flight: InFlight) -> Self {
        Self {
            body,
            in_flight,
            waits_since: None,
        }
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.project();
        let activity = this.in_flight.activity();
        if activity.is_http2() {
            return this.body.poll_frame(cx);
        }
        let turn = activity.turn();
        if *this.waits_since == Some(turn) {
            return Poll::Pending;
        }
        let polled = this.body.poll_frame(cx);
        *this.waits_since = polled.is_pending().then_some(turn);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::{Wake, Waker};

    use futures_util::stream::poll_fn;
    use http_body::Body as _;

    use super::super::ServeLimits;
    use super::super::activity::Activity;
    use super::*;

    /// A body of what is put there, which counts how often it is asked, and its connection.
    struct Stream {
        put: Arc<Mutex<VecDeque<&'static str>>>,
        asked: Arc<AtomicUsize>,
        activity: Arc<Activity>,
        tracked: Tracked,
        woken: Arc<Woken>,
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Stream {
        fn new(http2: bool) -> Self {
            let activity = Activity::new(ServeLimits::generous(), http2);
            let put = Arc::<Mutex<VecDeque<&'static str>>>::default();
            let asked = Arc::<AtomicUsize>::default();
            let (from, counted) = (Arc::clone(&put), Arc::clone(&asked));
            let body = Body::from_stream(poll_fn(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                match from.lock().unwrap().pop_front() {
                    None => Poll::Pending,
                    Some("end") => Poll::Ready(None),
                    Some(text) => Poll::Ready(Some(Ok::<_, std::io::Error>(text))),
                }
            }));
            let tracked = Tracked::new(body, activity.request());
            Self {
                put,
                asked,
                activity,
                tracked,
                woken: Arc::default(),
            }
        }

        fn put(&self, text: &'static str) {
            self.put.lock().unwrap().push_back(text);
        }

        /// What comes out: a text, "end", or "nothing".
        fn poll(&mut self) -> String {
            let waker = Waker::from(Arc::clone(&self.woken));
            match Pin::new(&mut self.tracked).poll_frame(&mut Context::from_waker(&waker)) {
                Poll::Pending => "nothing".to_owned(),
                Poll::Ready(None) => "end".to_owned(),
                Poll::Ready(Some(frame)) => {
                    let data = frame.unwrap().into_data().unwrap();
                    String::from_utf8(data.to_vec()).unwrap()
                }
            }
        }

        fn asked(&self) -> usize {
            self.asked.swap(0, Ordering::SeqCst)
        }
    }

    #[test]
    fn a_body_that_has_nothing_is_asked_once_in_a_turn() {
        let mut stream = Stream::new(false);
        for _ in 0..2 {
            stream.activity.begin_turn();
            for _ in 0..3 {
                assert_eq!(stream.poll(), "nothing");
            }
            assert_eq!(stream.asked(), 1);
        }
    }

    #[test]
    fn what_has_come_is_passed_on_with_all_that_follows_it() {
        let mut stream = Stream::new(false);
        for texts in [&["with the head"][..], &["one", "two"], &["end"]] {
            for text in texts {
                stream.put(text);
            }
            stream.activity.begin_turn();
            for text in texts {
                assert_eq!(stream.poll(), *text);
            }
            if texts != ["end"] {
                assert_eq!(stream.poll(), "nothing");
            }
        }
    }

    /// The turns of the connection are not those of its requests.
    #[test]
    fn http2_passes_on_what_it_gets() {
        let mut stream = Stream::new(true);
        assert_eq!(stream.poll(), "nothing");
        stream.put("one");
        assert_eq!(stream.poll(), "one");
    }
}
