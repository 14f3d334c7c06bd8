//! `[provider]`: the OpenID Connect provider that signs people in, and our registration with it.

use std::path::PathBuf;
use std::time::Duration;

use vestibule_oauth::scope::{OFFLINE_ACCESS, ScopeSet};
use vestibule_oauth::secret::ClientSecret;
use vestibule_oauth::url::Issuer;

use super::section::Section;

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
    pub preset: Preset,
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

/// A kind of provider, which decides defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// Any OpenID Connect provider.
    #[default]
    Generic,
    /// Amazon Cognito user pools: knows no `offline_access`, keeps groups in `cognito:groups`.
    Cognito,
}

/// How a client secret is sent (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenEndpointAuth {
    /// `client_secret_basic`: in the `Authorization` header.
    Basic,
    /// `client_secret_post`: in the body.
    Post,
}

impl Preset {
    /// The preset that fits an issuer's host (facts/cognito-and-agentcore.md §2.1: two forms of issuer).
    pub fn of(issuer: &Issuer) -> Self {
        let url = url::Url::parse(issuer.as_str()).ok();
        let host = url
            .as_ref()
            .and_then(url::Url::host_str)
            .unwrap_or_default();
        let service = host.split('.').next().unwrap_or_default();
        let aws = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
        if aws
            && matches!(
                service,
                "cognito-idp" | "cognito-idp-fips" | "issuer-cognito-idp"
            )
        {
            Self::Cognito
        } else {
            Self::Generic
        }
    }

    /// False when the provider fails a whole sign-in because of `offline_access`.
    pub fn allows_offline_access(self) -> bool {
        match self {
            Self::Generic => true,
            Self::Cognito => false,
        }
    }
}

impl ProviderSettings {
    /// A public registration at `issuer` with every default.
    pub fn new(issuer: Issuer, client_id: impl Into<String>) -> Self {
        Self {
            preset: Preset::of(&issuer),
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
            &[("generic", Preset::Generic), ("cognito", Preset::Cognito)],
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
            .or_else(|| issuer.as_ref().map(|issuer| Preset::of(&issuer.value)))
            .unwrap_or_default();
        if let Some(scopes) = &scopes {
            if !scopes.value.contains("openid") {
                problems.add(
                    &scopes.spot,
                    "`openid` is missing; without it the provider does not say who signed in",
                );
            }
            if scopes.value.contains(OFFLINE_ACCESS) && !preset.allows_offline_access() {
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
