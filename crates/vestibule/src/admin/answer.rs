//! What an operator hears when something is not done: JSON, with the reference under which the log has the cause.

use axum::response::Response;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use thiserror::Error;

use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::params::ParamError;

use crate::House;
use crate::authorization_server::{BodyError, Outside, refuse};
use crate::store::StoreError;

/// Seconds after which to try again when the store was away.
const TRY_AGAIN: u64 = 5;

/// Why something was not done.
#[derive(Debug, Error)]
pub(super) enum AdminError {
    #[error(
        "there is no Authorization: Bearer with the admin token; a token in a query is not looked at"
    )]
    NoToken,
    #[error("the admin token is wrong")]
    WrongToken,
    #[error("too many wrong admin tokens")]
    TooMany(u64),
    #[error("this interface is for programs on this computer, not for web pages")]
    Page,
    #[error("there is nothing at this path")]
    Path,
    #[error("this path does not answer that method")]
    Method,
    #[error("there is no such grant")]
    NoGrant,
    #[error("there is no such entry in the quarantine")]
    NotQuarantined,
    #[error(
        "there is no store (`store.url` is none): clients carry their grants, and what is to last has no place"
    )]
    NoStore,
    #[error("{0}")]
    Wrong(String),
    #[error(transparent)]
    Param(#[from] ParamError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AdminError {
    pub(super) fn respond(&self, house: &House) -> Response {
        use ErrorCode::{AccessDenied, InvalidRequest, InvalidToken, TemporarilyUnavailable};
        let (status, code, slug) = match self {
            Self::Body(error) => return error.respond(house),
            Self::NoToken | Self::WrongToken => {
                (StatusCode::UNAUTHORIZED, InvalidToken, "admin_token")
            }
            Self::TooMany(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                TemporarilyUnavailable,
                "admin_token_limit",
            ),
            Self::Page => (StatusCode::FORBIDDEN, AccessDenied, "admin_page"),
            Self::Path => (StatusCode::NOT_FOUND, InvalidRequest, "admin_path"),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                InvalidRequest,
                "admin_method",
            ),
            Self::NoGrant => (StatusCode::NOT_FOUND, InvalidRequest, "admin_no_grant"),
            Self::NotQuarantined => (
                StatusCode::NOT_FOUND,
                InvalidRequest,
                "admin_not_quarantined",
            ),
            Self::NoStore => (StatusCode::CONFLICT, InvalidRequest, "admin_no_store"),
            Self::Wrong(_) | Self::Param(_) => {
                (StatusCode::BAD_REQUEST, InvalidRequest, "admin_request")
            }
            Self::Store(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                TemporarilyUnavailable,
                "store_unavailable",
            ),
        };
        let outside = Outside {
            retry_after: match self {
                Self::TooMany(seconds) => Some(*seconds),
                Self::Store(_) => Some(TRY_AGAIN),
                _ => None,
            },
            // An operator is told what is wrong with the store: it is theirs.
            ..Outside::new(code, slug, self.to_string())
        };
        let mut response = refuse(house, &outside, self);
        *response.status_mut() = status;
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"vestibule admin\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
