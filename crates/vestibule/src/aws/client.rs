//! A client of one AWS service: JSON in, JSON out, signed, with a bounded number of attempts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use serde_json::Value;

use vestibule_guard::fetch::{FetchError, FetchLimits};

use super::endpoint::Service;
use super::sign::Signer;
use super::{Aws, AwsError};

/// One attempt of a call. The services answer within milliseconds; a request of ours waits for this.
const ATTEMPT: FetchLimits = FetchLimits {
    deadline: Duration::from_secs(5),
    max_body: 2 * 1024 * 1024,
};
/// The SDKs' "standard" mode makes three; one more rides out a throttled second.
const ATTEMPTS: u32 = 4;
/// Waiting time before the second attempt at the most; it doubles with each one.
const FIRST_PAUSE_MS: u64 = 50;
const LONGEST_PAUSE_MS: u64 = 1000;

/// What may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Whatever may pass: doing it twice is the same as doing it once.
    Freely,
    /// Only what certainly was not done: an answer that was lost stays lost.
    IfUntouched,
}

/// A client of one service in one region. Cheap to clone.
#[derive(Clone)]
pub struct AwsClient {
    aws: Arc<Aws>,
    service: Service,
    region: String,
    endpoint: Uri,
}

impl AwsClient {
    pub(super) fn new(aws: Arc<Aws>, service: Service, region: String, endpoint: Uri) -> Self {
        Self {
            aws,
            service,
            region,
            endpoint,
        }
    }

    /// The region it calls.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Calls `operation` and reads the answer.
    pub async fn call(
        &self,
        operation: &str,
        input: &Value,
        retry: Retry,
    ) -> Result<Value, AwsError> {
        let body = Bytes::from(input.to_string());
        let mut renewed = false;
        let mut attempt = 1;
        loop {
            let error = match self.attempt(operation, body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !renewed && error.code().is_some_and(is_about_credentials) {
                // They may have been taken back before their time. Ask the chain once more.
                renewed = true;
                self.aws.credentials.forget();
                continue;
            }
            if attempt == ATTEMPTS || !may_try_again(&error, retry) {
                return Err(error);
            }
            tracing::debug!(%error, attempt, "AWS call failed, trying again");
            tokio::time::sleep(self.pause(attempt)).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, operation: &str, body: Bytes) -> Result<Value, AwsError> {
        let credentials = self.aws.credentials.get().await?;
        let unsendable = |what: &str| AwsError::Settings(format!("{operation}: {what}"));
        let mut request = Request::post(self.endpoint.clone())
            .header(
                CONTENT_TYPE,
                format!("application/x-amz-json-{}", self.service.json),
            )
            .header("x-amz-target", format!("{}.{operation}", self.service.target))
            .body(Full::new(body.clone()))
            .map_err(|_| unsendable("the request cannot be built"))?;
        let signer = Signer {
            credentials: &credentials,
            region: &self.region,
            service: self.service.name,
            now: self.aws.clock.now(),
        };
        signer
            .sign(&mut request, &body)
            .map_err(|_| unsendable("the credentials hold characters that a header cannot carry"))?;
        let answer = self.aws.outbound.fetch(request, ATTEMPT).await;
        let answer = answer.map_err(|cause| AwsError::Unreachable {
            operation: operation.to_owned(),
            cause,
        })?;
        read(operation, &answer)
    }

    /// A random part of a bound that doubles: replicas that were throttled together do not come back together.
    fn pause(&self, attempt: u32) -> Duration {
        let bound = (FIRST_PAUSE_MS << attempt.min(10)).min(LONGEST_PAUSE_MS);
        let mut bytes = [0; 8];
        self.aws.random.fill(&mut bytes);
        Duration::from_millis(1 + u64::from_le_bytes(bytes) % bound)
    }
}

impl fmt::Debug for AwsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsClient")
            .field("service", &self.service.name)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// The names that the services have for "too much at once".
pub(super) fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ThrottlingException"
            | "Throttling"
            | "ThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "SlowDown"
    )
}

fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "ExpiredTokenException" | "ExpiredToken" | "UnrecognizedClientException" | "InvalidClientTokenId"
    )
}

fn may_try_again(error: &AwsError, retry: Retry) -> bool {
    let untouched = match error {
        AwsError::Unreachable { cause, .. } => cause.is_before_sending() && is_passing(cause),
        AwsError::Refused { code, .. } => is_throttling(code),
        // The chain has its own attempts.
        _ => false,
    };
    let passing = match error {
        AwsError::Unreachable { cause, .. } => is_passing(cause),
        AwsError::Credentials(_) | AwsError::Settings(_) => false,
        _ => error.is_transient(),
    };
    untouched || (retry == Retry::Freely && passing)
}

fn is_passing(cause: &FetchError) -> bool {
    matches!(
        cause,
        FetchError::Connect { .. } | FetchError::Timeout { .. } | FetchError::Transport { .. }
    )
}

fn read(operation: &str, answer: &Response<Bytes>) -> Result<Value, AwsError> {
    let status = answer.status();
    let body: Option<Value> = serde_json::from_slice(answer.body()).ok();
    if status.is_success() {
        return body.ok_or_else(|| AwsError::Malformed {
            operation: operation.to_owned(),
            what: "not JSON".to_owned(),
        });
    }
    let body = body.unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let header = answer.headers().get("x-amzn-errortype");
    let written = text("__type").or_else(|| header.map(HeaderValue::to_str)?.ok());
    // `com.amazonaws.dynamodb.v20120810#ResourceNotFoundException`, `AccessDeniedException:http://…` and plain names.
    let code = written.map_or_else(
        || format!("HTTP {}", status.as_u16()),
        |written| {
            let name = written.rsplit('#').next().unwrap_or(written);
            name.split(':').next().unwrap_or(name).to_owned()
        },
    );
    let message = text("message").or_else(|| text("Message"));
    Err(AwsError::Refused {
        operation: operation.to_owned(),
        status: status.as_u16(),
        code,
        message: message.unwrap_or("no reason given").to_owned(),
        item: body.get("Item").cloned(),
    })
}
