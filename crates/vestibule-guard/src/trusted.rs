//! Whose tokens are good, and what ties them to the resource (RFC 9068 §4).

use crate::jwks_verifier::Binding;
use crate::presets::Preset;

/// An issuer whose JWT access tokens are good.
///
/// Its text is compared with `iss` byte for byte. Keys are found through its metadata unless you say where they are.
///
/// ```
/// use vestibule_guard::{Preset, TrustedIssuer};
///
/// // RFC 9068: tokens name this resource in `aud`.
/// let standard = TrustedIssuer::new("https://login.example");
/// // An API with a name of its own.
/// let entra = TrustedIssuer::new("https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/v2.0")
///     .preset(Preset::ENTRA)
///     .audience("api://notes");
/// // No `aud` at all.
/// let cognito = TrustedIssuer::new("https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_EXAMPLE")
///     .preset(Preset::COGNITO)
///     .client_ids(["3n4b5urk1ft4fl3mg5e62d9ado"]);
/// ```
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    pub(crate) issuer: String,
    pub(crate) binding: Binding,
    pub(crate) preset: Preset,
    pub(crate) jwks_url: Option<String>,
    pub(crate) jwks: Option<Vec<u8>>,
    pub(crate) group_claims: Option<Vec<String>>,
}

impl TrustedIssuer {
    /// Tokens of `issuer` that are meant for the resource.
    pub fn new(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            binding: Binding::Resource,
            preset: Preset::STANDARD,
            jwks_url: None,
            jwks: None,
            group_claims: None,
        }
    }

    /// How its tokens look.
    #[must_use]
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = preset;
        self
    }

    /// Tokens are meant for this audience instead of the resource's URL.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.binding = Binding::Audience(audience.into());
        self
    }

    /// Tokens need no audience, but must be access tokens of one of these clients. Weaker: every service that accepts the
    /// same clients accepts the same tokens.
    #[must_use]
    pub fn client_ids(mut self, ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.binding = Binding::ClientIds(ids.into_iter().map(Into::into).collect());
        self
    }

    /// Groups are under these claims instead of the preset's.
    #[must_use]
    pub fn group_claims(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.group_claims = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Its keys are at this URL; its metadata is not asked.
    #[must_use]
    pub fn jwks_url(mut self, url: impl Into<String>) -> Self {
        self.jwks_url = Some(url.into());
        self
    }

    /// Its keys are these (a JWKS document); nothing is fetched. For issuers that cannot be reached, and for tests.
    #[must_use]
    pub fn jwks(mut self, document: impl Into<Vec<u8>>) -> Self {
        self.jwks = Some(document.into());
        self
    }
}

impl From<&str> for TrustedIssuer {
    fn from(issuer: &str) -> Self {
        Self::new(issuer)
    }
}

impl From<String> for TrustedIssuer {
    fn from(issuer: String) -> Self {
        Self::new(issuer)
    }
}
