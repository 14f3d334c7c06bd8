//! `config explain`: every setting in force, and where its value came from.

use std::fmt;

use serde::Serialize;
use serde_json::Value as Json;

use super::describe::{Description, describe, descriptions, pattern};
use super::env::variable_for;
use super::problem::Place;
use super::record::{ANY_NAME, Asked, HIDDEN, Kind, dotted};
use super::{CredentialSettings, ProviderSettings, Report, Settings, TokenFormat, survey};
use crate::spelling::closest;

/// A setting.
#[derive(Clone, Debug, Serialize)]
pub struct InForce {
    /// As `resource[0].path`.
    pub key: String,
    /// The variable that sets it.
    pub variable: String,
    /// The value as written, or the default; null when there is none. `(set)` for a secret.
    pub value: Json,
    /// Where it came from.
    pub origin: Origin,
    /// What kind of value it takes.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The default in words.
    pub default: &'static str,
    /// What it means.
    pub meaning: String,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Origin {
    /// The configuration file.
    File {
        /// Its name.
        file: String,
        /// The line, from one.
        line: usize,
    },
    /// An environment variable.
    Variable {
        /// Its name.
        name: String,
    },
    /// A file that holds the secret.
    SecretFile {
        /// As it is written.
        path: String,
        /// Who names it.
        named_by: Box<Self>,
    },
    /// The defaults of this kind of provider.
    Preset {
        /// Its name.
        name: &'static str,
    },
    /// Another setting.
    Derived {
        /// Which, in words.
        source: String,
    },
    /// The general default.
    Default,
    /// It is not set and has no default.
    NotSet,
    /// Something stronger says the same in another form.
    Overruled {
        /// Where it is written.
        written: Box<Self>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Variable { name } => f.write_str(name),
            Self::SecretFile { path, named_by } => write!(f, "the file {path}, by {named_by}"),
            Self::Preset { name } => write!(f, "preset {name}"),
            Self::Derived { source } => write!(f, "from {source}"),
            Self::Default => f.write_str("default"),
            Self::NotSet => f.write_str("not set"),
            Self::Overruled { written } => write!(f, "{written}, overruled by a variable"),
        }
    }
}

/// What is in force although nobody wrote it.
struct Derived {
    key: String,
    value: Json,
    origin: Origin,
}

impl Report {
    /// Every setting, in the order of reading. What is wrong is listed as it is written.
    pub fn in_force(&self) -> Vec<InForce> {
        let derived = self.outcome.as_ref().map_or_else(|_| Vec::new(), derived);
        let mut settings: Vec<InForce> = Vec::new();
        for asked in self.asked.iter().filter(|asked| is_setting(asked)) {
            let key = dotted(&asked.path);
            let known = settings.iter().any(|setting| setting.key == key);
            if let Some(row) = describe(&asked.path).filter(|_| !known) {
                settings.push(self.one(asked, key, &row, &derived));
            }
        }
        self.add_unasked(&mut settings, &derived);
        settings
    }

    /// The settings that `key` means: one, or one for each element of a list (`resource.path`, `resource[].path`). An
    /// error says what may have been meant.
    pub fn explain(&self, key: &str) -> Result<Vec<InForce>, String> {
        let plain = |key: &str| {
            let mut text = key.replace("[]", "");
            while let Some((before, rest)) = text.split_once('[') {
                let after = rest.split_once(']').map_or("", |(_, after)| after);
                text = format!("{before}{after}");
            }
            text
        };
        let all = self.in_force();
        let meant = |setting: &&InForce| {
            setting.key == key || (plain(&setting.key) == plain(key) && !has_index(key))
        };
        let found: Vec<InForce> = all.iter().filter(meant).cloned().collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let keys = all.iter().map(|setting| setting.key.as_str());
        let keys = keys.chain(descriptions().map(|row| row.key));
        Err(match closest(key, keys) {
            Some(meant) => format!("there is no setting `{key}` here; did you mean `{meant}`?"),
            None => format!("there is no setting `{key}` here"),
        })
    }

    fn one(&self, asked: &Asked, key: String, row: &Description, derived: &[Derived]) -> InForce {
        let written = asked.written.as_ref();
        let (value, origin) = if let Some(written) = written {
            let origin = self.origin(&written.place);
            if written.overruled {
                let written = Box::new(origin);
                (Json::Null, Origin::Overruled { written })
            } else {
                (written.value.clone(), origin)
            }
        } else if let Some(origin) = self.secret_file(&asked.path) {
            (Json::from(HIDDEN), origin)
        } else if let Some(derived) = derived.iter().find(|derived| derived.key == key) {
            (derived.value.clone(), derived.origin.clone())
        } else if let Some(default) = row.default_value(&asked.kind) {
            (default, Origin::Default)
        } else {
            (Json::Null, Origin::NotSet)
        };
        InForce {
            key,
            variable: variable_for(&asked.path),
            value,
            origin,
            kind: row.kind,
            default: row.default,
            meaning: row.plain_meaning(),
        }
    }

    /// Settings of sections that are not written, and what a preset puts under a name.
    fn add_unasked(&self, settings: &mut Vec<InForce>, derived: &[Derived]) {
        let asked: Vec<Vec<String>> = self.asked.iter().map(|key| pattern(&key.path)).collect();
        let unasked = survey().into_iter().filter(|key| {
            let own = pattern(&key.path);
            is_setting(key)
                && !own.iter().any(|part| part.ends_with("[]"))
                && !asked.iter().any(|asked| without_indices(asked) == own)
        });
        let named = derived
            .iter()
            .filter(|derived| !settings.iter().any(|setting| setting.key == derived.key));
        let named: Vec<Asked> = named.map(|derived| unwritten(&derived.key)).collect();
        for key in unasked.chain(named) {
            let Some(row) = describe(&key.path) else {
                continue;
            };
            let setting = self.one(&key, dotted(&key.path), &row, derived);
            if settings.iter().any(|other| other.key == setting.key) {
                continue;
            }
            // After its nearest relatives.
            let relative = |depth: usize| {
                let family = dotted(key.path.get(..depth).unwrap_or_default());
                let member = |other: &InForce| {
                    other
                        .key
                        .strip_prefix(&family)
                        .is_some_and(|rest| rest.starts_with('.'))
                };
                settings.iter().rposition(member)
            };
            let place = (1..key.path.len()).rev().find_map(relative);
            settings.insert(place.map_or(settings.len(), |place| place + 1), setting);
        }
    }

    /// The file that holds the secret at `path`.
    fn secret_file(&self, path: &[String]) -> Option<Origin> {
        let (name, section) = path.split_last()?;
        let holder = self.asked.iter().find(|asked| {
            matches!(asked.kind, Kind::SecretFile(of) if of == name)
                && asked
                    .path
                    .split_last()
                    .is_some_and(|(_, parent)| parent == section)
        })?;
        let written = holder
            .written
            .as_ref()
            .filter(|written| !written.overruled)?;
        Some(Origin::SecretFile {
            path: written.value.as_str()?.to_owned(),
            named_by: Box::new(self.origin(&written.place)),
        })
    }

    fn origin(&self, place: &Place) -> Origin {
        match place {
            Place::File { line, .. } => Origin::File {
                file: self.file.clone().unwrap_or_default(),
                line: *line,
            },
            Place::Variable(name) => Origin::Variable { name: name.clone() },
            Place::Nowhere => Origin::NotSet,
        }
    }
}

fn is_setting(asked: &Asked) -> bool {
    !asked.kind.is_section() && asked.path.last().is_none_or(|name| name != ANY_NAME)
}

fn has_index(key: &str) -> bool {
    key.contains('[') && !key.contains("[]")
}

fn without_indices(pattern: &[String]) -> Vec<String> {
    pattern.iter().map(|part| part.replace("[]", "")).collect()
}

fn unwritten(key: &str) -> Asked {
    let path = key.replace(']', "").replace('[', ".");
    Asked {
        path: path.split('.').map(str::to_owned).collect(),
        kind: Kind::Text,
        written: None,
    }
}

/// What presets and other settings decide.
fn derived(settings: &Settings) -> Vec<Derived> {
    let mut all = Vec::new();
    let several = !settings.further_providers.is_empty();
    for (index, provider) in settings.providers().enumerate() {
        let section = if several {
            format!("provider[{index}]")
        } else {
            "provider".to_owned()
        };
        of_provider(&section, provider, &mut all);
    }
    let mut push = |key: String, value: Json, origin: Origin| {
        all.push(Derived { key, value, origin });
    };
    let from = |source: &str| Origin::Derived {
        source: source.to_owned(),
    };
    let preset = Origin::Preset {
        name: settings.provider.preset.name,
    };
    for claim in &settings.tokens.claims {
        let key = format!("tokens.claims.{}", claim.name);
        push(key, Json::from(claim.from.as_str()), preset.clone());
    }
    for (index, resource) in settings.resources.iter().enumerate() {
        let key = |name: &str| format!("resource[{index}].{name}");
        let defaults: Json = resource.default_scopes.iter().collect();
        push(key("default_scopes"), defaults, from("scopes"));
        let format = match resource.token_format {
            TokenFormat::Sealed => "sealed",
            TokenFormat::Jwt => "jwt",
        };
        push(
            key("token_format"),
            Json::from(format),
            from("tokens.format"),
        );
        if resource.providers.is_empty() {
            let id = Json::from(settings.provider.id.as_str());
            push(key("provider"), id, from("the first provider"));
        }
        if let CredentialSettings::VestibuleToken { audience } = &resource.credential {
            let audience = Json::from(audience.as_str());
            push(key("credential.audience"), audience, from("upstream"));
        }
        if let Some(token) = &resource.identity.token {
            let audience = Json::from(token.audience.as_str());
            push(key("identity.token.audience"), audience, from("upstream"));
        }
    }
    for (index, client) in settings.clients.preregistered.iter().enumerate() {
        let name = Json::from(client.name.as_str());
        push(format!("client[{index}].name"), name, from("client_id"));
    }
    all
}

fn of_provider(section: &str, provider: &ProviderSettings, all: &mut Vec<Derived>) {
    let mut push = |name: &str, value: Json, origin: Origin| {
        all.push(Derived {
            key: format!("{section}.{name}"),
            value,
            origin,
        });
    };
    let preset = Origin::Preset {
        name: provider.preset.name,
    };
    let chosen = Origin::Derived {
        source: "the issuer's host".to_owned(),
    };
    push("preset", Json::from(provider.preset.name), chosen);
    push("label", Json::from(provider.label.as_str()), preset.clone());
    push("scopes", provider.scopes.iter().collect(), preset.clone());
    push("discovery", Json::from(provider.discovery), preset.clone());
    if provider.preset.issuer.is_some() {
        let issuer = Json::from(provider.issuer.as_str());
        push("issuer", issuer, preset.clone());
    }
    let endpoints = [
        ("authorization_endpoint", &provider.endpoints.authorization),
        ("token_endpoint", &provider.endpoints.token),
        ("userinfo_endpoint", &provider.endpoints.userinfo),
    ];
    for (name, endpoint) in endpoints {
        if let Some(endpoint) = endpoint {
            push(name, Json::from(endpoint.as_str()), preset.clone());
        }
    }
    for (name, value) in &provider.authorize_params {
        let name = format!("authorize_params.{name}");
        push(&name, Json::from(value.as_str()), preset.clone());
    }
}
