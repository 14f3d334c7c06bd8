//! What the store makes of the answers of DynamoDB that the servers of the contract never give.

use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::ManualClock;

use super::*;
use crate::aws::test_server::{START, TestServer, aws_at};

fn store(server: &TestServer) -> DynamoDbStore {
    let place = DynamoDbPlace::parse("dynamodb://vestibule").unwrap();
    let clock = Arc::new(ManualClock::new(START));
    DynamoDbStore::open(place, &aws_at(&server.url), clock, Arc::new(SystemRandom)).unwrap()
}

fn value() -> Value {
    Value {
        bytes: b"sealed".to_vec(),
        owner: None,
        expires_at: START.plus(60),
    }
}

fn key() -> Key {
    Key::hashed(Space::Grant, "a")
}

/// The item that a PutItem of ours held.
fn item(body: &str) -> Json {
    serde_json::from_str::<Json>(body).unwrap()["Item"].take()
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_not_taken_for_somebody_elses() {
    let server = TestServer::start(|number, asked| {
        if number == 0 {
            return (500, String::new());
        }
        let error = json!({ "__type": CONDITION_FAILED, "Item": item(&asked.body) });
        (400, error.to_string())
    })
    .await;
    let put = store(&server).put(&key(), value(), Expect::Absent).await;
    assert!(matches!(put.unwrap(), Put::Stored(_)));
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_write_that_somebody_else_won_is_a_conflict() {
    let server = TestServer::start(|_, asked| {
        let mut item = item(&asked.body);
        item[VERSION] = number(1);
        let error = json!({ "__type": CONDITION_FAILED, "Item": item });
        (400, error.to_string())
    })
    .await;
    let expect = Expect::Version(Version(7));
    let put = store(&server).put(&key(), value(), expect).await;
    assert_eq!(put.unwrap(), Put::Conflict);
}

#[tokio::test]
async fn what_works_once_is_not_asked_for_twice() {
    let server = TestServer::start(|_, _| (500, String::new())).await;
    let error = store(&server).take(&key()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let denied = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"no"}"#;
    let server = TestServer::start(move |_, _| (400, denied.to_owned())).await;
    let error = store(&server).get(&key()).await.unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
    assert!(error.to_string().contains("`dynamodb:GetItem`"), "{error}");
}

#[tokio::test]
async fn who_may_only_read_and_write_may_start() {
    let server = TestServer::start(|_, asked| match asked.operation() {
        "GetItem" => (200, "{}".to_owned()),
        _ => (400, r#"{"__type":"AccessDeniedException"}"#.to_owned()),
    })
    .await;
    let warnings = store(&server).check().await.unwrap();
    assert!(
        warnings[0].contains("dynamodb:DescribeTable"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn an_item_that_is_not_ours_is_not_read_as_one() {
    let server =
        TestServer::start(|_, _| (200, r#"{"Item":{"pk":{"S":"grant/x"}}}"#.to_owned())).await;
    let error = store(&server).get(&key()).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
}
