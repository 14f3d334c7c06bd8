//! The store in DynamoDB: the contract, and what is particular to a table.

use std::sync::Arc;

use serde_json::json;
use vestibule::aws::{DYNAMODB, Retry};
use vestibule::store::{DynamoDbPlace, DynamoDbStore, Store, StoreError};
use vestibule_oauth::random::{Random as _, SystemRandom};
use vestibule_oauth::time::{Clock, ManualClock, SystemClock};

use crate::contract::{self, Bench};

contract::suite!(shared_table);

async fn shared_table() -> Bench {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let open = async || {
        let store = open("dynamodb://vestibule-contract?create=true", &clock);
        let warnings = store.check().await.unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        Arc::new(store) as Arc<dyn Store>
    };
    // Each with connections and credentials of its own, as two replicas have.
    Bench::new(open().await, open().await, clock, ())
}

fn open(url: &str, clock: &Arc<ManualClock>) -> DynamoDbStore {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let place = DynamoDbPlace::parse(url).unwrap();
    DynamoDbStore::open(place, &crate::aws(), clock, Arc::new(SystemRandom)).unwrap()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(SystemClock.now()))
}

fn table() -> String {
    format!("t-{}", SystemRandom.token(12))
}

#[tokio::test]
async fn a_missing_table_is_an_error_that_says_how_to_make_it() {
    let table = table();
    let error = open(&format!("dynamodb://{table}"), &clock())
        .check()
        .await
        .unwrap_err();
    let StoreError::Misconfigured(why) = error else {
        panic!("{error}");
    };
    let command = format!("aws dynamodb create-table --region eu-west-1 --table-name {table} ");
    assert!(why.contains(&command), "{why}");
    assert!(why.contains("update-time-to-live"), "{why}");
}

#[tokio::test]
async fn a_table_of_somebody_else_is_not_used() {
    let table = table();
    let input = json!({
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
    });
    let client = crate::aws().client(DYNAMODB, None, None).unwrap();
    client
        .call("CreateTable", &input, Retry::Freely)
        .await
        .unwrap();
    let store = open(&format!("dynamodb://{table}?create=true"), &clock());
    let error = store.check().await.unwrap_err();
    let StoreError::Misconfigured(why) = error else {
        panic!("{error}");
    };
    assert!(why.contains("has another key than `pk`"), "{why}");
}

#[tokio::test]
async fn a_table_that_keeps_what_has_ended_is_remarked_on() {
    let (table, clock) = (table(), clock());
    open(&format!("dynamodb://{table}?create=true"), &clock)
        .check()
        .await
        .unwrap();
    let store = open(&format!("dynamodb://{table}"), &clock);
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    let input = json!({
        "TableName": table,
        "TimeToLiveSpecification": { "Enabled": false, "AttributeName": "exp" },
    });
    let client = crate::aws().client(DYNAMODB, None, None).unwrap();
    client
        .call("UpdateTimeToLive", &input, Retry::Freely)
        .await
        .unwrap();
    let warnings = store.check().await.unwrap();
    assert!(
        warnings.iter().any(|text| text.contains("grows for ever")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_table_that_is_taken_away_is_said_so() {
    let store = open(&format!("dynamodb://{}", table()), &clock());
    let key = vestibule::store::Key::hashed(vestibule::store::Space::Grant, "x");
    let error = store.get(&key).await.unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
}
