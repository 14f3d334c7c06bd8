//! A front door with a stub verifier, raw clients and scripted upstreams.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use vestibule::policy::Policy;
use vestibule::proxy::{
    Credential, CredentialError, Endpoint, Proxy, Route, Upstream, UpstreamTokens,
};
use vestibule::upstream_identity::{IdentityToken, UpstreamIdentity};
use vestibule_guard::cors::Origins;
use vestibule_guard::fetch::{AddressPolicy, Outbound, Trust};
use vestibule_guard::{Caller, Guard, ProtectedResource, TokenRefusal, Verified, VerifyToken};
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::AccessToken;
use vestibule_oauth::time::UnixTime;
use vestibule_oauth::url;

pub(super) const METADATA: &str = "https://h/.well-known/oauth-protected-resource/mcp";
/// Long enough for a busy machine; nothing waits for it when all is well.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Believes every token and takes it for the user's name.
pub(super) struct Believer;

impl VerifyToken for Believer {
    type Extra = ();

    async fn verify(
        &self,
        token: &str,
        _: &url::ResourceUri,
    ) -> Result<Verified<()>, TokenRefusal> {
        let mut verified = Verified::new(token, "desktop", UnixTime(u64::MAX), ());
        verified.scope = ScopeSet::parse("mcp/read");
        verified.token_id = "t".into();
        Ok(verified)
    }
}

pub(super) struct Tokens;

impl UpstreamTokens for Tokens {
    type Extra = ();

    async fn vestibule_token(
        &self,
        caller: &Caller<()>,
        audience: &str,
    ) -> Result<AccessToken, CredentialError> {
        Ok(AccessToken::new(format!(
            "ours.{audience}.{}",
            caller.subject()
        )))
    }

    fn identity_token(
        &self,
        caller: &Caller<()>,
        token: &IdentityToken,
    ) -> Result<String, CredentialError> {
        Ok(format!("signed.{}.{}", token.audience, caller.subject()))
    }

    async fn provider_token(&self, caller: &Caller<()>) -> Result<AccessToken, CredentialError> {
        match caller.subject() {
            "nobody" => Err(CredentialError::SignInAgain),
            "unlucky" => Err(CredentialError::Unavailable),
            subject => Ok(AccessToken::new(format!("provider.{subject}"))),
        }
    }
}

pub(super) struct Front {
    pub(super) upstream: String,
    pub(super) credential: Credential,
    pub(super) header_timeout: Duration,
    pub(super) max_body_bytes: usize,
}

impl Front {
    pub(super) fn to(upstream: SocketAddr) -> Self {
        Self {
            upstream: format!("http://{upstream}/up"),
            credential: Credential::ProviderToken,
            header_timeout: PATIENCE,
            max_body_bytes: 1024 * 1024,
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
        let outbound = Outbound::new(AddressPolicy::LoopbackOnly, &Trust::nobody().unwrap());
        let endpoint = Arc::new(Endpoint {
            guard: Guard::new(resource.clone(), Believer),
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
                sessions: None,
            },
            proxy: Arc::new(Proxy::new(outbound, Tokens, Arc::new(SystemRandom))),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let endpoint = Arc::clone(&endpoint);
                let service = hyper::service::service_fn(move |request: hyper::Request<_>| {
                    let endpoint = Arc::clone(&endpoint);
                    async move { Ok::<_, Infallible>(endpoint.handle(request.map(Body::new)).await) }
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
