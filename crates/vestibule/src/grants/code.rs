//! `Code`: the authorization code, with the provider's code and every binding inside (RFC 6749 §4.1.2).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use vestibule_oauth::client::ClientId;
use vestibule_oauth::pkce::{CodeChallenge, CodeVerifier};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::{AuthorizationCode, Secret};
use vestibule_oauth::url::RedirectUri;

use super::{ClientDigest, UserDigest};
use crate::seal::{Kind, Sealable};

/// Why a code that opened is not for this request. All are `invalid_grant` outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RedeemError {
    /// Stolen, or mixed up.
    #[error("the code was issued to another client")]
    Client,
    /// RFC 6749 §4.1.3: identical to the one of the authorization request, port included.
    #[error("redirect_uri differs from the one of the authorization request")]
    RedirectUri,
    /// RFC 7636 §4.6.
    #[error("code_verifier does not match the code_challenge of the authorization request")]
    Verifier,
}

/// An authorization code. It lives [`Code::LIFETIME`] seconds; that it works once is the provider's rule, whose code is
/// inside.
#[derive(Debug, Serialize, Deserialize)]
pub struct Code {
    #[serde(rename = "d")]
    pub(super) provider: String,
    #[serde(rename = "c")]
    pub(super) client: ClientDigest,
    #[serde(rename = "u")]
    pub(super) redirect: RedirectUri,
    #[serde(rename = "p")]
    pub(super) challenge: CodeChallenge,
    #[serde(rename = "r")]
    pub(super) resource: String,
    #[serde(rename = "o")]
    pub(super) scope: ScopeSet,
    /// Nobody else may have signed in, because this user's decision was remembered.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<UserDigest>,
    #[serde(rename = "n")]
    pub(super) nonce: String,
    #[serde(rename = "v", with = "super::carried_verifier")]
    pub(super) verifier: CodeVerifier,
    #[serde(rename = "k", with = "crate::seal::carried")]
    pub(super) carried: Secret,
}

impl Sealable for Code {
    const KIND: Kind = Kind::Code;
}

/// What a code turns into once client, redirect URI and verifier were right.
#[derive(Debug)]
pub struct Redeemed {
    /// Id of the provider whose code it is.
    pub provider: String,
    /// Path of the resource.
    pub resource: String,
    /// Host or scheme that the code was sent to, for people.
    pub redirect_host: String,
    /// What the user approved.
    pub scope: ScopeSet,
    /// Who must have signed in, if consent was remembered.
    pub user: Option<UserDigest>,
    /// To be found in the ID token.
    pub nonce: String,
    /// Our verifier for the provider.
    pub verifier: CodeVerifier,
    /// The provider's code.
    pub provider_code: AuthorizationCode,
}

impl Code {
    /// Seconds: no longer than Cognito's own codes live.
    pub const LIFETIME: u64 = 300;

    /// Checks every binding. A client that leaves `redirect_uri` out is an OAuth 2.1 client; PKCE binds it.
    pub fn redeem(
        self,
        client: &ClientId,
        redirect_uri: Option<&str>,
        verifier: &CodeVerifier,
    ) -> Result<Redeemed, RedeemError> {
        if self.client != ClientDigest::of(client) {
            return Err(RedeemError::Client);
        }
        if redirect_uri.is_some_and(|presented| presented != self.redirect.as_str()) {
            return Err(RedeemError::RedirectUri);
        }
        if !self.challenge.is_met_by(verifier) {
            return Err(RedeemError::Verifier);
        }
        Ok(Redeemed {
            provider: self.provider,
            resource: self.resource,
            redirect_host: self.redirect.display_host().to_owned(),
            scope: self.scope,
            user: self.user,
            nonce: self.nonce,
            verifier: self.verifier,
            provider_code: AuthorizationCode(self.carried),
        })
    }
}
