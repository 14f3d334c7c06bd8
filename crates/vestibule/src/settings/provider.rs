//! `[provider]`: the OpenID Connect provider that signs people in, and our registration with it.

use std::path::PathBuf;
use std::time::Duration;

use vestibule_oauth::scope::{OFFLINE_ACCESS, ScopeSet};
use vestibule_oauth::secret::ClientSecret;
use vestibule_oauth::url::Issuer;

use super::section::Section;
use crate::provider::profile::{self, Profile, TokenEndpointAuth};

/// The provider and our registration with it.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// Its issuer identifier; everything else is read from its discovery document.
    pub issuer: Issuer,
    /// The client id of our registration.
    pub client_id: String,
    /// The client secret, for a confidential registration.
    pub client_secret: Option<ClientSecret>,
    /// What kind of provider it is, which decides the defaults.
    pub preset: &'static Profile,
    /// The scopes we ask for; always with `openid`.
    pub scopes: ScopeSet,
    /// The value of the `resource` parameter (RFC 8707) to send to the provider; most providers want none.
    pub resource: Option<String>,
    /// The longest a call to the provider may take.
    pub timeout: Duration,
    /// Certificate authorities (PEM) trusted for the provider besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How to send the client secret; from the discovery document when not set.
    pub token_endpoint_auth: Option<TokenEndpointAuth>,
}

impl ProviderSettings {
    /// A public registration at `issuer` with every default.
    pub fn new(issuer: Issuer, client_id: impl Into<String>) -> Self {
        Self {
            preset: profile::of(&issuer),
            issuer,
            client_id: client_id.into(),
            client_secret: None,
            scopes: ScopeSet::parse("openid"),
            resource: None,
            timeout: Duration::from_secs(10),
            ca_file: None,
            token_endpoint_auth: None,
        }
    }

    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let problems = section.problems();
        let issuer = section.parsed("issuer", Issuer::parse);
        let issuer = section.required("issuer", issuer);
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
        let secret_is_written = section.has_written(&["client_secret", "client_secret_file"]);
        section.finish();

        let preset = preset.map(|preset| preset.value);
        let preset = preset
            .or_else(|| issuer.as_ref().map(|issuer| profile::of(&issuer.value)))
            .unwrap_or(&profile::GENERIC);
        if let Some(scopes) = &scopes {
            if !scopes.value.contains("openid") {
                problems.add(
                    &scopes.spot,
                    "`openid` is missing; without it the provider does not say who signed in",
                );
            }
            if scopes.value.contains(OFFLINE_ACCESS) && !preset.offline_access {
                problems.add(
                    &scopes.spot,
                    "this provider has no scope `offline_access` and fails the whole sign-in; remove it (it issues refresh \
                     tokens anyway)",
                );
            }
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

        let defaults = Self::new(issuer?.value, client_id?.value);
        Some(Self {
            client_secret: secret.map(|secret| ClientSecret(secret.value)),
            preset,
            scopes: scopes.map_or(defaults.scopes, |scopes| scopes.value),
            resource: resource.map(|resource| resource.value),
            timeout: timeout.map_or(defaults.timeout, |timeout| timeout.value),
            ca_file: ca_file.map(|file| file.value),
            token_endpoint_auth: auth.map(|auth| auth.value),
            issuer: defaults.issuer,
            client_id: defaults.client_id,
        })
    }
}
