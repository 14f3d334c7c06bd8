//! The URL of a database: as the client library reads it, and in the spelling of other clients where we mean the same.

use std::str::FromStr as _;

use tokio_postgres::Config;
use tokio_postgres::config::Host;
use vestibule_oauth::secret::Secret;

use super::super::StoreError;
use super::with_cause;

/// Reads it. Errors do not show it: it may hold a password.
pub(super) fn read(url: &Secret) -> Result<Config, StoreError> {
    let misconfigured = |why: &str| StoreError::Misconfigured(format!("the PostgreSQL URL: {why}"));
    let (before, query) = url.expose().rsplit_once('?').unwrap_or((url.expose(), ""));
    let mut options = Vec::new();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        options.push(match option.split_once('=').unwrap_or((option, "")) {
            // Where TLS is spoken, authority and name are always verified.
            ("sslmode", "verify-full") => "sslmode=require",
            ("sslmode", "verify-ca") => {
                return Err(misconfigured(
                    "the name in the certificate is always verified; write `sslmode=verify-full`",
                ));
            }
            ("sslmode", "allow") => {
                return Err(misconfigured(
                    "`sslmode=allow` is not known; write `sslmode=prefer` or, better, `sslmode=verify-full`",
                ));
            }
            ("sslrootcert", _) => {
                return Err(misconfigured(
                    "name the file of `sslrootcert` in `store.ca_file`",
                ));
            }
            _ => option,
        });
    }
    let url = if options.is_empty() {
        Secret::new(before)
    } else {
        Secret::new(format!("{before}?{}", options.join("&")))
    };
    Config::from_str(url.expose()).map_err(|error| misconfigured(&with_cause(&error)))
}

/// Hosts and database, without user and password.
pub(super) fn shown(config: &Config) -> String {
    let name = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    let hosts: Vec<String> = config.get_hosts().iter().map(name).collect();
    let database = config.get_dbname().unwrap_or_default();
    format!("postgres://{}/{database}", hosts.join(","))
}

/// True for this machine.
pub(super) fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => vestibule_oauth::url::is_loopback_host(name),
        Host::Unix(_) => true,
    }
}
