//! Task ids and `requestState` belong to the caller who received them, where the operator asks for that: both stand in
//! bodies, so every message is read whole (MCP 2025-11-25 tasks, SEP-2663, MRTR; facts/mcp-authorization.md §2.3; T27).

use axum::BoxError;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Map, Value};
use thiserror::Error;
use vestibule_guard::Caller;

use super::session::{Principal, Sessions};
use super::{Route, rewrite};
use crate::policy::{Events, Refused, Verdict, read_message};

const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The key in `_meta` that says which task a message is about.
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// How much is read to find them, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct HandleLimits {
    /// Longest message of a client.
    pub max_message: usize,
    /// Longest answer in JSON, and longest event.
    pub max_answer: usize,
}

/// Why an answer cannot be given to the client.
#[derive(Debug, Error)]
pub(super) enum AnswerError {
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer broke off: {0}")]
    Broken(BoxError),
}

/// What is not the caller's. Whether it is somebody else's is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotOurs {
    Task,
    RequestState,
}

impl NotOurs {
    fn message(self) -> &'static str {
        match self {
            Self::Task => "Task not found",
            Self::RequestState => "requestState is not valid",
        }
    }
}

/// Ties task ids and request states to one caller.
pub(super) struct Handles {
    tasks: Principal,
    states: Principal,
    limits: HandleLimits,
}

impl Handles {
    /// `None` where the operator leaves them to the server.
    pub(super) fn of<X>(route: &Route, caller: &Caller<X>) -> Option<Box<Self>> {
        let limits = route.handles?;
        let sessions: &Sessions = route.sessions.as_ref()?;
        let uri = &route.resource.uri;
        // Boxed, because most requests have none.
        Some(Box::new(Self {
            tasks: sessions.principal("mcp tasks", uri, caller),
            states: sessions.principal("mcp request state", uri, caller),
            limits,
        }))
    }

    /// The request with the server's own handles in the place of ours.
    pub(super) async fn open(
        &self,
        route: &Route,
        mut request: Box<Request>,
    ) -> Result<Box<Request>, Refused> {
        if matches!(*request.method(), Method::POST | Method::GET) {
            let headers = request.headers_mut();
            let identity = HeaderValue::from_static("identity");
            headers.insert(header::ACCEPT_ENCODING, identity);
            headers.remove(header::RANGE);
            headers.remove(header::IF_NONE_MATCH);
        }
        if request.method() != Method::POST {
            return Ok(request);
        }
        let read = read_message(*request, self.limits.max_message, route.header_timeout);
        let (mut parts, bytes, mut body) = read.await?;
        let changed = match &mut body {
            Value::Array(messages) => {
                let mut changed = false;
                for message in messages {
                    changed |= self.open_message(message)?;
                }
                changed
            }
            message => self.open_message(message)?,
        };
        if !changed {
            return Ok(Box::new(Request::from_parts(parts, Body::from(bytes))));
        }
        rename(&mut parts.headers, &body);
        let text = body.to_string();
        parts
            .headers
            .insert(header::CONTENT_LENGTH, text.len().into());
        Ok(Box::new(Request::from_parts(parts, Body::from(text))))
    }

    fn open_message(&self, message: &mut Value) -> Result<bool, Refused> {
        let id = message.get("id").cloned().unwrap_or_default();
        self.open_value(message).map_err(|what| {
            let why = "the tag is missing or was made for somebody else";
            Refused::not_theirs(&id, what.message(), why)
        })
    }

    fn open_value(&self, message: &mut Value) -> Result<bool, NotOurs> {
        let is_about_task = message
            .get("method")
            .and_then(Value::as_str)
            .is_some_and(|method| method.starts_with("tasks/"));
        let mut changed = false;
        if let Some(params) = object(message.get_mut("params")) {
            if let Some(id) = params.get_mut("taskId").filter(|_| is_about_task) {
                *id = untagged(&self.tasks, id).ok_or(NotOurs::Task)?;
                changed = true;
            }
            if let Some(state) = params.get_mut("requestState").filter(|it| !it.is_null()) {
                *state = untagged(&self.states, state).ok_or(NotOurs::RequestState)?;
                changed = true;
            }
            changed |= self.open_related(params);
        }
        // The answer to a request of the server.
        if let Some(result) = object(message.get_mut("result")) {
            changed |= self.open_related(result);
        }
        Ok(changed)
    }

    /// The task of the server that a message of the client says it belongs to. It may be a task of the client's own, whose
    /// id has no tag and is nobody else's business.
    fn open_related(&self, holder: &mut Map<String, Value>) -> bool {
        let id = related(holder);
        let raw = id.as_deref().and_then(|id| untagged(&self.tasks, id));
        match id.zip(raw) {
            Some((id, raw)) => {
                *id = raw;
                true
            }
            None => false,
        }
    }

    /// The answer with handles of ours. Streams stay streams. A compressed answer, which was not asked for, passes as it is:
    /// what comes back without a tag is worth nothing.
    pub(super) async fn close(self, answer: Response) -> Result<Response, AnswerError> {
        let headers = answer.headers();
        if rewrite::is_encoded(headers) {
            return Ok(answer);
        }
        let limit = self.limits.max_answer;
        if rewrite::is_event_stream(headers) {
            let (mut parts, body) = answer.into_parts();
            parts.headers.remove(header::CONTENT_LENGTH);
            let failure = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"an event is longer than the gateway may read"}}"#;
            let events = Events::new(
                body,
                limit,
                failure.to_owned(),
                move |data: &str| match self.close_text(data.as_bytes()) {
                    Some(text) => Verdict::Replace(text),
                    None => Verdict::Keep,
                },
            );
            return Ok(Response::from_parts(parts, Body::new(events)));
        }
        if !rewrite::is_json(headers) {
            return Ok(answer);
        }
        let (mut parts, body) = answer.into_parts();
        let bytes = match Limited::new(body, limit).collect().await {
            Ok(whole) => whole.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(AnswerError::TooLong(limit));
            }
            Err(error) => return Err(AnswerError::Broken(error)),
        };
        let body = match self.close_text(&bytes) {
            Some(text) => {
                for name in [header::CONTENT_LENGTH, header::ETAG] {
                    parts.headers.remove(name);
                }
                Body::from(text)
            }
            None => Body::from(bytes),
        };
        Ok(Response::from_parts(parts, body))
    }

    /// The message with handles of ours, if there are any in it.
    fn close_text(&self, text: &[u8]) -> Option<String> {
        let mut message = serde_json::from_slice::<Value>(text).ok()?;
        self.close_value(&mut message).then(|| message.to_string())
    }

    fn close_value(&self, message: &mut Value) -> bool {
        if let Value::Array(messages) = message {
            let mut changed = false;
            for message in messages {
                changed |= self.close_value(message);
            }
            return changed;
        }
        let method = message.get("method").and_then(Value::as_str);
        let is_about_ours = method.is_some_and(|method| method.starts_with("notifications/tasks"));
        // Tasks that the server asks the client for are the client's own.
        let is_about_theirs = method.is_some_and(|method| method.starts_with("tasks/"));
        let mut changed = false;
        if let Some(params) = object(message.get_mut("params")).filter(|_| !is_about_theirs) {
            if let Some(id) = params.get_mut("taskId").filter(|_| is_about_ours) {
                changed |= tag(&self.tasks, id);
            }
            changed |= self.close_related(params);
        }
        let Some(result) = object(message.get_mut("result")) else {
            return changed;
        };
        changed |= self.close_task(result);
        if let Some(task) = object(result.get_mut("task")) {
            changed |= self.close_task(task);
        }
        for task in result
            .get_mut("tasks")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(task) = task.as_object_mut() {
                changed |= self.close_task(task);
            }
        }
        if let Some(state) = result.get_mut("requestState") {
            changed |= tag(&self.states, state);
        }
        changed | self.close_related(result)
    }

    /// A task, and not something else that a tool calls `taskId`: tasks have a status.
    fn close_task(&self, task: &mut Map<String, Value>) -> bool {
        let has_status = task.get("status").is_some_and(Value::is_string);
        let id = task.get_mut("taskId").filter(|_| has_status);
        id.is_some_and(|id| tag(&self.tasks, id))
    }

    fn close_related(&self, holder: &mut Map<String, Value>) -> bool {
        related(holder).is_some_and(|id| tag(&self.tasks, id))
    }
}

fn object(value: Option<&mut Value>) -> Option<&mut Map<String, Value>> {
    value.and_then(Value::as_object_mut)
}

fn related(holder: &mut Map<String, Value>) -> Option<&mut Value> {
    holder.get_mut("_meta")?.get_mut(RELATED)?.get_mut("taskId")
}

fn tag(whose: &Principal, id: &mut Value) -> bool {
    let Some(tagged) = id.as_str().map(|id| whose.tagged(id.as_bytes())) else {
        return false;
    };
    let tagged = String::from_utf8(tagged).map(Value::String);
    tagged.is_ok_and(|tagged| {
        *id = tagged;
        true
    })
}

fn untagged(whose: &Principal, id: &Value) -> Option<Value> {
    let raw = whose.untagged(id.as_str()?.as_bytes())?;
    Some(std::str::from_utf8(raw).ok()?.into())
}

/// `Mcp-Name` repeats the id of a task (SEP-2663).
fn rename(headers: &mut HeaderMap, body: &Value) {
    let id = body.pointer("/params/taskId").and_then(Value::as_str);
    let Some(id) = id.filter(|_| headers.contains_key(MCP_NAME)) else {
        return;
    };
    let is_plain = id.bytes().all(|byte| byte.is_ascii_graphic()) && !id.starts_with("=?");
    let value = if is_plain {
        id.to_owned()
    } else {
        format!("=?base64?{}?=", STANDARD.encode(id))
    };
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(MCP_NAME, value);
    }
}
