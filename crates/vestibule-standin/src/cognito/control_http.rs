//! `/_control/*` on the domain host: [`Control`] as JSON over HTTP, for drivers in other processes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{delete, get, post};
use http::header::{HOST, ORIGIN};
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::json;

use crate::cognito::control::Control;
use crate::cognito::faults::{Endpoint, Fault};
use crate::cognito::http::{empty, json};
use crate::cognito::state::Pool;

/// The control routes.
pub(crate) fn routes(pool: &Arc<Pool>) -> Router {
    let control = Control {
        pool: Arc::clone(pool),
    };
    Router::new()
        .route("/_control/counters", get(counters).delete(reset_counters))
        .route("/_control/fault", post(fault))
        .route("/_control/faults", delete(clear_faults))
        .route("/_control/rotate-keys", post(rotate_keys))
        .route("/_control/end-sessions", post(end_sessions))
        .route("/_control/revoke-all", post(revoke_all))
        .route("/_control/callbacks", post(callbacks))
        .route("/_control/lifetimes", post(lifetimes))
        .layer(from_fn(refuse_web_pages))
        .with_state(control)
}

/// A web page open in a developer's browser can reach loopback. Browsers name the page in `Origin`, and a
/// rebound name in `Host`: both are refused.
async fn refuse_web_pages(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let local = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| format!("http://{host}").parse::<Uri>().ok())
        .is_some_and(|uri| matches!(uri.host(), Some("127.0.0.1" | "[::1]" | "localhost")));
    if headers.contains_key(ORIGIN) || !local {
        return refuse(StatusCode::FORBIDDEN, "not for web pages");
    }
    next.run(request).await
}

async fn counters(State(control): State<Control>) -> Response {
    let mut calls = json!({});
    for endpoint in Endpoint::ALL {
        calls[endpoint.name()] = json!(control.calls(endpoint));
    }
    let refreshes = control.all_refreshes();
    json(
        StatusCode::OK,
        &json!({
            "calls": calls,
            "refreshes_total": refreshes.values().sum::<u64>(),
            "refreshes_by_token_sha256": refreshes,
        }),
    )
}

async fn reset_counters(State(control): State<Control>) -> Response {
    control.reset_counters();
    done()
}

/// `{"endpoint": "token", "fault": {"status": 503}, "times": 1}`; see [`FaultBody`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRequest {
    endpoint: String,
    fault: Option<FaultBody>,
    times: Option<u32>,
}

/// [`Fault`] as JSON: a word, or an object with one member.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum FaultBody {
    Status(u16),
    Timeout,
    TruncatedJson,
    SlowMs(u64),
    WrongIssuer,
    HtmlForbidden,
    RedirectError { error: String, description: String },
    ErrorJson(u16, String),
    RetryAfter(u16, u64),
}

async fn fault(State(control): State<Control>, body: Bytes) -> Response {
    let request: FaultRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let Some(endpoint) = Endpoint::ALL
        .into_iter()
        .find(|endpoint| endpoint.name() == request.endpoint)
    else {
        return refuse(StatusCode::BAD_REQUEST, "no such endpoint");
    };
    let fault = request.fault.map(|fault| match fault {
        FaultBody::Status(status) => Fault::Status(status),
        FaultBody::Timeout => Fault::Timeout,
        FaultBody::TruncatedJson => Fault::TruncatedJson,
        FaultBody::SlowMs(millis) => Fault::Slow(Duration::from_millis(millis)),
        FaultBody::WrongIssuer => Fault::WrongIssuer,
        FaultBody::HtmlForbidden => Fault::HtmlForbidden,
        FaultBody::RedirectError { error, description } => {
            Fault::RedirectError { error, description }
        }
        FaultBody::ErrorJson(status, error) => Fault::ErrorJson(status, error),
        FaultBody::RetryAfter(status, seconds) => Fault::RetryAfter(status, seconds),
    });
    control.set_fault(endpoint, fault, request.times);
    done()
}

async fn clear_faults(State(control): State<Control>) -> Response {
    control.clear_faults();
    done()
}

async fn rotate_keys(State(control): State<Control>) -> Response {
    match tokio::task::spawn_blocking(move || control.rotate_keys()).await {
        Ok(()) => done(),
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

async fn end_sessions(State(control): State<Control>) -> Response {
    control.end_sessions();
    done()
}

async fn revoke_all(State(control): State<Control>) -> Response {
    control.revoke_all();
    done()
}

/// `{"url": …, "client_id": …}`; without `client_id` it is the first client's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallbackRequest {
    url: String,
    client_id: Option<String>,
}

async fn callbacks(State(control): State<Control>, body: Bytes) -> Response {
    let request: CallbackRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let client_id = request
        .client_id
        .or_else(|| Some(control.pool.options.clients.first()?.client_id.clone()))
        .unwrap_or_default();
    if control.allow_callback(&client_id, &request.url) {
        done()
    } else {
        refuse(StatusCode::BAD_REQUEST, "no such client")
    }
}

/// Seconds; what is absent stays as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LifetimesRequest {
    #[serde(rename = "access_seconds")]
    access: Option<u64>,
    #[serde(rename = "id_seconds")]
    id: Option<u64>,
    #[serde(rename = "refresh_seconds")]
    refresh: Option<u64>,
    #[serde(rename = "code_seconds")]
    code: Option<u64>,
    #[serde(rename = "session_seconds")]
    session: Option<u64>,
}

async fn lifetimes(State(control): State<Control>, body: Bytes) -> Response {
    let request: LifetimesRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let mut lifetimes = control.lifetimes();
    for (field, value) in [
        (&mut lifetimes.access, request.access),
        (&mut lifetimes.id, request.id),
        (&mut lifetimes.refresh, request.refresh),
        (&mut lifetimes.code, request.code),
        (&mut lifetimes.session, request.session),
    ] {
        *field = value.unwrap_or(*field);
    }
    control.set_lifetimes(lifetimes);
    done()
}

fn done() -> Response {
    json(StatusCode::OK, &json!({ "ok": true }))
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    json(status, &json!({ "ok": false, "reason": reason }))
}
