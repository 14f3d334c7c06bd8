//! `Barrier`: is an access token that is whole and in its time let through? Asked by the gateway and by `/introspect`.

use std::sync::Arc;

use vestibule_oauth::time::UnixTime;

use super::Quarantine;
use crate::clients::ClientRegistry;
use crate::grants::{Access, RevokedTokens};
use crate::seal::Sealer;

/// What is known here of revocations and of the quarantine. No call to it leaves the process.
#[derive(Debug)]
pub(crate) struct Barrier {
    pub(crate) revoked: Arc<RevokedTokens>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) clients: Arc<ClientRegistry>,
    pub(crate) sealer: Arc<Sealer>,
}

impl Barrier {
    /// True for a token that was not revoked, of a user and a client that are not shut out.
    pub(crate) fn lets(&self, access: &Access, now: UnixTime) -> bool {
        let id = access.client_id.as_str();
        let name = || self.clients.name_of(&self.sealer, id, now);
        !self.revoked.contains(&access.id, now)
            && !self.quarantine.has_user(&access.subject, now)
            && !self.quarantine.has_client(id, name, now)
    }
}
