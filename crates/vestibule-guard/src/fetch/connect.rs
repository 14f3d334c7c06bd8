//! The one place that opens sockets: resolve, filter every address, connect, TLS (facts/rust.md A.2 "HTTP client", "TLS").

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{HeaderValue, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;
use thiserror::Error;
use tokio::net::TcpStream;
use tower::Service;

use super::Protocol;
use super::address::{AddressClass, AddressPolicy};

/// When the first address does not answer, the next one is tried after this long without giving up the first (the idea
/// of RFC 8305).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// How long the system's resolver may take when a proxy would resolve the name anyway.
const PROXIED_LOOKUP: Duration = Duration::from_secs(1);

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Which certificate authorities are believed.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

/// Why the certificate authorities could not be read.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The extra file is not PEM, or holds no certificate.
    #[error("the extra CA file holds no readable PEM certificate: {0}")]
    Pem(String),
    /// The platform has no certificate authorities, and no extra ones were given.
    #[error("no certificate authorities: {0}")]
    Roots(#[source] rustls::Error),
}

impl Trust {
    /// The platform's certificate authorities (`SSL_CERT_FILE` is honoured) and those in `extra_ca_pem`. Without the latter
    /// they are read once in a process: that takes milliseconds, and each set of them some hundred kilobytes.
    pub fn platform(extra_ca_pem: Option<&[u8]>) -> Result<Self, TrustError> {
        let mut extra = Vec::new();
        if let Some(pem) = extra_ca_pem {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                extra.push(certificate.map_err(|error| TrustError::Pem(error.to_string()))?);
            }
            if extra.is_empty() {
                return Err(TrustError::Pem("no certificate found".to_owned()));
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = if extra.is_empty() {
            system_verifier()?
        } else {
            let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider));
            Arc::new(verifier.map_err(TrustError::Roots)?)
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Roots)?
            // The name is rustls's; the verifier is the platform's, with nothing switched off.
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Nobody: every https request fails. For tests and development over plain http.
    pub fn nobody() -> Result<Self, TrustError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Roots)?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// The same trust for what is not HTTP, such as a database.
    pub fn client_config(&self) -> ClientConfig {
        ClientConfig::clone(&self.0)
    }
}

/// Whoever the platform trusts, read when first asked for. A failure is not kept: the next one may have more luck.
fn system_verifier() -> Result<Arc<Verifier>, TrustError> {
    static READ: Mutex<Option<Arc<Verifier>>> = Mutex::new(None);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(verifier) = read.as_ref() {
        return Ok(Arc::clone(verifier));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Verifier::new(provider).map_err(TrustError::Roots)?);
    *read = Some(Arc::clone(&verifier));
    Ok(verifier)
}

/// A forward proxy that https requests tunnel through (HTTP CONNECT, RFC 9110 §9.3.6). When it fails the request fails:
/// there is no way around it.
#[derive(Clone, PartialEq, Eq)]
pub struct EgressProxy {
    uri: Uri,
    authorization: Option<HeaderValue>,
}

impl EgressProxy {
    /// The proxy at `uri` (`http://host:port`), with the value of `Proxy-Authorization` if it wants one.
    pub fn new(uri: Uri, authorization: Option<HeaderValue>) -> Self {
        Self { uri, authorization }
    }
}

impl std::fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EgressProxy")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

/// Why there is no connection. `FetchError` is what callers see.
#[derive(Debug, Error)]
pub(super) enum DialError {
    #[error("{address} is {class}")]
    Refused {
        address: IpAddr,
        class: AddressClass,
    },
    #[error("plain http is refused here")]
    PlainHttp,
    #[error("no connection in time")]
    Timeout,
    #[error("the server does not speak HTTP/2")]
    NoHttp2,
    #[error("the name cannot be resolved")]
    Resolve(#[source] io::Error),
    #[error("no address accepts a connection")]
    Tcp(#[source] io::Error),
}

/// `Way`, then TLS when the scheme is https, both within one timeout.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<Way>,
    protocol: Protocol,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(
        policy: AddressPolicy,
        proxy: Option<EgressProxy>,
        trust: &Trust,
        protocol: Protocol,
        timeout: Duration,
    ) -> Self {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config((*trust.0).clone())
            .https_or_http();
        let way = Way::new(policy, proxy);
        // One of them only: HTTP/1.1 is cheaper towards one upstream, without head-of-line blocking
        // (facts/performance.md), so HTTP/2 is for those who ask for it.
        let https = match protocol {
            Protocol::Http1 => https.enable_http1().wrap_connector(way),
            Protocol::Http2 => https.enable_http2().wrap_connector(way),
        };
        Self {
            https,
            protocol,
            timeout,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.timeout, self.https.call(uri));
        let http2 = self.protocol == Protocol::Http2;
        Box::pin(async move {
            let stream = connecting.await.map_err(|_| DialError::Timeout)??;
            match &stream {
                MaybeHttpsStream::Https(tls) if http2 => {
                    // A server without ALPN takes any connection, and would read our HTTP/2 as something else.
                    let (_, session) = tls.inner().get_ref();
                    if session.alpn_protocol() != Some(b"h2") {
                        return Err(DialError::NoHttp2.into());
                    }
                    Ok(stream)
                }
                _ => Ok(stream),
            }
        })
    }
}

/// Straight to the host, or through a proxy.
#[derive(Clone)]
pub(super) enum Way {
    Straight(Dial),
    Proxied {
        policy: AddressPolicy,
        tunnel: Tunnel<Dial>,
    },
}

impl Way {
    fn new(policy: AddressPolicy, proxy: Option<EgressProxy>) -> Self {
        let Some(proxy) = proxy else {
            return Self::Straight(Dial { policy });
        };
        // The operator typed the proxy's address: it may be private. What lies behind it is checked in `permit`.
        let to_proxy = Dial {
            policy: AddressPolicy::Configured,
        };
        let tunnel = Tunnel::new(proxy.uri, to_proxy);
        let tunnel = match proxy.authorization {
            Some(authorization) => tunnel.with_auth(authorization),
            None => tunnel,
        };
        Self::Proxied { policy, tunnel }
    }
}

impl Service<Uri> for Way {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Self::Straight(dial) => {
                let connecting = dial.call(uri);
                Box::pin(async move { Ok(connecting.await?) })
            }
            Self::Proxied { policy, tunnel } => {
                let policy = *policy;
                let mut tunnel = tunnel.clone();
                Box::pin(async move {
                    permit(policy, &uri).await?;
                    Ok(tunnel.call(uri).await?)
                })
            }
        }
    }
}

/// May a proxy be asked for this host? The proxy resolves the name and must itself refuse private answers; what can be
/// known here is refused here: address literals in every spelling, and names that our own resolver finds only at
/// addresses the policy forbids. A name that only the proxy can resolve passes.
async fn permit(policy: AddressPolicy, uri: &Uri) -> Result<(), DialError> {
    match tokio::time::timeout(PROXIED_LOOKUP, resolve(policy, uri)).await {
        Ok(Err(error @ (DialError::Refused { .. } | DialError::PlainHttp))) => Err(error),
        _ => Ok(()),
    }
}

/// TCP to an allowed address.
#[derive(Clone)]
pub(super) struct Dial {
    policy: AddressPolicy,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let policy = self.policy;
        Box::pin(async move { dial(policy, &uri).await.map(TokioIo::new) })
    }
}

async fn dial(policy: AddressPolicy, uri: &Uri) -> Result<TcpStream, DialError> {
    let allowed = resolve(policy, uri).await?;
    let stream = connect_first(allowed).await.map_err(DialError::Tcp)?;
    stream.set_nodelay(true).map_err(DialError::Tcp)?;
    Ok(stream)
}

/// Every allowed address of the host.
async fn resolve(policy: AddressPolicy, uri: &Uri) -> Result<Vec<SocketAddr>, DialError> {
    let https = uri.scheme_str() == Some("https");
    if policy == AddressPolicy::PublicOnly && !https {
        return Err(DialError::PlainHttp);
    }
    let host = uri.host().unwrap_or_default();
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    // Literals come through here as well, also the odd ones (`127.1`, `0x7f000001`) that only libc understands. What is
    // checked is what is connected to, so a name that changes its answer gains nothing.
    let resolved: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(DialError::Resolve)?
        .collect();
    let allowed: Vec<SocketAddr> = resolved
        .iter()
        .copied()
        .filter(|address| policy.allows(address.ip()))
        .collect();
    if allowed.is_empty()
        && let Some(first) = resolved.first()
    {
        let address = first.ip();
        let class = AddressClass::of(address);
        return Err(DialError::Refused { address, class });
    }
    Ok(allowed)
}

/// The first address that accepts, each started a little after the one before or as soon as that failed.
async fn connect_first(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = interleave_families(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::other("the name has no address");
    loop {
        if let Some(address) = waiting.next() {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that opens sockets"
            )]
            attempts.push(TcpStream::connect(address));
        } else if attempts.is_empty() {
            return Err(failure);
        }
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if waiting.len() > 0 => {}
        }
    }
}

fn interleave_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut other = other.into_iter();
    let mut mixed = Vec::new();
    for address in preferred {
        mixed.push(address);
        mixed.extend(other.next());
    }
    mixed.extend(other);
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (a, b, c) = (parse("[::1]:1"), parse("[::2]:1"), parse("127.0.0.1:1"));
        assert_eq!(interleave_families(vec![a, b, c]), [a, c, b]);
        assert_eq!(interleave_families(vec![c, a, b]), [c, a, b]);
    }

    #[tokio::test]
    async fn spellings_that_only_libc_understands_are_refused_too() {
        // TLS would refuse these names as well; this is the layer below it.
        for host in ["127.1", "2130706433", "0x7f.1", "0177.0.0.1"] {
            let uri: Uri = format!("https://{host}:9/").parse().unwrap();
            let error = dial(AddressPolicy::PublicOnly, &uri).await.unwrap_err();
            assert!(
                matches!(error, DialError::Refused { .. }),
                "{host}: {error}"
            );
        }
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        assert!(matches!(
            Trust::platform(Some(b"not pem")),
            Err(TrustError::Pem(_))
        ));
    }
}
