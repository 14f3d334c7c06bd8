//! A store on a Redis (6.2 or newer) or Valkey server, which all replicas share.
//!
//! An entry is a hash with the fields `v` (version), `e` (end), `o` (owner) and `b` (bytes). For each owner there are two
//! sorted sets of keys: by name for lists, by end to forget what has ended. Every operation is one script, so it happens as
//! a whole. The time to live that a key has at the server saves space only: the end is judged by our clock.

mod health;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{ErrorKind, FromRedisValue, RedisError, Script, ScriptInvocation, TlsCertificates};
use vestibule_guard::fetch::Trust;
use vestibule_oauth::random::Random;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::{Clock, UnixTime};

use super::{Entry, Expect, Key, Owner, Put, Space, Store, StoreError, Value, Version};

/// Before every key of ours. The braces keep all of them in one slot, as scripts over several keys want it.
const PREFIX: &str = "{vestibule}:";
/// The longest that an operation may take, connecting included.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the server keeps what has ended: clocks differ.
const GRACE: u64 = 300;
/// The longest time to live, in seconds: a century.
const LONGEST: u64 = 100 * 365 * 86_400;

/// A server.
pub struct RedisStore {
    connection: ConnectionManager,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    shown: String,
    by_tls: bool,
}

/// What a script gives for an entry: version, end, owner, bytes.
type Row = (String, u64, Option<String>, Vec<u8>);

/// Takes a key out of the sets of its owner.
const UNLIST: &str = "
local function unlist(prefix, owner, name)
  if owner then
    redis.call('ZREM', prefix .. 'o:' .. owner, name)
    redis.call('ZREM', prefix .. 'e:' .. owner, name)
  end
end
";

static GET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local row = redis.call('HMGET', KEYS[1], 'v', 'e', 'o', 'b')
if row[1] and tonumber(row[2]) > tonumber(ARGV[1]) then return row end
return nil",
    )
});

/// `KEYS`: the entry. `ARGV`: prefix, name, now, expected version (empty: none, `*`: any), version, end, owner (empty: none),
/// bytes, time to live in ms, what may be forgotten. A version that is there already was put by this very call, whose
/// answer was lost.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    let text = "
local prefix, name, ttl = ARGV[1], ARGV[2], tonumber(ARGV[9])
local old = redis.call('HMGET', KEYS[1], 'v', 'e', 'o')
if old[1] == ARGV[5] then return 1 end
local there = ''
if old[1] and tonumber(old[2]) > tonumber(ARGV[3]) then there = old[1] end
if ARGV[4] ~= '*' and ARGV[4] ~= there then return 0 end
unlist(prefix, old[3], name)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'v', ARGV[5], 'e', ARGV[6], 'b', ARGV[8])
redis.call('PEXPIRE', KEYS[1], ARGV[9])
if ARGV[7] ~= '' then
  local names, ends = prefix .. 'o:' .. ARGV[7], prefix .. 'e:' .. ARGV[7]
  redis.call('HSET', KEYS[1], 'o', ARGV[7])
  redis.call('ZADD', names, 0, name)
  redis.call('ZADD', ends, ARGV[6], name)
  for _, ended in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', ARGV[10], 'LIMIT', 0, 32)) do
    if ended ~= name then unlist(prefix, ARGV[7], ended) end
  end
  for _, set in ipairs({names, ends}) do
    if redis.call('PTTL', set) < ttl then redis.call('PEXPIRE', set, ARGV[9]) end
  end
end
return 1";
    Script::new(&format!("{UNLIST}{text}"))
});

/// `ARGV`: prefix, name, now.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    let text = "
local row = redis.call('HMGET', KEYS[1], 'v', 'e', 'o', 'b')
if not row[1] then return nil end
redis.call('DEL', KEYS[1])
unlist(ARGV[1], row[3], ARGV[2])
if tonumber(row[2]) > tonumber(ARGV[3]) then return row end
return nil";
    Script::new(&format!("{UNLIST}{text}"))
});

/// `KEYS`: the owner's names. `ARGV`: prefix, owner, now, where to begin, limit.
static LIST: LazyLock<Script> = LazyLock::new(|| {
    let text = "
local listed, from, limit = {}, ARGV[4], tonumber(ARGV[5])
while #listed < limit do
  local names = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, 100)
  if #names == 0 then break end
  for _, name in ipairs(names) do
    from = '(' .. name
    local row = redis.call('HMGET', ARGV[1] .. name, 'v', 'e', 'o', 'b')
    if not row[1] then
      unlist(ARGV[1], ARGV[2], name)
    elseif row[3] == ARGV[2] and tonumber(row[2]) > tonumber(ARGV[3]) then
      table.insert(listed, {name, row})
      if #listed == limit then break end
    end
  end
end
return listed";
    Script::new(&format!("{UNLIST}{text}"))
});

impl RedisStore {
    /// Reads the URL; connects when it is first asked.
    /// With `ca_file`, its certificate authorities are believed and not the system's.
    pub fn open(
        url: &Secret,
        ca_file: Option<&Path>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, StoreError> {
        let by_tls = by_tls(url);
        // The client's library would verify nothing.
        if url.expose().contains("#insecure") {
            return Err(StoreError::Misconfigured(
                "certificates are always verified: take `#insecure` out of `store.url` and name the authority in \
                 `store.ca_file`"
                    .to_owned(),
            ));
        }
        let client = match ca_file {
            None => redis::Client::open(url.expose()),
            Some(_) if !by_tls => {
                return Err(StoreError::Misconfigured(
                    "`store.ca_file` is for TLS, and the URL says that there is none; write rediss:// in `store.url`, or \
                     leave `store.ca_file` out"
                        .to_owned(),
                ));
            }
            Some(file) => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(authorities(file)?),
                };
                redis::Client::build_with_tls(url.expose(), certificates)
            }
        };
        let client = client.map_err(|error| explain(&error, by_tls))?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_secs(1));
        let connection = ConnectionManager::new_lazy_with_config(client, config);
        Ok(Self {
            connection: connection.map_err(|error| explain(&error, by_tls))?,
            clock,
            random,
            shown: shown(url),
            by_tls,
        })
    }

    /// Runs a script. `again`: it may run twice, so it does when the connection breaks.
    async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
        again: bool,
    ) -> Result<T, StoreError> {
        let asked = async {
            let mut connection = self.connection.clone();
            match script.invoke_async(&mut connection).await {
                Err(error) if again && error.is_connection_dropped() => {
                    script.invoke_async(&mut connection).await
                }
                asked => asked,
            }
        };
        self.answered(tokio::time::timeout(PATIENCE, asked).await)
    }

    async fn command<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, StoreError> {
        let mut connection = self.connection.clone();
        let asked = command.query_async(&mut connection);
        self.answered(tokio::time::timeout(PATIENCE, asked).await)
    }

    fn answered<T>(
        &self,
        asked: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<T, StoreError> {
        match asked {
            Ok(asked) => asked.map_err(|error| explain(&error, self.by_tls)),
            Err(_) => Err(StoreError::Unavailable(format!(
                "Redis did not answer within {} s",
                PATIENCE.as_secs()
            ))),
        }
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let mut script = GET.key(redis_key(key));
        script.arg(self.clock.now().0);
        let row: Option<Row> = self.run(&script, true).await?;
        row.map(|row| entry(key.clone(), row)).transpose()
    }

    async fn put(&self, key: &Key, value: Value, expect: Expect) -> Result<Put, StoreError> {
        let now = self.clock.now();
        let mut random = [0; 8];
        self.random.fill(&mut random);
        let version = u64::from_le_bytes(random);
        let expected = match expect {
            Expect::Absent => String::new(),
            Expect::Any => "*".to_owned(),
            Expect::Version(version) => version.0.to_string(),
        };
        let life = value.expires_at.since(now).min(LONGEST) + GRACE;
        let mut script = PUT.key(redis_key(key));
        script
            .arg(PREFIX)
            .arg(key.as_str())
            .arg(now.0)
            .arg(expected)
            .arg(version.to_string())
            .arg(value.expires_at.0)
            .arg(value.owner.as_ref().map_or("", Owner::as_str))
            .arg(value.bytes)
            .arg(life * 1000)
            .arg(now.minus(GRACE).0);
        let stored: bool = self.run(&script, true).await?;
        Ok(if stored {
            Put::Stored(Version(version))
        } else {
            Put::Conflict
        })
    }

    async fn take(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let mut script = TAKE.key(redis_key(key));
        script.arg(PREFIX).arg(key.as_str()).arg(self.clock.now().0);
        // Not twice: what the first one took would be lost.
        let row: Option<Row> = self.run(&script, false).await?;
        row.map(|row| entry(key.clone(), row)).transpose()
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
        let from = after.map_or("-".to_owned(), |key| format!("({}", key.as_str()));
        let mut script = LIST.key(format!("{PREFIX}o:{}", owner.as_str()));
        script
            .arg(PREFIX)
            .arg(owner.as_str())
            .arg(self.clock.now().0)
            .arg(from)
            .arg(limit);
        let rows: Vec<(String, Row)> = self.run(&script, true).await?;
        rows.into_iter()
            .map(|(name, row)| entry(Key::from_text(name), row))
            .collect()
    }

    async fn scan(
        &self,
        space: Space,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<String>), StoreError> {
        let cursor: u64 = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let mut command = redis::cmd("SCAN");
        // `{` means nothing in a pattern of Redis.
        command
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("{PREFIX}{}/*", space.name()))
            .arg("COUNT")
            .arg(limit.max(100));
        let (next, keys): (u64, Vec<String>) = self.command(&command).await?;
        let mut page = Vec::new();
        for key in keys {
            let name = key.trim_start_matches(PREFIX).to_owned();
            page.extend(self.get(&Key::from_text(name)).await?);
        }
        Ok((page, (next != 0).then(|| next.to_string())))
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        health::check(self).await
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("url", &self.shown)
            .finish_non_exhaustive()
    }
}

fn redis_key(key: &Key) -> String {
    format!("{PREFIX}{}", key.as_str())
}

fn entry(key: Key, (version, end, owner, bytes): Row) -> Result<Entry, StoreError> {
    let version = version.parse().map_err(|_| {
        StoreError::Corrupt(format!("the version of {} is not a number", key.as_str()))
    })?;
    Ok(Entry {
        key,
        value: Value {
            bytes,
            owner: owner.map(Owner::from_text),
            expires_at: UnixTime(end),
        },
        version: Version(version),
    })
}

/// The URL without user and password.
fn shown(url: &Secret) -> String {
    let Ok(url) = url::Url::parse(url.expose()) else {
        return "redis".to_owned();
    };
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    format!(
        "{}://{}{port}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.path()
    )
}

fn by_tls(url: &Secret) -> bool {
    let scheme = url.expose().split(':').next();
    matches!(scheme, Some("rediss" | "valkeys"))
}

/// Certificates that the library would pass over are found here.
fn authorities(file: &Path) -> Result<Vec<u8>, StoreError> {
    let unreadable = |why: String| {
        StoreError::Misconfigured(format!("`store.ca_file`, {}: {why}", file.display()))
    };
    let pem = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    Trust::platform(Some(&pem)).map_err(|error| unreadable(error.to_string()))?;
    Ok(pem)
}

/// What an error means to the operator. Errors of this library hold no URL and no password.
fn explain(error: &RedisError, by_tls: bool) -> StoreError {
    if let Some(explained) = super::tls::explain("Redis", "redis:// in `store.url`", error) {
        return explained;
    }
    let refused = || StoreError::Misconfigured(format!("Redis refuses us: {error}"));
    match (error.kind(), error.code().unwrap_or_default()) {
        (ErrorKind::AuthenticationFailed, _) | (_, "NOAUTH" | "WRONGPASS") => {
            StoreError::Misconfigured(format!(
                "Redis refuses user or password; look at them in `store.url` ({error})"
            ))
        }
        (_, "NOPERM") => StoreError::Misconfigured(format!(
            "the Redis user may not do what is needed; give it `~{PREFIX}* +@read +@write +@scripting +@connection +info +scan` \
             ({error})"
        )),
        (_, "MOVED" | "CROSSSLOT") => health::cluster(),
        (ErrorKind::InvalidClientConfig, _) => refused(),
        (ErrorKind::UnexpectedReturnType, _) => {
            StoreError::Corrupt(format!("Redis holds something else: {error}"))
        }
        _ if by_tls && error.is_timeout() => StoreError::Unavailable(format!(
            "Redis: {error}; if it speaks no TLS at this port, write redis:// in `store.url`"
        )),
        _ if !by_tls && error.is_connection_dropped() && !error.is_connection_refusal() => {
            StoreError::Unavailable(format!(
                "Redis: {error}; if it wants TLS at this port, write rediss:// in `store.url`"
            ))
        }
        _ => StoreError::Unavailable(format!("Redis: {error}")),
    }
}
