//! Client authentication at the token and revocation endpoints: Basic, form secret, or a public client's bare id (facts/cognito §2.4).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use thiserror::Error;

use crate::cognito::http::Params;
use crate::cognito::options::AppClient;
use crate::cognito::state::Pool;

/// Why a client is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum ClientAuthError {
    /// No client id at all, or two that differ: `invalid_request`.
    #[error("no single client_id in the request")]
    Unnamed,
    /// Unknown client; missing, wrong or superfluous secret: `invalid_client`.
    #[error("the client could not be authenticated")]
    Invalid,
}

/// The client that sends a request. A confidential client must show its secret, a public one must not show any.
pub(crate) fn authenticate<'a>(
    pool: &'a Pool,
    headers: &HeaderMap,
    params: &Params,
) -> Result<&'a AppClient, ClientAuthError> {
    let (client_id, secret) = match headers.get(AUTHORIZATION) {
        Some(value) => {
            let (id, secret) = value
                .to_str()
                .ok()
                .and_then(basic)
                .ok_or(ClientAuthError::Invalid)?;
            if params.non_empty("client_id").is_some_and(|own| own != id) {
                return Err(ClientAuthError::Unnamed);
            }
            (id, Some(secret))
        }
        None => (
            params
                .non_empty("client_id")
                .ok_or(ClientAuthError::Unnamed)?
                .to_owned(),
            params.non_empty("client_secret").map(str::to_owned),
        ),
    };
    pool.client(&client_id)
        .filter(|client| client.client_secret == secret)
        .ok_or(ClientAuthError::Invalid)
}

fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}
