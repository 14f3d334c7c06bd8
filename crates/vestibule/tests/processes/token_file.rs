//! Command-line clients of one user that share a file with tokens (facts/clients.md §5 no. 6). An hour is 100 ms here:
//! each reads the file, refreshes when what is in it is that old, and writes what it was given.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use vestibule_oauth::random::{Random as _, SystemRandom};

use crate::client::{Client, refresh_token};
use crate::street::{Plan, Street};

const PROCESSES: usize = 5;
const ROUNDS: usize = 40;
const HOUR: Duration = Duration::from_millis(100);

pub(crate) async fn processes_that_share_a_token_file_stay_signed_in(store: &str) {
    // The strictest provider: each of its tokens works once.
    let street = Street::open(Plan::new(store, Some(0))).await;
    let (client, token) = street.sign_in().await;
    let file = street.directory.join("tokens");
    std::fs::write(&file, &token).unwrap();
    let running = (0..PROCESSES).map(|number| {
        let process = Process {
            client: client.clone(),
            file: file.clone(),
            number,
            replicas: street.replicas.len(),
        };
        tokio::spawn(process.run())
    });
    let refreshed: usize = join_all(running)
        .await
        .into_iter()
        .map(Result::unwrap)
        .sum();
    assert_eq!(refreshed, PROCESSES * ROUNDS);
    let questions = street.presented();
    assert!(
        questions.iter().all(|times| *times == 1),
        "a token of the provider was presented twice: {questions:?}"
    );
    assert!(questions.len() >= ROUNDS, "{}", questions.len());
    let last = std::fs::read_to_string(&file).unwrap();
    let answer = client.refresh(street.other(), &last).await.unwrap();
    client.assert_open(&answer).await;
}

/// A script starts a dozen at once, and each of them refreshes as it starts, with whatever is in the file by then.
pub(crate) async fn a_dozen_that_start_at_once_and_share_a_token_file_stay_signed_in(store: &str) {
    let street = Street::open(Plan::new(store, Some(0))).await;
    let (client, token) = street.sign_in().await;
    let file = street.directory.join("tokens");
    std::fs::write(&file, &token).unwrap();
    for round in 0..4 {
        let running = (0..12).map(|number| {
            let process = Process {
                client: client.clone(),
                file: file.clone(),
                number,
                replicas: street.replicas.len(),
            };
            tokio::spawn(async move {
                pause(HOUR * 2).await;
                let token = std::fs::read_to_string(&process.file).unwrap();
                pause(HOUR * 2).await;
                process.refresh(round, &token).await;
            })
        });
        for process in join_all(running).await {
            process.unwrap();
        }
    }
    assert!(street.presented().iter().all(|times| *times == 1));
}

struct Process {
    client: Client,
    file: PathBuf,
    number: usize,
    replicas: usize,
}

impl Process {
    async fn run(self) -> usize {
        let mut refreshed = 0;
        while refreshed < ROUNDS {
            if self.age() < HOUR {
                pause(HOUR / 4).await;
                continue;
            }
            let token = std::fs::read_to_string(&self.file).unwrap();
            // Something else to do before it asks; now and then more than an hour.
            pause(if refreshed % 8 == 7 {
                HOUR * 2
            } else {
                HOUR / 3
            })
            .await;
            self.refresh(refreshed, &token).await;
            refreshed += 1;
        }
        refreshed
    }

    async fn refresh(&self, round: usize, token: &str) {
        let replica = (self.number + round) % self.replicas;
        let answer = self.client.refresh(replica, token).await.unwrap();
        assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
        self.write(&refresh_token(&answer));
    }

    fn age(&self) -> Duration {
        let written = std::fs::metadata(&self.file).unwrap().modified().unwrap();
        let age = SystemTime::elapsed(&written);
        age.unwrap_or_default()
    }

    /// As a careful program does: another process reads all of it or what was there before.
    fn write(&self, token: &str) {
        let new = self.file.with_extension(self.number.to_string());
        std::fs::write(&new, token).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }
}

/// Up to `longest`.
async fn pause(longest: Duration) {
    let mut byte = [0];
    SystemRandom.fill(&mut byte);
    tokio::time::sleep(longest * u32::from(byte[0]) / 255).await;
}
