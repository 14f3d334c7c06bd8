//! A store in one table of a PostgreSQL database, which all replicas share.
//!
//! Every operation is one statement, parsed and run in one round trip without a name, so it survives reconnects and works
//! behind a pooler that hands out connections by transaction (PgBouncer).

mod address;
mod health;
mod schema;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use tokio_postgres::Row;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres_rustls::MakeRustlsConnect;
use vestibule_guard::fetch::Trust;
use vestibule_oauth::random::Random;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::{Clock, UnixTime};

use super::{Entry, Expect, Key, Owner, Put, Space, Store, StoreError, Value, Version};

/// The longest that an operation may take, connecting included.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections of one replica.
const CONNECTIONS: usize = 16;
/// After how many writes the ended ones are looked for, and how many are removed then.
const SWEEP_EVERY: u32 = 64;
/// How long what has ended stays: clocks differ.
const GRACE: u64 = 300;
/// How often a statement is tried that others got in the way of (SQLSTATE 40001, 40P01) or whose connection was gone.
const TRIES: u32 = 3;

/// A database.
pub struct PostgresStore {
    pool: Pool,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    shown: String,
    local: bool,
    writes: AtomicU32,
}

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

impl PostgresStore {
    /// Reads the URL; connects when it is first asked. `ca_file` has further certificate authorities, such as that of
    /// Amazon RDS.
    pub fn open(
        url: &Secret,
        ca_file: Option<&Path>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, StoreError> {
        let misconfigured = |why: String| StoreError::Misconfigured(why);
        let mut config = address::read(url)?;
        if config.get_hosts().is_empty() {
            return Err(misconfigured("the PostgreSQL URL names no host".to_owned()));
        }
        config
            .connect_timeout(Duration::from_secs(2))
            .tcp_user_timeout(PATIENCE)
            .keepalives_idle(Duration::from_secs(60));
        if config.get_application_name().is_none() {
            config.application_name("vestibule");
        }
        let trust = trust(config.get_ssl_mode(), ca_file)?;
        let tls = MakeRustlsConnect::new(trust.client_config());
        let shown = address::shown(&config);
        let local = config.get_hosts().iter().all(address::is_local);
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(config, tls, ManagerConfig { recycling_method });
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(PATIENCE))
            .create_timeout(Some(PATIENCE))
            .build()
            .map_err(|error| misconfigured(error.to_string()))?;
        Ok(Self {
            pool,
            clock,
            random,
            shown,
            local,
            writes: AtomicU32::new(0),
        })
    }

    /// Runs a statement. `again`: it may run twice, so it does when its connection turns out to be gone.
    async fn query(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
        again: bool,
    ) -> Result<Vec<Row>, StoreError> {
        let asked = async {
            let mut tries = 1;
            loop {
                let connection = self.pool.get().await.map_err(|error| unpooled(&error))?;
                let open = Open(Some(connection));
                let error = match open.query(statement, parameters).await {
                    Ok(rows) => {
                        open.give_back();
                        return Ok(rows);
                    }
                    Err(error) => error,
                };
                let in_the_way = matches!(
                    error.code(),
                    Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED)
                );
                if tries == TRIES || !(in_the_way || again && is_gone(&error)) {
                    return Err(explain(&error));
                }
                tries += 1;
            }
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(asked) => asked,
            Err(_) => Err(StoreError::Unavailable(format!(
                "PostgreSQL did not answer within {} s",
                PATIENCE.as_secs()
            ))),
        }
    }

    /// Every so often, and beside the caller's work.
    fn sweep(&self, now: UnixTime) {
        let writes = self.writes.fetch_add(1, Ordering::Relaxed);
        if !writes.is_multiple_of(SWEEP_EVERY) {
            return;
        }
        let pool = self.pool.clone();
        tokio::spawn(async move {
            let swept = async {
                let connection = pool.get().await.map_err(|error| unpooled(&error))?;
                let before = number(now.minus(GRACE).0);
                let parameters: [Parameter<'_>; 1] = [(&before, Type::INT8)];
                let swept = connection.query_typed(schema::SWEEP, &parameters).await;
                swept.map_err(|error| explain(&error))
            };
            match tokio::time::timeout(PATIENCE, swept).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "cannot remove what has ended"),
                Err(_) => tracing::warn!("cannot remove what has ended: no answer"),
            }
        });
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let now = number(self.clock.now().0);
        let parameters: [Parameter<'_>; 2] = [(&key.as_str(), Type::TEXT), (&now, Type::INT8)];
        let rows = self.query(schema::GET, &parameters, true).await?;
        rows.first().map(entry).transpose()
    }

    async fn put(&self, key: &Key, value: Value, expect: Expect) -> Result<Put, StoreError> {
        let now = self.clock.now();
        let mut random = [0; 8];
        self.random.fill(&mut random);
        // What fits into a bigint.
        let version = i64::from_le_bytes(random) & i64::MAX;
        let (statement, expected) = match expect {
            Expect::Any => (schema::PUT, 0),
            Expect::Absent => (schema::PUT_ABSENT, 0),
            Expect::Version(Version(version)) => match i64::try_from(version) {
                Ok(version) => (schema::PUT_VERSION, version),
                Err(_) => return Ok(Put::Conflict),
            },
        };
        let owner = value.owner.as_ref().map(Owner::as_str);
        let (end, now_number) = (number(value.expires_at.0), number(now.0));
        let parameters: [Parameter<'_>; 7] = [
            (&key.as_str(), Type::TEXT),
            (&value.bytes, Type::BYTEA),
            (&version, Type::INT8),
            (&owner, Type::TEXT),
            (&end, Type::INT8),
            (&now_number, Type::INT8),
            (&expected, Type::INT8),
        ];
        let stored = self.query(statement, &parameters, true).await?;
        if stored.is_empty() {
            return Ok(Put::Conflict);
        }
        self.sweep(now);
        Ok(Put::Stored(Version(version.unsigned_abs())))
    }

    async fn take(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let now = self.clock.now();
        let parameters: [Parameter<'_>; 1] = [(&key.as_str(), Type::TEXT)];
        // Not twice: what the first one took would be lost.
        let rows = self.query(schema::TAKE, &parameters, false).await?;
        let taken = rows.first().map(entry).transpose()?;
        Ok(taken.filter(|entry| entry.value.expires_at > now))
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.take(key).await?.is_some())
    }

    async fn list(
        &self,
        owner: &Owner,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (now, after) = (number(self.clock.now().0), after.map_or("", Key::as_str));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters: [Parameter<'_>; 4] = [
            (&owner.as_str(), Type::TEXT),
            (&after, Type::TEXT),
            (&now, Type::INT8),
            (&limit, Type::INT8),
        ];
        let rows = self.query(schema::LIST, &parameters, true).await?;
        rows.iter().map(entry).collect()
    }

    async fn scan(
        &self,
        space: Space,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<String>), StoreError> {
        let now = number(self.clock.now().0);
        let first = format!("{}/", space.name());
        // The character behind the slash.
        let end = format!("{}0", space.name());
        let after = cursor.unwrap_or(&first);
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters: [Parameter<'_>; 4] = [
            (&after, Type::TEXT),
            (&end, Type::TEXT),
            (&now, Type::INT8),
            (&rows, Type::INT8),
        ];
        let rows = self.query(schema::SCAN, &parameters, true).await?;
        let page: Vec<Entry> = rows.iter().map(entry).collect::<Result<_, _>>()?;
        let last = page.last().map(|entry| entry.key.as_str().to_owned());
        let full = page.len() == limit;
        Ok((page, last.filter(|_| full)))
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        health::check(self).await
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("url", &self.shown)
            .finish_non_exhaustive()
    }
}

/// A connection in use. Whoever gives up on it (a time-out, a caller that went away) does not put it back: the next one
/// would wait for an answer that is not his.
struct Open(Option<Object>);

impl Open {
    async fn query(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        match &self.0 {
            Some(connection) => connection.query_typed(statement, parameters).await,
            None => Ok(Vec::new()),
        }
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

fn entry(row: &Row) -> Result<Entry, StoreError> {
    let corrupt = |error: tokio_postgres::Error| {
        StoreError::Corrupt(format!("{} has other columns: {error}", schema::TABLE))
    };
    let key: String = row.try_get(0).map_err(corrupt)?;
    let version: i64 = row.try_get(1).map_err(corrupt)?;
    let owner: Option<String> = row.try_get(2).map_err(corrupt)?;
    let end: i64 = row.try_get(3).map_err(corrupt)?;
    Ok(Entry {
        key: Key::from_text(key),
        value: Value {
            bytes: row.try_get(4).map_err(corrupt)?,
            owner: owner.map(Owner::from_text),
            expires_at: UnixTime(end.unsigned_abs()),
        },
        version: Version(version.unsigned_abs()),
    })
}

/// Seconds as a bigint.
fn number(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn trust(mode: SslMode, ca_file: Option<&Path>) -> Result<Trust, StoreError> {
    let unreadable = |why: String| {
        let file = ca_file.map(|file| format!("{}: ", file.display()));
        let file = file.unwrap_or_default();
        StoreError::Misconfigured(format!("`store.ca_file`, {file}{why}"))
    };
    let built = if mode == SslMode::Disable {
        Trust::nobody()
    } else {
        let extra = ca_file.map(std::fs::read).transpose();
        Trust::platform(
            extra
                .map_err(|error| unreadable(error.to_string()))?
                .as_deref(),
        )
    };
    built.map_err(|error| unreadable(error.to_string()))
}

fn unpooled(error: &PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => explain(error),
        PoolError::Timeout(TimeoutType::Wait) => StoreError::Unavailable(
            "every connection to PostgreSQL is busy; is it overloaded?".to_owned(),
        ),
        other => StoreError::Unavailable(format!("PostgreSQL: {other}")),
    }
}

/// What an error means to the operator. Errors of the server hold names of tables and users, but no values.
fn explain(error: &tokio_postgres::Error) -> StoreError {
    let why = with_cause(error);
    if why.contains("server does not support TLS") {
        return StoreError::Misconfigured(
            "PostgreSQL speaks no TLS; switch it on there (`ssl = on`), or, where nobody else is on the way, write \
             `sslmode=disable` in `store.url`"
                .to_owned(),
        );
    }
    if let Some(explained) =
        super::tls::explain("PostgreSQL", "`sslmode=disable` in `store.url`", error)
    {
        return explained;
    }
    match error.code() {
        Some(&SqlState::INVALID_PASSWORD) => StoreError::Misconfigured(format!(
            "PostgreSQL refuses user or password; look at them in `store.url` ({why})"
        )),
        Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => StoreError::Misconfigured(format!(
            "PostgreSQL refuses user or password, or connections of this kind (pg_hba.conf); look at `store.url`, and \
             write `sslmode=require` there if the server wants TLS ({why})"
        )),
        Some(&SqlState::INVALID_CATALOG_NAME) => {
            StoreError::Misconfigured(format!("PostgreSQL has no such database ({why})"))
        }
        Some(&SqlState::UNDEFINED_TABLE | &SqlState::INSUFFICIENT_PRIVILEGE) => {
            health::table_is_missing(&why)
        }
        Some(&SqlState::UNDEFINED_COLUMN) => StoreError::Corrupt(format!(
            "{} was made by something else ({why})",
            schema::TABLE
        )),
        _ => StoreError::Unavailable(format!("PostgreSQL: {why}")),
    }
}

/// True when the connection broke, or the server took it away.
fn is_gone(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error);
    error.is_closed()
        || cause.is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
        || matches!(
            error.code(),
            Some(&SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN)
        )
}

fn with_cause(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{}, SQLSTATE {}", error.message(), error.code().code());
    }
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
