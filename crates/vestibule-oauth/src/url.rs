//! URLs that carry rules: origins and issuers (RFC 8414 §2), resources (RFC 8707 §2), redirect URIs (RFC 8252 §7.3).
//!
//! Every type keeps the text verbatim, because issuers, resources and redirect URIs are compared as strings; a WHATWG
//! parser would turn `127.1` into a loopback address and add slashes nobody wrote.

mod redirect;
mod resource;

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use redirect::{PrivateUseSchemes, RedirectClass, RedirectUri, RedirectUriError};
pub use resource::ResourceUri;

/// Why a configured URL was refused; the text says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Not an absolute URL at all.
    #[error("'{0}' is not an absolute URL")]
    NotAbsolute(String),
    /// Neither https nor http on a loopback host.
    #[error("'{0}' must use https (plain http is for localhost, 127.0.0.1 and [::1] only)")]
    NotHttps(String),
    /// An origin with something behind the host.
    #[error(
        "'{given}' must be an origin without path, query or trailing slash: write '{suggestion}'"
    )]
    NotAnOrigin {
        /// What was written.
        given: String,
        /// What was probably meant.
        suggestion: String,
    },
    /// A fragment, user information, or characters that do not belong into a URL.
    #[error(
        "'{0}' must not contain a fragment, user information or characters outside printable ASCII"
    )]
    Forbidden(String),
}

/// A web origin `https://host[:port]`: what we publish as issuer, without path or trailing slash (law 1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Origin(String);

impl Origin {
    /// Reads an origin. The text must already be canonical, because it is published byte for byte.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = absolute(text)?;
        let canonical = url.origin().ascii_serialization();
        if canonical == text {
            Ok(Self(canonical))
        } else {
            Err(UrlError::NotAnOrigin {
                given: text.to_owned(),
                suggestion: canonical,
            })
        }
    }

    /// The origin as text, which is also our issuer identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The origin followed by an absolute path.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// `host[:port]`, as it stands in a `Host` header.
    pub fn authority(&self) -> &str {
        self.0
            .split_once("://")
            .map_or(self.0.as_str(), |(_, authority)| authority)
    }

    /// True for https.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A provider's issuer identifier: https (or http on loopback), path allowed, no query or fragment; kept verbatim.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Issuer(String);

impl Issuer {
    /// Reads an issuer identifier.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = absolute(text)?;
        if url.query().is_some() {
            return Err(UrlError::Forbidden(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The identifier, verbatim.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where OpenID Connect Discovery 1.0 §4 puts the document: appended to the issuer, one slash dropped.
    pub fn openid_configuration_url(&self) -> String {
        format!(
            "{}/.well-known/openid-configuration",
            self.0.trim_end_matches('/')
        )
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An http or https endpoint: a provider's token endpoint, an upstream MCP server. Kept verbatim; no fragment, no user
/// information. Plain http is allowed here: the operator typed it, or a trusted document named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Endpoint(String);

impl Endpoint {
    /// Reads an endpoint URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = url::Url::parse(text).map_err(|_| UrlError::NotAbsolute(text.to_owned()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(UrlError::NotAbsolute(text.to_owned()));
        }
        refuse_forbidden(text, &url)?;
        Ok(Self(text.to_owned()))
    }

    /// The URL, verbatim.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// True for the three host spellings that mean "this computer" in a redirect URI or a development URL.
pub fn is_loopback_host(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]"
}

/// Parses an absolute https URL, or http on a loopback host, without fragment and user information.
fn absolute(text: &str) -> Result<url::Url, UrlError> {
    let url = url::Url::parse(text).map_err(|_| UrlError::NotAbsolute(text.to_owned()))?;
    let loopback = url.scheme() == "http" && url.host_str().is_some_and(is_loopback_host);
    if !url.has_host() {
        return Err(UrlError::NotAbsolute(text.to_owned()));
    }
    if url.scheme() != "https" && !loopback {
        return Err(UrlError::NotHttps(text.to_owned()));
    }
    refuse_forbidden(text, &url)?;
    Ok(url)
}

fn refuse_forbidden(text: &str, url: &url::Url) -> Result<(), UrlError> {
    let user_information = !url.username().is_empty() || url.password().is_some();
    let printable = text
        .bytes()
        .all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'\\');
    if url.fragment().is_some() || user_information || !printable {
        return Err(UrlError::Forbidden(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_no_path_and_no_trailing_slash() {
        assert_eq!(
            Origin::parse("https://mcp.example.com")
                .unwrap()
                .authority(),
            "mcp.example.com"
        );
        assert_eq!(
            Origin::parse("http://localhost:8080").unwrap().join("/x"),
            "http://localhost:8080/x"
        );
        for wrong in [
            "https://mcp.example.com/",
            "https://MCP.example.com",
            "https://mcp.example.com:443",
            "https://h/a",
        ] {
            let error = Origin::parse(wrong).unwrap_err();
            assert!(
                matches!(error, UrlError::NotAnOrigin { .. }),
                "{wrong}: {error}"
            );
        }
        assert!(matches!(
            Origin::parse("http://mcp.example.com"),
            Err(UrlError::NotHttps(_))
        ));
        assert!(matches!(
            Origin::parse("mcp.example.com"),
            Err(UrlError::NotAbsolute(_))
        ));
    }

    #[test]
    fn an_issuer_is_kept_verbatim_with_its_path() {
        let cognito = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Abc";
        assert_eq!(Issuer::parse(cognito).unwrap().as_str(), cognito);
        assert_eq!(
            Issuer::parse("https://tenant.example/")
                .unwrap()
                .openid_configuration_url(),
            "https://tenant.example/.well-known/openid-configuration"
        );
        assert!(Issuer::parse("https://h/?x=1").is_err());
        assert!(Issuer::parse("https://user@h").is_err());
        assert!(Issuer::parse("https://h#f").is_err());
    }
}
