//! `[store]`: where grants and revocations are kept (design §1 "Store"), and which places forget.

use std::path::PathBuf;

use vestibule_oauth::secret::Secret;
use vestibule_oauth::url::is_loopback_host;

use super::env::Strings;
use super::problem::{Located, Problems, Spot};
use super::reference::Fetched;
use super::section::Section;

/// The file that is used unless another store is named.
const DEFAULT_FILE: &str = "vestibule.redb";

/// Where grants and revocations are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreSettings {
    /// Where.
    pub place: StorePlace,
    /// False when nobody chose it: an error about it says how to choose.
    pub chosen: bool,
    /// Certificate authorities of the server.
    pub ca_file: Option<PathBuf>,
}

/// A kind of store and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StorePlace {
    /// None: state is carried by the clients.
    #[default]
    Carried,
    /// In this process, gone with it.
    Memory,
    /// In this file.
    Redb(PathBuf),
    /// A Redis or Valkey server. The URL may hold a password.
    Redis(Secret),
    /// A PostgreSQL server. The URL may hold a password.
    Postgres(Secret),
    /// A table of DynamoDB: `dynamodb://TABLE?region=…`.
    DynamoDb(String),
}

/// A platform whose disk and memory do not last, and how it is recognised.
const PLATFORMS: [(&str, &str); 3] = [
    ("AWS_LAMBDA_FUNCTION_NAME", "AWS Lambda"),
    ("K_SERVICE", "Cloud Run"),
    ("KUBERNETES_SERVICE_HOST", "Kubernetes"),
];

impl StoreSettings {
    /// Reads the section. `env` says what this runs on.
    pub(super) fn read(mut section: Section<'_>, env: &dyn Strings) -> Self {
        let problems = section.problems();
        let allowed = section.flag("allow_ephemeral");
        let ca_file = section.file("ca_file").map(|file| file.value);
        let url = section.secret("url", "url_file");
        let chosen = section.has_written(&["url", "url_file"]);
        section.finish();
        let set = |name: &str| env.get(name).filter(|value| !value.is_empty());
        let platform = PLATFORMS
            .into_iter()
            .find_map(|(variable, name)| set(variable).map(|_| name));
        let ephemeral_allowed = allowed.is_some_and(|allowed| allowed.value);
        let place = match url {
            Some(url) => {
                let place = StorePlace::parse(&url, problems).unwrap_or_default();
                if let (true, false, Some(platform)) =
                    (place.is_local(), ephemeral_allowed, platform)
                {
                    problems.add(
                        &url.spot,
                        format!(
                            "what is kept here is lost when {platform} replaces this instance, and other instances do not \
                             see it: everybody would have to sign in again; name a store that instances share (Redis, \
                             PostgreSQL, DynamoDB), or write \"none\" to let clients carry their state, or, if this is a volume that \
                             stays and there is one instance only, `store.allow_ephemeral = true`"
                        ),
                    );
                }
                place
            }
            // A platform that forgets gets no file that nobody asked for.
            None if platform.is_some() && !ephemeral_allowed => StorePlace::Carried,
            None => {
                let state = set("STATE_DIRECTORY");
                let state = state.as_deref().and_then(|list| list.split(':').next());
                StorePlace::Redb(state.map_or_else(
                    || problems.beside(DEFAULT_FILE),
                    |directory| PathBuf::from(directory).join(DEFAULT_FILE),
                ))
            }
        };
        Self {
            place,
            chosen,
            ca_file,
        }
    }
}

impl StorePlace {
    /// Reads what `--store` says on the command line.
    pub fn from_argument(text: &str) -> Result<Self, String> {
        let problems = Problems::new(None, Fetched::new());
        let spot = Spot {
            key: "--store".to_owned(),
            place: super::Place::Nowhere,
        };
        let value = Secret::new(text);
        let place = Self::parse(&Located { value, spot }, &problems);
        let judged = problems.judge(place);
        judged.outcome.map_err(|error| error.to_string())
    }

    /// Reads a URL. Problems never show it: it may hold a password.
    fn parse(url: &Located<Secret>, problems: &Problems) -> Option<Self> {
        let (text, spot) = (url.value.expose(), &url.spot);
        let refused = |message: &str| {
            problems.add(spot, message);
            None
        };
        match text.split_once(':').map_or((text, ""), |(scheme, rest)| {
            (scheme, rest.trim_start_matches("//"))
        }) {
            ("none", "") => Some(Self::Carried),
            ("memory", "") => Some(Self::Memory),
            ("redb", "") => refused("names no file; write \"redb:vestibule.redb\""),
            ("redb", _) => {
                // Not from `rest`, whose slashes are gone.
                let value = text.trim_start_matches("redb:").to_owned();
                let spot = spot.clone();
                Some(Self::Redb(problems.locate(&Located { value, spot })))
            }
            ("redis" | "rediss" | "valkey" | "valkeys", _) => {
                if cfg!(not(feature = "redis")) {
                    return refused(
                        "this build knows no Redis; build it with `cargo build --release --features redis`",
                    );
                }
                let Ok(url) = url::Url::parse(text) else {
                    return refused("is not a URL; write \"rediss://USER:PASSWORD@HOST:PORT/0\"");
                };
                let host = url.host_str().unwrap_or_default();
                if host.is_empty() {
                    return refused("names no host; write \"rediss://USER:PASSWORD@HOST:PORT/0\"");
                }
                let clear = matches!(url.scheme(), "redis" | "valkey");
                if clear && url.password().is_some() && !is_loopback_host(host) {
                    problems.warn(
                        spot,
                        "sends its password in the clear; use rediss:// if the server speaks TLS",
                    );
                }
                Some(Self::Redis(Secret::new(text)))
            }
            ("postgres" | "postgresql", _) => {
                if cfg!(not(feature = "postgres")) {
                    return refused(
                        "this build knows no PostgreSQL; build it with `cargo build --release --features postgres`",
                    );
                }
                Some(Self::Postgres(Secret::new(text)))
            }
            #[cfg(feature = "aws")]
            ("dynamodb", _) => match crate::store::DynamoDbPlace::parse(text) {
                Ok(_) => Some(Self::DynamoDb(text.to_owned())),
                Err(why) => refused(&why),
            },
            #[cfg(not(feature = "aws"))]
            ("dynamodb", _) => refused(
                "this build knows no DynamoDB; build it with `cargo build --release --features aws`",
            ),
            _ => refused(
                "is no store; write \"none\", \"redb:FILE\", \"rediss://HOST:PORT\", \"postgres://HOST/DATABASE\" or \"dynamodb://TABLE?region=REGION\"",
            ),
        }
    }

    /// True when it ends with this instance.
    fn is_local(&self) -> bool {
        matches!(self, Self::Memory | Self::Redb(_))
    }
}
