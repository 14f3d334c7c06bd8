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
            .header(
                "x-amz-target",
                format!("{}.{operation}", self.service.target),
            )
            .body(Full::new(body.clone()))
            .map_err(|_| unsendable("the request cannot be built"))?;
        let signer = Signer {
            credentials: &credentials,
            region: &self.region,
            service: self.service.name,
            now: self.aws.clock.now(),
        };
        signer.sign(&mut request, &body).map_err(|_| {
            unsendable("the credentials hold characters that a header cannot carry")
        })?;
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

pub(super) fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "ExpiredTokenException"
            | "ExpiredToken"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
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
        item: body.get("Item").cloned().map(Box::new),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aws::test_server::{TestServer, aws_at};
    use crate::aws::{DYNAMODB, SECRETS_MANAGER};

    async fn call(server: &TestServer, retry: Retry) -> Result<Value, AwsError> {
        let client = aws_at(&server.url).client(DYNAMODB, None, None).unwrap();
        client.call("GetItem", &json!({ "a": 1 }), retry).await
    }

    #[tokio::test]
    async fn a_call_is_signed_json() {
        let server = TestServer::start(|_, _| (200, "{\"b\":2}".to_owned())).await;
        assert_eq!(
            call(&server, Retry::Freely).await.unwrap(),
            json!({ "b": 2 })
        );
        let asked = &server.asked()[0];
        assert_eq!(asked.line, "POST /");
        assert_eq!(asked.body, "{\"a\":1}");
        assert_eq!(asked.header("content-type"), "application/x-amz-json-1.0");
        assert_eq!(asked.header("x-amz-target"), "DynamoDB_20120810.GetItem");
        assert_eq!(asked.header("x-amz-date"), "20261121T000000Z");
        let authorization = asked.header("authorization");
        let start = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/eu-west-1/dynamodb/aws4_request, \
                     SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=";
        assert!(authorization.starts_with(start), "{authorization}");
    }

    #[tokio::test]
    async fn throttling_is_ridden_out_and_not_for_ever() {
        let throttled = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow"}"#;
        let server = TestServer::start(move |number, _| {
            if number < 2 {
                (400, throttled.to_owned())
            } else {
                (200, "{}".to_owned())
            }
        })
        .await;
        call(&server, Retry::IfUntouched).await.unwrap();
        assert_eq!(server.asked().len(), 3);
        let server = TestServer::start(move |_, _| (400, throttled.to_owned())).await;
        let error = call(&server, Retry::Freely).await.unwrap_err();
        assert!(error.is_transient());
        assert_eq!(error.code(), Some("ProvisionedThroughputExceededException"));
        assert_eq!(server.asked().len(), 4);
    }

    #[tokio::test]
    async fn what_may_have_happened_is_repeated_only_where_that_is_the_same() {
        for (retry, attempts) in [(Retry::Freely, 4), (Retry::IfUntouched, 1)] {
            let server = TestServer::start(|_, _| (500, String::new())).await;
            let error = call(&server, retry).await.unwrap_err();
            assert_eq!(error.to_string(), "GetItem: HTTP 500: no reason given");
            assert_eq!(server.asked().len(), attempts, "{retry:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_at_once_with_its_name() {
        let server = TestServer::start(|_, _| {
            let body = r#"{"__type":"AccessDeniedException:http://internal.amazon.com/","Message":"User x is not authorized"}"#;
            (400, body.to_owned())
        })
        .await;
        let error = call(&server, Retry::Freely).await.unwrap_err();
        assert!(error.is_denied() && !error.is_transient());
        assert_eq!(
            error.to_string(),
            "GetItem: AccessDeniedException: User x is not authorized"
        );
        assert_eq!(server.asked().len(), 1);
    }

    #[tokio::test]
    async fn credentials_that_are_not_taken_any_more_are_asked_for_anew_once() {
        let expired = r#"{"__type":"ExpiredTokenException","message":"expired"}"#;
        let server = TestServer::start(move |_, _| (400, expired.to_owned())).await;
        let error = call(&server, Retry::Freely).await.unwrap_err();
        assert_eq!(error.code(), Some("ExpiredTokenException"));
        assert_eq!(server.asked().len(), 2);
    }

    #[tokio::test]
    async fn without_a_region_nothing_is_sent() {
        let (aws, _) = crate::aws::test_server::aws(&[("AWS_ACCESS_KEY_ID", "x")]);
        let error = aws.client(SECRETS_MANAGER, None, None).unwrap_err();
        assert!(error.to_string().contains("set AWS_REGION"), "{error}");
    }
}
