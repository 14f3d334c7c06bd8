//! Query and form parameters (RFC 6749 §3.1, §3.2, Appendix B): repeated parameters are errors, empty ones are omitted.

use thiserror::Error;

/// The one parameter that may come more than once (RFC 8707 §2).
const REPEATABLE: &str = "resource";

/// Why a query or form could not be used. Always `invalid_request`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParamError {
    /// RFC 6749 §3.1: "parameters MUST NOT be included more than once".
    /// The name is whoever sent it's: cut to what is worth reading.
    #[error("the parameter '{}' is given more than once", .0.escape_debug())]
    Repeated(String),
    /// A parameter that this request needs is absent or empty.
    #[error("the parameter '{0}' is missing")]
    Missing(&'static str),
    /// More than [`Params::MAX_COUNT`] pairs.
    #[error("too many parameters")]
    TooMany,
    /// Percent-decoding did not give UTF-8.
    #[error("a parameter is not UTF-8")]
    NotUtf8,
}

impl ParamError {
    /// Characters of a name that an answer repeats; real ones have 21 at most.
    const LONGEST_NAME: usize = 40;

    fn repeated(name: &str) -> Self {
        let mut shown: String = name.chars().take(Self::LONGEST_NAME).collect();
        if shown.len() < name.len() {
            shown.push_str("...");
        }
        Self::Repeated(shown)
    }
}

/// Decoded parameters, in order.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Pairs beyond this are an attack or a mistake; real requests have about twelve.
    pub const MAX_COUNT: usize = 64;

    /// Decodes `application/x-www-form-urlencoded` text: a query string or a body.
    pub fn parse(raw: &[u8]) -> Result<Self, ParamError> {
        // As text, in which the standard library looks for `&` many bytes at a time.
        let raw = std::str::from_utf8(raw).map_err(|_| ParamError::NotUtf8)?;
        let mut pairs = Vec::new();
        for pair in raw.split('&') {
            if pair.is_empty() {
                continue;
            }
            if pairs.len() == Self::MAX_COUNT {
                return Err(ParamError::TooMany);
            }
            // Tokens of kilobytes stand for themselves.
            if let Some((name, value)) = plain(pair) {
                pairs.push((name.to_owned(), value.to_owned()));
                continue;
            }
            for (name, value) in form_urlencoded::parse(pair.as_bytes()) {
                // The decoder is lossy: U+FFFD stands where the bytes were not UTF-8.
                if is_lossy(&name) || is_lossy(&value) {
                    return Err(ParamError::NotUtf8);
                }
                pairs.push((name.into_owned(), value.into_owned()));
            }
        }
        Ok(Self(pairs))
    }

    /// The value of `name`; `None` when absent or empty (RFC 6749 §3.1: "treated as if omitted").
    pub fn get(&self, name: &str) -> Result<Option<&str>, ParamError> {
        let mut values = self
            .0
            .iter()
            .filter(|(own, _)| own == name)
            .map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() {
            return Err(ParamError::repeated(name));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// The value of `name`, which must be there.
    pub fn require(&self, name: &'static str) -> Result<&str, ParamError> {
        self.get(name)?.ok_or(ParamError::Missing(name))
    }

    /// Every non-empty value of `name`, for `resource`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(own, value)| own == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// True when any value was given for `name`, even an empty or repeated one.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    /// Refuses the request when any parameter but `resource` is repeated, known to us or not.
    pub fn refuse_repeated(&self) -> Result<(), ParamError> {
        for (index, (name, _)) in self.0.iter().enumerate() {
            if name != REPEATABLE
                && self
                    .0
                    .iter()
                    .skip(index + 1)
                    .any(|(other, _)| other == name)
            {
                return Err(ParamError::repeated(name));
            }
        }
        Ok(())
    }
}

/// Name and value, when there is nothing to decode.
fn plain(pair: &str) -> Option<(&str, &str)> {
    if !pair.is_ascii() || pair.contains('%') || pair.contains('+') {
        return None;
    }
    Some(pair.split_once('=').unwrap_or((pair, "")))
}

/// True when decoding replaced something. A literal U+FFFD in a request is refused with it: no real client sends one.
fn is_lossy(text: &str) -> bool {
    text.contains('\u{fffd}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_of_megabytes_does_not_come_back() {
        let name = "é".repeat(10_000);
        let query = format!("{name}=1&{name}=2");
        let params = Params::parse(query.as_bytes()).unwrap();
        let shown = "é".repeat(40) + "...";
        assert_eq!(
            params.refuse_repeated(),
            Err(ParamError::Repeated(shown.clone()))
        );
        assert_eq!(params.get(&name), Err(ParamError::Repeated(shown)));
    }

    #[test]
    fn repeated_parameters_are_errors_and_resource_may_repeat() {
        let params = Params::parse(b"a=1&resource=x&a=2&resource=y").unwrap();
        assert_eq!(params.get("a"), Err(ParamError::Repeated("a".into())));
        assert_eq!(
            params.refuse_repeated(),
            Err(ParamError::Repeated("a".into()))
        );
        assert_eq!(params.all("resource").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(
            Params::parse(b"resource=x&resource=y")
                .unwrap()
                .refuse_repeated(),
            Ok(())
        );
    }

    #[test]
    fn a_parameter_name_with_line_breaks_writes_no_line_into_a_log() {
        let params = Params::parse(b"a%0D%0A%1Bforged=1&a%0D%0A%1Bforged=2").unwrap();
        let error = params.refuse_repeated().unwrap_err().to_string();
        assert!(error.contains("forged") && !error.contains(char::is_control));
    }

    #[test]
    fn an_empty_parameter_counts_as_omitted() {
        let params = Params::parse(b"code_challenge=&state").unwrap();
        assert_eq!(params.get("code_challenge"), Ok(None));
        assert_eq!(params.require("state"), Err(ParamError::Missing("state")));
    }

    #[test]
    fn bytes_that_are_not_utf8_and_floods_are_refused() {
        assert_eq!(Params::parse(b"a=%ff").unwrap_err(), ParamError::NotUtf8);
        assert_eq!(
            Params::parse("a&".repeat(100).as_bytes()).unwrap_err(),
            ParamError::TooMany
        );
    }

    proptest! {
        #[test]
        fn any_text_survives_encoding_and_parsing(value in "[^\u{fffd}]{1,60}") {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("state", &value).finish();
            let params = Params::parse(query.as_bytes()).unwrap();
            prop_assert_eq!(params.get("state").unwrap(), Some(value.as_str()));
        }

        #[test]
        fn what_needs_no_decoding_reads_as_if_it_were_decoded(raw in "[a-c=&+%0-9é]{0,40}") {
            let slowly: Vec<_> = form_urlencoded::parse(raw.as_bytes()).into_owned().collect();
            match Params::parse(raw.as_bytes()) {
                Ok(params) => prop_assert_eq!(params.0, slowly),
                Err(_) => prop_assert!(slowly.iter().any(|(name, value)| is_lossy(name) || is_lossy(value))),
            }
        }

        #[test]
        fn no_bytes_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Params::parse(&raw).map(|params| params.refuse_repeated());
        }
    }
}
