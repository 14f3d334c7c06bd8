//! THE map: every path, its handler and its layers, in one function.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get, post};
use http::header::{ALLOW, HOST, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tower::Service as _;

use vestibule_guard::cors;
use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::url::is_loopback_host;
use vestibule_oauth::well_known;

use crate::House;
use crate::arrival::{Arrival, PeerAddr};
use crate::authorization_server::{
    Outside, authorize, callback, connections, consent, discovery, introspect, json, logout,
    not_found, refuse, register, revoke, token,
};
use crate::gateway::{self, OwnEndpoint};
use crate::limits::{Limited, enforce};
use crate::metrics::Exchange;
use crate::metrics::labels::Route;
use crate::pages::{self, landing};
use crate::telemetry::Refused;
use crate::{authz, health};

/// Builds the router.
pub(crate) fn router(house: Arc<House>) -> Router {
    // Counts requests, and answers 429 when there are too many. Discovery and health never do.
    let limited = |endpoint| from_fn_with_state((Arc::clone(&house), endpoint), enforce);

    // Read by programs, browser-based clients among them: any origin may ask, because no cookie is looked at.
    let open = Router::new()
        // RFC 8414, OpenID Connect Discovery, RFC 9728 in both forms; a JSON 404 for every other well-known path.
        .route(well_known::AUTHORIZATION_SERVER, any(discovery::document))
        .route("/.well-known", any(discovery::document))
        .route("/.well-known/{*document}", any(discovery::document))
        .route("/jwks.json", any(discovery::document))
        // RFC 7591, RFC 6749 §3.2, RFC 7009.
        .route(
            "/register",
            post(register::register).route_layer(limited(Limited::Register)),
        )
        .route(
            "/token",
            post(token::token).route_layer(limited(Limited::Token)),
        )
        .route(
            "/revoke",
            post(revoke::revoke).route_layer(limited(Limited::Revoke)),
        )
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(cross_origin));

    let returned = || {
        get(callback::callback)
            // What looks at links before people do must not use up the sign-in, and gets no answer to show for it.
            .head(get_only)
            .route_layer(limited(Limited::Callback))
    };

    // Seen by people, in a browser, with cookies: never across origins (OAuth 2.1 §3.1).
    let pages = Router::new()
        .route(
            "/authorize",
            get(authorize::authorize).route_layer(limited(Limited::Authorize)),
        )
        .route(
            "/consent",
            post(consent::consent).route_layer(limited(Limited::Consent)),
        )
        // One for each provider; the default one has the short path.
        .route("/callback", returned())
        .route("/callback/{provider}", returned())
        // How to add the resources to a client. For browsers only; everybody else gets the JSON 404.
        .route("/", any(landing::landing))
        .route(
            "/logout",
            post(logout::logout)
                .route_layer(limited(Limited::Logout))
                .get(logout::page),
        )
        .route(logout::DONE_PATH, get(logout::done))
        // What a person has connected. The session is a sealed cookie; each form brings back a ticket of that session.
        .route(
            connections::PATH,
            get(connections::page).route_layer(limited(Limited::Connections)),
        )
        .route(
            "/connections/sign-in",
            post(connections::sign_in).route_layer(limited(Limited::Connections)),
        )
        .route(
            "/connections/revoke",
            post(connections::revoke).route_layer(limited(Limited::Connections)),
        )
        .route(
            "/connections/sign-out",
            post(connections::sign_out).route_layer(limited(Limited::Connections)),
        )
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(pages::speak));

    // Asked by servers, with a secret: no page of any origin has business here.
    let mut servers = Router::new();
    if !house.settings().introspection.clients.is_empty() {
        servers = servers
            // RFC 7662.
            .route(
                "/introspect",
                post(introspect::introspect).route_layer(limited(Limited::Introspect)),
            )
            .method_not_allowed_fallback(wrong_method);
    }

    open.merge(pages)
        .merge(servers)
        // For proxies that forward requests themselves and ask who is calling, if any are trusted.
        .merge(authz::router(&house))
        .layer(from_fn_with_state(Arc::clone(&house), every_answer))
        // The MCP endpoints, and a JSON 404 for what is not one. Answers its own CORS, because origins are limited there.
        .fallback(elsewhere)
        .with_state(house)
}

/// What a listener asks: the router, and before it what is asked most: the resources of a house, which have no path in
/// common with it, and its documents.
#[derive(Clone, Debug)]
pub struct Entrance {
    house: Option<Arc<House>>,
    router: Router,
}

impl From<Router> for Entrance {
    fn from(router: Router) -> Self {
        let house = None;
        Self { house, router }
    }
}

impl From<&Arc<House>> for Entrance {
    fn from(house: &Arc<House>) -> Self {
        Self {
            house: Some(Arc::clone(house)),
            router: house.router(),
        }
    }
}

impl Entrance {
    /// Answers a request of this peer.
    pub(crate) async fn answer(&self, peer: PeerAddr, mut request: Request) -> Response {
        if let Some(house) = &self.house
            && is_read(request.method())
            && house.documents().publish(request.uri().path())
        {
            return document(house, &request);
        }
        if let Some(house) = &self.house
            && let Some(endpoint) = house.gateway().find(request.uri().path())
        {
            return resource(house, endpoint, Some(peer), request).await;
        }
        request.extensions_mut().insert(peer);
        // A `Router` is always ready, and cloning it clones one `Arc`.
        let answered = self.router.clone().call(request).await;
        answered.unwrap_or_else(|never| match never {})
    }
}

/// What is none of the paths above.
async fn elsewhere(State(house): State<Arc<House>>, request: Request) -> Response {
    if let Some(endpoint) = house.gateway().find(request.uri().path()) {
        return resource(&house, endpoint, PeerAddr::of(&request), request).await;
    }
    let exchange = Exchange::begin(&house, &request);
    let inside = async |request: Request| not_found(request.uri().path());
    answered(&house, exchange, request, inside).await
}

/// The same as [`every_answer`] for an MCP endpoint. What every client sends first, without credentials, waits for nothing.
async fn resource(
    house: &House,
    endpoint: &OwnEndpoint,
    from: Option<PeerAddr>,
    request: Request,
) -> Response {
    let exchange = Exchange::at(Route::Resource, &request);
    let at_once = refused(house, &request).map(Refused::from).or_else(|| {
        let mut refused = gateway::without_credentials(house, endpoint, from, &request)?;
        finish(house, refused.response.headers_mut());
        Some(refused)
    });
    if let Some(refused) = at_once {
        exchange.end_with(house, refused.response.status(), refused.told);
        return refused.response;
    }
    let request = Box::new(request);
    // Boxed, because the whole future is part of its connection otherwise: several kilobytes, for each page too.
    Box::pin(async move {
        let at = exchange.started();
        let mut response = endpoint.handle(Arrival { at, from }, request).await;
        finish(house, response.headers_mut());
        exchange.end(house, &response);
        response
    })
    .await
}

/// The same for a document that exists: nothing in it waits for anything.
fn document(house: &House, request: &Request) -> Response {
    let exchange = Exchange::begin(house, request);
    let response = refused(house, request).unwrap_or_else(|| {
        let mut response = discovery::answer(house, request);
        cors::open_apply(response.headers_mut());
        finish(house, response.headers_mut());
        response
    });
    exchange.end(house, &response);
    response
}

/// 405 in JSON. axum has put `Allow` there.
async fn wrong_method() -> Response {
    json(
        StatusCode::METHOD_NOT_ALLOWED,
        &serde_json::json!({
            "error": "invalid_request",
            "error_description": "this endpoint does not answer that method"
        }),
    )
}

/// The same for HEAD where GET has effects: axum would answer it with GET's handler.
async fn get_only() -> Response {
    let mut response = wrong_method().await;
    let allow = HeaderValue::from_static("GET");
    response.headers_mut().insert(ALLOW, allow);
    response
}

/// CORS for the open endpoints; the preflight is answered before anything else looks at the request.
async fn cross_origin(request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return cors::open_preflight(request.headers()).map(Body::new);
    }
    let mut response = next.run(request).await;
    cors::open_apply(response.headers_mut());
    response
}

/// What holds for every request: it is counted and timed, and its answer is finished, by whoever it is given.
async fn every_answer(State(house): State<Arc<House>>, request: Request, next: Next) -> Response {
    let exchange = Exchange::begin(&house, &request);
    answered(&house, exchange, request, |request| next.run(request)).await
}

async fn answered<F: Future<Output = Response>>(
    house: &House,
    exchange: Exchange,
    request: Request,
    inside: impl FnOnce(Request) -> F,
) -> Response {
    let response = if let Some(refused) = refused(house, &request) {
        refused
    } else {
        let mut response = inside(request).await;
        finish(house, response.headers_mut());
        response
    };
    exchange.end(house, &response);
    response
}

/// True for the methods that change nothing and have an answer of their own.
fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// The answer to a request that did not come through the front, if there is a secret between us, and to one for another
/// name than those of the loopback, if this is a development server (DNS rebinding).
fn refused(house: &House, request: &Request) -> Option<Response> {
    if !house
        .origin_lock()
        .admits(request.uri().path(), request.headers())
    {
        let description = "this server is reached at its public address only";
        let outside = Outside::new(ErrorCode::AccessDenied, "origin_lock", description);
        return Some(refuse(
            house,
            &outside,
            &"the request has no valid X-Vestibule-Origin",
        ));
    }
    if !house.settings().public_url.is_https() && !is_named_loopback(request) {
        return Some(json(
            StatusCode::FORBIDDEN,
            &serde_json::json!({
                "error": "invalid_request",
                "error_description": "a development server answers only to localhost, 127.0.0.1 and [::1]"
            }),
        ));
    }
    None
}

/// No answer is guessed at by its content, and an https origin says that it is one.
fn finish(house: &House, headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if house.settings().public_url.is_https() {
        let value = HeaderValue::from_static("max-age=31536000");
        headers.insert(STRICT_TRANSPORT_SECURITY, value);
    }
}

/// True when the request was sent to a loopback name.
pub(crate) fn is_named_loopback(request: &Request) -> bool {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|value| value.to_str().ok());
    let host = host
        .or_else(|| request.uri().authority().map(http::uri::Authority::as_str))
        .unwrap_or_default();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    is_loopback_host(host)
        || host
            .rsplit_once(':')
            .is_some_and(|(name, port)| is_loopback_host(name) && digits(port))
}
