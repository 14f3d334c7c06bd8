//! HTTP/1.1 connections that wait for the next exchange (RFC 9112 §9.3), without tasks of their own.
//!
//! The client library gives each connection a task, which wakes and is woken several times for each exchange. Here whoever
//! waits for an answer, or reads it, drives the connection as well: a quarter less work for each request, and nothing to
//! clean up, because a dropped future takes its connection with it.

use std::collections::HashMap;
use std::future::{Future as _, poll_fn};
use std::hash::{Hash, Hasher};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::InvalidHeaderValue;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tower::Service as _;

use super::MAX_BUFFER;
use super::body::OutgoingBody;
use super::connect::{BoxError, Connector};
use crate::driver::{self, Driver};

/// How often free connections are looked after.
const ROUND: Duration = Duration::from_secs(1);
/// A connection that was free for so many rounds is closed: before the shortest keep-alive in common use (5 s: uvicorn,
/// node) makes the server close it under a request.
const ROUNDS: u64 = 4;

/// Frames up to this size, in bytes, leave the buffer that they were read into.
const SMALL: usize = 1024;

/// Why there is no answer.
pub(super) enum Broken {
    /// No connection. Nothing was sent.
    Connect(BoxError),
    /// The connection broke, or what came is not HTTP.
    Exchange(hyper::Error),
}

/// Opens connections and keeps those that are free.
#[derive(Clone)]
pub(super) struct Connections {
    connector: Connector,
    kept: Arc<Kept>,
}

/// Where a connection leads. Hosts are compared as they are written: what is written otherwise has other connections.
#[derive(Clone)]
struct Place {
    https: bool,
    authority: Authority,
}

type Connection = http1::Connection<MaybeHttpsStream<TokioIo<TcpStream>>, OutgoingBody>;

/// Connections in no exchange. The one used last is taken first, so that those that are not needed grow old.
#[derive(Default)]
struct Kept(Mutex<Free>);

#[derive(Default)]
struct Free {
    #[expect(
        clippy::vec_box,
        reason = "they go out and come back with each request, and are large"
    )]
    lines: HashMap<Place, Vec<Box<Line>>>,
    /// Whether somebody looks after them.
    attended: bool,
    /// How often that was done.
    round: u64,
}

/// One connection.
struct Line {
    place: Place,
    /// What the server is called in requests.
    host: HeaderValue,
    sender: http1::SendRequest<OutgoingBody>,
    running: Running,
    /// False while a request body is on its way.
    uploaded: Arc<AtomicBool>,
    /// How often the free connections had been looked after when it became one of them.
    free_at: u64,
}

impl Connections {
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            connector,
            kept: Arc::default(),
        }
    }

    /// Sends a request with an absolute URL and gives the response when its head is here.
    pub(super) async fn send(
        &self,
        mut request: Box<Request<OutgoingBody>>,
    ) -> Result<Response<Answer>, Broken> {
        let url = to_origin_form(&mut request);
        let place = Place::of(&url).map_err(Broken::Connect)?;
        loop {
            let (mut line, fresh) = match self.kept.take(&place) {
                Some(line) => (line, false),
                // Apart, because the future of every request has room for it otherwise.
                None => (Box::pin(self.open(&place, &url)).await?, true),
            };
            line.prepare(&mut request);
            let mut answer = pin!(line.sender.try_send_request(*request));
            let running = &mut line.running;
            let answered = poll_fn(|cx| {
                running.drive(cx);
                // Only the connection moves it, and did so just now.
                let mut nobody = Context::from_waker(Waker::noop());
                answer.as_mut().poll(&mut nobody)
            });
            match answered.await {
                Ok(response) => return Ok(response.map(|body| Answer::new(body, line, &self.kept))),
                Err(mut error) => match error.take_message() {
                    // The server had closed it: not one byte was written (hyper hands a request back only then), so that a
                    // POST that may have been delivered is never sent again.
                    Some(unsent) if !fresh => *request = unsent,
                    _ => return Err(Broken::Exchange(error.into_error())),
                },
            }
        }
    }

    async fn open(&self, place: &Place, url: &Uri) -> Result<Box<Line>, Broken> {
        let mut connector = self.connector.clone();
        poll_fn(|cx| connector.poll_ready(cx))
            .await
            .map_err(Broken::Connect)?;
        let stream = connector.call(url.clone()).await;
        let stream = stream.map_err(Broken::Connect)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER)
            .handshake(stream)
            .await
            .map_err(Broken::Exchange)?;
        let host = place
            .host()
            .map_err(|error| Broken::Connect(error.into()))?;
        Ok(Box::new(Line {
            place: place.clone(),
            host,
            sender,
            running: Running::new(connection),
            uploaded: Arc::default(),
            free_at: 0,
        }))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.https == other.https && self.authority.as_str() == other.authority.as_str()
    }
}

impl Eq for Place {}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.https.hash(state);
        self.authority.as_str().hash(state);
    }
}

impl Place {
    fn of(url: &Uri) -> Result<Self, BoxError> {
        let authority = url.authority().cloned();
        Ok(Self {
            https: url.scheme() == Some(&Scheme::HTTPS),
            authority: authority.ok_or("the URL has no host")?,
        })
    }

    /// The value of `Host`: without the port that the scheme has anyway (RFC 9110 §7.2).
    fn host(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        let (host, usual) = (self.authority.host(), if self.https { 443 } else { 80 });
        match self.authority.port_u16().filter(|port| *port != usual) {
            Some(port) => HeaderValue::try_from(format!("{host}:{port}")),
            None => HeaderValue::from_str(host),
        }
    }
}

/// Leaves path and query in the request, as a server is asked (RFC 9112 §3.2.1); gives the URL.
fn to_origin_form<B>(request: &mut Request<B>) -> Uri {
    let url = std::mem::take(request.uri_mut());
    if let Some(path) = url.path_and_query() {
        *request.uri_mut() = Uri::from(path.clone());
    }
    url
}

impl Line {
    /// Makes a request one of this connection.
    fn prepare(&self, request: &mut Request<OutgoingBody>) {
        let headers = request.headers_mut();
        headers
            .entry(header::HOST)
            .or_insert_with(|| self.host.clone());
        self.uploaded.store(false, Ordering::Relaxed);
        request.body_mut().tell(Arc::clone(&self.uploaded));
    }

    /// Lets the connection take note of what happened to it; true when it is ready for the next exchange.
    fn is_free(&mut self) -> bool {
        self.running.drive(&Context::from_waker(Waker::noop()));
        self.running.connection.is_some() && self.sender.is_ready()
    }
}

/// What moves a connection.
struct Running {
    /// `None` when it is over.
    connection: Option<Connection>,
    driver: Arc<Driver>,
    /// Wakes that one.
    waker: Waker,
}

impl Running {
    fn new(connection: Connection) -> Self {
        let driver = Arc::<Driver>::default();
        Self {
            connection: Some(connection),
            waker: Waker::from(Arc::clone(&driver)),
            driver,
        }
    }

    /// Lets the connection do what it can. When it is over it is dropped: whoever waits for something from it hears that, and
    /// what was wrong.
    fn drive(&mut self, cx: &Context<'_>) {
        self.driver.register(cx);
        let mut own = Context::from_waker(&self.waker);
        let over = |running: &mut Connection| Pin::new(running).poll(&mut own).is_ready();
        if self.connection.as_mut().is_some_and(over) {
            self.connection = None;
        }
    }
}

impl Kept {
    fn take(&self, place: &Place) -> Option<Box<Line>> {
        let mut free = self.lock();
        free.lines.get_mut(place)?.pop()
    }

    fn put(self: &Arc<Self>, mut line: Box<Line>) {
        if !line.is_free() {
            return;
        }
        let mut free = self.lock();
        line.free_at = free.round;
        match free.lines.get_mut(&line.place) {
            Some(lines) => lines.push(line),
            None => {
                free.lines.insert(line.place.clone(), vec![line]);
            }
        }
        if !free.attended {
            free.attended = true;
            tokio::spawn(attend(Arc::downgrade(self)));
        }
    }

    /// Closes what nobody has used for a while; false when nothing is left.
    fn sweep(&self) -> bool {
        let mut free = self.lock();
        free.round += 1;
        let round = free.round;
        free.lines.retain(|_, lines| {
            lines.retain_mut(|line| round - line.free_at < ROUNDS && line.is_free());
            !lines.is_empty()
        });
        free.attended = !free.lines.is_empty();
        free.attended
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after free connections for as long as there are some.
async fn attend(kept: Weak<Kept>) {
    loop {
        tokio::time::sleep(ROUND).await;
        if !kept.upgrade().is_some_and(|kept| kept.sweep()) {
            return;
        }
    }
}

/// The body of an answer, which drives the connection that it comes from. Dropping it before its end closes that.
pub(super) struct Answer {
    body: Incoming,
    line: Driven,
    kept: Weak<Kept>,
    reader: Reader,
    /// What its reader gets in its next turn.
    held: Option<Result<Frame<Bytes>, hyper::Error>>,
}

/// What whoever reads a body did last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Nothing: the head has just come.
    Began,
    /// It got something, which it passes on when it has to wait.
    Got,
    /// It had to wait.
    Waited,
}

enum Driven {
    /// By the one who reads the body.
    Here(Box<Line>),
    /// By a task: the request's body is still on its way, and must not wait for a slow reader.
    Apart(#[expect(dead_code, reason = "it runs until this is dropped")] Task),
    /// The body has ended.
    Done,
}

impl Answer {
    fn new(body: Incoming, line: Box<Line>, kept: &Arc<Kept>) -> Self {
        let mut answer = Self {
            body,
            line: Driven::Here(line),
            kept: Arc::downgrade(kept),
            reader: Reader::Began,
            held: None,
        };
        let ended = answer.body.is_end_stream();
        answer.settle(ended);
        answer
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Driven::Here(line) = &mut self.line else {
            return Pin::new(&mut self.body).poll_frame(cx);
        };
        // Only the connection moves the body, and it is moved here, before we wait.
        let mut nobody = Context::from_waker(Waker::noop());
        let (mut polled, _) = driver::take(&mut self.body, &mut nobody);
        if polled.is_pending() {
            line.running.drive(cx);
            (polled, _) = driver::take(&mut self.body, &mut nobody);
        }
        match &polled {
            Poll::Pending => {}
            // Whoever reads does not ask again then.
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => self.settle(true),
            Poll::Ready(Some(Ok(_))) => return polled.map_ok(small_apart),
            Poll::Ready(None) => self.settle(true),
            Poll::Ready(Some(Err(_))) => self.line = Driven::Done,
        }
        polled
    }

    /// Whether more may come.
    fn goes_on(&self) -> bool {
        matches!(self.line, Driven::Here(_))
    }

    /// Gives the connection back when the body has ended, or to a task when the upload has not.
    fn settle(&mut self, ended: bool) {
        let Driven::Here(line) = std::mem::replace(&mut self.line, Driven::Done) else {
            return;
        };
        self.line = match (line.uploaded.load(Ordering::Relaxed), ended) {
            (true, false) => Driven::Here(line),
            (true, true) => {
                if let Some(kept) = self.kept.upgrade() {
                    kept.put(line);
                }
                Driven::Done
            }
            (false, _) => {
                let mut line = line;
                let task = tokio::spawn(poll_fn(move |cx| {
                    line.running.drive(cx);
                    if line.running.connection.is_some() {
                        Poll::Pending
                    } else {
                        Poll::Ready(())
                    }
                }));
                Driven::Apart(Task(task.abort_handle()))
            }
        };
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

/// Copies a small frame. One that is on its way keeps the whole buffer of its connection: the next look at the socket needs
/// another one, with each event of a stream, and a reader who waits with a few bytes would hold eight kilobytes.
fn small_apart(frame: Frame<Bytes>) -> Frame<Bytes> {
    frame.map_data(|data| {
        if data.len() <= SMALL {
            Bytes::copy_from_slice(&data)
        } else {
            data
        }
    })
}

/// Ends with its owner.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if let Some(held) = this.held.take() {
            this.reader = Reader::Got;
            return Poll::Ready(Some(held));
        }
        match (this.poll(cx), this.reader) {
            // hyper's server drops what it has not sent yet when a body fails: the last event before a server broke off.
            (Poll::Ready(Some(Err(error))), Reader::Got) => this.held = Some(Err(error)),
            // Events of many streams come at once, and whoever they are for sleeps until then: to wake it once for all of
            // them costs less than once for each, in spite of the turn (W2p of docs/performance.md).
            (Poll::Ready(Some(Ok(frame))), Reader::Waited) if this.goes_on() => {
                this.held = Some(Ok(frame));
            }
            (Poll::Pending, _) => {
                this.reader = Reader::Waited;
                return Poll::Pending;
            }
            (ready, _) => {
                this.reader = Reader::Got;
                return ready;
            }
        }
        this.reader = Reader::Waited;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
