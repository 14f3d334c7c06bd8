//! The process environment behind a trait, read here and nowhere else (design §7, facts/rust.md B.2 "`Strings`").

use std::collections::BTreeMap;

/// The prefix of every variable that sets a configuration key.
pub(super) const PREFIX: &str = "VESTIBULE__";

/// Named strings from outside: the process environment in production, a map in tests.
pub trait Strings: Send + Sync {
    /// The value of `name`, when it is set.
    fn get(&self, name: &str) -> Option<String>;

    /// Every name that is set.
    fn names(&self) -> Vec<String>;
}

/// The environment of this process. Values that are not UTF-8 are read with replacement characters, so that the
/// setting they are meant for refuses them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Strings for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect()
    }
}

impl Strings for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// No environment at all: for `dev` and for tests that only look at a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEnvironment;

impl Strings for NoEnvironment {
    fn get(&self, _: &str) -> Option<String> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The name of the variable that sets the key at `path` (`provider.client_id` → `VESTIBULE__PROVIDER__CLIENT_ID`).
pub(super) fn variable_for(path: &[String]) -> String {
    format!("{PREFIX}{}", path.join("__").to_ascii_uppercase())
}
