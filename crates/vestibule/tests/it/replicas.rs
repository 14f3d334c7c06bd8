//! Several replicas with one key file and nothing else in common (law 7, design §3 "carried state"), and its rotation.

use vestibule::keys::KeyRing;
use vestibule::settings::TokenFormat;
use vestibule_oauth::jose::SigningAlg;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::Clock as _;
use vestibule_standin::cognito::Endpoint;

use crate::support::{Browser, CALLBACK, Client, ORIGIN, TestHouse, Tokens};

impl TestHouse {
    /// From now on another replica answers what is not sent by a browser.
    fn go_to(&mut self, seed: u64) {
        self.router = self.replica(seed);
    }

    fn with_ring(&mut self, ring: &KeyRing) {
        self.ring = ring.clone();
        self.go_to(50);
    }

    fn new_ring(&self) -> KeyRing {
        KeyRing::generate(&SigningAlg::ALL, self.clock.now(), &SystemRandom).unwrap()
    }
}

/// A sign-in in which no two requests in a row reach the same replica.
async fn hop_by_hop(house: &mut TestHouse, replicas: usize) -> (Client, Tokens) {
    let routers: Vec<_> = (10_u64..)
        .take(replicas)
        .map(|seed| house.replica(seed))
        .collect();
    let client = house.register(CALLBACK).await;
    house.go_to(11);
    let mut browser = Browser::new(ORIGIN, routers);
    let code = house
        .code_in(&mut browser, &client, "ada", "lovelace")
        .await;
    house.go_to(12);
    let tokens = Tokens::of(&house.redeem(&client, &code).await);
    (client, tokens)
}

#[tokio::test]
async fn every_hop_may_reach_another_replica() {
    for format in [TokenFormat::Sealed, TokenFormat::Jwt] {
        for replicas in [2, 3] {
            let mut house =
                TestHouse::with(|settings| settings.resources[0].token_format = format).await;
            let (client, tokens) = hop_by_hop(&mut house, replicas).await;
            house.go_to(13);
            assert_eq!(
                house.whoami(&tokens.access).await["claims"]["email"],
                "ada@example.com"
            );
            house.go_to(14);
            let fresh = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
            house.go_to(15);
            house.whoami(&fresh.access).await;
            let form = [
                ("token", fresh.refresh.as_str()),
                ("client_id", client.id.as_str()),
            ];
            assert_eq!(house.post_form("/revoke", &form).await.status, 200);
            house
                .assert_shut(&fresh.access, "at the replica that revoked")
                .await;
            house.go_to(16);
            let answer = house.refresh(&client, &fresh.refresh).await;
            answer.assert_refused(400, "invalid_grant", "at every other replica");
        }
    }
}

/// The registration of a client survives restarts and years: nothing is stored, and nothing expires.
#[tokio::test]
async fn a_client_of_years_ago_signs_in_at_a_replica_that_has_just_started() {
    let mut house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    house.clock.advance(5 * 365 * 24 * 3600);
    house.go_to(2);
    let code = house.code(&client).await;
    Tokens::of(&house.redeem(&client, &code).await);
}

#[tokio::test]
async fn a_code_is_redeemed_once_although_two_replicas_are_asked() {
    let mut house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    house.go_to(2);
    Tokens::of(&house.redeem(&client, &code).await);
    house.go_to(3);
    let again = house.redeem(&client, &code).await;
    again.assert_refused(400, "invalid_grant", "replay at another replica");
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 2);
}

/// New keys in front, the old ones behind, in one step by hand (step by step: `keys.rs`). Everything of before goes on working.
#[tokio::test]
async fn a_rotated_ring_opens_what_the_old_one_sealed_and_the_new_one_too() {
    for format in [TokenFormat::Sealed, TokenFormat::Jwt] {
        let mut house =
            TestHouse::with(|settings| settings.resources[0].token_format = format).await;
        let client = house.register(CALLBACK).await;
        let (other, tokens) = house.sign_in().await;
        let mut browser = house.browser();
        let approved = house.approve(&mut browser, &client).await;
        let pending = house.code(&client).await;

        let (old, new) = (house.ring.clone(), house.new_ring());
        let rotated = KeyRing {
            sealing: [new.sealing.clone(), old.sealing.clone()].concat(),
            signing: [new.signing.clone(), old.signing.clone()].concat(),
            retired: Vec::new(),
        };
        let old_kids = house.get("/jwks.json").await.json()["keys"].clone();
        house.with_ring(&rotated);
        // The published keys are those of both, so that verifiers outside follow.
        let kids = house.get("/jwks.json").await.json()["keys"].clone();
        let (kids, old_kids) = (kids.as_array().unwrap(), old_kids.as_array().unwrap());
        assert_eq!(kids.len(), 2 * old_kids.len());
        assert!(old_kids.iter().all(|kid| kids.contains(kid)));

        // Registration, sign-in under way, code, access and refresh token of before.
        let mut moved = Browser::new(ORIGIN, vec![house.router.clone()]);
        moved.jars = std::mem::take(&mut browser.jars);
        let back = moved
            .sign_in_at_provider(approved.location(), "ada", "lovelace")
            .await;
        let code = moved
            .get(back.location())
            .await
            .location_param("code")
            .unwrap();
        Tokens::of(&house.redeem(&client, &pending).await);
        let fresh = Tokens::of(&house.redeem(&client, &code).await);
        house.whoami(&tokens.access).await;
        let renewed = Tokens::of(&house.refresh(&other, &tokens.refresh).await);
        house.whoami(&renewed.access).await;

        // Sealed with the new key: the old ring does not know it.
        house.with_ring(&old);
        house.assert_shut(&fresh.access, "the old ring").await;
        let answer = house.refresh(&client, &fresh.refresh).await;
        answer.assert_refused(400, "invalid_grant", "the old ring");
        // Published beforehand, as `keys rotate` does it, the new key opens while the old one still seals.
        let published = KeyRing {
            sealing: [old.sealing.clone(), new.sealing.clone()].concat(),
            signing: [old.signing.clone(), new.signing.clone()].concat(),
            retired: Vec::new(),
        };
        house.with_ring(&published);
        house.whoami(&fresh.access).await;
        Tokens::of(&house.refresh(&client, &fresh.refresh).await);
        // Retired, the old key opens nothing any more, and says so in a way that a client can mend.
        house.with_ring(&new);
        house
            .assert_shut(&tokens.access, "the old key is retired")
            .await;
        let answer = house.refresh(&client, &fresh.refresh).await;
        answer.assert_refused(
            401,
            "invalid_client",
            "the client was registered under the old key",
        );
    }
}

/// Two installations that share a key file by accident do not accept each other's artefacts.
#[tokio::test]
async fn another_origin_with_the_same_keys_accepts_nothing_of_ours() {
    for format in [TokenFormat::Sealed, TokenFormat::Jwt] {
        let house = TestHouse::with(|settings| settings.resources[0].token_format = format).await;
        let (client, tokens) = house.sign_in().await;
        let mut other = TestHouse::with(|settings| {
            let origin = vestibule_oauth::url::Origin::parse("https://other.example.test").unwrap();
            let first = &mut settings.resources[0];
            // Even a resource of the same name, so that only the issuer differs.
            first.token_format = format;
            settings.public_url = origin;
        })
        .await;
        other.with_ring(&house.ring);
        house.whoami(&tokens.access).await;
        let before = other.demo.requests();
        let answer = other.tool_at("/mcp", &tokens.access, &[], "whoami").await;
        assert_eq!(answer.status, 401);
        let challenge = answer.header("www-authenticate");
        assert!(
            challenge.starts_with("Bearer error=\"invalid_token\""),
            "{challenge}"
        );
        assert_eq!(other.demo.requests(), before);
        let answer = other.refresh(&client, &tokens.refresh).await;
        answer.assert_refused(401, "invalid_client", "a client of ours");
        let desk = Client {
            id: "desk".to_owned(),
            ..client
        };
        let answer = other.refresh(&desk, &tokens.refresh).await;
        answer.assert_refused(400, "invalid_grant", "a grant of ours");
    }
}
