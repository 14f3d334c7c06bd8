//! Error codes of RFC 6749 §4.1.2.1 and §5.2, RFC 7009, RFC 7591 §3.2.2 and RFC 8707 §2, and the JSON body that carries them.

use std::fmt;

use serde::Serialize;

/// An error code that a client may see. The set is closed: a new code is a decision, not a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The user or the provider said no (RFC 6749 §4.1.2.1).
    AccessDenied,
    /// The client is unknown or failed to authenticate (RFC 6749 §5.2).
    InvalidClient,
    /// A member of a registration is not acceptable (RFC 7591 §3.2.2).
    InvalidClientMetadata,
    /// The code or refresh token is dead, foreign or bound to something else (RFC 6749 §5.2).
    InvalidGrant,
    /// A redirect URI of a registration is not acceptable (RFC 7591 §3.2.2).
    InvalidRedirectUri,
    /// Something is missing, repeated or malformed.
    InvalidRequest,
    /// The token that a protected endpoint asks for is missing or wrong (RFC 6750 §3.1).
    InvalidToken,
    /// The requested scope exceeds what was granted (RFC 6749 §6).
    InvalidScope,
    /// The `resource` is none of ours, or more than one (RFC 8707 §2).
    InvalidTarget,
    /// We, or our configuration, failed.
    ServerError,
    /// The provider is away; the same request may succeed later.
    TemporarilyUnavailable,
    /// Too many requests; come back later. Not in an RFC's registry of token errors, but what clients expect with 429.
    SlowDown,
    /// The client may not use this grant or response type.
    UnauthorizedClient,
    /// Only `authorization_code` and `refresh_token` are known.
    UnsupportedGrantType,
    /// Only `code` is known.
    UnsupportedResponseType,
    /// The presented token cannot be revoked here (RFC 7009 §2.2.1).
    UnsupportedTokenType,
}

impl ErrorCode {
    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::InvalidClient => "invalid_client",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidToken => "invalid_token",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::SlowDown => "slow_down",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::UnsupportedTokenType => "unsupported_token_type",
        }
    }

    /// The HTTP status of a direct (not redirected) answer with this code.
    ///
    /// Dead grants are 400 and unknown clients 401, because real clients act on exactly these (facts/clients.md §0.7).
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidClient | Self::InvalidToken => 401,
            Self::AccessDenied => 403,
            Self::ServerError => 500,
            Self::TemporarilyUnavailable => 503,
            Self::SlowDown => 429,
            _ => 400,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The JSON body of RFC 6749 §5.2, with a reference that the log knows too.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorBody<'a> {
    /// The code.
    pub error: &'a str,
    /// What happened and what to do, safe to show to anybody.
    pub error_description: &'a str,
    /// The reference id under which the log holds the cause.
    pub reference: &'a str,
}

/// Makes text safe for `error_description`: RFC 6749 allows only `%x20-21 / %x23-5B / %x5D-7E` there.
pub fn safe_description(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '"' => '\'',
            '\\' => '/',
            ' '..='~' => character,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_keep_to_the_grammar_of_rfc_6749() {
        let safe = safe_description("a \"b\" \\ c\r\n<é>");
        assert_eq!(safe, "a 'b' / c??<?>");
    }
}
