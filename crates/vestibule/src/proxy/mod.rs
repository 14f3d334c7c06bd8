//! The proxy: an authenticated request goes to the upstream MCP server and its answer streams back (design §4, `ANY /mcp`).
//!
//! Way of a request: [`vestibule_guard::cors`] (preflight, origin) → guard → [`policy`](crate::policy) → `path` → `headers` → `session` →
//! [`credential`] → `signing` → `forward` → `rewrite` → `event_ids` → policy → `handles` → `living` → CORS.

mod admit;
pub mod credential;
mod event_ids;
mod forward;
mod handles;
mod headers;
mod living;
pub(crate) mod path;
mod problem;
pub(crate) mod rewrite;
mod session;
mod signing;
mod told;
mod turns;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use http::header::ORIGIN;
use vestibule_guard::cors::{self, Origins};
use vestibule_guard::fetch::Outbound;
use vestibule_guard::{
    Caller, Guard, NO_CREDENTIALS, Presented, ProtectedResource, Refusal, VerifyToken,
};
use vestibule_oauth::random::Random;
use vestibule_oauth::time::Clock;
use vestibule_oauth::well_known;

use crate::arrival::{Arrival, PeerAddr};
use crate::audit::{Audit, Source};
use crate::limits::{Limited, Limits};
use crate::metrics::Metrics;
use crate::metrics::labels::Operation;
use crate::policy::Policy;
use crate::settings::StreamRules;
use crate::telemetry::{ReferenceId, Refused, Told};
use crate::upstream_identity::UpstreamIdentity;

use self::handles::Handles;

pub use self::credential::{Credential, CredentialError, UpstreamTokens};
pub use self::handles::HandleLimits;
pub use self::living::{Ending, Standing};
pub use self::path::{Upstream, UpstreamError};
pub use self::session::Sessions;
pub use crate::alarm::Alarm;

use self::forward::{EVENT_OF_ANOTHER, SESSION_OF_ANOTHER};

/// One public path and the MCP server behind it.
#[derive(Clone, Debug)]
pub struct Route {
    /// What the guard protects.
    pub resource: ProtectedResource,
    /// Public path of the resource, as in its URI: `/mcp`, or `/` for the whole origin.
    pub path: String,
    /// Where requests go.
    pub upstream: Upstream,
    /// What the upstream receives as `Authorization`, or instead of it.
    pub credential: Credential,
    /// What the upstream is told of the caller besides.
    pub identity: UpstreamIdentity,
    /// How long the upstream may be silent before its response headers: no byte of the request taken, no answer.
    pub header_timeout: Duration,
    /// Longest request body, in bytes.
    pub max_body_bytes: usize,
    /// Who may call, read and see what.
    pub policy: Policy,
    /// Ties sessions and events to callers; `None` leaves that to the upstream.
    pub sessions: Option<Sessions>,
    /// Ties task ids and request states to callers as well, where there are `sessions`.
    pub handles: Option<HandleLimits>,
    /// How event streams live and end.
    pub streams: StreamRules,
}

/// What every route shares: the way out and the source of upstream tokens.
pub struct Proxy<T> {
    outbound: Outbound,
    tokens: T,
    ending: Ending,
    random: Arc<dyn Random>,
    limits: Option<Arc<Limits>>,
    watch: Option<Watch>,
}

/// Where what happens is counted and told.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl<T: UpstreamTokens> Proxy<T> {
    /// A proxy that sends through `outbound` and asks `tokens` for what a [`Credential`] needs. `ending` says when streams
    /// are over, `random` makes the reference ids of failures.
    pub fn new(outbound: Outbound, tokens: T, ending: Ending, random: Arc<dyn Random>) -> Self {
        Self {
            outbound,
            tokens,
            ending,
            random,
            limits: None,
            watch: None,
        }
    }

    /// The same, counting the requests of each user.
    #[must_use]
    pub fn with_limits(mut self, limits: Arc<Limits>) -> Self {
        self.limits = Some(limits);
        self
    }

    /// The same, watched.
    #[must_use]
    pub(crate) fn watched(mut self, watch: Watch) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Sends an authenticated request to the upstream of `route`.
    ///
    /// Nothing is buffered in either direction, and nothing is spawned: dropping the future or the response drops the
    /// upstream connection, which an MCP server takes as the cancellation of the request (MCP 2026-07-28).
    pub async fn forward(
        &self,
        route: &Route,
        caller: &Caller<T::Extra>,
        arrival: Arrival,
        request: Box<Request>,
    ) -> Response {
        if let Some(too_many) = self.count(route, caller) {
            return too_many;
        }
        let mut operation = Operation::told_by(request.method(), request.headers());
        let source = self.source(arrival.from, request.headers());
        let admitted = route
            .policy
            .admit(&route.resource, caller, request, route.header_timeout)
            .await;
        let handles = Handles::of(route, caller);
        let admitted = match (admitted, &handles) {
            (Ok((permit, request)), Some(handles)) => {
                let opened = Box::pin(handles.open(route, request)).await;
                opened.map(|request| (permit, request))
            }
            (admitted, _) => admitted,
        };
        let response = match admitted {
            Ok((permit, request)) => {
                operation = permit.operation().unwrap_or(operation);
                self.allowed(route, caller, operation, &source);
                let response =
                    forward::forward(self, route, caller, arrival.at, permit, handles, request)
                        .await;
                let response = response.unwrap_or_else(|error| forward::refuse(self, route, error));
                let told = Told::of(&response)
                    .filter(|told| [SESSION_OF_ANOTHER, EVENT_OF_ANOTHER].contains(&told.reason));
                if told.is_some() {
                    self.denied(route, Some(caller), None, told, &source);
                }
                response
            }
            Err(refused) => {
                let what = refused.what().map(str::to_owned);
                if let Some(what) = &what {
                    let method = what.split(':').next().unwrap_or_default();
                    operation = Operation::named(method);
                }
                if let Some(watch) = &self.watch {
                    watch.metrics.policy_decisions.inc((refused.decision(),));
                }
                let reference = ReferenceId::new(self.random.as_ref());
                let response = refused.into_response(reference, &route.path, caller.subject());
                let told = Told::of(&response);
                self.denied(route, Some(caller), what.as_deref(), told, &source);
                response
            }
        };
        if let Some(watch) = &self.watch {
            let durations = &watch.metrics.operation_durations;
            durations.observe((operation,), arrival.at.elapsed());
        }
        response
    }

    /// Counts a request of this user; gives the answer to one too many.
    fn count(&self, route: &Route, caller: &Caller<T::Extra>) -> Option<Response> {
        let limits = self.limits.as_ref()?;
        let over = limits.user(Limited::Mcp, caller.subject()).err()?;
        let reference = ReferenceId::new(self.random.as_ref());
        tracing::warn!(%reference, reason = "rate_limit", path = %route.path, cause = %over, "refused");
        if let Some(watch) = &self.watch {
            watch.metrics.rate_limited.inc((Limited::Mcp,));
        }
        let response = problem::too_many(over.retry_after, reference);
        Some(Told::new(reference, "rate_limit").on(response))
    }
}

impl<T> std::fmt::Debug for Proxy<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("outbound", &self.outbound)
            .finish_non_exhaustive()
    }
}

/// One resource, complete: CORS, guard and proxy in their order.
pub struct Endpoint<V, T> {
    /// Decides who may come in.
    pub guard: Guard<V>,
    /// Decides which web pages may ask.
    pub origins: Origins,
    /// Where it goes.
    pub route: Route,
    /// How it goes there.
    pub proxy: Arc<Proxy<T>>,
}

impl<V, T> std::fmt::Debug for Endpoint<V, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("origins", &self.origins)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

impl<V, T> Endpoint<V, T>
where
    V: VerifyToken<Extra = T::Extra>,
    T: UpstreamTokens,
{
    /// Answers any request at or below the public path of the route. The request is boxed, because it is large and handed on:
    /// every future on its way would have room for it, and would move it once more.
    pub async fn handle(&self, arrival: Arrival, request: Box<Request>) -> Response {
        let token = match self.token(arrival.from, &request) {
            Ok(token) => token,
            Err(refused) => return refused.into(),
        };
        let origin = request.headers().get(ORIGIN).cloned();
        let mut response = match self.guard.verify(token).await {
            Ok(caller) => (self.proxy.forward(&self.route, &caller, arrival, request)).await,
            Err(refusal) => {
                let source = self.proxy.source(arrival.from, request.headers());
                self.turn_away(refusal, &source).into()
            }
        };
        self.origins.apply(origin.as_ref(), response.headers_mut());
        response
    }

    /// The token of a request, or its answer if it needs none: nothing is waited for.
    #[expect(
        clippy::result_large_err,
        reason = "an answer is as large as answers are, and goes out as it is"
    )]
    pub(crate) fn token<'a>(
        &self,
        from: Option<PeerAddr>,
        request: &'a Request,
    ) -> Result<Presented<'a>, Refused> {
        let headers = request.headers();
        let mut refused = if !self.origins.allow(headers) {
            self.refuse_origin(headers)
        } else if cors::is_preflight(request.method(), headers) {
            // Never needs a token.
            return Err(self.origins.preflight(headers).map(Body::new).into());
        } else if well_known::is_well_known(request.uri().path()) {
            // These documents are ours alone, signed in or not: an upstream's would name another issuer (law 2).
            Refused::from(problem::no_document())
        } else {
            match self.guard.token(headers, request.uri().query()) {
                Ok(token) => return Ok(token),
                Err(refusal) => self.turn_away(refusal, &self.proxy.source(from, headers)),
            }
        };
        (self.origins).apply(headers.get(ORIGIN), refused.response.headers_mut());
        Err(refused)
    }

    fn refuse_origin(&self, headers: &HeaderMap) -> Refused {
        let cause = format!("the origin is {:?}", headers.get(ORIGIN));
        self.refuse("origin_forbidden", &cause, problem::forbidden_origin)
    }

    /// The answer to what nobody may ask like this, after a line in the log.
    fn refuse(
        &self,
        reason: &'static str,
        cause: &dyn std::fmt::Display,
        answer: impl FnOnce(ReferenceId) -> Response,
    ) -> Refused {
        let reference = ReferenceId::new(self.proxy.random.as_ref());
        tracing::warn!(%reference, path = %self.route.path, reason, %cause, "request refused");
        Refused {
            response: answer(reference),
            told: Some(Told::new(reference, reason)),
        }
    }

    /// The answer to who brought no good token, or none at all.
    fn turn_away(&self, refusal: Refusal, source: &Source) -> Refused {
        let reference = ReferenceId::new(self.proxy.random.as_ref());
        let told = Told::new(reference, refusal.reason());
        // Every client's first request comes without a token: that is no event.
        if told.reason == NO_CREDENTIALS {
            tracing::debug!(%reference, reason = told.reason, path = %self.route.path, "request refused");
        } else {
            tracing::info!(%reference, reason = told.reason, path = %self.route.path, "request refused");
            (self.proxy).denied(&self.route, None, None, Some(told), source);
        }
        Refused {
            response: refusal.referenced(reference).into_response(),
            told: Some(told),
        }
    }
}
