//! Places for stores that no other test uses, and what lies in them, read past the program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};
use vestibule::aws::{Aws, AwsEnvironment, DYNAMODB, Retry};
use vestibule_oauth::random::{Random as _, SystemRandom};
use vestibule_oauth::time::{Clock as _, SystemClock};

use crate::server::Server;
use crate::street::directory;

/// Where a server is.
pub(crate) fn server(variable: &str) -> String {
    let url = std::env::var_os(variable).and_then(|url| url.into_string().ok());
    url.unwrap_or_else(|| panic!("no {variable}: run tests/stores/run.sh or tests/stores/aws.sh"))
}

/// A place; what was made for it goes afterwards.
pub(crate) struct Place {
    url: String,
    directory: Option<PathBuf>,
    _server: Option<Server>,
}

impl std::ops::Deref for Place {
    type Target = str;

    fn deref(&self) -> &str {
        &self.url
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

pub(crate) async fn file() -> Place {
    let directory = directory();
    Place {
        url: format!("redb:{}", directory.join("vestibule.redb").display()),
        directory: Some(directory),
        _server: None,
    }
}

/// A server of its own: it takes no time.
pub(crate) async fn redis() -> Place {
    let server = Server::redis().await;
    Place {
        url: server.url.clone(),
        directory: None,
        _server: Some(server),
    }
}

/// A database of its own.
pub(crate) async fn postgres() -> Place {
    let url = server("VESTIBULE_TEST_POSTGRES");
    let name = format!("races {}", SystemRandom.token(9));
    sql(&url, &format!("CREATE DATABASE \"{name}\"")).await;
    let server = url.trim_end_matches("/grants");
    let name = name.replace(' ', "%20");
    Place {
        url: format!("{server}/{name}?sslmode=disable"),
        directory: None,
        _server: None,
    }
}

pub(crate) async fn dynamodb() -> Place {
    assert!(server("AWS_ENDPOINT_URL").starts_with("http://127.0.0.1:"));
    Place {
        url: format!("dynamodb://races-{}?create=true", SystemRandom.token(9)),
        directory: None,
        _server: None,
    }
}

/// All that lies in a place, grants and lists: how many entries, and how many of them have no end within `longest` seconds.
/// A file must not be open.
pub(crate) async fn count(url: &str, longest: u64) -> (usize, usize) {
    match url.split_once(':').unwrap() {
        ("redb", file) => in_file(Path::new(file), longest),
        ("redis", _) => in_redis(url, longest).await,
        ("postgres", _) => in_postgres(url, longest).await,
        ("dynamodb", _) => in_dynamodb(url, longest).await,
        (other, _) => panic!("{other}"),
    }
}

fn now() -> u64 {
    SystemClock.now().0
}

fn in_file(path: &Path, longest: u64) -> (usize, usize) {
    const ENDS: redb::TableDefinition<'_, (u64, &str), ()> = redb::TableDefinition::new("ends");
    const ENTRIES: redb::TableDefinition<'_, &str, ()> = redb::TableDefinition::new("entries");
    let database = redb::Database::open(path).unwrap();
    let read = database.begin_read().unwrap();
    let entries = read.open_untyped_table(ENTRIES).unwrap().len().unwrap();
    let ends = read.open_table(ENDS).unwrap();
    let soon = ends.iter().unwrap();
    let soon = soon.filter(|end| end.as_ref().unwrap().0.value().0 <= now() + longest);
    let (entries, soon) = (usize::try_from(entries).unwrap(), soon.count());
    (entries, entries - soon)
}

async fn in_redis(url: &str, longest: u64) -> (usize, usize) {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .unwrap();
    let mut endless = 0;
    for key in &keys {
        let life: i64 = redis::cmd("TTL")
            .arg(key)
            .query_async(&mut connection)
            .await
            .unwrap();
        // It keeps what has ended for five minutes more.
        let ends = u64::try_from(life).is_ok_and(|life| life <= longest + 300);
        endless += usize::from(!ends);
    }
    (keys.len(), endless)
}

async fn in_postgres(url: &str, longest: u64) -> (usize, usize) {
    let all = sql(url, "SELECT expires_at FROM vestibule_entries").await;
    let latest = now() + longest;
    let endless = all.iter().filter(|end| {
        let end: u64 = end.parse().unwrap();
        end > latest
    });
    (all.len(), endless.count())
}

/// As an administrator.
pub(crate) async fn sql(url: &str, statement: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let running = tokio::spawn(connection);
    let answer = client.simple_query(statement).await.unwrap();
    drop(client);
    running.await.unwrap().unwrap();
    let rows = answer.into_iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    rows.collect()
}

async fn in_dynamodb(url: &str, longest: u64) -> (usize, usize) {
    let aws = Aws::new(
        AwsEnvironment::read(&vestibule::settings::ProcessEnvironment),
        &vestibule_guard::fetch::Trust::nobody().unwrap(),
        Arc::new(SystemClock),
        Arc::new(SystemRandom),
    );
    let table = url.trim_start_matches("dynamodb://").split('?').next();
    let client = aws.client(DYNAMODB, None, None).unwrap();
    let scan = serde_json::json!({ "TableName": table.unwrap(), "ConsistentRead": true });
    let found = client.call("Scan", &scan, Retry::Freely).await.unwrap();
    let items = found["Items"].as_array().unwrap();
    // The attribute that the table's time to live is set to.
    let endless = items.iter().filter(|item| {
        let end = item["exp"]["N"].as_str().and_then(|end| end.parse().ok());
        end.is_none_or(|end: u64| end > now() + longest)
    });
    (items.len(), endless.count())
}
