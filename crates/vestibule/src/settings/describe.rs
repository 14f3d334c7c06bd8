//! What each key means, in words: the tables of `docs/configuration.md`, which are compiled in, so that a setting is
//! described in one place. A test compares them with the keys that are read.

use serde_json::{Number, Value as Json};

use super::record::{ANY_NAME, Kind, is_index};

const DOCUMENT: &str = include_str!("../../../../docs/configuration.md");

/// A row of the tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Description {
    /// As `resource[].path` or `tokens.claims.NAME`.
    pub(super) key: &'static str,
    /// The kind of value, for people.
    pub(super) kind: &'static str,
    /// The default, for people.
    pub(super) default: &'static str,
    /// Sentences.
    pub(super) meaning: &'static str,
}

/// Every row.
pub(super) fn descriptions() -> impl Iterator<Item = Description> {
    DOCUMENT.lines().filter_map(row)
}

/// The row for a key, which may be an element's (`resource[0].path`) or have a name of the operator's in it
/// (`tokens.claims.email`).
pub(super) fn describe(path: &[String]) -> Option<Description> {
    let wanted = pattern(path);
    descriptions().find(|row| fits(row.key, &wanted))
}

/// The path with `[]` for indices, split at dots.
pub(super) fn pattern(path: &[String]) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for segment in path {
        match parts.last_mut() {
            Some(last) if is_index(segment) => last.push_str("[]"),
            _ => parts.push(segment.clone()),
        }
    }
    parts
}

/// `provider[].issuer` is described as `provider.issuer`, because one provider is the rule.
fn fits(key: &str, wanted: &[String]) -> bool {
    let parts: Vec<&str> = key.split('.').collect();
    parts.len() == wanted.len()
        && parts.iter().zip(wanted).all(|(part, wanted)| {
            part == wanted || *part == ANY_NAME || wanted.strip_suffix("[]") == Some(part)
        })
}

fn row(line: &'static str) -> Option<Description> {
    let cells: Vec<&'static str> = line.split('|').map(str::trim).collect();
    let ["", key, variable, kind, default, meaning, ""] = cells.as_slice() else {
        return None;
    };
    let key = key.strip_prefix('`')?.strip_suffix('`')?;
    variable.starts_with("`VESTIBULE__").then_some(Description {
        key,
        kind,
        default,
        meaning,
    })
}

impl Description {
    /// The default as a value, where it is one and not a rule.
    pub(super) fn default_value(&self, kind: &Kind) -> Option<Json> {
        let words: Vec<&str> = self.default.split(", ").map(code).collect::<Option<_>>()?;
        let list = || words.iter().map(|word| Json::from(*word)).collect();
        let [word] = words.as_slice() else {
            return matches!(kind, Kind::List | Kind::Scopes).then(list);
        };
        match kind {
            Kind::Flag => word.parse().ok().map(Json::Bool),
            Kind::Count => word
                .parse()
                .ok()
                .map(|count: u64| Json::Number(Number::from(count))),
            Kind::Word(known) => known.contains(word).then(|| Json::from(*word)),
            Kind::List | Kind::Scopes => Some(list()),
            // What looks like a key refers to that key.
            Kind::Text => (!word.contains('.')).then(|| Json::from(*word)),
            Kind::Pattern(_) | Kind::Duration | Kind::Size => Some(Json::from(*word)),
            _ => None,
        }
    }

    /// The meaning without links, which lead nowhere outside of the document.
    pub(super) fn plain_meaning(&self) -> String {
        let mut text = String::new();
        let mut rest = self.meaning;
        while let Some((before, after)) = rest.split_once('[') {
            let link = after
                .split_once("](")
                .and_then(|(label, tail)| Some((label, tail.split_once(')')?.1)));
            text.push_str(before);
            if let Some((label, after)) = link.filter(|(label, _)| !label.contains(']')) {
                text.push_str(label);
                rest = after;
            } else {
                text.push('[');
                rest = after;
            }
        }
        text + rest
    }
}

/// What stands in the backticks, and in quotes within them, if that is all there is.
fn code(cell: &str) -> Option<&str> {
    let inner = cell.strip_prefix('`')?.strip_suffix('`')?;
    let unquoted = inner
        .strip_prefix('"')
        .and_then(|inner| inner.strip_suffix('"'));
    Some(unquoted.unwrap_or(inner)).filter(|text| !text.contains('`'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(key: &str) -> Vec<String> {
        key.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn elements_and_chosen_names_have_the_row_of_their_kind() {
        for (key, row) in [
            ("public_url", "public_url"),
            ("provider.issuer", "provider.issuer"),
            ("provider.1.issuer", "provider.issuer"),
            ("provider.1.claims.groups", "provider.claims.NAME"),
            ("resource.12.scope.3.name", "resource[].scope[].name"),
            ("tokens.claims.email", "tokens.claims.NAME"),
        ] {
            assert_eq!(describe(&path(key)).map(|found| found.key), Some(row));
        }
        for unknown in [
            "provider",
            "resource.0",
            "tokens.claim",
            "server.0.listen.x",
        ] {
            assert!(describe(&path(unknown)).is_none(), "{unknown}");
        }
    }

    #[test]
    fn a_default_is_a_value_only_where_it_is_one() {
        let default = |key: &str, kind: &Kind| describe(&path(key)).unwrap().default_value(kind);
        assert_eq!(
            default("server.listen", &Kind::List),
            Some(serde_json::json!(["127.0.0.1:8080", "[::1]:8080"]))
        );
        assert_eq!(
            default("tokens.access_ttl", &Kind::Duration),
            Some("1h".into())
        );
        assert_eq!(
            default("clients.registration", &Kind::Flag),
            Some(true.into())
        );
        assert_eq!(default("provider.label", &Kind::Text), None);
        assert_eq!(default("public_url", &Kind::Text), None);
        let words = Kind::Word(vec!["sealed", "jwt"]);
        assert_eq!(default("resource.0.token_format", &words), None);
    }

    #[test]
    fn links_lose_their_targets() {
        let row = Description {
            key: "k",
            kind: "text",
            default: "none",
            meaning: "See [this](x.md#y), a[0] and `[[z]]`; [that](z).",
        };
        assert_eq!(row.plain_meaning(), "See this, a[0] and `[[z]]`; that.");
    }
}
