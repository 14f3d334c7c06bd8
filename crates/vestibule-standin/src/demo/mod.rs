//! The demo MCP server: an upstream that tells what it received; for `vestibule dev`, tests and benches (MCP transports, streamable HTTP).
//!
//! It serves every protocol revision rmcp knows: sessions for 2025-03-26 to 2025-11-25 and stateless
//! requests for 2026-07-28 at `/mcp`, and the same without sessions at `/stateless/mcp`.

mod identity;
mod tools;

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{identity::Keys, tools::Tools};

/// How long [`Demo::shutdown`] waits for open connections.
const DRAIN: Duration = Duration::from_secs(2);

/// How the demo server behaves. The default trusts what it is given, because it stands behind a gateway.
#[derive(Debug, Clone, Default)]
pub struct DemoOptions {
    /// Where the keys of the received bearer JWT are (`http://`, loopback). With it `whoami` tells whether the
    /// signature is good, and `admin_report` believes only a good one. Without it claims are decoded, not checked.
    pub jwks_url: Option<String>,
    /// The loopback port to listen on; 0 takes a free one.
    pub port: u16,
}

/// A running demo MCP server on 127.0.0.1. Dropping it stops it.
#[derive(Debug)]
pub struct Demo {
    url: String,
    stateless_url: String,
    observed: Arc<Observed>,
    stop: DropGuard,
    serving: JoinHandle<()>,
}

impl Demo {
    /// Binds `127.0.0.1` and starts to serve.
    ///
    /// Fails when the port cannot be bound, or when `jwks_url` is not an `http://` URL.
    pub async fn start(options: DemoOptions) -> io::Result<Self> {
        let keys = options
            .jwks_url
            .map(|url| url.parse().map(Keys::new))
            .transpose()
            .map_err(io::Error::other)?;
        let stop = CancellationToken::new();
        let observed = Arc::new(Observed::default());
        let tools = Tools::new(Arc::clone(&observed), keys.map(Arc::new), stop.clone());

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let router = Router::new()
            .route_service("/mcp", service(&tools, true, &stop))
            .route_service("/stateless/mcp", service(&tools, false, &stop))
            .layer(middleware::from_fn_with_state(
                Arc::clone(&observed),
                observe,
            ));
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stopped);
            if let Err(error) = served.await {
                tracing::warn!(%error, "the demo MCP server stopped");
            }
        });
        Ok(Self {
            url: format!("{origin}/mcp"),
            stateless_url: format!("{origin}/stateless/mcp"),
            observed,
            stop: stop.drop_guard(),
            serving,
        })
    }

    /// The MCP endpoint, `http://127.0.0.1:PORT/mcp`: sessions for the revisions that have them.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The MCP endpoint that never opens a session, `http://127.0.0.1:PORT/stateless/mcp`.
    pub fn stateless_url(&self) -> &str {
        &self.stateless_url
    }

    /// The headers of the newest HTTP request, whole. They hold the credential: for assertions in tests only.
    pub fn last_headers(&self) -> HeaderMap {
        let headers = self.observed.last_headers.lock();
        headers.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many HTTP requests arrived, whatever their method.
    pub fn requests(&self) -> u64 {
        self.observed.requests.load(Ordering::Relaxed)
    }

    /// How many `tools/call` requests arrived.
    pub fn calls(&self) -> u64 {
        self.observed.calls.load(Ordering::Relaxed)
    }

    /// How many countdowns ended early because their client went away.
    pub fn cancelled(&self) -> u64 {
        self.observed.cancelled.load(Ordering::Relaxed)
    }

    /// Ends open streams, then stops; waits two seconds at most.
    pub async fn shutdown(self) {
        let Self { stop, serving, .. } = self;
        drop(stop);
        if tokio::time::timeout(DRAIN, serving).await.is_err() {
            tracing::debug!("a client of the demo MCP server keeps its connection open");
        }
    }
}

/// What the server saw, for the tests that ask.
#[derive(Debug, Default)]
struct Observed {
    last_headers: Mutex<HeaderMap>,
    requests: AtomicU64,
    calls: AtomicU64,
    cancelled: AtomicU64,
}

/// Put into each request: cancelled when the response is gone, sent or abandoned.
///
/// rmcp cancels a stateless request when its client disconnects, but a request of a session runs on, because such a
/// client may resume. The demo wants both, so that a test sees whether a gateway passes a disconnect on.
#[derive(Debug, Clone)]
struct ResponseGone(CancellationToken);

async fn observe(
    State(observed): State<Arc<Observed>>,
    mut request: Request,
    next: Next,
) -> Response {
    observed.requests.fetch_add(1, Ordering::Relaxed);
    observed
        .last_headers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone_from(request.headers());
    let gone = CancellationToken::new();
    request.extensions_mut().insert(ResponseGone(gone.clone()));
    // Dropped with this future before the response exists, with the body afterwards.
    let guard = gone.drop_guard();
    next.run(request).await.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held: &DropGuard = &guard;
            frame
        }))
    })
}

fn service(
    tools: &Tools,
    sessions: bool,
    stop: &CancellationToken,
) -> StreamableHttpService<Tools, LocalSessionManager> {
    let tools = tools.clone();
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(sessions)
        .with_cancellation_token(stop.child_token());
    StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    )
}
