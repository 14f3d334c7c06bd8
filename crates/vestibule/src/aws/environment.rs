//! What the environment and the profile files say about AWS, read once; the secrets among it apart.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use vestibule_oauth::secret::Secret;

use super::credentials::profile::Profile;
use crate::settings::Strings;

/// Variables whose values are secrets: kept as such, and not with the others.
const SECRET: [&str; 3] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
];

/// The `AWS_…` variables and where the home directory is.
#[derive(Clone, Default)]
pub struct AwsEnvironment {
    plain: BTreeMap<String, String>,
    secret: BTreeMap<&'static str, Secret>,
}

impl AwsEnvironment {
    /// Reads what AWS tools read. Empty variables count as not set.
    pub fn read(env: &dyn Strings) -> Self {
        let names = env.names().into_iter();
        let plain = names
            .filter(|name| name.starts_with("AWS_") || name == "HOME" || name == "USERPROFILE")
            .filter(|name| !SECRET.contains(&name.as_str()))
            .filter_map(|name| {
                let value = env.get(&name).filter(|value| !value.is_empty())?;
                Some((name, value))
            })
            .collect();
        let secret = SECRET.into_iter().filter_map(|name| {
            let value = env.get(name).filter(|value| !value.is_empty())?;
            Some((name, Secret::new(value)))
        });
        Self {
            plain,
            secret: secret.collect(),
        }
    }

    /// A variable that is not secret.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.plain.get(name).map(String::as_str)
    }

    /// A variable that is.
    pub(super) fn secret(&self, name: &str) -> Option<&Secret> {
        self.secret.get(name)
    }

    /// True when the variable says so.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The region: `AWS_REGION`, `AWS_DEFAULT_REGION`, or the profile's.
    pub(super) fn region(&self) -> Option<String> {
        let variable = self
            .get("AWS_REGION")
            .or_else(|| self.get("AWS_DEFAULT_REGION"));
        variable.map(str::to_owned).or_else(|| {
            let profile = Profile::load(self).ok().flatten()?;
            profile.get("region").map(str::to_owned)
        })
    }

    /// The profile's name, and whether somebody asked for it.
    pub(super) fn profile(&self) -> (&str, bool) {
        match self.get("AWS_PROFILE") {
            Some(name) => (name, true),
            None => ("default", false),
        }
    }

    /// The file that `variable` names, else `name` in `~/.aws`.
    pub(super) fn profile_file(&self, variable: &str, name: &str) -> Option<PathBuf> {
        if let Some(path) = self.get(variable) {
            return Some(PathBuf::from(path));
        }
        let home = self.get("HOME").or_else(|| self.get("USERPROFILE"))?;
        Some(PathBuf::from(home).join(".aws").join(name))
    }
}

impl fmt::Debug for AwsEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.plain.keys().collect();
        f.debug_struct("AwsEnvironment")
            .field("plain", &names)
            .field("secret", &self.secret.keys())
            .finish()
    }
}
