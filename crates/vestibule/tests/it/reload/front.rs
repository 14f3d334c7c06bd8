//! The listener's side of a reload: open connections, streams, handshakes and a house that was full.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use vestibule::serve::{Front, ServeLimits, bind, run_front, tls_config};
use vestibule::settings::{ServerSettings, TlsFiles};

const LONG: Duration = Duration::from_secs(8);

fn limits() -> ServeLimits {
    ServeLimits::from(&ServerSettings::default())
}

/// A house that says its name, at `/` at once and at `/ticks` for ever.
fn named(name: &'static str) -> Router {
    let ticks = move || async move {
        let ticks = futures_util::stream::unfold((), move |()| async move {
            sleep(Duration::from_millis(30)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(name.as_bytes())), ()))
        });
        Body::from_stream(ticks)
    };
    Router::new()
        .route("/", get(move || async move { name }))
        .route("/ticks", get(ticks))
}

fn open(front: &Arc<Front>) -> SocketAddr {
    let listeners = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listeners[0].local_addr().unwrap();
    tokio::spawn(run_front(
        listeners,
        Arc::clone(front),
        CancellationToken::new(),
    ));
    address
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test client, to a listener of this test on 127.0.0.1"
)]
async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

async fn send(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), text: &str) {
    let mut read = Vec::new();
    let wanted = async {
        while !String::from_utf8_lossy(&read).contains(text) {
            read.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(LONG, wanted).await.expect("it did not come");
}

#[tokio::test]
async fn an_open_connection_meets_the_new_house_and_a_stream_stays_in_the_old_one() {
    let front = Front::new(named("old-house"), limits(), None);
    let address = open(&front);
    let (mut idle, mut streaming) = (connect(address).await, connect(address).await);
    send(&mut idle, "/").await;
    expect(&mut idle, "old-house").await;
    send(&mut streaming, "/ticks").await;
    expect(&mut streaming, "old-house").await;
    front.replace(named("new-house"), limits(), None);
    send(&mut idle, "/").await;
    expect(&mut idle, "new-house").await;
    for _ in 0..5 {
        expect(&mut streaming, "old-house").await;
    }
}

#[tokio::test]
async fn a_full_house_that_was_made_larger_lets_the_next_one_in() {
    let full = ServeLimits {
        max_connections: 1,
        ..limits()
    };
    let front = Front::new(named("old-house"), full, None);
    let address = open(&front);
    let mut first = connect(address).await;
    send(&mut first, "/ticks").await;
    expect(&mut first, "old-house").await;
    let mut second = connect(address).await;
    send(&mut second, "/").await;
    let waited = timeout(Duration::from_millis(200), second.read_u8()).await;
    assert!(waited.is_err(), "nobody answers the second");
    front.replace(named("new-house"), limits(), None);
    expect(&mut second, "new-house").await;
}

/// A certificate of its own for `localhost`, and a client that believes nothing else.
fn certificate(name: &str) -> (Arc<rustls::ServerConfig>, tokio_rustls::TlsConnector) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let base = std::env::temp_dir().join(format!("vestibule-front-{name}-{}", std::process::id()));
    let files = TlsFiles {
        cert: base.with_extension("cert"),
        key: base.with_extension("key"),
    };
    std::fs::write(&files.cert, pair.cert.pem()).unwrap();
    std::fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
    let config = tls_config(&files).unwrap();
    for file in [files.cert, files.key] {
        std::fs::remove_file(file).unwrap();
    }
    (config, super::process::believing(pair.cert.der()))
}

#[tokio::test]
async fn a_new_handshake_gets_the_new_certificate_and_an_old_connection_goes_on() {
    let (old, believes_old) = certificate("old");
    let (new, believes_new) = certificate("new");
    let front = Front::new(named("old-house"), limits(), Some(old));
    let address = open(&front);
    let name = ServerName::try_from("localhost").unwrap();
    let mut before = believes_old
        .connect(name.clone(), connect(address).await)
        .await
        .unwrap();
    front.replace(named("new-house"), limits(), Some(new));
    let old_again = believes_old
        .connect(name.clone(), connect(address).await)
        .await;
    assert!(old_again.is_err(), "the old certificate is gone");
    let mut after = believes_new
        .connect(name, connect(address).await)
        .await
        .unwrap();
    for stream in [&mut before, &mut after] {
        let request = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
        stream.write_all(request).await.unwrap();
        expect(stream, "new-house").await;
    }
}
