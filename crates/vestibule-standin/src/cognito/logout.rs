//! `GET /logout`: Cognito's own sign-out, which is not OpenID RP-initiated logout (facts/cognito §2.5).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};

use crate::cognito::authorize::SESSION_COOKIE;
use crate::cognito::http::{Params, cookie, html, redirect};
use crate::cognito::login::set_cookie;
use crate::cognito::pages;
use crate::cognito::state::Pool;

/// `GET /logout` with `client_id` and either a registered `logout_uri` (go there) or the parameters of an
/// authorization request (sign in anew). Tokens live on.
pub(crate) async fn handle(
    State(pool): State<Arc<Pool>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let query = uri.query().unwrap_or_default();
    let params = Params::parse(query.as_bytes());
    let client_id = params.get("client_id").unwrap_or_default();
    let Some(client) = pool.client(client_id) else {
        return html(StatusCode::BAD_REQUEST, pages::error("invalid_request"));
    };
    let target = match (params.get("logout_uri"), params.get("redirect_uri")) {
        (Some(logout), _) if client.logout_urls.iter().any(|url| url == logout) => {
            logout.to_owned()
        }
        (None, Some(redirect))
            if params.get("response_type").is_some()
                && pool.callback_allowed(client_id, redirect) =>
        {
            format!("{}/login?{query}", pool.domain)
        }
        _ => return html(StatusCode::BAD_REQUEST, pages::error("redirect_mismatch")),
    };
    if let Some(id) = cookie(&headers, SESSION_COOKIE) {
        pool.lock().sessions.remove(id);
    }
    let mut response = redirect(&target);
    set_cookie(&mut response, SESSION_COOKIE, "", Some(0));
    response
}
