//! The floor: a proxy in as few lines as hyper and hyper-util take, and the same with RS256 paid for on each request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;

use crate::{Fallible, clock};

/// As long as ours.
const CHALLENGE: HeaderValue = HeaderValue::from_static(
    "Bearer resource_metadata=\"https://mcp.bench.example/.well-known/oauth-protected-resource/mcp\", scope=\"mcp:read mcp:write\"",
);
const REFUSED: Bytes = Bytes::from_static(
    b"{\"error\":\"unauthorized\",\"error_description\":\"sign in to use this MCP server\"}",
);
const DOCUMENT: Bytes = Bytes::from_static(
    b"{\"resource\":\"https://mcp.bench.example/mcp\",\"authorization_servers\":[\"https://mcp.bench.example\"],\"scopes_supported\":[\"mcp:read\",\"mcp:write\"],\"bearer_methods_supported\":[\"header\"],\"resource_name\":\"bench\"}",
);

struct Floor {
    upstream: Uri,
    client: Client<HttpConnector, Incoming>,
    key: Option<ParsedPublicKey>,
}

#[derive(Deserialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    exp: u64,
}

/// Forwards to `upstream` until the process ends; with the PEM of a public key only what was signed with it.
pub(crate) async fn serve(listen: SocketAddr, upstream: Uri, key: Option<&Path>) -> Fallible<()> {
    let key = key.map(public_key).transpose()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let floor = Arc::new(Floor {
        upstream,
        client,
        key,
    });
    let listener = tokio::net::TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let floor = Arc::clone(&floor);
        tokio::spawn(async move {
            let service = service_fn(|request| floor.answer(request));
            let http = hyper::server::conn::http1::Builder::new();
            // A connection that breaks off is its client's business.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Answer = Response<Either<Full<Bytes>, Incoming>>;

impl Floor {
    async fn answer(&self, mut request: Request<Incoming>) -> Result<Answer, Infallible> {
        if self.key.is_some() {
            if request.method() == Method::GET && request.uri().path().starts_with("/.well-known/")
            {
                return Ok(own(StatusCode::OK, DOCUMENT));
            }
            if !self.verifies(&request) {
                let mut refused = own(StatusCode::UNAUTHORIZED, REFUSED);
                refused
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, CHALLENGE);
                return Ok(refused);
            }
        }
        *request.uri_mut() = self.upstream.clone();
        request.headers_mut().remove(header::HOST);
        request.headers_mut().remove(header::AUTHORIZATION);
        request.headers_mut().remove(header::CONNECTION);
        Ok(match self.client.request(request).await {
            Ok(response) => response.map(Either::Right),
            Err(_) => own(StatusCode::BAD_GATEWAY, Bytes::new()),
        })
    }

    fn verifies(&self, request: &Request<Incoming>) -> bool {
        let token = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        token.and_then(|token| self.verified(token)).is_some()
    }

    fn verified(&self, token: &str) -> Option<()> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (_, payload) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.key
            .as_ref()?
            .verify_sig(signed.as_bytes(), &signature)
            .ok()?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: Claims<'_> = serde_json::from_slice(&payload).ok()?;
        let good = claims.exp > clock::since_1970().as_secs()
            && claims.iss.starts_with("https://")
            && claims.aud.starts_with("https://");
        good.then_some(())
    }
}

fn own(status: StatusCode, body: Bytes) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn public_key(file: &Path) -> Fallible<ParsedPublicKey> {
    let pem = std::fs::read_to_string(file)?;
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(text)?;
    Ok(ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der)?)
}
