//! Resource identifiers (RFC 8707 §2, RFC 9728 §1.2): emitted verbatim, compared canonically.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{UrlError, absolute};

/// The URL of a protected MCP endpoint, as configured. What we emit is this text, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceUri(String);

impl ResourceUri {
    /// Reads a resource identifier: https, or http on a loopback host; no fragment.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        absolute(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The identifier, verbatim.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when `presented` means this resource.
    ///
    /// Forgiven on input: the case of scheme and host, a default port, and one trailing slash (design §9; real clients
    /// send `https://h/` for `https://h`, facts/mcp-authorization.md row 31). Path and query are case-sensitive.
    pub fn is_meant_by(&self, presented: &str) -> bool {
        match (canonical(&self.0), canonical(presented)) {
            (Some(own), Some(theirs)) => own == theirs,
            _ => false,
        }
    }
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The form under which two spellings of a resource are compared; `None` when the text is not an acceptable resource.
///
/// Only scheme and authority are folded. Path and query stay as written: `url::Url` would resolve dot segments and make
/// `/a/../mcp` equal to `/mcp`.
fn canonical(text: &str) -> Option<String> {
    let url = absolute(text).ok()?;
    let after_scheme = text.split_once("://")?.1;
    let path_start = after_scheme.find(['/', '?']).unwrap_or(after_scheme.len());
    let rest = after_scheme.get(path_start..)?;
    let (path, query) = rest
        .split_once('?')
        .map_or((rest, None), |(path, query)| (path, Some(query)));
    let path = path.strip_suffix('/').unwrap_or(path);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!(
        "{}{path}{query}",
        url.origin().ascii_serialization()
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_real_clients_mean_the_same_resource() {
        let resource = ResourceUri::parse("https://mcp.example.com/mcp").unwrap();
        for spelling in [
            "https://mcp.example.com/mcp",
            "https://mcp.example.com/mcp/",
            "HTTPS://MCP.example.com/mcp",
            "https://mcp.example.com:443/mcp",
        ] {
            assert!(resource.is_meant_by(spelling), "{spelling}");
        }
        for other in [
            "https://mcp.example.com/MCP",
            "https://mcp.example.com/mcp//",
            "https://mcp.example.com/mcp?x=1",
            "https://mcp.example.com/a/../mcp",
            "https://mcp.example.com/other",
            "https://mcp.example.com",
            "https://evil.example/mcp",
            "http://mcp.example.com/mcp",
            "https://mcp.example.com/mcp#f",
            "https://a@mcp.example.com/mcp",
            "mcp",
            "",
        ] {
            assert!(!resource.is_meant_by(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_resource_means_itself_and_never_another_host(path in "(/[a-z0-9._-]{1,8}){0,3}/?", host in "[a-z]{1,10}") {
            let text = format!("https://{host}.example{path}");
            let resource = ResourceUri::parse(&text).unwrap();
            prop_assert!(resource.is_meant_by(&text));
            let foreign = format!("https://{host}.invalid{path}");
            prop_assert!(!resource.is_meant_by(&foreign));
        }

        #[test]
        fn meaning_is_symmetric(a in "https?://[a-zA-Z0-9.:/?#@-]{0,24}", b in "https?://[a-zA-Z0-9.:/?#@-]{0,24}") {
            if let (Ok(first), Ok(second)) = (ResourceUri::parse(&a), ResourceUri::parse(&b)) {
                prop_assert_eq!(first.is_meant_by(&b), second.is_meant_by(&a));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = ResourceUri::parse("https://h/mcp").unwrap().is_meant_by(&text);
        }
    }
}
