//! Credentials that are a signature over the request (`sigv4`): the body where it is signed, and the signature at the end.
//! The one place besides the gate that reads a body whole, bounded like it (design law 11).

use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{HeaderMap, HeaderName, Request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use thiserror::Error;

use super::credential::{Credential, CredentialError};

/// Why a body that must be signed is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum UnreadBody {
    /// Longer than allowed, in bytes.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// The connection broke, or stood still.
    #[error("the request body broke off")]
    Broken,
}

/// The body to send, and what of it is to be signed.
pub(super) async fn body_to_sign(
    credential: &Credential,
    body: Body,
    patience: Duration,
) -> Result<(Body, Bytes), UnreadBody> {
    let Some(limit) = credential.signs_bodies_up_to() else {
        return Ok((body, Bytes::new()));
    };
    // Apart, because the future of every request has room for it otherwise.
    let reading = Box::pin(Limited::new(body, limit).collect());
    match tokio::time::timeout(patience, reading).await {
        Ok(Ok(whole)) => {
            let whole = whole.to_bytes();
            Ok((Body::from(whole.clone()), whole))
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(UnreadBody::TooLong(limit)),
        Ok(Err(_)) | Err(_) => Err(UnreadBody::Broken),
    }
}

/// Signs a request that is complete otherwise. `told` are the headers of ours about the caller.
pub(super) async fn sign<B>(
    credential: &Credential,
    request: &mut Request<B>,
    body: &[u8],
    told: &[HeaderName],
) -> Result<(), CredentialError> {
    match credential {
        #[cfg(feature = "aws")]
        Credential::SigV4(signer) => {
            let signed = Box::pin(signer.sign(request, body, told)).await;
            signed.map_err(|error| {
                tracing::error!(reason = "sigv4", cause = %error, "the request to the upstream was not signed");
                CredentialError::Unavailable
            })
        }
        _ => {
            let _ = (request, body, told);
            Ok(())
        }
    }
}

impl Credential {
    /// True when the credential is made from the request as it is sent.
    pub(super) fn signs_requests(&self) -> bool {
        match self {
            #[cfg(feature = "aws")]
            Self::SigV4(_) => true,
            _ => false,
        }
    }

    /// How long a body may be that must be signed; `None` when none must.
    fn signs_bodies_up_to(&self) -> Option<usize> {
        match self {
            #[cfg(feature = "aws")]
            Self::SigV4(signer) => signer.signs_bodies_up_to(),
            _ => None,
        }
    }

    /// True for a 403 that is not the MCP server's: what stands before it does not take our signature.
    pub(super) fn is_refused_by(&self, answer: &HeaderMap) -> bool {
        match self {
            #[cfg(feature = "aws")]
            Self::SigV4(signer) => signer.is_refused_by(answer),
            _ => {
                let _ = answer;
                false
            }
        }
    }
}
