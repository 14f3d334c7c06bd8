//! The store: dumb bytes with an end, compare-and-swap and atomic take (design §1 "Store").
//!
//! Six operations are all that a backend owes; rules live above. Values are sealed and keys are hashes before they come
//! here, so whoever reads a store learns who has how many grants, and no name, token or claim.
//!
//! Time is the caller's clock: an entry ends when `expires_at` is reached on it. A backend that can let entries end by
//! itself does so a little later, to save space only.

#[cfg(feature = "aws")]
mod dynamodb;
mod measured;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod redb;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod tls;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use thiserror::Error;

use vestibule_oauth::base64url::BASE64URL;
use vestibule_oauth::random::Random;
use vestibule_oauth::time::{Clock, UnixTime};

use crate::settings::{StorePlace, StoreSettings, Strings};

#[cfg(feature = "aws")]
pub use dynamodb::{DynamoDbPlace, DynamoDbStore};
pub(crate) use measured::MeasuredStore;
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use redb::RedbStore;
#[cfg(feature = "redis")]
pub use redis::RedisStore;

/// What entries are about; the first part of every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Grants, by family.
    Grant,
    /// What was revoked lately, in the order of time: every replica follows this list.
    Revocation,
    /// Clients and users that are shut out.
    Quarantine,
    /// Consents that people asked us to remember.
    Consent,
    /// What works once: `jti` of client assertions.
    Once,
}

impl Space {
    /// As it stands in keys. Changing a name loses everything in that space.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Revocation => "revocation",
            Self::Quarantine => "quarantine",
            Self::Consent => "consent",
            Self::Once => "once",
        }
    }
}

/// The key of an entry: ASCII, at most 120 bytes, nothing secret and nobody's name in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// `SPACE/HASH`.
    pub fn hashed(space: Space, name: &str) -> Self {
        Self(format!("{}/{}", space.name(), hash(name)))
    }

    /// `SPACE/TIME/HASH`: sorts by time.
    pub fn at(space: Space, time: UnixTime, name: &str) -> Self {
        Self(format!("{}/{:011}/{}", space.name(), time.0, hash(name)))
    }

    /// The smallest key of that space and time: where [`Store::list`] begins to look for newer ones.
    pub fn since(space: Space, time: UnixTime) -> Self {
        Self(format!("{}/{:011}/", space.name(), time.0))
    }

    /// A key that a backend gave back, or a cursor that a person hands in. Only compared, never trusted.
    pub fn from_text(text: String) -> Self {
        Self(text)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// To whom an entry belongs: the hash of a user, or the name of a list of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(String);

impl Owner {
    /// Entries of one user. `subject` is `sub` as our tokens say it.
    pub fn user(subject: &str) -> Self {
        Self(format!("user/{}", hash(subject)))
    }

    /// All entries of a small space, such as what was revoked lately.
    pub fn all_of(space: Space) -> Self {
        Self(format!("all/{}", space.name()))
    }

    /// An owner that a backend gave back.
    pub fn from_text(text: String) -> Self {
        Self(text)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256 as base64url.
fn hash(name: &str) -> String {
    BASE64URL.encode(digest(&SHA256, name.as_bytes()))
}

/// Which write an entry stems from. Never the same twice for a key, not even after it was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub u64);

/// An entry as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// Sealed above; at most 350 KiB (DynamoDB items end at 400).
    pub bytes: Vec<u8>,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// When it is gone.
    pub expires_at: UnixTime,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value")
            .field("bytes", &self.bytes.len())
            .field("owner", &self.owner)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// An entry as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// What was written.
    pub value: Value,
    /// By which write.
    pub version: Version,
}

/// What must be there for a write to happen. An entry that has ended is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// This very version.
    Version(Version),
    /// Whatever.
    Any,
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It happened.
    Stored(Version),
    /// Something else was there; nothing was written.
    Conflict,
}

/// Why a store did not do its work. For the log; callers answer 503 and the client tries again.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// Not reached, too slow, or overloaded: it may work again.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// It refuses us, or is set up in another way than we need; the text says what to do.
    #[error("the store cannot be used: {0}")]
    Misconfigured(String),
    /// What it holds cannot be read.
    #[error("the store holds what this version cannot read: {0}")]
    Corrupt(String),
}

/// A store. Every operation is atomic, and what one replica has written the next read of every replica sees (for
/// [`Store::list`] and [`Store::scan`]: soon).
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The entry, if it is there and has not ended.
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// Writes if what is expected is there.
    async fn put(&self, key: &Key, value: Value, expect: Expect) -> Result<Put, StoreError>;

    /// Reads and deletes: of all that ask at once, one gets it.
    async fn take(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// Deletes; true if it was there.
    async fn delete(&self, key: &Key) -> Result<bool, StoreError>;

    /// At most `limit` entries of an owner in the order of their keys, beginning behind `after`.
    async fn list(
        &self,
        owner: &Owner,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;

    /// Some entries of a space in any order, for administration: a page and where the next one begins, `None` when there
    /// is none. A page may be empty. An entry that is there all the time is on one of the pages.
    async fn scan(
        &self,
        space: Space,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<String>), StoreError>;

    /// Asked at start and by `vestibule check`: does it answer, is it set up, and does it keep what it is given? Creates
    /// what is missing where it may. The sentences are warnings for the operator.
    async fn check(&self) -> Result<Vec<String>, StoreError>;

    /// What it is, for logs and health answers; no password in it.
    fn describe(&self) -> String;
}

/// Opens what the settings name; `None` when state is carried. A server need not be there yet: [`Store::check`] asks it.
pub async fn open(
    settings: &StoreSettings,
    env: &dyn Strings,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Result<Option<Arc<dyn Store>>, StoreError> {
    // Only servers want them: their versions are random, and who we are at AWS stands in the environment.
    let _ = (&random, env);
    let store: Arc<dyn Store> = match &settings.place {
        StorePlace::Carried => return Ok(None),
        StorePlace::Memory => Arc::new(MemoryStore::new(clock)),
        StorePlace::Redb(path) => {
            let path = path.clone();
            let opened = tokio::task::spawn_blocking(move || RedbStore::open(&path, clock)).await;
            let opened =
                opened.unwrap_or_else(|gone| Err(StoreError::Unavailable(gone.to_string())));
            Arc::new(opened.map_err(|error| settings.with_advice(error))?)
        }
        #[cfg(feature = "redis")]
        StorePlace::Redis(url) => Arc::new(RedisStore::open(
            url,
            settings.ca_file.as_deref(),
            clock,
            random,
        )?),
        #[cfg(feature = "postgres")]
        StorePlace::Postgres(url) => Arc::new(PostgresStore::open(
            url,
            settings.ca_file.as_deref(),
            clock,
            random,
        )?),
        #[cfg(feature = "aws")]
        StorePlace::DynamoDb(url) => {
            let place = DynamoDbPlace::parse(url).map_err(StoreError::Misconfigured)?;
            let environment = crate::aws::AwsEnvironment::read(env);
            let aws = crate::aws::Aws::from_environment(
                environment,
                Arc::clone(&clock),
                Arc::clone(&random),
            );
            let aws = aws.map_err(|error| StoreError::Misconfigured(error.to_string()))?;
            Arc::new(DynamoDbStore::open(place, &aws, clock, random)?)
        }
        // The settings say this with a line number; they were made by hand.
        #[cfg(not(all(feature = "aws", feature = "redis", feature = "postgres")))]
        _ => {
            return Err(StoreError::Misconfigured(
                "this build does not know it".to_owned(),
            ));
        }
    };
    Ok(Some(store))
}

impl StoreSettings {
    /// Nobody chose the default file, so an error about it says what else there is.
    fn with_advice(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Misconfigured(why) if !self.chosen => StoreError::Misconfigured(format!(
                "{why}; or name another place in `store.url`, or write `store.url = \"none\"` to let clients carry their \
                 state"
            )),
            other => other,
        }
    }
}
