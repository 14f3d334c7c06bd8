//! Redirect URIs: exact strings, except the port of loopback ones (OAuth 2.1 §2.3.1, RFC 8252 §7.3, law 6).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use super::is_loopback_host;

/// Why a redirect URI was refused at registration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RedirectUriError {
    /// Control characters, spaces, backslashes or anything outside printable ASCII.
    #[error("the redirect URI contains characters that do not belong into a URL")]
    Characters,
    /// A fragment (RFC 6749 §3.1.2 forbids it).
    #[error("the redirect URI '{0}' must not contain a fragment")]
    Fragment(String),
    /// `user@host`, a trick to make a host look like another.
    #[error("the redirect URI '{0}' must not contain user information")]
    UserInformation(String),
    /// `.` or `..` path segments, plain or percent-encoded.
    #[error("the redirect URI '{0}' must not contain dot segments")]
    DotSegments(String),
    /// Plain http to a host that is not this computer.
    #[error(
        "the redirect URI '{0}' uses http; only https, or http to localhost, 127.0.0.1 or [::1], is allowed"
    )]
    PlainHttp(String),
    /// A private-use scheme that is not on the list.
    #[error(
        "the redirect URI scheme '{0}' is not allowed here; ask the operator to add it to clients.private_use_schemes"
    )]
    Scheme(String),
    /// Not an absolute URL.
    #[error("the redirect URI '{0}' is not an absolute URL")]
    NotAbsolute(String),
    /// Longer than [`RedirectUri::MAX_LENGTH`].
    #[error("the redirect URI is longer than {max} characters", max = RedirectUri::MAX_LENGTH)]
    TooLong,
}

/// What kind of place a redirect URI leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RedirectClass {
    /// `http://` to `localhost`, `127.0.0.1` or `[::1]`: a program on the user's computer. Any port matches.
    Loopback,
    /// `https://host`: a web application.
    Https,
    /// A scheme that an installed application has claimed, from the operator's list.
    PrivateUse,
}

/// The private-use URI schemes that may be registered (`cursor`, `vscode`, …): an explicit list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateUseSchemes(Vec<String>);

impl PrivateUseSchemes {
    /// A list of scheme names, without `:`. Names that would run script or read files are left out whatever the list says.
    pub fn new(schemes: impl IntoIterator<Item = String>) -> Self {
        let schemes = schemes
            .into_iter()
            .map(|scheme| scheme.to_ascii_lowercase());
        Self(
            schemes
                .filter(|scheme| !NEVER.contains(&scheme.as_str()))
                .collect(),
        )
    }

    fn allows(&self, scheme: &str) -> bool {
        self.0.iter().any(|own| own == scheme)
    }
}

/// The schemes that ship allowed: Cursor and VS Code register them (facts/clients.md §4).
impl Default for PrivateUseSchemes {
    fn default() -> Self {
        Self::new(["cursor", "vscode", "vscode-insiders"].map(str::to_owned))
    }
}

/// Schemes that can never be a redirect target.
const NEVER: [&str; 12] = [
    "about",
    "blob",
    "chrome",
    "content",
    "data",
    "file",
    "filesystem",
    "ftp",
    "http",
    "https",
    "javascript",
    "vbscript",
];

/// A redirect URI that passed the rules, verbatim, with its class.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RedirectUri {
    text: String,
    class: RedirectClass,
}

impl RedirectUri {
    /// The longest redirect URI accepted, in bytes.
    pub const MAX_LENGTH: usize = 2048;

    /// Reads a redirect URI of a registration or of an authorization request.
    pub fn parse(text: &str, private_use: &PrivateUseSchemes) -> Result<Self, RedirectUriError> {
        if text.len() > Self::MAX_LENGTH {
            return Err(RedirectUriError::TooLong);
        }
        if !text.bytes().all(|byte| {
            (0x21..=0x7e).contains(&byte) && !matches!(byte, b'\\' | b'"' | b'<' | b'>')
        }) {
            return Err(RedirectUriError::Characters);
        }
        if text.contains('#') {
            return Err(RedirectUriError::Fragment(text.to_owned()));
        }
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| RedirectUriError::NotAbsolute(text.to_owned()))?;
        let scheme = scheme.to_ascii_lowercase();
        let class = match scheme.as_str() {
            "https" => RedirectClass::Https,
            "http" => RedirectClass::Loopback,
            other if private_use.allows(other) => RedirectClass::PrivateUse,
            other => return Err(RedirectUriError::Scheme(other.to_owned())),
        };
        if url::Url::parse(text).is_err() {
            return Err(RedirectUriError::NotAbsolute(text.to_owned()));
        }
        if class != RedirectClass::PrivateUse && !rest.starts_with("//") {
            return Err(RedirectUriError::NotAbsolute(text.to_owned()));
        }
        let after_slashes = rest.strip_prefix("//").unwrap_or(rest);
        let authority_end = after_slashes
            .find(['/', '?'])
            .unwrap_or(after_slashes.len());
        let (authority, tail) = after_slashes.split_at(authority_end);
        if authority.is_empty() && class != RedirectClass::PrivateUse {
            return Err(RedirectUriError::NotAbsolute(text.to_owned()));
        }
        if authority.contains('@') {
            return Err(RedirectUriError::UserInformation(text.to_owned()));
        }
        // Browsers decode it, so the host on the consent page would not be the one the code goes to.
        if authority.contains('%') && class != RedirectClass::PrivateUse {
            return Err(RedirectUriError::Characters);
        }
        if has_dot_segment(tail) {
            return Err(RedirectUriError::DotSegments(text.to_owned()));
        }
        if class == RedirectClass::Loopback && Loopback::parse(text).is_none() {
            return Err(RedirectUriError::PlainHttp(text.to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
            class,
        })
    }

    /// The URI, verbatim.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where it leads.
    pub fn class(&self) -> RedirectClass {
        self.class
    }

    /// `host[:port]` for people to read on the consent page; for a private-use scheme, the scheme.
    pub fn display_host(&self) -> &str {
        let (scheme, rest) = self.text.split_once(':').unwrap_or((&self.text, ""));
        if self.class == RedirectClass::PrivateUse {
            return scheme;
        }
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        rest.get(..rest.find(['/', '?']).unwrap_or(rest.len()))
            .unwrap_or(rest)
    }

    /// True when an authorization request that presents `presented` may use this registered URI.
    ///
    /// Byte equality; for loopback URIs the port is left out of the comparison, and `localhost`, `127.0.0.1` and `[::1]`
    /// stay three different hosts (OAuth 2.1 §8.4.2).
    pub fn matches(&self, presented: &Self) -> bool {
        if self.text == presented.text {
            return true;
        }
        match (
            Loopback::parse(&self.text),
            Loopback::parse(&presented.text),
        ) {
            (Some(own), Some(theirs)) => own == theirs,
            _ => false,
        }
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for RedirectUri {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// A redirect URI that comes back out of a seal was checked before it went in: any scheme of its kind is accepted, the
/// rest is parsed again.
impl<'de> Deserialize<'de> for RedirectUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_owned());
        Self::parse(&text, &PrivateUseSchemes::new(scheme)).map_err(serde::de::Error::custom)
    }
}

/// A loopback redirect URI without its port: what must be equal for a match.
#[derive(PartialEq, Eq)]
struct Loopback<'a> {
    host: &'a str,
    path_and_query: &'a str,
}

impl<'a> Loopback<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("http://")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at(end);
        let host_end = match authority.strip_prefix('[') {
            Some(literal) => literal.find(']')? + 2,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at(host_end);
        let port_is_fine = port.is_empty()
            || port.strip_prefix(':').is_some_and(|digits| {
                (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
            });
        (is_loopback_host(host) && port_is_fine).then_some(Self {
            host,
            path_and_query,
        })
    }
}

/// True when the path has a `.` or `..` segment, in any encoding a browser or server would undo.
fn has_dot_segment(tail: &str) -> bool {
    let path = tail.split('?').next().unwrap_or(tail);
    path.to_ascii_lowercase()
        .replace("%2e", ".")
        .split('/')
        .any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<RedirectUri, RedirectUriError> {
        RedirectUri::parse(text, &PrivateUseSchemes::default())
    }

    fn matches(registered: &str, presented: &str) -> bool {
        parse(registered)
            .unwrap()
            .matches(&parse(presented).unwrap())
    }

    #[test]
    fn the_port_of_a_loopback_uri_is_free_and_nothing_else_is() {
        assert!(matches(
            "http://localhost/callback",
            "http://localhost:52001/callback"
        ));
        assert!(matches("http://127.0.0.1:33418/", "http://127.0.0.1:1/"));
        assert!(matches("http://[::1]:1/cb?a=b", "http://[::1]:2/cb?a=b"));
        assert!(!matches(
            "http://localhost/callback",
            "http://127.0.0.1/callback"
        ));
        assert!(!matches(
            "http://localhost/callback",
            "http://localhost/callback/"
        ));
        assert!(!matches(
            "http://localhost/callback",
            "http://localhost/callback?x=1"
        ));
        assert!(!matches(
            "https://app.example/cb",
            "https://app.example:8443/cb"
        ));
        assert!(!matches("https://localhost:1/cb", "https://localhost:2/cb"));
        assert!(!matches(
            "https://app.example/cb",
            "https://app.example/cb/x"
        ));
        assert!(!matches(
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "cursor://evil/oauth/callback"
        ));
    }

    #[test]
    fn t30_registration_refuses_what_other_sdks_let_through() {
        for (text, why) in [
            ("http://app.example/cb", "http to a foreign host"),
            (
                "http://127.1/cb",
                "a spelling of loopback that only parsers know",
            ),
            ("http://0x7f.0.0.1/cb", "hexadecimal loopback"),
            (
                "http://127.0.0.1.evil.example/cb",
                "a host that only begins like loopback",
            ),
            ("http://localhost:99999999/cb", "no port number"),
            ("http://localhost@evil.example/cb", "user information"),
            ("http://[::ffff:127.0.0.1]/cb", "mapped loopback"),
            ("https://app.example/cb#frag", "fragment"),
            ("https://user@app.example/cb", "user information"),
            ("https://app.example/a/../cb", "dot segments"),
            ("https://app.example/a/%2e%2E/cb", "encoded dot segments"),
            ("https://app.example\\@evil.example/", "backslash"),
            ("https:app.example/cb", "no authority"),
            ("https:///cb", "empty host"),
            ("https://claude.ai%2eevil.example/cb", "escape in the host"),
            ("http://localhos%74/cb", "escape in a loopback host"),
            ("ftp://app.example/cb", "scheme"),
            ("javascript:alert(1)", "script"),
            ("jAvascript:alert(1)", "script in mixed case"),
            ("java\tscript:alert(1)", "script with a tab"),
            ("data:text/html,x", "data"),
            ("file:///etc/passwd", "file"),
            ("unknown-app://cb", "scheme not on the list"),
            ("/relative", "relative"),
            ("", "empty"),
            ("https://app.example/\u{0}cb", "NUL"),
            ("https://app.example/ü", "not ASCII"),
        ] {
            assert!(parse(text).is_err(), "{text:?} must be refused: {why}");
        }
        assert!(matches!(
            parse(&format!("https://h/{}", "a".repeat(2048))),
            Err(RedirectUriError::TooLong)
        ));
    }

    #[test]
    fn a_list_cannot_allow_script() {
        let list = PrivateUseSchemes::new(["javascript".to_owned(), "myapp".to_owned()]);
        assert!(RedirectUri::parse("javascript:alert(1)", &list).is_err());
        assert_eq!(
            RedirectUri::parse("myapp:/cb", &list).unwrap().class(),
            RedirectClass::PrivateUse
        );
    }

    #[test]
    fn callbacks_of_real_clients_are_accepted() {
        for text in [
            "http://localhost:52001/callback",
            "http://127.0.0.1:4567/",
            "http://localhost:7777/oauth/callback",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://claude.ai/api/mcp/auth_callback",
            "https://vscode.dev/redirect",
            "https://chatgpt.com/connector/oauth/abc123",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
        assert_eq!(
            parse("https://claude.ai/api/cb?x=1")
                .unwrap()
                .display_host(),
            "claude.ai"
        );
        assert_eq!(
            parse("http://[::1]:80/cb").unwrap().display_host(),
            "[::1]:80"
        );
        assert_eq!(parse("cursor://a/b").unwrap().display_host(), "cursor");
    }

    proptest! {
        #[test]
        fn a_match_keeps_scheme_host_path_and_query(
            registered in "(https?|cursor)://(localhost|127\\.0\\.0\\.1|\\[::1\\]|app\\.example)(:[0-9]{1,4})?(/[a-z]{0,3}){0,2}(\\?[a-z]{1,2})?",
            presented in "(https?|cursor)://(localhost|127\\.0\\.0\\.1|\\[::1\\]|app\\.example)(:[0-9]{1,4})?(/[a-z]{0,3}){0,2}(\\?[a-z]{1,2})?",
        ) {
            if let (Ok(a), Ok(b)) = (parse(&registered), parse(&presented)) {
                prop_assert_eq!(a.matches(&b), b.matches(&a));
                if a.matches(&b) && a != b {
                    let (ua, ub) = (url::Url::parse(&registered).unwrap(), url::Url::parse(&presented).unwrap());
                    prop_assert_eq!(ua.scheme(), "http");
                    prop_assert_eq!(ua.host_str(), ub.host_str());
                    prop_assert_eq!(ua.path(), ub.path());
                    prop_assert_eq!(ua.query(), ub.query());
                }
            }
        }

        #[test]
        fn no_text_panics_and_what_passes_is_safe(text in ".{0,60}") {
            if let Ok(uri) = parse(&text) {
                prop_assert!(uri.as_str().is_ascii());
                prop_assert!(!uri.as_str().contains(['#', ' ', '\r', '\n', '"', '<']));
            }
        }
    }
}
