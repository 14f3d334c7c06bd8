//! The ids of events belong to the caller who received them, as session ids do: some servers look up what to send again
//! by `Last-Event-ID` alone (MCP transports, "Resumability and Redelivery"; T27).
//!
//! Ids are tagged line by line as events pass. Never more than the beginning of one `id` line is held back.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::response::Response;
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body::{Frame, SizeHint};
use memchr::memchr2;
use thiserror::Error;
use vestibule_guard::Caller;
use vestibule_oauth::url::ResourceUri;

use super::session::{Principal, Sessions};
use super::{Route, rewrite};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Longest line with an id, in bytes. A longer one does not pass: its event cannot be asked for again.
const MAX_LINE: usize = 4096;

/// The event was not sent to this caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the event is not the caller's")]
pub(super) struct UnknownEvent;

/// Ties event ids to one caller. The caller's digest is made when there is an id, which most exchanges have none of.
pub(super) struct EventIds<'a, X> {
    pub(super) sessions: &'a Sessions,
    pub(super) resource: &'a ResourceUri,
    pub(super) caller: &'a Caller<X>,
}

impl<'a, X> EventIds<'a, X> {
    /// `None` where the operator leaves events to the server.
    pub(super) fn of(route: &'a Route, caller: &'a Caller<X>) -> Option<Self> {
        Some(Self {
            sessions: route.sessions.as_ref()?,
            resource: &route.resource.uri,
            caller,
        })
    }

    fn principal(&self) -> Principal {
        self.sessions
            .principal("mcp events", self.resource, self.caller)
    }

    /// Puts the upstream's own id in the place of ours, and asks for an answer that can be read where only events come.
    pub(super) fn open(
        &self,
        method: &Method,
        headers: &mut HeaderMap,
    ) -> Result<(), UnknownEvent> {
        if method == Method::GET {
            let identity = HeaderValue::from_static("identity");
            headers.insert(header::ACCEPT_ENCODING, identity);
        }
        let mut values = headers.get_all(LAST_EVENT_ID).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(()),
            (Some(value), None) => value.as_bytes(),
            _ => return Err(UnknownEvent),
        };
        let principal = self.principal();
        let id = principal.untagged(value).ok_or(UnknownEvent)?;
        let id = HeaderValue::from_bytes(id).map_err(|_| UnknownEvent)?;
        headers.insert(LAST_EVENT_ID, id);
        Ok(())
    }

    /// The answer with ids of ours, if it is an event stream. A compressed one passes as it is; the ids in it are worth
    /// nothing, because those that come back must have our tag.
    pub(super) fn close(&self, answer: Response) -> Response {
        let headers = answer.headers();
        if !rewrite::is_event_stream(headers) || rewrite::is_encoded(headers) {
            return answer;
        }
        let (mut parts, body) = answer.into_parts();
        parts.headers.remove(header::CONTENT_LENGTH);
        let tagged = Tagged {
            body,
            lines: Lines::default(),
            tagger: Tagger(self.principal()),
        };
        Response::from_parts(parts, Body::new(tagged))
    }
}

/// Writes ids of ours.
struct Tagger(Principal);

impl Tagger {
    /// A whole `id` line without its end, made ours.
    fn tag(&self, line: &[u8], out: &mut BytesMut) {
        let value = line.get(3..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        // No id, and one that clients do not take.
        if value.is_empty() || value.contains(&0) {
            out.extend_from_slice(line);
            return;
        }
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(&self.0.tagged(value));
    }
}

struct Tagged {
    body: Body,
    lines: Lines,
    tagger: Tagger,
}

impl http_body::Body for Tagged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self {
            body,
            lines,
            tagger,
        } = self.get_mut();
        loop {
            let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(context)) else {
                // What is held is no complete line, so no client would take it for an id.
                return Poll::Ready(None);
            };
            let frame = match frame?.into_data() {
                Ok(data) => Frame::data(lines.pass(data, |line, out| tagger.tag(line, out))),
                Err(other) => other,
            };
            // All of it may be held back.
            if frame.data_ref().is_none_or(|data| !data.is_empty()) {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Finds the lines whose field is `id`.
#[derive(Debug, Default)]
struct Lines {
    state: State,
    /// The beginning of a line that is, or may become, one with an id.
    held: BytesMut,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A line begins; some of it may be held.
    #[default]
    Start,
    /// Within another line.
    Other,
    /// Within an `id` line that is too long.
    Dropped,
}

impl Lines {
    /// Reads to the end of a line that passes as it is, if it ends within `length`; gives how far that is.
    fn read_on(&mut self, length: usize, end: Option<usize>) -> usize {
        self.state = if end.is_some() {
            State::Start
        } else {
            State::Other
        };
        end.map_or(length, |end| end + 1)
    }

    /// What of `data`, and of what was held before, may pass. `tag` writes an `id` line anew.
    fn pass(&mut self, data: Bytes, mut tag: impl FnMut(&[u8], &mut BytesMut)) -> Bytes {
        let mut out: Option<BytesMut> = None;
        let mut rest: &[u8] = &data;
        // Up to here `rest` was read and is not in `out` yet.
        let mut read = 0;
        while let Some(unread) = rest.get(read..).filter(|unread| !unread.is_empty()) {
            let end = memchr2(b'\n', b'\r', unread);
            match self.state {
                State::Other => read += self.read_on(unread.len(), end),
                State::Dropped => {
                    let (before, after) = rest.split_at(read);
                    out.get_or_insert_default().extend_from_slice(before);
                    rest = after.get(end.unwrap_or(after.len())..).unwrap_or_default();
                    read = 0;
                    if end.is_some() {
                        self.state = State::Other;
                    }
                }
                State::Start => {
                    let length = end.unwrap_or(unread.len());
                    let line = unread.get(..length).unwrap_or_default();
                    let kind = if self.held.is_empty() {
                        kind(line)
                    } else {
                        let mut begin = self.held.clone();
                        begin.extend_from_slice(line.get(..3.min(length)).unwrap_or_default());
                        kind(&begin)
                    };
                    let is_id = kind == Kind::Id || (kind == Kind::Unsure && end.is_none());
                    if !is_id {
                        if !self.held.is_empty() {
                            // Only what looked like one, two letters at most.
                            let out = out.get_or_insert_default();
                            out.extend_from_slice(&self.held.split());
                        }
                        read += self.read_on(length, end);
                        continue;
                    }
                    // Everything before the line passes; the line does not, yet.
                    let (before, after) = rest.split_at(read);
                    let out = out.get_or_insert_default();
                    out.extend_from_slice(before);
                    rest = after.get(length..).unwrap_or_default();
                    read = 0;
                    self.held.extend_from_slice(line);
                    if self.held.len() > MAX_LINE {
                        // A comment in its place: its end stays, and must not end the event.
                        out.extend_from_slice(b":");
                        self.held = BytesMut::new();
                        self.state = State::Dropped;
                    } else if end.is_some() {
                        tag(&std::mem::take(&mut self.held), out);
                        self.state = State::Other;
                    }
                }
            }
        }
        match out {
            None => data,
            Some(mut out) => {
                out.extend_from_slice(rest);
                out.freeze()
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Id,
    Unsure,
    Other,
}

/// What the beginning of a line makes of it.
fn kind(line: &[u8]) -> Kind {
    match line {
        [b'i', b'd', b':', ..] => Kind::Id,
        [] | [b'i'] | [b'i', b'd'] => Kind::Unsure,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Passes chunks, with ids in brackets.
    fn pass(chunks: &[&[u8]]) -> String {
        let mut lines = Lines::default();
        let mut text = Vec::new();
        for chunk in chunks {
            let passed = lines.pass(Bytes::copy_from_slice(chunk), |line, out| {
                out.extend_from_slice(b"[");
                out.extend_from_slice(line);
                out.extend_from_slice(b"]");
            });
            text.extend_from_slice(&passed);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn lines_with_ids_are_found_and_others_are_not() {
        for (text, wanted) in [
            ("id: 1\ndata: x\n\n", "[id: 1]\ndata: x\n\n"),
            ("data: id: 1\nid:2\r\n\r\n", "data: id: 1\n[id:2]\r\n\r\n"),
            ("id\nidea: 1\ni\n\nid:\r", "id\nidea: 1\ni\n\n[id:]\r"),
            ("\n\rid: 3\r\rid: 4\n", "\n\r[id: 3]\r\r[id: 4]\n"),
            ("event: e\nid: 1", "event: e\n"),
        ] {
            assert_eq!(pass(&[text.as_bytes()]), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_becomes_a_comment_and_its_event_stays() {
        let long = format!("id: {}", "x".repeat(MAX_LINE));
        let text = format!("data: 1\n{long}\ndata: 2\n\nid: 3\n");
        let wanted = "data: 1\n:\ndata: 2\n\n[id: 3]\n";
        assert_eq!(pass(&[text.as_bytes()]), wanted);
        let (one, other) = text.as_bytes().split_at(MAX_LINE + 10);
        assert_eq!(pass(&[one, other]), wanted);
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.pass(Bytes::from_static(&[b'i'; 1000]), |_, _| {});
            lines.pass(Bytes::from_static(b"\nid:"), |_, _| {});
            lines.pass(Bytes::from(vec![b'x'; 100_000]), |_, _| {});
        }
        assert!(lines.held.len() <= MAX_LINE);
    }

    #[test]
    fn what_has_no_ids_is_not_copied() {
        let data = Bytes::from_static(b"data: a long text\n\n");
        let passed = Lines::default().pass(data.clone(), |_, _| {});
        assert_eq!(passed.as_ptr(), data.as_ptr());
    }

    proptest! {
        /// However the network cuts the stream, the same ids are found, and nothing else changes.
        #[test]
        fn chunks_do_not_matter(text in "(id: [ab]{0,3}|id|i|idx|data: id: 7|\\n|\\r\\n|\\r){0,20}\\n", cuts in prop::collection::vec(0_usize..80, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let passed = pass(&chunks);
            prop_assert_eq!(&passed, &pass(&[bytes]));
            prop_assert_eq!(passed.replace(['[', ']'], ""), text);
        }
    }
}
