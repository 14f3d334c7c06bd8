//! What happens at a resource, told to the audit stream and counted.

use axum::response::Response;
use http::HeaderMap;
use vestibule_guard::{Caller, NO_CREDENTIALS};

use super::credential::UpstreamTokens;
use super::{Proxy, Route};
use crate::arrival::PeerAddr;
use crate::audit::{Event, Happened, Source};
use crate::metrics::labels::{Label as _, Operation, PolicyDecision};
use crate::telemetry::Told;

impl<T: UpstreamTokens> Proxy<T> {
    /// Where a request with these headers comes from, when somebody wants to know.
    pub(super) fn source(&self, peer: Option<PeerAddr>, headers: &HeaderMap) -> Source {
        match (&self.watch, &self.limits) {
            (Some(watch), Some(limits)) => watch.audit.source(limits, peer, headers),
            _ => Source::default(),
        }
    }

    /// The rules let a request pass, if there are any.
    pub(super) fn allowed(
        &self,
        route: &Route,
        caller: &Caller<T::Extra>,
        operation: Operation,
        source: &Source,
    ) {
        let Some(watch) = &self.watch else {
            return;
        };
        if route.policy.reads_bodies() {
            watch
                .metrics
                .policy_decisions
                .inc((PolicyDecision::Allowed,));
        }
        if watch.audit.wants_every_call() {
            let method = Operation::VALUES.get(operation.index()).copied();
            let event = Event::new(Happened::CallAllowed)
                .user(caller.subject())
                .client_id(caller.client_id())
                .token(caller.token_id())
                .at(&route.path)
                .calling(method)
                .from(source);
            self.tell(&event);
        }
    }

    /// A request of a known caller was refused.
    pub(super) fn denied(
        &self,
        route: &Route,
        caller: Option<&Caller<T::Extra>>,
        what: Option<&str>,
        response: &Response,
        source: &Source,
    ) {
        let mut event = Event::new(Happened::CallDenied)
            .told(Told::of(response))
            .at(&route.path)
            .calling(what)
            .from(source);
        if let Some(caller) = caller {
            event = event
                .user(caller.subject())
                .client_id(caller.client_id())
                .token(caller.token_id());
        }
        self.tell(&event);
    }

    /// A request brought no good token. Every client's first one brings none: that is no event.
    pub(super) fn turned_away(&self, route: &Route, response: &Response, source: &Source) {
        let told = Told::of(response);
        if told.is_some_and(|told| told.reason != NO_CREDENTIALS) {
            self.denied(route, None, None, response, source);
        }
    }

    fn tell(&self, event: &Event<'_>) {
        if let Some(watch) = &self.watch {
            watch
                .audit
                .tell(event, watch.clock.now(), self.random.as_ref());
        }
    }
}
