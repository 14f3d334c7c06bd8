//! The refresh grant with a store (design §5): one provider call for all replicas, one answer for all who ask.
//!
//! The record of a grant changes by compare-and-swap only. Whoever holds the current refresh token takes a lease, asks the
//! provider, and writes what it gave together with the rotation. Everybody else waits and then reads the same answer,
//! which only the token that they present can open.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use vestibule_oauth::client::Client;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::{AccessToken, RefreshToken};
use vestibule_oauth::time::UnixTime;

use super::issue::{
    Issue, Issued, bound_resource, narrowed, permits_any, permitted, refresh_until, within_lifetime,
};
use super::moving::presented;
use super::persist::{Change, Kept, linger, persist};
use super::{Asked, Outcome, TokenError};
use crate::House;
use crate::audit::{Event, Happened};
use crate::grants::{
    Answer, Grant, GrantMismatch, KeptAccess, Lease, RevokedWhy, Shelf, Shelved, Standing,
    StoredGrant, Ticket,
};
use crate::limits::Limited;
use crate::metrics::labels::{GrantType, RefreshOutcome};
use crate::provider::{ProviderError, Refreshed};
use crate::settings::ResourceSettings;
use crate::store::{Expect, Put};

/// How much longer than the provider's time-out a lease holds.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// Seconds after the end of a lease in which its holder may still come back with what the provider gave it. Until then
/// nobody believes an `invalid_grant`: it may only mean that the holder was given a new token.
const HOLDER_MAY_RETURN: u64 = 30;

/// Refreshes.
pub(super) async fn refresh(house: &Arc<House>, client: Client, asked: Asked) -> Outcome {
    // Whatever scope is asked for: one token has one flight.
    let refreshes = house.refreshes();
    let key = refreshes.flight_key(&client.id, &asked.token, None);
    let work = {
        let house = Arc::clone(house);
        async move { run(&house, &client, &asked).await }
    };
    refreshes.shared(key, Box::pin(work)).await
}

async fn run(house: &Arc<House>, client: &Client, asked: &Asked) -> Result<Answer, TokenError> {
    let shelf = house.shelf().ok_or(TokenError::GrantGone)?;
    let (family, generation) = presented(house, &shelf, client, &asked.token).await?;
    let refresh = Refresh {
        house,
        shelf,
        client,
        asked,
        family,
        generation,
    };
    refresh.run().await
}

/// One refresh under way.
struct Refresh<'a> {
    house: &'a Arc<House>,
    shelf: Shelf<'a>,
    client: &'a Client,
    asked: &'a Asked,
    family: String,
    /// As the ticket says it.
    generation: Option<u64>,
}

/// What is done next.
enum Next {
    Answer(Answer),
    /// Somebody else has written: look again.
    Again,
}

/// What this request may have of the grant.
struct Permit<'a> {
    resource: &'a ResourceSettings,
    scope: ScopeSet,
}

impl Refresh<'_> {
    async fn run(&self) -> Result<Answer, TokenError> {
        let mut waiting = Waiting::new(self.house);
        let mut counted = false;
        loop {
            let now = self.house.now();
            let shelved = self.shelf.load(&self.family, now).await?;
            let Shelved { mut grant, version } = shelved.ok_or(TokenError::GrantGone)?;
            let permit = self.check(&grant)?;
            match grant.standing(&self.asked.token, self.generation, now) {
                Standing::Replaced(rotation) => {
                    let answer = rotation.answer(&self.asked.token);
                    tracing::info!(
                        event = "grant.replayed",
                        family = self.family,
                        "the same answer again"
                    );
                    let refreshes = &self.house.metrics().refreshes;
                    refreshes.inc((RefreshOutcome::Replayed,));
                    return answer.ok_or_else(|| unreadable().into());
                }
                Standing::Reused => return Err(self.reused(&grant).await),
                Standing::Current => {}
            }
            if !counted {
                // Before the provider is asked: it has limits of its own, for all of our users together.
                self.house.limits().user(Limited::Token, &grant.user)?;
                counted = true;
            }
            grant.catch_up(&self.asked.token, self.generation);
            let recheck = self.house.settings().tokens.provider_recheck.as_secs();
            if let Some(access) = grant.fresh_access(recheck, now).cloned() {
                let shelved = Shelved { grant, version };
                match self.rotate_on(shelved, &permit, &access).await? {
                    Next::Answer(answer) => return Ok(answer),
                    Next::Again => continue,
                }
            }
            match grant.lease() {
                Some(lease) if lease.until > now && lease.holder != self.replica() => {
                    waiting.pause().await?;
                    continue;
                }
                // Whoever we waited for has failed; the provider need not be asked by each of us in turn.
                None if waiting.has_waited() => return Err(TokenError::Busy),
                _ => {}
            }
            let Some(shelved) = self.lease(Shelved { grant, version }).await? else {
                continue;
            };
            match self.ask(shelved, &permit).await? {
                Next::Answer(answer) => return Ok(answer),
                Next::Again => {}
            }
        }
    }

    fn replica(&self) -> &str {
        &self.house.refreshes().replica
    }

    /// Everything that can be refused without changing anything.
    fn check(&self, record: &StoredGrant) -> Result<Permit<'_>, TokenError> {
        let grant = &record.grant;
        if !grant.is_held_by(&self.client.id) {
            return Err(GrantMismatch.into());
        }
        let here = self.house.revoked();
        if record.revoked.is_some() || here.contains(&self.family, self.house.now()) {
            return Err(TokenError::Revoked);
        }
        let quarantine = self.house.quarantine();
        if quarantine.has_user(&record.user, self.house.now()) {
            return Err(TokenError::UserQuarantined);
        }
        within_lifetime(self.house, grant.signed_in_at)?;
        let resource = bound_resource(self.house, &grant.resource, &self.asked.resources)?;
        let scope = narrowed(&grant.scope, &resource.scopes, self.asked.scope.clone())?;
        permits_any(resource, &scope, &grant.scope, &grant.claims)?;
        Ok(Permit { resource, scope })
    }

    /// A token that was replaced, whose successor was used, and the window is closed: two hold the family.
    async fn reused(&self, record: &StoredGrant) -> TokenError {
        tracing::warn!(
            event = "grant.reuse",
            reason = RevokedWhy::Reuse.slug(),
            family = self.family,
            client_name = record.client_name.as_deref().unwrap_or("-"),
            "a refresh token was used that had been replaced"
        );
        self.house.metrics().refresh_reuse.inc(());
        let (why, source) = (RevokedWhy::Reuse, &self.asked.source);
        self.house.tell_audit(&self.event(
            Happened::TokenReuse,
            &record.user,
            &record.grant.resource,
        ));
        match (self.house.revoke_family(&self.family, why, source)).await {
            Ok(_) => {
                self.house.tell_provider(&record.grant);
                TokenError::Reused
            }
            // Not revoked: the next time will.
            Err(error) => error.into(),
        }
    }

    /// Rotates without asking the provider, which has been heard a short time ago.
    async fn rotate_on(
        &self,
        shelved: Shelved,
        permit: &Permit<'_>,
        access: &KeptAccess,
    ) -> Result<Next, TokenError> {
        let Shelved { mut grant, version } = shelved;
        let generation = grant.generation();
        let claims = grant.grant.claims.clone();
        let given = Given {
            access: access.token(),
            access_ends: access.expires_at,
            scope: access.scope.as_ref(),
        };
        let (issued, next) = self.write(&grant, permit, claims, given)?;
        self.rotate(&mut grant, &next, &issued.answer);
        match self.shelf.put(&grant, Expect::Version(version)).await {
            Ok(Put::Stored(_)) => {
                Ok(self.refreshed(&grant.user, permit, generation, false, issued))
            }
            Ok(Put::Conflict) => Ok(Next::Again),
            // It may be in the store: then the same token will be given the same answer.
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the lease; `None` when somebody else was quicker.
    async fn lease(&self, shelved: Shelved) -> Result<Option<Shelved>, TokenError> {
        let Shelved { mut grant, version } = shelved;
        let seconds = (self.house.settings().provider.timeout + LEASE_MARGIN).as_secs();
        grant.open_lease(Lease {
            holder: self.replica().to_owned(),
            until: self.house.now().plus(seconds),
        });
        Ok(
            match self.shelf.put(&grant, Expect::Version(version)).await? {
                Put::Stored(version) => Some(Shelved { grant, version }),
                Put::Conflict => None,
            },
        )
    }

    /// Asks the provider, under the lease.
    async fn ask(&self, shelved: Shelved, permit: &Permit<'_>) -> Result<Next, TokenError> {
        let grant = &shelved.grant.grant;
        let unsaved = &self.house.refreshes().unsaved;
        let key = format!("{}/{}", self.family, shelved.grant.generation());
        let given = if let Some(before) = unsaved.get(&key) {
            Ok(before)
        } else {
            match self.house.provider(&grant.provider) {
                Some(provider) => provider
                    .refresh(&grant.provider_refresh_token())
                    .await
                    .map_err(TokenError::from),
                None => Err(TokenError::ProviderGone),
            }
        };
        match given {
            Ok(refreshed) => {
                unsaved.put(&key, refreshed.clone(), self.house.now());
                self.settle(shelved, permit, refreshed, key).await
            }
            Err(TokenError::Provider(ProviderError::InvalidGrant(cause))) => {
                self.refused(shelved.grant.generation(), cause).await
            }
            Err(error) => {
                self.release(shelved).await;
                Err(error)
            }
        }
    }

    /// Keeps what the provider gave, whatever comes of it (design §5.1), and rotates if nothing is wrong with it.
    async fn settle(
        &self,
        shelved: Shelved,
        permit: &Permit<'_>,
        refreshed: Refreshed,
        key: String,
    ) -> Result<Next, TokenError> {
        let now = self.house.now();
        let generation = shelved.grant.generation();
        let user = shelved.grant.user.clone();
        let Refreshed { tokens, doubt } = refreshed;
        let given = shelved
            .grant
            .grant
            .clone()
            .refreshed(tokens.refresh.clone(), None);
        let claims = match doubt {
            Some(doubt) => Err(doubt),
            None => self.claims(&shelved.grant.grant, tokens.identity.as_ref()),
        };
        // Nothing of an answer that cannot be believed is ever given to a client.
        let kept = claims
            .is_ok()
            .then(|| KeptAccess::new(&tokens.access, tokens.expires_at, now, tokens.scope.clone()));
        let judged = claims.map_err(TokenError::from).and_then(|new| {
            let claims = new
                .clone()
                .unwrap_or_else(|| shelved.grant.grant.claims.clone());
            let given = Given {
                access: tokens.access.clone(),
                access_ends: tokens.expires_at,
                scope: tokens.scope.as_ref(),
            };
            let (issued, next) = self.write(&shelved.grant, permit, claims, given)?;
            Ok((issued, next, new))
        });
        let change = |record: &mut StoredGrant| {
            if record.revoked.is_some() {
                return Change::Leave(Kept::Gone);
            }
            if judged
                .as_ref()
                .is_ok_and(|(_, next, _)| record.is_current(next))
            {
                return Change::Leave(Kept::Done);
            }
            let new = judged.as_ref().ok().and_then(|(_, _, new)| new.clone());
            if record.generation() != generation {
                // Our lease was over and somebody else has rotated. What was given last is what lives at the provider.
                if record.obtained_at() >= now {
                    return Change::Leave(Kept::Overtaken);
                }
                record.keep(tokens.refresh.clone(), new, kept.clone());
                return Change::Write(Kept::Overtaken);
            }
            record.keep(tokens.refresh.clone(), new, kept.clone());
            match &judged {
                Ok((issued, next, _)) => self.rotate(record, next, &issued.answer),
                Err(_) => record.release_lease(),
            }
            Change::Write(Kept::Done)
        };
        let within = self.house.persist_within();
        let family = &self.family;
        let done = persist(
            self.house,
            &self.shelf,
            family,
            Some(shelved),
            within,
            change,
        )
        .await;
        let unsaved = &self.house.refreshes().unsaved;
        match done {
            Ok(Kept::Done) => {
                unsaved.remove(&key);
                let (issued, ..) = judged?;
                Ok(self.refreshed(&user, permit, generation, true, issued))
            }
            Ok(Kept::Overtaken) => {
                unsaved.remove(&key);
                Ok(Next::Again)
            }
            Ok(Kept::Gone) => {
                unsaved.remove(&key);
                // Revoked in the meantime, with the token that the provider has replaced.
                self.house.tell_provider(&given);
                Err(TokenError::Revoked)
            }
            Err(error) => {
                let house = self.house;
                linger(house, family.clone(), generation, tokens, kept, now, key);
                Err(error.into())
            }
        }
    }

    /// The claims of a new ID token, if there is one; it must be the same user's (OpenID Connect Core §12.2).
    fn claims(
        &self,
        grant: &Grant,
        identity: Option<&crate::provider::Identity>,
    ) -> Result<Option<Map<String, Value>>, ProviderError> {
        let Some(identity) = identity else {
            return Ok(None);
        };
        if identity.subject != grant.subject {
            return Err(ProviderError::SubjectChanged);
        }
        let provider = self.house.provider(&grant.provider);
        Ok(provider.map(|provider| provider.map_claims_again(identity, &grant.claims)))
    }

    /// The provider says that its refresh token is dead. It is believed, except when that may be because another replica
    /// was given a new one and has not been able to say so.
    async fn refused(&self, generation: u64, cause: String) -> Result<Next, TokenError> {
        let now = self.house.now();
        let shelved = self.shelf.load(&self.family, now).await?;
        let shelved = shelved.ok_or(TokenError::GrantGone)?;
        let record = &shelved.grant;
        let ours = record
            .lease()
            .is_some_and(|lease| lease.holder == self.replica());
        if record.generation() != generation || !ours {
            return Ok(Next::Again);
        }
        let missing = record.orphaned_at();
        if missing.is_some_and(|at| now < at.plus(HOLDER_MAY_RETURN)) {
            self.release(shelved).await;
            let retry_after = ProviderError::DEFAULT_RETRY_AFTER;
            return Err(ProviderError::Unavailable { cause, retry_after }.into());
        }
        let (why, source) = (RevokedWhy::Provider, &self.asked.source);
        let revoked = self.house.revoke_family(&self.family, why, source).await;
        if let Err(error) = revoked {
            tracing::warn!(reason = "store_unavailable", family = self.family, cause = %error, "a grant that the provider ended is still in the store");
        }
        Err(ProviderError::InvalidGrant(cause).into())
    }

    /// Gives the lease back. If that fails it ends by itself.
    async fn release(&self, shelved: Shelved) {
        let Shelved { mut grant, version } = shelved;
        grant.release_lease();
        if let Err(error) = self.shelf.put(&grant, Expect::Version(version)).await {
            tracing::debug!(family = self.family, cause = %error, "the lease was not given back");
        }
    }

    fn rotate(&self, record: &mut StoredGrant, next: &RefreshToken, answer: &Answer) {
        let ends_at = refresh_until(self.house, record.grant.signed_in_at);
        let (now, random) = (self.house.now(), self.house.random());
        record.rotate(&self.asked.token, next, answer, now, ends_at, random);
    }

    /// The tokens, and the refresh token among them.
    fn write(
        &self,
        record: &StoredGrant,
        permit: &Permit<'_>,
        claims: Map<String, Value>,
        given: Given<'_>,
    ) -> Result<(Issued, RefreshToken), TokenError> {
        let scope = permitted(permit.resource, &permit.scope, &claims, given.scope)?;
        let random = self.house.random();
        let ticket = Ticket::new(self.family.clone(), record.generation() + 1, random);
        let until = refresh_until(self.house, record.grant.signed_in_at);
        let next = self.house.sealer().seal(&ticket, Some(until), random);
        let next = RefreshToken::new(next);
        let issue = Issue {
            client: self.client,
            resource: permit.resource,
            scope,
            family: &self.family,
            subject: record.user.clone(),
            claims,
            access: given.access,
            access_ends: given.access_ends,
            refresh: Some(next.clone()),
        };
        Ok((issue.write(self.house)?, next))
    }

    fn event<'b>(&'b self, happened: Happened, user: &'b str, resource: &'b str) -> Event<'b> {
        Event::new(happened)
            .user(user)
            .client(self.client)
            .from(&self.asked.source)
            .at(resource)
            .grant(&self.family)
    }

    /// Tells of it, and gives the answer.
    fn refreshed(
        &self,
        user: &str,
        permit: &Permit<'_>,
        generation: u64,
        asked_provider: bool,
        issued: Issued,
    ) -> Next {
        let Issued { answer, token_id } = issued;
        let metrics = self.house.metrics();
        let outcome = if asked_provider {
            RefreshOutcome::Asked
        } else {
            RefreshOutcome::Kept
        };
        metrics.refreshes.inc((outcome,));
        metrics.tokens_issued.inc((GrantType::Refresh,));
        self.house
            .tell_audit(&self.event(Happened::TokenRefreshed, user, &permit.resource.path));
        let family = &self.family;
        tracing::info!(
            event = "grant.refreshed",
            family,
            generation,
            asked_provider,
            token_id,
            client_name = self.client.logged_name(),
            resource = permit.resource.path,
            scope = answer.scope(),
            "grant refreshed"
        );
        Next::Answer(answer)
    }
}

/// What new tokens of ours stand on.
struct Given<'a> {
    access: AccessToken,
    access_ends: UnixTime,
    scope: Option<&'a ScopeSet>,
}

/// How long a request waits for another replica: as long as the provider may take.
struct Waiting {
    until: Instant,
    pause: Duration,
    waited: bool,
}

impl Waiting {
    fn new(house: &House) -> Self {
        Self {
            until: Instant::now() + house.settings().provider.timeout,
            pause: Duration::from_millis(20),
            waited: false,
        }
    }

    fn has_waited(&self) -> bool {
        self.waited
    }

    async fn pause(&mut self) -> Result<(), TokenError> {
        if Instant::now() >= self.until {
            return Err(TokenError::Busy);
        }
        self.waited = true;
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Duration::from_millis(250));
        Ok(())
    }
}

fn unreadable() -> crate::store::StoreError {
    crate::store::StoreError::Corrupt("a kept answer does not open".to_owned())
}
