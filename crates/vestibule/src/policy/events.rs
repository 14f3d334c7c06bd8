//! An event stream that passes event by event: the ones of interest are looked at whole, the others stay as they came
//! (HTML Living Standard, server-sent events).

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::{Body, Bytes};
use bytes::{Buf as _, BytesMut};
use http_body::Frame;
use thiserror::Error;

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It passes, byte for byte.
    Keep,
    /// It passes with other data, on one line.
    Replace(String),
    /// It does not pass.
    Drop,
}

/// An event was longer than may be kept in memory.
#[derive(Debug, Error)]
#[error("an event of the upstream is longer than {0} bytes")]
struct TooLong(usize);

/// A body made of events, each judged by its data. No more than one event is held back.
pub(crate) struct Events<J> {
    body: Body,
    splitter: Splitter,
    judge: J,
    limit: usize,
    /// Sent in the place of an event that is too long.
    failure: String,
    ready: VecDeque<Bytes>,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    /// Too long: the rest of the upstream is not read.
    Failed,
    Ended,
}

impl<J: FnMut(&str) -> Verdict> Events<J> {
    /// Judges the events of `body`.
    pub(crate) fn new(body: Body, limit: usize, failure: String, judge: J) -> Self {
        Self {
            body,
            splitter: Splitter::default(),
            judge,
            limit,
            failure,
            ready: VecDeque::new(),
            state: State::Open,
        }
    }

    fn take(&mut self, data: &[u8]) {
        self.splitter.push(data);
        while let Some(event) = self.splitter.next_event() {
            if event.len() > self.limit {
                return self.fail();
            }
            self.pass(event);
        }
        if self.splitter.held() > self.limit {
            self.fail();
        }
    }

    fn fail(&mut self) {
        tracing::warn!(
            reason = "list_too_long",
            limit = self.limit,
            "an event of the upstream is too long"
        );
        let event = format!("data: {}\n\n", self.failure);
        self.ready.push_back(Bytes::from(event));
        self.state = State::Failed;
    }

    fn pass(&mut self, event: Bytes) {
        let judged = match std::str::from_utf8(&event) {
            Ok(text) => match data_of(text) {
                None => Verdict::Keep,
                Some(data) => match (self.judge)(&data) {
                    Verdict::Replace(data) => Verdict::Replace(replaced(text, &data)),
                    other => other,
                },
            },
            Err(_) => Verdict::Drop,
        };
        match judged {
            Verdict::Keep => self.ready.push_back(event),
            Verdict::Replace(text) => self.ready.push_back(Bytes::from(text)),
            Verdict::Drop => {}
        }
    }
}

impl<J: FnMut(&str) -> Verdict + Unpin> http_body::Body for Events<J> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            match this.state {
                State::Ended => return Poll::Ready(None),
                State::Failed => {
                    this.state = State::Ended;
                    return Poll::Ready(Some(Err(TooLong(this.limit).into())));
                }
                State::Open => {}
            }
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.take(&data),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    this.state = State::Ended;
                    // Readers ignore an event without its blank line; not all do.
                    if let Some(rest) = this.splitter.rest() {
                        this.pass(rest);
                    }
                }
            }
        }
    }
}

/// Cuts bytes after the blank lines that end events. Lines end in LF, CR or CR LF.
#[derive(Debug, Default)]
struct Splitter {
    held: BytesMut,
    scanned: usize,
    line_is_empty: bool,
    /// The byte before was CR: an LF now belongs to it.
    after_cr: bool,
    begun: bool,
}

impl Splitter {
    fn push(&mut self, data: &[u8]) {
        if !self.begun {
            self.begun = true;
            self.line_is_empty = true;
        }
        self.held.extend_from_slice(data);
    }

    fn held(&self) -> usize {
        self.held.len()
    }

    fn next_event(&mut self) -> Option<Bytes> {
        while let Some(&byte) = self.held.get(self.scanned) {
            self.scanned += 1;
            match byte {
                b'\n' if self.after_cr => {
                    self.after_cr = false;
                    // The second half of a line end whose first half went out already.
                    if self.scanned == 1 {
                        return Some(self.cut());
                    }
                }
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    if self.line_is_empty {
                        if self.after_cr && self.held.get(self.scanned) == Some(&b'\n') {
                            self.scanned += 1;
                            self.after_cr = false;
                        }
                        return Some(self.cut());
                    }
                    self.line_is_empty = true;
                }
                _ => {
                    self.after_cr = false;
                    self.line_is_empty = false;
                }
            }
        }
        None
    }

    fn cut(&mut self) -> Bytes {
        let event = self.held.split_to(self.scanned).freeze();
        self.scanned = 0;
        self.line_is_empty = true;
        event
    }

    fn rest(&mut self) -> Option<Bytes> {
        let rest = self.held.copy_to_bytes(self.held.len());
        (!rest.is_empty()).then_some(rest)
    }
}

/// The lines of an event, without their ends.
fn lines(event: &str) -> impl Iterator<Item = &str> {
    let text = event.strip_prefix('\u{feff}').unwrap_or(event);
    // CR LF gives an empty line between, which means nothing inside an event.
    text.split(['\n', '\r']).filter(|line| !line.is_empty())
}

/// The value of a `data` line.
fn data_line(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("data")?;
    match rest.strip_prefix(':') {
        Some(value) => Some(value.strip_prefix(' ').unwrap_or(value)),
        None if rest.is_empty() => Some(""),
        None => None,
    }
}

/// The data of an event; `None` when it has none.
fn data_of(event: &str) -> Option<String> {
    let mut values = lines(event).filter_map(data_line).peekable();
    values.peek()?;
    Some(values.collect::<Vec<_>>().join("\n"))
}

/// The event with other data; its id, its name and its comments stay.
fn replaced(event: &str, data: &str) -> String {
    let mut text = String::with_capacity(data.len() + 64);
    for line in lines(event).filter(|line| data_line(line).is_none()) {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("data: ");
    text.push_str(data);
    text.push_str("\n\n");
    text
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        for chunk in chunks {
            splitter.push(chunk);
            while let Some(event) = splitter.next_event() {
                events.push(String::from_utf8(event.to_vec()).unwrap());
            }
        }
        events.extend(
            splitter
                .rest()
                .map(|rest| String::from_utf8(rest.to_vec()).unwrap()),
        );
        events
    }

    #[test]
    fn every_line_end_ends_an_event() {
        assert_eq!(
            split(&[b"data: a\n\ndata: b\n\n"]),
            ["data: a\n\n", "data: b\n\n"]
        );
        assert_eq!(
            split(&[b"data: a\r\n\r\ndata: b\r\rx"]),
            ["data: a\r\n\r\n", "data: b\r\r", "x"]
        );
        assert_eq!(
            split(&[b"data: a\r\n\r", b"\ndata: b\n\n"]),
            ["data: a\r\n\r", "\n", "data: b\n\n"]
        );
        assert_eq!(
            split(&[b"id: 1\ndata: a", b"\n", b"\n:x\n\n"]),
            ["id: 1\ndata: a\n\n", ":x\n\n"]
        );
    }

    #[test]
    fn data_is_put_together_as_readers_do() {
        assert_eq!(
            data_of("id: 1\ndata: {\ndata:  1\r\ndata:}\n\n").as_deref(),
            Some("{\n 1\n}")
        );
        assert_eq!(data_of(": hello\n\n"), None);
        assert_eq!(data_of("data\n\n").as_deref(), Some(""));
        assert_eq!(data_of("database: x\n\n"), None);
        assert_eq!(data_of("\u{feff}data: x\n\n").as_deref(), Some("x"));
        let event = "id: 7\r\nevent: message\r\ndata: {\r\ndata: }\r\n: c\r\n\r\n";
        assert_eq!(
            replaced(event, "[]"),
            "id: 7\nevent: message\n: c\ndata: []\n\n"
        );
    }

    async fn through(text: &'static str, limit: usize) -> (String, bool) {
        let judge = |data: &str| match data {
            "list" => Verdict::Replace("less".to_owned()),
            "bad" => Verdict::Drop,
            _ => Verdict::Keep,
        };
        let mut events = Events::new(Body::from(text), limit, "failed".to_owned(), judge);
        let mut seen = String::new();
        while let Some(frame) = events.frame().await {
            match frame {
                Ok(frame) => seen.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap()),
                Err(_) => return (seen, false),
            }
        }
        (seen, true)
    }

    #[tokio::test]
    async fn only_events_of_interest_change() {
        let (seen, whole) = through(
            ": hi\n\ndata: x\r\n\r\nid: 1\ndata: list\n\ndata: bad\n\ndata: y\n\ndata: list",
            99,
        )
        .await;
        assert_eq!(
            seen,
            ": hi\n\ndata: x\r\n\r\nid: 1\ndata: less\n\ndata: y\n\ndata: less\n\n"
        );
        assert!(whole);
    }

    #[tokio::test]
    async fn an_event_without_end_fails_clearly() {
        let (seen, whole) = through(
            "data: x\n\ndata: 0123456789012345678901234567890123456789",
            20,
        )
        .await;
        assert_eq!(seen, "data: x\n\ndata: failed\n\n");
        assert!(!whole, "the stream must not look complete");
    }

    proptest! {
        /// However the network cuts the stream, nothing is lost and the same events are judged.
        #[test]
        fn chunks_do_not_matter(text in "(data: [ab]{0,3}|: c|id: 1|\n|\r\n|\r|\n\n){0,20}", cuts in prop::collection::vec(0_usize..80, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let events = split(&chunks);
            prop_assert_eq!(events.concat(), text.clone());
            let judged = |events: Vec<String>| events.iter().filter_map(|event| data_of(event)).collect::<Vec<_>>();
            prop_assert_eq!(judged(events), judged(split(&[bytes])));
        }
    }
}
