//! Which grant a refresh token is for; and how a refresh token of the time before there was a store moves into it.

use vestibule_oauth::client::Client;
use vestibule_oauth::secret::RefreshToken;

use super::TokenError;
use super::issue::{refresh_until, within_lifetime};
use crate::House;
use crate::grants::{Grant, Shelf, StoredGrant, Ticket, fingerprint};
use crate::seal::Kind;
use crate::store::{Expect, Put};

/// Which grant the token is for, and its generation. A carried token of the time before there was a store moves in.
pub(super) async fn presented(
    house: &House,
    shelf: &Shelf<'_>,
    client: &Client,
    token: &RefreshToken,
) -> Result<(String, Option<u64>), TokenError> {
    if token.expose().starts_with(Kind::Grant.prefix()) {
        let family = move_in(house, shelf, client, token).await?;
        return Ok((family, None));
    }
    let ticket: Ticket = house
        .sealer()
        .open(token.expose(), house.now())
        .map_err(TokenError::GrantSeal)?;
    Ok((ticket.family, Some(ticket.generation)))
}

/// Stores the grant that a carried refresh token is, unless it is there already, and gives its family. Another carried
/// token of the same family, which was as good as the first while nothing was stored, becomes a family of its own:
/// nobody is to be logged out because a store was added.
pub(in crate::authorization_server) async fn move_in(
    house: &House,
    shelf: &Shelf<'_>,
    client: &Client,
    token: &RefreshToken,
) -> Result<String, TokenError> {
    let now = house.now();
    let grant: Grant = house
        .sealer()
        .open(token.expose(), now)
        .map_err(TokenError::GrantSeal)?;
    let grant = grant.held_by(&client.id)?;
    if house.revoked().contains(&grant.family, now) {
        return Err(TokenError::Revoked);
    }
    within_lifetime(house, grant.signed_in_at)?;
    let branch = fingerprint(&format!("{}\0{}", grant.family, token.expose()));
    let branch: String = branch.chars().take(16).collect();
    for family in [grant.family.clone(), branch] {
        loop {
            match shelf.load(&family, now).await? {
                Some(there) if there.grant.revoked.is_some() => return Err(TokenError::Revoked),
                Some(there) if there.grant.knows(token) => return Ok(family),
                Some(_) => break,
                None => {}
            }
            let provider = house
                .provider(&grant.provider)
                .ok_or(TokenError::ProviderGone)?;
            let user = house.subject(provider, &grant.subject);
            let ends_at = refresh_until(house, grant.signed_in_at);
            let mut moved = grant.clone();
            moved.family.clone_from(&family);
            let record = StoredGrant::new(moved, client, user, token, None, now, ends_at);
            if let Put::Stored(_) = shelf.put(&record.moved_in(), Expect::Absent).await? {
                tracing::info!(
                    event = "grant.moved",
                    family,
                    "a carried grant moved into the store"
                );
                return Ok(family);
            }
        }
    }
    Err(TokenError::GrantGone)
}
