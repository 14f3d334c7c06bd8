//! Credentials that are a signature over the request (`sigv4`): the body where it is signed, and the signature at the end.
//! The one place besides the gate that reads a body whole, bounded like it (design law 11).

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::HeaderMap;
#[cfg(feature = "aws")]
use http::HeaderName;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use thiserror::Error;

use super::Route;
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

/// The request with its body read where that is to be signed, and what is to be signed of it.
pub(super) async fn read_body(
    credential: &Credential,
    request: Box<Request>,
    patience: Duration,
) -> Result<(Box<Request>, Bytes), UnreadBody> {
    let Some(limit) = credential.signs_bodies_up_to() else {
        return Ok((request, Bytes::new()));
    };
    let (parts, body) = request.into_parts();
    let reading = Limited::new(body, limit).collect();
    match tokio::time::timeout(patience, reading).await {
        Ok(Ok(whole)) => {
            let whole = whole.to_bytes();
            let request = Request::from_parts(parts, Body::from(whole.clone()));
            Ok((Box::new(request), whole))
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(UnreadBody::TooLong(limit)),
        Ok(Err(_)) | Err(_) => Err(UnreadBody::Broken),
    }
}

/// Signs a request that is complete otherwise.
pub(super) async fn sign<B>(
    route: &Route,
    request: http::Request<B>,
    body: Bytes,
) -> Result<http::Request<B>, CredentialError> {
    match &route.credential {
        #[cfg(feature = "aws")]
        Credential::SigV4(signer) => {
            let mut request = request;
            let told: Vec<HeaderName> = route.identity.names().cloned().collect();
            let outcome = signer.sign(&mut request, &body, &told).await;
            outcome.map_err(|error| {
                tracing::error!(reason = "sigv4", cause = %error, "the request to the upstream was not signed");
                CredentialError::Unavailable
            })?;
            Ok(request)
        }
        _ => {
            let _ = body;
            Ok(request)
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
