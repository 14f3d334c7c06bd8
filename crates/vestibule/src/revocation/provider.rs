//! The provider's part of a revocation: its refresh token is revoked there too (RFC 7009 §2), unless that would end what
//! the user has not ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use vestibule_oauth::secret::RefreshToken;

use crate::House;
use crate::authorization_server::connections::has_others;
use crate::grants::Grant;
use crate::provider::profile::Revocation;
use crate::provider::{Provider, ProviderError};

/// Pauses between the tries to tell a provider that is away.
const TELL_AGAIN: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(60),
];

impl House {
    /// Tells the provider in the background that a grant has ended.
    pub(crate) fn tell_provider(self: &Arc<Self>, grant: &Grant) {
        self.tell_providers(vec![grant.clone()]);
    }

    /// The same for many, one after the other: a provider has limits of its own.
    pub(crate) fn tell_providers(self: &Arc<Self>, grants: Vec<Grant>) {
        let house = Arc::clone(self);
        self.refreshes().tasks.spawn(async move {
            for grant in grants {
                house.tell(&grant).await;
            }
        });
    }

    /// Revokes the provider's refresh token of a grant that has ended. Good as well when it was dead already, when its
    /// provider is not configured any more, and when it is left alone, because at this provider every token of the user
    /// would end with it, and the user has other grants here. Without a store nothing is known of others.
    pub(crate) async fn revoke_at_provider(&self, grant: &Grant) -> Result<(), ProviderError> {
        let Some(provider) = self.provider(&grant.provider) else {
            return Ok(());
        };
        if provider.profile().revocation == Revocation::Everything
            && self.shares_its_end(grant).await
        {
            return Ok(());
        }
        match provider.revoke(&grant.provider_refresh_token()).await {
            Err(ProviderError::InvalidGrant(_)) => Ok(()),
            told => told,
        }
    }

    /// Gives a refresh token back that nobody wants, in the background: once, because it is in nobody's hands.
    pub(crate) fn give_back(self: &Arc<Self>, provider: &Provider, token: RefreshToken) {
        let (house, id) = (Arc::clone(self), provider.id().to_owned());
        self.refreshes().tasks.spawn(async move {
            let Some(provider) = house.provider(&id) else {
                return;
            };
            if let Err(error) = provider.revoke(&token).await {
                tracing::warn!(reason = error.slug(), cause = %error, "a refresh token that nobody has was not revoked");
            }
        });
    }

    /// The same for the token of a sign-in that was refused afterwards: not where that might end other grants of the user.
    pub(crate) fn give_back_unused(self: &Arc<Self>, grant: Grant) {
        let Some(provider) = self.provider(&grant.provider) else {
            return;
        };
        if provider.profile().revocation == Revocation::Alone {
            self.give_back(provider, grant.provider_refresh_token());
            return;
        }
        // Others may be carried.
        if self.store().is_none() {
            return;
        }
        let house = Arc::clone(self);
        self.refreshes().tasks.spawn(async move {
            if let Some(provider) = house.provider(&grant.provider)
                && !house.shares_its_end(&grant).await
            {
                house.give_back(provider, grant.provider_refresh_token());
            }
        });
    }

    async fn shares_its_end(&self, grant: &Grant) -> bool {
        let family = &grant.family;
        let shared = has_others(self, grant).await.unwrap_or_else(|error| {
            tracing::warn!(reason = "store_unavailable", family, cause = %error, "it is not known whether the user has other grants");
            true
        });
        if shared {
            tracing::info!(
                family,
                "the provider is not told, because the user's other grants might end there with it"
            );
        }
        shared
    }

    async fn tell(&self, grant: &Grant) {
        let family = &grant.family;
        for pause in TELL_AGAIN {
            sleep(pause).await;
            match self.revoke_at_provider(grant).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(reason = error.slug(), family, cause = %error, "the provider was not told that a grant has ended");
                }
            }
        }
    }
}
