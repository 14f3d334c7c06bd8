//! What can go wrong at the provider, sorted by what the client should do about it.

use thiserror::Error;

use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::jose::{ClaimsError, JwsError};

/// A failed conversation with the provider. The text is for our log; [`ProviderError::outside`] is for the client.
#[derive(Clone, Debug, Error)]
pub enum ProviderError {
    /// Not reachable, too slow, 5xx or 429. Nobody's grant is dead; come back in `retry_after` seconds.
    #[error("the provider is unavailable: {cause}")]
    Unavailable {
        /// What happened, for the log.
        cause: String,
        /// Seconds to wait.
        retry_after: u64,
    },
    /// The provider says that the code or refresh token is dead: the only error that ends a grant (design §5.4).
    #[error("the provider refused the grant: {0}")]
    InvalidGrant(String),
    /// Our settings and the provider's do not fit. Retrying will not help; the operator must act.
    #[error("the provider refused this server's request: {0}")]
    Misconfigured(String),
    /// An answer that is not what the protocol says: HTML, truncated JSON, missing members.
    #[error("the provider's answer cannot be used: {0}")]
    BadAnswer(String),
    /// The ID token's signature is wrong.
    #[error("the provider's ID token is not acceptable: {0}")]
    IdTokenSignature(#[from] JwsError),
    /// The ID token's claims are wrong.
    #[error("the provider's ID token is not acceptable: {0}")]
    IdTokenClaims(#[from] ClaimsError),
    /// The user of a refreshed grant is another one than before (OpenID Connect Core §12.2).
    #[error("the provider's new ID token is for another user")]
    SubjectChanged,
}

impl ProviderError {
    /// Seconds we ask clients to wait when the provider did not say.
    pub const DEFAULT_RETRY_AFTER: u64 = 5;

    /// A transient failure with the default wait.
    pub(super) fn unavailable(cause: impl std::fmt::Display) -> Self {
        Self::Unavailable {
            cause: format!("{cause}"),
            retry_after: Self::DEFAULT_RETRY_AFTER,
        }
    }

    /// Code and sentence for the client. The cause stays inside.
    pub fn outside(&self) -> (ErrorCode, &'static str) {
        match self {
            Self::Unavailable { .. } => (
                ErrorCode::TemporarilyUnavailable,
                "the identity provider cannot be reached right now; nothing is lost, try again shortly",
            ),
            Self::InvalidGrant(_) => (
                ErrorCode::InvalidGrant,
                "the sign-in has ended at the identity provider; sign in again",
            ),
            Self::Misconfigured(_) => (
                ErrorCode::ServerError,
                "the identity provider refuses this server's configuration; tell the operator the reference",
            ),
            Self::BadAnswer(_)
            | Self::IdTokenSignature(_)
            | Self::IdTokenClaims(_)
            | Self::SubjectChanged => (
                ErrorCode::ServerError,
                "the identity provider's answer could not be verified; tell the operator the reference",
            ),
        }
    }

    /// A stable slug for logs and metrics.
    pub fn slug(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "provider_unavailable",
            Self::InvalidGrant(_) => "provider_invalid_grant",
            Self::Misconfigured(_) => "provider_misconfigured",
            Self::BadAnswer(_) => "provider_bad_answer",
            Self::IdTokenSignature(_) | Self::IdTokenClaims(_) => "provider_id_token",
            Self::SubjectChanged => "provider_subject_changed",
        }
    }

    /// Seconds for `Retry-After`, when waiting helps.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Unavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}
