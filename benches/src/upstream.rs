//! A mock MCP server (MCP transports, "Streamable HTTP"): answers ready beforehand, as JSON or as events.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::clock;
use crate::wire::{Reader, contains};

/// Events of one burst.
pub(crate) const BURST: usize = 100;
/// Between the events of a paced stream.
pub(crate) const PACE: Duration = Duration::from_millis(10);
/// Before the moment at which an event was sent, in nanoseconds.
pub(crate) const SENT: &[u8] = b"\"sent\":";

const EVENTS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
/// What the client of a paced stream has had enough of.
const PACED: usize = 100_000;

/// Answers until the process ends. A call of the tool `burst` or `paced` gets events, any other call 1 KiB of JSON; a GET
/// gets a stream on which nothing happens.
pub(crate) async fn serve(address: SocketAddr) -> io::Result<()> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener: TcpListener = socket.listen(16_384)?;
    let answer: Arc<[u8]> = answer().into();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move { connection(stream, &answer).await });
            }
            // Out of descriptors: others must close first.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(stream);
    while let Some(head) = reader.request().await? {
        if head.get {
            reader.stream().write_all(EVENTS).await?;
            // It ends when the client goes.
            while reader.request().await?.is_some() {}
            return Ok(());
        }
        let mut framing = head.framing;
        let (mut burst, mut paced) = (false, false);
        while let Some(piece) = reader.piece(&mut framing).await? {
            burst |= contains(&piece, b"\"name\":\"burst\"");
            paced |= contains(&piece, b"\"name\":\"paced\"");
        }
        if burst {
            events(reader.stream(), BURST, None).await?;
        } else if paced {
            events(reader.stream(), PACED, Some(PACE)).await?;
        } else {
            reader.stream().write_all(answer).await?;
        }
    }
    Ok(())
}

async fn events(stream: &mut TcpStream, count: usize, pace: Option<Duration>) -> io::Result<()> {
    stream.write_all(EVENTS).await?;
    let mut ticks = pace.map(tokio::time::interval);
    for _ in 0..count {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let event = format!(
            "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":1,\"progress\":50,\"sent\":{}}}}}\n\n",
            clock::nanoseconds()
        );
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        stream.write_all(chunk.as_bytes()).await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}

/// 1 KiB of JSON with its head.
fn answer() -> Vec<u8> {
    let frame = |text: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}],\"isError\":false}}}}"
        )
    };
    let body = frame(&"x".repeat(1024 - frame("").len()));
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
