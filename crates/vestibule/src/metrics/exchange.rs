//! A request and its answer, as the metrics see them.

use std::time::Instant;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;

use super::Reason;
use super::labels::{AuthorizationOutcome, Code, Route, Verb};
use crate::House;
use crate::telemetry::Told;

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Exchange {
    route: Route,
    verb: Verb,
    started: Instant,
}

impl Exchange {
    /// A request has arrived at a public listener.
    pub(crate) fn begin(house: &House, request: &Request) -> Self {
        Self::at(route(house, request.uri().path()), request)
    }

    /// A request has arrived at this route.
    pub(crate) fn at(route: Route, request: &Request) -> Self {
        Self {
            route,
            verb: Verb::of(request.method()),
            started: Instant::now(),
        }
    }

    /// When it arrived.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// This is its answer.
    pub(crate) fn end(self, house: &House, response: &Response) {
        self.end_with(house, response.status(), Told::of(response));
    }

    /// This is the status of its answer, and what it was told under if it is a refusal.
    pub(crate) fn end_with(self, house: &House, status: StatusCode, told: Option<Told>) {
        let metrics = house.metrics();
        let code = Code::of(status);
        metrics.requests.inc((self.route, self.verb, code));
        let took = self.started.elapsed();
        metrics.request_durations.observe((self.route,), took);
        let Some(told) = told else {
            return;
        };
        let reason = Reason::named(told.reason);
        metrics.refusals.inc((self.route, reason));
        let signs_in = matches!(
            self.route,
            Route::Authorize | Route::Consent | Route::Callback
        );
        // A person's own sign-in for /connections comes back to the callback as well.
        if signs_in && !told.reason.starts_with("connections_") {
            let outcome = match told.reason {
                "consent_denied" | "provider_denied" => AuthorizationOutcome::Denied,
                _ => AuthorizationOutcome::Refused,
            };
            metrics.authorizations.inc((outcome, reason));
        }
    }
}

/// The route of a path. Resources have paths of the operator's choice.
fn route(house: &House, path: &str) -> Route {
    if let Some(route) = Route::of(path) {
        return route;
    }
    if path == "/" {
        return Route::Landing;
    }
    if let Some(authz) = &house.settings().authz
        && let Some(rest) = path.strip_prefix(authz.path.as_str())
        && (rest.is_empty() || rest.starts_with('/'))
    {
        return Route::Authz;
    }
    match house.gateway().find(path) {
        Some(_) => Route::Resource,
        None => Route::Unknown,
    }
}
