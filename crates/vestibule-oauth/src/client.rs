//! Clients (RFC 6749 §2, RFC 7591, client id metadata documents): one type, three sources.

mod assertion;
mod document;
mod registration;

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

pub use assertion::{
    ASSERTION_TYPE, AssertionError, AssertionRules, CheckedAssertion, ClientAssertion,
};
pub use document::{DocumentError, DocumentUrl, DocumentUrlError, MetadataDocument};
pub use registration::{ClientInformation, ClientMetadata, Registration, RegistrationError};

use crate::base64url::BASE64URL;
use crate::url::{PrivateUseSchemes, RedirectUri, RedirectUriError};

/// How a `client_id` of our own making begins. It must never begin like a URL (facts/mcp-authorization.md §5).
pub const REGISTERED_PREFIX: &str = "vcl_";

/// A client identifier, told apart once by its shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientId {
    /// Configured by the operator.
    PreRegistered(String),
    /// The URL of a client id metadata document: https, or plain http on this computer during development.
    MetadataDocument(String),
    /// Sealed registration metadata (law 7).
    Registered(String),
}

impl ClientId {
    /// Longest `client_id` accepted, in bytes: it must fit into a URL together with the rest of a request.
    pub const MAX_LENGTH: usize = 4096;

    /// Tells the kinds apart. `None` when the text is empty, too long or not printable ASCII (RFC 6749 Appendix A.1).
    pub fn parse(text: &str) -> Option<Self> {
        let printable = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        if text.is_empty() || text.len() > Self::MAX_LENGTH || !printable {
            return None;
        }
        Some(if text.starts_with(REGISTERED_PREFIX) {
            Self::Registered(text.to_owned())
        } else if text.starts_with("https://") || text.starts_with("http://") {
            Self::MetadataDocument(text.to_owned())
        } else {
            Self::PreRegistered(text.to_owned())
        })
    }

    /// The identifier on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::PreRegistered(text) | Self::MetadataDocument(text) | Self::Registered(text) => {
                text
            }
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a client proves itself at the token endpoint (RFC 7591 §2 `token_endpoint_auth_method`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMethod {
    /// A public client: PKCE alone.
    #[default]
    None,
    /// A secret of its own by HTTP Basic. Accepted in the form as well (facts/clients.md §0.5).
    ClientSecretBasic,
    /// A secret of its own in the form. Accepted by HTTP Basic as well.
    ClientSecretPost,
    /// A signed assertion (RFC 7523). Only metadata documents and pre-registered clients can have keys.
    PrivateKeyJwt,
}

impl ClientAuthMethod {
    /// Reads a `token_endpoint_auth_method`; `None` when it is not one of the four.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "client_secret_basic" => Some(Self::ClientSecretBasic),
            "client_secret_post" => Some(Self::ClientSecretPost),
            "private_key_jwt" => Some(Self::PrivateKeyJwt),
            _ => None,
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }

    /// True for the two that need a secret.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }
}

/// Where the public keys of a client are that signs assertions (RFC 7591 §2 `jwks`, `jwks_uri`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientKeys {
    /// It has none.
    #[default]
    None,
    /// In its description: the members of `keys`.
    Inline(Vec<Value>),
    /// Behind this URL.
    Uri(String),
}

impl ClientKeys {
    /// Reads a JWK set document. Private and symmetric keys are refused: a published one is everybody's.
    pub fn from_jwks(document: &Value) -> Result<Self, KeysError> {
        let keys = document
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeysError::NotASet)?;
        let secret = |key: &Value| key.get("d").is_some() || key.get("k").is_some();
        if keys.iter().any(secret) {
            return Err(KeysError::Secret);
        }
        if crate::jose::JwkSet::from_values(keys).is_empty() {
            return Err(KeysError::Empty);
        }
        Ok(Self::Inline(keys.clone()))
    }
}

/// Why a client's key set cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeysError {
    /// No member `keys`.
    #[error("jwks must be a JWK set: an object with the list `keys`")]
    NotASet,
    /// A private or symmetric key.
    #[error("jwks holds a private or symmetric key; publish only the public half")]
    Secret,
    /// No key that we could verify with.
    #[error("jwks holds no key for RS256, RS384, RS512, PS256, ES256, ES384 or EdDSA")]
    Empty,
}

/// `application_type` of OpenID Connect registration, which MCP 2026-07-28 asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationType {
    /// Runs on the user's machine.
    Native,
    /// Runs on a server.
    Web,
}

/// A client as the rest of the house knows it: checked, with at least one redirect URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The identifier.
    pub id: ClientId,
    /// For people; never trusted.
    pub name: Option<String>,
    /// Where codes may go. Never empty.
    pub redirect_uris: Vec<RedirectUri>,
    /// How it proves itself.
    pub auth_method: ClientAuthMethod,
    /// The keys its assertions are verified with.
    pub keys: ClientKeys,
    /// Where it runs, if it said so.
    pub application_type: Option<ApplicationType>,
}

impl Client {
    /// Real clients register up to four (VS Code); more than this is a mistake.
    pub const MAX_REDIRECT_URIS: usize = 16;
    /// Longest name kept, in characters.
    pub const MAX_NAME: usize = 80;

    /// The name as a log has it: a dash when there is none.
    pub fn logged_name(&self) -> &str {
        self.name.as_deref().unwrap_or("-")
    }

    /// Finds the registered redirect URI that an authorization request may use.
    ///
    /// Without `presented` the only registered one is meant (RFC 6749 §3.1.2.3). The result is proof of the match: only
    /// with it can an answer be redirected.
    pub fn match_redirect(
        &self,
        presented: Option<&str>,
        private_use: &PrivateUseSchemes,
    ) -> Result<MatchedRedirect, RedirectMismatch> {
        let Some(presented) = presented else {
            return match self.redirect_uris.as_slice() {
                // Read again: its scheme may have been taken off the list since it was registered.
                [only] => Ok(MatchedRedirect {
                    uri: RedirectUri::parse(only.as_str(), private_use)?,
                    trusted: self.is_trusted(),
                }),
                _ => Err(RedirectMismatch::Missing),
            };
        };
        let uri = RedirectUri::parse(presented, private_use)?;
        if self
            .redirect_uris
            .iter()
            .any(|registered| registered.matches(&uri))
        {
            Ok(MatchedRedirect {
                uri,
                trusted: self.is_trusted(),
            })
        } else {
            Err(RedirectMismatch::NotRegistered(presented.to_owned()))
        }
    }

    /// What a remembered consent must be bound to: changes when the identifier, the redirect URIs, the way to
    /// authenticate or the keys change (CIMD, "Changes in Client Metadata"). The order of the redirect URIs does not
    /// matter, nor do name and type.
    pub fn fingerprint(&self) -> String {
        let mut uris: Vec<&str> = self.redirect_uris.iter().map(RedirectUri::as_str).collect();
        uris.sort_unstable();
        let keys = match &self.keys {
            ClientKeys::None => Value::Null,
            ClientKeys::Inline(keys) => json!({ "keys": keys }),
            ClientKeys::Uri(uri) => json!(uri),
        };
        let content = json!([self.id.as_str(), uris, self.auth_method.as_str(), keys]);
        BASE64URL.encode(digest(&SHA256, content.to_string().as_bytes()))
    }

    /// `host[:port]` of the metadata document this client is described by: the one part of it that was verified, by
    /// fetching the document from there.
    pub fn document_host(&self) -> Option<&str> {
        let ClientId::MetadataDocument(url) = &self.id else {
            return None;
        };
        let (_, rest) = url.split_once("://")?;
        rest.split('/').next()
    }

    /// True when the operator vouches for this client.
    pub fn is_trusted(&self) -> bool {
        matches!(self.id, ClientId::PreRegistered(_))
    }
}

/// A redirect URI that was matched against a client's registered ones: the only thing a redirect can be built from.
///
/// It serialises so that it can travel under seal with the sign-in it belongs to; what comes back out of a seal was
/// matched before it went in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchedRedirect {
    #[serde(rename = "u")]
    uri: RedirectUri,
    #[serde(rename = "t")]
    trusted: bool,
}

impl MatchedRedirect {
    /// The URI as the client presented it.
    pub fn uri(&self) -> &RedirectUri {
        &self.uri
    }

    /// True when an error may be redirected there without a click: the operator's own clients, and the user's own
    /// computer. Anybody can register an https address (OAuth 2.1 §7.12.2).
    pub fn may_redirect_unasked(&self) -> bool {
        self.trusted || self.uri.class() == crate::url::RedirectClass::Loopback
    }
}

/// Why no redirect is possible. The answer is a page, never a redirect (RFC 6749 §4.1.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RedirectMismatch {
    /// Several are registered and none was named.
    #[error("redirect_uri is missing, and the client has registered more than one")]
    Missing,
    /// It is not among the registered ones.
    #[error("the redirect URI '{0}' is not registered for this client")]
    NotRegistered(String),
    /// It could never be registered.
    #[error(transparent)]
    Unacceptable(#[from] RedirectUriError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        let uri = |text: &str| RedirectUri::parse(text, &PrivateUseSchemes::default()).unwrap();
        Client {
            id: ClientId::MetadataDocument("https://app.example/client.json".to_owned()),
            name: Some("App".to_owned()),
            redirect_uris: vec![uri("https://app.example/cb"), uri("http://localhost/cb")],
            auth_method: ClientAuthMethod::None,
            keys: ClientKeys::None,
            application_type: None,
        }
    }

    #[test]
    fn a_fingerprint_changes_with_what_matters_and_with_nothing_else() {
        let before = client().fingerprint();
        let changed = |change: fn(&mut Client)| {
            let mut client = client();
            change(&mut client);
            client.fingerprint() != before
        };
        assert!(!changed(|client| client.name = None));
        assert!(!changed(|client| client.redirect_uris.reverse()));
        assert!(changed(|client| client.redirect_uris.truncate(1)));
        assert!(changed(
            |client| client.auth_method = ClientAuthMethod::PrivateKeyJwt
        ));
        assert!(changed(
            |client| client.keys = ClientKeys::Uri("https://app.example/jwks".to_owned())
        ));
        assert!(changed(
            |client| client.id = ClientId::PreRegistered("app".to_owned())
        ));
    }

    #[test]
    fn only_a_document_has_a_verified_host() {
        let mut client = client();
        assert_eq!(client.document_host(), Some("app.example"));
        client.id = ClientId::PreRegistered("https".to_owned());
        assert_eq!(client.document_host(), None);
    }

    #[test]
    fn kinds_of_client_id() {
        assert!(matches!(
            ClientId::parse("vcl_abc"),
            Some(ClientId::Registered(_))
        ));
        assert!(matches!(
            ClientId::parse("https://a/client.json"),
            Some(ClientId::MetadataDocument(_))
        ));
        assert!(matches!(
            ClientId::parse("desk"),
            Some(ClientId::PreRegistered(_))
        ));
        assert_eq!(ClientId::parse(""), None);
        assert_eq!(ClientId::parse("a\nb"), None);
    }
}
