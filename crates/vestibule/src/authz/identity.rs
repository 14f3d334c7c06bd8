//! Who the caller is, in headers that a proxy passes on to the server behind it.
//!
//! Every header is there in every answer, empty if need be: a proxy that copies them leaves none of the caller's.

use http::{HeaderMap, HeaderName, HeaderValue};

use vestibule_guard::Caller;

use crate::settings::Settings;
use crate::upstream_identity::{header_value, text_of_claim};

const SUBJECT: HeaderName = HeaderName::from_static("x-vestibule-subject");
const CLIENT: HeaderName = HeaderName::from_static("x-vestibule-client");
const SCOPE: HeaderName = HeaderName::from_static("x-vestibule-scope");
const GROUPS: HeaderName = HeaderName::from_static("x-vestibule-groups");
/// The claim of our tokens that has a header of its own.
const GROUPS_CLAIM: &str = "groups";
pub(super) const EMPTY: HeaderValue = HeaderValue::from_static("");

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
        let fixed = [
            (&SUBJECT, "sub"),
            (&CLIENT, "client_id"),
            (&SCOPE, "scope"),
            (&GROUPS, GROUPS_CLAIM),
        ];
        let mapped = self
            .0
            .iter()
            .map(|(header, claim)| (header, claim.as_str()));
        for (header, claim) in fixed.into_iter().chain(mapped) {
            let value = header_value(&text_of_claim(caller, claim));
            headers.insert(header.clone(), value.unwrap_or(EMPTY));
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
