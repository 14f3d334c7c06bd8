//! Refreshes of one token at the same time (design §5.1, §5.2).

use futures_util::future::join_all;

use crate::client::refresh_token;
use crate::street::{Plan, Street};

pub(crate) async fn fifty_refreshes_at_once_are_one_question_and_one_answer(store: &str) {
    for rotation in [None, Some(60), Some(0)] {
        let street = Street::open(Plan::new(store, rotation)).await;
        let (client, token) = street.sign_in().await;
        street.slow(100, 1);
        let calls = (0..50).map(|number| client.refresh(number % (street.other() + 1), &token));
        let answers = join_all(calls).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        for answer in &answers {
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.body, answers[0].body);
        }
        assert_eq!(street.presented(), [1], "{rotation:?}");
        client.assert_open(&answers[0]).await;
        // Late, at the other replica: still the same, and no other question.
        let late = client.refresh(street.other(), &token).await.unwrap();
        assert_eq!(late.body, answers[0].body);
        assert_eq!(street.presented(), [1], "{rotation:?}");
        let next = refresh_token(&late);
        let next = client.refresh(street.other(), &next).await.unwrap();
        assert_ne!(refresh_token(&next), refresh_token(&late));
    }
}

pub(crate) async fn a_client_that_hangs_up_finds_its_answer_at_the_other_replica(store: &str) {
    let street = Street::open(Plan::new(store, Some(0))).await;
    let (client, token) = street.sign_in().await;
    let asked = street.begin_refresh(&client, &token).await;
    asked.abort();
    assert!(asked.await.is_err());
    let answer = client.refresh(street.other(), &token).await.unwrap();
    refresh_token(&answer);
    assert_eq!(street.presented(), [1]);
    client.assert_open(&answer).await;
}
