//! `/logout`: signs the browser out at the provider (OpenID Connect RP-Initiated Logout 1.0 §2) and comes back to a page.
//!
//! It also forgets the consents that the browser remembers, and ends the session of `/connections`. What people mean is the
//! provider's session, which would sign the next person at this computer in without a question. GET changes nothing; POST counts only from our own page, or any site
//! could sign people out.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use thiserror::Error;

use vestibule_oauth::params::{ParamError, Params};

use super::connections;
use super::remembered;
use super::respond::{self, BodyError};
use super::same_site::foreign_site;
use super::tell::{display_error, redirect_to};
use crate::House;
use crate::pages::{self, LogoutPage, Page, ProviderChoice};
use crate::provider::ProviderError;

/// Where the provider sends the browser afterwards. The operator registers it there.
pub const DONE_PATH: &str = "/logout/done";

const MAX_BODY: usize = 4 * 1024;

/// Why nobody was signed out.
#[derive(Debug, Error)]
enum LogoutError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Param(#[from] ParamError),
    #[error("the form was sent by another site: {0}")]
    CrossSite(String),
    #[error("no such provider, or it offers no sign-out")]
    NoSignOut,
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

/// `GET /logout`: asks.
pub async fn page(State(house): State<Arc<House>>, request: Request) -> Response {
    let possible = house
        .providers()
        .iter()
        .filter(|own| own.may_end_sessions());
    let page = LogoutPage {
        done: false,
        providers: possible
            .map(|provider| ProviderChoice::new(provider.id(), provider.label()))
            .collect(),
        remembers: !remembered::memory(&house, request.headers()).is_empty(),
    };
    pages::respond(StatusCode::OK, Page::Logout(page))
}

/// `GET /logout/done`: says what happened.
pub async fn done() -> Response {
    let page = LogoutPage {
        done: true,
        providers: Vec::new(),
        remembers: false,
    };
    pages::respond(StatusCode::OK, Page::Logout(page))
}

/// `POST /logout`: on to the provider, or back to the page when there was only something to forget.
pub async fn logout(State(house): State<Arc<House>>, request: Request) -> Response {
    match location(&house, request).await {
        Ok((headers, location)) => {
            let mut response = redirect_to(StatusCode::SEE_OTHER, &location);
            // The next person at this computer is asked everything.
            remembered::forget_all(&house, &headers, response.headers_mut());
            connections::sign_off(&house, &headers, response.headers_mut()).await;
            response
        }
        Err(error) => error.respond(&house),
    }
}

async fn location(house: &House, request: Request) -> Result<(HeaderMap, String), LogoutError> {
    let (headers, body) =
        respond::body(request, "application/x-www-form-urlencoded", MAX_BODY).await?;
    if let Some(site) = foreign_site(house, &headers) {
        return Err(LogoutError::CrossSite(site));
    }
    let params = Params::parse(&body)?;
    if params.has("forget") {
        return Ok((headers, house.settings().public_url.join("/logout")));
    }
    let provider = house
        .provider(params.require("provider")?)
        .ok_or(LogoutError::NoSignOut)?;
    let return_to = house.settings().public_url.join(DONE_PATH);
    let location = provider.end_session_url(&return_to).await?;
    Ok((headers, location.ok_or(LogoutError::NoSignOut)?))
}

impl LogoutError {
    fn respond(&self, house: &House) -> Response {
        let (status, title, explanation, next_step, slug) = match self {
            Self::Body(error) => return error.respond(house),
            Self::Param(_) | Self::NoSignOut => (
                StatusCode::BAD_REQUEST,
                "Nobody was signed out",
                "The identity provider offers no sign-out here.",
                "Sign out at your identity provider itself.",
                "logout_not_offered",
            ),
            Self::CrossSite(_) => (
                StatusCode::FORBIDDEN,
                "Nobody was signed out",
                "The form was sent by another website and not by this server's page.",
                "If you did want to sign out, open /logout here.",
                "logout_cross_site",
            ),
            Self::Provider(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Nobody was signed out",
                "The identity provider cannot be reached right now.",
                "Try again in a moment, or sign out at your identity provider itself.",
                "logout_provider",
            ),
        };
        display_error(house, status, title, explanation, next_step, slug, self)
    }
}
