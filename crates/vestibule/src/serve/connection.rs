//! One connection from accept to close: HTTP/1.1 or HTTP/2, time limits and graceful shutdown.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::ops::DerefMut;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use vestibule_guard::driver::Driver;

use super::ServeLimits;
use super::activity::{Activity, Expiry, Watched};
use super::arriving::Unread;
use super::front::{Door, Front};
use super::tracked::Tracked;
use super::wire::{self, Wire};
use crate::arrival::PeerAddr;

/// A connection whose peer has gone without a word (a closed laptop) is noticed after about two minutes; without this an
/// event stream to it would stay for ever. On Linux `send_timeout` takes the place of the retries (tcp(7)).
const TCP_KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// The same for HTTP/2, whose peer may be a proxy that is alive while its client is not.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 250;

/// How long a connection may take to say goodbye after its idle time.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves connections: a connection keeps the limits and the certificate it began with, a request the router.
pub(super) struct Acceptor {
    front: Arc<Front>,
    drain: CancellationToken,
}

/// What speaks HTTP on a connection with these limits.
pub(super) struct Http {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Http {
    pub(super) fn new(limits: &ServeLimits) -> Self {
        let max_header_bytes = limits.max_header_bytes.max(8 << 10);
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // `Activity` bounds headers and idleness apart; hyper has one timer for both.
            .header_read_timeout(None)
            // A client that goes away takes its handler with it.
            .half_close(false)
            .max_buf_size(max_header_bytes);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX));
        Self { http1, http2 }
    }
}

impl Acceptor {
    pub(super) fn new(front: Arc<Front>, drain: CancellationToken) -> Self {
        Self { front, drain }
    }

    pub(super) fn front(&self) -> &Front {
        &self.front
    }

    /// Serves one connection until it is closed.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let _connected = self.front.connected();
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if let Err(error) = prepare(&stream, self.front.limits().send_timeout) {
            tracing::debug!(%error, %peer, "a connection was gone before it was served");
            return;
        }
        let door = self.front.door();
        // Apart: the connection would take the memory of a handshake for as long as it is open.
        let opening = Box::pin(wire::open(stream, door.tls.as_ref(), &door.limits));
        match self.drain.run_until_cancelled(opening).await {
            Some(Ok((wire, http2))) => self.converse(&door, wire, http2, peer).await,
            Some(Err(error)) => tracing::debug!(%error, %peer, "a connection did not come about"),
            None => {}
        }
    }

    /// Answers what is asked on a connection.
    async fn converse(&self, door: &Door, wire: Wire, http2: bool, peer: SocketAddr) {
        let activity = Activity::new(door.limits, http2);
        let unread = Arc::new(Unread::new(Arc::clone(activity.driver())));
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let in_flight = activity.request();
            let request: Request = if http2 {
                request.map(Body::new)
            } else {
                unread.watch(request)
            };
            let entrance = self.front.entrance();
            let unread = Arc::clone(&unread);
            async move {
                let response = entrance.answer(PeerAddr(peer), request).await;
                unread.arrive().await;
                Ok::<_, Infallible>(response.map(|body| Tracked::new(body, in_flight)))
            }
        });
        let stream = TokioIo::new(Watched::new(wire, activity.clone()));
        if http2 {
            let connection = Box::pin(door.http.http2.serve_connection(stream, service));
            Box::pin(drive(connection, &activity, &self.drain, peer)).await;
        } else {
            let connection = pin!(door.http.http1.serve_connection(stream, service));
            drive(connection, &activity, &self.drain, peer).await;
        }
    }
}

/// Polls a connection to its end, watching over its time limits.
///
/// One timer serves all limits. It is moved forward only when it fires too early, so that a request costs no timer
/// operation.
async fn drive<C>(
    mut connection: Pin<impl DerefMut<Target = C>>,
    activity: &Activity,
    drain: &CancellationToken,
    peer: SocketAddr,
) where
    C: GracefulConnection,
    C::Error: std::fmt::Display,
{
    let mut drained = pin!(drain.cancelled());
    let first = activity.deadline().map(|(deadline, _)| deadline);
    let mut timer = pin!(sleep_until(first.unwrap_or_else(Instant::now)));
    let driver = activity.driver();
    // Bodies of HTTP/2 are taken out in other tasks.
    let own = (!activity.is_http2()).then(|| Waker::from(Arc::clone(driver)));
    let bell = Bell::new(Arc::clone(driver));
    let ringing = Waker::from(Arc::clone(&bell));
    // True while the timer will not ring.
    let mut silent = true;
    let mut finishing = false;
    let mut goodbye_until = None;
    poll_fn(|cx| {
        driver.register(cx);
        let mut ringing = Context::from_waker(&ringing);
        if bell.rung() {
            silent = true;
            if !finishing && drained.as_mut().poll(&mut ringing).is_ready() {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
        loop {
            activity.begin_turn();
            let mut own = Context::from_waker(own.as_ref().unwrap_or(cx.waker()));
            if let Poll::Ready(ended) = connection.as_mut().poll(&mut own) {
                if let Err(error) = ended {
                    tracing::debug!(%error, %peer, "connection ended with an error");
                }
                return Poll::Ready(());
            }
            let (deadline, expiry) = match (goodbye_until, activity.deadline()) {
                (_, None) => return Poll::Pending,
                (Some(until), Some((_, expiry))) => (until, expiry),
                (None, Some(deadline)) => deadline,
            };
            if !silent && timer.deadline() <= deadline {
                return Poll::Pending;
            }
            if !has_passed(timer.as_mut(), deadline, &mut ringing) {
                silent = false;
                return Poll::Pending;
            }
            silent = true;
            if expiry == Expiry::Header || goodbye_until.is_some() {
                tracing::debug!(%peer, ?expiry, "connection closed: its time is up");
                return Poll::Ready(());
            }
            // An idle connection is closed in good order: with GOAWAY in HTTP/2, with close_notify in TLS.
            goodbye_until = Some(Instant::now() + GOODBYE);
            if !finishing {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    })
    .await;
}

/// What the kernel is to know of a connection. On Linux it closes one whose peer takes nothing for `send_timeout`, gone or
/// not (`TCP_USER_TIMEOUT`, tcp(7)): a reader who stopped would hold its stream, and the upstream's, for ever.
fn prepare(stream: &TcpStream, send_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(send_timeout))?;
    #[cfg(not(target_os = "linux"))]
    let _ = send_timeout;
    socket.set_tcp_keepalive(&TCP_KEEPALIVE)
}

/// Wakes a connection for what is rare — the shutdown, the end of its time — and says that it did: both are asked only
/// then. To ask them in each turn costs 1 to 2 % of a short answer.
struct Bell {
    rung: AtomicBool,
    driver: Arc<Driver>,
}

impl Bell {
    /// One that has rung: both have to be told where to ring.
    fn new(driver: Arc<Driver>) -> Arc<Self> {
        let rung = AtomicBool::new(true);
        Arc::new(Self { rung, driver })
    }

    /// True once after it has rung.
    fn rung(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.driver.wake_by_ref();
    }
}

/// True when `deadline` has passed; otherwise `timer` will wake us no later than then.
fn has_passed(mut timer: Pin<&mut Sleep>, deadline: Instant, cx: &mut Context<'_>) -> bool {
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    while timer.as_mut().poll(cx).is_ready() {
        if deadline <= Instant::now() {
            return true;
        }
        timer.as_mut().reset(deadline);
    }
    false
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::yield_now;

    use super::*;

    /// A client of a connection that says how long the body of each request was, and what that connection is doing.
    fn connection() -> (DuplexStream, Arc<Activity>) {
        let (client, stream) = duplex(1 << 20);
        let limits = ServeLimits::generous();
        let activity = Activity::new(limits, false);
        let ours = Arc::clone(&activity);
        tokio::spawn(async move {
            let unread = Arc::new(Unread::new(Arc::clone(ours.driver())));
            let service = service_fn(|request| {
                let in_flight = ours.request();
                let request = unread.watch(request);
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let response = http::Response::new(Body::from(body.len().to_string()));
                    Ok::<_, Infallible>(response.map(|body| Tracked::new(body, in_flight)))
                }
            });
            let stream = TokioIo::new(Watched::new(stream, Arc::clone(&ours)));
            let connection = pin!(Http::new(&limits).http1.serve_connection(stream, service));
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            drive(connection, &ours, &CancellationToken::new(), peer).await;
        });
        (client, activity)
    }

    /// The body of the answer to what has been sent.
    async fn answer(client: &mut DuplexStream) -> String {
        let mut answer = String::new();
        let mut buffer = [0; 1024];
        while !answer.contains("\r\n\r\n") {
            let length = client.read(&mut buffer).await.unwrap();
            assert_ne!(length, 0, "closed after {answer:?}");
            answer.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    #[tokio::test]
    async fn a_request_in_one_piece_takes_one_turn_of_its_connection() {
        let (mut client, activity) = connection();
        for turns in 1..4 {
            let request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
            client.write_all(request).await.unwrap();
            assert_eq!(answer(&mut client).await, "5");
            // If it was woken once more it has had that turn then.
            for _ in 0..10 {
                yield_now().await;
            }
            assert_eq!(activity.turn(), turns);
        }
    }

    /// Nothing but the connection reads them, and it is not to wait for what has come already.
    #[tokio::test]
    async fn a_request_in_many_pieces_arrives_whole() {
        let (mut client, _) = connection();
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunks: &[&[u8]] = &[b"3\r\none\r\n", b"5\r\nth", b"ree\r\n", b"0\r\n\r\n"];
        for together in [false, true] {
            client.write_all(head).await.unwrap();
            for chunk in chunks {
                if !together {
                    yield_now().await;
                }
                client.write_all(chunk).await.unwrap();
            }
            assert_eq!(answer(&mut client).await, "8");
        }
    }
}
