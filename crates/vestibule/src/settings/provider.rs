//! `[provider]` or several `[[provider]]`: who signs people in, and our registration there.

use std::path::PathBuf;
use std::time::Duration;

use vestibule_oauth::scope::{OFFLINE_ACCESS, ScopeSet};
use vestibule_oauth::secret::ClientSecret;
use vestibule_oauth::url::{Endpoint, Issuer};

use super::problem::{Located, Problems};
use super::section::Section;
use super::tokens::ClaimMapping;
use crate::provider::profile::{self, IdentitySource, OfflineAccess, Profile, TokenEndpointAuth};

/// A provider and our registration with it.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// Its name in this configuration and in grants; part of `sub` when there are several providers.
    pub id: String,
    /// What people read on buttons.
    pub label: String,
    /// Its issuer identifier; everything else is read from its discovery document.
    pub issuer: Issuer,
    /// The client id of our registration.
    pub client_id: String,
    /// The client secret, for a confidential registration.
    pub client_secret: Option<ClientSecret>,
    /// What kind of provider it is, which decides the defaults.
    pub preset: &'static Profile,
    /// The scopes we ask for at every sign-in; with `openid` unless the provider does not speak OpenID Connect.
    pub scopes: ScopeSet,
    /// The value of the `resource` parameter (RFC 8707) to send to the provider; most providers want none.
    pub resource: Option<String>,
    /// The longest a call to the provider may take.
    pub timeout: Duration,
    /// Certificate authorities (PEM) trusted for the provider besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How to send the client secret; from the discovery document when not set.
    pub token_endpoint_auth: Option<TokenEndpointAuth>,
    /// Whether the discovery document is read. Without it every endpoint comes from here.
    pub discovery: bool,
    /// Endpoints that win over those of the discovery document.
    pub endpoints: Endpoints,
    /// Fixed parameters of every authorization request.
    pub authorize_params: Vec<(String, String)>,
    /// Parameters of the client's authorization request that are handed on.
    pub pass_through: Vec<String>,
    /// When the userinfo endpoint is asked.
    pub userinfo: Userinfo,
    /// Which claims go into our tokens, when they differ from `[tokens.claims]`.
    pub claims: Option<Vec<ClaimMapping>>,
    /// Whether `/logout` signs people out there.
    pub end_session: bool,
}

/// Endpoints that the operator wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// RFC 6749 §3.1.
    pub authorization: Option<Endpoint>,
    /// RFC 6749 §3.2.
    pub token: Option<Endpoint>,
    /// RFC 7517.
    pub jwks: Option<Endpoint>,
    /// OpenID Connect Core §5.3.
    pub userinfo: Option<Endpoint>,
    /// RFC 7009.
    pub revocation: Option<Endpoint>,
    /// OpenID Connect RP-Initiated Logout, or the provider's own way.
    pub end_session: Option<Endpoint>,
}

/// When the userinfo endpoint is asked for claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Userinfo {
    /// When a mapped claim is missing in the ID token and this kind of provider may have it there.
    #[default]
    Auto,
    /// At every sign-in and refresh; its values win.
    Always,
    /// Never.
    Never,
}

/// The id of a provider that was given none.
pub const DEFAULT_PROVIDER: &str = "default";

/// Parameters that the sign-in itself is made of; nobody may set them from outside.
const OWN_PARAMETERS: [&str; 14] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "id_token_hint",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "resource",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// The provider is asked in the user's own browser in a page, so an answer without one is never wanted.
pub(crate) fn is_silent(name: &str, value: &str) -> bool {
    name == "prompt" && value.split_ascii_whitespace().any(|word| word == "none")
}

impl ProviderSettings {
    /// A public registration at `issuer` with every default.
    pub fn new(issuer: Issuer, client_id: impl Into<String>) -> Self {
        let preset = profile::of(&issuer);
        Self::with_preset(preset, issuer, client_id.into())
    }

    fn with_preset(preset: &'static Profile, issuer: Issuer, client_id: String) -> Self {
        let endpoint = |url: Option<&str>| url.and_then(|url| Endpoint::parse(url).ok());
        Self {
            id: DEFAULT_PROVIDER.to_owned(),
            label: preset.label.to_owned(),
            issuer,
            client_id,
            client_secret: None,
            preset,
            scopes: ScopeSet::parse(preset.scopes),
            resource: None,
            timeout: Duration::from_secs(10),
            ca_file: None,
            token_endpoint_auth: None,
            discovery: preset.identity == IdentitySource::IdToken,
            endpoints: Endpoints {
                authorization: endpoint(preset.endpoints.authorization),
                token: endpoint(preset.endpoints.token),
                userinfo: endpoint(preset.endpoints.userinfo),
                ..Endpoints::default()
            },
            authorize_params: owned(preset.authorize_params),
            pass_through: Vec::new(),
            userinfo: Userinfo::default(),
            claims: None,
            end_session: true,
        }
    }

    /// Reads every provider. `None` when one of them is not complete.
    pub(super) fn read_all(sections: Vec<Section<'_>>, problems: &Problems) -> Option<Vec<Self>> {
        let several = sections.len() > 1;
        let mut ids: Vec<Located<String>> = Vec::new();
        let mut providers = Vec::new();
        for mut section in sections {
            let id = section.parsed("id", provider_id);
            let id = if several {
                section.required("id", id)
            } else {
                id
            };
            if let Some(id) = id {
                if let Some(other) = ids.iter().find(|other| other.value == id.value) {
                    problems.add(&id.spot, format!("{} has this id already", other.spot.key));
                }
                ids.push(id.clone());
                let provider = Self::read(section).map(|provider| Self {
                    id: id.value,
                    ..provider
                });
                providers.push(provider);
            } else {
                providers.push(Self::read(section));
            }
        }
        providers.into_iter().collect()
    }

    fn read(mut section: Section<'_>) -> Option<Self> {
        let problems = section.problems();
        let label = section.name("label");
        let issuer = section.parsed("issuer", Issuer::parse);
        let client_id = section.name("client_id");
        let client_id = section.required("client_id", client_id);
        let secret = section.secret("client_secret", "client_secret_file");
        let preset = section.choice(
            "preset",
            &profile::ALL.map(|profile| (profile.name, profile)),
        );
        let scopes = section.scopes("scopes");
        let resource = section.name("resource");
        let timeout = section.duration("timeout");
        let ca_file = section.file("ca_file");
        let auth = section.choice(
            "token_endpoint_auth",
            &[
                ("basic", TokenEndpointAuth::Basic),
                ("post", TokenEndpointAuth::Post),
                ("client_secret_basic", TokenEndpointAuth::Basic),
                ("client_secret_post", TokenEndpointAuth::Post),
            ],
        );
        let discovery = section.flag("discovery");
        let endpoints = WrittenEndpoints::read(&mut section);
        let params = section
            .optional_section("authorize_params")
            .map(|mut params| params.all_texts());
        let pass_through = section.parsed_list("pass_through", parameter);
        let userinfo = section.choice(
            "userinfo",
            &[
                ("auto", Userinfo::Auto),
                ("always", Userinfo::Always),
                ("never", Userinfo::Never),
            ],
        );
        let claims = section
            .optional_section("claims")
            .map(ClaimMapping::read_all);
        let end_session = section.flag("end_session");
        let secret_is_written = section.has_written(&["client_secret", "client_secret_file"]);
        let chosen = preset.as_ref().map(|preset| preset.value);
        let issuer = match chosen.and_then(|preset| preset.issuer) {
            Some(known) if issuer.is_none() && !section.has_written(&["issuer"]) => {
                Issuer::parse(known).ok().map(|value| Located {
                    value,
                    spot: section.spot_of("issuer"),
                })
            }
            _ => section.required("issuer", issuer),
        };
        let missing_spot = section.spot_of("discovery");
        section.finish();

        let preset = chosen
            .or_else(|| issuer.as_ref().map(|issuer| profile::of(&issuer.value)))
            .unwrap_or(&profile::GENERIC);
        if let Some(issuer) = issuer
            .as_ref()
            .filter(|issuer| preset.tenant_in_path && profile::tenant_id(&issuer.value).is_none())
        {
            problems.add(
                &issuer.spot,
                "must name one tenant by its id, as in \"https://login.microsoftonline.com/<tenant id>/v2.0\": with a shared \
                 tenant or a name, tokens come from another issuer, and anybody with an account somewhere could sign in",
            );
        }
        check_scopes(scopes.as_ref(), preset, problems);
        if let Some(resource) = resource.as_ref().filter(|_| !preset.resource_parameter) {
            problems.add(
                &resource.spot,
                "this provider does not know the parameter and fails the sign-in; say it with `scopes`",
            );
        }
        if let Some(auth) = auth.as_ref().filter(|_| !secret_is_written) {
            problems.add(
                &auth.spot,
                "says how to send a client secret, but there is none",
            );
        }
        if let Some(timeout) = timeout.as_ref().filter(|timeout| timeout.value.is_zero()) {
            problems.add(&timeout.spot, "must be longer than 0");
        }
        let pass_through = pass_through.map_or_else(Vec::new, |list| list.value);
        let params = checked_params(params.unwrap_or_default(), &pass_through, problems);

        let defaults = Self::with_preset(preset, issuer?.value, client_id?.value);
        let provider = Self {
            label: label.map_or(defaults.label, |label| label.value),
            client_secret: secret.map(|secret| ClientSecret(secret.value)),
            scopes: scopes.map_or(defaults.scopes, |scopes| scopes.value),
            resource: resource.map(|resource| resource.value),
            timeout: timeout.map_or(defaults.timeout, |timeout| timeout.value),
            ca_file: ca_file.map(|file| file.value),
            token_endpoint_auth: auth.map(|auth| auth.value),
            discovery: discovery
                .as_ref()
                .map_or(defaults.discovery, |discovery| discovery.value),
            endpoints: endpoints.over(defaults.endpoints, &defaults.issuer, problems),
            authorize_params: merged(defaults.authorize_params, &params),
            pass_through: pass_through.into_iter().map(|name| name.value).collect(),
            userinfo: userinfo.map_or(defaults.userinfo, |userinfo| userinfo.value),
            claims,
            end_session: end_session.is_none_or(|end_session| end_session.value),
            ..Self::with_preset(preset, defaults.issuer, defaults.client_id)
        };
        let missing = provider.missing_endpoints();
        if !missing.is_empty() {
            problems.add(
                &discovery.map_or(missing_spot, |discovery| discovery.spot),
                format!("without discovery, `{}` must be set", missing.join("`, `")),
            );
        }
        Some(provider)
    }

    /// What a provider without discovery cannot do without.
    fn missing_endpoints(&self) -> Vec<&'static str> {
        let openid = self.preset.identity == IdentitySource::IdToken;
        let needed = [
            (
                "authorization_endpoint",
                true,
                self.endpoints.authorization.is_some(),
            ),
            ("token_endpoint", true, self.endpoints.token.is_some()),
            ("jwks_uri", openid, self.endpoints.jwks.is_some()),
            (
                "userinfo_endpoint",
                !openid,
                self.endpoints.userinfo.is_some(),
            ),
        ];
        let missing = needed
            .into_iter()
            .filter(|(_, needed, given)| !self.discovery && *needed && !given);
        missing.map(|(name, ..)| name).collect()
    }
}

/// Endpoints with their places.
struct WrittenEndpoints {
    authorization: Option<Located<Endpoint>>,
    token: Option<Located<Endpoint>>,
    jwks: Option<Located<Endpoint>>,
    userinfo: Option<Located<Endpoint>>,
    revocation: Option<Located<Endpoint>>,
    end_session: Option<Located<Endpoint>>,
}

impl WrittenEndpoints {
    fn read(section: &mut Section<'_>) -> Self {
        Self {
            authorization: section.parsed("authorization_endpoint", Endpoint::parse),
            token: section.parsed("token_endpoint", Endpoint::parse),
            jwks: section.parsed("jwks_uri", Endpoint::parse),
            userinfo: section.parsed("userinfo_endpoint", Endpoint::parse),
            revocation: section.parsed("revocation_endpoint", Endpoint::parse),
            end_session: section.parsed("end_session_endpoint", Endpoint::parse),
        }
    }

    /// These over the preset's. An https provider must not send our secret or our users to plain http.
    fn over(self, preset: Endpoints, issuer: &Issuer, problems: &Problems) -> Endpoints {
        let https = issuer.as_str().starts_with("https://");
        let choose = |written: Option<Located<Endpoint>>, preset: Option<Endpoint>| {
            let Some(written) = written else {
                return preset;
            };
            if https && !written.value.as_str().starts_with("https://") {
                problems.add(&written.spot, "must use https, as `issuer` does");
            }
            Some(written.value)
        };
        Endpoints {
            authorization: choose(self.authorization, preset.authorization),
            token: choose(self.token, preset.token),
            jwks: choose(self.jwks, preset.jwks),
            userinfo: choose(self.userinfo, preset.userinfo),
            revocation: choose(self.revocation, preset.revocation),
            end_session: choose(self.end_session, preset.end_session),
        }
    }
}

fn check_scopes(scopes: Option<&Located<ScopeSet>>, preset: &Profile, problems: &Problems) {
    let Some(scopes) = scopes else {
        return;
    };
    let openid = scopes.value.contains("openid");
    match preset.identity {
        IdentitySource::IdToken if !openid => problems.add(
            &scopes.spot,
            "`openid` is missing; without it the provider does not say who signed in",
        ),
        IdentitySource::Api { .. } if openid => problems.add(
            &scopes.spot,
            "this provider does not speak OpenID Connect; remove `openid`",
        ),
        _ => {}
    }
    match (
        preset.offline_access,
        scopes.value.contains(OFFLINE_ACCESS),
    ) {
        (OfflineAccess::Refused, true) => problems.add(
            &scopes.spot,
            "this provider has no scope `offline_access` and fails the whole sign-in; remove it (refresh tokens do not \
             depend on it here)",
        ),
        (OfflineAccess::Needed, false) => problems.warn(
            &scopes.spot,
            "without `offline_access` this provider gives no refresh token: everybody signs in again when the first access \
             token ends",
        ),
        _ => {}
    }
}

/// Fixed parameters: none of ours, none that is handed on as well, and never a silent prompt.
fn checked_params(
    written: Vec<(String, Located<String>)>,
    pass_through: &[Located<String>],
    problems: &Problems,
) -> Vec<(String, String)> {
    let mut params = Vec::new();
    for (name, value) in written {
        if let Err(message) = parameter(&name) {
            problems.add(&value.spot, message);
        } else if is_silent(&name, &value.value) {
            problems.add(
                &value.spot,
                "`none` would refuse everybody who is not signed in already",
            );
        } else if pass_through.iter().any(|passed| passed.value == name) {
            problems.add(
                &value.spot,
                "is in `pass_through` too; either it is fixed or the client says it",
            );
        } else {
            params.push((name, value.value));
        }
    }
    params
}

/// The preset's parameters with the written ones over them; an empty text takes one away.
fn merged(preset: Vec<(String, String)>, written: &[(String, String)]) -> Vec<(String, String)> {
    let replaced = |name: &str| written.iter().any(|(own, _)| own == name);
    let kept: Vec<_> = preset
        .into_iter()
        .filter(|(name, _)| !replaced(name))
        .collect();
    kept.into_iter()
        .chain(
            written
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .cloned(),
        )
        .collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A parameter that may be set or handed on.
fn parameter(name: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err(format!("'{name}' is not the name of a parameter"));
    }
    if OWN_PARAMETERS.contains(&name) {
        return Err(format!(
            "`{name}` is what the sign-in itself is made of; Vestibule writes it"
        ));
    }
    Ok(name.to_owned())
}

/// Ids stand before a colon in `sub`, so they hold none.
fn provider_id(text: &str) -> Result<String, String> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if text.is_empty() || text.len() > 32 || !text.bytes().all(plain) {
        return Err(format!("'{text}' must be 1 to 32 of a-z, 0-9, `-` and `_`"));
    }
    Ok(text.to_owned())
}
