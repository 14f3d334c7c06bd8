//! The guard: authenticate, or answer with a challenge (RFC 6750, RFC 9728 §5; design law 3).

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use tower::{Layer, Service};
use vestibule_oauth::challenge::{BearerError, Challenge};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::url::ResourceUri;
use vestibule_oauth::well_known::is_well_known;

use crate::bearer::{self, NoToken, Presented};
use crate::builder::Builder;
use crate::caller::{Caller, TokenRefusal, VerifyToken};
use crate::cors::{Origins, is_preflight};
use crate::refusal::Refusal;

/// The [`Refusal::reason`] of a request without credentials, which every client sends first.
pub const NO_CREDENTIALS: &str = "no_credentials";

/// One protected MCP endpoint, as the challenges describe it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProtectedResource {
    /// What users type; the audience of its tokens.
    pub uri: ResourceUri,
    /// Absolute URL of the RFC 9728 document, on the origin of `uri`.
    pub metadata_url: String,
    /// Scopes that a client should ask for; named in every challenge.
    pub scopes_for_challenge: ScopeSet,
    /// Scopes without which nobody comes in; usually none.
    pub required_scopes: ScopeSet,
}

impl ProtectedResource {
    /// The usual way in: says what is protected and whose tokens are good, and gets everything else.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A resource whose documents and verifier you provide yourself.
    pub fn new(
        uri: ResourceUri,
        metadata_url: impl Into<String>,
        scopes_for_challenge: ScopeSet,
    ) -> Self {
        Self {
            uri,
            metadata_url: metadata_url.into(),
            scopes_for_challenge,
            required_scopes: ScopeSet::default(),
        }
    }

    /// 403 for a good token that lacks scopes. The challenge names those the caller has and those it needs, because
    /// clients ask for exactly what it names and would lose the others (facts/mcp-authorization.md §3.3).
    pub fn forbidden<X>(&self, caller: &Caller<X>, needed: &ScopeSet) -> Refusal {
        Refusal {
            status: StatusCode::FORBIDDEN,
            challenge: self.challenge(
                Some(BearerError::InsufficientScope),
                Some("more scopes are needed for this request"),
                caller.scope().union(needed),
            ),
            error: BearerError::InsufficientScope.as_str(),
            description: "more scopes are needed for this request",
            reason: "insufficient_scope",
            reference: None,
            rendered: None,
        }
    }

    /// 401 for a token that was good here and that the server behind us refused.
    pub fn refused_upstream(&self) -> Refusal {
        self.unauthorized(
            Some(BearerError::InvalidToken),
            "the server behind this one did not accept the sign-in",
            "upstream_unauthorized",
        )
    }

    fn unauthorized(
        &self,
        error: Option<BearerError>,
        description: &'static str,
        reason: &'static str,
    ) -> Refusal {
        Refusal {
            status: StatusCode::UNAUTHORIZED,
            challenge: self.challenge(
                error,
                error.map(|_| description),
                self.scopes_for_challenge.clone(),
            ),
            // The body may name an error where the challenge must not.
            error: error.map_or("unauthorized", BearerError::as_str),
            description,
            reason,
            reference: None,
            rendered: None,
        }
    }

    fn challenge(
        &self,
        error: Option<BearerError>,
        description: Option<&str>,
        scope: ScopeSet,
    ) -> Option<HeaderValue> {
        let challenge = Challenge {
            error,
            description: description.map(str::to_owned),
            resource_metadata: Some(self.metadata_url.clone()),
            scope,
        };
        HeaderValue::try_from(challenge.header_value()).ok()
    }
}

/// Authenticates requests for one resource. Cheap to clone.
pub struct Guard<V>(Arc<Inner<V>>);

struct Inner<V> {
    resource: Arc<ProtectedResource>,
    verifier: V,
    /// Rendered once: most refusals are this one.
    no_credentials: Refusal,
}

impl<V> Clone for Guard<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> std::fmt::Debug for Guard<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Guard").field(&self.0.resource).finish()
    }
}

impl<V: VerifyToken> Guard<V> {
    /// A guard of `resource` that asks `verifier`.
    pub fn new(resource: ProtectedResource, verifier: V) -> Self {
        let no_credentials =
            resource.unauthorized(None, "sign in to use this MCP server", NO_CREDENTIALS);
        Self(Arc::new(Inner {
            resource: Arc::new(resource),
            verifier,
            no_credentials: no_credentials.prepared(),
        }))
    }

    /// What is guarded.
    pub fn resource(&self) -> &ProtectedResource {
        &self.0.resource
    }

    /// Who sends this request, or what to answer. `query` is the request's raw query, where a token must not stand.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Caller<V::Extra>, Refusal> {
        self.verify(self.token(headers, query)?).await
    }

    /// The first half of [`Guard::authenticate`], for which nothing is waited: the token of a request.
    pub fn token<'a>(
        &self,
        headers: &'a HeaderMap,
        query: Option<&str>,
    ) -> Result<Presented<'a>, Refusal> {
        bearer::token(headers, query).map_err(|error| match error {
            NoToken::Absent => self.0.no_credentials.clone(),
            NoToken::Misplaced(reason) => {
                let description =
                    "send exactly one bearer token, in the Authorization header and nowhere else";
                let error = Some(BearerError::InvalidRequest);
                (self.0.resource).unauthorized(error, description, reason)
            }
        })
    }

    /// The second half: who comes with this token.
    pub async fn verify(&self, token: Presented<'_>) -> Result<Caller<V::Extra>, Refusal> {
        let (token, resource) = (token.text(), &self.0.resource);
        match self.0.verifier.verify_shared(token, &resource.uri).await {
            Ok(verified) => {
                let caller = Caller::new(verified, Arc::clone(resource));
                if resource.required_scopes.is_subset(caller.scope()) {
                    Ok(caller)
                } else {
                    Err(resource.forbidden(&caller, &resource.required_scopes))
                }
            }
            Err(refusal) => Err(refuse(resource, refusal)),
        }
    }
}

fn refuse(resource: &ProtectedResource, refusal: TokenRefusal) -> Refusal {
    let invalid = |description| {
        resource.unauthorized(
            Some(BearerError::InvalidToken),
            description,
            refusal.reason(),
        )
    };
    match refusal {
        TokenRefusal::Expired => invalid("the token is expired"),
        TokenRefusal::Revoked => invalid("the token was revoked"),
        TokenRefusal::Inactive => invalid("the token is not active"),
        TokenRefusal::WrongAudience => invalid("the token is meant for another resource"),
        TokenRefusal::Malformed | TokenRefusal::WrongIssuer | TokenRefusal::Signature => {
            invalid("the token is not one of ours")
        }
        TokenRefusal::Unavailable => Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            challenge: None,
            error: "temporarily_unavailable",
            description: "the token cannot be checked at the moment",
            reason: refusal.reason(),
            reference: None,
            rendered: None,
        },
    }
}

/// Called with every refusal and the head of its request, before it is sent.
type OnRefusal = dyn Fn(Refusal, &Parts) -> Refusal + Send + Sync;

/// Puts a [`Guard`] in front of any HTTP service; see the crate's example.
pub struct GuardLayer<V> {
    guard: Guard<V>,
    /// Another guard for one path.
    elsewhere: Option<(Arc<str>, Guard<V>)>,
    origins: Option<Arc<Origins>>,
    on_refusal: Option<Arc<OnRefusal>>,
}

impl<V: VerifyToken> GuardLayer<V> {
    /// A layer that lets authenticated requests through, with a [`Caller`] in their extensions. It does not look at
    /// `Origin`; [`GuardLayer::origins`] makes it do so.
    pub fn new(guard: Guard<V>) -> Self {
        Self {
            guard,
            elsewhere: None,
            origins: None,
            on_refusal: None,
        }
    }

    /// Requests at `path` are the business of another guard: who asks at the URL with a slash behind it is challenged with
    /// the document that has it, because a strict client must not use any other (RFC 9728 §3.3).
    pub(crate) fn elsewhere(mut self, path: String, guard: Guard<V>) -> Self {
        self.elsewhere = Some((path.into(), guard));
        self
    }

    /// Only these web pages may use the service (MCP transports, "Origin"); preflights are answered here.
    #[must_use]
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = Some(Arc::new(origins));
        self
    }

    /// Shows you every refusal before it is sent: to count, to log, or to give it a reference that the log has too
    /// ([`Refusal::referenced`]). The head of the request holds the credentials; do not log it whole.
    #[must_use]
    pub fn on_refusal(
        mut self,
        hook: impl Fn(Refusal, &Parts) -> Refusal + Send + Sync + 'static,
    ) -> Self {
        self.on_refusal = Some(Arc::new(hook));
        self
    }
}

impl<V> GuardLayer<V> {
    fn guard_at(&self, path: &str) -> &Guard<V> {
        match &self.elsewhere {
            Some((own, guard)) if **own == *path => guard,
            _ => &self.guard,
        }
    }

    fn refuse(&self, refusal: Refusal, parts: &Parts) -> Response<Full<Bytes>> {
        tracing::debug!(reason = refusal.reason(), "request refused");
        match &self.on_refusal {
            Some(hook) => hook(refusal, parts).into_response(),
            None => refusal.into_response(),
        }
    }
}

impl<V> Clone for GuardLayer<V> {
    fn clone(&self) -> Self {
        Self {
            guard: self.guard.clone(),
            elsewhere: self.elsewhere.clone(),
            origins: self.origins.clone(),
            on_refusal: self.on_refusal.clone(),
        }
    }
}

impl<V> std::fmt::Debug for GuardLayer<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardLayer")
            .field("guard", &self.guard)
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

impl<V, S> Layer<S> for GuardLayer<V> {
    type Service = Guarded<V, S>;

    fn layer(&self, inner: S) -> Guarded<V, S> {
        Guarded {
            layer: self.clone(),
            inner,
        }
    }
}

/// A service behind a [`Guard`].
#[derive(Debug)]
pub struct Guarded<V, S> {
    layer: GuardLayer<V>,
    inner: S,
}

impl<V, S: Clone> Clone for Guarded<V, S> {
    fn clone(&self) -> Self {
        Self {
            layer: self.layer.clone(),
            inner: self.inner.clone(),
        }
    }
}

impl<V, S, B, R> Service<Request<B>> for Guarded<V, S>
where
    V: VerifyToken,
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<Either<Full<Bytes>, R>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let layer = self.layer.clone();
        // The service that was polled ready is the one to call; its clone waits for the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            if let Some(origins) = &layer.origins {
                if !origins.allow(&parts.headers) {
                    let refusal = Refusal::denied(
                        "this web page may not use this server",
                        "origin_not_allowed",
                    );
                    return Ok(layer.refuse(refusal, &parts).map(Either::Left));
                }
                if is_preflight(&parts.method, &parts.headers) {
                    return Ok(origins.preflight(&parts.headers).map(Either::Left));
                }
            }
            let origin = parts.headers.get(header::ORIGIN).cloned();
            let guard = layer.guard_at(parts.uri.path());
            let query = parts.uri.query();
            let mut response = match guard.authenticate(&parts.headers, query).await {
                Ok(caller) => {
                    parts.extensions.insert(caller);
                    let response = inner.call(Request::from_parts(parts, body)).await?;
                    response.map(Either::Right)
                }
                Err(refusal) => {
                    // Clients look for documents in many places, and stop at anything but a 404
                    // (facts/mcp-authorization.md §3.1).
                    let refusal = if is_well_known(parts.uri.path()) {
                        Refusal::no_document()
                    } else {
                        refusal
                    };
                    layer.refuse(refusal, &parts).map(Either::Left)
                }
            };
            if let Some(origins) = &layer.origins {
                origins.apply(origin.as_ref(), response.headers_mut());
            }
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests;
