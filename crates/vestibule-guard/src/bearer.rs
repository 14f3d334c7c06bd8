//! Finding the one bearer token of a request (RFC 6750 §2): in the `Authorization` header, once, and nowhere else.

use http::{HeaderMap, header};
use vestibule_oauth::params::Params;

/// Longest token looked at, in bytes. A sealed token that carries a provider's token has about 3 KiB.
pub const MAX_TOKEN_LENGTH: usize = 16 * 1024;

/// A token as it was presented: one, where it belongs, of the form of RFC 6750 §2.1, and nothing more is known of it.
#[derive(Clone, Copy)]
pub struct Presented<'a>(&'a str);

impl<'a> Presented<'a> {
    pub(crate) fn text(self) -> &'a str {
        self.0
    }
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Presented")
    }
}

/// Why there is no token to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoToken {
    /// No credentials, or credentials of a scheme we do not speak: the challenge carries no error (RFC 6750 §3.1).
    Absent,
    /// Credentials twice, in the query, too long or not a token at all.
    Misplaced(&'static str),
}

/// The token of a request.
pub(crate) fn token<'a>(
    headers: &'a HeaderMap,
    query: Option<&str>,
) -> Result<Presented<'a>, NoToken> {
    if query.is_some_and(has_token_in_query) {
        // OAuth 2.1 §5.1.1: queries end up in logs.
        return Err(NoToken::Misplaced("token_in_query"));
    }
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(NoToken::Absent)?;
    if values.next().is_some() {
        return Err(NoToken::Misplaced("two_credentials"));
    }
    // Not `to_str`, which looks at one byte after the other: which of them may be in a token is seen below.
    let value = value.as_bytes().trim_ascii();
    let end = value.iter().position(|&byte| byte == b' ');
    let (scheme, token) = value.split_at(end.unwrap_or(value.len()));
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(NoToken::Absent);
    }
    let token = str::from_utf8(token).map_err(|_| NoToken::Misplaced("credentials_unreadable"))?;
    let token = token.trim_start_matches(' ');
    if token.len() > MAX_TOKEN_LENGTH {
        return Err(NoToken::Misplaced("token_too_long"));
    }
    if !is_b64token(token) {
        // Also `Bearer a, Bearer b`, which a joining proxy makes of two headers.
        return Err(NoToken::Misplaced("token_characters"));
    }
    Ok(Presented(token))
}

fn has_token_in_query(query: &str) -> bool {
    // Cheap first: an encoded letter needs a percent sign.
    if !query.contains('%') && !query.contains("access_token") {
        return false;
    }
    // What cannot be decoded (or is too much of it) is the upstream's business, unless it names the parameter.
    Params::parse(query.as_bytes()).map_or_else(
        |_| query.contains("access_token"),
        |params| params.has("access_token"),
    )
}

/// RFC 6750 §2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_b64token(text: &str) -> bool {
    let bare = text.trim_end_matches('=').as_bytes();
    // A token is as good as always one, and long: a piece at a time and each to its end, which the compiler turns into a
    // few instructions for all of its bytes (3,000 for a token of 1,500; one by one takes 14,000).
    let (pieces, rest) = bare.as_chunks::<32>();
    let is_good = |piece: &[u8; 32]| {
        piece
            .iter()
            .fold(true, |good, &byte| good & is_in_token(byte))
    };
    !bare.is_empty() && pieces.iter().all(is_good) && rest.iter().all(|&byte| is_in_token(byte))
}

fn is_in_token(byte: u8) -> bool {
    // `-`, `.`, `/` and the digits follow each other.
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'-'..=b'9' | b'_' | b'~' | b'+')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (header::AUTHORIZATION, HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn read(values: &[&str], query: Option<&str>) -> Result<String, NoToken> {
        token(&headers(values), query).map(|token| token.text().to_owned())
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        for value in [
            "Bearer abc.d-e_f~g+h/i==",
            "bearer abc.d-e_f~g+h/i==",
            "BEARER  abc.d-e_f~g+h/i==",
        ] {
            assert_eq!(read(&[value], None).unwrap(), "abc.d-e_f~g+h/i==");
        }
        assert_eq!(read(&["Bearer a"], Some("x=1&token=y")).unwrap(), "a");
        assert_eq!(read(&["Bearer a"], Some("q=%41")).unwrap(), "a");
    }

    #[test]
    fn no_credentials_and_foreign_schemes_are_not_an_error() {
        assert_eq!(read(&[], None), Err(NoToken::Absent));
        for value in ["Basic dTpw", "DPoP abc", "Bearerabc", "", "Digest x=\"y\""] {
            assert_eq!(read(&[value], None), Err(NoToken::Absent), "{value}");
        }
    }

    #[test]
    fn two_tokens_are_refused_however_they_are_smuggled() {
        let misplaced = |values: &[&str], query| match read(values, query) {
            Err(NoToken::Misplaced(reason)) => reason,
            other => panic!("{values:?} {query:?}: {other:?}"),
        };
        assert_eq!(
            misplaced(&["Bearer a", "Bearer b"], None),
            "two_credentials"
        );
        assert_eq!(misplaced(&["Bearer a", "Basic b"], None), "two_credentials");
        assert_eq!(misplaced(&["Bearer a, Bearer b"], None), "token_characters");
        assert_eq!(misplaced(&["Bearer a b"], None), "token_characters");
        assert_eq!(misplaced(&["Bearer "], None), "token_characters");
        assert_eq!(misplaced(&["Bearer =="], None), "token_characters");
        for query in [
            "access_token=x",
            "a=b&access_token=",
            "acces%73_token=x",
            "access%5Ftoken=x",
        ] {
            assert_eq!(
                misplaced(&["Bearer a"], Some(query)),
                "token_in_query",
                "{query}"
            );
            assert_eq!(misplaced(&[], Some(query)), "token_in_query", "{query}");
        }
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN_LENGTH + 1));
        assert_eq!(misplaced(&[&long], None), "token_too_long");
    }

    #[test]
    fn a_token_with_letters_of_elsewhere_is_none() {
        let reason = |value: &[u8]| {
            let value = HeaderValue::from_bytes(value).unwrap();
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
            token(&headers, None).map(|_| ()).unwrap_err()
        };
        let misplaced = NoToken::Misplaced;
        assert_eq!(reason("Bearer é".as_bytes()), misplaced("token_characters"));
        assert_eq!(reason(b"Bearer a\xff"), misplaced("credentials_unreadable"));
        assert_eq!(reason(b"Bearer\xff a"), NoToken::Absent);
        assert_eq!(reason(b"Bearer \ta"), misplaced("token_characters"));
    }

    proptest! {
        #[test]
        fn every_byte_of_a_token_counts(length in 1..100_usize, at in 0..100_usize, byte in 0x20..0x7f_u8) {
            let mut text = vec![b'a'; length];
            prop_assert!(is_b64token(std::str::from_utf8(&text).unwrap()));
            let at = at % length;
            text[at] = byte;
            let allowed = byte.is_ascii_alphanumeric()
                || b"-._~+/".contains(&byte)
                // Padding, at the end of something.
                || (byte == b'=' && at + 1 == length && length > 1);
            prop_assert_eq!(is_b64token(std::str::from_utf8(&text).unwrap()), allowed);
        }

        #[test]
        fn what_is_found_is_a_clean_token(value in "(?i:bearer) [ -~]{0,40}") {
            if let Ok(found) = read(&[&value], None) {
                prop_assert!(is_b64token(&found) && value.contains(&found));
            }
        }
    }
}
