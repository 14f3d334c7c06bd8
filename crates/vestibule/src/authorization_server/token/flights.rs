//! Work that several requests share: one flight for each refresh token, answers of a minute ago, and what the provider
//! gave while the store was away. All of it is lost with the process, and bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio_util::task::TaskTracker;

use vestibule_oauth::client::ClientId;
use vestibule_oauth::random::Random;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::RefreshToken;
use vestibule_oauth::time::UnixTime;

use super::{Outcome, TokenError};
use crate::grants::{Answer, REPLAY_WINDOW, fingerprint};
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
}

type Flights = Mutex<HashMap<String, Shared<BoxFuture<'static, Outcome>>>>;

impl Refreshes {
    /// Nothing under way.
    pub(crate) fn new(random: &dyn Random) -> Self {
        Self {
            replica: random.token(12),
            tasks: TaskTracker::new(),
            recent: Recent::default(),
            unsaved: Unsaved::default(),
            flights: Arc::default(),
        }
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
        key: String,
        work: BoxFuture<'static, Result<Answer, TokenError>>,
    ) -> Outcome {
        let flight = {
            let mut flights = lock(&self.flights);
            if let Some(flight) = flights.get(&key) {
                flight.clone()
            } else {
                let landing = Landing {
                    flights: Arc::clone(&self.flights),
                    key: key.clone(),
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

/// What requests share a flight by: the same token, from the same client, for the same scope.
pub(super) fn flight_key(
    client: &ClientId,
    token: &RefreshToken,
    scope: Option<&ScopeSet>,
) -> String {
    let scope = scope.map(ScopeSet::to_string).unwrap_or_default();
    fingerprint(&format!("{}\0{}\0{scope}", token.expose(), client.as_str()))
}

/// Takes a flight out when its task ends, however it ends.
struct Landing {
    flights: Arc<Flights>,
    key: String,
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
    answers: HashMap<String, (UnixTime, String)>,
    order: VecDeque<(UnixTime, String)>,
}

impl Recent {
    /// Answers kept at most, a few kilobytes each. When it is full the oldest go first.
    const CAPACITY: usize = 4096;

    pub(super) fn get(&self, key: &str, token: &RefreshToken, now: UnixTime) -> Option<Answer> {
        let remembered = lock(&self.0);
        let (at, locked) = remembered.answers.get(key)?;
        if now.since(*at) >= REPLAY_WINDOW {
            return None;
        }
        Answer::unlock(locked, token)
    }

    pub(super) fn put(
        &self,
        key: &str,
        token: &RefreshToken,
        answer: &Answer,
        now: UnixTime,
        random: &dyn Random,
    ) {
        let locked = answer.lock(token, random);
        let mut remembered = lock(&self.0);
        while let Some((at, oldest)) = remembered.order.front().cloned() {
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
        remembered.order.push_back((now, key.to_owned()));
        remembered.answers.insert(key.to_owned(), (now, locked));
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
        let recent = Recent::default();
        let token = RefreshToken::new("t");
        let put = |key: &str, now: u64| {
            let now = UnixTime(now);
            recent.put(key, &token, &answer(now), now, &SystemRandom);
        };
        put("first", 100);
        assert!(recent.get("first", &token, UnixTime(159)).is_some());
        assert!(recent.get("first", &token, UnixTime(160)).is_none());
        assert!(
            recent
                .get("first", &RefreshToken::new("x"), UnixTime(100))
                .is_none()
        );
        put("first", 150);
        put("second", 165);
        assert!(recent.get("first", &token, UnixTime(165)).is_some());
        for n in 0..Recent::CAPACITY + 10 {
            put(&n.to_string(), 170);
        }
        let remembered = lock(&recent.0);
        assert!(remembered.answers.len() <= Recent::CAPACITY);
        assert!(remembered.order.len() <= Recent::CAPACITY);
    }

    #[tokio::test]
    async fn a_task_that_panics_takes_its_flight_along() {
        let refreshes = Refreshes::new(&SystemRandom);
        let crashed = refreshes.shared("k".to_owned(), async { panic!("a bug") }.boxed());
        assert!(matches!(*crashed.await.unwrap_err(), TokenError::Crashed));
        let now = UnixTime(1);
        let next = refreshes.shared("k".to_owned(), async move { Ok(answer(now)) }.boxed());
        assert!(next.await.is_ok());
        assert!(lock(&refreshes.flights).is_empty());
    }
}
