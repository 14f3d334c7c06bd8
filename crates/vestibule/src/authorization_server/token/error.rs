//! Why `/token` refuses, and what the client hears of it (RFC 6749 §5.2): a dead grant is `invalid_grant`, what passes by
//! itself is 503 with `Retry-After`.

use axum::response::Response;
use thiserror::Error;

use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::params::ParamError;
use vestibule_oauth::token::TokenRequestError;

use super::super::client_auth::ClientRefusal;
use super::super::respond::{BodyError, Outside, refuse};
use crate::House;
use crate::grants::{GrantMismatch, RedeemError};
use crate::issuer::MintError;
use crate::limits::OverLimit;
use crate::provider::ProviderError;
use crate::seal::SealError;
use crate::store::StoreError;

/// Seconds after which a client may try again when the store or another replica kept it waiting.
const RETRY_AFTER: u64 = 5;

/// Why no token was issued.
#[derive(Debug, Error)]
pub(in crate::authorization_server) enum TokenError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Request(#[from] TokenRequestError),
    #[error(transparent)]
    Client(#[from] ClientRefusal),
    #[error("the code is not usable: {0}")]
    CodeSeal(SealError),
    #[error(transparent)]
    Redeem(#[from] RedeemError),
    #[error("consent was remembered for another user than the one who signed in")]
    OtherUser,
    #[error("the code was redeemed before; what it gave is revoked")]
    CodeReplayed,
    #[error("the refresh token is not usable: {0}")]
    GrantSeal(SealError),
    #[error(transparent)]
    GrantMismatch(#[from] GrantMismatch),
    #[error("an operator has shut the client out")]
    ClientQuarantined,
    #[error("an operator has shut the user out")]
    UserQuarantined,
    #[error("the grant was revoked")]
    Revoked,
    #[error("the grant is not in the store (any more)")]
    GrantGone,
    #[error("the sign-in is older than a sign-in may be")]
    TooOld,
    #[error("a refresh token was presented that had been replaced before; its family is revoked")]
    Reused,
    #[error("another replica is asking the provider and has not come back, or failed")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the task that should have answered ended")]
    Crashed,
    #[error("the resource of the grant is not configured any more")]
    ResourceGone,
    #[error("the resource is not the one this grant is for")]
    Target,
    #[error("the scope exceeds what was granted")]
    Scope,
    #[error("none of the approved scopes is open to this user")]
    NothingPermitted,
    #[error("the provider of the grant is not configured any more")]
    ProviderGone,
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error(transparent)]
    Limit(#[from] OverLimit),
}

impl From<ParamError> for TokenError {
    fn from(error: ParamError) -> Self {
        Self::Request(error.into())
    }
}

impl TokenError {
    pub(super) fn respond(&self, house: &House) -> Response {
        use ErrorCode::{
            InvalidGrant, InvalidScope, InvalidTarget, ServerError, TemporarilyUnavailable,
            UnauthorizedClient,
        };
        let again = "sign in again";
        let outside = match self {
            Self::Body(error) => return error.respond(house),
            Self::Limit(over) => return over.respond(house),
            Self::Request(error) => Outside::new(error.code(), "token_request", error.to_string()),
            Self::Client(refusal) => refusal.outside(),
            Self::CodeSeal(SealError::Expired) => Outside::new(
                InvalidGrant,
                "code_expired",
                format!("the code has expired; {again}"),
            ),
            Self::CodeSeal(_) => Outside::new(
                InvalidGrant,
                "code_unreadable",
                format!("the code is not valid; {again}"),
            ),
            Self::Redeem(error) => {
                Outside::new(InvalidGrant, "code_binding", format!("{error}; {again}"))
            }
            Self::NothingPermitted => Outside::new(
                InvalidGrant,
                "scope_not_permitted",
                "nothing of what was approved is open to your account any more; sign in again, or ask the operator for access",
            ),
            Self::ClientQuarantined => Outside::new(
                UnauthorizedClient,
                "client_quarantined",
                "the operator of this server has suspended this application; nothing of it works until that is lifted",
            ),
            Self::UserQuarantined => Outside::new(
                InvalidGrant,
                "user_quarantined",
                "the operator of this server has suspended your account here; ask them to lift that",
            ),
            Self::OtherUser => Outside::new(
                InvalidGrant,
                "consent_other_user",
                "another account signed in than the one that approved this application in this browser; sign in again and approve it",
            ),
            Self::CodeReplayed => Outside::new(
                InvalidGrant,
                "code_replay",
                format!("the code was used before; {again}"),
            ),
            Self::Reused => Outside::new(
                InvalidGrant,
                "refresh_reuse",
                format!("the refresh token was replaced before; {again}"),
            ),
            Self::Busy | Self::Store(_) => Outside {
                retry_after: Some(RETRY_AFTER),
                ..Outside::new(
                    TemporarilyUnavailable,
                    if matches!(self, Self::Busy) {
                        "refresh_busy"
                    } else {
                        "store_unavailable"
                    },
                    "the grant cannot be worked on right now; nothing is lost, try again shortly",
                )
            },
            Self::Crashed => Outside::new(
                ServerError,
                "token_crash",
                "something is wrong here; tell the operator the reference",
            ),
            Self::GrantSeal(_)
            | Self::GrantMismatch(_)
            | Self::GrantGone
            | Self::TooOld
            | Self::Revoked
            | Self::ResourceGone
            | Self::ProviderGone => Outside::new(
                InvalidGrant,
                "grant_dead",
                format!("the refresh token is not valid any more; {again}"),
            ),
            Self::Target => Outside::new(InvalidTarget, "token_target", self.to_string()),
            Self::Scope => Outside::new(InvalidScope, "token_scope", self.to_string()),
            Self::Provider(error) => {
                let (code, description) = error.outside();
                Outside {
                    retry_after: error.retry_after(),
                    ..Outside::new(code, error.slug(), description)
                }
            }
            Self::Mint(_) => Outside::new(
                ServerError,
                "token_mint",
                "the token could not be written; tell the operator",
            ),
        };
        refuse(house, &outside, self)
    }
}
