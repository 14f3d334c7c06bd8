//! `POST /oauth2/token`: the code grant and refresh, with Cognito's error strings (facts/cognito §2.4, §2.9; S5, S7, S9–S11).

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use thiserror::Error;
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::time::UnixTime;

use crate::cognito::client_auth::{ClientAuthError, authenticate};
use crate::cognito::faults::{Injected, wrong_issuer};
use crate::cognito::http::{Params, is_form, json};
use crate::cognito::keys::KeySet;
use crate::cognito::options::{AppClient, Lifetimes, UnregisteredResource};
use crate::cognito::random;
use crate::cognito::state::{CodeGrant, Family, Pool, RefreshToken, State as PoolState, sha256};
use crate::cognito::tokens::{Minting, TokenResponse};

/// Why there are no tokens. Every case but the last is a 400.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    /// A parameter is missing, or the body is no form.
    #[error("invalid_request")]
    InvalidRequest,
    /// The client is unknown or its secret is missing or wrong.
    #[error("invalid_client")]
    InvalidClient,
    /// The code or refresh token is unknown, used, expired, revoked or somebody else's.
    #[error("invalid_grant")]
    InvalidGrant,
    /// The client may not use this grant.
    #[error("unauthorized_client")]
    UnauthorizedClient,
    /// `redirect_uri` is not the one of the authorization request.
    #[error("unauthorized_client: invalid_redirect")]
    InvalidRedirect,
    /// No such grant.
    #[error("unsupported_grant_type")]
    UnsupportedGrantType,
    /// Signing failed: 500.
    #[error("a token could not be signed")]
    Signing(#[from] aws_lc_rs::error::Unspecified),
}

impl From<ClientAuthError> for TokenError {
    fn from(error: ClientAuthError) -> Self {
        match error {
            ClientAuthError::Unnamed => Self::InvalidRequest,
            ClientAuthError::Invalid => Self::InvalidClient,
        }
    }
}

/// `POST /oauth2/token`.
pub(crate) async fn handle(
    State(pool): State<Arc<Pool>>,
    Extension(injected): Extension<Injected>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match exchange(&pool, &injected, &headers, &body) {
        Ok(tokens) => json(StatusCode::OK, &tokens),
        Err(error) => {
            tracing::debug!(%error, "token request refused");
            error.answer()
        }
    }
}

impl TokenError {
    fn answer(&self) -> Response {
        let body = match self {
            Self::InvalidRequest => json!({ "error": "invalid_request" }),
            Self::InvalidClient => json!({ "error": "invalid_client" }),
            Self::InvalidGrant => json!({ "error": "invalid_grant" }),
            Self::UnauthorizedClient => json!({ "error": "unauthorized_client" }),
            Self::InvalidRedirect => json!({
                "error": "unauthorized_client",
                "error_description": "invalid_redirect",
            }),
            Self::UnsupportedGrantType => json!({ "error": "unsupported_grant_type" }),
            Self::Signing(_) => {
                let body = json!({ "error": "server_error" });
                return json(StatusCode::INTERNAL_SERVER_ERROR, &body);
            }
        };
        json(StatusCode::BAD_REQUEST, &body)
    }
}

/// Everything a response is minted from, taken out of the shared state so that signing holds no lock.
struct Draft {
    family: Family,
    nonce: Option<String>,
    refresh_token: Option<String>,
    keys: Arc<KeySet>,
    lifetimes: Lifetimes,
}

fn exchange(
    pool: &Pool,
    injected: &Injected,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<TokenResponse, TokenError> {
    if !is_form(headers) {
        return Err(TokenError::InvalidRequest);
    }
    let params = Params::parse(body);
    let grant_type = params
        .non_empty("grant_type")
        .ok_or(TokenError::InvalidRequest)?;
    let client = authenticate(pool, headers, &params)?;
    let now = pool.now();
    let draft = match grant_type {
        "authorization_code" => code_grant(pool, client, &params, now)?,
        "refresh_token" => refresh(pool, client, &params, now)?,
        "client_credentials" => return Err(TokenError::UnauthorizedClient),
        _ => return Err(TokenError::UnsupportedGrantType),
    };
    let same_tokens = (pool.options.same_tokens).filter(|_| grant_type == "refresh_token");
    let given = same_tokens.and_then(|seconds| {
        let state = pool.lock();
        let (at, given) = state.given.get(&draft.family.origin_jti)?;
        (now < at.plus(seconds)).then(|| given.clone())
    });
    if let Some(given) = given {
        return Ok(given.with_refresh_token(draft.refresh_token));
    }
    let wrong;
    let issuer = if injected.wrong_issuer {
        wrong = wrong_issuer(&pool.issuer);
        &wrong
    } else {
        &pool.issuer
    };
    let minting = Minting {
        pool,
        keys: &draft.keys,
        lifetimes: draft.lifetimes,
        issuer,
        now,
    };
    let response = minting.respond(&draft.family, draft.nonce.as_deref(), draft.refresh_token)?;
    if same_tokens.is_some() {
        let (family, given) = (draft.family.origin_jti, (now, response.clone()));
        pool.lock().given.insert(family, given);
    }
    Ok(response)
}

/// `grant_type=authorization_code`. A `resource` here is ignored: Cognito does not document one.
fn code_grant(
    pool: &Pool,
    client: &AppClient,
    params: &Params,
    now: UnixTime,
) -> Result<Draft, TokenError> {
    if client.code_grant_disabled {
        return Err(TokenError::UnauthorizedClient);
    }
    let code = params.non_empty("code").ok_or(TokenError::InvalidRequest)?;
    let redirect_uri = params
        .non_empty("redirect_uri")
        .ok_or(TokenError::InvalidRequest)?;
    let mut state = pool.lock();
    let owned = state
        .codes
        .get(code)
        .is_some_and(|grant| grant.family.client_id == client.client_id);
    // The owner's first attempt uses the code up, whatever comes of it.
    let grant = match state.codes.remove(code) {
        Some(grant) if owned => grant,
        Some(grant) => {
            state.codes.insert(code.to_owned(), grant);
            return Err(TokenError::InvalidGrant);
        }
        None => return Err(TokenError::InvalidGrant),
    };
    check_code(pool, &grant, redirect_uri, params, now)?;

    let refresh_token = state.issue_refresh_token(&grant.family.origin_jti);
    let family = grant.family;
    state
        .families
        .insert(family.origin_jti.clone(), family.clone());
    Ok(Draft {
        family,
        nonce: grant.nonce,
        refresh_token: Some(refresh_token),
        keys: Arc::clone(&state.keys.current),
        lifetimes: state.lifetimes,
    })
}

fn check_code(
    pool: &Pool,
    grant: &CodeGrant,
    redirect_uri: &str,
    params: &Params,
    now: UnixTime,
) -> Result<(), TokenError> {
    if now >= grant.expires {
        return Err(TokenError::InvalidGrant);
    }
    if redirect_uri != grant.redirect_uri {
        return Err(TokenError::InvalidRedirect);
    }
    let verifier = params.non_empty("code_verifier").map(CodeVerifier::parse);
    let proven = match (&grant.challenge, verifier) {
        (None, None) => true,
        (Some(challenge), Some(Ok(verifier))) => challenge.is_met_by(&verifier),
        _ => false,
    };
    // A scope whose attributes the client may not read fails only here, not at authorize (§2.4).
    let readable = pool.options.email_verified_readable || !grant.family.has_scope("email");
    let bindable = pool.options.unregistered_resource == UnregisteredResource::Accept
        || grant.family.resource.as_ref().is_none_or(|resource| {
            pool.options
                .resource_servers
                .iter()
                .any(|server| server.identifier == *resource)
        });
    if proven && readable && bindable {
        Ok(())
    } else {
        Err(TokenError::InvalidGrant)
    }
}

/// `grant_type=refresh_token`. The answer has a refresh token only with rotation, and then the presented
/// one lives on for the grace period. The family ends when the first one would have.
fn refresh(
    pool: &Pool,
    client: &AppClient,
    params: &Params,
    now: UnixTime,
) -> Result<Draft, TokenError> {
    let presented = params
        .non_empty("refresh_token")
        .ok_or(TokenError::InvalidRequest)?;
    let mut guard = pool.lock();
    let state = &mut *guard;
    let token = state
        .refresh_tokens
        .get_mut(&sha256(presented.as_bytes()))
        .ok_or(TokenError::InvalidGrant)?;
    token.presented += 1;
    let family = state
        .families
        .get(&token.origin_jti)
        .filter(|family| {
            family.client_id == client.client_id && !family.revoked && now < family.expires
        })
        .cloned()
        .ok_or(TokenError::InvalidGrant)?;

    let refresh_token = match pool.options.rotation {
        None => None,
        Some(grace) => {
            if token
                .retired
                .is_some_and(|retired| now >= retired.plus(grace))
            {
                return Err(TokenError::InvalidGrant);
            }
            token.retired.get_or_insert(now);
            Some(state.issue_refresh_token(&family.origin_jti))
        }
    };
    Ok(Draft {
        family,
        nonce: None,
        refresh_token,
        keys: Arc::clone(&state.keys.current),
        lifetimes: state.lifetimes,
    })
}

impl PoolState {
    fn issue_refresh_token(&mut self, origin_jti: &str) -> String {
        let token = random::refresh_token();
        self.refresh_tokens.insert(
            sha256(token.as_bytes()),
            RefreshToken {
                origin_jti: origin_jti.to_owned(),
                retired: None,
                presented: 0,
            },
        );
        token
    }
}
