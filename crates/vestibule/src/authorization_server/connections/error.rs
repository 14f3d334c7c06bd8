//! What can go wrong at `/connections`, and what the person is told.

use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use thiserror::Error;

use vestibule_oauth::params::ParamError;

use crate::House;
use crate::authorization_server::respond::BodyError;
use crate::authorization_server::tell::display_error;
use crate::provider::ProviderError;
use crate::seal::SealError;
use crate::store::StoreError;

/// Seconds after which a store that was away may be asked again.
const RETRY_SECONDS: u64 = 5;

/// Why there is no list, or nothing was ended.
#[derive(Debug, Error)]
pub(super) enum ConnectionsError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Param(#[from] ParamError),
    #[error("the form was sent by another site: {0}")]
    CrossSite(String),
    #[error("the ticket of the form does not open: {0}")]
    Ticket(#[from] SealError),
    #[error("the form was made for another session or browser")]
    OtherSession,
    #[error("nobody is signed in here, or not any more")]
    SignedOut,
    #[error("there is no such provider, or not any more")]
    NoProvider,
    #[error("the redirect says it is from the issuer {0:?}, which is not the provider")]
    Issuer(Option<String>),
    #[error("the provider said {0}")]
    Refused(String),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the work panicked")]
    Crashed,
}

impl ConnectionsError {
    pub(super) fn respond(&self, house: &House) -> Response {
        let (status, title, explanation, next_step, slug) = match self {
            Self::Body(error) => return error.respond(house),
            Self::Ticket(SealError::Expired) | Self::SignedOut => (
                StatusCode::FORBIDDEN,
                "You are not signed in any more",
                "For your safety this page works for fifteen minutes. What you just pressed had no effect.",
                "Open /connections again and sign in.",
                "connections_signed_out",
            ),
            Self::Param(_) | Self::NoProvider => (
                StatusCode::BAD_REQUEST,
                "This could not be read",
                "What arrived is not what this server's page sends. Nothing was changed.",
                "Open /connections again.",
                "connections_unreadable",
            ),
            Self::CrossSite(_) | Self::Ticket(_) | Self::OtherSession => (
                StatusCode::FORBIDDEN,
                "This was stopped for your safety",
                "The form was sent by another website, belongs to another sign-in, or cookies are blocked here. Nothing was changed.",
                "Open /connections again. If you did not press anything, close the window.",
                "connections_other_session",
            ),
            Self::Issuer(_) => (
                StatusCode::FORBIDDEN,
                "The sign-in was stopped for your safety",
                "The answer did not come from the identity provider that was asked.",
                "Open /connections again and sign in.",
                "connections_issuer",
            ),
            Self::Refused(_) | Self::Provider(ProviderError::InvalidGrant(_)) => (
                StatusCode::FORBIDDEN,
                "You are not signed in",
                "The identity provider did not sign you in.",
                "Open /connections again if you want to try once more.",
                "connections_refused",
            ),
            Self::Provider(ProviderError::Unavailable { .. }) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "You are not signed in",
                "The identity provider cannot be reached right now.",
                "Open /connections again in a moment.",
                "connections_provider_away",
            ),
            Self::Provider(_) => (
                StatusCode::BAD_GATEWAY,
                "You are not signed in",
                "The identity provider's answer cannot be used.",
                "Tell the operator of this server the reference below.",
                "connections_provider",
            ),
            Self::Store(_) | Self::Crashed => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The connections cannot be read or changed right now",
                "The place where they are kept does not answer. Do not count on anything having been disconnected.",
                "Open /connections again in a moment, and look.",
                "connections_store",
            ),
        };
        let mut response = display_error(house, status, title, explanation, next_step, slug, self);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = HeaderValue::from(RETRY_SECONDS);
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}
