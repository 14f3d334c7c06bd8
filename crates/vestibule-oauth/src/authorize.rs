//! The authorization request and response (RFC 6749 §4.1.1–4.1.2.1, RFC 8707, RFC 9207).

use form_urlencoded::Serializer;

use crate::client::MatchedRedirect;
use crate::error::{ErrorCode, safe_description};
use crate::params::{ParamError, Params};

/// Longest client `state` that is carried, in bytes (hosted clients send more than 2 KB, facts/cognito §1.3 #120).
pub const MAX_STATE: usize = 4096;

/// The parameters of an authorization request that matter once client and redirect URI are known.
#[derive(Clone, Debug, Default)]
pub struct AuthorizationRequest {
    /// Must be `code`.
    pub response_type: Option<String>,
    /// Space-separated scopes, as sent.
    pub scope: Option<String>,
    /// Every `resource` (RFC 8707 allows several).
    pub resources: Vec<String>,
    /// PKCE challenge, as sent.
    pub code_challenge: Option<String>,
    /// PKCE method, as sent.
    pub code_challenge_method: Option<String>,
    /// Must be absent or `query`.
    pub response_mode: Option<String>,
}

impl AuthorizationRequest {
    /// Reads the request; a repeated parameter is an error even when it is one we ignore (RFC 6749 §3.1).
    pub fn parse(params: &Params) -> Result<Self, ParamError> {
        params.refuse_repeated()?;
        let text = |name| params.get(name).map(|value| value.map(str::to_owned));
        Ok(Self {
            response_type: text("response_type")?,
            scope: text("scope")?,
            resources: params.all("resource").map(str::to_owned).collect(),
            code_challenge: text("code_challenge")?,
            code_challenge_method: text("code_challenge_method")?,
            response_mode: text("response_mode")?,
        })
    }
}

/// What goes back to the client's redirect URI. `iss` is added to success and error alike (RFC 9207 §2).
#[derive(Clone, Debug)]
pub enum AuthorizationResponse<'a> {
    /// A code.
    Code(&'a str),
    /// An error code and a sentence.
    Error(ErrorCode, &'a str),
}

impl AuthorizationResponse<'_> {
    /// The URL to send the browser to: the matched redirect URI, its own query kept byte for byte, with our parameters
    /// behind it. `state` is what the client sent, unchanged; empty means it sent none.
    pub fn location(
        &self,
        redirect: &MatchedRedirect,
        state: Option<&str>,
        issuer: &str,
    ) -> String {
        let uri = redirect.uri().as_str();
        let mut query = Serializer::new(String::new());
        match self {
            Self::Code(code) => {
                query.append_pair("code", code);
            }
            Self::Error(code, description) => {
                query.append_pair("error", code.as_str());
                query.append_pair("error_description", &safe_description(description));
            }
        }
        if let Some(state) = state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", issuer);
        let separator = match uri.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        format!("{uri}{separator}{}", query.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, ClientAuthMethod, ClientId};
    use crate::url::{PrivateUseSchemes, RedirectUri};

    fn matched(uri: &str) -> MatchedRedirect {
        let schemes = PrivateUseSchemes::default();
        let client = Client {
            id: ClientId::parse("x").unwrap(),
            name: None,
            redirect_uris: vec![RedirectUri::parse(uri, &schemes).unwrap()],
            auth_method: ClientAuthMethod::None,
            keys: crate::client::ClientKeys::None,
            application_type: None,
        };
        client.match_redirect(Some(uri), &schemes).unwrap()
    }

    #[test]
    fn success_and_error_carry_state_and_iss_and_keep_the_query() {
        let code = AuthorizationResponse::Code("c+d");
        assert_eq!(
            code.location(&matched("https://a/cb?x=%41"), Some("s t&u"), "https://h"),
            "https://a/cb?x=%41&code=c%2Bd&state=s+t%26u&iss=https%3A%2F%2Fh"
        );
        let error =
            AuthorizationResponse::Error(ErrorCode::AccessDenied, "the user said \"no\"\r\n");
        assert_eq!(
            error.location(&matched("http://localhost:1/cb"), None, "https://h"),
            "http://localhost:1/cb?error=access_denied&error_description=the+user+said+%27no%27%3F%3F&iss=https%3A%2F%2Fh"
        );
    }

    #[test]
    fn a_redirect_uri_is_chosen_only_when_there_is_one() {
        let schemes = PrivateUseSchemes::default();
        let uris =
            ["https://a/1", "https://a/2"].map(|uri| RedirectUri::parse(uri, &schemes).unwrap());
        let mut client = Client {
            id: ClientId::parse("x").unwrap(),
            name: None,
            redirect_uris: uris.to_vec(),
            auth_method: ClientAuthMethod::None,
            keys: crate::client::ClientKeys::None,
            application_type: None,
        };
        assert!(client.match_redirect(None, &schemes).is_err());
        client.redirect_uris.truncate(1);
        assert_eq!(
            client
                .match_redirect(None, &schemes)
                .unwrap()
                .uri()
                .as_str(),
            "https://a/1"
        );
        assert!(
            client
                .match_redirect(Some("https://a/2"), &schemes)
                .is_err()
        );
    }

    #[test]
    fn a_repeated_parameter_is_an_error() {
        let params = Params::parse(b"response_type=code&scope=a&scope=b").unwrap();
        assert_eq!(
            AuthorizationRequest::parse(&params).unwrap_err(),
            ParamError::Repeated("scope".into())
        );
    }
}
