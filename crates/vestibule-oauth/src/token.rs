//! The token and revocation requests and responses (RFC 6749 §4.1.3, §5, §6; RFC 7009 §2.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::client::{ASSERTION_TYPE, ClientAssertion, ClientId};
use crate::error::ErrorCode;
use crate::params::{ParamError, Params};
use crate::pkce::{CodeVerifier, PkceError};
use crate::scope::ScopeSet;
use crate::secret::{AuthorizationCode, ClientSecret, RefreshToken, Secret};

/// Why a token or revocation request could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenRequestError {
    /// A parameter is missing, repeated or malformed.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// The verifier has the wrong shape.
    #[error(transparent)]
    Pkce(#[from] PkceError),
    /// Neither of the two grants we know.
    #[error("grant_type must be authorization_code or refresh_token")]
    UnsupportedGrantType,
    /// No `client_id`, neither in the form nor by HTTP Basic.
    #[error("the client did not say who it is: client_id is missing")]
    NoClient,
    /// `Authorization` is not Basic, not base64, or contradicts the form.
    #[error("the client authentication cannot be read: {0}")]
    ClientAuthentication(&'static str),
}

impl TokenRequestError {
    /// The RFC 6749 §5.2 code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Param(_) | Self::Pkce(_) => ErrorCode::InvalidRequest,
            Self::UnsupportedGrantType => ErrorCode::UnsupportedGrantType,
            Self::NoClient | Self::ClientAuthentication(_) => ErrorCode::InvalidClient,
        }
    }
}

/// Who the client says it is, and how. Whether it is true is for the client registry to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedClient {
    /// The identifier.
    pub id: ClientId,
    /// A secret, if one was sent.
    pub secret: Option<ClientSecret>,
    /// A signed assertion (RFC 7523), if one was sent.
    pub assertion: Option<ClientAssertion>,
    /// True when it came by HTTP Basic: then a 401 must carry `WWW-Authenticate: Basic` (RFC 6749 §5.2).
    pub by_basic: bool,
}

impl PresentedClient {
    /// Reads HTTP Basic (RFC 6749 §2.3.1) or the form. Both together are accepted when they name the same client: the
    /// Python SDK sends them so (facts/clients.md §3).
    ///
    /// With an assertion `client_id` may be missing: its `sub` says who it is (RFC 7521 §4.2). A secret beside it is a
    /// second way to authenticate, which RFC 6749 §2.3 forbids.
    pub fn parse(authorization: Option<&str>, params: &Params) -> Result<Self, TokenRequestError> {
        let wrong = TokenRequestError::ClientAuthentication;
        let in_form = params.get("client_id")?;
        let form_secret = params.get("client_secret")?.map(ClientSecret::new);
        let assertion = assertion(params)?;
        let by_basic = authorization.is_some();
        let (id, secret) = if let Some(authorization) = authorization {
            let (id, secret) = basic(authorization)?;
            if in_form.is_some_and(|form| form != id) {
                return Err(wrong("HTTP Basic and client_id name different clients"));
            }
            let secret = (!secret.is_empty()).then_some(ClientSecret(secret));
            (id, secret.or(form_secret))
        } else {
            let claimed = || assertion.as_ref()?.claimed_subject();
            let id = in_form.map(str::to_owned).or_else(claimed);
            (id.ok_or(TokenRequestError::NoClient)?, form_secret)
        };
        if assertion.is_some() && secret.is_some() {
            return Err(wrong("send a secret or an assertion, not both"));
        }
        Ok(Self {
            id: ClientId::parse(&id).ok_or(wrong("client_id is malformed"))?,
            secret,
            assertion,
            by_basic,
        })
    }
}

fn assertion(params: &Params) -> Result<Option<ClientAssertion>, TokenRequestError> {
    let wrong = TokenRequestError::ClientAuthentication;
    match (
        params.get("client_assertion_type")?,
        params.get("client_assertion")?,
    ) {
        (Some(ASSERTION_TYPE), Some(text)) => Ok(Some(ClientAssertion::new(text))),
        (None, None) => Ok(None),
        (Some(ASSERTION_TYPE), None) => Err(wrong("client_assertion is missing")),
        _ => Err(wrong("client_assertion_type must be jwt-bearer (RFC 7523)")),
    }
}

/// A token request, by grant.
#[derive(Clone, Debug)]
pub enum TokenRequest {
    /// RFC 6749 §4.1.3 with RFC 7636 §4.5.
    AuthorizationCode {
        /// Our code.
        code: AuthorizationCode,
        /// OAuth 2.1 clients may leave it out; when present it must be the one of the authorization request.
        redirect_uri: Option<String>,
        /// Mandatory: no challenge was accepted without one.
        verifier: CodeVerifier,
        /// Must mean the resource of the grant.
        resources: Vec<String>,
    },
    /// RFC 6749 §6.
    RefreshToken {
        /// Our refresh token.
        refresh_token: RefreshToken,
        /// May narrow.
        scope: Option<ScopeSet>,
        /// Must mean the resource of the grant.
        resources: Vec<String>,
    },
}

impl TokenRequest {
    /// Reads the form.
    pub fn parse(params: &Params) -> Result<Self, TokenRequestError> {
        params.refuse_repeated()?;
        let resources = params.all("resource").map(str::to_owned).collect();
        match params.require("grant_type")? {
            "authorization_code" => Ok(Self::AuthorizationCode {
                code: AuthorizationCode::new(params.require("code")?),
                redirect_uri: params.get("redirect_uri")?.map(str::to_owned),
                verifier: CodeVerifier::parse(params.require("code_verifier")?)?,
                resources,
            }),
            "refresh_token" => Ok(Self::RefreshToken {
                refresh_token: RefreshToken::new(params.require("refresh_token")?),
                scope: params.get("scope")?.map(ScopeSet::parse),
                resources,
            }),
            _ => Err(TokenRequestError::UnsupportedGrantType),
        }
    }
}

/// A token response (RFC 6749 §5.1). Written once, to the client; never logged.
#[derive(Serialize)]
pub struct TokenResponse<'a> {
    /// The access token.
    pub access_token: TokenText<'a>,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds the access token has left. The truth: clients plan by it (facts/clients.md §0.8).
    pub expires_in: u64,
    /// Absent when the provider gave no refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<TokenText<'a>>,
    /// What was granted, always stated.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
}

/// A token as JSON has it. In tokens nothing is to be escaped (RFC 6750 §2.1, `b64token`), and most of the time that an
/// answer takes to write went into the search for it, one character of kilobytes after the other.
#[derive(Clone, Copy)]
pub struct TokenText<'a>(pub &'a str);

impl Serialize for TokenText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Without a branch for each character, so that many are looked at together.
        let stands = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        let plain = (self.0.bytes()).fold(true, |plain, byte| plain & stands(byte));
        let raw = plain.then(|| RawValue::from_string(format!("\"{}\"", self.0)));
        match raw {
            Some(Ok(raw)) => raw.serialize(serializer),
            _ => serializer.serialize_str(self.0),
        }
    }
}

/// Decodes `Authorization: Basic`: both halves are form-encoded before base64 (RFC 6749 §2.3.1).
fn basic(header: &str) -> Result<(String, Secret), TokenRequestError> {
    let wrong = TokenRequestError::ClientAuthentication;
    let (scheme, credentials) = header.split_once(' ').ok_or(wrong("no credentials"))?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(wrong("the scheme is not Basic"));
    }
    let decoded = STANDARD
        .decode(credentials.trim())
        .map_err(|_| wrong("not base64"))?;
    let decoded = String::from_utf8(decoded).map_err(|_| wrong("not UTF-8"))?;
    let (id, secret) = decoded.split_once(':').ok_or(wrong("no colon"))?;
    Ok((form_decode(id), Secret::new(form_decode(secret))))
}

fn form_decode(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(text: &str) -> Params {
        Params::parse(text.as_bytes()).unwrap()
    }

    proptest! {
        /// Also one that is none: with quotes it could give itself more members.
        #[test]
        fn a_token_is_the_json_that_any_text_is(text in r#"[a-z"\\,:{}\u{0}-\u{20}é-]*"#) {
            let token = serde_json::to_string(&TokenText(&text)).unwrap();
            prop_assert_eq!(token, serde_json::to_string(&text).unwrap());
        }
    }

    #[test]
    fn clients_say_who_they_are_in_three_ways() {
        let form = PresentedClient::parse(None, &params("client_id=a&client_secret=s")).unwrap();
        assert_eq!(
            (
                form.id.as_str(),
                form.secret.unwrap().expose(),
                form.by_basic
            ),
            ("a", "s", false)
        );
        let header = format!("Basic {}", STANDARD.encode("a%3Ab:s%25+t"));
        let basic = PresentedClient::parse(Some(&header), &params("client_id=a%3Ab")).unwrap();
        assert_eq!(
            (
                basic.id.as_str(),
                basic.secret.unwrap().expose(),
                basic.by_basic
            ),
            ("a:b", "s% t", true)
        );
        let empty = PresentedClient::parse(
            Some(&format!("Basic {}", STANDARD.encode("a:"))),
            &params(""),
        )
        .unwrap();
        assert_eq!(empty.secret, None);
    }

    #[test]
    fn unreadable_or_contradicting_authentication_is_invalid_client() {
        let a = format!("Basic {}", STANDARD.encode("a:s"));
        for (header, form) in [
            (None, ""),
            (Some("Bearer x"), "client_id=a"),
            (Some("Basic !"), ""),
            (Some(a.as_str()), "client_id=b"),
            (None, "client_id=a&client_assertion=x"),
            (
                None,
                "client_id=a&client_assertion_type=saml&client_assertion=x",
            ),
            (
                None,
                "client_id=a&client_secret=s&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion=x",
            ),
        ] {
            let error = PresentedClient::parse(header, &params(form)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidClient, "{header:?} {form}");
        }
    }

    #[test]
    fn t2_a_code_without_verifier_is_refused() {
        // CVE-2025-4144: PKCE skipped when it was left out.
        for form in [
            "grant_type=authorization_code&code=c",
            "grant_type=authorization_code&code=c&code_verifier=",
            "grant_type=authorization_code&code=c&code_verifier=short",
        ] {
            assert_eq!(
                TokenRequest::parse(&params(form)).unwrap_err().code(),
                ErrorCode::InvalidRequest,
                "{form}"
            );
        }
    }

    #[test]
    fn other_grants_have_their_own_code() {
        let error = TokenRequest::parse(&params("grant_type=password&username=a")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::UnsupportedGrantType);
    }
}
