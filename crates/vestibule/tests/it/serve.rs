//! The accept loop seen from outside: limits close what they should and leave alone what they should not.

mod early_answers;
mod slow_readers;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use vestibule::arrival::PeerAddr;
use vestibule::serve::{Drained, ServeLimits, bind, run, tls_config};
use vestibule::settings::TlsFiles;

/// Limits that no test reaches by accident.
const GENEROUS: ServeLimits = ServeLimits {
    max_connections: 100,
    header_timeout: Duration::from_secs(20),
    handshake_timeout: Duration::from_secs(20),
    idle_timeout: Duration::from_secs(20),
    send_timeout: Duration::from_secs(20),
    drain_timeout: Duration::from_secs(20),
    max_header_bytes: 64 << 10,
};

/// Longer than any limit under test, shorter than the generous ones.
const LONG: Duration = Duration::from_secs(8);

struct House {
    address: SocketAddr,
    shutdown: CancellationToken,
    running: JoinHandle<Drained>,
    /// Handlers of `/wait` that have begun and that have ended, however they ended.
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

struct Ended(Arc<AtomicUsize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A body that says `tick` every 100 ms for ever.
fn ticking(ended: Ended) -> Body {
    let ticks = futures_util::stream::unfold(ended, |ended| async move {
        sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"tick\n")), ended))
    });
    Body::from_stream(ticks)
}

impl House {
    fn open(limits: ServeLimits) -> Self {
        Self::with_tls(limits, None)
    }

    fn with_tls(limits: ServeLimits, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let watch = {
            let (begun, ended) = (begun.clone(), ended.clone());
            move || {
                begun.fetch_add(1, Ordering::SeqCst);
                Ended(ended.clone())
            }
        };
        let (waits, floods) = (watch.clone(), watch.clone());
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/peer", get(|Extension(PeerAddr(peer)): Extension<PeerAddr>| async move { peer.to_string() }))
            .route("/echo", post(|body: Bytes| async move { body }))
            .route(
                "/wait/{ms}",
                get(move |axum::extract::Path(ms): axum::extract::Path<u64>| {
                    let ended = waits();
                    async move {
                        sleep(Duration::from_millis(ms)).await;
                        drop(ended);
                        "waited"
                    }
                }),
            )
            .route("/flood", get(move || async move { slow_readers::flood(floods()) }))
            .route("/ticks", get(move || async move { ticking(watch()) }));
        let listeners = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run(listeners, router, limits, tls, shutdown.clone()));
        Self {
            address,
            shutdown,
            running,
            begun,
            ended,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test client, to a listener of this test on 127.0.0.1"
    )]
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn begin(&self, path: &str) -> TcpStream {
        let mut stream = self.connect().await;
        send(&mut stream, path).await;
        stream
    }

    async fn http2(
        &self,
    ) -> (
        hyper::client::conn::http2::SendRequest<Empty<Bytes>>,
        JoinHandle<()>,
    ) {
        let io = TokioIo::new(self.connect().await);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        (sender, tokio::spawn(async move { drop(connection.await) }))
    }

    async fn until(&self, counter: &AtomicUsize, count: usize) {
        let reached = async {
            while counter.load(Ordering::SeqCst) < count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, reached)
            .await
            .expect("the counter never got there");
    }
}

async fn send(stream: &mut TcpStream, path: &str) {
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes())
        .await
        .unwrap();
}

/// Reads until `text` has come.
async fn expect(stream: &mut (impl tokio::io::AsyncRead + Unpin), text: &str) -> String {
    let mut read = Vec::new();
    let wanted = async {
        while !String::from_utf8_lossy(&read).contains(text) {
            let byte = stream.read_u8().await.unwrap_or_else(|error| {
                panic!(
                    "{error} before '{text}' in '{}'",
                    String::from_utf8_lossy(&read)
                )
            });
            read.push(byte);
        }
    };
    timeout(LONG, wanted)
        .await
        .expect("the answer did not come");
    String::from_utf8_lossy(&read).into_owned()
}

/// How long the other side takes to close, whatever it sends before.
async fn closes_after(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let mut rest = Vec::new();
    timeout(LONG, stream.read_to_end(&mut rest))
        .await
        .expect("the connection stayed open")
        .ok();
    start.elapsed()
}

async fn is_open(stream: &mut TcpStream, for_ms: u64) -> bool {
    timeout(Duration::from_millis(for_ms), stream.read_u8())
        .await
        .is_err()
}

fn between(elapsed: Duration, least_ms: u64, most_ms: u64) {
    let range = Duration::from_millis(least_ms)..Duration::from_millis(most_ms);
    assert!(range.contains(&elapsed), "{elapsed:?} is not in {range:?}");
}

#[tokio::test]
async fn a_slow_header_is_cut_off_even_when_it_trickles() {
    let house = House::open(ServeLimits {
        header_timeout: Duration::from_millis(400),
        ..GENEROUS
    });
    let start = Instant::now();
    let mut stream = house.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: h\r\nx-a: ")
        .await
        .unwrap();
    for _ in 0..3 {
        sleep(Duration::from_millis(100)).await;
        stream.write_all(b"a").await.unwrap();
    }
    closes_after(&mut stream).await;
    between(start.elapsed(), 390, 2000);

    let mut silent = house.connect().await;
    between(closes_after(&mut silent).await, 390, 2000);
}

#[tokio::test]
async fn a_slow_second_header_is_cut_off_as_well() {
    let house = House::open(ServeLimits {
        header_timeout: Duration::from_millis(300),
        ..GENEROUS
    });
    let mut stream = house.begin("/").await;
    expect(&mut stream, "hello").await;
    assert!(
        is_open(&mut stream, 600).await,
        "the header time does not run between requests"
    );
    stream.write_all(b"GET /").await.unwrap();
    between(closes_after(&mut stream).await, 290, 2000);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_idle_time_and_not_before() {
    let house = House::open(ServeLimits {
        idle_timeout: Duration::from_millis(500),
        ..GENEROUS
    });
    let mut stream = house.begin("/").await;
    expect(&mut stream, "hello").await;
    assert!(is_open(&mut stream, 300).await);
    send(&mut stream, "/").await;
    expect(&mut stream, "hello").await;
    between(closes_after(&mut stream).await, 490, 2500);
}

#[tokio::test]
async fn a_living_event_stream_and_a_slow_handler_outlive_every_limit() {
    let short = Duration::from_millis(150);
    let house = House::open(ServeLimits {
        idle_timeout: short,
        header_timeout: short,
        ..GENEROUS
    });
    let mut waiting = house.begin("/wait/700").await;
    let mut ticking = house.begin("/ticks").await;
    let start = Instant::now();
    for _ in 0..7 {
        expect(&mut ticking, "tick").await;
    }
    assert!(
        start.elapsed() >= Duration::from_millis(650),
        "they came one by one"
    );
    expect(&mut waiting, "waited").await;
}

#[tokio::test]
async fn a_full_house_lets_nobody_in_and_throws_nobody_out() {
    let house = House::open(ServeLimits {
        max_connections: 2,
        ..GENEROUS
    });
    let mut established = house.begin("/ticks").await;
    expect(&mut established, "tick").await;
    let second = house.begin("/ticks").await;
    house.until(&house.begun, 2).await;
    let mut third = house.begin("/").await;
    assert!(is_open(&mut third, 300).await, "nobody answers the third");
    expect(&mut established, "tick").await;
    drop(second);
    expect(&mut third, "hello").await;
    expect(&mut established, "tick").await;
}

#[tokio::test]
async fn draining_lets_a_running_request_finish_and_closes_the_idle_at_once() {
    let house = House::open(GENEROUS);
    let mut idle = house.begin("/").await;
    expect(&mut idle, "hello").await;
    let mut running = house.begin("/wait/1000").await;
    house.until(&house.begun, 1).await;
    house.shutdown.cancel();
    closes_after(&mut idle).await;
    assert_eq!(
        house.ended.load(Ordering::SeqCst),
        0,
        "the idle one does not wait for the busy one"
    );
    let answer = expect(&mut running, "waited").await;
    assert!(answer.contains("connection: close"), "{answer}");
    closes_after(&mut running).await;
    assert_eq!(house.running.await.unwrap(), Drained { aborted: 0 });
}

#[tokio::test]
async fn draining_ends_after_its_time_and_nothing_new_is_accepted() {
    let house = House::open(ServeLimits {
        drain_timeout: Duration::from_millis(400),
        ..GENEROUS
    });
    let mut endless = house.begin("/ticks").await;
    expect(&mut endless, "tick").await;
    let start = Instant::now();
    house.shutdown.cancel();
    assert_eq!(house.running.await.unwrap(), Drained { aborted: 1 });
    between(start.elapsed(), 390, 2500);
    assert_eq!(
        house.ended.load(Ordering::SeqCst),
        1,
        "the body was dropped"
    );
    #[expect(
        clippy::disallowed_methods,
        reason = "a test client, to an address of this test on 127.0.0.1"
    )]
    let late = TcpStream::connect(house.address).await;
    assert!(late.is_err());
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_handler_and_the_body_with_it() {
    let house = House::open(GENEROUS);
    let before_the_answer = house.begin("/wait/60000").await;
    house.until(&house.begun, 1).await;
    drop(before_the_answer);
    house.until(&house.ended, 1).await;

    let mut within_the_answer = house.begin("/ticks").await;
    expect(&mut within_the_answer, "tick").await;
    drop(within_the_answer);
    house.until(&house.ended, 2).await;
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let house = House::open(ServeLimits {
        max_header_bytes: 8 << 10,
        ..GENEROUS
    });
    let mut stream = house.connect().await;
    let header = format!(
        "GET / HTTP/1.1\r\nhost: h\r\nx-a: {}\r\n\r\n",
        "a".repeat(20 << 10)
    );
    stream.write_all(header.as_bytes()).await.unwrap();
    expect(&mut stream, "431").await;
}

#[tokio::test]
async fn the_peer_address_is_known() {
    let house = House::open(GENEROUS);
    let mut stream = house.begin("/peer").await;
    let own = stream.local_addr().unwrap().to_string();
    expect(&mut stream, &own).await;
}

#[tokio::test]
async fn http2_streams_live_and_idle_http2_connections_are_closed() {
    let short = Duration::from_millis(300);
    let house = House::open(ServeLimits {
        idle_timeout: short,
        header_timeout: short,
        ..GENEROUS
    });
    let (mut sender, connection) = house.http2().await;
    let request = |path: &str| {
        http::Request::get(format!("http://h{path}"))
            .body(Empty::new())
            .unwrap()
    };
    let mut response = sender.send_request(request("/ticks")).await.unwrap();
    for _ in 0..8 {
        assert_eq!(
            response
                .frame()
                .await
                .unwrap()
                .unwrap()
                .into_data()
                .unwrap(),
            "tick\n"
        );
    }
    drop(response);
    house.until(&house.ended, 1).await;
    let answer = sender
        .send_request(request("/"))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(answer.to_bytes(), "hello");
    let start = Instant::now();
    timeout(LONG, connection)
        .await
        .expect("the connection stayed open")
        .unwrap();
    between(start.elapsed(), 250, 2500);
}

#[tokio::test]
async fn a_silent_http2_connection_is_closed() {
    let short = Duration::from_millis(300);
    let house = House::open(ServeLimits {
        idle_timeout: short,
        header_timeout: short,
        ..GENEROUS
    });
    let (_sender, connection) = house.http2().await;
    timeout(LONG, connection)
        .await
        .expect("the connection stayed open")
        .unwrap();
}

struct Certificate {
    server: Arc<rustls::ServerConfig>,
    client: rustls::ClientConfig,
    directory: std::path::PathBuf,
}

impl Certificate {
    fn new(name: &str) -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let directory =
            std::env::temp_dir().join(format!("vestibule-serve-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let files = TlsFiles {
            cert: directory.join("cert.pem"),
            key: directory.join("key.pem"),
        };
        std::fs::write(&files.cert, pair.cert.pem()).unwrap();
        std::fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pair.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            server: tls_config(&files).unwrap(),
            client,
            directory,
        }
    }

    async fn connect(
        &self,
        house: &House,
        alpn: &[u8],
    ) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut config = self.client.clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector
            .connect(
                ServerName::try_from("localhost").unwrap(),
                house.connect().await,
            )
            .await
            .unwrap()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test]
async fn tls_speaks_both_versions_of_http() {
    let certificate = Certificate::new("both");
    let house = House::with_tls(GENEROUS, Some(certificate.server.clone()));
    let mut stream = certificate.connect(&house, b"http/1.1").await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        .await
        .unwrap();
    expect(&mut stream, "hello").await;

    let io = TokioIo::new(certificate.connect(&house, b"h2").await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://localhost/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "hello"
    );
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut_off_and_holds_nobody_up() {
    let certificate = Certificate::new("stall");
    let limits = ServeLimits {
        handshake_timeout: Duration::from_millis(400),
        ..GENEROUS
    };
    let house = House::with_tls(limits, Some(certificate.server.clone()));
    let mut stalled = house.connect().await;
    stalled.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let start = Instant::now();
    let mut stream = certificate.connect(&house, b"http/1.1").await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        .await
        .unwrap();
    expect(&mut stream, "hello").await;
    assert!(is_open(&mut stalled, 10).await || start.elapsed() > Duration::from_millis(300));
    closes_after(&mut stalled).await;
    between(start.elapsed(), 350, 2500);
}

#[tokio::test]
async fn a_certificate_that_is_none_is_refused_by_name() {
    let certificate = Certificate::new("wrong");
    let key = certificate.directory.join("key.pem");
    let error = tls_config(&TlsFiles {
        cert: key.clone(),
        key: key.clone(),
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains("key.pem holds no certificate"), "{error}");
    let cert = certificate.directory.join("cert.pem");
    let error = tls_config(&TlsFiles {
        cert: cert.clone(),
        key: cert,
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains("cert.pem"), "{error}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let house = House::open(GENEROUS);
    let error = bind(&[house.address]).unwrap_err().to_string();
    assert!(error.contains(&house.address.to_string()), "{error}");
}
