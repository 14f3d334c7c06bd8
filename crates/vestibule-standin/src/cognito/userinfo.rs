//! `GET /oauth2/userInfo`: attributes for a live access token with `openid` (facts/cognito §2.5).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::cognito::http::{empty, json};
use crate::cognito::state::Pool;

/// Cognito's challenges have no scheme in front, so no standard parser takes them.
const NO_TOKEN: &str =
    r#"error="invalid_request", error_description="Bad OAuth2 request at UserInfo Endpoint""#;
const DEAD_TOKEN: &str = r#"error="invalid_token", error_description="Access token is expired, disabled, or deleted, or the user has globally signed out.""#;
const NO_OPENID: &str =
    r#"error="invalid_token", error_description="Access token does not contain openid scope""#;

/// `GET` (or `POST`) `/oauth2/userInfo`.
pub(crate) async fn handle(State(pool): State<Arc<Pool>>, headers: HeaderMap) -> Response {
    let Some(token) = bearer(&headers) else {
        return challenge(StatusCode::BAD_REQUEST, NO_TOKEN);
    };
    let Some(claims) = live_access_token(&pool, token) else {
        return challenge(StatusCode::UNAUTHORIZED, DEAD_TOKEN);
    };
    let scopes: Vec<&str> = text(&claims, "scope").split(' ').collect();
    if !scopes.contains(&"openid") {
        return challenge(StatusCode::UNAUTHORIZED, NO_OPENID);
    }
    let username = text(&claims, "username");
    let mut attributes = json!({ "sub": claims["sub"], "username": username });
    if let Some(user) = pool.user(username).filter(|_| scopes.contains(&"email")) {
        attributes["email"] = json!(user.email);
        // A string here, though a boolean in the ID token.
        attributes["email_verified"] = json!("true");
    }
    json(StatusCode::OK, &attributes)
}

fn live_access_token(pool: &Pool, token: &str) -> Option<Value> {
    let now = pool.now();
    let keys = pool.lock().keys.clone();
    let claims = keys.verify(token)?;
    let live = claims["exp"].as_u64()? > now.0 && claims["token_use"] == "access";
    let revoked = pool
        .lock()
        .families
        .get(text(&claims, "origin_jti"))?
        .revoked;
    (live && !revoked).then_some(claims)
}

fn text<'a>(claims: &'a Value, name: &str) -> &'a str {
    claims[name].as_str().unwrap_or_default()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn challenge(status: StatusCode, value: &'static str) -> Response {
    let mut response = empty(status);
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static(value));
    response
}
