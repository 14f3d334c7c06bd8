//! Is the client who it says? (RFC 6749 §2.3, RFC 7523 §2.2; the first step of `/token` and `/revoke`)
//!
//! A client that declared a way to authenticate must use it. A secret comes by HTTP Basic or in the form, whichever was
//! registered (facts/clients.md §0.5). A public client's secret proves nothing and is not looked at, since clients that
//! once heard of `client_secret_basic` keep sending an empty or made-up one.

use thiserror::Error;

use vestibule_guard::keys::VerifyError;
use vestibule_oauth::client::{
    AssertionError, AssertionRules, CheckedAssertion, Client, ClientAssertion, ClientAuthMethod,
    ClientKeys,
};
use vestibule_oauth::jose::{JwkSet, JwsError};
use vestibule_oauth::secret::ClientSecret;
use vestibule_oauth::time::UnixTime;
use vestibule_oauth::token::PresentedClient;

use super::replay::Use;
use super::{ClientRegistry, RemoteError, UnknownClient};
use crate::seal::Sealer;
use crate::store::{Store, StoreError};

/// Why a client is not believed.
#[derive(Debug, Error)]
pub enum ClientAuthError {
    /// There is no such client.
    #[error("unknown client: {0}")]
    Unknown(#[from] UnknownClient),
    /// It has a secret and did not send it.
    #[error("the client is confidential and sent no secret")]
    SecretMissing,
    /// It sent another.
    #[error("the client secret is wrong")]
    SecretWrong,
    /// It declared `private_key_jwt` and sent no assertion.
    #[error("the client declared private_key_jwt and sent no client_assertion")]
    AssertionMissing,
    /// It sent an assertion, and there are no keys to verify it with.
    #[error("the client sent a client_assertion and has no keys")]
    NoKeys,
    /// The assertion proves nothing.
    #[error("the client assertion is not valid: {0}")]
    Assertion(#[from] AssertionError),
    /// The assertion was used before.
    #[error("the client assertion was used before")]
    Replayed,
    /// So many assertions are live that it cannot be told whether this one was used.
    #[error("too many client assertions at once")]
    Crowded,
    /// It cannot be asked whether another replica has seen the assertion.
    #[error("whether the client assertion was used before is not known: {0}")]
    Store(#[from] StoreError),
    /// The keys are away.
    #[error("the keys of the client cannot be read: {0}")]
    Keys(String),
    /// The keys can never be read.
    #[error("the keys of the client cannot be used: {0}")]
    KeySet(String),
}

impl ClientAuthError {
    /// True when the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unknown(error) => error.is_transient(),
            Self::Crowded | Self::Store(_) | Self::Keys(_) => true,
            _ => false,
        }
    }
}

impl ClientRegistry {
    /// The client that a token or revocation request comes from, proven as far as it has means to. Replicas that share
    /// `store` accept an assertion once.
    pub async fn authenticate(
        &self,
        sealer: &Sealer,
        store: Option<&dyn Store>,
        presented: &PresentedClient,
        now: UnixTime,
    ) -> Result<Client, ClientAuthError> {
        let client = self.resolve(sealer, presented.id.as_str(), now).await?;
        match (client.auth_method, &presented.assertion) {
            (ClientAuthMethod::None | ClientAuthMethod::PrivateKeyJwt, Some(assertion)) => {
                self.check_assertion(store, &client, assertion, now).await?;
            }
            (ClientAuthMethod::PrivateKeyJwt, None) => {
                return Err(ClientAuthError::AssertionMissing);
            }
            (ClientAuthMethod::ClientSecretBasic | ClientAuthMethod::ClientSecretPost, _) => {
                let configured = self.known(client.id.as_str());
                let own = configured
                    .and_then(|known| known.secret.clone())
                    .or_else(|| self.secret_of(sealer, &client));
                check_secret(own.as_ref(), presented.secret.as_ref())?;
            }
            (ClientAuthMethod::None, None) => {}
        }
        Ok(client)
    }

    async fn check_assertion(
        &self,
        store: Option<&dyn Store>,
        client: &Client,
        assertion: &ClientAssertion,
        now: UnixTime,
    ) -> Result<(), ClientAuthError> {
        let [issuer, token_endpoint] = &self.audiences;
        let rules = AssertionRules {
            client_id: client.id.as_str(),
            audiences: [issuer, token_endpoint],
            now,
        };
        let checked = match &client.keys {
            ClientKeys::None => return Err(ClientAuthError::NoKeys),
            ClientKeys::Inline(keys) => assertion.verify(&JwkSet::from_values(keys), &rules)?,
            ClientKeys::Uri(uri) => self.verify_by_uri(client, uri, assertion, &rules).await?,
        };
        let owner = client.document_host().unwrap_or(client.id.as_str());
        let id = client.id.as_str();
        let CheckedAssertion {
            token_id,
            expires_at,
        } = checked;
        let used = &self.used;
        let found = used.use_once_everywhere(store, owner, id, &token_id, expires_at, now);
        match found.await? {
            Use::First => Ok(()),
            Use::Again => Err(ClientAuthError::Replayed),
            Use::Full => Err(ClientAuthError::Crowded),
        }
    }

    /// With the keys behind a URL; a key id that they do not have is a reason to fetch them again.
    async fn verify_by_uri(
        &self,
        client: &Client,
        uri: &str,
        assertion: &ClientAssertion,
        rules: &AssertionRules<'_>,
    ) -> Result<CheckedAssertion, ClientAuthError> {
        if let Some(source) = self
            .known(client.id.as_str())
            .and_then(|known| known.keys.as_ref())
        {
            let jws = assertion.jws().map_err(AssertionError::from)?;
            return match source.verify(&jws).await {
                Ok(verified) => Ok(ClientAssertion::check(verified, rules)?),
                Err(VerifyError::Token(error)) => Err(AssertionError::from(error).into()),
                Err(VerifyError::Keys(error)) => Err(ClientAuthError::Keys(error.to_string())),
            };
        }
        let refused = |error: UnknownClient| ClientAuthError::KeySet(error.to_string());
        let url = self.document_url(uri).map_err(refused)?;
        let keys = self
            .key_sets
            .get(&url)
            .await
            .map_err(|error: RemoteError| {
                let text = error.to_string();
                if error.is_transient() {
                    ClientAuthError::Keys(text)
                } else {
                    ClientAuthError::KeySet(text)
                }
            })?;
        match assertion.verify(&keys, rules) {
            Err(AssertionError::Jws(error @ JwsError::UnknownKey(_))) => {
                let newer = self.key_sets.newer(&url, &keys).await;
                let newer = newer.ok_or(AssertionError::Jws(error))?;
                Ok(assertion.verify(&newer, rules)?)
            }
            other => Ok(other?),
        }
    }
}

fn check_secret(
    own: Option<&ClientSecret>,
    presented: Option<&ClientSecret>,
) -> Result<(), ClientAuthError> {
    let presented = presented.ok_or(ClientAuthError::SecretMissing)?;
    // `Secret` compares in constant time.
    match own {
        Some(own) if own == presented => Ok(()),
        _ => Err(ClientAuthError::SecretWrong),
    }
}
