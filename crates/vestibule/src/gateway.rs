//! `ANY /mcp` (journey 8): origin → guard → policy → credential → proxy. No request reaches an upstream without a `Caller`.

use std::iter;
use std::sync::Arc;

use axum::extract::Request;
use http::HeaderValue;
use http::header::AUTHORIZATION;

use vestibule_guard::cors::Origins;
use vestibule_guard::{
    CacheLimits, Cached, Caller, Guard, ProtectedResource, TokenRefusal, Verified, VerifyToken,
};
use vestibule_oauth::jose::{ClaimsError, JwsError};
use vestibule_oauth::random::Random;
use vestibule_oauth::secret::AccessToken;
use vestibule_oauth::time::Clock;
use vestibule_oauth::url::{Origin, ResourceUri};
use vestibule_oauth::well_known::{is_well_known, protected_resource_path};

use crate::arrival::PeerAddr;
#[cfg(feature = "aws")]
use crate::aws::UpstreamSigner;
use crate::issuer::{About, TokenError, TokenIssuer, UPSTREAM_TOKEN_LIFETIME};
use crate::keys::rotation::LONGEST_TOKEN;
use crate::limits::Limits;
use crate::minted::Minted;
use crate::pages::{self, landing};
use crate::policy::Policy;
use crate::proxy::credential;
use crate::proxy::{
    Credential, CredentialError, Ending, Endpoint, HandleLimits, Proxy, Route, Sessions, Standing,
    Upstream, UpstreamTokens, Watch,
};
use crate::quarantine::Barrier;
use crate::seal::SealError;
use crate::settings::{CredentialSettings, ResourceSettings, Settings};
use crate::telemetry::Refused;
use crate::upstream_identity::IdentityToken;
use crate::ways::Ways;
use crate::{BuildError, House};

/// Good tokens that are remembered for each resource, with all that they say: some two kilobytes each. Whoever has more
/// users at once pays for the check again, and nothing else. From the second time on: a crowd that comes once each would
/// pay more for being remembered than for its check.
const REMEMBERED: CacheLimits = CacheLimits {
    tokens: 8192,
    // As long as a token lives at most. What may happen to it before is asked each time (`Barrier`); other keys or
    // settings come with another house, which remembers nothing.
    seconds: LONGEST_TOKEN,
};

/// Verifies our own access tokens for the guard.
#[derive(Debug)]
pub struct OwnTokens {
    genuine: Arc<Cached<Genuine>>,
    barrier: Arc<Barrier>,
    clock: Arc<dyn Clock>,
}

/// Tells our own tokens that are whole and in their time, whether they still stand or not.
#[derive(Debug)]
struct Genuine {
    issuer: Arc<TokenIssuer>,
    clock: Arc<dyn Clock>,
}

impl VerifyToken for Genuine {
    type Extra = Option<AccessToken>;

    async fn verify(
        &self,
        token: &str,
        resource: &ResourceUri,
    ) -> Result<Verified<Option<AccessToken>>, TokenRefusal> {
        let mut access = self
            .issuer
            .verify(token, resource.as_str(), self.clock.now())
            .map_err(|error| refusal(&error))?;
        let carried = access.take_provider_token();
        let mut verified =
            Verified::new(access.subject, access.client_id, access.expires_at, carried);
        verified.scope = access.scope;
        verified.token_id = access.id;
        verified.claims = access.claims;
        Ok(verified)
    }
}

impl VerifyToken for OwnTokens {
    /// The provider's token, if ours carries it: the credential may need it.
    type Extra = Option<AccessToken>;

    async fn verify(
        &self,
        token: &str,
        resource: &ResourceUri,
    ) -> Result<Verified<Option<AccessToken>>, TokenRefusal> {
        let verified = self.verify_shared(token, resource).await?;
        Ok(Arc::unwrap_or_clone(verified))
    }

    async fn verify_shared(
        &self,
        token: &str,
        resource: &ResourceUri,
    ) -> Result<Arc<Verified<Option<AccessToken>>>, TokenRefusal> {
        let verified = self.genuine.verify_shared(token, resource).await?;
        // Whether it was revoked is never remembered.
        let (id, user, client) = (&verified.token_id, &verified.subject, &verified.client_id);
        if self.barrier.admits(id, user, client, self.clock.now()) {
            Ok(verified)
        } else {
            Err(TokenRefusal::Revoked)
        }
    }
}

fn refusal(error: &TokenError) -> TokenRefusal {
    match error {
        TokenError::Seal(SealError::Expired)
        | TokenError::Claims(ClaimsError::Expired(_) | ClaimsError::NotYetValid(_)) => {
            TokenRefusal::Expired
        }
        TokenError::Audience | TokenError::Claims(ClaimsError::Audience) => {
            TokenRefusal::WrongAudience
        }
        TokenError::Claims(ClaimsError::Issuer(_)) => TokenRefusal::WrongIssuer,
        TokenError::Seal(SealError::Broken | SealError::UnknownKey)
        | TokenError::Jws(JwsError::Signature | JwsError::UnknownKey(_) | JwsError::KeyMismatch) => {
            TokenRefusal::Signature
        }
        TokenError::Seal(_) | TokenError::Jws(_) | TokenError::Claims(_) => TokenRefusal::Malformed,
    }
}

/// Gives the proxy what its credentials need, out of the caller's own access token.
#[derive(Debug)]
pub struct OwnCredentials {
    issuer: Arc<TokenIssuer>,
    barrier: Arc<Barrier>,
    clock: Arc<dyn Clock>,
    /// Tokens for the upstream of the one resource.
    minted: Minted,
    /// Identity tokens of the one resource.
    identities: Minted,
}

impl UpstreamTokens for OwnCredentials {
    type Extra = Option<AccessToken>;

    fn vestibule_token(
        &self,
        caller: &Caller<Option<AccessToken>>,
        audience: &str,
    ) -> Result<HeaderValue, CredentialError> {
        let now = self.clock.now();
        self.minted.get_or_sign(caller.token_id(), now, || {
            let minted = (self.issuer).mint_for_upstream(&About::from(caller), audience, now);
            let token = minted.map_err(|error| {
                tracing::error!(reason = "upstream_token", cause = %error, "the token for the upstream was not signed");
                CredentialError::Unavailable
            })?;
            // The upstream always gets one that is good for half its time, or as long as the client's own.
            let again_until = (caller.expires_at()).min(now.plus(UPSTREAM_TOKEN_LIFETIME / 2));
            Ok((credential::bearer(&token)?, again_until))
        })
    }

    fn identity_token(
        &self,
        caller: &Caller<Option<AccessToken>>,
        token: &IdentityToken,
    ) -> Result<HeaderValue, CredentialError> {
        let now = self.clock.now();
        self.identities.get_or_sign(caller.token_id(), now, || {
            let signed = token.sign(&About::from(caller), &self.issuer, now);
            let (signed, again_until) = signed.map_err(|error| {
                tracing::error!(reason = "identity_token", cause = %error, "the identity token was not signed");
                CredentialError::Unavailable
            })?;
            Ok((credential::secret_value(signed)?, again_until))
        })
    }

    fn provider_token(
        &self,
        caller: &Caller<Option<AccessToken>>,
    ) -> Result<AccessToken, CredentialError> {
        // Absent when the resource's credential was another one while the token was issued: a refresh mends it.
        caller.extra().clone().ok_or(CredentialError::SignInAgain)
    }

    fn standing(&self, caller: &Caller<Option<AccessToken>>) -> Standing {
        let (barrier, clock) = (Arc::clone(&self.barrier), Arc::clone(&self.clock));
        let id: Box<str> = caller.token_id().into();
        let subject: Box<str> = caller.subject().into();
        let client_id: Box<str> = caller.client_id().into();
        Box::new(move || barrier.admits(&id, &subject, &client_id, clock.now()))
    }
}

/// Every protected MCP endpoint.
pub struct Gateway {
    doors: Vec<Door>,
}

/// One resource. Who was given its URL with a slash behind it is challenged with the document that has the slash: with
/// any other `resource` in it a strict client must not use the document (RFC 9728 §3.3).
struct Door {
    plain: OwnEndpoint,
    slashed: OwnEndpoint,
}

impl Gateway {
    /// Builds an endpoint for each resource.
    pub(crate) fn build(
        settings: &Settings,
        issuer: &Arc<TokenIssuer>,
        barrier: &Arc<Barrier>,
        limits: &Arc<Limits>,
        watch: &Watch,
        random: &Arc<dyn Random>,
        ways: &mut Ways,
    ) -> Result<Self, BuildError> {
        let clock = &watch.clock;
        let origins = allowed_origins(&settings.public_url, &settings.server.allowed_origins);
        let mut doors = Vec::with_capacity(settings.resources.len());
        for resource in &settings.resources {
            let name = format!("resource {}", resource.path);
            let authorities = resource.ca_file.as_deref();
            let (upstream, protocol) = (resource.upstream.as_str(), resource.upstream_protocol);
            let outbound = ways.open(name, upstream, authorities, protocol)?;
            let tokens = OwnCredentials {
                issuer: Arc::clone(issuer),
                barrier: Arc::clone(barrier),
                clock: Arc::clone(clock),
                minted: Minted::default(),
                identities: Minted::default(),
            };
            let genuine = Genuine {
                issuer: Arc::clone(issuer),
                clock: Arc::clone(clock),
            };
            let genuine = Cached::new(genuine, Arc::clone(clock), REMEMBERED).at_second_sight();
            let genuine = Arc::new(genuine);
            let ending = Ending {
                clock: Arc::clone(clock),
                alarm: Arc::clone(&barrier.alarm),
            };
            let proxy = Proxy::new(outbound, tokens, ending, Arc::clone(random));
            let proxy = proxy.with_limits(Arc::clone(limits)).watched(watch.clone());
            let proxy = Arc::new(proxy);
            let endpoint = |route: Route| {
                let verifier = OwnTokens {
                    genuine: Arc::clone(&genuine),
                    barrier: Arc::clone(barrier),
                    clock: Arc::clone(clock),
                };
                Endpoint {
                    guard: Guard::new(route.resource.clone(), verifier),
                    origins: origins.clone(),
                    route,
                    proxy: Arc::clone(&proxy),
                }
            };
            let credential = credential(settings, resource, clock, random, ways)?;
            let mut plain = route(settings, resource, credential)?;
            plain.policy = Policy::of(resource, clock);
            let sessions = || Sessions::new(Arc::clone(issuer.sealer()));
            plain.sessions = resource.bind_sessions.then(sessions);
            let mut slashed = plain.clone();
            slashed.resource.metadata_url.push('/');
            doors.push(Door {
                plain: endpoint(plain),
                slashed: endpoint(slashed),
            });
        }
        Ok(Self { doors })
    }

    /// The endpoint at or above a path. Well-known documents are nobody's but ours.
    pub(crate) fn find(&self, path: &str) -> Option<&OwnEndpoint> {
        if is_well_known(path) {
            return None;
        }
        self.doors.iter().find_map(|door| {
            let rest = path.strip_prefix(door.plain.route.path.as_str())?;
            match rest {
                "/" => Some(&door.slashed),
                _ if rest.is_empty() || rest.starts_with('/') => Some(&door.plain),
                _ => None,
            }
        })
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.doors.iter().map(|door| &door.plain.route))
            .finish()
    }
}

/// One resource as the house runs it.
pub(crate) type OwnEndpoint = Endpoint<OwnTokens, OwnCredentials>;

/// The answer to a request without credentials, which nothing is waited for. A person who looks at the resource with a
/// browser gets a page.
pub(crate) fn without_credentials(
    house: &House,
    endpoint: &OwnEndpoint,
    from: Option<PeerAddr>,
    request: &Request,
) -> Option<Refused> {
    let headers = request.headers();
    if headers.contains_key(AUTHORIZATION) {
        return None;
    }
    let mut refused = endpoint.token(from, request).err()?;
    if pages::is_browser(request.method(), headers)
        && let Some(resource) = house.resource_at(&endpoint.route.path)
    {
        landing::explain(&mut refused.response, house.settings(), resource, headers);
    }
    Some(refused)
}

/// What the upstream of a resource gets. `clock`, `random` and `ways` are for credentials that are fetched.
#[cfg_attr(
    not(feature = "aws"),
    expect(unused_variables, reason = "nothing else fetches credentials")
)]
fn credential(
    settings: &Settings,
    resource: &ResourceSettings,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
    ways: &mut Ways,
) -> Result<Credential, BuildError> {
    let wrong = |cause: String| wrong(resource, cause);
    Ok(match &resource.credential {
        CredentialSettings::None => Credential::None,
        CredentialSettings::VestibuleToken { audience } => Credential::VestibuleToken {
            audience: audience.clone(),
        },
        CredentialSettings::ProviderToken => Credential::ProviderToken,
        CredentialSettings::Header { name, value } => {
            let mut value =
                HeaderValue::try_from(value.expose()).map_err(|error| wrong(error.to_string()))?;
            value.set_sensitive(true);
            Credential::Header {
                name: name.clone(),
                value,
            }
        }
        #[cfg(feature = "aws")]
        CredentialSettings::SigV4 {
            service,
            region,
            unsigned_payload,
        } => {
            let limit = (!unsigned_payload).then_some(resource.max_message_bytes);
            let aws = ways.aws(&settings.aws, clock, random);
            let aws = aws.map_err(|error| wrong(error.to_string()))?;
            let signer = UpstreamSigner::new(aws, service, region.as_deref(), limit);
            Credential::SigV4(Arc::new(signer.map_err(|error| wrong(error.to_string()))?))
        }
        #[cfg(not(feature = "aws"))]
        CredentialSettings::SigV4 { .. } => {
            return Err(wrong("this build cannot sign for AWS".to_owned()));
        }
    })
}

fn wrong(resource: &ResourceSettings, cause: String) -> BuildError {
    BuildError::Resource {
        path: resource.path.clone(),
        cause,
    }
}

fn route(
    settings: &Settings,
    resource: &ResourceSettings,
    credential: Credential,
) -> Result<Route, BuildError> {
    Ok(Route {
        resource: ProtectedResource::new(
            resource.uri.clone(),
            settings
                .public_url
                .join(&protected_resource_path(&resource.path)),
            // Everything a session normally needs: several clients cannot step up later (facts/clients.md §6.8).
            resource.scopes.clone(),
        ),
        path: resource.path.clone(),
        upstream: Upstream::parse(&resource.upstream)
            .map_err(|error| wrong(resource, error.to_string()))?,
        credential,
        identity: resource.identity.clone(),
        header_timeout: resource.timeout,
        max_body_bytes: settings.server.max_body_bytes,
        policy: Policy::open(),
        sessions: None,
        handles: resource.bind_handles.then_some(HandleLimits {
            max_message: resource.max_message_bytes,
            max_answer: resource.max_list_bytes,
        }),
        streams: resource.streams,
    })
}

/// Our own pages, those on this computer, and the configured ones.
fn allowed_origins(own: &Origin, configured: &[String]) -> Origins {
    if configured.iter().any(|origin| origin == "*") {
        return Origins::any();
    }
    Origins::listed(iter::once(own.as_str()).chain(configured.iter().map(String::as_str)))
}
