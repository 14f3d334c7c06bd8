//! The variables of FastMCP's Cognito provider (`FASTMCP_SERVER_AUTH_AWS_COGNITO_…`, FastMCP 2), read as the settings that
//! they correspond to, so that a deployment can move without being rewritten (facts/pitfalls.md A1).
//!
//! They beat the file and lose against every `VESTIBULE__…` variable. What they mean and we do not do is an error.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::document::{Entry, Value, insert};
use super::env::{PREFIX as OURS, Strings};
use super::problem::{Place, Problems, Spot};
use crate::spelling::closest;

const PREFIX: &str = "FASTMCP_SERVER_AUTH_AWS_COGNITO_";
/// The one path that the provider sends browsers back to.
const CALLBACK: &str = "/callback";
const KNOWN: [&str; 10] = [
    "USER_POOL_ID",
    "AWS_REGION",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "BASE_URL",
    "ISSUER_URL",
    "REDIRECT_PATH",
    "REQUIRED_SCOPES",
    "ALLOWED_CLIENT_REDIRECT_URIS",
    "JWT_SIGNING_KEY",
];

/// Lays the variables over the file. Ours come after it.
pub(super) fn lay_over(root: &mut BTreeMap<String, Entry>, env: &dyn Strings, problems: &Problems) {
    let mut aliases = Aliases {
        root,
        env,
        problems,
        taken: Vec::new(),
    };
    aliases.warn_of_unknown();
    aliases.public_url();
    aliases.issuer();
    let provider = aliases.provider();
    aliases.plain("CLIENT_ID", &[&provider[..], &["client_id"]].concat());
    aliases.client_secret(&provider);
    aliases.scopes(&provider);
    aliases.redirect_path();
    aliases.redirect_uris();
    if aliases.value("JWT_SIGNING_KEY").is_some() {
        let unused = "is not used: Vestibule has a key ring (`keys`); users sign in once more";
        aliases.warn("JWT_SIGNING_KEY", unused);
    }
    let taken = aliases.taken;
    if !taken.is_empty() {
        problems.remark(format!(
            "settings were taken from variables of FastMCP: {}; docs/migrating.md has their names here",
            taken.join(", ")
        ));
    }
}

struct Aliases<'a> {
    root: &'a mut BTreeMap<String, Entry>,
    env: &'a dyn Strings,
    problems: &'a Problems,
    taken: Vec<String>,
}

impl Aliases<'_> {
    fn warn_of_unknown(&self) {
        let mut names = self.env.names();
        names.sort();
        for name in names {
            let Some(rest) = name
                .strip_prefix(PREFIX)
                .filter(|rest| !KNOWN.contains(rest))
            else {
                continue;
            };
            let message = match closest(rest, KNOWN) {
                Some(meant) => format!("unknown, not used; did you mean `{PREFIX}{meant}`?"),
                None => "unknown, not used".to_owned(),
            };
            self.warn(rest, &message);
        }
    }

    fn public_url(&mut self) {
        if let Some(base) = self.value("BASE_URL") {
            // FastMCP's URL type adds the slash by itself.
            let base = base.strip_suffix('/').unwrap_or(&base).to_owned();
            self.put("BASE_URL", &["public_url"], Value::Text(base));
        }
        let Some(issuer) = self.value("ISSUER_URL") else {
            return;
        };
        let ours = self.in_force("PUBLIC_URL", "public_url");
        if ours.is_some_and(|url| url.trim_end_matches('/') != issuer.trim_end_matches('/')) {
            let message =
                "differs from the public URL, which is always the issuer of Vestibule; remove it";
            self.refuse("ISSUER_URL", "public_url", message);
        }
    }

    fn issuer(&mut self) {
        let region = self.value("AWS_REGION");
        let Some(pool) = self.value("USER_POOL_ID") else {
            if region.is_some() {
                let message = format!("has no effect without {PREFIX}USER_POOL_ID");
                self.warn("AWS_REGION", &message);
            }
            return;
        };
        let path = [&self.provider()[..], &["issuer"]].concat();
        if self.our_variable(&path).is_some() {
            return;
        }
        let key = "provider.issuer";
        let Some((home, _)) = pool.split_once('_').filter(|(home, _)| home.contains('-')) else {
            let message =
                format!("'{pool}' is not the id of a user pool, such as eu-central-1_AbCdEfGhI");
            self.refuse("USER_POOL_ID", key, &message);
            return;
        };
        if let Some(region) = region.filter(|region| region != home) {
            let message = format!("is '{region}', but the pool '{pool}' is in {home}; remove it");
            self.refuse("AWS_REGION", key, &message);
        }
        let issuer = format!("https://cognito-idp.{home}.amazonaws.com/{pool}");
        self.put("USER_POOL_ID", &path, Value::Text(issuer));
    }

    fn client_secret(&mut self, provider: &[&'static str]) {
        // One form of a secret in a variable of ours beats the other form in one of theirs.
        let file = [provider, &["client_secret_file"]].concat();
        if self.our_variable(&file).is_none() {
            let path = [provider, &["client_secret"]].concat();
            self.plain("CLIENT_SECRET", &path);
        }
    }

    fn scopes(&mut self, provider: &[&'static str]) {
        let Some(text) = self.value("REQUIRED_SCOPES") else {
            return;
        };
        let path = [provider, &["scopes"]].concat();
        let scopes = list(&text).map_or(text, |scopes| scopes.join(" "));
        self.put("REQUIRED_SCOPES", &path, Value::Text(scopes));
    }

    fn redirect_path(&self) {
        let is_used = self.env.names().iter().any(|name| name.starts_with(PREFIX));
        match self.value("REDIRECT_PATH") {
            Some(path) if path == CALLBACK => {}
            Some(path) => {
                let message = format!(
                    "is '{path}', but the provider sends browsers back to {CALLBACK} here; register that path of the public URL \
                     as a callback URL of the app client, then set this to {CALLBACK} or remove it"
                );
                self.refuse("REDIRECT_PATH", "", &message);
            }
            None if is_used => self.problems.remark(format!(
                "FastMCP's callback was /auth/callback unless REDIRECT_PATH said otherwise; the app client needs {CALLBACK} of the \
                 public URL as well"
            )),
            None => {}
        }
    }

    fn redirect_uris(&mut self) {
        const NAME: &str = "ALLOWED_CLIENT_REDIRECT_URIS";
        let path = ["clients", "redirect_hosts"];
        let Some(text) = self
            .value(NAME)
            .filter(|_| self.our_variable(&path).is_none())
        else {
            return;
        };
        let patterns = list(&text).unwrap_or_else(|| {
            let words = text.split([',', ' ']).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        });
        let mut rules = Vec::new();
        let mut loopback = false;
        for pattern in &patterns {
            match redirect_rule(pattern) {
                Some(Redirect::Loopback) => loopback = true,
                Some(Redirect::Hosts(rule)) => rules.push(rule),
                None => {
                    let message = format!(
                        "'{pattern}' has no counterpart; set `clients.redirect_hosts` and `clients.private_use_schemes` instead"
                    );
                    self.refuse(NAME, "clients.redirect_hosts", &message);
                    return;
                }
            }
        }
        if rules.is_empty() {
            let message =
                "allows no https host, which `clients.redirect_hosts` cannot say; set that instead";
            self.refuse(NAME, "clients.redirect_hosts", message);
            return;
        }
        if !loopback {
            let message = "does not name this computer, but Vestibule lets every client on the user's own computer in";
            self.warn(NAME, message);
        }
        let place = Place::Variable(format!("{PREFIX}{NAME}"));
        let items = rules.into_iter().map(|rule| Entry {
            value: Value::Text(rule),
            place: place.clone(),
        });
        self.put(NAME, &path, Value::List(items.collect()));
    }

    /// The default provider's section: the first of a list where there is one.
    fn provider(&self) -> Vec<&'static str> {
        let first = format!("{OURS}PROVIDER__0__");
        let listed = match self.root.get("provider") {
            Some(entry) => matches!(entry.value, Value::List(_)),
            None => self.env.names().iter().any(|name| name.starts_with(&first)),
        };
        if listed {
            vec!["provider", "0"]
        } else {
            vec!["provider"]
        }
    }

    fn plain(&mut self, alias: &str, path: &[&str]) {
        if let Some(value) = self.value(alias) {
            self.put(alias, path, Value::Text(value));
        }
    }

    fn put(&mut self, alias: &str, path: &[&str], value: Value) {
        let name = format!("{PREFIX}{alias}");
        if self.our_variable(path).is_some() {
            return;
        }
        let place = Place::Variable(name.clone());
        let owned: Vec<String> = path.iter().map(|&part| part.to_owned()).collect();
        if let Err(message) = insert(self.root, &owned, value, &place) {
            self.refuse(alias, &path.join("."), &message);
        } else {
            self.taken.push(format!("{} from {name}", path.join(".")));
        }
    }

    fn value(&self, alias: &str) -> Option<String> {
        let value = self.env.get(&format!("{PREFIX}{alias}"));
        value.filter(|value| !value.trim().is_empty())
    }

    fn our_variable(&self, path: &[&str]) -> Option<String> {
        let name = format!("{OURS}{}", path.join("__").to_ascii_uppercase());
        self.env.get(&name).filter(|value| !value.is_empty())
    }

    fn in_force(&self, variable: &str, key: &str) -> Option<String> {
        let ours = self.env.get(&format!("{OURS}{variable}"));
        let written = || match &self.root.get(key)?.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        };
        ours.filter(|value| !value.is_empty()).or_else(written)
    }

    fn refuse(&self, alias: &str, key: &str, message: &str) {
        self.problems.add(&spot(alias, key), message);
    }

    fn warn(&self, alias: &str, message: &str) {
        self.problems
            .warn(&spot(alias, &format!("{PREFIX}{alias}")), message);
    }
}

fn spot(alias: &str, key: &str) -> Spot {
    Spot {
        key: key.to_owned(),
        place: Place::Variable(format!("{PREFIX}{alias}")),
    }
}

/// A JSON list of texts.
fn list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str::<Json>(text)
        .ok()?
        .as_array()?
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect()
}

enum Redirect {
    /// Allowed here anyway.
    Loopback,
    /// In the words of `clients.redirect_hosts`.
    Hosts(String),
}

/// A pattern of FastMCP's, in which `*` is any text, where we can say the same.
fn redirect_rule(pattern: &str) -> Option<Redirect> {
    if let Some(rest) = pattern.strip_prefix("http://") {
        let host = rest.split([':', '/']).next().unwrap_or_default();
        let loopback = matches!(host, "localhost" | "127.0.0.1") || rest.starts_with("[::1]");
        return loopback.then_some(Redirect::Loopback);
    }
    let rest = pattern.strip_prefix("https://")?;
    let (host, path) = rest.split_once('/')?;
    let rule = match path {
        "*" => host.to_owned(),
        // What ends in a slash here is everything below it.
        path if path.is_empty() || path.ends_with('/') => return None,
        path => format!("{host}/{}", path.strip_suffix('*').unwrap_or(path)),
    };
    let (name, below) = rule.split_once('/').unwrap_or((&rule, ""));
    let one_star = !name.strip_prefix("*.").unwrap_or(name).contains('*');
    let whole_segments = !path.ends_with('*') || path == "*" || path.ends_with("/*");
    (one_star && whole_segments && !below.contains('*') && !name.contains(':'))
        .then_some(Redirect::Hosts(rule))
}
