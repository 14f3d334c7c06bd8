//! Random interleavings of refreshes, replicas, time, faults, crashes and revocation against a model in plain Rust.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use vestibule_oauth::time::{Clock as _, UnixTime};
use vestibule_standin::cognito::{Endpoint, Fault};

use super::rig::{Replica, stored};
use crate::support::{Client, TestHouse, Tokens, Trouble};

const REPLICAS: usize = 2;
/// No two replicas draw the same names for themselves.
static SEED: AtomicU64 = AtomicU64::new(1000);
/// The provider's time-out of these tests and the margin, in whole seconds.
const LEASE: u64 = 6;

#[derive(Clone, Debug)]
enum Step {
    /// Presents a token: the newest one, or one that is this much older.
    Refresh {
        older: usize,
        replica: usize,
    },
    Advance(u64),
    ProviderAway(bool),
    /// A replica dies after the provider has answered it and before that is stored; another one takes its place.
    Crash {
        replica: usize,
    },
    Revoke {
        older: usize,
    },
}

fn steps(crashes: bool) -> impl Strategy<Value = Vec<Step>> {
    let older = prop_oneof![12 => Just(0_usize), 3 => Just(1_usize), 1 => 2..5_usize];
    let refresh =
        (older, 0..REPLICAS).prop_map(|(older, replica)| Step::Refresh { older, replica });
    let advance = prop::sample::select(vec![1, 20, 60, 61, 400, 3600]).prop_map(Step::Advance);
    let crash = (0..REPLICAS).prop_map(|replica| Step::Crash { replica });
    let step = prop_oneof![
        12 => refresh,
        6 => advance,
        2 => any::<bool>().prop_map(Step::ProviderAway),
        if crashes { 2 } else { 0 } => crash,
        1 => (0..4_usize).prop_map(|older| Step::Revoke { older }),
    ];
    prop::collection::vec(step, 4..24)
}

/// What must come of a refresh.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// A token that nobody has seen before.
    New,
    /// The answer that this token was given before.
    Same(usize),
    /// 503.
    Later,
    /// 400.
    Dead,
}

/// The rules of design §5, as short as they can be said.
#[derive(Default)]
struct Model {
    /// Of each token that was replaced: when.
    replaced: Vec<UnixTime>,
    /// The newest token was presented, so everybody before it knows of it.
    newest_used: bool,
    lease_until: Option<UnixTime>,
    revoked: bool,
    away: bool,
    /// Questions to the provider that it answered.
    asked: u64,
}

impl Model {
    fn refresh(&mut self, index: usize, now: UnixTime) -> Expected {
        let newest = self.replaced.len();
        if self.revoked {
            return Expected::Dead;
        }
        if index < newest {
            let successor_used = index + 1 < newest || self.newest_used;
            let remembered = newest - index <= 16;
            let late = now.since(self.replaced[index]) > 60;
            self.revoked = !remembered || (successor_used && late);
            return if self.revoked {
                Expected::Dead
            } else {
                Expected::Same(index)
            };
        }
        if self.lease_until.is_some_and(|until| until > now) {
            return Expected::Later;
        }
        self.newest_used = true;
        self.lease_until = None;
        if self.away {
            return Expected::Later;
        }
        self.asked += 1;
        self.replaced.push(now);
        self.newest_used = false;
        Expected::New
    }

    /// The newest token is presented, and the replica dies.
    fn crash(&mut self, now: UnixTime) {
        if self.revoked || self.lease_until.is_some_and(|until| until > now) {
            return;
        }
        self.newest_used = true;
        self.lease_until = None;
        if !self.away {
            self.asked += 1;
            self.lease_until = Some(now.plus(LEASE));
        }
    }
}

async fn play(house: &TestHouse, steps: &[Step], rotating: bool) {
    house.cognito.control().clear_faults();
    let (client, first) = house.sign_in().await;
    house.cognito.control().reset_counters();
    let replica = || house.faulty_replica(SEED.fetch_add(1, Ordering::Relaxed));
    let mut replicas: Vec<Replica> = (0..REPLICAS).map(|_| replica()).collect();
    let mut tokens: Vec<Tokens> = vec![first];
    let mut model = Model::default();
    for step in steps {
        let now = house.clock.now();
        match step {
            Step::Refresh { older, replica } => {
                let index = (tokens.len() - 1).saturating_sub(*older);
                let expected = model.refresh(index, now);
                let answer = replicas[*replica]
                    .refresh(&client, &tokens[index].refresh)
                    .await;
                let what = format!("{expected:?} for {index} of {steps:?}: {}", answer.text());
                match expected {
                    Expected::New => {
                        assert_eq!(answer.status, 200, "{what}");
                        let fresh = Tokens::of(&answer);
                        assert!(
                            tokens.iter().all(|own| own.refresh != fresh.refresh),
                            "{what}"
                        );
                        tokens.push(fresh);
                    }
                    Expected::Same(index) => {
                        assert_eq!(answer.status, 200, "{what}");
                        assert_eq!(
                            Tokens::of(&answer).refresh,
                            tokens[index + 1].refresh,
                            "{what}"
                        );
                        assert_eq!(
                            Tokens::of(&answer).access,
                            tokens[index + 1].access,
                            "{what}"
                        );
                    }
                    Expected::Later => assert_eq!(answer.status, 503, "{what}"),
                    Expected::Dead => assert_eq!(answer.status, 400, "{what}"),
                }
            }
            Step::Advance(seconds) => house.clock.advance(*seconds),
            Step::ProviderAway(away) => {
                model.away = *away;
                let fault = away.then_some(Fault::Status(503));
                house
                    .cognito
                    .control()
                    .set_fault(Endpoint::Token, fault, None);
            }
            Step::Crash { replica: dying } => {
                model.crash(now);
                let dying = &mut replicas[*dying];
                dying.store.fail_writes(1, u64::MAX, Trouble::Refused);
                let newest = &tokens.last().unwrap().refresh;
                let answer = dying.refresh(&client, newest).await;
                assert_ne!(answer.status, 200, "{steps:?}");
                *dying = replica();
                // Given back or not, the lease of a replica whose provider was away must not hold anybody up for long.
                if model.away && !model.revoked {
                    house.clock.advance(LEASE);
                }
            }
            Step::Revoke { older } => {
                let index = (tokens.len() - 1).saturating_sub(*older);
                revoke(house, &client, &tokens[index].refresh).await;
                model.revoked = true;
            }
        }
        let presented = house.presented_refreshes();
        assert_eq!(presented.iter().sum::<u64>(), model.asked, "{steps:?}");
        if rotating {
            assert!(presented.iter().all(|times| *times == 1), "{steps:?}");
        }
    }
}

async fn revoke(house: &TestHouse, client: &Client, token: &str) {
    let form = [("token", token), ("client_id", client.id.as_str())];
    assert_eq!(house.post_form("/revoke", &form).await.status, 200);
}

fn run(rotation: Option<u64>, crashes: bool, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let house = runtime.block_on(stored(rotation));
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&steps(crashes), |steps| {
            runtime.block_on(play(&house, &steps, rotation.is_some()));
            Ok(())
        })
        .unwrap();
}

/// A provider that rotates without grace: a question too many would end the sign-in.
#[test]
fn any_order_of_refreshes_faults_and_revocations_does_what_the_model_says() {
    run(Some(0), false, 40);
}

/// A provider that does not rotate: crashes cost nothing but a second question.
#[test]
fn crashes_in_any_order_log_nobody_out() {
    run(None, true, 12);
}
