//! What an MCP server is told about the caller besides its credential: claims in headers of the operator's choice, and a
//! signed token of ours about the user (journey 8). The gateway and `/authz` both take it from here.
//!
//! A value is text that reads the same everywhere: blanks, `%`, commas and what is not ASCII are percent-encoded, so that
//! a group `a,admins` does not become two. What holds a control character is not told at all.

mod token;

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use vestibule_guard::Caller;

pub use token::{IDENTITY_TOKEN_TYPE, IdentityToken};

/// What would end an element of a list, or a header.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',');

/// What one resource's upstream is told. Whatever a client sends under one of these names ends here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamIdentity {
    /// Headers, each with the claim in it: `sub`, `client_id`, `scope`, or a mapped one.
    pub headers: Vec<(HeaderName, String)>,
    /// The signed token, if there is one.
    pub token: Option<IdentityToken>,
}

impl UpstreamIdentity {
    /// Every header that is ours.
    pub(crate) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let named = self.headers.iter().map(|(name, _)| name);
        named.chain(self.token.as_ref().map(|token| &token.header))
    }

    /// The claims that it needs, without those that every token has.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &str> {
        let told = self.headers.iter().map(|(_, claim)| claim.as_str());
        let signed = self.token.iter().flat_map(|token| &token.claims);
        told.chain(signed.map(String::as_str))
            .filter(|claim| !ALWAYS_THERE.contains(claim))
    }

    /// The headers with what this caller has for them; `None` where there is nothing to tell.
    pub(crate) fn describe<X>(
        &self,
        caller: &Caller<X>,
    ) -> impl Iterator<Item = (&HeaderName, Option<HeaderValue>)> {
        let told = |claim: &str| header_value(&text_of_claim(caller, claim));
        self.headers
            .iter()
            .map(move |(name, claim)| (name, told(claim)))
    }

    /// One of our names among the headers of a client, with `_` read as `-`.
    pub(crate) fn smuggled<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderName> {
        headers.keys().find(|theirs| {
            let theirs = theirs.as_str();
            self.names().any(|own| is_lookalike(theirs, own.as_str()))
        })
    }
}

/// Claims that are not mapped, because every token of ours has them.
pub(crate) const ALWAYS_THERE: [&str; 3] = ["sub", "client_id", "scope"];

/// A claim of the caller as a header shows it; empty for what is not there, or cannot be shown.
pub(crate) fn text_of_claim<X>(caller: &Caller<X>, claim: &str) -> String {
    match claim {
        "sub" => encoded(caller.subject()).unwrap_or_default(),
        "client_id" => encoded(caller.client_id()).unwrap_or_default(),
        // As in the protocol: scopes hold no blanks, and nothing that a header cannot carry (RFC 6749 §3.3).
        "scope" => caller.scope().to_string(),
        mapped => text_of(caller.claims().get(mapped)),
    }
}

/// A claim in a header: lists with commas. What has an inner structure is left out.
fn text_of(claim: Option<&Value>) -> String {
    let single = |value: &Value| match value {
        Value::String(text) => encoded(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match claim {
        Some(Value::Array(items)) => {
            let items: Vec<String> = items.iter().filter_map(single).collect();
            items.join(",")
        }
        Some(value) => single(value).unwrap_or_default(),
        None => String::new(),
    }
}

/// `None` for text with control characters: no provider gives it for a good reason, and who decodes it may be fooled.
fn encoded(text: &str) -> Option<String> {
    let plain = !text.chars().any(char::is_control);
    plain.then(|| utf8_percent_encode(text, ENCODED).to_string())
}

/// `None` for what is empty.
pub(crate) fn header_value(text: &str) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(text).ok();
    value.filter(|value| !value.is_empty())
}

/// True when a server could take the one for the other: CGI and WSGI read `_` as `-`. Both in lower case.
pub(crate) fn is_lookalike(theirs: &str, own: &str) -> bool {
    folded(theirs) == folded(own)
}

/// The name with `-` for `_`.
pub(crate) fn folded(name: &str) -> Cow<'_, str> {
    if name.contains('_') {
        Cow::Owned(name.replace('_', "-"))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_group_with_a_comma_in_its_name_does_not_become_two() {
        let groups = json!(["staff", "a,admins", "100 %", "Zürich"]);
        assert_eq!(
            text_of(Some(&groups)),
            "staff,a%2Cadmins,100%20%25,Z%C3%BCrich"
        );
        assert_eq!(text_of(Some(&json!("a,b"))), "a%2Cb");
        assert_eq!(text_of(Some(&json!([1, true, null, {}, ["x"]]))), "1,true");
        assert_eq!(text_of(Some(&json!({ "a": "b" }))), "");
        assert_eq!(text_of(None), "");
    }

    #[test]
    fn a_claim_with_a_line_end_in_it_injects_no_header_and_is_not_told() {
        for wrong in ["x\r\nX-Evil: 1", "a\0b", "\u{7f}", "\t", "\u{85}"] {
            assert_eq!(text_of(Some(&json!(wrong))), "", "{wrong:?}");
            assert_eq!(text_of(Some(&json!(["staff", wrong]))), "staff");
            assert_eq!(encoded(wrong), None);
        }
        assert_eq!(header_value(""), None);
    }

    #[test]
    fn an_attacker_who_writes_our_header_in_another_spelling_is_found() {
        let identity = UpstreamIdentity {
            headers: vec![(HeaderName::from_static("x-user"), "sub".to_owned())],
            token: Some(IdentityToken::new("https://up.example")),
        };
        for (name, found) in [
            ("x-user", true),
            ("X-User", true),
            ("x_user", true),
            ("X_USER", true),
            ("x-vestibule_identity", true),
            ("x-users", false),
            ("xuser", false),
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            let headers: HeaderMap = [(name.clone(), HeaderValue::from_static("root"))]
                .into_iter()
                .collect();
            assert_eq!(identity.smuggled(&headers).is_some(), found, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_text_fits_into_a_header_and_comes_back_or_is_not_told(text in ".{0,40}") {
            match encoded(&text) {
                None => prop_assert!(text.chars().any(char::is_control)),
                Some(encoded) => {
                    prop_assert!(encoded.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b','));
                    let back = percent_encoding::percent_decode_str(&encoded).decode_utf8().unwrap();
                    prop_assert_eq!(back.as_ref(), text.as_str());
                }
            }
        }
    }
}
