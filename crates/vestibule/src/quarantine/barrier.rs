//! `Barrier`: is an access token that is whole and in its time let through? Asked by the gateway and by `/introspect`.

use std::sync::Arc;

use vestibule_oauth::time::UnixTime;

use super::Quarantine;
use crate::alarm::Alarm;
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
    /// Rings when somebody who was let in may not be let in any more.
    pub(crate) alarm: Arc<Alarm>,
}

impl Barrier {
    /// True for a token that was not revoked, of a user and a client that are not shut out.
    pub(crate) fn lets(&self, access: &Access, now: UnixTime) -> bool {
        self.admits(&access.id, &access.subject, &access.client_id, now)
    }

    /// The same by what is asked of a token.
    pub(crate) fn admits(
        &self,
        token_id: &str,
        subject: &str,
        client_id: &str,
        now: UnixTime,
    ) -> bool {
        let name = || self.clients.name_of(&self.sealer, client_id, now);
        !self.revoked.contains(token_id, now)
            && !self.quarantine.has_user(subject, now)
            && !self.quarantine.has_client(client_id, name, now)
    }
}
