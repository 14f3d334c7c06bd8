//! What a PostgreSQL server and the table must be like; the table is made where we may.

use tokio_postgres::Row;

use super::super::StoreError;
use super::{PATIENCE, PostgresStore, explain, schema, unpooled};

/// Looks, makes the table if it is missing, and looks again.
pub(super) async fn check(store: &PostgresStore) -> Result<Vec<String>, StoreError> {
    let seen = inspect(store).await?;
    if seen.standby {
        return Err(StoreError::Misconfigured(
            "this PostgreSQL server is a standby and cannot be written; name the primary, or add \
             `target_session_attrs=read-write` to the URL"
                .to_owned(),
        ));
    }
    let seen = if seen.table {
        seen
    } else {
        let created = create(store).await;
        let seen = inspect(store).await?;
        // Another replica may have made it meanwhile.
        if !seen.table {
            created?;
        }
        seen
    };
    if !seen.allowed {
        return Err(StoreError::Misconfigured(format!(
            "PostgreSQL's user of Vestibule may not read and write the table; run this as its owner:\n{}",
            schema::GRANT
        )));
    }
    if !matches!(seen.collation.as_deref(), Some("C" | "POSIX")) {
        return Err(StoreError::Misconfigured(format!(
            "the column `key` of {} has not the collation \"C\"; make the table again:\nDROP TABLE {};\n{}",
            schema::TABLE,
            schema::TABLE,
            schema::CREATE
        )));
    }
    Ok(seen.warnings(store.local))
}

/// When a statement finds no table, or may not touch it.
pub(super) fn table_is_missing(why: &str) -> StoreError {
    StoreError::Misconfigured(format!(
        "the table is missing and may not be made, or may not be used ({why}); run this as an administrator:\n{}\n{}",
        schema::CREATE,
        schema::GRANT
    ))
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "what a server says of itself, each on its own"
)]
struct Seen {
    table: bool,
    standby: bool,
    synchronous_commit: String,
    fsync: String,
    persistence: Option<String>,
    collation: Option<String>,
    encrypted: bool,
    allowed: bool,
}

impl Seen {
    fn warnings(&self, local: bool) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.synchronous_commit == "off" || self.fsync == "off" {
            warnings.push(
                "PostgreSQL answers before a write is on the disk (synchronous_commit or fsync is off): after a crash some \
                 people sign in again"
                    .to_owned(),
            );
        }
        if self.persistence.as_deref() == Some("u") {
            warnings.push(format!(
                "the table is UNLOGGED and is empty after a crash; run `ALTER TABLE {} SET LOGGED`",
                schema::TABLE
            ));
        }
        if !self.encrypted && !local {
            warnings.push(
                "the connection to PostgreSQL is not encrypted; add `sslmode=require` to the URL"
                    .to_owned(),
            );
        }
        warnings
    }
}

async fn inspect(store: &PostgresStore) -> Result<Seen, StoreError> {
    let rows = store.query(schema::INSPECT, &[], true).await?;
    let read = |row: &Row| {
        Ok(Seen {
            table: row.try_get(0)?,
            standby: row.try_get(1)?,
            synchronous_commit: row.try_get(2)?,
            fsync: row.try_get(3)?,
            persistence: row.try_get(4)?,
            collation: row.try_get(5)?,
            encrypted: row.try_get(6)?,
            allowed: row.try_get(7)?,
        })
    };
    let row = rows.first();
    let row = row.ok_or_else(|| StoreError::Unavailable("PostgreSQL said nothing".to_owned()))?;
    read(row).map_err(|error: tokio_postgres::Error| explain(&error))
}

async fn create(store: &PostgresStore) -> Result<(), StoreError> {
    let made = async {
        let connection = store.pool.get().await.map_err(|error| unpooled(&error))?;
        let made = connection.batch_execute(schema::CREATE).await;
        made.map_err(|error| explain(&error))
    };
    tokio::time::timeout(PATIENCE, made)
        .await
        .unwrap_or_else(|_| {
            Err(StoreError::Unavailable(
                "PostgreSQL did not answer".to_owned(),
            ))
        })
}
