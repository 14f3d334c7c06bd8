//! A request that somebody else forwards: judged as one of ours would be, with what its upstream is to receive.

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use vestibule_guard::{Caller, VerifyToken};

use super::credential::{self, CredentialError, IdentityHeaders, UpstreamTokens};
use super::{Endpoint, path, problem};
use crate::audit::Source;

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
            return Err(self.refuse_origin(headers).into());
        }
        let caller = self.guard.authenticate(headers, uri.query()).await;
        // The address of the caller is the proxy's to know.
        let nobody = Source::default();
        let caller = caller.map_err(|refusal| self.turn_away(refusal, &nobody))?;
        if let Some(too_many) = self.proxy.count(&self.route, &caller) {
            return Err(too_many);
        }
        // Nobody shows us the body here, and what was not judged is not admitted.
        if self.route.policy.reads_bodies() {
            let cause = "the resource has rules, which only the gateway can apply";
            let refused = self.refuse("policy_needs_body", &cause, problem::forbidden_here);
            return Err(refused.into());
        }
        if let Err(error) = path::target(&self.route.path, &self.route.upstream, uri) {
            let refused = self.refuse("path", &error, problem::forbidden_path);
            return Err(refused.into());
        }
        if self.route.credential.signs_requests() {
            let cause = "the upstream wants signed requests, and only who sends one can sign it";
            let refused = self.refuse("credential_signs", &cause, problem::forbidden_here);
            return Err(refused.into());
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
                let answer = |reference| match error {
                    CredentialError::SignInAgain => {
                        let refusal = self.route.resource.refused_upstream();
                        refusal.referenced(reference).into_response()
                    }
                    CredentialError::Unavailable => problem::failed(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "The sign-in cannot be checked at the moment",
                        reference,
                    ),
                };
                Err(self.refuse("upstream_credential", &error, answer).into())
            }
        }
    }
}
