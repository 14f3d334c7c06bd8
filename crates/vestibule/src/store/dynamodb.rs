//! A store in a DynamoDB table: one item for an entry, conditional writes, an index by owner
//! (facts/deployment-and-operations.md §4).

mod place;
mod table;

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};
use vestibule_oauth::random::Random;
use vestibule_oauth::time::{Clock, UnixTime};

use super::{Entry, Expect, Key, Owner, Put, Space, Store, StoreError, Value, Version};
use crate::aws::{Aws, AwsClient, AwsError, DYNAMODB, Retry};

pub use place::DynamoDbPlace;

/// Attributes. `exp` is the one that DynamoDB's time to live looks at; it deletes days late, so every operation looks
/// at it too.
const KEY: &str = "pk";
const BYTES: &str = "value";
const VERSION: &str = "version";
const OWNER: &str = "owner";
const END: &str = "exp";
/// The index by owner; entries without one are not in it.
const OWNER_INDEX: &str = "owner-key";
/// Versions are numbers that every JSON reader on the way keeps exactly.
const VERSION_BITS: u32 = 53;
/// DynamoDB reads no more than this at once, in items.
const LARGEST_PAGE: usize = 1000;

/// Entries in a table.
#[derive(Debug)]
pub struct DynamoDbStore {
    client: AwsClient,
    place: DynamoDbPlace,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl DynamoDbStore {
    /// The store at a place. Nothing is sent: [`Store::check`] does that.
    pub fn open(
        place: DynamoDbPlace,
        aws: &Arc<Aws>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, StoreError> {
        let client = aws
            .client(DYNAMODB, place.region.as_deref(), place.endpoint.as_deref())
            .map_err(|error| StoreError::Misconfigured(error.to_string()))?;
        Ok(Self {
            client,
            place,
            clock,
            random,
        })
    }

    async fn call(&self, operation: &str, input: &Json, retry: Retry) -> Result<Json, StoreError> {
        let answer = self.client.call(operation, input, retry).await;
        answer.map_err(|error| self.sorted(operation, &error))
    }

    /// What an error means for the operator.
    fn sorted(&self, operation: &str, error: &AwsError) -> StoreError {
        let (table, region) = (&self.place.table, self.client.region());
        if error.is_denied() {
            return StoreError::Misconfigured(format!(
                "who we are needs `dynamodb:{operation}` on the table {table} and its indexes ({error})"
            ));
        }
        if error.code() == Some("ResourceNotFoundException") {
            return StoreError::Misconfigured(format!(
                "there is no table {table} in {region}, or it has no index {OWNER_INDEX}; {}",
                self.how_to_create()
            ));
        }
        if error.is_transient() {
            return StoreError::Unavailable(error.to_string());
        }
        StoreError::Misconfigured(error.to_string())
    }

    fn now(&self) -> UnixTime {
        self.clock.now()
    }

    fn new_version(&self) -> Version {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        Version(u64::from_le_bytes(bytes) >> (u64::BITS - VERSION_BITS))
    }

    fn key(&self, key: &Key) -> Json {
        json!({ "TableName": self.place.table, "Key": { KEY: { "S": key.as_str() } } })
    }

    /// An item that is there and has not ended.
    fn live(&self, item: &Json) -> Result<Option<Entry>, StoreError> {
        let entry = read(item).ok_or_else(|| {
            let key = text(item, KEY).unwrap_or_default();
            StoreError::Corrupt(format!("the item {key} in {}", self.place.table))
        })?;
        Ok(Some(entry).filter(|entry| entry.value.expires_at > self.now()))
    }

    /// Deletes what has not ended, and gives it.
    async fn remove(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let mut input = self.key(key);
        merge(
            &mut input,
            json!({
                "ConditionExpression": "#end > :now",
                "ExpressionAttributeNames": { "#end": END },
                "ExpressionAttributeValues": { ":now": number(self.now().0) },
                "ReturnValues": "ALL_OLD",
            }),
        );
        // Once only: if the answer is lost, a second attempt would say that nothing was there.
        match self
            .client
            .call("DeleteItem", &input, Retry::IfUntouched)
            .await
        {
            Ok(answer) => match answer.get("Attributes") {
                Some(item) => self.live(item),
                None => Ok(None),
            },
            Err(error) if is_condition(&error) => Ok(None),
            Err(error) => Err(self.sorted("DeleteItem", &error)),
        }
    }
}

#[async_trait]
impl Store for DynamoDbStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let mut input = self.key(key);
        merge(&mut input, json!({ "ConsistentRead": true }));
        let answer = self.call("GetItem", &input, Retry::Freely).await?;
        match answer.get("Item") {
            Some(item) => self.live(item),
            None => Ok(None),
        }
    }

    async fn put(&self, key: &Key, value: Value, expect: Expect) -> Result<Put, StoreError> {
        let version = self.new_version();
        let mut input = json!({
            "TableName": self.place.table,
            "Item": write(key, &value, version),
        });
        let now = number(self.now().0);
        match expect {
            Expect::Any => {}
            Expect::Absent => merge(
                &mut input,
                json!({
                    "ConditionExpression": "attribute_not_exists(#key) OR #end <= :now",
                    "ExpressionAttributeNames": { "#key": KEY, "#end": END },
                    "ExpressionAttributeValues": { ":now": now },
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }),
            ),
            Expect::Version(expected) => merge(
                &mut input,
                json!({
                    "ConditionExpression": "#version = :version AND #end > :now",
                    "ExpressionAttributeNames": { "#version": VERSION, "#end": END },
                    "ExpressionAttributeValues": { ":version": number(expected.0), ":now": now },
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }),
            ),
        }
        match self.client.call("PutItem", &input, Retry::Freely).await {
            Ok(_) => Ok(Put::Stored(version)),
            Err(AwsError::Refused { code, item, .. }) if code == CONDITION_FAILED => {
                // An attempt of ours that was thought lost was not: what is in the way is what we wrote.
                let ours = item
                    .as_ref()
                    .and_then(|item| integer(item, VERSION))
                    .is_some_and(|there| there == version.0);
                Ok(if ours {
                    Put::Stored(version)
                } else {
                    Put::Conflict
                })
            }
            Err(error) => Err(self.sorted("PutItem", &error)),
        }
    }

    async fn take(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.remove(key).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.remove(key).await?.is_some())
    }

    async fn list(
        &self,
        owner: &Owner,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        let mut behind = after.cloned();
        while entries.len() < limit {
            let mut input = json!({
                "TableName": self.place.table,
                "IndexName": OWNER_INDEX,
                "KeyConditionExpression": "#owner = :owner",
                "ExpressionAttributeNames": { "#owner": OWNER },
                "ExpressionAttributeValues": { ":owner": { "S": owner.as_str() } },
                "Limit": (limit - entries.len()).min(LARGEST_PAGE),
            });
            if let Some(key) = &behind {
                input["KeyConditionExpression"] = json!("#owner = :owner AND #key > :after");
                input["ExpressionAttributeNames"]["#key"] = json!(KEY);
                input["ExpressionAttributeValues"][":after"] = json!({ "S": key.as_str() });
            }
            let answer = self.call("Query", &input, Retry::Freely).await?;
            entries.extend(self.entries(&answer)?);
            // Ended entries are left out here and not by a filter there, which would be charged and paged the same.
            match last_key(&answer) {
                Some(key) => behind = Some(Key::from_text(key)),
                None => break,
            }
        }
        Ok(entries)
    }

    async fn scan(
        &self,
        space: Space,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<String>), StoreError> {
        let mut input = json!({
            "TableName": self.place.table,
            "FilterExpression": "begins_with(#key, :space)",
            "ExpressionAttributeNames": { "#key": KEY },
            "ExpressionAttributeValues": { ":space": { "S": format!("{}/", space.name()) } },
            "Limit": limit.clamp(1, LARGEST_PAGE),
        });
        if let Some(cursor) = cursor {
            input["ExclusiveStartKey"] = json!({ KEY: { "S": cursor } });
        }
        let answer = self.call("Scan", &input, Retry::Freely).await?;
        Ok((self.entries(&answer)?, last_key(&answer)))
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.check_table().await
    }

    fn describe(&self) -> String {
        format!(
            "DynamoDB table {} in {}",
            self.place.table,
            self.client.region()
        )
    }
}

impl DynamoDbStore {
    /// The entries of an answer that have not ended.
    fn entries(&self, answer: &Json) -> Result<Vec<Entry>, StoreError> {
        let items = answer.get("Items").and_then(Json::as_array);
        let entries = items.into_iter().flatten().map(|item| self.live(item));
        entries.filter_map(Result::transpose).collect()
    }
}

const CONDITION_FAILED: &str = "ConditionalCheckFailedException";

fn is_condition(error: &AwsError) -> bool {
    error.code() == Some(CONDITION_FAILED)
}

fn last_key(answer: &Json) -> Option<String> {
    text(answer.get("LastEvaluatedKey")?, KEY).map(str::to_owned)
}

fn write(key: &Key, value: &Value, version: Version) -> Json {
    let mut item = json!({
        KEY: { "S": key.as_str() },
        BYTES: { "B": STANDARD.encode(&value.bytes) },
        VERSION: number(version.0),
        END: number(value.expires_at.0),
    });
    if let Some(owner) = &value.owner {
        item[OWNER] = json!({ "S": owner.as_str() });
    }
    item
}

fn read(item: &Json) -> Option<Entry> {
    let bytes = item.get(BYTES)?.get("B")?.as_str()?;
    Some(Entry {
        key: Key::from_text(text(item, KEY)?.to_owned()),
        value: Value {
            bytes: STANDARD.decode(bytes).ok()?,
            owner: text(item, OWNER).map(|owner| Owner::from_text(owner.to_owned())),
            expires_at: UnixTime(integer(item, END)?),
        },
        version: Version(integer(item, VERSION)?),
    })
}

fn text<'a>(item: &'a Json, name: &str) -> Option<&'a str> {
    item.get(name)?.get("S")?.as_str()
}

fn integer(item: &Json, name: &str) -> Option<u64> {
    item.get(name)?.get("N")?.as_str()?.parse().ok()
}

/// DynamoDB's numbers travel as text.
fn number(value: u64) -> Json {
    json!({ "N": value.to_string() })
}

fn merge(input: &mut Json, more: Json) {
    let (Some(input), Json::Object(more)) = (input.as_object_mut(), more) else {
        return;
    };
    Map::extend(input, more);
}

#[cfg(test)]
mod tests;
