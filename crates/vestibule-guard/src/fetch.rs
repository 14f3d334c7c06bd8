//! Every outbound request: one pooled client per address policy, with limits, without redirects or proxies from the
//! environment (facts/rust.md A.2 "HTTP client"; RFC 9728, CIMD and OpenID Connect documents all come through here).

mod address;
mod body;
mod connect;
mod lanes;
mod pool;

use std::error::Error as StdError;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;

pub use self::address::{AddressClass, AddressPolicy};
use self::body::OutgoingBody;
pub use self::body::Streaming;
use self::connect::{BoxError, Connector, DialError};
pub use self::connect::{EgressProxy, Trust, TrustError};
use self::lanes::Lanes;
use self::pool::{Broken, Connections};

/// Name resolution, TCP and TLS together must be done in this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an unused HTTP/2 connection is kept: HTTP/2 says goodbye before it closes.
const HTTP2_POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of one answer may wait for its reader, in bytes: a stream's window is all the memory it can take.
const HTTP2_STREAM_WINDOW: u32 = 128 * 1024;
/// The connection's own window never runs out (2^31 - 1): readers that stand still do not hold up the others on it.
const HTTP2_CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// A server that is gone without a word is noticed while streams are open.
const HTTP2_PING: Duration = Duration::from_secs(30);
/// How long the answer to a ping may take.
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Read buffer of a connection, in bytes; also the longest response head. hyper's own limit is 400 KiB per stream.
const MAX_BUFFER: usize = 64 * 1024;
/// Sent when the request names none: firewalls drop requests without one (facts/clients.md §6.2).
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("vestibule/", env!("CARGO_PKG_VERSION")));

/// The way out. Cheap to clone; clones share the connection pool.
///
/// Addresses named by strangers and addresses typed by the operator need two of these: a pooled connection does not
/// remember under which policy it was opened.
#[derive(Clone)]
pub struct Outbound {
    pool: Pool,
    policy: AddressPolicy,
}

#[derive(Clone)]
enum Pool {
    Http1(Box<Connections>),
    Http2(Arc<Lanes<Client<Connector, OutgoingBody>>>),
}

/// What is spoken with the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: a connection for each exchange, reused. Cheaper for each request.
    #[default]
    Http1,
    /// HTTP/2 and nothing else: by ALPN over TLS, by prior knowledge without (RFC 9113 §3). Many exchanges share a
    /// connection, which is less memory where many streams are open.
    Http2,
}

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// From the call to the last byte of the body.
    pub deadline: Duration,
    /// Bytes of body; one more is an error.
    pub max_body: usize,
}

/// What was going on when time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Name resolution, TCP or TLS.
    Connect,
    /// Waiting for the response, or for the rest of it.
    Response,
}

/// Why there is no response.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The request has no absolute http or https URL.
    #[error("the request has no absolute http or https URL")]
    NotAbsolute,
    /// The address policy says no. Nothing was sent.
    #[error("{host} is refused: {address} is {class}")]
    Refused {
        /// Host of the request.
        host: String,
        /// The first address of the host.
        address: IpAddr,
        /// What that address is.
        class: AddressClass,
    },
    /// Plain http under [`AddressPolicy::PublicOnly`]. Nothing was sent.
    #[error("{host} is refused: plain http")]
    PlainHttp {
        /// Host of the request.
        host: String,
    },
    /// No connection: unknown name, refused, TLS failed. Nothing was sent.
    #[error("cannot connect to {host}: {source}")]
    Connect {
        /// Host of the request.
        host: String,
        /// The cause.
        source: BoxError,
    },
    /// Time ran out.
    #[error("{host} took too long ({phase:?})")]
    Timeout {
        /// Host of the request.
        host: String,
        /// What was going on.
        phase: Phase,
    },
    /// The body is larger than allowed.
    #[error("{host} answered with more than {limit} bytes")]
    TooLarge {
        /// Host of the request.
        host: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The connection broke or the answer was not HTTP. The request may have been delivered.
    #[error("the exchange with {host} failed: {source}")]
    Transport {
        /// Host of the request.
        host: String,
        /// The cause.
        source: BoxError,
    },
}

impl FetchError {
    /// True when the server was too slow, as opposed to away or broken.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// True when certainly nothing reached the server.
    pub fn is_before_sending(&self) -> bool {
        !matches!(
            self,
            Self::Timeout {
                phase: Phase::Response,
                ..
            } | Self::TooLarge { .. }
                | Self::Transport { .. }
        )
    }
}

impl Outbound {
    /// A client that reaches what `policy` allows and believes whom `trust` names.
    pub fn new(policy: AddressPolicy, trust: &Trust) -> Self {
        Self::with_connect_timeout(policy, trust, CONNECT_TIMEOUT)
    }

    /// The same with another limit for name resolution, TCP and TLS.
    pub fn with_connect_timeout(policy: AddressPolicy, trust: &Trust, timeout: Duration) -> Self {
        let connector = Connector::new(policy, None, trust, Protocol::Http1, timeout);
        Self::build(policy, connector)
    }

    /// The same in this protocol.
    pub fn speaking(protocol: Protocol, policy: AddressPolicy, trust: &Trust) -> Self {
        let connector = Connector::new(policy, None, trust, protocol, CONNECT_TIMEOUT);
        match protocol {
            Protocol::Http1 => Self::build(policy, connector),
            Protocol::Http2 => Self {
                pool: Pool::Http2(Arc::new(Lanes::new(move || http2(connector.clone())))),
                policy,
            },
        }
    }

    /// The same through a proxy, and never around it.
    pub fn through(proxy: EgressProxy, policy: AddressPolicy, trust: &Trust) -> Self {
        let connector =
            Connector::new(policy, Some(proxy), trust, Protocol::Http1, CONNECT_TIMEOUT);
        Self::build(policy, connector)
    }

    fn build(policy: AddressPolicy, connector: Connector) -> Self {
        Self {
            pool: Pool::Http1(Box::new(Connections::new(connector))),
            policy,
        }
    }

    /// Sends a small request and reads the whole answer, whatever its status. Redirects are answers like any other.
    pub async fn fetch(
        &self,
        request: Request<Full<Bytes>>,
        limits: FetchLimits,
    ) -> Result<Response<Bytes>, FetchError> {
        let host = host_of(&request)?;
        let exchange = async {
            let request = Box::new(request.map(OutgoingBody::full));
            let response = self.send(request, &host).await?;
            let (parts, body) = response.into_parts();
            let body = collect(body, limits.max_body, host.host()).await?;
            Ok(Response::from_parts(parts, body))
        };
        within(limits.deadline, &host, exchange).await
    }

    /// Sends a request whose body streams and gives the response as soon as its headers are here, however long that takes.
    /// There is no limit on the bodies; dropping the future or the response ends the exchange.
    pub async fn stream(&self, request: StreamRequest) -> Result<Response<Streaming>, FetchError> {
        let host = host_of(&request.0)?;
        self.send(request.0, &host).await
    }

    /// The same, but the headers must be here in time.
    pub async fn stream_within(
        &self,
        request: StreamRequest,
        header_deadline: Duration,
    ) -> Result<Response<Streaming>, FetchError> {
        let host = host_of(&request.0)?;
        within(header_deadline, &host, self.send(request.0, &host)).await
    }

    async fn send(
        &self,
        mut request: Box<Request<OutgoingBody>>,
        host: &Authority,
    ) -> Result<Response<Streaming>, FetchError> {
        request
            .headers_mut()
            .entry(header::USER_AGENT)
            .or_insert(USER_AGENT);
        match &self.pool {
            Pool::Http1(connections) => match connections.send(request).await {
                Ok(response) => Ok(response.map(Streaming::http1)),
                Err(Broken::Connect(error)) => Err(explain(Some(&*error), true, host.host())),
                Err(Broken::Exchange(error)) => Err(explain(Some(&error), false, host.host())),
            },
            Pool::Http2(lanes) => {
                let (client, busy) = lanes.take();
                match Box::pin(client.request(*request)).await {
                    Ok(response) => Ok(response.map(|body| Streaming::http2(body, busy))),
                    Err(error) => Err(explain(error.source(), error.is_connect(), host.host())),
                }
            }
        }
    }
}

/// A request whose body streams. Boxed from the start, because it is large: every future on its way would have room for it,
/// and would move it once more.
pub struct StreamRequest(Box<Request<OutgoingBody>>);

impl StreamRequest {
    /// Takes a request with an absolute URL.
    pub fn new<B>(request: Request<B>) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Box::new(request.map(OutgoingBody::stream)))
    }
}

impl std::fmt::Debug for StreamRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamRequest")
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

fn http2(connector: Connector) -> Client<Connector, OutgoingBody> {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(HTTP2_POOL_IDLE_TIMEOUT)
        .http2_initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .http2_initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .http2_max_header_list_size(u32::try_from(MAX_BUFFER).unwrap_or(u32::MAX))
        .http2_keep_alive_interval(HTTP2_PING)
        .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT)
        .retry_canceled_requests(true)
        .build(connector)
}

fn host_of<B>(request: &Request<B>) -> Result<Authority, FetchError> {
    let known = matches!(request.uri().scheme_str(), Some("http" | "https"));
    match request.uri().authority() {
        Some(authority) if known => Ok(authority.clone()),
        _ => Err(FetchError::NotAbsolute),
    }
}

async fn within<T>(
    deadline: Duration,
    host: &Authority,
    work: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or_else(|_| {
            Err(FetchError::Timeout {
                host: host.host().to_owned(),
                phase: Phase::Response,
            })
        })
}

async fn collect(body: Streaming, limit: usize, host: &str) -> Result<Bytes, FetchError> {
    let too_large = || FetchError::TooLarge {
        host: host.to_owned(),
        limit,
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(source) => Err(FetchError::Transport {
            host: host.to_owned(),
            source,
        }),
    }
}

/// Finds our own connector's reason inside what went wrong.
fn explain(
    error: Option<&(dyn StdError + 'static)>,
    before_sending: bool,
    host: &str,
) -> FetchError {
    let host = host.to_owned();
    let mut cause = error;
    while let Some(current) = cause {
        match current.downcast_ref::<DialError>() {
            Some(DialError::Refused { address, class }) => {
                let (address, class) = (*address, *class);
                return FetchError::Refused {
                    host,
                    address,
                    class,
                };
            }
            Some(DialError::PlainHttp) => return FetchError::PlainHttp { host },
            Some(DialError::Timeout) => {
                let phase = Phase::Connect;
                return FetchError::Timeout { host, phase };
            }
            _ => cause = current.source(),
        }
    }
    let source: BoxError = Chain::of(error).into();
    if before_sending {
        FetchError::Connect { host, source }
    } else {
        FetchError::Transport { host, source }
    }
}

/// An error with all its causes: the outermost rarely says what the matter was.
#[derive(Debug, Error)]
#[error("{0}")]
struct Chain(String);

impl Chain {
    fn of(error: Option<&(dyn StdError + 'static)>) -> Self {
        let mut text = String::new();
        let mut cause = error;
        while let Some(current) = cause {
            let said = current.to_string();
            if !text.ends_with(&said) {
                if !text.is_empty() {
                    text.push_str(": ");
                }
                text.push_str(&said);
            }
            cause = current.source();
        }
        if text.is_empty() {
            text.push_str("unknown");
        }
        Self(text)
    }
}

#[cfg(test)]
mod tests;
