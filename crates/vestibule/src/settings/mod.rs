//! The configuration: read from a TOML file and the environment into settings that are checked, complete and free of
//! contradictions (facts/rust.md B.7 "as written, as meant").
//!
//! The environment beats the file, the file beats the preset's defaults, and those beat the general ones. The variables of
//! another server that this one may replace (`aliases.rs`) are the weakest of the environment. Every key has a variable: `provider.client_id` is
//! `VESTIBULE__PROVIDER__CLIENT_ID`, the path of the first resource is `VESTIBULE__RESOURCE__0__PATH`; lists are separated
//! by commas. Every secret can stand in a file of its own, `client_secret_file`, or elsewhere, `client_secret =
//! "aws-sm:NAME"`. File names in the configuration file are relative to it.

mod admin;
mod aliases;
mod audit;
mod authz;
mod cedar;
mod clients;
mod consent;
mod credential;
mod describe;
mod document;
mod env;
mod explain;
mod identity;
mod introspection;
mod limits;
mod metrics;
mod pages;
mod problem;
mod provider;
mod record;
mod reference;
mod resource;
mod rule;
mod schema;
mod scope;
mod section;
mod server;
mod store;
mod streams;
#[cfg(test)]
mod tests;
mod tokens;
pub(crate) mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vestibule_oauth::secret::Secret;
use vestibule_oauth::url::Origin;
use zeroize::Zeroizing;

pub use admin::AdminSettings;
pub use audit::{AuditSettings, AuditSink};
pub use authz::{AuthzSettings, RequestFrom};
pub use clients::{ClientCredential, ClientSettings, PreRegistered};
pub use consent::ConsentSettings;
pub use credential::CredentialSettings;
pub use env::{NoEnvironment, ProcessEnvironment, Strings};
pub use explain::{InForce, Origin as ValueOrigin};
pub use introspection::{IntrospectionClient, IntrospectionSettings};
pub use limits::{EndpointLimits, LimitSettings, Rate};
pub use metrics::MetricsSettings;
pub use pages::PagesSettings;
pub use problem::{Place, Problem, SettingsError};
pub(crate) use provider::is_silent;
pub use provider::{DEFAULT_PROVIDER, Endpoints, ProviderSettings, Userinfo};
pub use reference::{NoSecretSource, SecretError, SecretPlace, SecretReference, SecretSource};
pub use resource::ResourceSettings;
pub use schema::schema;
pub use scope::ScopeDetail;
pub use server::{ForwardedHeader, LogFormat, LogSettings, ServerSettings, TlsFiles};
pub use store::{StorePlace, StoreSettings};
pub use streams::StreamRules;
pub use tokens::{ClaimMapping, TokenFormat, TokenSettings};

use problem::{Problems, Spot};
use record::Asked;
use reference::Fetched;
use section::Section;

use crate::keys::rotation::DEFAULT_AFTER;
use crate::provider::profile;

const DEFAULT_ROTATE_AFTER: Duration = Duration::from_secs(DEFAULT_AFTER);
/// A rotation takes days when it is run once a day.
const SHORTEST_ROTATION: Duration = Duration::from_secs(7 * 24 * 3600);

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
    /// How long a key is in use before we warn that it has no successor; zero for never.
    pub rotate_keys_after: Duration,
    /// Where grants and revocations are kept.
    pub store: StoreSettings,
    /// Who may register, and the clients that are known beforehand.
    pub clients: ClientSettings,
    /// Whether consent may be remembered.
    pub consent: ConsentSettings,
    /// The interface for operators; `None` when there is none.
    pub admin: Option<AdminSettings>,
    /// Where metrics are found; `None` when nowhere.
    pub metrics: Option<MetricsSettings>,
    /// Where audit events go; `None` when nowhere.
    pub audit: Option<AuditSettings>,
    /// Who may ask about access tokens.
    pub introspection: IntrospectionSettings,
    /// How many requests each endpoint takes.
    pub limits: LimitSettings,
    /// Who may ask about requests that they forward themselves; `None`: nobody.
    pub authz: Option<AuthzSettings>,
    /// Who we are to AWS, where requests are signed for it.
    #[cfg(feature = "aws")]
    pub aws: crate::aws::AwsEnvironment,
    /// Which pages are shown.
    pub pages: PagesSettings,
    /// What is logged.
    pub log: LogSettings,
    /// What is allowed but unwise, one sentence each, to be logged at start.
    pub warnings: Vec<String>,
    /// What else is worth a line in the log at start.
    pub notes: Vec<String>,
    /// Every file and directory that is named here: the configuration file itself is not among them.
    pub files: Vec<PathBuf>,
}

/// A configuration, right or wrong, with all there is to say about it: for `check` and `config explain`.
#[derive(Debug)]
pub struct Report {
    /// The settings, or every problem.
    pub outcome: Result<Settings, SettingsError>,
    /// What is allowed but unwise.
    pub warnings: Vec<Problem>,
    file: Option<String>,
    asked: Vec<Asked>,
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
            rotate_keys_after: DEFAULT_ROTATE_AFTER,
            store: StoreSettings::default(),
            clients: ClientSettings::default(),
            consent: ConsentSettings::default(),
            admin: None,
            metrics: None,
            audit: None,
            introspection: IntrospectionSettings::default(),
            limits: LimitSettings::default(),
            authz: None,
            #[cfg(feature = "aws")]
            aws: crate::aws::AwsEnvironment::default(),
            pages: PagesSettings::default(),
            log: LogSettings::default(),
            warnings: Vec::new(),
            notes: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Reads the file at `path`, if there is one, and the environment over it. A secret that stands elsewhere is a
    /// problem; [`Settings::load_with`] fetches it.
    pub fn load(path: Option<&Path>, env: &dyn Strings) -> Result<Self, SettingsError> {
        Report::load(path, env).outcome
    }

    /// The same with the secrets that stand elsewhere, fetched from `source`. They are fetched anew each time.
    pub async fn load_with(
        path: Option<&Path>,
        env: &dyn Strings,
        source: &dyn SecretSource,
    ) -> Result<Self, SettingsError> {
        Report::load_with(path, env, source).await.outcome
    }

    /// Reads `text` as if it stood in a file `name`, and the environment over it.
    pub fn from_toml(text: &str, name: &str, env: &dyn Strings) -> Result<Self, SettingsError> {
        Report::from_toml(text, name, env).outcome
    }

    /// From what was written to what is meant. `None` means that there are problems.
    fn understand(
        document: BTreeMap<String, document::Entry>,
        problems: &Problems,
        env: &dyn Strings,
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
        let mut keys = root.section("keys");
        let rotate_keys_after = rotate_after(&mut keys);
        let keys = KeysSettings::read(keys);
        let store = StoreSettings::read(root.section("store"), env);
        let clients = ClientSettings::read(root.section("clients"), root.sections("client"));
        let consent = ConsentSettings::read(root.section("consent"), &clients);
        let admin = AdminSettings::read(root.section("admin"), &server);
        let metrics = MetricsSettings::read(root.section("metrics"), &server, admin.as_ref());
        let audit = AuditSettings::read(root.section("audit"));
        let introspection = IntrospectionSettings::read(root.section("introspection"), &resources);
        let limits = LimitSettings::read(root.section("limits"));
        let authz = AuthzSettings::read(root.section("authz"), &resources);
        let pages = PagesSettings::read(root.section("pages"));
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
            rotate_keys_after,
            store,
            clients,
            consent,
            admin,
            metrics,
            audit,
            introspection,
            limits,
            authz,
            #[cfg(feature = "aws")]
            aws: crate::aws::AwsEnvironment::read(env),
            pages,
            log,
            warnings: Vec::new(),
            notes: Vec::new(),
            files: Vec::new(),
        };
        settings.check_providers(problems);
        Some(settings)
    }

    /// Every provider, the default one first.
    pub fn providers(&self) -> impl Iterator<Item = &ProviderSettings> {
        std::iter::once(&self.provider).chain(&self.further_providers)
    }

    /// Path of the callback of a provider: the default one has `/callback`, every further one a path of its own, so that
    /// an answer of one never passes for an answer of another (RFC 9700 §4.4.2).
    pub fn callback_path(&self, provider: &str) -> String {
        if provider == self.provider.id {
            "/callback".to_owned()
        } else {
            format!("/callback/{provider}")
        }
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
                for name in resource.identity.claims() {
                    if !mapped.iter().any(|claim| claim.name == name) {
                        let message = format!(
                            "tells its upstream the claim `{name}`, but no claim of the provider `{}` is mapped to it; set \
                             `tokens.claims` or the provider's `claims`",
                            provider.id
                        );
                        problems.add(&resource::section_spot(&resource.path), message);
                    }
                }
                let asked = resource.cedar.iter().flat_map(|policies| policies.claims());
                for (name, place) in asked {
                    if !mapped.iter().any(|claim| claim.name == name) {
                        let message = format!(
                            "{place}: asks for the claim `{name}`, but no claim of the provider `{}` is mapped to it; set \
                             `tokens.claims` or the provider's `claims`",
                            provider.id
                        );
                        problems.add(&resource::section_spot(&resource.path), message);
                    }
                }
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

impl Report {
    /// Reads the file at `path`, if there is one, and the environment over it. A secret that stands elsewhere is a
    /// problem; [`Report::load_with`] fetches it.
    pub fn load(path: Option<&Path>, env: &dyn Strings) -> Self {
        match text_of(path) {
            Ok(text) => Self::read(&text, path, env, Fetched::new()).0,
            Err(unreadable) => *unreadable,
        }
    }

    /// The same with the secrets that stand elsewhere, fetched from `source`.
    pub async fn load_with(
        path: Option<&Path>,
        env: &dyn Strings,
        source: &dyn SecretSource,
    ) -> Self {
        let text = match text_of(path) {
            Ok(text) => text,
            Err(unreadable) => return *unreadable,
        };
        let (report, references) = Self::read(&text, path, env, Fetched::new());
        if references.is_empty() {
            return report;
        }
        let fetched = reference::fetch_all(references, source).await;
        Self::read(&text, path, env, fetched).0
    }

    /// Reads `text` as if it stood in a file `name`, and the environment over it.
    pub fn from_toml(text: &str, name: &str, env: &dyn Strings) -> Self {
        Self::read(text, Some(Path::new(name)), env, Fetched::new()).0
    }

    /// What `text` means, and the references in it that are not among `fetched`.
    fn read(
        text: &str,
        file: Option<&Path>,
        env: &dyn Strings,
        fetched: Fetched,
    ) -> (Self, Vec<SecretReference>) {
        let problems = Problems::new(file.map(Path::to_path_buf), fetched);
        let settings = document::from_toml(text, &problems).and_then(|mut document| {
            aliases::lay_over(&mut document, env, &problems);
            document::lay_over(&mut document, env, &problems);
            Settings::understand(document, &problems, env)
        });
        let references = problems.references();
        let judgement = problems.judge(settings);
        let warnings = judgement.warnings;
        let sentence = |warning: &Problem| format!("{}: {}", warning.key, warning.message);
        let outcome = judgement.outcome.map(|settings| Settings {
            warnings: warnings.iter().map(sentence).collect(),
            notes: judgement.notes,
            files: judgement.files,
            ..settings
        });
        let report = Self {
            outcome,
            warnings,
            file: file.map(|file| file.display().to_string()),
            asked: judgement.asked,
        };
        (report, references)
    }
}

/// The configuration file's text; nothing when there is no file.
fn text_of(path: Option<&Path>) -> Result<Zeroizing<String>, Box<Report>> {
    let Some(path) = path else {
        return Ok(Zeroizing::default());
    };
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    text.map_err(|error| {
        let file = Some(path.display().to_string());
        let problem = Problem {
            place: Place::Nowhere,
            file: file.clone(),
            key: String::new(),
            message: format!("cannot read the configuration file: {error}"),
        };
        Box::new(Report {
            outcome: Err(SettingsError::new(vec![problem], Vec::new())),
            warnings: Vec::new(),
            file,
            asked: Vec::new(),
        })
    })
}

/// Every key that is read, in the order of reading, with `0` for the index of list elements.
fn survey() -> Vec<Asked> {
    let problems = Problems::survey();
    let nothing = Settings::understand(BTreeMap::new(), &problems, &NoEnvironment);
    problems.judge(nothing).asked
}

/// `keys.rotate_after`.
fn rotate_after(section: &mut Section<'_>) -> Duration {
    let Some(written) = section.duration("rotate_after") else {
        return DEFAULT_ROTATE_AFTER;
    };
    if !written.value.is_zero() && written.value < SHORTEST_ROTATION {
        let message = "must be at least 7d, or 0 for no warning";
        section.problems().add(&written.spot, message);
    }
    written.value
}

impl KeysSettings {
    /// `file` (or `ring_file`, the name that the rule for secrets gives it), or `ring` with the text itself.
    fn read(mut section: Section<'_>) -> Option<Self> {
        let problems = section.problems();
        let inline = section.hidden_text("ring");
        let file = section.path("file");
        let ring_file = section.path("ring_file");
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
            return problems.secret(inline).map(|ring| Self::Inline(ring.value));
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
