//! What the readers asked for: every key with its kind and what was written for it. The key list of schema, `explain` and
//! documentation comes from here, so it cannot drift from what is read.

use std::cell::RefCell;

use serde_json::{Number, Value as Json};

use super::document::{Entry, Value};
use super::problem::Place;

/// What stands in a path for a name that the operator chooses.
pub(super) const ANY_NAME: &str = "NAME";
/// What is shown of a secret.
pub(super) const HIDDEN: &str = "(set)";

/// How a key is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, under a rule that is not told.
    Text,
    /// Text that a regular expression describes (ECMA 262, anchored).
    Pattern(&'static str),
    /// One of these words.
    Word(Vec<&'static str>),
    Flag,
    Count,
    Duration,
    Size,
    List,
    Scopes,
    /// The path of a file or directory.
    Path,
    Secret,
    /// The path of a file that holds the secret called this.
    SecretFile(&'static str),
    Section,
    /// A list of sections.
    Sections,
    /// A section, or a list of them.
    OneOrMore,
}

impl Kind {
    /// True for what holds keys instead of a value.
    pub(super) fn is_section(&self) -> bool {
        matches!(self, Self::Section | Self::Sections | Self::OneOrMore)
    }
}

/// A key that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// As `["resource", "0", "path"]`.
    pub(super) path: Vec<String>,
    pub(super) kind: Kind,
    pub(super) written: Option<Written>,
}

/// What stood there.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) place: Place,
    /// Without secrets.
    pub(super) value: Json,
    /// Something stronger said the same thing in another form.
    pub(super) overruled: bool,
}

/// Collects what is asked for.
#[derive(Debug, Default)]
pub(super) struct Record {
    asked: RefCell<Vec<Asked>>,
}

impl Record {
    /// A key was asked for.
    pub(super) fn note(&self, path: Vec<String>, kind: Kind, entry: Option<&Entry>) {
        let written = entry.map(|entry| Written {
            place: entry.place.clone(),
            value: match kind {
                Kind::Secret => Json::String(HIDDEN.to_owned()),
                _ => json(&entry.value),
            },
            overruled: false,
        });
        self.asked.borrow_mut().push(Asked {
            path,
            kind,
            written,
        });
    }

    /// What was written at `path` counts for nothing.
    pub(super) fn overrule(&self, path: &[String]) {
        for asked in self.asked.borrow_mut().iter_mut() {
            if let Some(written) = asked.written.as_mut().filter(|_| asked.path == path) {
                written.overruled = true;
            }
        }
    }

    /// Everything, in the order of reading.
    pub(super) fn into_asked(self) -> Vec<Asked> {
        self.asked.into_inner()
    }
}

/// `resource[0].path` for `["resource", "0", "path"]`.
pub(super) fn dotted(path: &[String]) -> String {
    path.iter().fold(String::new(), |mut text, segment| {
        if is_index(segment) && !text.is_empty() {
            text.push('[');
            text.push_str(segment);
            text.push(']');
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(segment);
        }
        text
    })
}

pub(super) fn is_index(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit())
}

fn json(value: &Value) -> Json {
    match value {
        Value::Text(text) => Json::String(text.clone()),
        Value::Integer(number) => Json::Number(Number::from(*number)),
        Value::Boolean(flag) => Json::Bool(*flag),
        Value::List(items) => items.iter().map(|item| json(&item.value)).collect(),
        Value::Table(_) | Value::Other(_) => Json::Null,
    }
}
