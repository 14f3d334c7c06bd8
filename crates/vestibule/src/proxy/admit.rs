//! A request that somebody else forwards: judged as one of ours would be, with what its upstream is to receive.

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use vestibule_guard::{Caller, VerifyToken};

use super::credential::{self, CredentialError, IdentityHeaders, UpstreamTokens};
use super::{Endpoint, path, problem};
use crate::audit::Source;
use crate::telemetry::{ReferenceId, Told};

/// A request that may be forwarded.
pub(crate) struct Admitted<X> {
    /// Who calls.
    pub(crate) caller: Caller<X>,
    /// The header that carries the upstream's credential, if it needs one.
    pub(crate) credential: Option<(HeaderName, HeaderValue)>,
    /// What the upstream is told of the caller besides.
    pub(crate) identity: IdentityHeaders,
}

impl<V, T> Endpoint<V, T>
where
    V: VerifyToken<Extra = T::Extra>,
    T: UpstreamTokens,
{
    /// Judges the request to `uri` with these headers in the order of [`Endpoint::handle`], and gives the answer that its
    /// client should get, without CORS, where it is refused. Every refusal for good is 401 or 403, because to a proxy
    /// that asks nothing else means no.
    pub(crate) async fn admit(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<Admitted<T::Extra>, Response> {
        if !self.origins.allow(headers) {
            return Err(problem::forbidden_origin());
        }
        let caller = self.guard.authenticate(headers, uri.query()).await;
        // The address of the caller is the proxy's to know.
        let nobody = Source::default();
        let caller = caller.map_err(|refusal| self.turn_away(refusal, &nobody))?;
        if let Some(too_many) = self.proxy.count(&self.route, &caller) {
            return Err(too_many);
        }
        let refused = |reason, cause: &dyn std::fmt::Display| {
            let reference = ReferenceId::new(self.proxy.random.as_ref());
            tracing::warn!(%reference, path = %self.route.path, reason, %cause, "request not admitted");
            Told::new(reference, reason)
        };
        // Nobody shows us the body here, and what was not judged is not admitted.
        if self.route.policy.reads_bodies() {
            let cause = "the resource has rules, which only the gateway can apply";
            let told = refused("policy_needs_body", &cause);
            return Err(told.on(problem::forbidden_here()));
        }
        if let Err(error) = path::target(&self.route.path, &self.route.upstream, uri) {
            let told = refused("path", &error);
            return Err(told.on(problem::forbidden_path()));
        }
        if self.route.credential.signs_requests() {
            let cause = "the upstream wants signed requests, and only who sends one can sign it";
            refused("credential_signs", &cause);
            return Err(problem::forbidden_here());
        }
        let tokens = &self.proxy.tokens;
        let credential = credential::header_for(&self.route.credential, tokens, &caller);
        let told = credential.and_then(|credential| {
            let identity = credential::identity_for(&self.route.identity, tokens, &caller)?;
            Ok((credential, identity))
        });
        match told {
            Ok((credential, identity)) => Ok(Admitted {
                caller,
                credential,
                identity,
            }),
            Err(error) => {
                let told = refused("upstream_credential", &error);
                let reference = told.reference;
                Err(told.on(match error {
                    CredentialError::SignInAgain => {
                        let refusal = self.route.resource.refused_upstream();
                        refusal.referenced(reference).into_response()
                    }
                    CredentialError::Unavailable => problem::failed(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "The sign-in cannot be checked at the moment",
                        reference,
                    ),
                }))
            }
        }
    }
}
