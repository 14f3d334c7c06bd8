//! What `/readyz` says of the store.

use http::StatusCode;
use vestibule_standin::cognito::CognitoOptions;

use crate::support::{TestHouse, Trouble};

#[tokio::test]
async fn a_house_is_ready_once_its_store_has_answered() {
    let (house, store) = TestHouse::with_faulty_store(|_| {}).await;
    store.down(Trouble::Refused);
    let seen = async || {
        let answer = house.get("/readyz").await;
        assert!(!answer.text().contains("secret-host"));
        let body = answer.json();
        let word = |name: &str| body[name].as_str().unwrap().to_owned();
        (answer.status, word("status"), word("store"))
    };
    let said = |status, word: &str, store: &str| (status, word.to_owned(), store.to_owned());
    let waiting = said(StatusCode::SERVICE_UNAVAILABLE, "waiting", "unavailable");
    assert_eq!(seen().await, waiting);
    store.mend();
    let unread = said(
        StatusCode::SERVICE_UNAVAILABLE,
        "waiting",
        "revocations_unread",
    );
    assert_eq!(seen().await, unread);
    house.house.follow_once().await.unwrap();
    assert_eq!(seen().await, said(StatusCode::OK, "ready", "ok"));
    // Tokens that were issued go on working, so it stays in service.
    store.down(Trouble::Refused);
    assert_eq!(seen().await, said(StatusCode::OK, "ready", "unavailable"));
}

#[tokio::test]
async fn without_a_store_nothing_is_said_of_one() {
    let house = TestHouse::new().await;
    assert!(house.get("/readyz").await.json().get("store").is_none());
    let house = TestHouse::stored(CognitoOptions::default(), |_| {}).await;
    house.house.follow_once().await.unwrap();
    assert_eq!(house.get("/readyz").await.json()["store"], "ok");
}
