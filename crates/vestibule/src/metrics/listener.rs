//! `GET /metrics`, on a listener of its own: a scraper needs no way in to the public one, and a network policy cannot tell
//! paths apart (facts/deployment-and-operations.md §5.1, row 10).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::Metrics;
use super::labels::QuarantineKind;
use crate::House;
use crate::authorization_server::{json as respond, not_found};
use crate::routes::is_named_loopback;

/// OpenMetrics 1.0, which Prometheus and its kin ask for.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

impl House {
    /// What the listener for metrics answers; `None` when it is not configured.
    pub fn metrics_router(self: &Arc<Self>) -> Option<Router> {
        self.settings().metrics.as_ref()?;
        let router = Router::new()
            .route("/metrics", get(metrics))
            .fallback(nothing_here)
            .with_state(Arc::clone(self));
        Some(router)
    }

    /// Every metric of this process.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

async fn nothing_here(request: Request) -> Response {
    not_found(request.uri().path())
}

async fn metrics(State(house): State<Arc<House>>, request: Request) -> Response {
    if is_from_a_page(&house, &request) {
        let refused = json!({
            "error": "access_denied",
            "error_description": "this listener is for programs, not for web pages"
        });
        return respond(StatusCode::FORBIDDEN, &refused);
    }
    house.look_up();
    let mut response = Response::new(Body::from(house.metrics().text()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, OPEN_METRICS);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// There is no secret here, but web pages need not know how this server fares: not what another page asks for, and, on a
/// listener that is for this computer only, not what was asked for under another name (DNS rebinding).
fn is_from_a_page(house: &House, request: &Request) -> bool {
    let headers = request.headers();
    let site = headers.get("sec-fetch-site");
    let foreign = site.is_some_and(|site| site != "none" && site != "same-origin");
    let settings = house.settings().metrics.as_ref();
    let here_only = settings.is_some_and(|settings| settings.listen.ip().is_loopback());
    headers.contains_key(ORIGIN) || foreign || (here_only && !is_named_loopback(request))
}

impl House {
    /// Sets what nobody counts.
    fn look_up(&self) {
        let (shown, now) = (&self.metrics.shown, self.now());
        let set = |level: &super::Table<(), super::Level>, value: u64| {
            level.set((), i64::try_from(value).unwrap_or(i64::MAX));
        };
        let ages = self.key_ages();
        set(&shown.signing_key_age, ages.signing_age(now));
        set(&shown.sealing_key_age, ages.sealing_age(now));
        (shown.key_rotation_due).set((), ages.due_in(now).unwrap_or_default());
        let (users, clients) = self.quarantine().count(now);
        for (kind, count) in [
            (QuarantineKind::User, users),
            (QuarantineKind::Client, clients),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            shown.quarantined.set((kind,), count);
        }
        let (loaded_at, in_force) = self.config().faring();
        set(&shown.config_loaded_at, loaded_at.0);
        set(&shown.config_in_force, u64::from(in_force));
    }
}
