//! HTTP/1.1 as the load generator and the mock server need it (RFC 9112): by hand, because a library on either side costs
//! as much as what is measured.

use std::io;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(usize),
    /// With an empty chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// The head of a request or of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Of an answer; 0 for a request.
    pub(crate) status: u16,
    /// True for `GET`.
    pub(crate) get: bool,
    pub(crate) framing: Framing,
}

/// Reads from a stream, message by message.
pub(crate) struct Reader<S> {
    stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    pub(crate) fn new(stream: S) -> Self {
        let buffer = BytesMut::with_capacity(16 << 10);
        Self { stream, buffer }
    }

    pub(crate) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> io::Result<bool> {
        self.buffer.reserve(4 << 10);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// The head of the next request; `None` when the peer has gone.
    pub(crate) async fn request(&mut self) -> io::Result<Option<Head>> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut headers);
            if let httparse::Status::Complete(end) = parsed(request.parse(&self.buffer))? {
                let head = Head {
                    status: 0,
                    get: request.method == Some("GET"),
                    framing: framing(request.headers, Framing::Length(0)),
                };
                self.buffer.advance(end);
                return Ok(Some(head));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// The head of the next answer.
    pub(crate) async fn answer(&mut self) -> io::Result<Head> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut answer = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(end) = parsed(answer.parse(&self.buffer))? {
                let head = Head {
                    status: answer.code.unwrap_or_default(),
                    get: false,
                    framing: framing(answer.headers, Framing::Close),
                };
                self.buffer.advance(end);
                return Ok(head);
            }
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next piece of a body of which `framing` is left; `None` at its end. What it gives is gone with the next call.
    pub(crate) async fn piece(&mut self, framing: &mut Framing) -> io::Result<Option<BytesMut>> {
        loop {
            match framing {
                Framing::Length(0) => return Ok(None),
                Framing::Length(left) if !self.buffer.is_empty() => {
                    let piece = self.buffer.split_to(self.buffer.len().min(*left));
                    *left -= piece.len();
                    return Ok(Some(piece));
                }
                Framing::Chunked => {
                    if let Some((start, size)) = chunk(&self.buffer)?
                        && self.buffer.len() >= start + size + 2
                    {
                        self.buffer.advance(start);
                        let piece = self.buffer.split_to(size);
                        self.buffer.advance(2);
                        if size == 0 {
                            *framing = Framing::Length(0);
                            return Ok(None);
                        }
                        return Ok(Some(piece));
                    }
                }
                Framing::Close if !self.buffer.is_empty() => return Ok(Some(self.buffer.split())),
                _ => {}
            }
            if !self.more().await? {
                return match framing {
                    Framing::Close => Ok(None),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// Reads a body to its end, and says whether `word` stands in it.
    pub(crate) async fn body(&mut self, mut framing: Framing, word: &[u8]) -> io::Result<bool> {
        let mut found = false;
        while let Some(piece) = self.piece(&mut framing).await? {
            found = found || (!word.is_empty() && contains(&piece, word));
        }
        Ok(found)
    }
}

/// True when `word` stands in `bytes`.
pub(crate) fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

fn parsed(result: httparse::Result<usize>) -> io::Result<httparse::Status<usize>> {
    result.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

fn framing(headers: &[httparse::Header<'_>], otherwise: Framing) -> Framing {
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(header.value).ok();
            return Framing::Length(length.and_then(|text| text.parse().ok()).unwrap_or(0));
        }
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Framing::Chunked;
        }
    }
    otherwise
}

/// Where the data of the chunk at the beginning of `bytes` starts, and its size; `None` when more must be read.
fn chunk(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    match httparse::parse_chunk_size(bytes) {
        Ok(httparse::Status::Complete((start, size))) => {
            let size = usize::try_from(size).map_err(io::Error::other)?;
            Ok(Some((start, size)))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_of_every_framing_are_read_to_their_end_and_no_further() {
        let answers: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc\
            HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x=y\r\nf\r\n0\r\n\r\n\
            HTTP/1.1 200 OK\r\n\r\nghi";
        let mut reader = Reader::new(answers);
        for (status, body) in [(200, b"abc"), (401, b"def"), (200, b"ghi")] {
            let head = reader.answer().await.unwrap();
            assert_eq!(head.status, status);
            let (mut framing, mut whole) = (head.framing, Vec::new());
            while let Some(piece) = reader.piece(&mut framing).await.unwrap() {
                whole.extend_from_slice(&piece);
            }
            assert_eq!(whole, body);
        }
    }
}
