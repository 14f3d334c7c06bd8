//! Replicas one by one, and what refresh tests ask again and again.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use http::header::{CONTENT_TYPE, HOST};
use tower::ServiceExt as _;
use vestibule::House;
use vestibule::settings::Settings;
use vestibule::store::Store;
use vestibule_oauth::time::{Clock, ManualClock};
use vestibule_standin::cognito::{CognitoOptions, Endpoint};

use crate::support::{Answer, Client, FaultyStore, SeededRandom, TestHouse, whole};

/// One replica with a store of its own before the common one.
pub(crate) struct Replica {
    pub(crate) house: Arc<House>,
    pub(crate) router: Router,
    pub(crate) store: Arc<FaultyStore>,
}

impl Replica {
    pub(crate) async fn refresh(&self, client: &Client, token: &str) -> Answer {
        refresh_at(&self.router, client, token).await
    }
}

pub(crate) async fn refresh_at(router: &Router, client: &Client, token: &str) -> Answer {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", client.id.as_str()),
    ];
    post(router, "/token", &form).await
}

pub(crate) async fn post(router: &Router, path: &str, form: &[(&str, &str)]) -> Answer {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let request = Request::post(path)
        .header(HOST, "mcp.example.test")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    whole(router.clone().oneshot(request).await.unwrap()).await
}

/// A pool that rotates, with this grace; `None` does not rotate.
pub(crate) fn pool(rotation: Option<u64>) -> CognitoOptions {
    CognitoOptions {
        rotation,
        ..CognitoOptions::default()
    }
}

/// The provider is asked at every refresh, and is given up on soon.
pub(crate) fn strict(settings: &mut Settings) {
    settings.tokens.provider_recheck = Duration::ZERO;
    settings.provider.timeout = Duration::from_secs(1);
}

pub(crate) async fn stored(rotation: Option<u64>) -> TestHouse {
    TestHouse::stored(pool(rotation), strict).await
}

impl TestHouse {
    /// A replica whose store can be broken for it alone.
    pub(crate) fn faulty_replica(&self, seed: u64) -> Replica {
        self.faulty_replica_at(seed, &self.clock)
    }

    /// One with a clock of its own.
    pub(crate) fn faulty_replica_at(&self, seed: u64, clock: &Arc<ManualClock>) -> Replica {
        let store = FaultyStore::before(self.store.clone().unwrap());
        let house = House::build(
            self.settings.clone(),
            &self.ring,
            Some(Arc::clone(&store) as Arc<dyn Store>),
            Arc::clone(clock) as Arc<dyn Clock>,
            Arc::new(SeededRandom::new(seed)),
        )
        .unwrap();
        Replica {
            router: house.router(),
            house,
            store,
        }
    }

    /// Calls of the provider's token endpoint, the redemption of the code among them.
    pub(crate) fn token_calls(&self) -> u64 {
        self.cognito.control().calls(Endpoint::Token)
    }

    /// How often each of the provider's refresh tokens was presented.
    pub(crate) fn presented_refreshes(&self) -> Vec<u64> {
        self.cognito
            .control()
            .all_refreshes()
            .into_values()
            .collect()
    }
}

/// Tries `what` until it is true.
pub(crate) async fn eventually(mut what: impl FnMut() -> bool) {
    for _ in 0..200 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not happen");
}
