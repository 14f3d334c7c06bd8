//! Upstreams that are spoken to in HTTP/2: streams share connections, and do not stand in each other's way.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use vestibule_guard::fetch::{
    AddressPolicy, FetchLimits, Outbound, Protocol, StreamRequest, Trust,
};

use super::rig::{Front, Reader, ask, canned, connect, get, read_head, status, within};

const BLOCK: usize = 16 * 1024;
const TOTAL: usize = 64 * 1024 * 1024;

/// What an upstream counts.
#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    streams: AtomicUsize,
    sent: AtomicUsize,
}

/// `GET /up/quiet` is an event stream that says one thing, `/up/flood` one of [`TOTAL`] bytes; a POST is told how much it
/// sent.
async fn answer(
    request: hyper::Request<Incoming>,
    counts: Arc<Counts>,
) -> Result<hyper::Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    assert_eq!(request.version(), http::Version::HTTP_2);
    let left = match request.uri().path() {
        "/up/quiet" => 1,
        "/up/flood" => TOTAL / BLOCK,
        _ => {
            let length = request
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .len();
            let text = Full::new(Bytes::from(length.to_string()));
            return Ok(hyper::Response::new(text.boxed_unsync()));
        }
    };
    counts.streams.fetch_add(1, Ordering::SeqCst);
    let quiet = left == 1;
    let stream = Stream {
        counts,
        left,
        quiet,
    };
    let answer = hyper::Response::builder().header("content-type", "text/event-stream");
    Ok(answer.body(stream.boxed_unsync()).unwrap())
}

struct Stream {
    counts: Arc<Counts>,
    left: usize,
    quiet: bool,
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return if self.quiet {
                Poll::Pending
            } else {
                Poll::Ready(None)
            };
        }
        self.left -= 1;
        let data = if self.quiet {
            Bytes::from_static(b"data: 1\n\n")
        } else {
            self.counts.sent.fetch_add(BLOCK, Ordering::SeqCst);
            Bytes::from_static(&[b'x'; BLOCK])
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.counts.streams.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, counts: Arc<Counts>) {
    counts.connections.fetch_add(1, Ordering::SeqCst);
    let service = hyper::service::service_fn(move |request| answer(request, Arc::clone(&counts)));
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(100)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn upstream() -> (SocketAddr, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let counter = Arc::clone(&counts);
    let address = super::rig::upstream(move |stream| serve(stream, Arc::clone(&counter))).await;
    (address, counts)
}

async fn front(upstream: SocketAddr) -> SocketAddr {
    Front {
        protocol: Protocol::Http2,
        ..Front::to(upstream)
    }
    .start()
    .await
}

fn post(length: usize) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ada\r\nContent-Length: {length}\r\n\r\n{}",
        "x".repeat(length)
    )
}

async fn becomes(count: &AtomicUsize, wanted: usize) {
    let waiting = async {
        while count.load(Ordering::SeqCst) != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(waiting).await;
}

#[tokio::test]
async fn streams_share_a_connection_and_one_that_is_left_ends_alone() {
    let (upstream, counts) = upstream().await;
    let front = front(upstream).await;
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut reader = Reader::open(front, &get("/mcp/quiet")).await;
        reader.until("data: 1\n\n").await;
        readers.push(reader);
    }
    assert_eq!(counts.connections.load(Ordering::SeqCst), 1);
    assert_eq!(counts.streams.load(Ordering::SeqCst), 20);
    drop(readers.pop());
    becomes(&counts.streams, 19).await;
    assert_eq!(ask(front, &post(3)).await.1, "3");
    assert_eq!(counts.connections.load(Ordering::SeqCst), 1);
}

/// Servers allow a hundred or so streams on a connection; quiet ones would use them up.
#[tokio::test]
async fn a_connection_full_of_quiet_streams_does_not_hold_up_a_call() {
    let (upstream, counts) = upstream().await;
    let front = front(upstream).await;
    let mut readers = Vec::new();
    for _ in 0..100 {
        readers.push(Reader::open(front, &get("/mcp/quiet")).await);
    }
    assert_eq!(counts.connections.load(Ordering::SeqCst), 1);
    assert_eq!(ask(front, &post(3)).await.1, "3");
    assert_eq!(counts.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn readers_that_stand_still_take_little_and_do_not_hold_up_others() {
    let (upstream, counts) = upstream().await;
    let front = front(upstream).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut client = connect(front).await;
        client
            .write_all(get("/mcp/flood").as_bytes())
            .await
            .unwrap();
        within(read_head(&mut client)).await.unwrap();
        slow.push(client);
    }
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = counts.sent.load(Ordering::SeqCst);
        if now == before && now > 0 {
            break;
        }
        before = now;
    }
    // What the kernel holds for four readers, and a window for each.
    assert!(before < 48 * 1024 * 1024, "{before} bytes in flight");
    assert_eq!(ask(front, &post(3)).await.1, "3");
    assert_eq!(counts.connections.load(Ordering::SeqCst), 1);
    let mut received = 0;
    let mut block = vec![0; 256 * 1024];
    while received < TOTAL {
        let length = within(slow[0].read(&mut block)).await.unwrap();
        assert!(length > 0, "ended after {received} bytes");
        received += length;
    }
}

#[tokio::test]
async fn an_upload_passes_and_its_limit_holds() {
    let (upstream, _counts) = upstream().await;
    let front = front(upstream).await;
    assert_eq!(ask(front, &post(600_000)).await.1, "600000");
    assert_eq!(status(&ask(front, &post(1024 * 1024 + 1)).await.0), 413);
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_a_502() {
    let (upstream, _requests) = canned("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
    let (head, body) = ask(front(upstream).await, &post(2)).await;
    assert_eq!(status(&head), 502, "{head}");
    assert!(body.contains("\"jsonrpc\":\"2.0\""), "{body}");
}

/// A TLS upstream that offers these protocols, and whom to trust for it.
async fn tls_upstream(protocols: &[&[u8]]) -> (SocketAddr, Trust, Arc<Counts>) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let trust = Trust::platform(Some(pair.cert.pem().as_bytes())).unwrap();
    let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counts = Arc::new(Counts::default());
    let counter = Arc::clone(&counts);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, counts) = (acceptor.clone(), Arc::clone(&counter));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, counts).await;
                }
            });
        }
    });
    (address, trust, counts)
}

async fn over_tls(protocols: &[&[u8]]) -> Result<String, String> {
    let (address, trust, counts) = tls_upstream(protocols).await;
    let outbound = Outbound::speaking(Protocol::Http2, AddressPolicy::LoopbackOnly, &trust);
    let limits = FetchLimits {
        deadline: Duration::from_secs(10),
        max_body: 1024,
    };
    let url = format!("https://localhost:{}/up", address.port());
    for _ in 0..3 {
        let request = http::Request::post(&url).body(Full::from("four")).unwrap();
        let answer = outbound.fetch(request, limits).await;
        let answer = answer.map_err(|error| error.to_string())?;
        assert_eq!(answer.body(), "4");
    }
    assert_eq!(counts.connections.load(Ordering::SeqCst), 1);
    let stream = http::Request::get(format!("{url}/quiet")).body(Empty::<Bytes>::new());
    let answer = outbound
        .stream_within(StreamRequest::new(stream.unwrap()), Duration::from_secs(10))
        .await
        .unwrap();
    Ok(answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned())
}

#[tokio::test]
async fn over_tls_http2_is_agreed_on_or_nothing_is_sent() {
    let agreed = over_tls(&[b"h2", b"http/1.1"]).await;
    assert_eq!(agreed.unwrap(), "text/event-stream");
    for protocols in [&[b"http/1.1".as_slice()] as &[&[u8]], &[]] {
        let error = over_tls(protocols).await.unwrap_err();
        assert!(error.starts_with("cannot connect to localhost"), "{error}");
    }
}
