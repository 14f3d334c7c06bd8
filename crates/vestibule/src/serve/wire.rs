//! What a connection runs over, and which HTTP is spoken there. Known before anything of HTTP is built: what finds out by
//! itself keeps half as much memory again for as long as the connection is open.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::ServeLimits;

/// With TLS or without, in one type: HTTP is compiled once for both.
pub(super) type Wire = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// How a connection with HTTP/2 begins (RFC 9113 §3.4), as far as none with HTTP/1 does.
const HTTP2_PREFACE: &[u8; 4] = b"PRI ";

/// How long to wait for the rest of these four bytes before looking again. They come together but for a client that wants
/// to see what happens.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Shakes hands, or looks at the first bytes; says with it whether HTTP/2 is spoken.
pub(super) async fn open(
    stream: TcpStream,
    tls: Option<&TlsAcceptor>,
    limits: &ServeLimits,
) -> io::Result<(Wire, bool)> {
    let Some(tls) = tls else {
        let http2 = timeout(limits.header_timeout, begins_http2(&stream)).await??;
        return Ok((Wire::Left(stream), http2));
    };
    let stream = timeout(limits.handshake_timeout, tls.accept(stream)).await??;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Wire::Right(Box::new(stream)), http2))
}

/// Waits for the first bytes, and leaves them where they are.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; HTTP2_PREFACE.len()];
    loop {
        let length = stream.peek(&mut first).await?;
        let seen = first.get(..length).unwrap_or_default();
        if seen == HTTP2_PREFACE {
            return Ok(true);
        }
        // One that hangs up before it says anything speaks HTTP/1 as well as any other.
        if seen.is_empty() || !HTTP2_PREFACE.starts_with(seen) {
            return Ok(false);
        }
        sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// A client and what the server has of it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the other end is the test's own listener"
    )]
    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    /// What is found of a client that sends these pieces, one after the other, and then hangs up.
    async fn found(pieces: &[&[u8]]) -> bool {
        let (mut client, stream) = connection().await;
        let says = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                sleep(LOOK_AGAIN * 2).await;
            }
            drop(client);
        };
        tokio::join!(says, begins_http2(&stream)).1.unwrap()
    }

    #[tokio::test]
    async fn the_first_bytes_tell_which_http_is_spoken() {
        assert!(found(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]).await);
        assert!(found(&[b"P", b"R", b"I *", b" HTTP/2.0"]).await);
        assert!(!found(&[b"POST /mcp HTTP/1.1\r\n"]).await);
        assert!(!found(&[b"PR", b"OPFIND / HTTP/1.1\r\n"]).await);
        assert!(!found(&[b"GET"]).await);
        assert!(!found(&[]).await);
    }

    #[tokio::test]
    async fn a_client_that_says_part_of_a_preface_and_no_more_has_its_time() {
        let (mut client, stream) = connection().await;
        client.write_all(b"PRI").await.unwrap();
        let limits = ServeLimits {
            header_timeout: Duration::from_millis(60),
            ..ServeLimits::generous()
        };
        let error = open(stream, None, &limits).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
