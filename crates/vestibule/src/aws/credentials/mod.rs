//! Credentials from the usual chain: environment, profile, web identity, container, instance; the first that is set up
//! decides ("Standardized credential providers" in the AWS SDKs and Tools Reference Guide).

mod container;
mod instance;
mod process;
pub(super) mod profile;
mod web_identity;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde::Deserialize;
use thiserror::Error;

use vestibule_guard::fetch::{FetchError, FetchLimits, Outbound};
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::{Clock, UnixTime};

use super::environment::AwsEnvironment;

/// Seconds before their end from which credentials are renewed while the old ones still serve. The metadata services
/// hand out new ones five minutes before.
const RENEW_BEFORE: u64 = 300;
/// Seconds before their end from which credentials are not used any more: a request takes a while, and clocks differ.
const UNUSABLE_BEFORE: u64 = 10;
/// Seconds between two attempts to renew credentials that still serve.
const RENEW_PAUSE: u64 = 30;
/// An answer with credentials is small; those who give them are near.
const NEAR: FetchLimits = FetchLimits {
    deadline: Duration::from_secs(2),
    max_body: 64 * 1024,
};
/// Attempts at a metadata service: the first one after a start may be slow.
const ATTEMPTS: u32 = 3;

/// Who we are to AWS.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The key's id. Not secret.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: Secret,
    /// What goes with a key that ends.
    pub session_token: Option<Secret>,
    /// When it ends; `None` for keys that stay.
    pub expires_at: Option<UnixTime>,
    /// Which link of the chain gave it.
    pub source: &'static str,
}

/// Why there are no credentials: every link of the chain that was tried, in order. Never holds a secret.
#[derive(Debug, Error)]
#[error("no AWS credentials: {}", self.lines())]
pub struct CredentialsError {
    tried: Vec<(&'static str, String)>,
    transient: bool,
}

impl CredentialsError {
    /// The links and why each gave nothing.
    pub fn tried(&self) -> &[(&'static str, String)] {
        &self.tried
    }

    /// True when the last link was set up, and did not answer.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    fn lines(&self) -> String {
        let lines: Vec<String> = self
            .tried
            .iter()
            .map(|(link, why)| format!("{link}: {why}"))
            .collect();
        lines.join("; ")
    }
}

/// Why a link gives nothing.
#[derive(Debug)]
enum NoCredentials {
    /// It is not set up: the next one is asked.
    Absent(String),
    /// It is set up and does not work. The chain ends here: another identity than the one that was meant is worse.
    Failed(String),
    /// It is set up and did not answer; it may later.
    Unreachable(String),
}

type Found = Result<Credentials, NoCredentials>;

/// The chain, and what it gave last.
pub(super) struct CredentialChain {
    environment: AwsEnvironment,
    outbound: Outbound,
    near: Outbound,
    clock: Arc<dyn Clock>,
    current: Mutex<Current>,
    /// Held by the one who renews.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Current {
    credentials: Option<Arc<Credentials>>,
    tried_at: UnixTime,
}

impl CredentialChain {
    /// `near` is for the metadata services of the machine, whose absence must not cost seconds.
    pub(super) fn new(
        environment: AwsEnvironment,
        outbound: Outbound,
        near: Outbound,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            environment,
            outbound,
            near,
            clock,
            current: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
        }
    }

    /// Credentials that are good now. Callers that find none wait for one of them; as long as the old ones serve, one
    /// caller renews them and the others go on.
    pub(super) async fn get(&self) -> Result<Arc<Credentials>, Arc<CredentialsError>> {
        match self.standing() {
            (Some(credentials), false) => return Ok(credentials),
            (Some(credentials), true) => {
                let Ok(_alone) = self.renewing.try_lock() else {
                    return Ok(credentials);
                };
                return Ok(self.renew().await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "AWS credentials are about to end and cannot be renewed");
                    credentials
                }));
            }
            (None, _) => {}
        }
        let _alone = self.renewing.lock().await;
        if let (Some(credentials), _) = self.standing() {
            return Ok(credentials);
        }
        self.renew().await.map_err(Arc::new)
    }

    /// The service does not take the current ones: the next caller asks the chain.
    pub(super) fn forget(&self) {
        self.current().credentials = None;
    }

    /// What is usable now, and whether it is time to renew it.
    fn standing(&self) -> (Option<Arc<Credentials>>, bool) {
        let now = self.clock.now();
        let current = self.current();
        let Some(credentials) = &current.credentials else {
            return (None, true);
        };
        let Some(end) = credentials.expires_at else {
            return (Some(Arc::clone(credentials)), false);
        };
        if end <= now.plus(UNUSABLE_BEFORE) {
            return (None, true);
        }
        let due = end <= now.plus(RENEW_BEFORE) && now.since(current.tried_at) >= RENEW_PAUSE;
        (Some(Arc::clone(credentials)), due)
    }

    async fn renew(&self) -> Result<Arc<Credentials>, CredentialsError> {
        self.current().tried_at = self.clock.now();
        let credentials = Arc::new(self.walk().await?);
        tracing::debug!(
            source = credentials.source,
            access_key_id = credentials.access_key_id,
            "AWS credentials"
        );
        self.current().credentials = Some(Arc::clone(&credentials));
        Ok(credentials)
    }

    /// Asks one link after another.
    async fn walk(&self) -> Result<Credentials, CredentialsError> {
        let mut tried = Vec::new();
        for link in Link::ALL {
            let (why, transient, last) = match self.ask(link).await {
                Ok(credentials) => return Ok(credentials),
                Err(NoCredentials::Absent(why)) => (why, false, false),
                Err(NoCredentials::Failed(why)) => (why, false, true),
                Err(NoCredentials::Unreachable(why)) => (why, true, true),
            };
            tried.push((link.name(), why));
            if last {
                return Err(CredentialsError { tried, transient });
            }
        }
        Err(CredentialsError {
            tried,
            transient: false,
        })
    }

    async fn ask(&self, link: Link) -> Found {
        let environment = &self.environment;
        match link {
            Link::Environment => from_environment(environment),
            Link::Profile => {
                profile::credentials(environment, &self.outbound, self.clock.now()).await
            }
            Link::WebIdentity => {
                web_identity::from_environment(environment, &self.outbound, self.clock.now()).await
            }
            Link::Container => container::credentials(environment, &self.near).await,
            Link::Instance => instance::credentials(environment, &self.near).await,
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CredentialChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialChain").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
enum Link {
    Environment,
    Profile,
    WebIdentity,
    Container,
    Instance,
}

impl Link {
    const ALL: [Self; 5] = [
        Self::Environment,
        Self::Profile,
        Self::WebIdentity,
        Self::Container,
        Self::Instance,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Profile => "profile",
            Self::WebIdentity => "web identity",
            Self::Container => "container",
            Self::Instance => "instance",
        }
    }
}

fn from_environment(environment: &AwsEnvironment) -> Found {
    let id = environment.get("AWS_ACCESS_KEY_ID");
    let secret = environment.secret("AWS_SECRET_ACCESS_KEY");
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Credentials {
            access_key_id: id.to_owned(),
            secret_access_key: secret.clone(),
            session_token: environment.secret("AWS_SESSION_TOKEN").cloned(),
            expires_at: None,
            source: Link::Environment.name(),
        }),
        (None, None) => Err(absent("AWS_ACCESS_KEY_ID is not set")),
        (Some(_), None) => Err(failed(
            "AWS_SECRET_ACCESS_KEY is not set, but AWS_ACCESS_KEY_ID is",
        )),
        (None, Some(_)) => Err(failed(
            "AWS_ACCESS_KEY_ID is not set, but AWS_SECRET_ACCESS_KEY is",
        )),
    }
}

fn absent(why: impl Into<String>) -> NoCredentials {
    NoCredentials::Absent(why.into())
}

fn failed(why: impl Into<String>) -> NoCredentials {
    NoCredentials::Failed(why.into())
}

/// Credentials as containers, instances and credential processes write them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    access_key_id: Option<String>,
    secret_access_key: Option<Secret>,
    #[serde(alias = "SessionToken")]
    token: Option<Secret>,
    expiration: Option<String>,
    code: Option<String>,
    message: Option<String>,
}

impl Written {
    fn read(json: &[u8], source: &'static str) -> Found {
        let written: Self = serde_json::from_slice(json)
            .map_err(|_| failed("the answer is not JSON as it should be"))?;
        if let Some(code) = written.code.filter(|code| code != "Success") {
            let message = written.message.unwrap_or_default();
            return Err(failed(format!("{code}: {message}")));
        }
        let (Some(access_key_id), Some(secret_access_key)) =
            (written.access_key_id, written.secret_access_key)
        else {
            return Err(failed(
                "the answer holds no AccessKeyId and SecretAccessKey",
            ));
        };
        let expires_at = match written.expiration {
            None => None,
            Some(text) => Some(
                UnixTime::parse_rfc3339(&text)
                    .ok_or_else(|| failed("the answer's Expiration is not a time"))?,
            ),
        };
        Ok(Credentials {
            access_key_id,
            secret_access_key,
            session_token: written.token.filter(|token| !token.is_empty()),
            expires_at,
            source,
        })
    }
}

/// Asks a metadata service, some times if it does not answer or is overloaded.
async fn ask_near(
    near: &Outbound,
    build: impl Fn() -> Result<Request<Full<Bytes>>, http::Error>,
) -> Result<Response<Bytes>, AskError> {
    let mut attempt = 1;
    loop {
        let request = build().map_err(|error| AskError::Unsendable(error.to_string()))?;
        let again = match near.fetch(request, NEAR).await {
            Ok(answer) if answer.status().is_server_error() || answer.status() == 429 => {
                AskError::Busy(answer.status().as_u16())
            }
            Ok(answer) => return Ok(answer),
            // Nobody is there: asking again does not help.
            Err(error @ (FetchError::Timeout { .. } | FetchError::Transport { .. }))
                if !error.is_before_sending() =>
            {
                AskError::Unreachable(error)
            }
            Err(error) => return Err(AskError::Unreachable(error)),
        };
        if attempt == ATTEMPTS {
            return Err(again);
        }
        tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
        attempt += 1;
    }
}

/// Why a metadata service gave no answer.
#[derive(Debug, Error)]
enum AskError {
    #[error("{0}")]
    Unsendable(String),
    #[error("{0}")]
    Unreachable(FetchError),
    #[error("answers with status {0}")]
    Busy(u16),
}

impl From<AskError> for NoCredentials {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Unsendable(why) => Self::Failed(why),
            error => Self::Unreachable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
