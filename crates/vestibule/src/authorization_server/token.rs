//! `POST /token` (RFC 6749 §3.2): client → code or refresh token → provider → grant → tokens of our own.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value};
use thiserror::Error;

use vestibule_oauth::client::Client;
use vestibule_oauth::error::ErrorCode;
use vestibule_oauth::params::ParamError;
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::scope::{OFFLINE_ACCESS, ScopeSet};
use vestibule_oauth::secret::{AuthorizationCode, RefreshToken};
use vestibule_oauth::token::{TokenRequest, TokenRequestError, TokenResponse};

use super::client_auth::{self, ClientRefusal};
use super::respond::{BodyError, Outside, json, refuse};
use crate::House;
use crate::grants::{Access, Code, Grant, GrantMismatch, RedeemError, UserDigest};
use crate::issuer::MintError;
use crate::limits::{Limited, OverLimit};
use crate::provider::{ProviderError, ProviderTokens, groups};
use crate::seal::SealError;
use crate::settings::{CredentialSettings, ResourceSettings};

/// Why no token was issued.
#[derive(Debug, Error)]
enum TokenError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Request(#[from] TokenRequestError),
    #[error(transparent)]
    Client(#[from] ClientRefusal),
    #[error("the code is not usable: {0}")]
    CodeSeal(SealError),
    #[error(transparent)]
    Redeem(#[from] RedeemError),
    #[error("consent was remembered for another user than the one who signed in")]
    OtherUser,
    #[error("the refresh token is not usable: {0}")]
    GrantSeal(SealError),
    #[error(transparent)]
    GrantMismatch(#[from] GrantMismatch),
    #[error("the grant was revoked")]
    Revoked,
    #[error("the resource of the grant is not configured any more")]
    ResourceGone,
    #[error("the resource is not the one this grant is for")]
    Target,
    #[error("the scope exceeds what was granted")]
    Scope,
    #[error("none of the approved scopes is open to this user")]
    NothingPermitted,
    #[error("the provider of the grant is not configured any more")]
    ProviderGone,
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error(transparent)]
    Limit(#[from] OverLimit),
}

impl From<ParamError> for TokenError {
    fn from(error: ParamError) -> Self {
        Self::Request(error.into())
    }
}

/// What a grant of either kind comes down to before tokens are written.
struct Issue<'a> {
    client: &'a Client,
    resource: &'a ResourceSettings,
    /// Of the access token; a refresh may narrow it.
    scope: ScopeSet,
    family: String,
    subject: String,
    claims: Map<String, Value>,
    tokens: ProviderTokens,
    /// What is sealed into the refresh token; `None` when the provider gave none.
    grant: Option<Grant>,
}

/// Issues tokens.
pub async fn token(State(house): State<Arc<House>>, request: Request) -> Response {
    match handle(&house, request).await {
        Ok(response) => response,
        Err(error) => error.respond(&house),
    }
}

async fn handle(house: &House, request: Request) -> Result<Response, TokenError> {
    let (client, params) =
        client_auth::read_form::<TokenError>(house, request, Limited::Token).await?;
    let issue = match TokenRequest::parse(&params)? {
        TokenRequest::AuthorizationCode {
            code,
            redirect_uri,
            verifier,
            resources,
        } => {
            redeem(
                house,
                &client,
                &code,
                redirect_uri.as_deref(),
                &verifier,
                &resources,
            )
            .await?
        }
        TokenRequest::RefreshToken {
            refresh_token,
            scope,
            resources,
        } => refresh(house, &client, &refresh_token, scope, &resources).await?,
    };
    write(house, issue)
}

/// The code grant: every binding first, the provider last, because its code works once.
async fn redeem<'a>(
    house: &'a House,
    client: &'a Client,
    code: &AuthorizationCode,
    redirect_uri: Option<&str>,
    verifier: &CodeVerifier,
    resources: &[String],
) -> Result<Issue<'a>, TokenError> {
    let code: Code = house
        .sealer()
        .open(code.expose(), house.now())
        .map_err(TokenError::CodeSeal)?;
    let redeemed = code.redeem(&client.id, redirect_uri, verifier)?;
    let resource = bound_resource(house, &redeemed.resource, resources)?;
    let provider = house
        .provider(&redeemed.provider)
        .ok_or(TokenError::ProviderGone)?;
    let mut tokens = provider
        .exchange(&redeemed.provider_code, &redeemed.verifier, &redeemed.nonce)
        .await?;
    let identity = tokens
        .identity
        .take()
        .ok_or_else(|| ProviderError::Misconfigured("no identity".to_owned()))?;
    // T9: the page was skipped for one user, and another one came back.
    let user = UserDigest::of(provider.id(), &identity.subject);
    if redeemed.user.as_ref().is_some_and(|only| *only != user) {
        return Err(TokenError::OtherUser);
    }
    let claims = provider.map_claims(&identity);
    let scope = permitted(resource, &redeemed.scope, &claims, &tokens)?;
    let family = house.random().token(12);
    let grant = tokens.refresh.take().map(|provider_refresh_token| {
        Grant::new(
            family.clone(),
            &client.id,
            redeemed.resource.clone(),
            redeemed.provider.clone(),
            // What was approved and not what is permitted today: groups change.
            redeemed.scope.clone(),
            identity.subject.clone(),
            house.now(),
            claims.clone(),
            provider_refresh_token,
        )
    });
    Ok(Issue {
        client,
        resource,
        scope,
        family,
        subject: house.subject(provider, &identity.subject),
        claims,
        tokens,
        grant,
    })
}

/// The refresh grant. The provider is asked every time: it knows whether the user still exists (2025-03-26 §"Session
/// Binding Requirements").
async fn refresh<'a>(
    house: &'a House,
    client: &'a Client,
    refresh_token: &RefreshToken,
    scope: Option<ScopeSet>,
    resources: &[String],
) -> Result<Issue<'a>, TokenError> {
    let grant: Grant = house
        .sealer()
        .open(refresh_token.expose(), house.now())
        .map_err(TokenError::GrantSeal)?;
    let grant = grant.held_by(&client.id)?;
    if house.revoked().contains(&grant.family, house.now()) {
        return Err(TokenError::Revoked);
    }
    let resource = bound_resource(house, &grant.resource, resources)?;
    let scope = narrowed(&grant.scope, &resource.scopes, scope)?;
    // Before the provider is asked, because a refresh that is refused afterwards has lost what the provider rotated.
    let open = |scope| resource.permitted(scope, &groups(&grant.claims), None);
    if open(&scope).is_empty() && !open(&grant.scope).is_empty() {
        return Err(TokenError::Scope);
    }
    let provider = house
        .provider(&grant.provider)
        .ok_or(TokenError::ProviderGone)?;
    // Before the provider is asked: it has limits of its own, for all of our users together.
    let user = house.subject(provider, &grant.subject);
    house.limits().user(Limited::Token, &user)?;
    // A refusal does not end the family here: with carried state the token may be an old one of a slow sibling, whose
    // newer token is alive (law 8). The provider knows, and refuses each dead one.
    let mut tokens = provider.refresh(&grant.provider_refresh_token()).await?;
    let claims = match tokens.identity.take() {
        None => None,
        Some(identity) if identity.subject == grant.subject => {
            Some(provider.map_claims_again(&identity, &grant.claims))
        }
        Some(_) => return Err(ProviderError::SubjectChanged.into()),
    };
    let grant = grant.refreshed(tokens.refresh.take(), claims);
    let scope = permitted(resource, &scope, &grant.claims, &tokens)?;
    Ok(Issue {
        client,
        resource,
        scope,
        family: grant.family.clone(),
        subject: house.subject(provider, &grant.subject),
        claims: grant.claims.clone(),
        tokens,
        grant: Some(grant),
    })
}

/// Writes the answer: access token, truthful lifetime, refresh token, granted scope.
fn write(house: &House, issue: Issue<'_>) -> Result<Response, TokenError> {
    let now = house.now();
    let settings = house.settings();
    let mut expires_at = now.plus(settings.tokens.access_ttl.as_secs());
    let carries = matches!(issue.resource.credential, CredentialSettings::ProviderToken);
    if carries {
        // The upstream will refuse the provider's token when that ends, so ours must not outlive it.
        expires_at = expires_at.min(issue.tokens.expires_at);
    }
    let mut access = Access::new(
        house.issuer().token_id(&issue.family),
        issue.subject,
        issue.client.id.as_str().to_owned(),
        issue.resource.uri.as_str().to_owned(),
        issue.scope.clone(),
        now,
        expires_at,
        issue.claims,
    );
    if carries {
        access = access.carrying(issue.tokens.access);
    }
    let access_token = house.issuer().mint(&access, issue.resource.token_format)?;
    let refresh_until = now.plus(settings.tokens.refresh_ttl.as_secs());
    let refresh_token = issue.grant.map(|grant| {
        house
            .sealer()
            .seal(&grant, Some(refresh_until), house.random())
    });
    tracing::info!(
        token_id = access.id,
        client_name = issue.client.name.as_deref().unwrap_or("-"),
        resource = issue.resource.path,
        scope = %issue.scope,
        "tokens issued"
    );
    let body = TokenResponse {
        access_token: &access_token,
        token_type: "Bearer",
        expires_in: expires_at.since(now),
        refresh_token: refresh_token.as_deref(),
        scope: issue.scope.to_string(),
    };
    Ok(json(StatusCode::OK, &body))
}

/// The resource a grant is for; `resource` parameters may only repeat it (RFC 8707 §2.2).
fn bound_resource<'a>(
    house: &'a House,
    path: &str,
    presented: &[String],
) -> Result<&'a ResourceSettings, TokenError> {
    let resource = house.resource_at(path).ok_or(TokenError::ResourceGone)?;
    if presented.iter().all(|uri| house.means(resource, uri)) {
        Ok(resource)
    } else {
        Err(TokenError::Target)
    }
}

/// RFC 6749 §6: the same or less. `offline_access` is not a scope of a grant and is passed over; so is anything that
/// this server does not offer. What it does offer and the user did not grant is refused. A scope that the operator took
/// away from the resource is gone from older grants as well.
fn narrowed(
    granted: &ScopeSet,
    offered: &ScopeSet,
    requested: Option<ScopeSet>,
) -> Result<ScopeSet, TokenError> {
    let granted = granted.intersection(offered);
    let Some(requested) = requested.map(|scope| scope.without(OFFLINE_ACCESS)) else {
        return Ok(granted);
    };
    if !requested.intersection(offered).is_subset(&granted) {
        return Err(TokenError::Scope);
    }
    let kept = requested.intersection(&granted);
    Ok(if kept.is_empty() { granted } else { kept })
}

/// What this user may have of it now. A user who may have nothing of what was approved gets no token: a token without
/// scopes would still open the door of a resource that looks at no scope.
fn permitted(
    resource: &ResourceSettings,
    scope: &ScopeSet,
    claims: &Map<String, Value>,
    tokens: &ProviderTokens,
) -> Result<ScopeSet, TokenError> {
    let permitted = resource.permitted(scope, &groups(claims), tokens.scope.as_ref());
    if permitted.is_empty() && !scope.is_empty() {
        return Err(TokenError::NothingPermitted);
    }
    Ok(permitted)
}

impl TokenError {
    fn respond(&self, house: &House) -> Response {
        use ErrorCode::{InvalidGrant, InvalidScope, InvalidTarget, ServerError};
        let again = "sign in again";
        let outside = match self {
            Self::Body(error) => return error.respond(house),
            Self::Limit(over) => return over.respond(house),
            Self::Request(error) => Outside::new(error.code(), "token_request", error.to_string()),
            Self::Client(refusal) => refusal.outside(),
            Self::CodeSeal(SealError::Expired) => Outside::new(
                InvalidGrant,
                "code_expired",
                format!("the code has expired; {again}"),
            ),
            Self::CodeSeal(_) => Outside::new(
                InvalidGrant,
                "code_unreadable",
                format!("the code is not valid; {again}"),
            ),
            Self::Redeem(error) => {
                Outside::new(InvalidGrant, "code_binding", format!("{error}; {again}"))
            }
            Self::OtherUser => Outside::new(
                InvalidGrant,
                "consent_other_user",
                "another account signed in than the one that approved this application in this browser; sign in again and approve it",
            ),
            Self::NothingPermitted => Outside::new(
                InvalidGrant,
                "scope_not_permitted",
                "nothing of what was approved is open to your account any more; sign in again, or ask the operator for access",
            ),
            Self::GrantSeal(_)
            | Self::GrantMismatch(_)
            | Self::Revoked
            | Self::ResourceGone
            | Self::ProviderGone => Outside::new(
                InvalidGrant,
                "grant_dead",
                format!("the refresh token is not valid any more; {again}"),
            ),
            Self::Target => Outside::new(InvalidTarget, "token_target", self.to_string()),
            Self::Scope => Outside::new(InvalidScope, "token_scope", self.to_string()),
            Self::Provider(error) => {
                let (code, description) = error.outside();
                Outside {
                    retry_after: error.retry_after(),
                    ..Outside::new(code, error.slug(), description)
                }
            }
            Self::Mint(_) => Outside::new(
                ServerError,
                "token_mint",
                "the token could not be written; tell the operator",
            ),
        };
        refuse(house, &outside, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_may_narrow_and_never_widen() {
        let (granted, offered) = (ScopeSet::parse("a b"), ScopeSet::parse("a b c"));
        let narrowed = |text: &str| {
            let narrowed = narrowed(&granted, &offered, Some(ScopeSet::parse(text)));
            narrowed.map(|scope| scope.to_string())
        };
        assert_eq!(narrowed("").unwrap(), "a b");
        assert_eq!(narrowed("offline_access").unwrap(), "a b");
        assert_eq!(narrowed("b offline_access").unwrap(), "b");
        assert_eq!(narrowed("a unknown").unwrap(), "a");
        assert_eq!(narrowed("unknown").unwrap(), "a b");
        assert!(narrowed("c").is_err());
        assert!(narrowed("a c").is_err());
        let taken_away = super::narrowed(&granted, &ScopeSet::parse("b c"), None);
        assert_eq!(taken_away.unwrap().to_string(), "b");
    }
}
