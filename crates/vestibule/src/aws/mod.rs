//! Amazon Web Services without an SDK (facts/rust.md A.1): credentials from the usual chain, requests signed by us, JSON
//! calls over the one way out.
//!
//! Not `aws-config` and `aws-sigv4`: together they are 33 crates more and some 30 CPU seconds of building, bring a second
//! implementation of SHA-256 and HMAC, and need a newer compiler than we promise.

mod client;
mod credentials;
mod endpoint;
mod environment;
mod secrets;
mod sign;
#[cfg(test)]
pub(crate) mod test_server;
mod upstream;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use vestibule_guard::fetch::{AddressPolicy, FetchError, Outbound, Trust};
use vestibule_oauth::random::Random;
use vestibule_oauth::time::Clock;

pub use client::{AwsClient, Retry};
pub use credentials::{Credentials, CredentialsError};
pub use endpoint::{DYNAMODB, SECRETS_MANAGER, SSM, Service};
pub use environment::AwsEnvironment;
pub use secrets::AwsSecrets;
pub use upstream::UpstreamSigner;

use credentials::CredentialChain;

/// Connecting to the metadata services of a machine takes milliseconds, or does not happen at all.
const LINK_LOCAL_CONNECT: Duration = Duration::from_secs(1);

/// What all calls of a process share: environment, credentials, connections, clock.
pub struct Aws {
    environment: AwsEnvironment,
    outbound: Outbound,
    credentials: CredentialChain,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// Why a call to AWS failed. Never holds a secret.
#[derive(Debug, Error)]
pub enum AwsError {
    /// No credentials.
    #[error(transparent)]
    Credentials(#[from] Arc<CredentialsError>),
    /// Region, endpoint or certificate authorities are missing or wrong; nothing was sent.
    #[error("{0}")]
    Settings(String),
    /// There was no answer.
    #[error("{operation}: {cause}")]
    Unreachable {
        /// The operation.
        operation: String,
        /// Why.
        cause: FetchError,
    },
    /// The service said no.
    #[error("{operation}: {code}: {message}")]
    Refused {
        /// The operation.
        operation: String,
        /// The HTTP status.
        status: u16,
        /// The error's name, such as `AccessDeniedException`.
        code: String,
        /// What the service says about it.
        message: String,
        /// The item that was in the way of a conditional write, when the service was asked to show it.
        item: Option<Box<serde_json::Value>>,
    },
    /// The answer cannot be understood.
    #[error("{operation}: the answer is {what}")]
    Malformed {
        /// The operation.
        operation: String,
        /// What it is.
        what: String,
    },
}

impl AwsError {
    /// The name of the service's error.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// True when the service forbids the operation to who we are.
    pub fn is_denied(&self) -> bool {
        matches!(
            self.code(),
            Some("AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation")
        )
    }

    /// True when the same call may work a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Credentials(error) => error.is_transient(),
            Self::Settings(_) => false,
            Self::Unreachable { .. } | Self::Malformed { .. } => true,
            Self::Refused { status, code, .. } => *status >= 500 || client::is_throttling(code),
        }
    }
}

impl Aws {
    /// AWS as the process environment describes it. Nothing is sent yet, and no file but `AWS_CA_BUNDLE` is read.
    pub fn from_environment(
        environment: AwsEnvironment,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Arc<Self>, AwsError> {
        let bundle = environment.get("AWS_CA_BUNDLE").map(|path| {
            std::fs::read(path)
                .map_err(|error| AwsError::Settings(format!("AWS_CA_BUNDLE: {path}: {error}")))
        });
        let trust = Trust::platform(bundle.transpose()?.as_deref())
            .map_err(|error| AwsError::Settings(error.to_string()))?;
        Ok(Self::new(environment, &trust, clock, random))
    }

    /// The same with certificate authorities of the caller's choice.
    pub fn new(
        environment: AwsEnvironment,
        trust: &Trust,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Arc<Self> {
        // The operator names these addresses, and some credentials come from link-local ones.
        let outbound = Outbound::new(AddressPolicy::Configured, trust);
        let near =
            Outbound::with_connect_timeout(AddressPolicy::Configured, trust, LINK_LOCAL_CONNECT);
        let credentials = CredentialChain::new(
            environment.clone(),
            outbound.clone(),
            near,
            Arc::clone(&clock),
        );
        Arc::new(Self {
            environment,
            outbound,
            credentials,
            clock,
            random,
        })
    }

    /// A client of one service. `region` and `endpoint` win over the environment and the profile.
    pub fn client(
        self: &Arc<Self>,
        service: Service,
        region: Option<&str>,
        endpoint: Option<&str>,
    ) -> Result<AwsClient, AwsError> {
        let region = match region {
            Some(region) => region.to_owned(),
            None => self.environment.region().ok_or_else(|| {
                AwsError::Settings(
                    "no AWS region: name it, or set AWS_REGION, or `region` in the profile"
                        .to_owned(),
                )
            })?,
        };
        let endpoint = endpoint::url(service, &region, endpoint, &self.environment)
            .map_err(AwsError::Settings)?;
        Ok(AwsClient::new(Arc::clone(self), service, region, endpoint))
    }

    /// The credentials of now, refreshed when they are about to end.
    pub async fn credentials(&self) -> Result<Arc<Credentials>, AwsError> {
        Ok(self.credentials.get().await?)
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws")
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}
