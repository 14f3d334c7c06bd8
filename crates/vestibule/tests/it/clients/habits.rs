//! What one client does, as the files in `data/` say it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// One client.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Habits {
    pub(super) name: String,
    /// Where all this is known from.
    pub(super) sources: Vec<String>,
    /// On requests that are not the browser's; many send none.
    pub(super) user_agent: Option<String>,
    /// What it looks at before it registers, in order, with the status that it needs.
    pub(super) probes: Vec<Probe>,
    /// At the authorization endpoint; absent: the parameter is.
    pub(super) scope: Option<String>,
    pub(super) prompt: Option<String>,
    /// It says which resource it wants.
    #[serde(default = "yes")]
    pub(super) resource: bool,
    /// The scopes of the token.
    pub(super) granted: String,
    #[serde(default)]
    pub(super) refresh: Refresh,
    /// What it gives back at the end: `token_type_hint`s.
    #[serde(default)]
    pub(super) revokes: Vec<String>,
    #[serde(default)]
    pub(super) registration: Vec<Registration>,
    #[serde(default)]
    pub(super) document: Vec<Document>,
    #[serde(default)]
    pub(super) written_down: Vec<WrittenDown>,
    pub(super) stranger: Option<Stranger>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    #[serde(default = "get")]
    pub(super) method: String,
    pub(super) path: String,
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registration {
    /// As it is sent.
    pub(super) body: Value,
    /// How it authenticates, if not as it registered.
    pub(super) authenticates: Option<String>,
    /// How often it registers for one sign-in.
    #[serde(default = "once")]
    pub(super) times: u32,
    pub(super) comes_back_to: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) url: String,
    /// Without `client_id`, which is the URL.
    pub(super) body: Value,
    pub(super) comes_back_to: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenDown {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) comes_back_to: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Refresh {
    pub(super) scope: Option<String>,
    pub(super) resource: bool,
    pub(super) client_id_in_body: bool,
    /// One after the other, each with the newest token.
    pub(super) times: u32,
}

/// A second identity that comes with the refresh token of the first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stranger {
    pub(super) registration: Value,
    pub(super) registration_status: u16,
}

impl Default for Refresh {
    fn default() -> Self {
        Self {
            scope: None,
            resource: true,
            client_id_in_body: true,
            times: 1,
        }
    }
}

impl Habits {
    pub(super) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// The files of all clients.
pub(super) fn files() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/data");
    let entries = std::fs::read_dir(data).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn yes() -> bool {
    true
}

fn once() -> u32 {
    1
}

fn get() -> String {
    "GET".to_owned()
}
