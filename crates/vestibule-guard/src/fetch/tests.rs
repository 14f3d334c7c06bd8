//! What a hostile or broken server can do to [`Outbound`]: scripted raw TCP on loopback.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const LIMITS: FetchLimits = FetchLimits {
    deadline: Duration::from_secs(5),
    max_body: 1024,
};

fn outbound(policy: AddressPolicy) -> Outbound {
    Outbound::new(policy, &Trust::nobody().unwrap())
}

fn get(url: &str) -> Request<Full<Bytes>> {
    Request::get(url).body(Full::default()).unwrap()
}

/// A server that reads one request head per connection, writes `answer` and keeps the socket open.
async fn server(
    answer: impl Into<Vec<u8>>,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            seen.send(read_head(&mut stream).await).unwrap();
            let _ = stream.write_all(&answer).await;
            open.push(stream);
        }
    });
    (address, requests)
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

#[tokio::test]
async fn an_answer_is_read_and_a_user_agent_is_sent() {
    let (address, mut requests) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let client = outbound(AddressPolicy::LoopbackOnly);
    let response = client
        .fetch(get(&format!("http://{address}/x?y")), LIMITS)
        .await
        .unwrap();
    assert_eq!(response.body(), "ok");
    let head = requests.recv().await.unwrap();
    assert!(head.starts_with("GET /x?y HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("user-agent: vestibule/"), "{head}");
}

#[tokio::test]
async fn a_redirect_to_the_metadata_service_is_not_followed() {
    let (address, _requests) = server(
        "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let client = outbound(AddressPolicy::LoopbackOnly);
    let response = client
        .fetch(get(&format!("http://{address}/")), LIMITS)
        .await
        .unwrap();
    assert_eq!(response.status(), 302);
}

#[tokio::test]
async fn a_stranger_cannot_name_an_inner_address_in_any_spelling() {
    let client = outbound(AddressPolicy::PublicOnly);
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "169.254.169.254",
        "10.0.0.1",
        "0.0.0.0",
    ] {
        let error = client
            .fetch(get(&format!("https://{host}:9/")), LIMITS)
            .await
            .unwrap_err();
        assert!(
            matches!(error, FetchError::Refused { .. }),
            "{host}: {error}"
        );
        assert!(error.is_before_sending());
    }
    let error = client
        .fetch(get("http://127.0.0.1:9/"), LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::PlainHttp { .. }), "{error}");
}

#[tokio::test]
async fn loopback_only_does_not_leave_this_computer() {
    let client = outbound(AddressPolicy::LoopbackOnly);
    let error = client
        .fetch(get("http://192.0.2.1/"), LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_closed_port_is_a_connect_error_with_its_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = outbound(AddressPolicy::Configured);
    let error = client
        .fetch(get(&format!("http://{address}/")), LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let client = outbound(AddressPolicy::LoopbackOnly);
    let announced = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 1025\r\n\r\n{}",
        "x".repeat(1025)
    );
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n",
        "x".repeat(1025)
    );
    for answer in [announced, chunked] {
        let (address, _requests) = server(answer).await;
        let error = client
            .fetch(get(&format!("http://{address}/")), LIMITS)
            .await
            .unwrap_err();
        assert!(
            matches!(error, FetchError::TooLarge { limit: 1024, .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_that_drips_runs_into_the_deadline() {
    let (address, _requests) = server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let client = outbound(AddressPolicy::LoopbackOnly);
    let limits = FetchLimits {
        deadline: Duration::from_millis(100),
        ..LIMITS
    };
    let error = client
        .fetch(get(&format!("http://{address}/")), limits)
        .await
        .unwrap_err();
    assert!(error.is_timeout() && !error.is_before_sending(), "{error}");
}

#[tokio::test]
async fn a_handshake_that_never_ends_runs_into_the_connect_timeout() {
    // The listener accepts in the kernel and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let trust = Trust::nobody().unwrap();
    let client = Outbound::with_connect_timeout(
        AddressPolicy::Configured,
        &trust,
        Duration::from_millis(100),
    );
    let error = client
        .fetch(get(&format!("https://{address}/")), LIMITS)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Timeout {
                phase: Phase::Connect,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn garbage_is_a_transport_error() {
    let (address, _requests) = server("\0\0not http at all\r\n\r\n").await;
    let client = outbound(AddressPolicy::LoopbackOnly);
    let error = client
        .fetch(get(&format!("http://{address}/")), LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Transport { .. }), "{error}");
}

#[tokio::test]
async fn a_post_that_may_have_been_delivered_is_sent_once() {
    // The server reads the request and closes without a word, on a fresh and on a reused connection.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = read_head(&mut stream).await;
            if head.starts_with("GET") {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                seen.send(read_head(&mut stream).await).unwrap();
            } else {
                seen.send(head).unwrap();
            }
        }
    });
    let client = outbound(AddressPolicy::LoopbackOnly);
    let url = format!("http://{address}/");
    let post = || Request::post(&url).body(Full::from("{}")).unwrap();
    client.fetch(post(), LIMITS).await.unwrap_err();
    client.fetch(get(&url), LIMITS).await.unwrap();
    client.fetch(post(), LIMITS).await.unwrap_err();
    assert!(requests.recv().await.unwrap().starts_with("POST"));
    assert!(requests.recv().await.unwrap().starts_with("POST"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(requests.try_recv().is_err(), "the POST was sent twice");
}

fn through(address: SocketAddr) -> Outbound {
    let uri = format!("http://{address}").parse().unwrap();
    let authorization = HeaderValue::from_static("Basic dTpw");
    let proxy = EgressProxy::new(uri, Some(authorization));
    Outbound::through(proxy, AddressPolicy::PublicOnly, &Trust::nobody().unwrap())
}

#[tokio::test]
async fn a_proxy_is_asked_to_connect_and_what_it_refuses_fails() {
    let (address, mut requests) =
        server("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    let error = through(address)
        .fetch(get("https://client.example/doc.json"), LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");
    let head = requests.recv().await.unwrap();
    assert!(
        head.starts_with("CONNECT client.example:443 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("Proxy-Authorization: Basic dTpw\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_proxy_that_is_away_is_not_gone_around() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let error = through(gone)
        .fetch(get("https://client.example/doc.json"), LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn a_stranger_cannot_make_the_proxy_fetch_from_inside() {
    let (address, mut requests) = server("HTTP/1.1 200 OK\r\n\r\n").await;
    let client = through(address);
    for url in [
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://169.254.169.254/x",
        "https://10.0.0.1/x",
        "https://localhost/x",
        "https://[::ffff:10.0.0.1]/x",
    ] {
        let error = client.fetch(get(url), LIMITS).await.unwrap_err();
        assert!(
            matches!(error, FetchError::Refused { .. }),
            "{url}: {error}"
        );
    }
    let error = client
        .fetch(get("http://client.example/"), LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::PlainHttp { .. }), "{error}");
    assert!(requests.try_recv().is_err(), "the proxy was asked");
}
