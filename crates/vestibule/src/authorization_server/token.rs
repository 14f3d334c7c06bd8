//! `POST /token` (RFC 6749 §3.2): client → code or refresh token → provider → grant → tokens of our own.

mod carried;
mod code;
mod error;
mod flights;
mod issue;
mod moving;
mod persist;
mod stored;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;

use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::RefreshToken;
use vestibule_oauth::token::TokenRequest;

use super::client_auth;
use super::respond::json_within;
use crate::House;
use crate::audit::{Event, Happened, Source};
use crate::grants::Answer;
use crate::limits::Limited;
use crate::metrics::labels::RefreshOutcome;
use crate::telemetry::Told;

pub(super) use error::TokenError;
pub(crate) use flights::Refreshes;
pub(super) use moving::move_in;

/// How a request ends. Several requests may share one end.
type Outcome = Result<Arc<Answer>, Arc<TokenError>>;

/// A refresh as the client asks for it.
#[derive(Clone, Debug)]
struct Asked {
    token: RefreshToken,
    scope: Option<ScopeSet>,
    resources: Vec<String>,
    source: Source,
}

/// Issues tokens.
pub async fn token(State(house): State<Arc<House>>, request: Request) -> Response {
    let source = house.source(&request);
    let mut refreshes = false;
    match handle(&house, request, &source, &mut refreshes).await {
        Ok(answer) => json_within(answer.room(), StatusCode::OK, &answer.response(house.now())),
        Err(error) => {
            let response = error.respond(&house);
            if refreshes {
                let outcome = if response.status().is_server_error() {
                    RefreshOutcome::Unavailable
                } else {
                    RefreshOutcome::Refused
                };
                house.metrics().refreshes.inc((outcome,));
            }
            let event = Event::new(Happened::TokenRefused).from(&source);
            house.tell_audit(&event.told(Told::of(&response)));
            response
        }
    }
}

/// What is done to a grant is done in a task of its own: a client that hangs up must not cancel it between the
/// provider's answer and the moment that it is kept.
///
/// `refreshes` becomes true when that is what is asked for.
async fn handle(
    house: &Arc<House>,
    request: Request,
    source: &Source,
    refreshes: &mut bool,
) -> Outcome {
    let (client, params) =
        client_auth::read_form::<TokenError>(house, request, Limited::Token).await?;
    let name = || client.name.as_deref();
    let now = house.now();
    if (house.quarantine()).has_client(client.id.as_str(), name, now) {
        return Err(TokenError::ClientQuarantined.into());
    }
    match TokenRequest::parse(&params).map_err(TokenError::from)? {
        TokenRequest::AuthorizationCode {
            code,
            redirect_uri,
            verifier,
            resources,
        } => {
            let asked = code::AskedCode {
                code,
                redirect_uri,
                verifier,
                resources,
                source: source.clone(),
            };
            code::redeem(house, client, asked).await
        }
        TokenRequest::RefreshToken {
            refresh_token,
            scope,
            resources,
        } => {
            *refreshes = true;
            let asked = Asked {
                token: refresh_token,
                scope,
                resources,
                source: source.clone(),
            };
            if house.store().is_some() {
                stored::refresh(house, client, asked).await
            } else {
                carried::refresh(house, client, asked).await
            }
        }
    }
}
