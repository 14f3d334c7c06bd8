//! An event stream on its way to the client: it ends with the token that opened it, and it may say that it is alive
//! (facts/mcp-authorization.md §2.1, §2.3 "token expiry mid-stream"; HTML Living Standard, server-sent events).

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{HeaderMap, HeaderName, Method, header};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep_until};
use vestibule_guard::Caller;
use vestibule_oauth::time::{Clock, UnixTime};

use super::credential::UpstreamTokens;
use super::{Proxy, Route, rewrite};
use crate::alarm::Alarm;

const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// A comment: clients read over it.
const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");
/// How long a stream that is over may take to complete the event it is in.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Seconds for which a stream outlives its token in any case. A client comes back at once, and one that still takes its
/// token for a good one, because its clock began later, may answer the 401 by opening the browser (the Python SDK).
const AFTER_EXPIRY: u64 = 10;
/// The clock of the tokens may be set while ours runs on; so it is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Whether a caller that was let in is still one to be let in; asked while a stream lives.
pub type Standing = Box<dyn Fn() -> bool + Send>;

/// What tells streams that their time is over. Houses that succeed each other share it.
#[derive(Clone, Debug)]
pub struct Ending {
    /// By which tokens expire.
    pub clock: Arc<dyn Clock>,
    /// Rings when somebody lost their standing.
    pub alarm: Arc<Alarm>,
}

/// True for a request whose answer only waits for news: a stream of a session (GET), or a subscription of 2026-07-28.
/// A client that gives a subscription another name in its header gains `answer_grace` and no more.
pub(super) fn is_listening(method: &Method, headers: &HeaderMap) -> bool {
    let named = headers.get(MCP_METHOD);
    method == Method::GET || named.is_some_and(|name| name == "subscriptions/listen")
}

/// The answer, watched over if it is an event stream.
pub(super) fn watch<T: UpstreamTokens>(
    proxy: &Proxy<T>,
    route: &Route,
    caller: &Caller<T::Extra>,
    listening: bool,
    answer: Response,
) -> Response {
    let rules = route.streams;
    let idle = !rules.end_with_token && rules.heartbeat.is_none();
    if idle || !rewrite::is_event_stream(answer.headers()) {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let encoded = rewrite::is_encoded(&parts.headers);
    // We may say more, or less.
    parts.headers.remove(header::CONTENT_LENGTH);
    let grace = if listening {
        0
    } else {
        rules.answer_grace.as_secs()
    };
    let mut until = rules.end_with_token.then(|| Until {
        ends_at: caller.expires_at().plus(grace.max(AFTER_EXPIRY)),
        standing: proxy.tokens.standing(caller),
        clock: Arc::clone(&proxy.ending.clock),
        path: route.path.as_str().into(),
        over: None,
    });
    // Listening begins before the first look at the standing, or a ring between the two would be lost.
    let heard = proxy.ending.alarm.rings();
    let rung = proxy.ending.alarm.listen();
    let now = Instant::now();
    if let Some(until) = &mut until {
        until.look(now);
    }
    let next = next_look(now, until.as_ref(), rules.heartbeat, now);
    let living = Living {
        body: Some(body),
        place: if encoded {
            Place::Unknown
        } else {
            Place::START
        },
        heartbeat: rules.heartbeat.filter(|_| !encoded),
        moved: now,
        until,
        alarm: Arc::clone(&proxy.ending.alarm),
        heard,
        timer: sleep_until(next),
        rung,
    };
    Response::from_parts(parts, Body::new(living))
}

pin_project! {
    struct Living {
        // `None` when the stream has ended: the upstream is let go at once.
        body: Option<Body>,
        place: Place,
        heartbeat: Option<Duration>,
        // When something passed last.
        moved: Instant,
        until: Option<Until>,
        alarm: Arc<Alarm>,
        // How often the alarm had rung when we last looked.
        heard: u64,
        #[pin]
        timer: Sleep,
        #[pin]
        rung: OwnedNotified,
    }
}

/// How long the stream may live.
struct Until {
    ends_at: UnixTime,
    standing: Standing,
    clock: Arc<dyn Clock>,
    path: Box<str>,
    /// Until when it may complete an event, once it is over.
    over: Option<Instant>,
}

impl Until {
    fn look(&mut self, now: Instant) {
        if self.over.is_some() {
            return;
        }
        if !(self.standing)() {
            tracing::info!(event = "stream.ended", path = %self.path, reason = "token_revoked", "an event stream was ended");
        } else if self.left().is_zero() {
            tracing::debug!(event = "stream.ended", path = %self.path, reason = "token_expired", "an event stream was ended");
        } else {
            return;
        }
        self.over = Some(now + LAST_WORDS);
    }

    fn left(&self) -> Duration {
        Duration::from_secs(self.ends_at.0.saturating_sub(self.clock.now().0))
    }
}

impl http_body::Body for Living {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut this = self.project();
        loop {
            let rings = this.alarm.rings();
            if rings != *this.heard {
                *this.heard = rings;
                if let Some(until) = this.until {
                    until.look(Instant::now());
                    if let Some(last) = until.over {
                        this.timer.as_mut().reset(last);
                    }
                }
            }
            let fired = this.timer.as_mut().poll(context).is_ready();
            let now = fired.then(Instant::now);
            let mut beat = false;
            if let Some(now) = now {
                if let Some(until) = this.until {
                    until.look(now);
                }
                beat = this
                    .heartbeat
                    .is_some_and(|after| now >= *this.moved + after);
                if beat {
                    *this.moved = now;
                }
                let next = next_look(now, this.until.as_ref(), *this.heartbeat, *this.moved);
                this.timer.as_mut().reset(next);
            }
            let over = this.until.as_ref().and_then(|until| until.over);
            if let Some(last) = over
                && (this.place.is_between_events() || now.is_some_and(|now| now >= last))
            {
                *this.body = None;
            }
            let Some(body) = this.body.as_mut() else {
                return Poll::Ready(None);
            };
            match Pin::new(body).poll_frame(context) {
                Poll::Ready(Some(Ok(mut frame))) => {
                    if this.heartbeat.is_some() {
                        *this.moved = Instant::now();
                    }
                    if let Some(data) = frame.data_mut() {
                        if over.is_none() {
                            this.place.pass(data);
                        } else if let Some(end) = this.place.pass_to_end_of_event(data) {
                            data.truncate(end);
                            *this.body = None;
                        }
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => {
                    *this.body = None;
                    return Poll::Ready(None);
                }
                Poll::Pending => {}
            }
            if beat && this.place.is_between_events() {
                return Poll::Ready(Some(Ok(Frame::data(HEARTBEAT))));
            }
            // Listening takes a lock that all streams share, so it is for those that have nothing else to do.
            let mut rung = false;
            while this.until.is_some() && this.rung.as_mut().poll(context).is_ready() {
                this.rung.set(this.alarm.listen());
                rung = true;
            }
            if !fired && !rung {
                return Poll::Pending;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// When to look next.
fn next_look(
    now: Instant,
    until: Option<&Until>,
    heartbeat: Option<Duration>,
    moved: Instant,
) -> Instant {
    let mut next = now + LOOK_AGAIN;
    if let Some(until) = until {
        let end = until
            .over
            .unwrap_or_else(|| now + until.left().min(LOOK_AGAIN));
        next = next.min(end);
    }
    if let Some(after) = heartbeat {
        next = next.min(moved + after);
    }
    // Never in a circle: a clock that stands still is asked once a second.
    if next <= now {
        now + Duration::from_secs(1)
    } else {
        next
    }
}

/// Where in the stream we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The last bytes that passed; zero before the first. Enough to see a blank line, however lines end.
    After([u8; 3]),
    /// Compressed: nobody can tell.
    Unknown,
}

impl Place {
    const START: Self = Self::After([0; 3]);

    fn pass(&mut self, data: &[u8]) {
        if let Self::After(tail) = self {
            for &byte in data.get(data.len().saturating_sub(3)..).unwrap_or_default() {
                *tail = [tail[1], tail[2], byte];
            }
        }
    }

    /// Gives the length of `data` up to the end of the event that it begins in, if that is in it.
    fn pass_to_end_of_event(&mut self, data: &[u8]) -> Option<usize> {
        for (index, byte) in data.iter().enumerate() {
            self.pass(std::slice::from_ref(byte));
            if self.is_between_events() {
                return Some(index + 1);
            }
        }
        None
    }

    /// True at the start and behind a blank line.
    fn is_between_events(self) -> bool {
        let is_end = |byte| matches!(byte, b'\n' | b'\r');
        match self {
            Self::Unknown | Self::START => true,
            Self::After([before, b'\r', b'\n']) => is_end(before),
            Self::After([_, before, last]) => is_end(before) && is_end(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_end_with_a_blank_line_however_lines_end() {
        let between = |text: &str| {
            let mut place = Place::START;
            place.pass(text.as_bytes());
            place.is_between_events()
        };
        for text in [
            "",
            "data: a\n\n",
            "data: a\r\n\r\n",
            "data: a\r\r",
            "data: a\n\r\n",
            "data: a\r\n\n",
        ] {
            assert!(between(text), "{text:?}");
        }
        for text in [
            "d",
            "data: a\n",
            "data: a\r\n",
            "data: a\r",
            "data: a\n\ndata",
        ] {
            assert!(!between(text), "{text:?}");
        }
        assert!(Place::Unknown.is_between_events());
    }

    proptest! {
        /// However the network cuts the stream, we know where we are, and an event is completed and nothing more.
        #[test]
        fn chunks_do_not_matter(text in "[a\n\r]{0,12}", cut in 0_usize..12) {
            let bytes = text.as_bytes();
            let (one, other) = bytes.split_at(cut.min(bytes.len()));
            let (mut whole, mut parts) = (Place::START, Place::START);
            whole.pass(bytes);
            parts.pass(one);
            parts.pass(other);
            prop_assert_eq!(whole, parts);
            let mut place = Place::START;
            let end = place.pass_to_end_of_event(bytes);
            if let Some(end) = end {
                let (mut before, mut at) = (Place::START, Place::START);
                before.pass(&bytes[..end - 1]);
                at.pass(&bytes[..end]);
                prop_assert!(at.is_between_events() && (end == 1 || !before.is_between_events()));
            }
        }
    }
}
