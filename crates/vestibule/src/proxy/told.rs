//! What happens at a resource, told to the audit stream and counted.

use http::HeaderMap;
use vestibule_guard::Caller;

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
        told: Option<Told>,
        source: &Source,
    ) {
        let mut event = Event::new(Happened::CallDenied)
            .told(told)
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

    fn tell(&self, event: &Event<'_>) {
        if let Some(watch) = &self.watch {
            watch
                .audit
                .tell(event, watch.clock.now(), self.random.as_ref());
        }
    }
}
