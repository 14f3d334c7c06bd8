//! `WWW-Authenticate: Bearer …` (RFC 6750 §3, RFC 9728 §5.1): built for our refusals, parsed from an upstream's.

use crate::error::safe_description;
use crate::scope::ScopeSet;

/// The `error` parameter of a Bearer challenge (RFC 6750 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerError {
    /// 401: expired, revoked, foreign or malformed.
    InvalidToken,
    /// 403: the token is fine, its scopes do not suffice.
    InsufficientScope,
    /// 401: credentials in the wrong place, or twice.
    InvalidRequest,
}

impl BearerError {
    /// The code on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidRequest => "invalid_request",
        }
    }
}

/// A Bearer challenge. Without credentials in the request there is no `error` (RFC 6750 §3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// What was wrong with the presented token.
    pub error: Option<BearerError>,
    /// A sentence for people. Made safe on writing.
    pub description: Option<String>,
    /// URL of the RFC 9728 document.
    pub resource_metadata: Option<String>,
    /// Scopes worth asking for.
    pub scope: ScopeSet,
}

impl Challenge {
    /// The header value: one line, `Bearer` first, everything quoted, because SDKs look with regular expressions.
    pub fn header_value(&self) -> String {
        let mut parameters = Vec::new();
        let mut parameter =
            |name: &str, value: &str| parameters.push(format!("{name}=\"{value}\""));
        if let Some(error) = self.error {
            parameter("error", error.as_str());
        }
        if let Some(description) = &self.description {
            parameter("error_description", &defuse(&safe_description(description)));
        }
        if let Some(url) = &self.resource_metadata {
            parameter("resource_metadata", &safe_description(url));
        }
        if !self.scope.is_empty() {
            parameter("scope", &self.scope.to_string());
        }
        format!("Bearer {}", parameters.join(", "))
            .trim_end()
            .to_owned()
    }

    /// The first Bearer challenge in a `WWW-Authenticate` value, which may hold several challenges (RFC 9110 §11.6.1).
    /// Unknown parameters are passed over; `None` when there is no Bearer challenge.
    pub fn parse(header_value: &str) -> Option<Self> {
        let mut found: Option<Self> = None;
        for item in items(header_value) {
            match item {
                Item::Scheme(scheme) => {
                    if found.is_some() {
                        return found;
                    }
                    if scheme.eq_ignore_ascii_case("bearer") {
                        found = Some(Self::default());
                    }
                }
                Item::Parameter(name, value) => {
                    if let Some(challenge) = &mut found {
                        challenge.take(name, value);
                    }
                }
            }
        }
        found
    }

    fn take(&mut self, name: &str, value: String) {
        match name.to_ascii_lowercase().as_str() {
            "error" => {
                self.error = match value.as_str() {
                    "invalid_token" => Some(BearerError::InvalidToken),
                    "insufficient_scope" => Some(BearerError::InsufficientScope),
                    "invalid_request" => Some(BearerError::InvalidRequest),
                    _ => None,
                }
            }
            "error_description" => self.description = Some(value),
            "resource_metadata" => self.resource_metadata = Some(value),
            "scope" => self.scope = ScopeSet::parse(&value),
            _ => {}
        }
    }
}

/// Keeps `scope=`, `error=` and the like out of a description: SDK parsers search for substrings (facts §3.3).
fn defuse(description: &str) -> String {
    description.replace('=', ":")
}

enum Item<'a> {
    Scheme(&'a str),
    Parameter(&'a str, String),
}

/// Splits challenges into schemes and parameters. Tolerant: what is neither is passed over.
fn items(text: &str) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return items;
        }
        let end = rest.find([' ', '\t', ',', '=', '"']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let trimmed = after.trim_start_matches([' ', '\t']);
        if let Some(value) = trimmed.strip_prefix('=').filter(|_| !word.is_empty()) {
            let (value, remainder) = parameter_value(value.trim_start_matches([' ', '\t']));
            items.push(Item::Parameter(word, value));
            rest = remainder;
        } else if word.is_empty() {
            // A stray quote or equals sign.
            rest = rest.get(1..).unwrap_or("");
        } else {
            items.push(Item::Scheme(word));
            rest = after;
        }
    }
}

/// A token or quoted string (RFC 9110 §5.6.4) and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return (value, quoted.get(index + 1..).unwrap_or("")),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_three_challenges_of_the_facts() {
        let metadata = Some("https://h/.well-known/oauth-protected-resource/mcp".to_owned());
        let scope = ScopeSet::parse("mcp/read mcp/write");
        let bare = Challenge {
            resource_metadata: metadata.clone(),
            scope: scope.clone(),
            ..Challenge::default()
        };
        assert_eq!(
            bare.header_value(),
            "Bearer resource_metadata=\"https://h/.well-known/oauth-protected-resource/mcp\", scope=\"mcp/read mcp/write\""
        );
        let expired = Challenge {
            error: Some(BearerError::InvalidToken),
            description: Some("the token expired: scope=\"x\" error=y".into()),
            ..bare
        };
        assert_eq!(
            expired.header_value(),
            "Bearer error=\"invalid_token\", error_description=\"the token expired: scope:'x' error:y\", \
             resource_metadata=\"https://h/.well-known/oauth-protected-resource/mcp\", scope=\"mcp/read mcp/write\""
        );
    }

    #[test]
    fn challenges_of_upstreams_are_read() {
        let agentcore = "Bearer error=\"insufficient_scope\", scope=\"a b\", resource_metadata=\"https://gw/x\"";
        let parsed = Challenge::parse(agentcore).unwrap();
        assert_eq!(parsed.error, Some(BearerError::InsufficientScope));
        assert_eq!(parsed.scope.to_string(), "a b");
        assert_eq!(Challenge::parse("Basic realm=\"x\""), None);
        assert_eq!(Challenge::parse("Basic realm=\"a, Bearer scope=b\""), None);
        let second =
            Challenge::parse("Basic realm=\"x\", bearer scope=one, Digest scope=two").unwrap();
        assert_eq!(second.scope.to_string(), "one");
        assert_eq!(Challenge::parse("Bearer").unwrap(), Challenge::default());
    }

    proptest! {
        #[test]
        fn what_is_built_parses_back(description in "[ -~]{0,40}", scope in "[a-z:/ ]{0,20}", metadata in "https://[a-z/]{1,20}") {
            let challenge = Challenge {
                error: Some(BearerError::InsufficientScope),
                description: Some(description),
                resource_metadata: Some(metadata),
                scope: ScopeSet::parse(&scope),
            };
            let parsed = Challenge::parse(&challenge.header_value()).unwrap();
            prop_assert_eq!(parsed.error, challenge.error);
            prop_assert_eq!(&parsed.scope, &challenge.scope);
            prop_assert_eq!(&parsed.resource_metadata, &challenge.resource_metadata);
        }

        #[test]
        fn a_built_challenge_is_one_clean_line(description in ".{0,60}") {
            let value = Challenge { description: Some(description), ..Challenge::default() }.header_value();
            prop_assert!(value.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
            prop_assert_eq!(value.matches('"').count(), 2);
        }

        #[test]
        fn no_text_panics(text in ".{0,120}") {
            let _ = Challenge::parse(&text);
        }
    }
}
