//! The configuration as written: a tree of values from the file with the environment laid over it, each with its place.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env::{PREFIX, Strings};
use super::problem::{Place, Problems, Spot};

/// A value as written.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Entry>),
    Table(BTreeMap<String, Entry>),
    /// A kind of value that no setting takes, by name.
    Other(&'static str),
}

impl Value {
    /// What to call it in a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a section",
            Self::Other(kind) => kind,
        }
    }
}

/// A value and where it was written.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// Reads the file's text. Syntax errors are recorded, all of them; then there is nothing to go on with.
pub(super) fn from_toml(text: &str, problems: &Problems) -> Option<BTreeMap<String, Entry>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // Not `Display`: that prints the line, and the line may hold a secret.
        let place = error
            .span()
            .map_or(Place::Nowhere, |span| place_of(text, span.start));
        problems.add(
            &Spot {
                key: String::new(),
                place,
            },
            format!("not TOML: {}", error.message()),
        );
    }
    errors
        .is_empty()
        .then(|| table_of(text, table.into_inner()))
}

fn table_of(text: &str, table: DeTable<'_>) -> BTreeMap<String, Entry> {
    let entry = |(key, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
        let place = place_of(text, key.span().start);
        (
            std::borrow::Cow::into_owned(key.into_inner()),
            Entry {
                value: value_of(text, value),
                place,
            },
        )
    };
    table.into_iter().map(entry).collect()
}

fn value_of(text: &str, value: Spanned<DeValue<'_>>) -> Value {
    match value.into_inner() {
        DeValue::String(string) => Value::Text(string.into_owned()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Value::Other("a number that is too large"), Value::Integer),
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Array(array) => Value::List(
            array
                .into_iter()
                .map(|item| Entry {
                    place: place_of(text, item.span().start),
                    value: value_of(text, item),
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(table_of(text, table)),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Datetime(_) => Value::Other("a date"),
    }
}

/// Line and column, from one, of the byte at `offset`.
fn place_of(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before
        .get(line_start..)
        .map_or(0, |line| line.chars().count())
        + 1;
    Place::File {
        line: before.matches('\n').count() + 1,
        column,
    }
}

/// Lays the `VESTIBULE__…` variables over the tree. A variable that is set to nothing counts as not set, because
/// compose files and charts pass empty ones on.
pub(super) fn lay_over(root: &mut BTreeMap<String, Entry>, env: &dyn Strings, problems: &Problems) {
    let mut variables: Vec<(Vec<String>, String)> = env
        .names()
        .into_iter()
        .filter_map(|name| {
            let rest = name.strip_prefix(PREFIX)?;
            Some((
                rest.split("__").map(str::to_ascii_lowercase).collect(),
                name,
            ))
        })
        .collect();
    // Element 10 comes after element 9, and both after the section they belong to.
    variables.sort_by_key(|(path, _)| {
        path.iter()
            .map(|segment| (segment.parse::<usize>().ok(), segment.clone()))
            .collect::<Vec<_>>()
    });
    for (path, name) in variables {
        let Some(value) = env.get(&name).filter(|value| !value.is_empty()) else {
            continue;
        };
        let place = Place::Variable(name);
        if let Err(message) = insert(root, &path, Value::Text(value), &place) {
            problems.add(
                &Spot {
                    key: path.join("."),
                    place,
                },
                message,
            );
        }
    }
}

/// Puts a variable's value at `path`, making the sections on the way.
pub(super) fn insert(
    table: &mut BTreeMap<String, Entry>,
    path: &[String],
    value: Value,
    place: &Place,
) -> Result<(), String> {
    let [key, rest @ ..] = path else {
        return Ok(());
    };
    if key.is_empty() {
        return Err("a name between two `__` is empty".to_owned());
    }
    let [next, ..] = rest else {
        if let Some(Entry {
            value: Value::Table(_),
            ..
        }) = table.get(key)
        {
            return Err(format!("`{key}` is a section; name a key in it"));
        }
        table.insert(
            key.clone(),
            Entry {
                value,
                place: place.clone(),
            },
        );
        return Ok(());
    };
    let index = next.parse::<usize>().ok();
    let entry = table.entry(key.clone()).or_insert_with(|| Entry {
        value: if index.is_some() {
            Value::List(Vec::new())
        } else {
            Value::Table(BTreeMap::new())
        },
        place: place.clone(),
    });
    match (&mut entry.value, index) {
        (Value::Table(inner), None) => insert(inner, rest, value, place),
        (Value::List(items), Some(index)) => {
            if index > items.len() {
                return Err(format!(
                    "there is no element {} of `{key}` before this one",
                    items.len()
                ));
            }
            if index == items.len() {
                items.push(Entry {
                    value: Value::Table(BTreeMap::new()),
                    place: place.clone(),
                });
            }
            match items.get_mut(index).map(|item| &mut item.value) {
                Some(Value::Table(inner)) if rest.len() > 1 => {
                    insert(inner, rest.get(1..).unwrap_or_default(), value, place)
                }
                _ => Err(format!(
                    "set all of `{key}` in one variable, separated by commas"
                )),
            }
        }
        (other, _) => Err(format!(
            "`{key}` is {}, not {}",
            other.kind(),
            if index.is_some() {
                "a list"
            } else {
                "a section"
            }
        )),
    }
}
