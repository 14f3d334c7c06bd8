//! The gate: reads a request's body when there are rules, decides, and gives the [`Permit`] that forwarding needs.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;
use vestibule_guard::{Caller, ProtectedResource};
use vestibule_oauth::scope::ScopeSet;

use super::filter::{Filter, FilterError};
use super::headers::{self, WrongKind};
use super::message::{self, Call, Incoming, Unreadable};
use super::refusal::{
    self, HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, Refused,
};
use super::rule::{Kind, Target};
use super::{Decision, Policy, Rules, Subject};
use crate::metrics::labels::Operation;

/// Proof that the policy let a request pass, with what it wants done to the answer. Only the gate makes one, and nothing
/// is sent to an upstream without.
#[derive(Debug)]
pub struct Permit {
    /// Boxed, because most requests have none.
    filter: Option<Box<Filter>>,
    /// What the body asks for, when it was read.
    operation: Option<Operation>,
}

impl Permit {
    fn with(filter: Option<Box<Filter>>) -> Self {
        Self {
            filter,
            operation: None,
        }
    }

    /// What the body asks for, when it was read.
    pub(crate) fn operation(&self) -> Option<Operation> {
        self.operation
    }

    /// Makes the request's headers such that the answer can be read, if it must be.
    pub(crate) fn prepare(&self, headers: &mut HeaderMap) {
        if self.filter.is_some() {
            headers.insert(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            );
            headers.remove(header::RANGE);
            headers.remove(header::IF_RANGE);
            headers.remove(header::IF_NONE_MATCH);
            headers.remove(header::IF_MODIFIED_SINCE);
        }
    }

    /// The answer without what the caller must not see.
    pub(crate) async fn apply(self, answer: Response) -> Result<Response, FilterError> {
        match self.filter {
            None => Ok(answer),
            Some(filter) => Box::pin(filter.apply(answer)).await,
        }
    }
}

impl Policy {
    /// Lets a request pass, whole and unread where there are no rules, or says what to answer.
    pub(crate) async fn admit<X>(
        &self,
        resource: &ProtectedResource,
        caller: &Caller<X>,
        request: Box<Request>,
        patience: Duration,
    ) -> Result<(Permit, Box<Request>), Refused> {
        match &self.0 {
            None => Ok((Permit::with(None), request)),
            // Apart, because the future of every request has room for it otherwise.
            Some(rules) => {
                Box::pin(self.admit_by(rules, resource, caller, request, patience)).await
            }
        }
    }

    async fn admit_by<X>(
        &self,
        rules: &Arc<Rules>,
        resource: &ProtectedResource,
        caller: &Caller<X>,
        request: Box<Request>,
        patience: Duration,
    ) -> Result<(Permit, Box<Request>), Refused> {
        let subject = self.subject(
            caller.subject(),
            caller.client_id(),
            caller.scope(),
            caller.claims(),
        );
        let modern = headers::is_modern(request.headers());
        let ttl = caller.expires_at().0.saturating_sub(rules.clock.now().0);
        let filter = |subject: Subject<'_>, searches: bool, id: Value| Filter {
            rules: Arc::clone(rules),
            subject: subject.into_owned(),
            modern,
            max_age_ms: ttl.saturating_mul(1000),
            searches,
            streams_only: false,
            id,
        };
        match *request.method() {
            Method::POST => {}
            // Answers to requests of a session may come on its stream.
            Method::GET => {
                let filter = Filter {
                    streams_only: true,
                    ..filter(subject, true, Value::Null)
                };
                let request = without_body(request);
                return Ok((Permit::with(Some(Box::new(filter))), request));
            }
            Method::DELETE | Method::HEAD | Method::OPTIONS => {
                return Ok((Permit::with(None), without_body(request)));
            }
            _ => {
                return Err(Refused::unfit(
                    StatusCode::METHOD_NOT_ALLOWED,
                    INVALID_REQUEST,
                    Value::Null,
                    "this method is not passed on",
                    "method",
                ));
            }
        }
        let (parts, body) = request.into_parts();
        let bytes = read_body(&parts, body, rules.resource.max_message_bytes, patience).await?;
        let incoming = understand(&parts, &bytes, rules.looks_at_arguments())?;
        let modern = modern || incoming.calls().any(Call::is_modern);
        rules.check(resource, caller, &subject, &incoming, modern)?;
        let lists = incoming.calls().any(|call| call.method.ends_with("/list"));
        let searches = incoming.calls().any(|call| rules.is_search(call));
        let id = match &incoming {
            Incoming::One(message) => message.id.clone().unwrap_or_default(),
            Incoming::Batch(_) => Value::Null,
        };
        let filter = (lists || searches).then(|| {
            Box::new(Filter {
                modern,
                ..filter(subject, searches, id)
            })
        });
        let operation = Some(match &incoming {
            Incoming::Batch(_) => Operation::Batch,
            Incoming::One(message) => {
                let call = message.call.as_ref();
                call.map_or(Operation::Answer, |call| Operation::named(&call.method))
            }
        });
        let request = Request::from_parts(parts, Body::from(bytes));
        Ok((Permit { filter, operation }, Box::new(request)))
    }
}

impl Rules {
    /// Decides on every request of the body; none is sent when one may not be.
    fn check<X>(
        &self,
        resource: &ProtectedResource,
        caller: &Caller<X>,
        subject: &Subject<'_>,
        incoming: &Incoming,
        modern: bool,
    ) -> Result<(), Refused> {
        let mut needed = ScopeSet::default();
        let mut needed_for = String::new();
        let mut hidden: Option<(StatusCode, String, String)> = None;
        let mut answers: Vec<Value> = Vec::new();
        for message in incoming.messages() {
            let Some(call) = &message.call else {
                continue;
            };
            let arguments = call.arguments.as_ref();
            let (decision, target) =
                self.decide_call(subject, &call.method, &call.things, arguments);
            let id = match incoming {
                Incoming::One(_) => None,
                Incoming::Batch(_) => message.id.as_ref(),
            };
            let mut answer = id.map(|id| {
                let other = "not done, because another request of the batch cannot be done";
                refusal::error(id, INTERNAL_ERROR, other, None)
            });
            match decision {
                Decision::Allowed => {}
                Decision::Lacks(scopes) => {
                    needed = needed.union(&scopes);
                    needed_for = describe(target);
                }
                Decision::Hidden(why) => {
                    let id = message.id.clone().unwrap_or_default();
                    let (status, unknown) = refusal::unknown(&id, target, modern);
                    answer = message.id.as_ref().map(|_| unknown);
                    hidden = Some((status, describe(target), why));
                }
            }
            answers.extend(answer);
        }
        if let Some((status, what, why)) = hidden {
            let answer = match incoming {
                Incoming::One(_) => answers.pop(),
                Incoming::Batch(_) if answers.is_empty() => None,
                Incoming::Batch(_) => Some(Value::Array(answers)),
            };
            return Err(Refused::Unknown {
                answer,
                status,
                what,
                why,
            });
        }
        if needed.is_empty() {
            return Ok(());
        }
        Err(Refused::Scopes {
            refusal: Box::new(resource.forbidden(caller, &needed)),
            what: needed_for,
        })
    }

    /// True for a tool that answers with a list of tools.
    fn is_search(&self, call: &Call) -> bool {
        let search = &self.resource.search_tools;
        call.things.iter().any(|(kind, name)| {
            *kind == Kind::Tool && search.iter().any(|pattern| pattern.matches(name))
        })
    }
}

impl Call {
    fn is_modern(&self) -> bool {
        self.revision
            .as_deref()
            .is_some_and(|version| version >= "2026-07-28")
    }
}

/// A message that must be looked into although there may be no rules, read as strictly as for rules.
pub(crate) async fn read_message(
    request: Request,
    limit: usize,
    patience: Duration,
) -> Result<(Parts, Bytes, Value), Refused> {
    let (parts, body) = request.into_parts();
    let bytes = read_body(&parts, body, limit, patience).await?;
    understand(&parts, &bytes, false)?;
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        let (status, text) = (StatusCode::BAD_REQUEST, error.to_string());
        Refused::unfit(status, PARSE_ERROR, Value::Null, text, "body_unreadable")
    })?;
    Ok((parts, bytes, value))
}

/// The whole body, if it is a message and not too long.
async fn read_body(
    parts: &Parts,
    body: Body,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, Refused> {
    if let Err(wrong) = headers::kind_of_body(&parts.headers) {
        let reason = match wrong {
            WrongKind::Type => "content_type",
            WrongKind::Encoding => "content_encoding",
        };
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let text = wrong.to_string();
        return Err(Refused::unfit(
            status,
            INVALID_REQUEST,
            Value::Null,
            text,
            reason,
        ));
    }
    let reading = Limited::new(body, limit).collect();
    let (status, message, reason) = match tokio::time::timeout(patience, reading).await {
        Ok(Ok(collected)) => return Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the message is larger than {limit} bytes"),
            "body_too_large",
        ),
        Ok(Err(error)) => (
            StatusCode::REQUEST_TIMEOUT,
            format!("the body broke off: {error}"),
            "body_broken",
        ),
        Err(_) => (
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive in time".to_owned(),
            "body_slow",
        ),
    };
    Err(Refused::unfit(
        status,
        INVALID_REQUEST,
        Value::Null,
        message,
        reason,
    ))
}

/// What the body asks for, where body and headers agree.
fn understand(parts: &Parts, bytes: &[u8], arguments: bool) -> Result<Incoming, Refused> {
    let bad = StatusCode::BAD_REQUEST;
    let incoming = message::read_with(bytes, arguments).map_err(|error| {
        let text = error.to_string();
        match error {
            Unreadable::Json(_) => {
                Refused::unfit(bad, PARSE_ERROR, Value::Null, text, "body_unreadable")
            }
            Unreadable::Invalid(_) => {
                Refused::unfit(bad, INVALID_REQUEST, Value::Null, text, "body_invalid")
            }
            Unreadable::Params { id, .. } => {
                Refused::unfit(bad, INVALID_PARAMS, id, text, "params_invalid")
            }
        }
    })?;
    if matches!(incoming, Incoming::Batch(_)) && !headers::allows_batches(&parts.headers) {
        let text = "this revision of MCP has no batches";
        return Err(Refused::unfit(
            bad,
            INVALID_REQUEST,
            Value::Null,
            text,
            "batch",
        ));
    }
    headers::verify(&parts.headers, &incoming).map_err(|mismatch| {
        let id = match &incoming {
            Incoming::One(message) => message.id.clone().unwrap_or_default(),
            Incoming::Batch(_) => Value::Null,
        };
        Refused::unfit(
            bad,
            HEADER_MISMATCH,
            id,
            mismatch.to_string(),
            "header_mismatch",
        )
    })?;
    Ok(incoming)
}

/// Only POST carries messages. A body elsewhere would go past the gate.
fn without_body(mut request: Box<Request>) -> Box<Request> {
    let headers = request.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::CONTENT_TYPE);
    *request.body_mut() = Body::empty();
    request
}

/// For the log: a stranger chose the words, and how many.
fn describe(target: Target<'_>) -> String {
    let name = target.thing.map_or("", |(_, name)| name);
    let separator = if target.thing.is_some() { ":" } else { "" };
    let short = |text: &str| text.chars().take(128).collect::<String>();
    format!("{}{separator}{}", short(target.method), short(name))
}
