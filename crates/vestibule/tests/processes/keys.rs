//! A rotation of keys under way: two replicas with one store, one of them a step ahead (docs/keys.md).

use vestibule::keys::KeyRing;
use vestibule::keys::rotation::{Schedule, When};
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::{Clock as _, SystemClock};

use crate::client::refresh_token;
use crate::street::{Plan, Street};

pub(crate) async fn replicas_on_neighbouring_steps_of_a_rotation_share_a_store(store: &str) {
    let street = Street::open(Plan::new(store, Some(0))).await;
    let ahead = street.other();
    let (old, mut token) = street.sign_in().await;
    let mut ring = KeyRing::load(&street.directory.join("keys.toml")).unwrap();
    for _ in ["published", "promoted", "retired"] {
        let now = SystemClock.now();
        let rotated = ring.rotate(&Schedule::default(), When::Now, now, &SystemRandom);
        let (next, steps) = rotated.unwrap();
        assert!(!steps.is_empty());
        ring = next;
        let text = ring.to_toml();
        street.replicas[ahead].take_keys(text.expose()).await;
        // What one has written and signed the other reads, again and again.
        for replica in [ahead, 0, ahead, 0] {
            let answer = old.refresh(replica, &token).await.unwrap();
            token = refresh_token(&answer);
            old.assert_open(&answer).await;
        }
        // A sign-in at the one behind, which goes on at the one ahead.
        let (client, first) = street.sign_in().await;
        for replica in [ahead, 0] {
            let answer = client.refresh(replica, &first).await.unwrap();
            client.assert_open(&answer).await;
        }
        if ahead > 0 {
            street.replicas[0].take_keys(text.expose()).await;
        }
    }
    assert!(street.presented().iter().all(|times| *times == 1));
}
