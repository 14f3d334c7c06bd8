//! The store stands still, dies and comes back while people refresh: 503 with `Retry-After`, then good again, and nobody
//! is logged out, although the provider's tokens work once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::client::{Client, assert_busy, refresh_token};
use crate::server::Server;
use crate::street::{Plan, Street};

mod redis {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_outage_of_the_store_logs_nobody_out() {
        super::an_outage_logs_nobody_out(crate::server::Server::redis().await).await;
    }
}

mod postgres {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_outage_of_the_store_logs_nobody_out() {
        super::an_outage_logs_nobody_out(crate::server::Server::postgres().await).await;
    }
}

async fn an_outage_logs_nobody_out(mut server: Server) {
    let url = server.url.clone();
    let street = Street::open(Plan {
        timeout: 1,
        ..Plan::new(&url, Some(0))
    })
    .await;
    let (client, token) = street.sign_in().await;
    let crowd = Crowd::start(&street).await;
    tokio::time::sleep(Duration::from_millis(500)).await;

    // Before the provider is asked.
    server.stand_still();
    let answers = [client.refresh(0, &token), client.refresh(1, &token)];
    for answer in futures_util::future::join_all(answers).await {
        assert_busy(&answer.unwrap());
    }
    server.go_on();
    let answer = client.refresh_until_good(1, &token).await;
    let token = refresh_token(&answer);
    client.assert_open(&answer).await;

    // After the provider was asked; its answer must be kept, and the other replica goes on from it.
    let asked = street.begin_refresh(&client, &token).await;
    server.stand_still();
    assert_busy(&asked.await.unwrap().unwrap());
    assert_busy(&client.refresh(1, &token).await.unwrap());
    server.go_on();
    let answer = client.refresh_until_good(1, &token).await;
    assert_eq!(client.refresh_until_good(0, &token).await.body, answer.body);
    let token = refresh_token(&answer);

    // The same, and it is gone for a while.
    let asked = street.begin_refresh(&client, &token).await;
    server.kill();
    assert_busy(&asked.await.unwrap().unwrap());
    assert_busy(&client.refresh(1, &token).await.unwrap());
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.start_again();
    let answer = client.refresh_until_good(0, &token).await;
    client.assert_open(&answer).await;
    assert_eq!(client.refresh_until_good(1, &token).await.body, answer.body);

    let (good, busy) = crowd.stop().await;
    println!("the crowd: {good} refreshes, {busy} times 503");
    assert!(good >= 8 && busy >= 4, "{good} {busy}");
}

/// People who refresh all the time, whatever happens.
struct Crowd {
    people: Vec<JoinHandle<(Client, String)>>,
    over: Arc<AtomicBool>,
    good: Arc<AtomicUsize>,
    busy: Arc<AtomicUsize>,
}

impl Crowd {
    async fn start(street: &Street) -> Self {
        let mut crowd = Self {
            people: Vec::new(),
            over: Arc::default(),
            good: Arc::default(),
            busy: Arc::default(),
        };
        for number in 0..4 {
            let (client, token) = street.sign_in().await;
            let (over, good) = (Arc::clone(&crowd.over), Arc::clone(&crowd.good));
            let busy = Arc::clone(&crowd.busy);
            crowd.people.push(tokio::spawn(async move {
                let (mut token, mut tries) = (token, number);
                while !over.load(Ordering::SeqCst) {
                    tries += 1;
                    let answer = client.refresh(tries % 2, &token).await.unwrap();
                    if answer.status == 200 {
                        token = refresh_token(&answer);
                        good.fetch_add(1, Ordering::SeqCst);
                    } else {
                        assert_busy(&answer);
                        busy.fetch_add(1, Ordering::SeqCst);
                    }
                    tokio::time::sleep(Duration::from_millis(150)).await;
                }
                (client, token)
            }));
        }
        crowd
    }

    /// Everybody must still be signed in. How many refreshes there were, and how many times somebody had to come again.
    async fn stop(self) -> (usize, usize) {
        self.over.store(true, Ordering::SeqCst);
        for person in self.people {
            let (client, token) = person.await.unwrap();
            let answer = client.refresh_until_good(1, &token).await;
            client.assert_open(&answer).await;
        }
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (count(&self.good), count(&self.busy))
    }
}
