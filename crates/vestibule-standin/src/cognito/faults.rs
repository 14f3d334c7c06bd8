//! Faults on command and call counters (facts/cognito §4.3 S16): the gate every request passes before its endpoint.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use crate::cognito::http::{empty, html, json};
use crate::cognito::state::Pool;
use crate::cognito::{pages, random};

/// The header AWS support asks for (§2.4).
static REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-cognito-request-id");

/// The most of an answer that is read to cut it in two.
const MAX_CUT: usize = 1 << 20;

/// An endpoint that can be counted and broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/.well-known/openid-configuration` of the issuer.
    Discovery,
    /// `/.well-known/jwks.json` of the issuer.
    Jwks,
    /// `/oauth2/authorize`.
    Authorize,
    /// `/login`, the form and its submission.
    Login,
    /// `/oauth2/token`.
    Token,
    /// `/oauth2/userInfo`.
    UserInfo,
    /// `/oauth2/revoke`.
    Revoke,
    /// `/logout`.
    Logout,
}

impl Endpoint {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::Discovery,
        Self::Jwks,
        Self::Authorize,
        Self::Login,
        Self::Token,
        Self::UserInfo,
        Self::Revoke,
        Self::Logout,
    ];

    /// The name used by the control endpoint.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Jwks => "jwks",
            Self::Authorize => "authorize",
            Self::Login => "login",
            Self::Token => "token",
            Self::UserInfo => "userinfo",
            Self::Revoke => "revoke",
            Self::Logout => "logout",
        }
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An empty answer with this status; the endpoint does not see the request.
    Status(u16),
    /// No answer until the client goes away; the endpoint does not see the request.
    Timeout,
    /// The endpoint works, and has its effects, but half of its answer is missing.
    TruncatedJson,
    /// The endpoint works after this long.
    Slow(Duration),
    /// Discovery names, and minted tokens carry, another issuer. Elsewhere without effect.
    WrongIssuer,
    /// The 403 page of a web application firewall; the endpoint does not see the request.
    HtmlForbidden,
    /// Authorize and login answer the client's callback with this error (§2.3). Elsewhere without effect.
    RedirectError {
        /// `error`.
        error: String,
        /// `error_description`.
        description: String,
    },
    /// This status and `{"error": …}`; the endpoint does not see the request.
    ErrorJson(u16, String),
    /// An empty answer with this status and `Retry-After` in seconds; the endpoint does not see the request.
    RetryAfter(u16, u64),
}

/// A fault that is set, and for how many more requests (`None`: until cleared).
pub(crate) struct FaultSlot {
    pub(crate) fault: Fault,
    pub(crate) times: Option<u32>,
}

/// What the gate tells the endpoint: the faults only the endpoint itself can play.
#[derive(Clone, Default)]
pub(crate) struct Injected {
    pub(crate) wrong_issuer: bool,
    pub(crate) redirect_error: Option<(String, String)>,
}

/// What a wrong issuer looks like: right in every character but one.
pub(crate) fn wrong_issuer(issuer: &str) -> String {
    format!("{issuer}/")
}

/// Counts the request, plays the fault set for its endpoint, and stamps the answer with a request id.
pub(crate) async fn gate(
    State((pool, endpoint)): State<(Arc<Pool>, Endpoint)>,
    mut request: Request,
    next: Next,
) -> Response {
    pool.count(endpoint);
    let mut injected = Injected::default();
    let mut truncated = false;
    let mut answer = None;
    match pool.take_fault(endpoint) {
        None => {}
        Some(Fault::Status(status)) => answer = Some(empty(status_of(status))),
        Some(Fault::ErrorJson(status, error)) => {
            answer = Some(json(status_of(status), &json!({ "error": error })));
        }
        Some(Fault::RetryAfter(status, seconds)) => {
            let mut busy = empty(status_of(status));
            busy.headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
            answer = Some(busy);
        }
        Some(Fault::HtmlForbidden) => {
            answer = Some(html(StatusCode::FORBIDDEN, pages::firewall()));
        }
        Some(Fault::Timeout) => {
            // The connection's task drops this future when the client hangs up.
            pool.stop.cancelled().await;
            answer = Some(empty(StatusCode::GATEWAY_TIMEOUT));
        }
        Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::TruncatedJson) => truncated = true,
        Some(Fault::WrongIssuer) => injected.wrong_issuer = true,
        Some(Fault::RedirectError { error, description }) => {
            injected.redirect_error = Some((error, description));
        }
    }
    let mut response = if let Some(answer) = answer {
        answer
    } else {
        request.extensions_mut().insert(injected);
        next.run(request).await
    };
    if truncated {
        response = halve(response).await;
    }
    if let Ok(id) = HeaderValue::from_str(&random::uuid()) {
        response.headers_mut().insert(&REQUEST_ID, id);
    }
    response
}

impl Pool {
    fn take_fault(&self, endpoint: Endpoint) -> Option<Fault> {
        let mut state = self.lock();
        let slot = state.faults.get_mut(&endpoint)?;
        let fault = slot.fault.clone();
        let spent = match &mut slot.times {
            None => false,
            Some(times) => {
                *times = times.saturating_sub(1);
                *times == 0
            }
        };
        if spent {
            state.faults.remove(&endpoint);
        }
        Some(fault)
    }
}

/// The first half of the body, framed as if it were all of it.
async fn halve(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = to_bytes(body, MAX_CUT).await.unwrap_or_default();
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(whole.slice(..whole.len() / 2)))
}

fn status_of(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
