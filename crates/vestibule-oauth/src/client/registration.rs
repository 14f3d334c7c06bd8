//! Dynamic registration (RFC 7591): what a client says of itself, what we make of it, and what it is told.

use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

use super::{ApplicationType, Client, ClientAuthMethod, ClientId, ClientKeys};
use crate::error::ErrorCode;
use crate::secret::ClientSecret;
use crate::url::{PrivateUseSchemes, RedirectUri, RedirectUriError};

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

impl ClientMetadata {
    /// Checks a registration and gives what goes into the client. Method, grant and response types that we do not offer
    /// are replaced, as RFC 7591 §3.2.1 allows; only what would be dangerous or useless is refused.
    ///
    /// With `secrets`, a client that asks for `client_secret_basic` or `client_secret_post` becomes a confidential one.
    /// Leaving the method out is not asking: the RFC's default is one that most clients which leave it out do not mean.
    pub fn check(
        &self,
        private_use: &PrivateUseSchemes,
        secrets: bool,
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
            auth_method: self
                .token_endpoint_auth_method
                .as_deref()
                .and_then(ClientAuthMethod::parse)
                .filter(|method| secrets && method.is_secret())
                .unwrap_or_default(),
            application_type: application_type(self.application_type.as_deref()),
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
            keys: ClientKeys::None,
            application_type: self.application_type,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `native` or `web`; anything else is treated as absent.
pub(super) fn application_type(text: Option<&str>) -> Option<ApplicationType> {
    match text {
        Some("native") => Some(ApplicationType::Native),
        Some("web") => Some(ApplicationType::Web),
        _ => None,
    }
}

/// A name fit for a consent page: no control or text-direction characters, one line, bounded.
pub(super) fn clean_name(name: &str) -> Option<String> {
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
    /// The secret of a confidential client; never with the method `none` (Copilot Studio refuses that).
    #[serde(serialize_with = "exposed", skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<ClientSecret>,
    /// Required with a secret: 0, it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_expires_at: Option<u64>,
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

/// The one place where a secret is written out: to the client whose secret it is.
#[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
fn exposed<S: Serializer>(secret: &Option<ClientSecret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.as_ref().map_or("", ClientSecret::expose))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<Registration, RegistrationError> {
        serde_json::from_str::<ClientMetadata>(json)
            .unwrap()
            .check(&PrivateUseSchemes::default(), true)
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
            let asked = body.contains("client_secret_basic");
            assert_eq!(registration.auth_method.is_secret(), asked, "{body}");
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
    fn a_secret_is_for_those_who_ask_and_only_where_it_is_allowed() {
        let method = |text: &str, secrets: bool| {
            let body = format!(r#"{{"redirect_uris":["https://a/cb"]{text}}}"#);
            let metadata: ClientMetadata = serde_json::from_str(&body).unwrap();
            let registration = metadata.check(&PrivateUseSchemes::default(), secrets);
            registration.unwrap().auth_method
        };
        let ask = |name: &str| format!(r#","token_endpoint_auth_method":"{name}""#);
        for name in ["client_secret_basic", "client_secret_post"] {
            assert_eq!(method(&ask(name), true).as_str(), name);
            assert_eq!(method(&ask(name), false), ClientAuthMethod::None);
        }
        for name in ["none", "private_key_jwt", "client_secret_jwt", "x"] {
            assert_eq!(method(&ask(name), true), ClientAuthMethod::None, "{name}");
        }
        assert_eq!(method("", true), ClientAuthMethod::None);
    }
}
