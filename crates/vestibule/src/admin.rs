//! The interface for operators: what is granted, who is in quarantine, and how to end either. JSON over a listener of its
//! own, which is on this computer only; `vestibule grants` and `vestibule quarantine` use the same operations.
//!
//! No answer holds a token, a secret or a claim of a user's. Nothing here is for web pages: what a browser sends across
//! origins is refused before the token is looked at, and no answer has a CORS header.

mod answer;
mod gate;
mod grants;
mod quarantine;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;

use crate::House;

use answer::AdminError;

impl House {
    /// What the listener for operators answers; `None` when it is not configured.
    pub fn admin_router(self: &Arc<Self>) -> Option<Router> {
        self.settings().admin.as_ref()?;
        let guarded = operations(self).layer(from_fn_with_state(Arc::clone(self), gate::guard));
        Some(guarded)
    }
}

/// The operations without their guard: for whoever holds the store and the keys anyway.
pub(crate) fn operations(house: &Arc<House>) -> Router {
    Router::new()
        .route(
            "/admin/grants",
            get(grants::list).delete(grants::revoke_many),
        )
        .route(
            "/admin/grants/{family}",
            get(grants::show).delete(grants::revoke),
        )
        .route("/admin/quarantine", get(quarantine::list))
        .route(
            "/admin/quarantine/{kind}/{id}",
            get(quarantine::show)
                .put(quarantine::put)
                .delete(quarantine::lift),
        )
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_here)
        .with_state(Arc::clone(house))
}

async fn wrong_method(
    axum::extract::State(house): axum::extract::State<Arc<House>>,
    _: Request,
) -> Response {
    AdminError::Method.respond(&house)
}

async fn nothing_here(
    axum::extract::State(house): axum::extract::State<Arc<House>>,
    _: Request,
) -> Response {
    AdminError::Path.respond(&house)
}
