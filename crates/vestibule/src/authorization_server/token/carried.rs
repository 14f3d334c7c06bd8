//! The refresh grant without a store: the refresh token is the grant (design §3 "carried state").
//!
//! One provider call for all who present the same token to this replica at once or within a minute. Replicas do not know
//! of each other: between them the provider decides, and its grace for rotated tokens is what siblings live on.

use std::sync::Arc;

use vestibule_oauth::client::Client;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::RefreshToken;

use super::flights::FlightKey;
use super::issue::{
    Issue, Issued, bound_resource, narrowed, permits_any, permitted, refresh_until, within_lifetime,
};
use super::{Asked, Outcome, TokenError};
use crate::House;
use crate::audit::{Event, Happened};
use crate::grants::{Answer, Grant};
use crate::limits::Limited;
use crate::metrics::labels::{GrantType, RefreshOutcome};
use crate::provider::{ProviderError, Refreshed};

/// Refreshes. Everything that can be refused without the provider is refused before the flight is joined, for each
/// request by itself.
pub(super) async fn refresh(house: &Arc<House>, client: Client, asked: Asked) -> Outcome {
    let (grant, scope) = check(house, &client, &asked)?;
    let refreshes = house.refreshes();
    let key = refreshes.flight_key(&client.id, &asked.token, Some(&scope));
    let work = {
        let house = Arc::clone(house);
        async move { ask(&house, &client, &asked, grant, &scope, key).await }
    };
    refreshes.shared(key, Box::pin(work)).await
}

fn check(house: &House, client: &Client, asked: &Asked) -> Result<(Grant, ScopeSet), TokenError> {
    let grant: Grant = house
        .sealer()
        .open(asked.token.expose(), house.now())
        .map_err(TokenError::GrantSeal)?;
    let grant = grant.held_by(&client.id)?;
    if house.revoked().contains(&grant.family, house.now()) {
        return Err(TokenError::Revoked);
    }
    within_lifetime(house, grant.signed_in_at)?;
    let resource = bound_resource(house, &grant.resource, &asked.resources)?;
    let scope = narrowed(&grant.scope, &resource.scopes, asked.scope.clone())?;
    permits_any(resource, &scope, &grant.scope, &grant.claims)?;
    let provider = house
        .provider(&grant.provider)
        .ok_or(TokenError::ProviderGone)?;
    // Before the provider is asked: it has limits of its own, for all of our users together.
    let user = house.subject(provider, &grant.subject);
    house.limits().user(Limited::Token, &user)?;
    Ok((grant, scope))
}

/// The provider is asked every time but for repetitions: it knows whether the user still exists (2025-03-26 §"Session
/// Binding Requirements").
async fn ask(
    house: &House,
    client: &Client,
    asked: &Asked,
    grant: Grant,
    scope: &ScopeSet,
    key: FlightKey,
) -> Result<Answer, TokenError> {
    let token = &asked.token;
    let recent = &house.refreshes().recent;
    if let Some(answer) = recent.get(&key, token, house.now()) {
        tracing::info!(
            event = "grant.replayed",
            family = grant.family,
            "the same answer again"
        );
        house.metrics().refreshes.inc((RefreshOutcome::Replayed,));
        return Ok(answer);
    }
    let provider = house
        .provider(&grant.provider)
        .ok_or(TokenError::ProviderGone)?;
    let resource = bound_resource(house, &grant.resource, &[])?;
    // A refusal does not end the family here: with carried state the token may be an old one of a slow sibling, whose
    // newer token is alive (law 8). The provider knows, and refuses each dead one.
    let Refreshed { mut tokens, doubt } = provider.refresh(&grant.provider_refresh_token()).await?;
    if let Some(doubt) = doubt {
        return Err(doubt.into());
    }
    let claims = match tokens.identity.take() {
        None => None,
        Some(identity) if identity.subject == grant.subject => {
            Some(provider.map_claims_again(&identity, &grant.claims))
        }
        Some(_) => return Err(ProviderError::SubjectChanged.into()),
    };
    let mut grant = grant.refreshed(tokens.refresh.take(), claims);
    let scope = permitted(resource, scope, &grant.claims, tokens.scope.as_ref())?;
    let until = refresh_until(house, grant.signed_in_at);
    let refresh = house.sealer().seal(&grant, Some(until), house.random());
    let user = house.subject(provider, &grant.subject);
    let issue = Issue {
        client,
        resource,
        scope,
        family: &grant.family,
        subject: user.clone(),
        // The grant is sealed: nobody else needs them.
        claims: std::mem::take(&mut grant.claims),
        access: tokens.access,
        access_ends: tokens.expires_at,
        refresh: Some(RefreshToken::new(refresh)),
    };
    let Issued { answer, token_id } = issue.write(house)?;
    recent.put(key, token, &answer, house.now(), house.random());
    tracing::info!(
        event = "grant.refreshed",
        family = grant.family,
        token_id,
        client_name = client.logged_name(),
        resource = resource.path,
        scope = answer.scope(),
        "grant refreshed"
    );
    let metrics = house.metrics();
    metrics.refreshes.inc((RefreshOutcome::Asked,));
    metrics.tokens_issued.inc((GrantType::Refresh,));
    let event = Event::new(Happened::TokenRefreshed)
        .user(&user)
        .client(client)
        .from(&asked.source)
        .at(&resource.path)
        .grant(&grant.family);
    house.tell_audit(&event);
    Ok(answer)
}
