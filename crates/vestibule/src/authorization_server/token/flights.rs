//! Work that several requests share: one flight for each refresh token, answers of a minute ago, and what the provider
//! gave while the store was away. All of it is lost with the process, and bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio_util::task::TaskTracker;

use vestibule_oauth::client::ClientId;
use vestibule_oauth::keyed_hash::{KeyedHash, TextHash};
use vestibule_oauth::random::Random;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::RefreshToken;
use vestibule_oauth::time::UnixTime;

use super::{Outcome, TokenError};
use crate::grants::{Answer, REPLAY_WINDOW};
use crate::provider::Refreshed;

/// What this replica knows about refreshes under way.
#[derive(Debug)]
pub(crate) struct Refreshes {
    /// Tells this replica from the others.
    pub(super) replica: String,
    /// Everything that must not be cancelled with a request.
    pub(crate) tasks: TaskTracker,
    pub(super) recent: Recent,
    pub(super) unsaved: Unsaved,
    flights: Arc<Flights>,
    hashes: KeyedHash,
}

/// What requests share a flight by: a hash, which tells nothing of the token.
pub(super) type FlightKey = TextHash;

type Flights = Mutex<HashMap<FlightKey, Shared<BoxFuture<'static, Outcome>>>>;

impl Refreshes {
    /// Nothing under way.
    pub(crate) fn new(random: &dyn Random) -> Self {
        Self {
            replica: random.token(12),
            tasks: TaskTracker::new(),
            recent: Recent::default(),
            unsaved: Unsaved::default(),
            flights: Arc::default(),
            hashes: KeyedHash::new(random),
        }
    }

    /// The same for the same token, from the same client, for the same scope.
    pub(super) fn flight_key(
        &self,
        client: &ClientId,
        token: &RefreshToken,
        scope: Option<&ScopeSet>,
    ) -> FlightKey {
        let mut asked = client.as_str().to_owned();
        asked.push('\0');
        for scope in scope.into_iter().flat_map(ScopeSet::iter) {
            asked.push_str(scope);
            asked.push(' ');
        }
        self.hashes.of(token.expose(), asked)
    }

    /// Does `work` in a task of its own.
    pub(super) async fn detached(
        &self,
        work: BoxFuture<'static, Result<Answer, TokenError>>,
    ) -> Outcome {
        let task = self.tasks.spawn(work);
        match task.await {
            Ok(result) => result.map(Arc::new).map_err(Arc::new),
            Err(_) => Err(Arc::new(TokenError::Crashed)),
        }
    }

    /// The same, once for all who come with this key before it is done.
    pub(super) async fn shared(
        &self,
        key: FlightKey,
        work: BoxFuture<'static, Result<Answer, TokenError>>,
    ) -> Outcome {
        let flight = {
            let mut flights = lock(&self.flights);
            if let Some(flight) = flights.get(&key) {
                flight.clone()
            } else {
                let landing = Landing {
                    flights: Arc::clone(&self.flights),
                    key,
                };
                let task = self.tasks.spawn(async move {
                    let _landing = landing;
                    work.await
                });
                let flight = async move {
                    match task.await {
                        Ok(result) => result.map(Arc::new).map_err(Arc::new),
                        Err(_) => Err(Arc::new(TokenError::Crashed)),
                    }
                };
                let flight = flight.boxed().shared();
                flights.insert(key, flight.clone());
                flight
            }
        };
        flight.await
    }

    /// Waits for work that goes on after its client has left.
    pub(crate) async fn settle(&self, at_most: Duration) {
        self.tasks.close();
        if tokio::time::timeout(at_most, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::error!(
                tasks = self.tasks.len(),
                "refreshes were under way when the time was over"
            );
        }
    }
}

/// Takes a flight out when its task ends, however it ends.
struct Landing {
    flights: Arc<Flights>,
    key: FlightKey,
}

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.flights).remove(&self.key);
    }
}

/// Answers of the last minute, each sealed with the refresh token it was given for.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    answers: HashMap<FlightKey, (UnixTime, Box<[u8]>)>,
    order: VecDeque<(UnixTime, FlightKey)>,
}

impl Recent {
    /// Answers kept at most, a few kilobytes each. When it is full the oldest go first.
    const CAPACITY: usize = 4096;

    pub(super) fn get(
        &self,
        key: &FlightKey,
        token: &RefreshToken,
        now: UnixTime,
    ) -> Option<Answer> {
        let locked = {
            let remembered = lock(&self.0);
            let (at, locked) = remembered.answers.get(key)?;
            if now.since(*at) >= REPLAY_WINDOW {
                return None;
            }
            locked.to_vec()
        };
        Answer::unlock_bytes(locked, token)
    }

    pub(super) fn put(
        &self,
        key: FlightKey,
        token: &RefreshToken,
        answer: &Answer,
        now: UnixTime,
        random: &dyn Random,
    ) {
        let locked = answer.lock_bytes(token, random).into_boxed_slice();
        let mut remembered = lock(&self.0);
        while let Some((at, oldest)) = remembered.order.front().copied() {
            if now.since(at) < REPLAY_WINDOW && remembered.order.len() < Self::CAPACITY {
                break;
            }
            remembered.order.pop_front();
            // Not one that was put anew under the same key.
            if remembered
                .answers
                .get(&oldest)
                .is_some_and(|own| own.0 == at)
            {
                remembered.answers.remove(&oldest);
            }
        }
        remembered.order.push_back((now, key));
        remembered.answers.insert(key, (now, locked));
    }
}

/// What the provider gave and the store has not taken yet. Another try on this replica goes on from here, without asking
/// the provider a second time.
#[derive(Debug, Default)]
pub(super) struct Unsaved(Mutex<HashMap<String, (UnixTime, Refreshed)>>);

impl Unsaved {
    /// Kept at most. More than this are only there when the store has been away for long, and then new refreshes stop
    /// before they reach the provider.
    const CAPACITY: usize = 4096;
    /// Seconds. Whoever has not come back by then has signed in again.
    const LIFETIME: u64 = 3600;

    pub(super) fn get(&self, key: &str) -> Option<Refreshed> {
        lock(&self.0)
            .get(key)
            .map(|(_, refreshed)| refreshed.clone())
    }

    pub(super) fn put(&self, key: &str, refreshed: Refreshed, now: UnixTime) {
        let mut unsaved = lock(&self.0);
        unsaved.retain(|_, (at, _)| now.since(*at) < Self::LIFETIME);
        if unsaved.len() < Self::CAPACITY {
            unsaved.insert(key.to_owned(), (now, refreshed));
        }
    }

    pub(super) fn remove(&self, key: &str) {
        lock(&self.0).remove(key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::random::SystemRandom;
    use vestibule_oauth::secret::AccessToken;

    use super::*;

    fn answer(now: UnixTime) -> Answer {
        Answer::new(AccessToken::new("a"), None, String::new(), now, now.plus(9))
    }

    #[test]
    fn answers_are_remembered_for_less_than_a_minute_and_never_too_many() {
        let (refreshes, recent) = (Refreshes::new(&SystemRandom), Recent::default());
        let token = RefreshToken::new("t");
        let id = ClientId::parse("c").unwrap();
        let key = |name: &str| refreshes.flight_key(&id, &RefreshToken::new(name), None);
        let put = |name: &str, now: u64| {
            let now = UnixTime(now);
            recent.put(key(name), &token, &answer(now), now, &SystemRandom);
        };
        let get = |token: &RefreshToken, now: u64| recent.get(&key("first"), token, UnixTime(now));
        put("first", 100);
        assert!(get(&token, 159).is_some());
        assert!(get(&token, 160).is_none());
        assert!(get(&RefreshToken::new("x"), 100).is_none());
        put("first", 150);
        put("second", 165);
        assert!(get(&token, 165).is_some());
        for n in 0..Recent::CAPACITY + 10 {
            put(&n.to_string(), 170);
        }
        let remembered = lock(&recent.0);
        assert!(remembered.answers.len() <= Recent::CAPACITY);
        assert!(remembered.order.len() <= Recent::CAPACITY);
    }

    #[test]
    fn another_token_client_or_scope_is_another_flight() {
        let refreshes = Refreshes::new(&SystemRandom);
        let key = |client: &str, token: &str, scope: &str| {
            let (client, token) = (ClientId::parse(client).unwrap(), RefreshToken::new(token));
            refreshes.flight_key(&client, &token, Some(&ScopeSet::parse(scope)))
        };
        let one = key("c", "t", "a b");
        assert_eq!(one, key("c", "t", " a  b"));
        for other in [
            key("d", "t", "a b"),
            key("c", "u", "a b"),
            key("c", "t", "a"),
            key("c", "t", "ab"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[tokio::test]
    async fn a_task_that_panics_takes_its_flight_along() {
        let refreshes = Refreshes::new(&SystemRandom);
        let key = FlightKey::default();
        let crashed = refreshes.shared(key, async { panic!("a bug") }.boxed());
        assert!(matches!(*crashed.await.unwrap_err(), TokenError::Crashed));
        let now = UnixTime(1);
        let next = refreshes.shared(key, async move { Ok(answer(now)) }.boxed());
        assert!(next.await.is_ok());
        assert!(lock(&refreshes.flights).is_empty());
    }
}
