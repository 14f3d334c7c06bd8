//! From a few facts to a door: verifiers, challenges and documents that fit together (RFC 9728, RFC 9068, RFC 7662).

use std::sync::Arc;

use http::request::Parts;
use serde::Serialize;
use thiserror::Error;
use vestibule_oauth::metadata::ProtectedResourceMetadata;
use vestibule_oauth::scope::{OFFLINE_ACCESS, ScopeSet, is_scope_token};
use vestibule_oauth::time::{Clock, SystemClock};
use vestibule_oauth::url::{Endpoint, Issuer, Origin, ResourceUri, UrlError};
use vestibule_oauth::well_known::protected_resource_path;

use crate::cache::{CacheLimits, Cached};
use crate::caller::VerifyToken;
use crate::cors::Origins;
use crate::discovery::IssuerKeys;
use crate::fetch::{AddressPolicy, Outbound, Trust, TrustError};
use crate::introspection::{Introspection, IntrospectionVerifier};
use crate::jwks_verifier::JwtVerifier;
use crate::layer::{Guard, GuardLayer, ProtectedResource};
use crate::refusal::Refusal;
use crate::trusted::TrustedIssuer;
use crate::verifiers::Verifiers;
use crate::well_known::Documents;

/// Why a door cannot be built. Each says what to change.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// [`Builder::resource`] was not called.
    #[error("no resource: call `resource` with the URL that users give to their MCP client")]
    NoResource,
    /// The resource's URL is none.
    #[error("the resource: {0}")]
    Resource(#[source] UrlError),
    /// The resource's path cannot be a route.
    #[error("the resource's path '{0}' has characters that routes give a meaning to")]
    Path(String),
    /// Clients would not know where to sign in.
    #[error("no authorization server: call `authorization_server` or `advertise`")]
    NoAuthorizationServer,
    /// Nobody's tokens are good.
    #[error("nobody's tokens are good: call `authorization_server`, `introspection` or `verifier`")]
    NoVerifier,
    /// An issuer, or the URL of one of its documents.
    #[error("the issuer '{issuer}': {source}")]
    Issuer {
        /// What was given.
        issuer: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// One issuer has two sets of rules.
    #[error("the issuer '{0}' is there twice")]
    IssuerTwice(String),
    /// Client ids or an audience were asked for, and there is none.
    #[error("'{0}' has an empty audience or an empty client id")]
    EmptyBinding(String),
    /// The given key set is none.
    #[error("the key set of '{issuer}' cannot be read: {source}")]
    Keys {
        /// Whose it is.
        issuer: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The introspection endpoint.
    #[error("the introspection endpoint: {0}")]
    Introspection(#[source] UrlError),
    /// Not a scope (RFC 6749 §3.3).
    #[error("'{0}' is not a scope")]
    Scope(String),
    /// The certificate authorities could not be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The document could not be written.
    #[error(transparent)]
    Document(#[from] serde_json::Error),
}

type Hook = Box<dyn Fn(Refusal, &Parts) -> Refusal + Send + Sync>;

/// Collects what is known of a protected resource; made by [`ProtectedResource::builder`].
///
/// ```
/// use vestibule_guard::{Preset, ProtectedResource, TrustedIssuer};
///
/// # fn main() -> Result<(), vestibule_guard::BuildError> {
/// let cognito = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_EXAMPLE";
/// let door = ProtectedResource::builder()
///     .resource("https://notes.example/mcp")
///     .name("Notes")
///     .authorization_server(
///         TrustedIssuer::new(cognito).preset(Preset::COGNITO).client_ids(["3n4b5urk1ft4fl3mg5e62d9ado"]),
///     )
///     .require_scope("notes/read")
///     .scopes("notes/write")
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[must_use = "call `build`"]
pub struct Builder {
    resource: Option<String>,
    issuers: Vec<TrustedIssuer>,
    advertised: Vec<String>,
    introspections: Vec<Introspection>,
    verifiers: Verifiers,
    scopes: String,
    required: String,
    name: Option<String>,
    documentation: Option<String>,
    policy: Option<String>,
    terms: Option<String>,
    origins: Vec<String>,
    any_origin: bool,
    cache: CacheLimits,
    clock: Option<Arc<dyn Clock>>,
    outbound: Option<Outbound>,
    hook: Option<Hook>,
}

impl Builder {
    /// The URL that users give to their client: the audience of its tokens and the `resource` of its metadata, byte for
    /// byte. https, or http on a loopback host.
    pub fn resource(mut self, url: impl Into<String>) -> Self {
        self.resource = Some(url.into());
        self
    }

    /// Clients sign in there, and its tokens are good. May be called several times; clients that read only one take the
    /// first.
    pub fn authorization_server(mut self, issuer: impl Into<TrustedIssuer>) -> Self {
        let issuer = issuer.into();
        self.advertised.push(issuer.issuer.clone());
        self.trust(issuer)
    }

    /// Its tokens are good, but clients are not sent there: the other side of a move, or machines.
    pub fn trust(mut self, issuer: impl Into<TrustedIssuer>) -> Self {
        self.issuers.push(issuer.into());
        self
    }

    /// Clients sign in there; what its tokens are worth is decided by `introspection` or `verifier`.
    pub fn advertise(mut self, issuer: impl Into<String>) -> Self {
        self.advertised.push(issuer.into());
        self
    }

    /// Tokens that are no JWT of a trusted issuer are asked about there.
    pub fn introspection(mut self, introspection: Introspection) -> Self {
        self.introspections.push(introspection);
        self
    }

    /// Tokens that are no JWT of a trusted issuer are shown to a verifier of yours. It is asked every time; put a
    /// [`Cached`] around it where that is slow.
    pub fn verifier(mut self, verifier: impl VerifyToken<Extra = ()>) -> Self {
        self.verifiers = self.verifiers.other(verifier);
        self
    }

    /// Scopes worth asking for, separated by spaces: in the metadata and in challenges. Many clients ask for all of them
    /// at once and cannot ask for more later, so name what a session normally needs.
    pub fn scopes(mut self, scopes: &str) -> Self {
        self.scopes.push(' ');
        self.scopes.push_str(scopes);
        self
    }

    /// Scopes without which nobody comes in, separated by spaces; they are asked for too.
    pub fn require_scope(mut self, scopes: &str) -> Self {
        self.required.push(' ');
        self.required.push_str(scopes);
        self
    }

    /// A name for people (`resource_name`).
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Where developers read about the resource (`resource_documentation`).
    pub fn documentation(mut self, url: impl Into<String>) -> Self {
        self.documentation = Some(url.into());
        self
    }

    /// Where it says how data may be used (`resource_policy_uri`).
    pub fn policy_uri(mut self, url: impl Into<String>) -> Self {
        self.policy = Some(url.into());
        self
    }

    /// Terms of service (`resource_tos_uri`).
    pub fn terms_of_service(mut self, url: impl Into<String>) -> Self {
        self.terms = Some(url.into());
        self
    }

    /// Web pages that may use the resource, beyond those of its own origin and of this computer. Requests of other pages
    /// get 403 (MCP transports, "Origin").
    pub fn allowed_origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.origins.extend(origins.into_iter().map(Into::into));
        self
    }

    /// All web pages may use the resource; see [`Origins::any`].
    pub fn any_origin(mut self) -> Self {
        self.any_origin = true;
        self
    }

    /// How many good tokens are remembered, and for how long: 4096 for a minute unless you say otherwise. A JWT is when it
    /// comes for the second time.
    pub fn cache(mut self, limits: CacheLimits) -> Self {
        self.cache = limits;
        self
    }

    /// Another clock than the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Another way out than one that reaches every address and believes the platform's certificate authorities: through a
    /// proxy, or with a private authority.
    pub fn outbound(mut self, outbound: Outbound) -> Self {
        self.outbound = Some(outbound);
        self
    }

    /// Shows you every refusal before it is sent; see [`GuardLayer::on_refusal`].
    ///
    /// ```
    /// # vestibule_guard::ProtectedResource::builder()
    /// .on_refusal(|refusal, request| {
    ///     println!("{} {}: {}", request.method, request.uri.path(), refusal.reason());
    ///     refusal.referenced("an id that your log has too")
    /// })
    /// # ;
    /// ```
    pub fn on_refusal(
        mut self,
        hook: impl Fn(Refusal, &Parts) -> Refusal + Send + Sync + 'static,
    ) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// Puts it together. Nothing is fetched: a server starts while its issuers are away.
    pub fn build(mut self) -> Result<Door, BuildError> {
        let text = self.resource.take().ok_or(BuildError::NoResource)?;
        let uri = ResourceUri::parse(&text).map_err(BuildError::Resource)?;
        let (origin, path) = split(&uri)?;
        for issuer in &self.advertised {
            parse_issuer(issuer)?;
        }
        if self.advertised.is_empty() {
            return Err(BuildError::NoAuthorizationServer);
        }
        let required = scopes(&self.required)?;
        // Not for protected resources (MCP 2026-07-28, "Refresh Tokens").
        let asked = required
            .union(&scopes(&self.scopes)?)
            .without(OFFLINE_ACCESS);
        let documents = self.documents(&uri, &asked, path)?;
        let verifiers = self.verifiers()?;

        let metadata_url = format!("{origin}{}", protected_resource_path(path));
        let mut resource = ProtectedResource::new(uri.clone(), metadata_url, asked);
        resource.required_scopes = required;
        let guard = Guard::new(resource.clone(), verifiers.clone());
        let origins = if self.any_origin {
            Origins::any()
        } else {
            self.origins.push(origin.to_owned());
            Origins::listed(self.origins)
        };
        let mut layer = GuardLayer::new(guard.clone()).origins(origins);
        if !path.ends_with('/') {
            resource.metadata_url.push('/');
            let slashed = Guard::new(resource, verifiers);
            layer = layer.elsewhere(format!("{path}/"), slashed);
        }
        if let Some(hook) = self.hook {
            layer = layer.on_refusal(hook);
        }
        Ok(Door {
            guard,
            layer,
            documents,
        })
    }

    fn documents(
        &self,
        uri: &ResourceUri,
        scopes: &ScopeSet,
        path: &str,
    ) -> Result<Documents, BuildError> {
        let document = |resource: String| Document {
            standard: ProtectedResourceMetadata {
                resource,
                authorization_servers: self.advertised.clone(),
                scopes_supported: scopes.to_vec(),
                bearer_methods_supported: vec!["header".to_owned()],
                resource_name: self.name.clone(),
                resource_documentation: self.documentation.clone(),
            },
            resource_policy_uri: self.policy.clone(),
            resource_tos_uri: self.terms.clone(),
        };
        let (plain, slashed) = (uri.as_str().to_owned(), format!("{uri}/"));
        Ok(Documents::render(
            &document(plain),
            &document(slashed),
            path,
        )?)
    }

    fn verifiers(&mut self) -> Result<Verifiers, BuildError> {
        let clock = self.clock.take().unwrap_or_else(|| Arc::new(SystemClock));
        let outbound = self.way_out()?;
        let limits = self.cache;
        let mut verifiers = std::mem::take(&mut self.verifiers);
        let mut seen: Vec<String> = Vec::new();
        for trusted in std::mem::take(&mut self.issuers) {
            let name = trusted.issuer.clone();
            let issuer = parse_issuer(&name)?;
            if seen.contains(&name) {
                return Err(BuildError::IssuerTwice(name));
            }
            if trusted.binding.is_empty() {
                return Err(BuildError::EmptyBinding(name));
            }
            let keys = match (&trusted.jwks, &trusted.jwks_url) {
                (Some(document), _) => IssuerKeys::fixed(document).map_err(|source| {
                    let issuer = name.clone();
                    BuildError::Keys { issuer, source }
                })?,
                (None, Some(url)) => {
                    Endpoint::parse(url).map_err(|source| BuildError::Issuer {
                        issuer: name.clone(),
                        source,
                    })?;
                    IssuerKeys::at(url, outbound.clone(), Arc::clone(&clock))
                }
                (None, None) => {
                    IssuerKeys::discovered(issuer.clone(), outbound.clone(), Arc::clone(&clock))
                }
            };
            let verifier = JwtVerifier::new(issuer, keys, Arc::clone(&clock), trusted.binding)
                .preset(trusted.preset);
            let verifier = match trusted.group_claims {
                Some(names) => verifier.group_claims(names),
                None => verifier,
            };
            let cached = Cached::new(verifier, Arc::clone(&clock), limits).at_second_sight();
            verifiers = verifiers.issuer(name.clone(), cached);
            seen.push(name);
        }
        for settings in std::mem::take(&mut self.introspections) {
            Endpoint::parse(&settings.endpoint).map_err(BuildError::Introspection)?;
            if settings.binding.is_empty() {
                return Err(BuildError::EmptyBinding(settings.endpoint));
            }
            let verifier =
                IntrospectionVerifier::new(settings, outbound.clone(), Arc::clone(&clock));
            verifiers = verifiers.other(Cached::new(verifier, Arc::clone(&clock), limits));
        }
        if verifiers.is_empty() {
            return Err(BuildError::NoVerifier);
        }
        Ok(verifiers)
    }

    fn way_out(&mut self) -> Result<Outbound, BuildError> {
        if let Some(outbound) = self.outbound.take() {
            return Ok(outbound);
        }
        // The operator typed these addresses: they may be private.
        let policy = AddressPolicy::Configured;
        let plain = |url: &String| url.starts_with("http://");
        let all_plain = self.issuers.iter().all(|trusted| {
            trusted.jwks.is_some() || plain(trusted.jwks_url.as_ref().unwrap_or(&trusted.issuer))
        }) && self.introspections.iter().all(|own| plain(&own.endpoint));
        let trust = if all_plain {
            Trust::nobody()?
        } else {
            Trust::platform(None)?
        };
        Ok(Outbound::new(policy, &trust))
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("resource", &self.resource)
            .field("advertised", &self.advertised)
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

/// A protected resource, ready to be put in front of a service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    guard: Guard<Verifiers>,
    layer: GuardLayer<Verifiers>,
    pub(crate) documents: Documents,
}

impl Door {
    /// The layer: requests without a good token are answered here, the others arrive with a
    /// [`Caller`](crate::Caller) in their extensions.
    pub fn layer(&self) -> GuardLayer<Verifiers> {
        self.layer.clone()
    }

    /// The guard itself, for those who have no tower service: it looks at headers and a query.
    pub fn guard(&self) -> &Guard<Verifiers> {
        &self.guard
    }

    /// The metadata documents by path; with the feature `axum`, `routes` serves them.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }
}

/// RFC 9728 §2, with the members that the house does not use.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    standard: ProtectedResourceMetadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_policy_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_tos_uri: Option<String>,
}

fn parse_issuer(issuer: &str) -> Result<Issuer, BuildError> {
    Issuer::parse(issuer).map_err(|source| BuildError::Issuer {
        issuer: issuer.to_owned(),
        source,
    })
}

fn scopes(text: &str) -> Result<ScopeSet, BuildError> {
    match text
        .split_ascii_whitespace()
        .find(|word| !is_scope_token(word))
    {
        Some(word) => Err(BuildError::Scope(word.to_owned())),
        None => Ok(ScopeSet::parse(text)),
    }
}

/// The origin as it was written, which is what clients compare, and the path.
fn split(uri: &ResourceUri) -> Result<(&str, &str), BuildError> {
    let text = uri.as_str();
    let host = text.find("://").map_or(0, |at| at + 3);
    let end = text[host..]
        .find(['/', '?'])
        .map_or(text.len(), |at| host + at);
    let (origin, path) = text.split_at(end);
    Origin::parse(origin).map_err(BuildError::Resource)?;
    let path = if path.is_empty() { "/" } else { path };
    let special =
        |segment: &str| segment.starts_with([':', '*']) || segment.contains(['{', '}', '?']);
    if path.split('/').any(special) {
        return Err(BuildError::Path(path.to_owned()));
    }
    Ok((origin, path))
}

#[cfg(test)]
mod tests;
