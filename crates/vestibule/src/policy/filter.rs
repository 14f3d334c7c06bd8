//! Lists without what the caller is not entitled to: in JSON and in event streams, page by page (facts/mcp-authorization.md §2.3).

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Map, Value};
use thiserror::Error;

use super::Rules;
use super::events::{Events, Verdict};
use super::refusal::list_failed;
use super::rule::{Kind, Subject};

/// The lists of results, with the key that names their items.
const LISTS: [(&str, Kind, &str); 4] = [
    ("tools", Kind::Tool, "name"),
    ("prompts", Kind::Prompt, "name"),
    ("resources", Kind::Resource, "uri"),
    ("resourceTemplates", Kind::Template, "uriTemplate"),
];

/// Why a list cannot be given to the client.
#[derive(Debug, Error)]
pub(crate) enum FilterError {
    /// Compressed although we asked for no compression.
    #[error("the list came compressed")]
    Encoded,
    /// Longer than `max_list_bytes`.
    #[error("the list is longer than {0} bytes")]
    TooLong(usize),
    /// Not JSON.
    #[error("the list is not JSON: {0}")]
    NotJson(serde_json::Error),
    /// The connection broke.
    #[error("the list broke off: {0}")]
    Broken(axum::BoxError),
}

/// Takes out of answers what one caller may not see.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) rules: Arc<Rules>,
    pub(super) subject: Subject<'static>,
    /// True for 2026-07-28 and later, whose lists say how long and by whom they may be kept.
    pub(super) modern: bool,
    /// What is left of the token's life.
    pub(super) max_age_ms: u64,
    /// True when results of search tools may come.
    pub(super) searches: bool,
    /// True when only event streams are looked at: what a GET answers otherwise is no JSON-RPC.
    pub(super) streams_only: bool,
    /// The id of the request, for an error in its place.
    pub(super) id: Value,
}

impl Filter {
    /// The answer, filtered. Streams stay streams.
    pub(super) async fn apply(self, answer: Response) -> Result<Response, FilterError> {
        let stream = is_type(answer.headers(), "text/event-stream");
        if self.streams_only && !stream {
            return Ok(answer);
        }
        let encoding = answer.headers().get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(FilterError::Encoded);
        }
        let (mut parts, body) = answer.into_parts();
        for name in [
            "content-length",
            "etag",
            "digest",
            "content-digest",
            "repr-digest",
            "last-modified",
        ] {
            parts.headers.remove(name);
        }
        let limit = self.rules.resource.max_list_bytes;
        if stream {
            let failure = list_failed(&self.id, "the list is longer than the gateway may read");
            let events = Events::new(body, limit, failure.to_string(), move |data: &str| {
                self.event(data)
            });
            return Ok(Response::from_parts(parts, Body::new(events)));
        }
        let whole = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                FilterError::TooLong(limit)
            } else {
                FilterError::Broken(error)
            }
        })?;
        let bytes = whole.to_bytes();
        if bytes.is_empty() {
            return Ok(Response::from_parts(parts, Body::empty()));
        }
        let body = match serde_json::from_slice::<Value>(&bytes) {
            Ok(mut message) => {
                if self.rewrite(&mut message) {
                    Body::from(message.to_string())
                } else {
                    Body::from(bytes)
                }
            }
            // The text of an error holds no list.
            Err(_) if parts.status.is_client_error() || parts.status.is_server_error() => {
                Body::from(bytes)
            }
            Err(error) => return Err(FilterError::NotJson(error)),
        };
        Ok(Response::from_parts(parts, body))
    }

    /// What becomes of one event's data.
    fn event(&self, data: &str) -> Verdict {
        if data.trim().is_empty() {
            return Verdict::Keep;
        }
        match serde_json::from_str::<Value>(data) {
            Ok(mut message) => {
                if self.rewrite(&mut message) {
                    Verdict::Replace(message.to_string())
                } else {
                    Verdict::Keep
                }
            }
            // The address that the transport of 2024-11-05 sends first.
            Err(_) if self.streams_only && !data.contains(['{', '[', '"']) => Verdict::Keep,
            Err(error) => {
                tracing::warn!(reason = "list_unreadable", cause = %error, "an event of the upstream was dropped");
                Verdict::Drop
            }
        }
    }

    /// Filters a message in place; true when it held a list.
    fn rewrite(&self, message: &mut Value) -> bool {
        match message {
            Value::Array(messages) => {
                let mut changed = false;
                for message in messages {
                    changed |= self.rewrite(message);
                }
                changed
            }
            Value::Object(message) => message
                .get_mut("result")
                .and_then(Value::as_object_mut)
                .is_some_and(|result| self.result(result)),
            _ => false,
        }
    }

    fn result(&self, result: &mut Map<String, Value>) -> bool {
        let mut listed = false;
        for (key, kind, name) in LISTS {
            listed |= self.list(result, key, kind, name);
        }
        if listed {
            self.keep_private(result);
        }
        if !self.searches {
            return listed;
        }
        let found = result
            .get_mut("structuredContent")
            .and_then(Value::as_object_mut)
            .is_some_and(|content| self.list(content, "tools", Kind::Tool, "name"));
        let blocks = result.get_mut("content").and_then(Value::as_array_mut);
        let mut told = false;
        for block in blocks.into_iter().flatten() {
            told |= self.text_block(block);
        }
        listed || found || told
    }

    fn list(&self, object: &mut Map<String, Value>, key: &str, kind: Kind, name: &str) -> bool {
        let Some(items) = object.get_mut(key).and_then(Value::as_array_mut) else {
            return false;
        };
        // What has no name cannot be called, and cannot be decided on.
        items.retain(|item| {
            let name = item.get(name).and_then(Value::as_str);
            name.is_some_and(|name| self.rules.shows(&self.subject, kind, name))
        });
        true
    }

    /// A list of tools that a search repeats as text.
    fn text_block(&self, block: &mut Value) -> bool {
        let Some(text) = block.get("text").and_then(Value::as_str) else {
            return false;
        };
        let Ok(mut inner) = serde_json::from_str::<Value>(text) else {
            return false;
        };
        let found = match &mut inner {
            Value::Object(object) => self.list(object, "tools", Kind::Tool, "name"),
            Value::Array(_) => {
                let mut object = Map::from_iter([("tools".to_owned(), inner.take())]);
                let found = self.list(&mut object, "tools", Kind::Tool, "name");
                inner = object.remove("tools").unwrap_or_default();
                found
            }
            _ => false,
        };
        if found {
            block["text"] = Value::String(inner.to_string());
        }
        found
    }

    /// A filtered list is this caller's alone, and no longer than the token is.
    fn keep_private(&self, result: &mut Map<String, Value>) {
        if self.modern || result.contains_key("cacheScope") {
            result.insert("cacheScope".to_owned(), "private".into());
        }
        if let Some(age) = result.get_mut("ttlMs") {
            let shorter = age.as_f64().is_none_or(|age| {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "milliseconds of a token's life are far below 2^52"
                )]
                let most = self.max_age_ms as f64;
                age > most
            });
            if shorter {
                *age = self.max_age_ms.into();
            }
        }
    }
}

fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}
