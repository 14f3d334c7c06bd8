//! `POST /revoke` (RFC 7009): refresh tokens reach the provider, access tokens are refused here at once.
//!
//! An unknown, expired or foreign token is answered with 200 and changes nothing (RFC 7009 §2.2): the answer must not
//! tell whether a guess was right, and no client can revoke another's token (T4).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use thiserror::Error;

use vestibule_oauth::client::Client;
use vestibule_oauth::params::ParamError;
use vestibule_oauth::token::TokenRequestError;

use super::client_auth::{self, ClientRefusal};
use super::respond::{BodyError, Outside, refuse};
use crate::House;
use crate::grants::Grant;
use crate::limits::{Limited, OverLimit};
use crate::provider::ProviderError;
use crate::seal::Kind;

/// Seconds until a client may try again where the provider refuses revocations as such: an operator must act first.
const AFTER_REFUSAL: u64 = 300;

/// Why a revocation failed.
#[derive(Debug, Error)]
enum RevokeError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Request(#[from] TokenRequestError),
    #[error(transparent)]
    Client(#[from] ClientRefusal),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Limit(#[from] OverLimit),
}

impl From<ParamError> for RevokeError {
    fn from(error: ParamError) -> Self {
        Self::Request(error.into())
    }
}

/// Revokes a token.
pub async fn revoke(State(house): State<Arc<House>>, request: Request) -> Response {
    match handle(&house, request).await {
        Ok(()) => {
            let mut response = Response::new(Body::empty());
            response
                .headers_mut()
                .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => error.respond(&house),
    }
}

async fn handle(house: &House, request: Request) -> Result<(), RevokeError> {
    let (client, params) =
        client_auth::read_form::<RevokeError>(house, request, Limited::Revoke).await?;
    // `token_type_hint` is only a hint; our tokens say themselves what they are.
    let token = params.require("token")?;
    if token.starts_with(Kind::Grant.prefix()) {
        revoke_grant(house, &client, token).await
    } else {
        revoke_access(house, &client, token);
        Ok(())
    }
}

/// The whole family: refused here at once, dead everywhere when the provider has revoked its own token.
async fn revoke_grant(house: &House, client: &Client, token: &str) -> Result<(), RevokeError> {
    let opened = house.sealer().open::<Grant>(token, house.now()).ok();
    let Some(grant) = opened.and_then(|grant| grant.held_by(&client.id).ok()) else {
        return Ok(());
    };
    let until = house
        .now()
        .plus(house.settings().tokens.refresh_ttl.as_secs());
    house.revoked().add(&grant.family, until, house.now());
    // A provider that is not configured any more cannot be told; here the family is dead.
    let Some(provider) = house.provider(&grant.provider) else {
        return Ok(());
    };
    match provider.revoke(&grant.provider_refresh_token()).await {
        // Dead already is what was wanted.
        Ok(()) | Err(ProviderError::InvalidGrant(_)) => {}
        Err(error) => return Err(error.into()),
    }
    tracing::info!(family = grant.family, "grant revoked by its client");
    Ok(())
}

fn revoke_access(house: &House, client: &Client, token: &str) {
    let Ok(access) = house.issuer().recognise(token, house.now()) else {
        return;
    };
    if access.client_id != client.id.as_str() {
        return;
    }
    house
        .revoked()
        .add(&access.id, access.expires_at, house.now());
    tracing::info!(token_id = access.id, "access token revoked by its client");
}

impl RevokeError {
    fn respond(&self, house: &House) -> Response {
        let outside = match self {
            Self::Body(error) => return error.respond(house),
            Self::Limit(over) => return over.respond(house),
            Self::Request(error) => {
                Outside::new(error.code(), "revocation_request", error.to_string())
            }
            Self::Client(refusal) => refusal.outside(),
            // RFC 7009 §2.2.1: 503 means that the token still exists and the client may try again "after a reasonable
            // delay". That is so for a refusal too: other replicas, and the provider, still take it.
            Self::Provider(error) => {
                let (code, description) = error.outside();
                Outside {
                    retry_after: error.retry_after().or(Some(AFTER_REFUSAL)),
                    ..Outside::new(code, error.slug(), description)
                }
            }
        };
        let mut response = refuse(house, &outside, self);
        if matches!(self, Self::Provider(_)) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }
}
