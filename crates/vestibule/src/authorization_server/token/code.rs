//! The code grant (RFC 6749 §4.1.3): every binding first, the provider last, because its code works once.

use std::sync::Arc;

use vestibule_oauth::client::Client;
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::secret::{AuthorizationCode, RefreshToken};

use super::issue::{Issue, Issued, bound_resource, permitted, refresh_until};
use super::persist::persist_new;
use super::{Outcome, TokenError};
use crate::House;
use crate::audit::{Event, Happened, Source};
use crate::grants::{
    Answer, Code, Grant, KeptAccess, Redeemed, RevokedWhy, StoredGrant, Ticket, UserDigest,
    fingerprint,
};
use crate::metrics::labels::GrantType;
use crate::provider::{Provider, ProviderError, Refreshed};

/// A redemption as the client asks for it.
pub(super) struct AskedCode {
    pub(super) code: AuthorizationCode,
    pub(super) redirect_uri: Option<String>,
    pub(super) verifier: CodeVerifier,
    pub(super) resources: Vec<String>,
    pub(super) source: Source,
}

/// Redeems a code.
pub(super) async fn redeem(house: &Arc<House>, client: Client, asked: AskedCode) -> Outcome {
    let work = {
        let house = Arc::clone(house);
        async move { run(&house, &client, &asked).await }
    };
    house.refreshes().detached(Box::pin(work)).await
}

async fn run(house: &Arc<House>, client: &Client, asked: &AskedCode) -> Result<Answer, TokenError> {
    let code: Code = house
        .sealer()
        .open(asked.code.expose(), house.now())
        .map_err(TokenError::CodeSeal)?;
    let redeemed = code.redeem(&client.id, asked.redirect_uri.as_deref(), &asked.verifier)?;
    let resource = bound_resource(house, &redeemed.resource, &asked.resources)?;
    let provider = house
        .provider(&redeemed.provider)
        .ok_or(TokenError::ProviderGone)?;
    let mark = fingerprint(asked.code.expose());
    refuse_replay(house, &mark, &asked.source).await?;
    let mut tokens = exchange(house, provider, &redeemed, &mark).await?;
    let identity = tokens
        .identity
        .take()
        .ok_or_else(|| ProviderError::Misconfigured("no identity".to_owned()))?;
    let claims = provider.map_claims(&identity);
    let family = house.random().token(12);
    let now = house.now();
    let grant = tokens.refresh.take().map(|provider_refresh_token| {
        Grant::new(
            family.clone(),
            &client.id,
            redeemed.resource.clone(),
            redeemed.provider.clone(),
            // What was approved and not what is permitted today: groups change.
            redeemed.scope.clone(),
            identity.subject.clone(),
            now,
            claims.clone(),
            provider_refresh_token,
        )
    });
    let user = house.subject(provider, &identity.subject);
    let judged = judge(house, &redeemed, provider, &identity.subject, &user)
        .and_then(|()| permitted(resource, &redeemed.scope, &claims, tokens.scope.as_ref()));
    let scope = match judged {
        Ok(scope) => scope,
        Err(error) => {
            // Nobody will ever use what the provider has just given.
            if let Some(grant) = grant {
                house.give_back_unused(grant);
            }
            house.refreshes().unsaved.remove(&mark);
            return Err(error);
        }
    };
    let until = refresh_until(house, now);
    let refresh = grant.as_ref().map(|grant| {
        RefreshToken::new(if house.store().is_some() {
            let ticket = Ticket::new(family.clone(), 0, house.random());
            house.sealer().seal(&ticket, Some(until), house.random())
        } else {
            house.sealer().seal(grant, Some(until), house.random())
        })
    });
    let kept = KeptAccess::new(&tokens.access, tokens.expires_at, now, tokens.scope.clone());
    let event = Event::new(Happened::TokenIssued)
        .client(client)
        .from(&asked.source);
    let told = (user.clone(), scope.clone());
    let issue = Issue {
        client,
        resource,
        scope,
        family: &family,
        subject: user.clone(),
        claims,
        access: tokens.access,
        access_ends: tokens.expires_at,
        refresh: refresh.clone(),
    };
    let Issued { answer, token_id } = issue.write(house)?;
    if let (Some(shelf), Some(grant), Some(token)) = (house.shelf(), grant, &refresh) {
        let record = StoredGrant::new(grant, client, user, token, Some(kept), now, until)
            .answered_at(redeemed.redirect_host.clone());
        persist_new(house, &shelf, &record, token).await?;
    }
    remember(house, &mark, &family).await;
    house.refreshes().unsaved.remove(&mark);
    tracing::info!(
        event = "grant.issued",
        family,
        token_id,
        client_name = client.logged_name(),
        resource = resource.path,
        scope = answer.scope(),
        "grant issued"
    );
    house.metrics().tokens_issued.inc((GrantType::Code,));
    let event = event.user(&told.0).scope(&told.1).grant(&family);
    house.tell_audit(&event.at(&resource.path));
    Ok(answer)
}

/// Who signed in, as it is known only now.
fn judge(
    house: &House,
    redeemed: &Redeemed,
    provider: &Provider,
    subject: &str,
    user: &str,
) -> Result<(), TokenError> {
    // T9: the page was skipped for one user, and another one came back.
    let digest = UserDigest::of(provider.id(), subject);
    if redeemed.user.as_ref().is_some_and(|only| *only != digest) {
        return Err(TokenError::OtherUser);
    }
    if house.quarantine().has_user(user, house.now()) {
        return Err(TokenError::UserQuarantined);
    }
    Ok(())
}

/// The provider's tokens for its code; what it gave at an earlier try that could not be stored, if there was one.
async fn exchange(
    house: &House,
    provider: &Provider,
    redeemed: &Redeemed,
    mark: &str,
) -> Result<crate::provider::ProviderTokens, TokenError> {
    let unsaved = &house.refreshes().unsaved;
    if let Some(before) = unsaved.get(mark) {
        return Ok(before.tokens);
    }
    let tokens = provider
        .exchange(&redeemed.provider_code, &redeemed.verifier, &redeemed.nonce)
        .await?;
    if house.store().is_some() {
        let refreshed = Refreshed {
            tokens: tokens.clone(),
            doubt: None,
        };
        unsaved.put(mark, refreshed, house.now());
    }
    Ok(tokens)
}

/// RFC 6749 §4.1.2: a code that comes a second time, with the right client and verifier, ends what it gave. Without a
/// store the provider refuses it, and nothing is known of the first time.
async fn refuse_replay(house: &Arc<House>, mark: &str, source: &Source) -> Result<(), TokenError> {
    let Some(shelf) = house.shelf() else {
        return Ok(());
    };
    let Some(family) = shelf.used_code(mark, house.now()).await? else {
        return Ok(());
    };
    let why = RevokedWhy::CodeReplay;
    let revoked = house.revoke_family(&family, why, source).await?;
    if let Some(grant) = revoked {
        house.tell_provider(&grant.grant);
    }
    Err(TokenError::CodeReplayed)
}

/// Without this mark a replay is still refused, by the provider; it only does not end the family.
async fn remember(house: &House, mark: &str, family: &str) {
    let Some(shelf) = house.shelf() else {
        return;
    };
    let until = house.now().plus(Code::LIFETIME);
    if let Err(error) = shelf.mark_code(mark, family, until).await {
        tracing::warn!(reason = "store_unavailable", cause = %error, "a replay of this code will go unnoticed");
    }
}
