//! `keys rotate` while people are signed in: replicas on neighbouring steps, verifiers outside, emergencies (design §6).

use std::sync::Arc;

use http::StatusCode;
use vestibule::House;
use vestibule::keys::KeyRing;
use vestibule::keys::rotation::{Compromised, DEFAULT_PROPAGATION, JWKS_MAX_AGE, Schedule, When};
use vestibule::settings::{Settings, TokenFormat};
use vestibule_oauth::jose::{JwkSet, Jws, SigningAlg};
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::{Clock as _, SystemClock, UnixTime};
use vestibule_standin::cognito::CognitoOptions;

use crate::support::{Browser, CALLBACK, ORIGIN, TestHouse, Tokens};

const FORMATS: [TokenFormat; 2] = [TokenFormat::Sealed, TokenFormat::Jwt];
const DAY: u64 = 24 * 3600;

impl TestHouse {
    /// From now on a replica with this ring answers.
    fn move_to(&mut self, ring: &KeyRing, seed: u64) {
        self.ring = ring.clone();
        self.router = self.replica(seed);
    }

    async fn jwks(&self) -> JwkSet {
        JwkSet::parse(&self.get("/jwks.json").await.body).unwrap()
    }
}

async fn house(format: TokenFormat) -> TestHouse {
    with_one_key(TestHouse::with(|settings| settings.resources[0].token_format = format).await)
}

async fn stored_house(format: TokenFormat) -> TestHouse {
    let change = |settings: &mut Settings| settings.resources[0].token_format = format;
    with_one_key(TestHouse::stored(CognitoOptions::default(), change).await)
}

/// One algorithm only: making RSA keys takes time.
fn with_one_key(mut house: TestHouse) -> TestHouse {
    let now = house.clock.now();
    let ring = KeyRing::generate(&[SigningAlg::Es256], now, &SystemRandom).unwrap();
    house.move_to(&ring, 1);
    house
}

/// The ring before a rotation, and after each step: published, promoted, retired, forgotten.
fn steps(start: &KeyRing, now: UnixTime) -> Vec<KeyRing> {
    let mut rings = vec![start.clone()];
    let mut now = now.plus(90 * DAY);
    for pause in [0, DEFAULT_PROPAGATION, DEFAULT_PROPAGATION, 2 * DAY] {
        now = now.plus(pause);
        let last = rings.last().unwrap();
        let (ring, steps) = last
            .rotate(&Schedule::default(), When::Due, now, &SystemRandom)
            .unwrap();
        assert!(!steps.is_empty());
        // As a replica reads it.
        rings.push(KeyRing::parse(ring.to_toml().expose()).unwrap());
    }
    rings
}

fn neighbours(rings: &[KeyRing]) -> Vec<(&KeyRing, &KeyRing)> {
    let pairs = rings.windows(2);
    pairs
        .flat_map(|pair| [(&pair[0], &pair[1]), (&pair[1], &pair[0])])
        .collect()
}

#[tokio::test]
async fn what_one_replica_made_another_on_the_step_before_or_after_accepts() {
    let [sealed, jwt] = FORMATS;
    for mut house in [
        house(sealed).await,
        house(jwt).await,
        stored_house(sealed).await,
        stored_house(jwt).await,
    ] {
        let rings = steps(&house.ring, house.clock.now());
        // Never the same seed twice: what is stored has names from it.
        for (seed, (maker, other)) in (10..).step_by(10).zip(neighbours(&rings)) {
            house.move_to(maker, seed + 2);
            let (client, tokens) = house.sign_in().await;
            let newcomer = house.register(CALLBACK).await;
            let code = house.code(&client).await;
            let mut browser = house.browser();
            let approved = house.approve(&mut browser, &client).await;

            house.move_to(other, seed + 3);
            house.whoami(&tokens.access).await;
            let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
            house.whoami(&fresh.access).await;
            Tokens::of(&house.redeem(&client, &code).await);
            let mut moved = Browser::new(ORIGIN, vec![house.router.clone()]);
            moved.jars = std::mem::take(&mut browser.jars);
            let back = moved
                .sign_in_at_provider(approved.location(), "ada", "lovelace")
                .await;
            let back = moved.get(back.location()).await;
            let code = back.location_param("code").unwrap();
            Tokens::of(&house.redeem(&client, &code).await);
            let code = house.code(&newcomer).await;
            Tokens::of(&house.redeem(&newcomer, &code).await);

            // And back again: refreshed there, used here.
            house.move_to(maker, seed + 4);
            house.whoami(&fresh.access).await;
            Tokens::of(&house.refresh(&client, &fresh.refresh).await);
        }
    }
}

fn kid(tokens: &Tokens) -> String {
    let jws = Jws::parse(&tokens.access).unwrap();
    jws.kid().unwrap().to_owned()
}

fn key_id(ring: &KeyRing, alg: SigningAlg) -> String {
    let entry = ring.current_signing(alg).unwrap();
    entry.key().unwrap().kid().to_owned()
}

#[tokio::test]
async fn tokens_of_an_algorithm_that_was_added_are_verified_by_those_who_are_a_step_behind() {
    let mut house = house(TokenFormat::Jwt).await;
    let now = house.clock.now();
    let before = house.ring.clone();
    let mut added = before.clone();
    added.add(SigningAlg::EdDsa, now).unwrap();
    house.move_to(&added, 2);
    let kept = house.jwks().await;
    let (client, old) = house.sign_in().await;
    assert_eq!(kid(&old), key_id(&before, SigningAlg::Es256));
    // Nobody can sign with it before it is promoted.
    house.settings.tokens.signing_alg = SigningAlg::EdDsa;
    let refused = House::build(
        house.settings.clone(),
        &added,
        None,
        Arc::new(SystemClock),
        Arc::new(SystemRandom),
    );
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("not in use yet"), "{refused}");

    let due = now.plus(DEFAULT_PROPAGATION);
    let schedule = Schedule::default();
    let (promoted, _) = added
        .rotate(&schedule, When::Due, due, &SystemRandom)
        .unwrap();
    house.move_to(&promoted, 3);
    house.whoami(&old.access).await;
    let new = Tokens::of(&house.refresh(&client, &old.refresh).await);
    assert_eq!(kid(&new), key_id(&promoted, SigningAlg::EdDsa));
    Jws::parse(&new.access).unwrap().verify(&kept).unwrap();
    // A replica that has the ring of the step before, and the old setting.
    house.settings.tokens.signing_alg = SigningAlg::Es256;
    house.move_to(&added, 4);
    house.whoami(&new.access).await;
}

#[tokio::test]
async fn a_verifier_that_keeps_the_key_set_of_one_replica_verifies_the_tokens_of_the_other() {
    let mut house = house(TokenFormat::Jwt).await;
    let rings = steps(&house.ring, house.clock.now());
    for (maker, other) in neighbours(&rings) {
        house.move_to(other, 2);
        let kept = house.jwks().await;
        house.move_to(maker, 3);
        let (_, tokens) = house.sign_in().await;
        let token = Jws::parse(&tokens.access).unwrap();
        assert!(token.verify(&kept).is_ok());
    }
}

#[tokio::test]
async fn a_token_of_a_retired_key_is_good_until_it_ends() {
    for format in FORMATS {
        let mut house = house(format).await;
        let rings = steps(&house.ring, house.clock.now());
        let (client, tokens) = house.sign_in().await;
        house.move_to(&rings[3], 2);
        house.whoami(&tokens.access).await;
        assert_eq!(house.jwks().await.len(), 2);
        house.clock.advance(tokens.expires_in);
        house.assert_shut(&tokens.access, "it has ended").await;
        house.move_to(&rings[4], 3);
        assert_eq!(house.jwks().await.len(), 1);
        // The registration and the refresh token of the oldest key still open.
        Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    }
}

#[tokio::test]
async fn key_ids_stay_the_same_on_every_step_and_only_the_current_key_signs() {
    let mut house = house(TokenFormat::Jwt).await;
    let rings = steps(&house.ring, house.clock.now());
    let mut seen = Vec::new();
    for ring in &rings {
        house.move_to(ring, 2);
        let document = house.get("/jwks.json").await;
        let keys = document.json()["keys"].as_array().unwrap().clone();
        let (_, tokens) = house.sign_in().await;
        let kid = Jws::parse(&tokens.access)
            .unwrap()
            .kid()
            .unwrap()
            .to_owned();
        seen.push((keys, kid));
    }
    let [before, published, promoted, retired, forgotten] = seen.as_slice() else {
        panic!("{} steps", seen.len())
    };
    let (old, new) = (&before.1, &promoted.1);
    assert_ne!(old, new);
    assert_eq!(
        [&published.1, &retired.1, &forgotten.1],
        [old, new, new],
        "which key signs"
    );
    let holds = |keys: &[serde_json::Value], kid: &str| keys.iter().any(|key| key["kid"] == kid);
    for (keys, _) in [published, promoted, retired] {
        assert_eq!(keys.len(), 2);
        assert!(keys.contains(&before.0[0]) && holds(keys, new), "{keys:?}");
        assert!(keys.iter().all(|key| key.get("d").is_none()));
    }
    assert!(holds(&forgotten.0, new) && !holds(&forgotten.0, old));
}

#[tokio::test]
async fn the_key_set_may_not_be_kept_longer_than_a_rotation_waits() {
    let house = house(TokenFormat::Jwt).await;
    let answer = house.get("/jwks.json").await;
    let header = answer.header("cache-control").to_owned();
    let kept: u64 = header
        .strip_prefix("public, max-age=")
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(kept, JWKS_MAX_AGE);
    assert!(kept < Schedule::default().propagation);
}

#[tokio::test]
async fn a_stolen_ring_makes_nothing_that_counts_after_an_emergency() {
    for format in FORMATS {
        let mut house = house(format).await;
        let stolen = house.ring.clone();
        let (client, tokens) = house.sign_in().await;
        let replaced = |what| stolen.replace(what, UnixTime(1), &SystemRandom).unwrap();

        house.move_to(&replaced(Compromised::Signing), 2);
        match format {
            TokenFormat::Sealed => drop(house.whoami(&tokens.access).await),
            TokenFormat::Jwt => house.assert_shut(&tokens.access, "the old key").await,
        }
        // Nobody has to sign in again.
        let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
        house.whoami(&fresh.access).await;

        house.move_to(&replaced(Compromised::All), 3);
        house.assert_shut(&tokens.access, "the old ring").await;
        house.assert_shut(&fresh.access, "half the old ring").await;
        let answer = house.refresh(&client, &tokens.refresh).await;
        answer.assert_refused(401, "invalid_client", "registered under the old ring");
        assert_eq!(house.jwks().await.len(), 1);
    }
}

#[tokio::test]
async fn the_age_of_the_keys_is_told_with_readiness() {
    let mut house = house(TokenFormat::Sealed).await;
    let keys = async |house: &TestHouse| {
        let answer = house.get("/readyz").await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.json()["keys"].clone()
    };
    let told = keys(&house).await;
    assert_eq!(
        (&told["state"], &told["signing_age_days"]),
        (&"steady".into(), &0.into())
    );
    let rings = steps(&house.ring, house.clock.now());
    house.clock.advance(91 * DAY);
    let told = keys(&house).await;
    assert_eq!(
        (&told["state"], &told["sealing_age_days"]),
        (&"overdue".into(), &91.into())
    );
    house.move_to(&rings[1], 2);
    assert_eq!(keys(&house).await["state"], "rotating");
    house.move_to(&rings[2], 3);
    let told = keys(&house).await;
    assert_eq!(
        (&told["state"], &told["sealing_age_days"]),
        (&"steady".into(), &0.into())
    );
}
