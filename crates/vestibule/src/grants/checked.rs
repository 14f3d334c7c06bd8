//! `CheckedRequest`: what a sign-in is for. It travels unchanged from the consent page to the code.

use serde::{Deserialize, Serialize};

use vestibule_oauth::client::MatchedRedirect;
use vestibule_oauth::pkce::CodeChallenge;
use vestibule_oauth::scope::ScopeSet;

use super::ClientDigest;

/// An authorization request of which client, redirect URI, PKCE challenge, resource and scopes were checked.
#[derive(Debug, Serialize, Deserialize)]
pub struct CheckedRequest {
    /// Who asks.
    #[serde(rename = "c")]
    pub client: ClientDigest,
    /// Where the answer goes.
    #[serde(rename = "u")]
    pub redirect: MatchedRedirect,
    /// The client's own `state`, unchanged.
    #[serde(
        rename = "s",
        default,
        skip_serializing_if = "Option::is_none",
        with = "carried_state"
    )]
    pub state: Option<String>,
    /// The client's PKCE challenge.
    #[serde(rename = "p")]
    pub challenge: CodeChallenge,
    /// Path of the resource.
    #[serde(rename = "r")]
    pub resource: String,
    /// What the user is asked to approve.
    #[serde(rename = "o")]
    pub scope: ScopeSet,
}

/// A `state` full of quotes doubles in JSON. One that would grow by more than a third is carried in base 64, behind a
/// character that no `state` begins with: control characters are refused at `/authorize`.
mod carried_state {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    /// DEL, which JSON leaves as it is.
    const ENCODED: char = '\u{7f}';

    #[expect(clippy::ref_option, reason = "the form that serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        state: &Option<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let Some(state) = state else {
            return serializer.serialize_none();
        };
        let grows = state.bytes().filter(|byte| b"\"\\".contains(byte)).count();
        if grows <= state.len() / 3 {
            return serializer.serialize_str(state);
        }
        let encoded = STANDARD_NO_PAD.encode(state);
        serializer.serialize_str(&format!("{ENCODED}{encoded}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<String>, D::Error> {
        let carried = Option::<String>::deserialize(deserializer)?;
        let Some(encoded) = carried.as_deref().and_then(|own| own.strip_prefix(ENCODED)) else {
            return Ok(carried);
        };
        let bytes = STANDARD_NO_PAD.decode(encoded).map_err(de::Error::custom)?;
        String::from_utf8(bytes)
            .map(Some)
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Carried {
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "carried_state"
        )]
        s: Option<String>,
    }

    fn there_and_back(state: Option<&str>) -> String {
        let s = state.map(str::to_owned);
        let json = serde_json::to_string(&Carried { s }).unwrap();
        let back: Carried = serde_json::from_str(&json).unwrap();
        assert_eq!(back.s.as_deref(), state, "{json}");
        json
    }

    #[test]
    fn a_state_comes_back_as_it_was_and_never_grows_by_more_than_a_third() {
        assert_eq!(there_and_back(None), "{}");
        assert_eq!(there_and_back(Some("plain &=#é")), "{\"s\":\"plain &=#é\"}");
        for state in ["\"", "\\", "{\"a\":\"b\"}", "\"é\"\"", "a\"b\"c\\d"] {
            let long = state.repeat(4096 / state.len());
            there_and_back(Some(state));
            let grown = there_and_back(Some(&long)).len();
            assert!(grown <= long.len() * 4 / 3 + 16, "{state}: {grown}");
        }
    }
}
