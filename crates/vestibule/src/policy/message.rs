//! The JSON-RPC body of a request, read so that no server behind us can read it differently (facts/mcp-authorization.md §2.3).

use std::borrow::Cow;

use serde_json::Value;
use thiserror::Error;

use super::json::{self, Json, Object};
use super::rule::Kind;

/// What a POST carries.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Incoming {
    /// One message.
    One(Box<Message>),
    /// Several, as 2025-03-26 allows; never empty.
    Batch(Vec<Message>),
}

/// One JSON-RPC message of a client.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    /// The id; `None` for notifications.
    pub(super) id: Option<Value>,
    /// What it asks for; `None` for the answer to a request of the server.
    pub(super) call: Option<Call>,
}

/// A request or notification.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// The method.
    pub(super) method: String,
    /// What it names.
    pub(super) things: Vec<(Kind, String)>,
    /// What `Mcp-Name` has to repeat.
    pub(super) header_name: Option<String>,
    /// What a tool or prompt is called with, where it is asked for.
    pub(super) arguments: Option<Value>,
    /// The protocol revision in `_meta`.
    pub(super) revision: Option<String>,
}

/// Why a body cannot be decided on.
#[derive(Clone, Debug, PartialEq, Error)]
pub(super) enum Unreadable {
    /// Not JSON in UTF-8, or JSON that others may read differently.
    #[error("the body is not JSON that everybody reads alike: {0}")]
    Json(String),
    /// JSON, but no JSON-RPC message.
    #[error("{0}")]
    Invalid(&'static str),
    /// A request that does not say what it is about.
    #[error("{message}")]
    Params {
        /// The request's id.
        id: Value,
        /// What is missing.
        message: &'static str,
    },
}

/// Keys that are looked at. One that is spelled almost like them is refused: some servers read keys without regard to
/// case (Go's `encoding/json`), and would find a second name there.
const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
const PARAMS: [&str; 8] = [
    "name",
    "uri",
    "ref",
    "taskId",
    "requestState",
    "notifications",
    "arguments",
    "_meta",
];
const REFERENCE: [&str; 3] = ["type", "name", "uri"];
const NOTIFICATIONS: [&str; 1] = ["resourceSubscriptions"];

/// Reads a body.
pub(super) fn read(body: &[u8]) -> Result<Incoming, Unreadable> {
    read_with(body, false)
}

/// Reads a body, and keeps the `arguments` of calls if they are wanted.
pub(super) fn read_with(body: &[u8], arguments: bool) -> Result<Incoming, Unreadable> {
    // The line and column of serde's message are about the client's own text.
    match json::read(body).map_err(|error| Unreadable::Json(error.to_string()))? {
        Json::Object(object) => {
            let message = Message::read(&object, arguments)?;
            Ok(Incoming::One(Box::new(message)))
        }
        Json::List(items) if items.is_empty() => {
            Err(Unreadable::Invalid("a batch must not be empty"))
        }
        Json::List(items) => {
            let messages = items.iter().map(|item| match item {
                Json::Object(object) => Message::read(object, arguments),
                _ => Err(Unreadable::Invalid("a batch holds JSON-RPC messages only")),
            });
            messages.collect::<Result<_, _>>().map(Incoming::Batch)
        }
        _ => Err(Unreadable::Invalid("the body is not a JSON-RPC message")),
    }
}

impl Incoming {
    /// All messages.
    pub(super) fn messages(&self) -> &[Message] {
        match self {
            Self::One(message) => std::slice::from_ref(message.as_ref()),
            Self::Batch(messages) => messages,
        }
    }

    /// All requests and notifications.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.messages()
            .iter()
            .filter_map(|message| message.call.as_ref())
    }
}

impl Message {
    fn read(object: &Object<'_>, arguments: bool) -> Result<Self, Unreadable> {
        if lookalike(object, &ENVELOPE) {
            return Err(Unreadable::Invalid(
                "a key is a misspelled `method` or the like",
            ));
        }
        let id = match object.get("id") {
            None => None,
            Some(id @ (Json::Text(_) | Json::Number(_) | Json::Null)) => Some(id.to_value()),
            Some(_) => return Err(Unreadable::Invalid("an id is a text or a number")),
        };
        let answers = object.get("result").or(object.get("error")).is_some();
        let call = match (object.get("method"), answers) {
            (Some(Json::Text(method)), false) => {
                let mut call = Call::read(method, object.get("params"), id.as_ref())?;
                if arguments && matches!(method.as_ref(), "tools/call" | "prompts/get") {
                    let params = object.get("params").and_then(Json::as_object);
                    let given = params.and_then(|params| params.get("arguments"));
                    call.arguments = Some(given.map(Json::to_value).unwrap_or_default());
                }
                Some(call)
            }
            (None, true) => None,
            _ => {
                return Err(Unreadable::Invalid(
                    "a message has either a method or an answer",
                ));
            }
        };
        Ok(Self { id, call })
    }
}

impl Call {
    fn read(
        method: &str,
        params: Option<&Json<'_>>,
        id: Option<&Value>,
    ) -> Result<Self, Unreadable> {
        let wrong = |message| Unreadable::Params {
            id: id.cloned().unwrap_or_default(),
            message,
        };
        let empty = Object::default();
        let params = match params {
            None | Some(Json::Null) => &empty,
            Some(Json::Object(params)) => params,
            Some(_) => return Err(wrong("params must be an object")),
        };
        if lookalike(params, &PARAMS) {
            return Err(wrong("a key of params is a misspelled `name` or the like"));
        }
        let text = |key: &str| params.text(key).map(str::to_owned);
        let mut things = Vec::new();
        let mut header_name = None;
        match method {
            "tools/call" | "prompts/get" => {
                let name = text("name").ok_or_else(|| wrong("params.name is missing"))?;
                let kind = if method == "tools/call" {
                    Kind::Tool
                } else {
                    Kind::Prompt
                };
                things.push((kind, name.clone()));
                header_name = Some(name);
            }
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                let uri = text("uri").ok_or_else(|| wrong("params.uri is missing"))?;
                header_name = (method == "resources/read").then(|| uri.clone());
                things.push((Kind::Resource, uri));
            }
            "completion/complete" => {
                let thing = params
                    .get("ref")
                    .and_then(Json::as_object)
                    .and_then(reference);
                things.push(thing.ok_or_else(|| wrong("params.ref names no prompt or resource"))?);
            }
            "subscriptions/listen" => {
                let uris = subscribed(params)
                    .ok_or_else(|| wrong("resourceSubscriptions must be a list of URIs"))?;
                things.extend(uris.into_iter().map(|uri| (Kind::Resource, uri)));
            }
            "tasks/get" | "tasks/update" | "tasks/cancel" => header_name = text("taskId"),
            _ => {}
        }
        let revision = params
            .get("_meta")
            .and_then(Json::as_object)
            .and_then(|meta| meta.text("io.modelcontextprotocol/protocolVersion"));
        Ok(Self {
            method: method.to_owned(),
            things,
            header_name,
            arguments: None,
            revision: revision.map(str::to_owned),
        })
    }
}

/// What a completion is for. It says so twice, by `type` and by the key; the two must agree.
fn reference(reference: &Object<'_>) -> Option<(Kind, String)> {
    if lookalike(reference, &REFERENCE) {
        return None;
    }
    let text = |key: &str| reference.text(key);
    match (text("type")?, text("name"), text("uri")) {
        ("ref/prompt", Some(name), None) => Some((Kind::Prompt, name.to_owned())),
        ("ref/resource", None, Some(uri)) => Some((Kind::Template, uri.to_owned())),
        _ => None,
    }
}

/// The resources that a subscription of 2026-07-28 names; `None` when they cannot be read.
fn subscribed(params: &Object<'_>) -> Option<Vec<String>> {
    let notifications = match params.get("notifications") {
        None | Some(Json::Null) => return Some(Vec::new()),
        Some(notifications) => notifications.as_object()?,
    };
    if lookalike(notifications, &NOTIFICATIONS) {
        return None;
    }
    match notifications.get("resourceSubscriptions") {
        None | Some(Json::Null) => Some(Vec::new()),
        Some(Json::List(uris)) => {
            let uris = uris.iter();
            uris.map(|uri| uri.as_text().map(str::to_owned)).collect()
        }
        Some(_) => None,
    }
}

/// `known` are ASCII.
fn lookalike(object: &Object<'_>, known: &[&str]) -> bool {
    object.keys().any(|key| {
        // Nearly all of them are as they should be.
        if known.contains(&key) {
            return false;
        }
        let folded = if key.is_ascii() {
            Cow::Borrowed(key)
        } else {
            Cow::Owned(folded(key))
        };
        known.iter().any(|known| folded.eq_ignore_ascii_case(known))
    })
}

/// Lower case, with the letters that fold into ASCII ones in some languages' comparisons.
fn folded(key: &str) -> String {
    key.chars()
        .flat_map(char::to_lowercase)
        .filter(|character| *character != '\u{307}')
        .map(|character| match character {
            'ſ' => 's',
            'ı' => 'i',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn one(body: &str) -> Result<Message, Unreadable> {
        match read(body.as_bytes())? {
            Incoming::One(message) => Ok(*message),
            Incoming::Batch(_) => panic!("a batch: {body}"),
        }
    }

    fn things(method: &str, params: &Value) -> Result<Vec<(Kind, String)>, Unreadable> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        Ok(one(&body.to_string())?.call.unwrap().things)
    }

    #[test]
    fn every_method_that_names_something_says_what() {
        let found = |kind, name: &str| Ok(vec![(kind, name.to_owned())]);
        let name = &json!({ "name": "a" });
        assert_eq!(things("tools/call", name), found(Kind::Tool, "a"));
        assert_eq!(things("prompts/get", name), found(Kind::Prompt, "a"));
        for method in [
            "resources/read",
            "resources/subscribe",
            "resources/unsubscribe",
        ] {
            assert_eq!(
                things(method, &json!({ "uri": "a:b" })),
                found(Kind::Resource, "a:b")
            );
            assert!(things(method, &json!({ "url": "a:b" })).is_err());
        }
        let prompt = &json!({ "ref": { "type": "ref/prompt", "name": "p" } });
        assert_eq!(
            things("completion/complete", prompt),
            found(Kind::Prompt, "p")
        );
        let template = &json!({ "ref": { "type": "ref/resource", "uri": "a:{b}" } });
        assert_eq!(
            things("completion/complete", template),
            found(Kind::Template, "a:{b}")
        );
        let listen = &json!({ "notifications": { "resourceSubscriptions": ["a:b"] } });
        assert_eq!(
            things("subscriptions/listen", listen),
            found(Kind::Resource, "a:b")
        );
        assert_eq!(things("subscriptions/listen", &json!({})), Ok(vec![]));
        assert_eq!(things("ping", &json!({ "name": "a" })), Ok(vec![]));
        assert_eq!(one(r#"{"id":1,"result":{}}"#).unwrap().call, None);
    }

    /// The attacker writes a body that we and the server read differently.
    #[test]
    fn a_body_with_two_meanings_is_refused() {
        for body in [
            // Which of the two counts?
            r#"{"id":1,"method":"tools/call","params":{"name":"ok"},"params":{"name":"admin"}}"#,
            r#"{"id":1,"method":"tools/call","params":{"name":"ok","name":"admin"}}"#,
            r#"{"id":1,"method":"tools/call","params":{"name":"ok","n\u0061me":"admin"}}"#,
            r#"{"id":1,"method":"tools/call","params":{"name":"ok","arguments":{"a":{"b":1,"b":2}}}}"#,
            // Servers in Go do not look at the case of keys, and know odd letters.
            r#"{"id":1,"method":"tools/call","params":{"name":"ok","Name":"admin"}}"#,
            r#"{"id":1,"method":"tools/call","Params":{"name":"admin"},"params":{"name":"ok"}}"#,
            "{\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"ok\"},\"param\u{17f}\":{\"name\":\"admin\"}}",
            r#"{"id":1,"method":"ping","METHOD":"tools/call","params":{"name":"admin"}}"#,
            r#"{"id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"ok","uri":"a:b"}}}"#,
            r#"{"id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"ok","Name":"x"}}}"#,
            r#"{"id":1,"method":"subscriptions/listen","params":{"Notifications":{"resourceSubscriptions":["a:b"]}}}"#,
            // Neither request nor answer, or both.
            r#"{"id":1}"#,
            r#"{"id":1,"method":"ping","result":{}}"#,
            r#"{"id":1,"method":["tools/call"],"params":{"name":"admin"}}"#,
            r#"{"id":{},"method":"ping"}"#,
            // Not one JSON text.
            r#"{"id":1,"method":"ping"}{"id":1,"method":"tools/call","params":{"name":"admin"}}"#,
            r#"{"id":1,"method":"ping",}"#,
            r#"{"id":NaN,"method":"ping"}"#,
            r#"{"id":1,"method":"ping"/**/}"#,
            r#"{"id":1,"method":"\ud800"}"#,
            "",
            "null",
            "[]",
            r#"[{"id":1,"method":"ping"},[{"id":2,"method":"ping"}]]"#,
            "data: {}",
            // Positional parameters are not MCP.
            r#"{"id":1,"method":"tools/call","params":["admin"]}"#,
            r#"{"id":1,"method":"tools/call","params":{"name":["admin"]}}"#,
            r#"{"id":1,"method":"tools/call"}"#,
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_body_in_another_encoding_is_refused() {
        let good = r#"{"id":1,"method":"ping"}"#;
        let with_mark = [b"\xef\xbb\xbf", good.as_bytes()].concat();
        let wide =
            |bytes: fn(u16) -> [u8; 2]| good.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
        for body in [
            with_mark,
            wide(u16::to_le_bytes),
            wide(u16::to_be_bytes),
            b"{\"id\":1,\"method\":\"p\xfcng\"}".to_vec(),
            b"{\"id\":1,\"method\":\"pi\xc0\xafng\"}".to_vec(),
            [good.as_bytes(), b"\0"].concat(),
        ] {
            assert!(matches!(read(&body), Err(Unreadable::Json(_))), "{body:?}");
        }
        assert!(read("[".repeat(100_000).as_bytes()).is_err());
    }

    /// Escapes are JSON (PHP writes `\/`): the decoded name is the one that is decided on.
    #[test]
    fn an_escaped_name_does_not_slip_past() {
        let body =
            r#"{"id":1,"method":"tools\u002fc\u0061ll","params":{"n\u0061me":"\u0061dmin"}}"#;
        let call = one(body).unwrap().call.unwrap();
        assert_eq!(call.method, "tools/call");
        assert_eq!(call.things, [(Kind::Tool, "admin".to_owned())]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body);
        }

        #[test]
        fn what_serde_finds_is_what_is_decided_on(name in ".{0,30}", method in "[a-z/]{0,20}", id in any::<i64>()) {
            let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": { "name": name } }).to_string();
            if let Ok(message) = one(&body) {
                let call = message.call.unwrap();
                prop_assert_eq!(message.id, Some(json!(id)));
                prop_assert_eq!(call.method, method);
                for (_, found) in call.things {
                    prop_assert_eq!(&found, &name);
                }
            }
        }
    }
}
