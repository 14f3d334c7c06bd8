//! The hand behind the curtain: what tests and operators of the stand-in can do to it and read from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cognito::faults::{Endpoint, Fault, FaultSlot};
use crate::cognito::keys::{KeyRing, KeySet};
use crate::cognito::options::Lifetimes;
use crate::cognito::random;
use crate::cognito::state::{Pool, sha256};

/// Control over a running stand-in, from the same process. `/_control/*` is the same over HTTP.
#[derive(Clone)]
pub struct Control {
    pub(crate) pool: Arc<Pool>,
}

impl Control {
    /// Breaks an endpoint for the next `times` requests, or until changed if `times` is `None`.
    /// A fault of `None` mends it.
    pub fn set_fault(&self, endpoint: Endpoint, fault: Option<Fault>, times: Option<u32>) {
        let mut state = self.pool.lock();
        match fault {
            Some(fault) if times != Some(0) => {
                state.faults.insert(endpoint, FaultSlot { fault, times });
            }
            _ => {
                state.faults.remove(&endpoint);
            }
        }
    }

    /// Mends every endpoint.
    pub fn clear_faults(&self) {
        self.pool.lock().faults.clear();
    }

    /// Requests that reached an endpoint since the start or the last reset, those a fault answered included.
    pub fn calls(&self, endpoint: Endpoint) -> u64 {
        self.pool.calls(endpoint)
    }

    /// How often this refresh token was presented for refresh, successfully or not, by an
    /// authenticated client. Requests a fault answered are not counted.
    pub fn refreshes(&self, refresh_token: &str) -> u64 {
        self.pool
            .lock()
            .refresh_tokens
            .get(&sha256(refresh_token.as_bytes()))
            .map_or(0, |token| token.presented)
    }

    /// [`Control::refreshes`] of every token that was presented, by the token's SHA-256 in hexadecimal.
    pub fn all_refreshes(&self) -> BTreeMap<String, u64> {
        self.pool
            .lock()
            .refresh_tokens
            .iter()
            .filter(|(_, token)| token.presented > 0)
            .map(|(hash, token)| (random::hex(hash), token.presented))
            .collect()
    }

    /// Sets every counter to zero. Tokens stay valid.
    pub fn reset_counters(&self) {
        self.pool.reset_calls();
        for token in self.pool.lock().refresh_tokens.values_mut() {
            token.presented = 0;
        }
    }

    /// Signs with new keys from now on and publishes them beside the ones before; older ones are dropped.
    /// Blocks while the keys are made (tens of milliseconds).
    pub fn rotate_keys(&self) {
        match KeySet::generate() {
            Ok(keys) => {
                let mut state = self.pool.lock();
                let previous = Some(Arc::clone(&state.keys.current));
                state.keys = KeyRing {
                    current: Arc::new(keys),
                    previous,
                };
            }
            Err(error) => tracing::error!(%error, "no new keys could be made; the old ones stay"),
        }
    }

    /// Signs every browser out.
    pub fn end_sessions(&self) {
        self.pool.lock().sessions.clear();
    }

    /// Revokes every refresh token and forgets every code.
    pub fn revoke_all(&self) {
        let mut state = self.pool.lock();
        state.codes.clear();
        for family in state.families.values_mut() {
            family.revoked = true;
        }
    }

    /// Registers an exact callback URL with a client of the pool. False if there is no such client.
    pub fn allow_callback(&self, client_id: &str, url: &str) -> bool {
        let mut state = self.pool.lock();
        let Some(urls) = state.callbacks.get_mut(client_id) else {
            return false;
        };
        if !urls.iter().any(|known| known == url) {
            urls.push(url.to_owned());
        }
        true
    }

    /// The lifetimes in force.
    pub fn lifetimes(&self) -> Lifetimes {
        self.pool.lock().lifetimes
    }

    /// Changes the lifetimes of what is issued from now on (and of sessions, at once).
    pub fn set_lifetimes(&self, lifetimes: Lifetimes) {
        self.pool.lock().lifetimes = lifetimes;
    }
}
