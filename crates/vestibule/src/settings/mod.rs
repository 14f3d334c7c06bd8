//! The configuration: read from a TOML file and the environment into settings that are checked, complete and free of
//! contradictions (facts/rust.md B.7 "as written, as meant").
//!
//! The environment beats the file, the file beats the defaults. Every key has a variable: `provider.client_id` is
//! `VESTIBULE__PROVIDER__CLIENT_ID`, the path of the first resource is `VESTIBULE__RESOURCE__0__PATH`; lists are separated
//! by commas. Every secret can stand in a file of its own: `client_secret_file`. File names in the configuration file are
//! relative to it.

mod clients;
mod consent;
mod document;
mod env;
mod limits;
mod problem;
mod provider;
mod resource;
mod rule;
mod scope;
mod section;
mod server;
#[cfg(test)]
mod tests;
mod tokens;
mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vestibule_oauth::secret::Secret;
use vestibule_oauth::url::Origin;
use zeroize::Zeroizing;

pub use clients::{ClientCredential, ClientSettings, PreRegistered};
pub use consent::ConsentSettings;
pub use env::{NoEnvironment, ProcessEnvironment, Strings};
pub use limits::{EndpointLimits, LimitSettings, Rate};
pub use problem::{Place, Problem, SettingsError};
pub(crate) use provider::is_silent;
pub use provider::{DEFAULT_PROVIDER, Endpoints, ProviderSettings, Userinfo};
pub use resource::{CredentialSettings, ResourceSettings};
pub use scope::ScopeDetail;
pub use server::{ForwardedHeader, LogFormat, LogSettings, ServerSettings, TlsFiles};
pub use tokens::{ClaimMapping, TokenFormat, TokenSettings};

use problem::{Problems, Spot};
use section::Section;

use crate::provider::profile;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our origin, which is our issuer identifier (law 1).
    pub public_url: Origin,
    /// Where to listen and what a connection may cost.
    pub server: ServerSettings,
    /// The provider that signs people in, unless a resource names another.
    pub provider: ProviderSettings,
    /// The other providers.
    pub further_providers: Vec<ProviderSettings>,
    /// The protected MCP endpoints; at least one.
    pub resources: Vec<ResourceSettings>,
    /// The tokens we issue.
    pub tokens: TokenSettings,
    /// Where the key ring is.
    pub keys: KeysSettings,
    /// Who may register, and the clients that are known beforehand.
    pub clients: ClientSettings,
    /// Whether consent may be remembered.
    pub consent: ConsentSettings,
    /// How many requests each endpoint takes.
    pub limits: LimitSettings,
    /// What is logged.
    pub log: LogSettings,
    /// What is allowed but unwise, one sentence each, to be logged at start.
    pub warnings: Vec<String>,
}

/// Where the key ring is.
#[derive(Clone, Debug)]
pub enum KeysSettings {
    /// In this file.
    File(PathBuf),
    /// Here, as the text of such a file.
    Inline(Secret),
    /// Made at start and gone with the process. For `dev` and tests; it cannot be configured.
    Ephemeral,
}

impl Settings {
    /// The given parts and every default. The parts are not checked against each other.
    pub fn new(
        public_url: Origin,
        provider: ProviderSettings,
        resources: Vec<ResourceSettings>,
        keys: KeysSettings,
    ) -> Self {
        Self {
            public_url,
            server: ServerSettings::default(),
            tokens: TokenSettings::new(provider.preset),
            provider,
            further_providers: Vec::new(),
            resources,
            keys,
            clients: ClientSettings::default(),
            consent: ConsentSettings::default(),
            limits: LimitSettings::default(),
            log: LogSettings::default(),
            warnings: Vec::new(),
        }
    }

    /// Reads the file at `path`, if there is one, and the environment over it.
    pub fn load(path: Option<&Path>, env: &dyn Strings) -> Result<Self, SettingsError> {
        let Some(path) = path else {
            return Self::read("", None, env);
        };
        match std::fs::read_to_string(path).map(Zeroizing::new) {
            Ok(text) => Self::read(&text, Some(path), env),
            Err(error) => {
                let problem = Problem {
                    place: Place::Nowhere,
                    file: Some(path.display().to_string()),
                    key: String::new(),
                    message: format!("cannot read the configuration file: {error}"),
                };
                Err(SettingsError::new(vec![problem]))
            }
        }
    }

    /// Reads `text` as if it stood in a file `name`, and the environment over it.
    pub fn from_toml(text: &str, name: &str, env: &dyn Strings) -> Result<Self, SettingsError> {
        Self::read(text, Some(Path::new(name)), env)
    }

    fn read(text: &str, file: Option<&Path>, env: &dyn Strings) -> Result<Self, SettingsError> {
        let problems = Problems::new(file.map(Path::to_path_buf));
        let settings = document::from_toml(text, &problems).and_then(|mut document| {
            document::lay_over(&mut document, env, &problems);
            Self::understand(document, &problems)
        });
        let (mut settings, warnings) = problems.judge(settings)?;
        settings.warnings = warnings;
        Ok(settings)
    }

    /// From what was written to what is meant. `None` means that there are problems.
    fn understand(
        document: BTreeMap<String, document::Entry>,
        problems: &Problems,
    ) -> Option<Self> {
        let mut root = Section::root(document, problems);
        let public_url = root.parsed("public_url", Origin::parse);
        let public_url = root.required("public_url", public_url).map(|url| url.value);
        let server = ServerSettings::read(root.section("server"), public_url.as_ref());
        let providers = ProviderSettings::read_all(root.one_or_more("provider"), problems);
        let preset = providers
            .as_ref()
            .and_then(|providers| providers.first())
            .map_or(&profile::GENERIC, |provider| provider.preset);
        let tokens = TokenSettings::read(root.section("tokens"), preset);
        let ids = providers.iter().flatten();
        let ids: Vec<&str> = ids.map(|provider| provider.id.as_str()).collect();
        let resources = ResourceSettings::read_all(
            root.sections("resource"),
            public_url.as_ref(),
            tokens.format,
            &ids,
            problems,
        );
        let keys = KeysSettings::read(root.section("keys"));
        let clients = ClientSettings::read(root.section("clients"), root.sections("client"));
        let consent = ConsentSettings::read(root.section("consent"), &clients);
        let limits = LimitSettings::read(root.section("limits"));
        let log = LogSettings::read(root.section("log"));
        root.finish();
        let mut providers = providers?.into_iter();
        let settings = Self {
            public_url: public_url?,
            server,
            provider: providers.next()?,
            further_providers: providers.collect(),
            resources,
            tokens,
            keys: keys?,
            clients,
            consent,
            limits,
            log,
            warnings: Vec::new(),
        };
        settings.check_providers(problems);
        Some(settings)
    }

    /// Every provider, the default one first.
    pub fn providers(&self) -> impl Iterator<Item = &ProviderSettings> {
        std::iter::once(&self.provider).chain(&self.further_providers)
    }

    /// The providers that may sign people in at a resource, the preferred one first.
    pub fn providers_of(&self, resource: &ResourceSettings) -> Vec<&ProviderSettings> {
        if resource.providers.is_empty() {
            return vec![&self.provider];
        }
        let by_id = |id: &String| self.providers().find(|provider| provider.id == *id);
        resource.providers.iter().filter_map(by_id).collect()
    }

    /// The claims of a provider that go into our tokens: its own map; else the one of `[tokens]`; else, where that is
    /// only the default of another kind of provider, what its preset says.
    pub fn claims_of(&self, provider: &ProviderSettings) -> Vec<ClaimMapping> {
        let own = provider.claims.clone();
        own.unwrap_or_else(|| {
            let common = &self.tokens.claims;
            let default = ClaimMapping::defaults(self.provider.preset);
            let is_default =
                common.len() == default.len() && default.iter().all(|claim| common.contains(claim));
            if is_default {
                ClaimMapping::defaults(provider.preset)
            } else {
                common.clone()
            }
        })
    }

    /// What providers and resources say of each other.
    fn check_providers(&self, problems: &Problems) {
        for resource in self.resources.iter().filter(|own| own.asks_for_groups()) {
            for provider in self.providers_of(resource) {
                let mapped = self.claims_of(provider);
                if !mapped.iter().any(|claim| claim.name == "groups") {
                    problems.add(
                        &resource::section_spot(&resource.path),
                        format!(
                            "has scopes for groups, but no claim of the provider `{}` is mapped to `groups`; set \
                             `tokens.claims` or the provider's `claims`",
                            provider.id
                        ),
                    );
                }
            }
        }
        for resource in &self.resources {
            for provider in self.providers_of(resource) {
                let mapped = self.claims_of(provider);
                for name in resource.claims_in_rules() {
                    if !mapped.iter().any(|claim| claim.name == name) {
                        let message = format!(
                            "has rules about the claim `{name}`, but no claim of the provider `{}` is mapped to it; set \
                             `tokens.claims` or the provider's `claims`",
                            provider.id
                        );
                        problems.add(&resource::section_spot(&resource.path), message);
                    }
                }
            }
        }
        let several = !self.further_providers.is_empty();
        for provider in self
            .providers()
            .filter(|own| several && own.client_secret.is_none())
        {
            let spot = Spot {
                key: format!("provider {}", provider.id),
                place: Place::Nowhere,
            };
            problems.warn(
                &spot,
                "is a public registration beside other providers: a provider that turns hostile could redeem its codes; \
                 give it a client secret",
            );
        }
    }
}

impl KeysSettings {
    /// `file` (or `ring_file`, the name that the rule for secrets gives it), or `ring` with the text itself.
    fn read(mut section: Section<'_>) -> Option<Self> {
        let problems = section.problems();
        let inline = section.text("ring");
        let file = section.name("file");
        let ring_file = section.name("ring_file");
        let variable = |spot: &Spot| matches!(spot.place, Place::Variable(_));
        let spots: Vec<&Spot> = [&inline, &file, &ring_file]
            .into_iter()
            .flatten()
            .map(|written| &written.spot)
            .collect();
        let from_variables = spots.iter().any(|spot| variable(spot));
        let rivals: Vec<&&Spot> = spots
            .iter()
            .filter(|spot| variable(spot) == from_variables)
            .collect();
        if let [_, second, ..] = rivals.as_slice() {
            problems.add(second, "set only one of `file`, `ring_file` and `ring`");
        }
        if spots.is_empty() {
            let message = "missing; make a key ring with `vestibule keys generate --out keys.toml` and name it here, or set \
                           VESTIBULE__KEYS__RING_FILE or VESTIBULE__KEYS__RING";
            problems.add(&section.spot_of("file"), message);
        }
        section.finish();
        let wins = |spot: &Spot| variable(spot) == from_variables;
        if let Some(inline) = inline.filter(|inline| wins(&inline.spot)) {
            return Some(Self::Inline(Secret::new(inline.value)));
        }
        let file = [file, ring_file]
            .into_iter()
            .flatten()
            .find(|file| wins(&file.spot))?;
        let path = problems.resolve(&file);
        match crate::keys::check_file(&path) {
            Ok(warning) => {
                if let Some(warning) = warning {
                    problems.warn(&file.spot, &warning);
                }
                Some(Self::File(path))
            }
            Err(error) => {
                problems.add(&file.spot, error.to_string());
                None
            }
        }
    }
}
