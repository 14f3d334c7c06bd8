//! The table itself: is it there, is it as we need it, and how to make it.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{DynamoDbStore, END, KEY, OWNER, OWNER_INDEX};
use crate::aws::Retry;
use crate::store::{Key, Store as _, StoreError};

/// A new table takes seconds to become usable.
const POLLS: usize = 120;
const POLL_PAUSE: Duration = Duration::from_millis(500);

impl DynamoDbStore {
    pub(super) async fn check_table(&self) -> Result<Vec<String>, StoreError> {
        let table = match self.describe_table().await? {
            Described::Forbidden => return self.try_without_looking().await,
            Described::Missing if self.place.create => {
                self.create().await?;
                self.until_active().await?
            }
            Described::Missing => {
                return Err(StoreError::Misconfigured(format!(
                    "there is no table {} in {}; {}",
                    self.place.table,
                    self.client.region(),
                    self.how_to_create()
                )));
            }
            Described::There(table) if is_active(&table) => table,
            Described::There(_) => self.until_active().await?,
        };
        self.must_fit(&table)?;
        Ok(self.time_to_live().await.into_iter().collect())
    }

    /// What makes the table, to be pasted into a shell.
    pub(super) fn how_to_create(&self) -> String {
        let (table, region) = (&self.place.table, self.client.region());
        let endpoint = self.place.endpoint.as_deref();
        let endpoint = endpoint.map_or_else(String::new, |url| format!(" --endpoint-url {url}"));
        format!(
            "make it with `aws dynamodb create-table --region {region}{endpoint} --table-name {table} --billing-mode \
             PAY_PER_REQUEST --attribute-definitions AttributeName={KEY},AttributeType=S \
             AttributeName={OWNER},AttributeType=S --key-schema AttributeName={KEY},KeyType=HASH \
             --global-secondary-indexes 'IndexName={OWNER_INDEX},KeySchema=[{{AttributeName={OWNER},KeyType=HASH}},\
             {{AttributeName={KEY},KeyType=RANGE}}],Projection={{ProjectionType=ALL}}'` and then `{}`, or let Vestibule do \
             it with `create=true` in the URL",
            self.how_to_end()
        )
    }

    fn how_to_end(&self) -> String {
        let (table, region) = (&self.place.table, self.client.region());
        let endpoint = self.place.endpoint.as_deref();
        let endpoint = endpoint.map_or_else(String::new, |url| format!(" --endpoint-url {url}"));
        format!(
            "aws dynamodb update-time-to-live --region {region}{endpoint} --table-name {table} \
             --time-to-live-specification Enabled=true,AttributeName={END}"
        )
    }

    async fn describe_table(&self) -> Result<Described, StoreError> {
        let input = json!({ "TableName": self.place.table });
        match self
            .client
            .call("DescribeTable", &input, Retry::Freely)
            .await
        {
            Ok(mut answer) => Ok(Described::There(
                answer.get_mut("Table").map(Json::take).unwrap_or_default(),
            )),
            Err(error) if error.is_denied() => Ok(Described::Forbidden),
            Err(error) if error.code() == Some("ResourceNotFoundException") => {
                Ok(Described::Missing)
            }
            Err(error) => Err(self.sorted("DescribeTable", &error)),
        }
    }

    async fn create(&self) -> Result<(), StoreError> {
        let input = json!({
            "TableName": self.place.table,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                { "AttributeName": KEY, "AttributeType": "S" },
                { "AttributeName": OWNER, "AttributeType": "S" },
            ],
            "KeySchema": [{ "AttributeName": KEY, "KeyType": "HASH" }],
            "GlobalSecondaryIndexes": [{
                "IndexName": OWNER_INDEX,
                "KeySchema": [
                    { "AttributeName": OWNER, "KeyType": "HASH" },
                    { "AttributeName": KEY, "KeyType": "RANGE" },
                ],
                "Projection": { "ProjectionType": "ALL" },
            }],
        });
        match self.client.call("CreateTable", &input, Retry::Freely).await {
            Ok(_) => Ok(()),
            // Another replica was quicker, or an attempt of ours that was thought lost.
            Err(error) if error.code() == Some("ResourceInUseException") => Ok(()),
            Err(error) => Err(self.sorted("CreateTable", &error)),
        }
    }

    async fn until_active(&self) -> Result<Json, StoreError> {
        for _ in 0..POLLS {
            if let Described::There(table) = self.describe_table().await?
                && is_active(&table)
            {
                return Ok(table);
            }
            tokio::time::sleep(POLL_PAUSE).await;
        }
        Err(StoreError::Unavailable(format!(
            "the table {} does not become active",
            self.place.table
        )))
    }

    /// Key and index must be ours: a table of somebody else's is not written to.
    fn must_fit(&self, table: &Json) -> Result<(), StoreError> {
        let key_is = |schema: Option<&Json>, wanted: &[&str]| {
            let schema = schema.and_then(Json::as_array);
            let names = schema.into_iter().flatten();
            let names: Vec<&str> = names
                .filter_map(|part| part.get("AttributeName")?.as_str())
                .collect();
            names == wanted
        };
        let misfit = |what: &str| {
            StoreError::Misconfigured(format!(
                "the table {} in {} {what}; name another one, or {}",
                self.place.table,
                self.client.region(),
                self.how_to_create()
            ))
        };
        if !key_is(table.get("KeySchema"), &[KEY]) {
            return Err(misfit(&format!("has another key than `{KEY}`")));
        }
        let indexes = table.get("GlobalSecondaryIndexes").and_then(Json::as_array);
        let index = indexes
            .into_iter()
            .flatten()
            .find(|index| index.get("IndexName").and_then(Json::as_str) == Some(OWNER_INDEX))
            .ok_or_else(|| misfit(&format!("has no index `{OWNER_INDEX}`")))?;
        let projected = index.pointer("/Projection/ProjectionType");
        if !key_is(index.get("KeySchema"), &[OWNER, KEY])
            || projected.and_then(Json::as_str) != Some("ALL")
        {
            return Err(misfit(&format!(
                "has an index `{OWNER_INDEX}` that is not by `{OWNER}` and `{KEY}` with all attributes"
            )));
        }
        Ok(())
    }

    /// Switches it on where we may create; otherwise a warning if it is off.
    async fn time_to_live(&self) -> Option<String> {
        let input = json!({ "TableName": self.place.table });
        let is_on = async || {
            let answer = self
                .client
                .call("DescribeTimeToLive", &input, Retry::Freely)
                .await;
            answer.map(|answer| {
                let text = |name: &str| {
                    let value = answer.pointer(&format!("/TimeToLiveDescription/{name}"));
                    value.and_then(Json::as_str).unwrap_or_default().to_owned()
                };
                matches!(text("TimeToLiveStatus").as_str(), "ENABLED" | "ENABLING")
                    && text("AttributeName") == END
            })
        };
        let table = &self.place.table;
        match is_on().await {
            Ok(true) => return None,
            Ok(false) if self.place.create => {
                let input = json!({
                    "TableName": table,
                    "TimeToLiveSpecification": { "Enabled": true, "AttributeName": END },
                });
                let done = self
                    .client
                    .call("UpdateTimeToLive", &input, Retry::Freely)
                    .await;
                // Two replicas at once: the second is refused, and it is on.
                if done.is_ok() || is_on().await.is_ok_and(|on| on) {
                    return None;
                }
            }
            Ok(false) => {}
            Err(error) => {
                return Some(format!(
                    "cannot see whether DynamoDB removes what has ended from {table}: {error}"
                ));
            }
        }
        Some(format!(
            "DynamoDB does not remove what has ended from {table}, so it grows for ever; run `{}`",
            self.how_to_end()
        ))
    }

    /// For those who may read and write, and not look at the table itself.
    async fn try_without_looking(&self) -> Result<Vec<String>, StoreError> {
        self.get(&Key::from_text("check/none".to_owned())).await?;
        Ok(vec![format!(
            "may not look at the table {} (`dynamodb:DescribeTable`), so its index and its time to live were not checked",
            self.place.table
        )])
    }
}

enum Described {
    There(Json),
    Missing,
    Forbidden,
}

/// The table and its indexes.
fn is_active(table: &Json) -> bool {
    let indexes = table.get("GlobalSecondaryIndexes").and_then(Json::as_array);
    let index_states = indexes
        .into_iter()
        .flatten()
        .filter_map(|index| index.get("IndexStatus"));
    let states = table.get("TableStatus").into_iter().chain(index_states);
    let mut states = states.filter_map(Json::as_str);
    // A table that is being changed serves all the while.
    states.all(|state| matches!(state, "ACTIVE" | "UPDATING"))
}
