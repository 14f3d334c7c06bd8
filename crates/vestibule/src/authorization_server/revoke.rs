//! `POST /revoke` (RFC 7009): refresh tokens end the family and reach the provider, access tokens are refused at once.
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
use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::params::ParamError;
use vestibule_oauth::secret::RefreshToken;
use vestibule_oauth::token::TokenRequestError;

use super::client_auth::{self, ClientRefusal};
use super::respond::{BodyError, Outside, refuse};
use super::token::{self, TokenError};
use crate::House;
use crate::audit::{Event, Happened, Source};
use crate::grants::{Grant, RevokedWhy, Shelf, Ticket};
use crate::limits::{Limited, OverLimit};
use crate::provider::ProviderError;
use crate::seal::Kind;
use crate::store::StoreError;

/// Seconds after which a client may try again when the store was away.
const RETRY_AFTER: u64 = 5;

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
    Store(#[from] StoreError),
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

async fn handle(house: &Arc<House>, request: Request) -> Result<(), RevokeError> {
    let source = house.source(&request);
    let (client, params) =
        client_auth::read_form::<RevokeError>(house, request, Limited::Revoke).await?;
    // `token_type_hint` is only a hint; our tokens say themselves what they are.
    let token = params.require("token")?;
    let carried = token.starts_with(Kind::Grant.prefix());
    if carried || token.starts_with(Kind::Ticket.prefix()) {
        match house.shelf() {
            Some(shelf) => revoke_stored(house, &shelf, &client, token, &source).await,
            None => revoke_carried(house, &client, token, &source).await,
        }
    } else {
        Ok(revoke_access(house, &client, token, &source).await?)
    }
}

/// The whole family, at every replica, whichever of its refresh tokens was presented. A carried one of the time before
/// there was a store moves in first: it must not be able to do so later.
async fn revoke_stored(
    house: &Arc<House>,
    shelf: &Shelf<'_>,
    client: &Client,
    token: &str,
    source: &Source,
) -> Result<(), RevokeError> {
    let family = if token.starts_with(Kind::Grant.prefix()) {
        match token::move_in(house, shelf, client, &RefreshToken::new(token)).await {
            Ok(family) => family,
            Err(TokenError::Store(error)) => return Err(error.into()),
            Err(_) => return Ok(()),
        }
    } else {
        match house.sealer().open::<Ticket>(token, house.now()) {
            Ok(ticket) => ticket.family,
            Err(_) => return Ok(()),
        }
    };
    let Some(shelved) = shelf.load(&family, house.now()).await? else {
        return Ok(());
    };
    if !shelved.grant.grant.is_held_by(&client.id) {
        return Ok(());
    }
    let why = RevokedWhy::Client;
    house.revoke_family(&family, why, source).await?;
    // As it was read: what marks a record revoked leaves the provider's token in it.
    Ok(house.revoke_at_provider(&shelved.grant.grant).await?)
}

/// The whole family: refused here at once, dead everywhere when the provider has revoked its own token.
async fn revoke_carried(
    house: &House,
    client: &Client,
    token: &str,
    source: &Source,
) -> Result<(), RevokeError> {
    let opened = house.sealer().open::<Grant>(token, house.now()).ok();
    let Some(grant) = opened.and_then(|grant| grant.held_by(&client.id).ok()) else {
        return Ok(());
    };
    let until = house
        .now()
        .plus(house.settings().tokens.refresh_ttl.as_secs());
    house.revoked().add(&grant.family, until, house.now());
    house.revoke_at_provider(&grant).await?;
    tracing::info!(
        event = "grant.revoked",
        reason = RevokedWhy::Client.slug(),
        family = grant.family,
        "grant revoked by its client"
    );
    house.metrics().grants_revoked.inc((RevokedWhy::Client,));
    let event = Event::new(Happened::TokenRevoked)
        .because(RevokedWhy::Client.slug())
        .client(client)
        .from(source)
        .at(&grant.resource)
        .grant(&grant.family);
    house.tell_audit(&event);
    Ok(())
}

async fn revoke_access(
    house: &House,
    client: &Client,
    token: &str,
    source: &Source,
) -> Result<(), StoreError> {
    let Ok(access) = house.issuer().recognise(token, house.now()) else {
        return Ok(());
    };
    if access.client_id != client.id.as_str() {
        return Ok(());
    }
    house.revoke_token(&access.id, access.expires_at).await?;
    tracing::info!(
        event = "token.revoked",
        token_id = access.id,
        "access token revoked by its client"
    );
    let event = Event::new(Happened::TokenRevoked)
        .because(RevokedWhy::Client.slug())
        .user(&access.subject)
        .client(client)
        .from(source)
        .token(&access.id);
    house.tell_audit(&event);
    Ok(())
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
            Self::Store(_) => Outside {
                retry_after: Some(RETRY_AFTER),
                ..Outside::new(
                    ErrorCode::TemporarilyUnavailable,
                    "store_unavailable",
                    "the revocation cannot be kept right now; try again shortly",
                )
            },
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
