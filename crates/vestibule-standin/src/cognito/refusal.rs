//! How a refused authorization request is answered: a page, the domain's error page, or the callback (facts/cognito §2.3).

use axum::response::Response;
use http::StatusCode;

use crate::cognito::http::{empty, html, redirect, with_query};
use crate::cognito::pages;
use crate::cognito::state::Pool;

/// Why a request was not taken, by where the answer goes.
pub(crate) enum Refusal {
    /// An empty 400.
    Empty,
    /// A 400 page.
    Page(&'static str),
    /// The domain's own error page; never the callback.
    Mismatch { client_id: String },
    /// The client's callback, with these parameters in this order.
    Callback {
        redirect_uri: String,
        pairs: Vec<(&'static str, String)>,
    },
}

impl Refusal {
    /// The answer to the browser.
    pub(crate) fn answer(self, pool: &Pool) -> Response {
        match self {
            Self::Empty => empty(StatusCode::BAD_REQUEST),
            Self::Page(reason) => html(StatusCode::BAD_REQUEST, pages::error(reason)),
            Self::Mismatch { client_id } => redirect(&with_query(
                &format!("{}/error", pool.domain),
                [("error", "redirect_mismatch"), ("client_id", &client_id)],
            )),
            Self::Callback {
                redirect_uri,
                pairs,
            } => redirect(&with_query(
                &redirect_uri,
                pairs.iter().map(|(name, value)| (*name, value.as_str())),
            )),
        }
    }
}
