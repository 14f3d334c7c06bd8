//! The client of a token or revocation request: read, found and proven; and what one that fails is told (RFC 6749 §5.2).

use axum::extract::Request;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use thiserror::Error;

use vestibule_oauth::client::Client;
use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::params::{ParamError, Params};
use vestibule_oauth::token::{PresentedClient, TokenRequestError};

use super::respond::{self, BodyError, Outside};
use crate::House;
use crate::clients::{ClientAuthError, UnknownClient};
use crate::limits::{Limited, OverLimit, network_of};

/// Bytes of a form: a refresh token of ours holds the provider's (about 2 KiB).
const MAX_BODY: usize = 64 * 1024;

/// Seconds after which a client whose document or keys were away may try again: as long as its origin is left alone.
const RETRY_AFTER: u64 = 30;

/// Why the client may not go on.
#[derive(Debug, Error)]
pub(super) enum ClientRefusal {
    /// It did not say who it is, or not readably.
    #[error("{cause}")]
    Request {
        cause: TokenRequestError,
        by_basic: bool,
    },
    /// It is not believed.
    #[error("{cause}")]
    Auth {
        cause: ClientAuthError,
        by_basic: bool,
    },
}

/// The head of `/token` and `/revoke`: the form, and the client that sent it, proven and within its limit.
///
/// The client comes before the rest: an unknown one must hear `invalid_client` and register again, whatever it brings.
pub(super) async fn read_form<E>(
    house: &House,
    request: Request,
    endpoint: Limited,
) -> Result<(Client, Params), E>
where
    E: From<BodyError> + From<ParamError> + From<ClientRefusal> + From<OverLimit>,
{
    let network = network_of(&request);
    let (headers, body) =
        respond::body(request, "application/x-www-form-urlencoded", MAX_BODY).await?;
    let params = Params::parse(&body)?;
    let client = authenticate(house, authorization(&headers), &params).await?;
    house.limits().client(endpoint, &client.id, network)?;
    Ok((client, params))
}

/// What the client says in the header. Nothing readable if it says two things: RFC 6749 §2.3 allows one, and a proxy before
/// us may have looked at the other.
fn authorization(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next()?;
    let alone = values.next().is_none();
    let readable = first.to_str().ok().filter(|_| alone);
    Some(readable.unwrap_or_default())
}

/// Who asks, and is it true?
async fn authenticate(
    house: &House,
    authorization: Option<&str>,
    params: &Params,
) -> Result<Client, ClientRefusal> {
    let by_basic = authorization.is_some();
    let presented = PresentedClient::parse(authorization, params)
        .map_err(|cause| ClientRefusal::Request { cause, by_basic })?;
    house
        .clients()
        .authenticate(house.sealer(), house.store(), &presented, house.now())
        .await
        .map_err(|cause| ClientRefusal::Auth { cause, by_basic })
}

impl ClientRefusal {
    /// What the client is told. 401 `invalid_client` makes clients register anew (facts/clients.md §0.7), so what may
    /// pass by itself is 503, and what registering does not help is 400.
    pub(super) fn outside(&self) -> Outside {
        let (cause, by_basic) = match self {
            Self::Request { cause, by_basic } => {
                let failed = matches!(cause, TokenRequestError::ClientAuthentication(_));
                return Outside {
                    basic_challenge: *by_basic && failed,
                    ..Outside::new(cause.code(), "client_request", cause.to_string())
                };
            }
            Self::Auth { cause, by_basic } => (cause, *by_basic),
        };
        if cause.is_transient() {
            return Outside {
                retry_after: Some(RETRY_AFTER),
                ..Outside::new(
                    ErrorCode::TemporarilyUnavailable,
                    "client_unavailable",
                    "who the client is cannot be checked at the moment; try again later",
                )
            };
        }
        let (code, slug, description) = match cause {
            ClientAuthError::Unknown(UnknownClient::Refused(refusal)) => (
                ErrorCode::UnauthorizedClient,
                "client_refused",
                refusal.to_string(),
            ),
            ClientAuthError::Unknown(
                unknown @ (UnknownClient::Document(_)
                | UnknownClient::DocumentUrl(_)
                | UnknownClient::DocumentHost(_)
                | UnknownClient::DocumentsOff),
            ) => (
                ErrorCode::InvalidClient,
                "client_document",
                unknown.to_string(),
            ),
            ClientAuthError::Unknown(_) => (
                ErrorCode::InvalidClient,
                "client_unknown",
                "this server does not know the client; register again".to_owned(),
            ),
            proof => (
                ErrorCode::InvalidClient,
                "client_authentication",
                proof.to_string(),
            ),
        };
        Outside {
            basic_challenge: by_basic && code == ErrorCode::InvalidClient,
            ..Outside::new(code, slug, description)
        }
    }
}
