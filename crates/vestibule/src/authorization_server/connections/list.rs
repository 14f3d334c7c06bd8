//! The grants of one person in the store, page by page, and what a page says of each.

use std::fmt;

use vestibule_oauth::scope::ScopeSet;

use crate::House;
use crate::grants::{Account, Grant, StoredGrant};
use crate::pages::{ConnectionLine, ScopeLine};
use crate::store::{Entry, Key, Owner, Space, StoreError};

/// Connections on a page.
pub(super) const ON_A_PAGE: usize = 50;
/// Entries read at once.
const AT_ONCE: usize = 100;

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    owner: usize,
    key: Key,
}

impl Cursor {
    /// `OWNER~HASH`; nothing else gets into a key.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (owner, hash) = text.split_once('~')?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let fits = !hash.is_empty() && hash.len() <= 64 && hash.bytes().all(plain);
        let key = Key::from_text(format!("{}{hash}", prefix()));
        let owner = owner.parse().ok().filter(|_| owner.len() == 1)?;
        fits.then_some(Self { owner, key })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_str();
        let hash = key.strip_prefix(&prefix()).unwrap_or(key);
        write!(f, "{}~{hash}", self.owner)
    }
}

/// What was found.
#[derive(Debug)]
pub(super) struct Listed {
    /// The newest use first, within a page.
    pub(super) grants: Vec<StoredGrant>,
    /// Where to go on, if there is more.
    pub(super) next: Option<Cursor>,
}

/// At most `at_most` grants of the account that are alive.
pub(super) async fn live(
    house: &House,
    account: &Account,
    from: Option<Cursor>,
    at_most: usize,
) -> Result<Listed, StoreError> {
    let mut grants: Vec<StoredGrant> = Vec::new();
    let mut last = None;
    let (Some(store), Some(shelf)) = (house.store(), house.shelf()) else {
        return Ok(Listed { grants, next: None });
    };
    let (first, mut after) = match from {
        Some(cursor) => (cursor.owner, Some(cursor.key)),
        None => (0, None),
    };
    for (number, owner) in owners(account).into_iter().enumerate().skip(first) {
        loop {
            let call = store.list(&owner, after.as_ref(), AT_ONCE);
            let page = shelf.within(call).await?;
            let is_last = page.len() < AT_ONCE;
            for entry in page {
                after = Some(entry.key.clone());
                let Some(grant) = read(house, &entry).filter(|own| is_live_of(own, account)) else {
                    continue;
                };
                if grants.len() == at_most {
                    grants.sort_by_key(|grant| std::cmp::Reverse(grant.last_used));
                    return Ok(Listed { grants, next: last });
                }
                last = Some(Cursor {
                    owner: number,
                    key: entry.key,
                });
                grants.push(grant);
            }
            if is_last {
                break;
            }
        }
        after = None;
    }
    grants.sort_by_key(|grant| std::cmp::Reverse(grant.last_used));
    Ok(Listed { grants, next: None })
}

/// True when the user of a grant has another one at the same provider that is alive. Without a store nobody knows.
pub(crate) async fn has_others(house: &House, grant: &Grant) -> Result<bool, StoreError> {
    let account = Account {
        provider: grant.provider.clone(),
        subject: grant.subject.clone(),
        name: String::new(),
    };
    let listed = live(house, &account, None, 2).await?;
    let mut families = listed.grants.iter().map(|own| &own.grant.family);
    Ok(families.any(|family| *family != grant.family))
}

/// True for a grant of this very user that has not been ended. What the store says of owners is not enough: it is not sealed.
pub(super) fn is_live_of(grant: &StoredGrant, account: &Account) -> bool {
    let inner = &grant.grant;
    grant.revoked.is_none()
        && inner.provider == account.provider
        && inner.subject == account.subject
}

/// What a page says of a grant.
pub(super) fn line(house: &House, grant: &StoredGrant, language: &str) -> ConnectionLine {
    let resource = house.resource_at(&grant.grant.resource);
    let name = resource.map(|own| own.name.as_deref().unwrap_or(own.uri.as_str()));
    let nothing = ScopeSet::default();
    let offered = resource.map_or(&nothing, |resource| &resource.scopes);
    // A scope that the operator took away is gone from older grants as well.
    let scopes = grant.grant.scope.intersection(offered);
    let words = |name: &str| {
        let detail = resource.and_then(|resource| resource.scope_detail(name));
        let text = detail.and_then(|detail| detail.description_in(language));
        ScopeLine::new(name, text)
    };
    ConnectionLine {
        id: grant.grant.family.clone(),
        client_name: grant.client_name.clone(),
        verified_host: grant.client_host.clone(),
        redirect_host: grant.redirect_host.clone(),
        resource: name.unwrap_or(&grant.grant.resource).to_owned(),
        scopes: scopes.iter().map(words).collect(),
        since: grant.grant.signed_in_at,
        last_used: grant.last_used,
        is_suspended: house.quarantine().has_client(
            &grant.client_id,
            || grant.client_name.as_deref(),
            house.now(),
        ),
    }
}

/// Under whom grants of the account may stand: a subject has the provider's id before it where there are several
/// providers, and their number may have changed since.
fn owners(account: &Account) -> [Owner; 2] {
    [
        Owner::user(&account.subject),
        Owner::user(&format!("{}:{}", account.provider, account.subject)),
    ]
}

fn read(house: &House, entry: &Entry) -> Option<StoredGrant> {
    if !entry.key.as_str().starts_with(&prefix()) {
        return None;
    }
    let opened = house.shelf()?.open(&entry.value.bytes, house.now());
    let grant = match opened {
        Ok(grant) => grant?,
        Err(error) => {
            tracing::warn!(reason = "grant_unreadable", cause = %error, "a grant was left out of a list");
            return None;
        }
    };
    // A record that somebody moved to another key does not count.
    (Key::hashed(Space::Grant, &grant.grant.family) == entry.key).then_some(grant)
}

fn prefix() -> String {
    format!("{}/", Space::Grant.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_nothing_else_is_one() {
        let cursor = Cursor {
            owner: 1,
            key: Key::hashed(Space::Grant, "family"),
        };
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        for wrong in [
            "",
            "0",
            "0~",
            "~a",
            "x~a",
            "-1~a",
            "+1~a",
            "10~a",
            "0~a/b",
            "0~a b",
            "0~\u{e9}",
            &format!("0~{}", "a".repeat(65)),
        ] {
            assert_eq!(Cursor::parse(wrong), None, "{wrong:?}");
        }
        // An owner that there is not is an empty page.
        assert!(Cursor::parse("9~a").is_some());
    }
}
