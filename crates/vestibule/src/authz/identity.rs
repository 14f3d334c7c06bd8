//! Who the caller is, in headers that a proxy passes on to the server behind it.
//!
//! Every header is there in every answer, empty if need be: a proxy that copies them leaves none of the caller's.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use vestibule_guard::Caller;

use crate::settings::Settings;

const SUBJECT: HeaderName = HeaderName::from_static("x-vestibule-subject");
const CLIENT: HeaderName = HeaderName::from_static("x-vestibule-client");
const SCOPE: HeaderName = HeaderName::from_static("x-vestibule-scope");
const GROUPS: HeaderName = HeaderName::from_static("x-vestibule-groups");
/// The claim of our tokens that has a header of its own.
const GROUPS_CLAIM: &str = "groups";

/// What would end an element of a list, or a header: a group `a,admins` must not become two.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',');

/// The headers of the mapped claims.
#[derive(Debug)]
pub(super) struct ClaimHeaders(Vec<(HeaderName, String)>);

impl ClaimHeaders {
    /// A header for each claim that any provider's map has. Of two claims with the same header the first in the
    /// alphabet has it.
    pub(super) fn of(settings: &Settings) -> Self {
        let mut names: Vec<String> = settings
            .providers()
            .flat_map(|provider| settings.claims_of(provider))
            .map(|claim| claim.name)
            .filter(|name| name != GROUPS_CLAIM)
            .collect();
        names.sort();
        let mut headers: Vec<(HeaderName, String)> = Vec::new();
        for name in names {
            if let Some(header) = header_of(&name)
                && !headers.iter().any(|(taken, _)| *taken == header)
            {
                headers.push((header, name));
            }
        }
        Self(headers)
    }

    /// Adds who calls.
    pub(super) fn describe<X>(&self, caller: &Caller<X>, headers: &mut HeaderMap) {
        let claims = caller.claims();
        headers.insert(SUBJECT, value(&encoded(caller.subject())));
        headers.insert(CLIENT, value(&encoded(caller.client_id())));
        headers.insert(SCOPE, value(&caller.scope().to_string()));
        headers.insert(GROUPS, value(&text_of(claims.get(GROUPS_CLAIM))));
        for (header, claim) in &self.0 {
            headers.insert(header.clone(), value(&text_of(claims.get(claim))));
        }
    }
}

/// `x-vestibule-claim-` and the claim's name, if that makes a header's name.
fn header_of(claim: &str) -> Option<HeaderName> {
    let plain = claim
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let name = format!("x-vestibule-claim-{}", claim.replace('_', "-"));
    HeaderName::from_bytes(name.as_bytes())
        .ok()
        .filter(|_| plain)
}

/// A claim in a header: lists with commas. What has an inner structure is left out.
fn text_of(claim: Option<&Value>) -> String {
    let single = |value: &Value| match value {
        Value::String(text) => Some(encoded(text)),
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

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Empty for what no header can carry; nothing is left of that kind.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_group_with_a_comma_in_its_name_does_not_become_two() {
        let groups = json!(["staff", "a,admins", "100 %", "Zürich", "x\r\nX-Evil: 1"]);
        assert_eq!(
            text_of(Some(&groups)),
            "staff,a%2Cadmins,100%20%25,Z%C3%BCrich,x%0D%0AX-Evil:%201"
        );
        assert_eq!(text_of(Some(&json!("a,b"))), "a%2Cb");
        assert_eq!(text_of(Some(&json!([1, true, null, {}, ["x"]]))), "1,true");
        assert_eq!(text_of(Some(&json!({ "a": "b" }))), "");
        assert_eq!(text_of(None), "");
    }

    #[test]
    fn claims_have_headers_of_their_own() {
        for (claim, header) in [
            ("email", Some("x-vestibule-claim-email")),
            ("email_verified", Some("x-vestibule-claim-email-verified")),
            ("Team", Some("x-vestibule-claim-team")),
            ("https://example.com/roles", None),
            ("a b", None),
        ] {
            let name = header_of(claim).map(|name| name.to_string());
            assert_eq!(name.as_deref(), header, "{claim}");
        }
    }

    proptest! {
        #[test]
        fn every_text_fits_into_a_header_and_comes_back(text in ".{0,40}") {
            let encoded = encoded(&text);
            prop_assert!(!encoded.contains([',', ' ', '\r', '\n']));
            let header = value(&encoded);
            let back = percent_encoding::percent_decode(header.as_bytes()).decode_utf8().unwrap();
            prop_assert_eq!(back.as_ref(), text.as_str());
        }
    }
}
