//! Clients (RFC 6749 §2, RFC 7591, client id metadata documents): one type, three sources.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::error::ErrorCode;
use crate::url::{PrivateUseSchemes, RedirectUri, RedirectUriError};

/// How a `client_id` of our own making begins. It must never begin like a URL (facts/mcp-authorization.md §5).
pub const REGISTERED_PREFIX: &str = "vcl_";

/// A client identifier, told apart once by its shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientId {
    /// Configured by the operator.
    PreRegistered(String),
    /// The https URL of a client id metadata document.
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
        } else if text.starts_with("https://") {
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
    /// A secret of its own by HTTP Basic. Not issued yet: registrations that ask for it are answered with `none`.
    ClientSecretBasic,
    /// A secret of its own in the form. Not issued yet either.
    ClientSecretPost,
    /// A signed assertion (RFC 7523). Only metadata documents and pre-registered clients can have keys.
    PrivateKeyJwt,
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

/// A registration request as it comes over the wire (RFC 7591 §2). Unknown members are ignored, as the RFC demands.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ClientMetadata {
    /// At least one is needed.
    pub redirect_uris: Option<Vec<String>>,
    /// For people.
    pub client_name: Option<String>,
    /// Absent means `client_secret_basic` in the RFC; we answer with what we really do.
    pub token_endpoint_auth_method: Option<String>,
    /// Absent means `authorization_code`.
    pub grant_types: Option<Vec<String>>,
    /// Absent means `code`.
    pub response_types: Option<Vec<String>>,
    /// Scopes the client thinks it will ask for.
    pub scope: Option<String>,
    /// `native` or `web`; anything else is treated as absent.
    pub application_type: Option<String>,
    /// A page about the client.
    pub client_uri: Option<String>,
    /// The application's own identifier, the same for all its installations.
    pub software_id: Option<String>,
    /// And its version.
    pub software_version: Option<String>,
}

/// Why a registration was refused (RFC 7591 §3.2.2).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegistrationError {
    /// No redirect URI, so no way to hand out a code.
    #[error("redirect_uris must contain at least one redirect URI")]
    NoRedirectUris,
    /// More than [`Client::MAX_REDIRECT_URIS`].
    #[error("redirect_uris has more than {max} entries", max = Client::MAX_REDIRECT_URIS)]
    TooManyRedirectUris,
    /// One of them is not acceptable.
    #[error(transparent)]
    RedirectUri(#[from] RedirectUriError),
    /// Grant types that do not include the code grant.
    #[error("grant_types must contain authorization_code")]
    GrantTypes,
    /// Response types that do not include `code`.
    #[error("response_types must contain code")]
    ResponseTypes,
}

impl RegistrationError {
    /// The RFC 7591 code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoRedirectUris | Self::TooManyRedirectUris | Self::RedirectUri(_) => {
                ErrorCode::InvalidRedirectUri
            }
            Self::GrantTypes | Self::ResponseTypes => ErrorCode::InvalidClientMetadata,
        }
    }
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
    /// Where it runs, if it said so.
    pub application_type: Option<ApplicationType>,
}

impl Client {
    /// Real clients register up to four (VS Code); more than this is a mistake.
    pub const MAX_REDIRECT_URIS: usize = 16;
    /// Longest name kept, in characters.
    pub const MAX_NAME: usize = 80;

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
                // A loopback URI without a port cannot be meant: nobody listens on port 80.
                [only] => Ok(MatchedRedirect {
                    uri: only.clone(),
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

impl ClientMetadata {
    /// Checks a registration and gives what goes into the client. Method, grant and response types that we do not offer
    /// are replaced, as RFC 7591 §3.2.1 allows; only what would be dangerous or useless is refused.
    pub fn check(
        &self,
        private_use: &PrivateUseSchemes,
    ) -> Result<Registration, RegistrationError> {
        let uris = self.redirect_uris.as_deref().unwrap_or_default();
        if uris.is_empty() {
            return Err(RegistrationError::NoRedirectUris);
        }
        if uris.len() > Client::MAX_REDIRECT_URIS {
            return Err(RegistrationError::TooManyRedirectUris);
        }
        if self
            .grant_types
            .as_ref()
            .is_some_and(|types| !types.iter().any(|grant| grant == "authorization_code"))
        {
            return Err(RegistrationError::GrantTypes);
        }
        if self
            .response_types
            .as_ref()
            .is_some_and(|types| !types.iter().any(|response| response == "code"))
        {
            return Err(RegistrationError::ResponseTypes);
        }
        let mut redirect_uris: Vec<RedirectUri> = Vec::with_capacity(uris.len());
        for uri in uris {
            let uri = RedirectUri::parse(uri, private_use)?;
            if !redirect_uris.contains(&uri) {
                redirect_uris.push(uri);
            }
        }
        Ok(Registration {
            redirect_uris,
            name: self.client_name.as_deref().and_then(clean_name),
            auth_method: ClientAuthMethod::None,
            application_type: match self.application_type.as_deref() {
                Some("native") => Some(ApplicationType::Native),
                Some("web") => Some(ApplicationType::Web),
                _ => None,
            },
        })
    }
}

/// A checked registration: what is sealed into a `client_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Never empty.
    #[serde(rename = "r")]
    pub redirect_uris: Vec<RedirectUri>,
    /// For people.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it proves itself.
    #[serde(rename = "a", default, skip_serializing_if = "is_default")]
    pub auth_method: ClientAuthMethod,
    /// Where it runs.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub application_type: Option<ApplicationType>,
}

impl Registration {
    /// The client this registration describes, under the id it was sealed into.
    pub fn into_client(self, id: ClientId) -> Client {
        Client {
            id,
            name: self.name,
            redirect_uris: self.redirect_uris,
            auth_method: self.auth_method,
            application_type: self.application_type,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A name fit for a consent page: no control or text-direction characters, one line, bounded.
fn clean_name(name: &str) -> Option<String> {
    let direction = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let cleaned: String = name
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !direction(*c))
        .collect();
    let cleaned: String = cleaned
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(Client::MAX_NAME)
        .collect();
    (!cleaned.is_empty()).then_some(cleaned)
}

/// The answer to a registration (RFC 7591 §3.2.1): everything echoed as it really is, nothing null or empty.
#[derive(Clone, Debug, Serialize)]
pub struct ClientInformation {
    /// The sealed registration.
    pub client_id: String,
    /// When it was sealed.
    pub client_id_issued_at: u64,
    /// Echoed; several SDKs refuse an answer without it.
    pub redirect_uris: Vec<String>,
    /// What we will accept, whatever was asked.
    pub token_endpoint_auth_method: ClientAuthMethod,
    /// The grants that work.
    pub grant_types: Vec<&'static str>,
    /// Only `code`.
    pub response_types: Vec<&'static str>,
    /// The cleaned name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// Everything a client of this server may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The effective type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_type: Option<ApplicationType>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<Registration, RegistrationError> {
        serde_json::from_str::<ClientMetadata>(json)
            .unwrap()
            .check(&PrivateUseSchemes::default())
    }

    #[test]
    fn registrations_of_real_clients_pass() {
        // facts/clients.md §3 and §4.
        for body in [
            r#"{"client_name":"Claude Code (x)","redirect_uris":["http://localhost:52001/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","application_type":"native","scope":"a b"}"#,
            r#"{"redirect_uris":["cursor://anysphere.cursor-mcp/oauth/callback","https://www.cursor.com/agents/mcp/oauth/callback","http://localhost:8787/callback"]}"#,
            r#"{"redirect_uris":["https://insiders.vscode.dev/redirect","https://vscode.dev/redirect","http://127.0.0.1/","http://127.0.0.1:33418/"],"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"]}"#,
            r#"{"redirect_uris":["http://localhost:7777/oauth/callback"],"code_challenge_method":"S256","token_endpoint_auth_method":"client_secret_basic"}"#,
        ] {
            let registration = check(body).unwrap();
            assert_eq!(registration.auth_method, ClientAuthMethod::None);
            let sealed = serde_json::to_string(&registration).unwrap();
            assert_eq!(
                serde_json::from_str::<Registration>(&sealed).unwrap(),
                registration
            );
        }
    }

    #[test]
    fn registrations_that_could_never_work_are_refused_with_their_code() {
        for (body, code) in [
            (r#"{"redirect_uris":[]}"#, ErrorCode::InvalidRedirectUri),
            (r"{}", ErrorCode::InvalidRedirectUri),
            (
                r#"{"redirect_uris":["http://evil.example/cb"]}"#,
                ErrorCode::InvalidRedirectUri,
            ),
            (
                r#"{"redirect_uris":["https://a/cb"],"grant_types":["implicit"]}"#,
                ErrorCode::InvalidClientMetadata,
            ),
            (
                r#"{"redirect_uris":["https://a/cb"],"response_types":["token"]}"#,
                ErrorCode::InvalidClientMetadata,
            ),
        ] {
            assert_eq!(check(body).unwrap_err().code(), code, "{body}");
        }
    }

    #[test]
    fn a_name_cannot_hide_text_or_break_lines() {
        assert_eq!(clean_name("  A\u{202e}b\r\n c\u{0} "), Some("Ab c".into()));
        assert_eq!(clean_name("\u{200b} \t"), None);
        assert_eq!(
            clean_name(&"x".repeat(500)).unwrap().len(),
            Client::MAX_NAME
        );
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
