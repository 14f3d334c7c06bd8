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
use super::respond::json;
use crate::House;
use crate::grants::Answer;
use crate::limits::Limited;

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
}

/// Issues tokens.
pub async fn token(State(house): State<Arc<House>>, request: Request) -> Response {
    match handle(&house, request).await {
        Ok(answer) => json(StatusCode::OK, &answer.response(house.now())),
        Err(error) => error.respond(&house),
    }
}

/// What is done to a grant is done in a task of its own: a client that hangs up must not cancel it between the
/// provider's answer and the moment that it is kept.
async fn handle(house: &Arc<House>, request: Request) -> Outcome {
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
            };
            code::redeem(house, client, asked).await
        }
        TokenRequest::RefreshToken {
            refresh_token,
            scope,
            resources,
        } => {
            let asked = Asked {
                token: refresh_token,
                scope,
                resources,
            };
            if house.store().is_some() {
                stored::refresh(house, client, asked).await
            } else {
                carried::refresh(house, client, asked).await
            }
        }
    }
}
