//! A front door with a stub verifier, raw clients and scripted upstreams.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use http::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use vestibule::arrival::Arrival;
use vestibule::policy::Policy;
use vestibule::proxy::credential;
use vestibule::proxy::{
    Alarm, Credential, CredentialError, Ending, Endpoint, HandleLimits, Proxy, Route, Sessions,
    Standing, Upstream, UpstreamTokens,
};
use vestibule::settings::StreamRules;
use vestibule::upstream_identity::{IdentityToken, UpstreamIdentity};
use vestibule_guard::cors::Origins;
use vestibule_guard::fetch::{AddressPolicy, Outbound, Protocol, Trust};
use vestibule_guard::{Caller, Guard, ProtectedResource, TokenRefusal, Verified, VerifyToken};
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::AccessToken;
use vestibule_oauth::time::{Clock, ManualClock, UnixTime};
use vestibule_oauth::url;

pub(super) const METADATA: &str = "https://h/.well-known/oauth-protected-resource/mcp";
/// Long enough for a busy machine; nothing waits for it when all is well.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// When the streams of a front are over.
#[derive(Clone)]
pub(super) struct Times {
    pub(super) clock: Arc<ManualClock>,
    pub(super) alarm: Arc<Alarm>,
    withdrawn: Arc<AtomicBool>,
}

impl Times {
    fn new() -> Self {
        Self {
            clock: Arc::new(ManualClock::new(UnixTime(1_000_000))),
            alarm: Arc::default(),
            withdrawn: Arc::default(),
        }
    }

    /// Lets time pass by the clock of the tokens. Streams look at it when they expect something, and when the alarm rings.
    pub(super) fn pass(&self, seconds: u64) {
        self.clock.advance(seconds);
        self.alarm.ring();
    }

    /// Withdraws the grants of everybody.
    pub(super) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::SeqCst);
        self.alarm.ring();
    }
}

/// Believes every token until then, and takes it for the user's name.
pub(super) struct Believer(UnixTime);

impl VerifyToken for Believer {
    type Extra = ();

    async fn verify(
        &self,
        token: &str,
        _: &url::ResourceUri,
    ) -> Result<Verified<()>, TokenRefusal> {
        let mut verified = Verified::new(token, "desktop", self.0, ());
        verified.scope = ScopeSet::parse("mcp/read");
        verified.token_id = "t".into();
        Ok(verified)
    }
}

pub(super) struct Tokens(Times);

impl UpstreamTokens for Tokens {
    type Extra = ();

    fn vestibule_token(
        &self,
        caller: &Caller<()>,
        audience: &str,
    ) -> Result<HeaderValue, CredentialError> {
        credential::bearer(&format!("ours.{audience}.{}", caller.subject()))
    }

    fn identity_token(
        &self,
        caller: &Caller<()>,
        token: &IdentityToken,
    ) -> Result<HeaderValue, CredentialError> {
        credential::secret_value(format!("signed.{}.{}", token.audience, caller.subject()))
    }

    fn provider_token(&self, caller: &Caller<()>) -> Result<AccessToken, CredentialError> {
        match caller.subject() {
            "nobody" => Err(CredentialError::SignInAgain),
            "unlucky" => Err(CredentialError::Unavailable),
            subject => Ok(AccessToken::new(format!("provider.{subject}"))),
        }
    }

    fn standing(&self, _: &Caller<()>) -> Standing {
        let withdrawn = Arc::clone(&self.0.withdrawn);
        Box::new(move || !withdrawn.load(Ordering::SeqCst))
    }
}

pub(super) struct Front {
    pub(super) upstream: String,
    pub(super) credential: Credential,
    pub(super) header_timeout: Duration,
    pub(super) max_body_bytes: usize,
    pub(super) protocol: Protocol,
    pub(super) sessions: Option<Sessions>,
    pub(super) handles: Option<HandleLimits>,
    pub(super) streams: StreamRules,
    pub(super) times: Times,
    /// Seconds for which tokens are good, by the clock of `times`.
    pub(super) token_life: u64,
}

impl Front {
    pub(super) fn to(upstream: SocketAddr) -> Self {
        Self {
            upstream: format!("http://{upstream}/up"),
            credential: Credential::ProviderToken,
            header_timeout: PATIENCE,
            max_body_bytes: 1024 * 1024,
            protocol: Protocol::Http1,
            sessions: None,
            handles: None,
            streams: StreamRules::default(),
            times: Times::new(),
            token_life: 600,
        }
    }

    /// Serves `/mcp` as the house would, and gives its address.
    pub(super) async fn start(self) -> SocketAddr {
        let resource = ProtectedResource::new(
            url::ResourceUri::parse("https://h/mcp").unwrap(),
            METADATA,
            ScopeSet::parse("mcp/read"),
        );
        let upstream = url::Endpoint::parse(&self.upstream).unwrap();
        let trust = Trust::nobody().unwrap();
        let outbound = Outbound::speaking(self.protocol, AddressPolicy::LoopbackOnly, &trust);
        let ending = Ending {
            clock: Arc::clone(&self.times.clock) as Arc<dyn Clock>,
            alarm: Arc::clone(&self.times.alarm),
        };
        let expires_at = self.times.clock.now().plus(self.token_life);
        let tokens = Tokens(self.times);
        let endpoint = Arc::new(Endpoint {
            guard: Guard::new(resource.clone(), Believer(expires_at)),
            origins: Origins::default(),
            route: Route {
                resource,
                path: "/mcp".into(),
                upstream: Upstream::parse(&upstream).unwrap(),
                credential: self.credential,
                identity: UpstreamIdentity::default(),
                header_timeout: self.header_timeout,
                max_body_bytes: self.max_body_bytes,
                policy: Policy::open(),
                sessions: self.sessions,
                handles: self.handles,
                streams: self.streams,
            },
            proxy: Arc::new(Proxy::new(outbound, tokens, ending, Arc::new(SystemRandom))),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let endpoint = Arc::clone(&endpoint);
                let service = hyper::service::service_fn(move |request: hyper::Request<_>| {
                    let endpoint = Arc::clone(&endpoint);
                    async move {
                        let (at, from) = (Instant::now(), None);
                        let arrival = Arrival { at, from };
                        let request = Box::new(request.map(Body::new));
                        Ok::<_, Infallible>(endpoint.handle(arrival, request).await)
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        address
    }
}

/// An upstream that runs `script` for every connection.
pub(super) async fn upstream<F, R>(script: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(stream));
        }
    });
    address
}

/// An upstream that answers every request with the same bytes and tells what it was sent: heads, and bodies with a
/// `Content-Length`.
pub(super) async fn canned(
    answer: impl Into<String>,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let answer: Arc<str> = answer.into().into();
    let (seen, requests) = mpsc::unbounded_channel();
    let address = upstream(move |mut stream| {
        let (answer, seen) = (Arc::clone(&answer), seen.clone());
        async move {
            while let Some(request) = read_message(&mut stream).await {
                let _ = seen.send(request);
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (address, requests)
}

/// An address where nobody listens.
pub(super) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// A client connection with a small receive buffer, so that back-pressure starts early.
pub(super) async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.connect(address).await.unwrap()
}

/// Sends one request as text and reads one answer: its head in lower case, and its body.
pub(super) async fn ask(front: SocketAddr, request: &str) -> (String, String) {
    let mut stream = connect(front).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = within(read_message(&mut stream)).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

/// A signed-in request without a body.
pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ada\r\n\r\n")
}

/// Reads a head and as much body as `Content-Length` says; `None` at the end of the stream.
pub(super) async fn read_message<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let head = read_head(stream).await?;
    let length = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

pub(super) async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// Waits until the peer is gone, by end or by reset.
pub(super) async fn gone(stream: &mut (impl AsyncRead + Unpin)) {
    let mut sink = [0; 1024];
    while let Ok(1..) = stream.read(&mut sink).await {}
}

pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

pub(super) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(super) const SSE_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// One chunk of a chunked body.
pub(super) fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// An upstream that begins an event stream for every request with these chunks, and then sends what it is told to. Tells
/// what it was asked, and when the peer has gone.
pub(super) struct Events {
    pub(super) address: SocketAddr,
    pub(super) asked: mpsc::UnboundedReceiver<String>,
    pub(super) send: tokio::sync::broadcast::Sender<&'static str>,
    pub(super) left: mpsc::UnboundedReceiver<()>,
}

impl Events {
    pub(super) async fn start(head: &'static [u8], first: &'static str) -> Self {
        let (seen, asked) = mpsc::unbounded_channel();
        let (gone_away, left) = mpsc::unbounded_channel();
        let (send, _) = tokio::sync::broadcast::channel(16);
        let sender = send.clone();
        let address = upstream(move |stream| {
            let (seen, gone_away, mut more) = (seen.clone(), gone_away.clone(), sender.subscribe());
            async move {
                let (mut reader, mut writer) = stream.into_split();
                seen.send(read_message(&mut reader).await.unwrap()).unwrap();
                writer.write_all(head).await.unwrap();
                writer.write_all(&chunk(first)).await.unwrap();
                tokio::spawn(async move {
                    gone(&mut reader).await;
                    gone_away.send(()).unwrap();
                });
                while let Ok(text) = more.recv().await {
                    if writer.write_all(&chunk(text)).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self {
            address,
            asked,
            send,
            left,
        }
    }
}

/// A chunked body as it comes, without the sizes of chunks.
pub(super) struct Reader {
    stream: TcpStream,
    pub(super) head: String,
    pub(super) text: String,
}

impl Reader {
    /// Sends a request and reads the head of its answer.
    pub(super) async fn open(front: SocketAddr, request: &str) -> Self {
        let mut stream = connect(front).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = within(read_head(&mut stream)).await.unwrap();
        Self {
            stream,
            head: head.to_ascii_lowercase(),
            text: String::new(),
        }
    }

    /// Reads on until the text ends with `wanted`.
    pub(super) async fn until(&mut self, wanted: &str) {
        while !self.text.ends_with(wanted) {
            assert!(within(self.chunk()).await, "ended: {}", self.text);
        }
    }

    /// Reads to the end, which must be in good order.
    pub(super) async fn rest(mut self) -> String {
        while within(self.chunk()).await {}
        self.text
    }

    /// True when nothing comes for a while, not even the end.
    pub(super) async fn is_quiet(&mut self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.chunk()).await.is_err()
    }

    async fn chunk(&mut self) -> bool {
        let mut size = String::new();
        while !size.ends_with("\r\n") {
            size.push(char::from(self.stream.read_u8().await.unwrap()));
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).await.unwrap();
        chunk.truncate(size);
        self.text.push_str(&String::from_utf8(chunk).unwrap());
        size > 0
    }
}
