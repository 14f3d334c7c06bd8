//! `GET /oauth2/authorize`: silent with a session, else on to the form; the code it ends in (facts/cognito §2.3; S2, S7, S8).

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};

use crate::cognito::authorization_request::{AuthorizationRequest, Prompt};
use crate::cognito::faults::Injected;
use crate::cognito::http::{Params, cookie, html, redirect, with_query};
use crate::cognito::refusal::Refusal;
use crate::cognito::state::{CodeGrant, Family, Pool, Session};
use crate::cognito::{pages, random};

/// The cookie of a signed-in browser.
pub(crate) const SESSION_COOKIE: &str = "cognito";

/// `GET /oauth2/authorize`.
pub(crate) async fn handle(
    State(pool): State<Arc<Pool>>,
    Extension(injected): Extension<Injected>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let query = uri.query().unwrap_or_default();
    let request = match AuthorizationRequest::parse(&pool, query) {
        Ok(request) => request,
        Err(refusal) => return refusal.answer(&pool),
    };
    if let Some(error) = injected.redirect_error {
        return request.provider_error(&error).answer(&pool);
    }
    let session = pool.session(cookie(&headers, SESSION_COOKIE));
    match (request.prompt, session) {
        (Prompt::Automatic | Prompt::None, Some(session)) => {
            redirect(&request.grant(&pool, session))
        }
        (Prompt::None, None) => request.refuse("login_required").answer(&pool),
        (Prompt::Automatic, None) | (Prompt::Form, _) => {
            redirect(&format!("{}/login?{query}", pool.domain))
        }
    }
}

/// `GET /error`: the page a mismatch ends at, with status 400.
pub(crate) async fn error_page(uri: Uri) -> Response {
    let params = Params::parse(uri.query().unwrap_or_default().as_bytes());
    let reason = params.get("error").unwrap_or("unknown");
    html(StatusCode::BAD_REQUEST, pages::error(reason))
}

impl AuthorizationRequest {
    /// Makes a code for the signed-in user and gives the URL that delivers it. No `iss` (RFC 9207) in it.
    pub(crate) fn grant(self, pool: &Pool, session: Session) -> String {
        let now = pool.now();
        let code = random::uuid();
        let mut pairs = vec![("code", code.clone())];
        pairs.extend(self.state.map(|state| ("state", state)));
        let location = with_query(
            &self.redirect_uri,
            pairs.iter().map(|(name, value)| (*name, value.as_str())),
        );

        let mut state = pool.lock();
        let grant = CodeGrant {
            redirect_uri: self.redirect_uri,
            challenge: self.challenge,
            nonce: self.nonce,
            expires: now.plus(state.lifetimes.code),
            family: Family {
                origin_jti: random::uuid(),
                event_id: random::uuid(),
                client_id: self.client_id,
                username: session.username,
                scopes: self.scopes,
                resource: self.resource,
                auth_time: session.auth_time,
                expires: now.plus(state.lifetimes.refresh),
                revoked: false,
            },
        };
        state.codes.insert(code, grant);
        location
    }

    /// The refusal a failing identity provider behind the pool would cause.
    pub(crate) fn provider_error(self, (error, description): &(String, String)) -> Refusal {
        let mut pairs = vec![("error_description", description.clone())];
        pairs.extend(self.state.map(|state| ("state", state)));
        pairs.push(("error", error.clone()));
        Refusal::Callback {
            redirect_uri: self.redirect_uri,
            pairs,
        }
    }
}
