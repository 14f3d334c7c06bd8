//! What the upstream receives instead of the client's token (design §1 "Credential"; T18: the client's own never travels).

use std::fmt;

use http::{HeaderName, HeaderValue, header};
use thiserror::Error;
use vestibule_guard::Caller;
use vestibule_oauth::secret::AccessToken;

use super::living::Standing;
#[cfg(feature = "aws")]
use crate::aws::UpstreamSigner;
use crate::upstream_identity::{IdentityToken, UpstreamIdentity};

/// The kind of credential of a route.
#[derive(Clone)]
pub enum Credential {
    /// Nothing: the upstream is reachable through us only.
    None,
    /// A token of ours for `audience`, which the upstream verifies through our keys.
    VestibuleToken {
        /// `aud` of the token.
        audience: String,
    },
    /// The provider's access token of the user who calls.
    ProviderToken,
    /// A header that is the same for everybody, such as an API key.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value; mark it sensitive.
        value: HeaderValue,
    },
    /// A signature over the request with credentials of AWS that are ours, the same for everybody.
    #[cfg(feature = "aws")]
    SigV4(std::sync::Arc<UpstreamSigner>),
}

impl Credential {
    /// The header that carries the credential.
    pub(super) fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::None => None,
            Self::VestibuleToken { .. } | Self::ProviderToken => Some(&header::AUTHORIZATION),
            Self::Header { name, .. } => Some(name),
            #[cfg(feature = "aws")]
            Self::SigV4(_) => Some(&header::AUTHORIZATION),
        }
    }

    /// True when the credential tells the upstream who the user is, so that a new sign-in may mend a refusal.
    pub(super) fn is_of_the_user(&self) -> bool {
        matches!(self, Self::VestibuleToken { .. } | Self::ProviderToken)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::VestibuleToken { audience } => write!(f, "VestibuleToken({audience})"),
            Self::ProviderToken => f.write_str("ProviderToken"),
            Self::Header { name, .. } => write!(f, "Header({name})"),
            #[cfg(feature = "aws")]
            Self::SigV4(signer) => write!(f, "SigV4({signer:?})"),
        }
    }
}

/// Why there is no token for the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CredentialError {
    /// The grant holds none, or a dead one: the user must sign in again (401).
    #[error("the grant holds no token for the upstream")]
    SignInAgain,
    /// The store or the provider is away (503).
    #[error("the token for the upstream cannot be had at the moment")]
    Unavailable,
}

/// What the house knows of callers: it implements this over its issuer and grants.
pub trait UpstreamTokens: Send + Sync + 'static {
    /// The addition of the house's verifier to a [`Caller`].
    type Extra: Clone + Send + Sync + 'static;

    /// A token of ours for `audience` in the name of `caller`, as value of `Authorization`.
    fn vestibule_token(
        &self,
        caller: &Caller<Self::Extra>,
        audience: &str,
    ) -> Result<HeaderValue, CredentialError>;

    /// The identity token of `caller`, as value of its header.
    fn identity_token(
        &self,
        caller: &Caller<Self::Extra>,
        token: &IdentityToken,
    ) -> Result<HeaderValue, CredentialError>;

    /// The provider's access token of `caller`.
    fn provider_token(&self, caller: &Caller<Self::Extra>) -> Result<AccessToken, CredentialError>;

    /// A question for as long as a stream of `caller` lives: are they still let in, but for the time of their token? It
    /// should hold little, because there may be many streams.
    fn standing(&self, caller: &Caller<Self::Extra>) -> Standing;
}

/// The header to add to an upstream request.
pub(super) fn header_for<T: UpstreamTokens>(
    credential: &Credential,
    tokens: &T,
    caller: &Caller<T::Extra>,
) -> Result<Option<(HeaderName, HeaderValue)>, CredentialError> {
    let value = match credential {
        Credential::None => return Ok(None),
        // Added when the request is complete.
        #[cfg(feature = "aws")]
        Credential::SigV4(_) => return Ok(None),
        Credential::Header { name, value } => return Ok(Some((name.clone(), value.clone()))),
        Credential::VestibuleToken { audience } => tokens.vestibule_token(caller, audience)?,
        Credential::ProviderToken => bearer(tokens.provider_token(caller)?.expose())?,
    };
    Ok(Some((header::AUTHORIZATION, value)))
}

/// The value of `Authorization` with a token (RFC 6750 §2.1).
///
/// # Errors
///
/// `SignInAgain` for a token that no header can hold: only another one mends that.
pub fn bearer(token: &str) -> Result<HeaderValue, CredentialError> {
    secret_value(format!("Bearer {token}")).map_err(|_| CredentialError::SignInAgain)
}

/// The value of a header that is in no log.
///
/// # Errors
///
/// `Unavailable` for text that no header can hold.
pub fn secret_value(text: String) -> Result<HeaderValue, CredentialError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| CredentialError::Unavailable)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Each header about the caller; `None` where this one has nothing to tell.
pub(crate) type IdentityHeaders = Vec<(HeaderName, Option<HeaderValue>)>;

/// What the upstream is told of the caller besides the credential.
pub(super) fn identity_for<T: UpstreamTokens>(
    identity: &UpstreamIdentity,
    tokens: &T,
    caller: &Caller<T::Extra>,
) -> Result<IdentityHeaders, CredentialError> {
    let told = identity.describe(caller);
    let mut headers: IdentityHeaders = told.map(|(name, value)| (name.clone(), value)).collect();
    if let Some(token) = &identity.token {
        let signed = tokens.identity_token(caller, token)?;
        headers.push((token.header.clone(), Some(signed)));
    }
    Ok(headers)
}
