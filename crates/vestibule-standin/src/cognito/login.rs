//! `GET` and `POST /login`: the form a person signs in with, and the browser session it starts (facts/cognito §2.3, S8).

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use crate::cognito::authorization_request::AuthorizationRequest;
use crate::cognito::authorize::SESSION_COOKIE;
use crate::cognito::faults::Injected;
use crate::cognito::http::{Params, cookie, html, redirect};
use crate::cognito::state::{Pool, Session};
use crate::cognito::{pages, random};

/// The cookie the form's hidden `_csrf` field must repeat.
const CSRF_COOKIE: &str = "XSRF-TOKEN";

/// `GET /login`: the form, after the same checks as at `/oauth2/authorize`, because people come here directly too.
pub(crate) async fn form(State(pool): State<Arc<Pool>>, headers: HeaderMap, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    match AuthorizationRequest::parse(&pool, query) {
        Ok(_) => render(&headers, query, None),
        Err(refusal) => refusal.answer(&pool),
    }
}

/// `POST /login`: a right password gives a session and a code, a wrong one the form again, with status 200.
pub(crate) async fn submit(
    State(pool): State<Arc<Pool>>,
    Extension(injected): Extension<Injected>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response {
    let query = uri.query().unwrap_or_default();
    let request = match AuthorizationRequest::parse(&pool, query) {
        Ok(request) => request,
        Err(refusal) => return refusal.answer(&pool),
    };
    let fields = Params::parse(&body);
    let csrf = fields.non_empty("_csrf");
    if csrf.is_none() || csrf != cookie(&headers, CSRF_COOKIE) {
        return html(
            StatusCode::FORBIDDEN,
            pages::error("This form did not come from this browser."),
        );
    }
    let username = fields.get("username").unwrap_or_default();
    let password = fields.get("password").unwrap_or_default();
    let Some(user) = pool.user(username).filter(|user| user.password == password) else {
        return render(&headers, query, Some("Incorrect username or password."));
    };
    if let Some(error) = injected.redirect_error {
        return request.provider_error(&error).answer(&pool);
    }

    let session = Session {
        username: user.username.clone(),
        auth_time: pool.now(),
    };
    let id = random::cookie();
    let lifetime = {
        let mut state = pool.lock();
        state.sessions.insert(id.clone(), session.clone());
        state.lifetimes.session
    };
    let mut response = redirect(&request.grant(&pool, session));
    set_cookie(&mut response, SESSION_COOKIE, &id, Some(lifetime));
    response
}

/// Adds a `Set-Cookie`. Not `Secure`: the stand-in speaks plain HTTP on loopback.
pub(crate) fn set_cookie(response: &mut Response, name: &str, value: &str, max_age: Option<u64>) {
    let age = max_age.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
    let line = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{age}");
    if let Ok(line) = HeaderValue::from_str(&line) {
        response.headers_mut().append(SET_COOKIE, line);
    }
}

fn render(headers: &HeaderMap, query: &str, error: Option<&str>) -> Response {
    // One value per browser, so that two tabs do not invalidate each other.
    let csrf = cookie(headers, CSRF_COOKIE)
        .filter(|value| value.len() == 43)
        .map_or_else(random::cookie, str::to_owned);
    let page = pages::login(&format!("/login?{query}"), &csrf, error);
    let mut response = html(StatusCode::OK, page);
    set_cookie(&mut response, CSRF_COOKIE, &csrf, None);
    response
}
