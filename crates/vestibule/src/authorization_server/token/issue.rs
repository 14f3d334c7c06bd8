//! The last steps of either grant: what may be given, and the tokens that say so (RFC 6749 §5.1).

use serde_json::{Map, Value};

use vestibule_oauth::client::Client;
use vestibule_oauth::scope::{OFFLINE_ACCESS, ScopeSet};
use vestibule_oauth::secret::{AccessToken, RefreshToken};
use vestibule_oauth::time::UnixTime;

use super::TokenError;
use crate::House;
use crate::grants::{Access, Answer};
use crate::provider::groups;
use crate::settings::{CredentialSettings, ResourceSettings};

/// What a grant of either kind comes down to before tokens are written.
pub(super) struct Issue<'a> {
    pub(super) client: &'a Client,
    pub(super) resource: &'a ResourceSettings,
    /// Of the access token; a refresh may narrow it.
    pub(super) scope: ScopeSet,
    pub(super) family: &'a str,
    pub(super) subject: String,
    pub(super) claims: Map<String, Value>,
    /// The provider's access token, …
    pub(super) access: AccessToken,
    /// … and when it ends.
    pub(super) access_ends: UnixTime,
    /// Ours; `None` when the provider gave none.
    pub(super) refresh: Option<RefreshToken>,
}

/// Tokens that are written. They are issued when nothing can keep them from the client any more: then the log says so, in
/// one line with the grant.
pub(super) struct Issued {
    pub(super) answer: Answer,
    /// Of the access token.
    pub(super) token_id: String,
}

/// Until when a refresh token may be used that is given now: the time without use, and never past the end of the
/// sign-in.
pub(super) fn refresh_until(house: &House, signed_in_at: UnixTime) -> UnixTime {
    let tokens = &house.settings().tokens;
    let idle = house.now().plus(tokens.refresh_ttl.as_secs());
    idle.min(signed_in_at.plus(tokens.refresh_absolute_ttl.as_secs()))
}

/// Refuses a sign-in that has lasted as long as one may, whatever its refresh token says: the setting may have changed.
pub(super) fn within_lifetime(house: &House, signed_in_at: UnixTime) -> Result<(), TokenError> {
    let longest = house.settings().tokens.refresh_absolute_ttl.as_secs();
    if house.now() < signed_in_at.plus(longest) {
        Ok(())
    } else {
        Err(TokenError::TooOld)
    }
}

impl Issue<'_> {
    /// Writes the answer: access token, truthful lifetime, refresh token, granted scope.
    pub(super) fn write(self, house: &House) -> Result<Issued, TokenError> {
        let now = house.now();
        let mut expires_at = now.plus(house.settings().tokens.access_ttl.as_secs());
        let carries = matches!(self.resource.credential, CredentialSettings::ProviderToken);
        if carries {
            // The upstream will refuse the provider's token when that ends, so ours must not outlive it.
            expires_at = expires_at.min(self.access_ends);
        }
        let mut access = Access::new(
            house.issuer().token_id(self.family),
            self.subject,
            self.client.id.as_str().to_owned(),
            self.resource.uri.as_str().to_owned(),
            self.scope.clone(),
            now,
            expires_at,
            self.claims,
        );
        if carries {
            access = access.carrying(self.access);
        }
        let token = house.issuer().mint(&access, self.resource.token_format)?;
        let answer = Answer::new(
            AccessToken::new(token),
            self.refresh,
            self.scope.to_string(),
            now,
            expires_at,
        );
        Ok(Issued {
            answer,
            token_id: access.id,
        })
    }
}

/// The resource a grant is for; `resource` parameters may only repeat it (RFC 8707 §2.2).
pub(super) fn bound_resource<'a>(
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
pub(super) fn narrowed(
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
pub(super) fn permitted(
    resource: &ResourceSettings,
    scope: &ScopeSet,
    claims: &Map<String, Value>,
    at_provider: Option<&ScopeSet>,
) -> Result<ScopeSet, TokenError> {
    let permitted = resource.permitted(scope, &groups(claims), at_provider);
    if permitted.is_empty() && !scope.is_empty() {
        return Err(TokenError::NothingPermitted);
    }
    Ok(permitted)
}

/// A scope that is refused before the provider is asked, because a refresh that is refused afterwards has lost what the
/// provider rotated.
pub(super) fn permits_any(
    resource: &ResourceSettings,
    asked: &ScopeSet,
    granted: &ScopeSet,
    claims: &Map<String, Value>,
) -> Result<(), TokenError> {
    let open = |scope| resource.permitted(scope, &groups(claims), None);
    if open(asked).is_empty() && !open(granted).is_empty() {
        return Err(TokenError::Scope);
    }
    Ok(())
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
