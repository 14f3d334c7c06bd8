//! `/authz`: a proxy that forwards requests itself asks who is calling (Envoy `ext_authz`, Traefik `ForwardAuth`, Caddy
//! `forward_auth`, nginx `auth_request`), and gets 200 with identity headers, or our challenge.
//!
//! The same guard, the same tokens and the same credential as at the gateway. The body is not sent here, so only what
//! method, URL and headers say is judged.

mod identity;
mod original;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http::header::{AUTHORIZATION, CACHE_CONTROL, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, Method, Uri};
use thiserror::Error;

use vestibule_oauth::error::ErrorCode;

use crate::House;
use crate::arrival::PeerAddr;
use crate::authorization_server::{Outside, refuse};
use crate::settings::{AuthzSettings, RequestFrom};

use identity::ClaimHeaders;
use original::{Original, Undescribed};

/// Why a question is not even looked at. Each of these is a mistake of the operator's or an attack, never a sign-in that
/// is missing, so none has a challenge.
#[derive(Debug, Error)]
enum AuthzError {
    #[error("{0} is not in authz.trusted_proxies")]
    Stranger(IpAddr),
    #[error("there is no connection to tell who asks")]
    Nobody,
    #[error(transparent)]
    Undescribed(#[from] Undescribed),
    #[error("the request is for {scheme}://{host}, which is not public_url")]
    Host { scheme: String, host: String },
    #[error("the caller sent `{0}`, which only proxies and servers may say")]
    Smuggled(String),
    #[error("the method {0} is not passed on")]
    Method(Method),
    #[error("no resource is at the path that was asked about")]
    NoResource,
}

impl AuthzError {
    fn outside(&self) -> Outside {
        let (slug, description) = match self {
            Self::Stranger(_) | Self::Nobody => (
                "authz_peer",
                "you are not one of the proxies that may ask here",
            ),
            Self::Undescribed(_) => (
                "authz_request",
                "the proxy did not say in one clear way which request it is about",
            ),
            Self::Host { .. } => (
                "authz_host",
                "this server is reached at its public address only",
            ),
            Self::Smuggled(_) => (
                "authz_header",
                "the request has a header that clients must not send",
            ),
            Self::Method(_) => ("authz_method", "this method is not passed on"),
            Self::NoResource => ("authz_path", "there is no such MCP endpoint"),
        };
        Outside::new(ErrorCode::AccessDenied, slug, description)
    }
}

/// What a question needs, made once.
struct Authorizer {
    settings: AuthzSettings,
    claims: ClaimHeaders,
}

/// The endpoint, if it is configured.
pub(crate) fn router(house: &House) -> Router<Arc<House>> {
    let Some(settings) = house.settings().authz.clone() else {
        return Router::new();
    };
    let path = settings.path.clone();
    let has_path_behind = settings.request_from == RequestFrom::Path;
    let authorizer = Arc::new(Authorizer {
        claims: ClaimHeaders::of(house.settings()),
        settings,
    });
    let handler = any(move |State(house): State<Arc<House>>, request: Request| {
        let authorizer = Arc::clone(&authorizer);
        async move { authorizer.answer(&house, request).await }
    });
    if has_path_behind {
        Router::new().route(&format!("{path}/{{*original}}"), handler)
    } else {
        Router::new().route(&path, handler)
    }
}

impl Authorizer {
    async fn answer(&self, house: &House, request: Request) -> Response {
        let (request, _) = request.into_parts();
        match self.judge(house, &request).await {
            Ok(response) => response,
            Err(error) => refuse(house, &error.outside(), &error),
        }
    }

    async fn judge(&self, house: &House, request: &Parts) -> Result<Response, AuthzError> {
        self.trust(request)?;
        let original = Original::described(&self.settings, request)?;
        let public = &house.settings().public_url;
        if !original.is_at(public) {
            let Original { scheme, host, .. } = original;
            return Err(AuthzError::Host { scheme, host });
        }
        if let Some(name) = original::smuggled(self.settings.request_from, &request.headers) {
            return Err(AuthzError::Smuggled(name.to_string()));
        }
        // Method names are case-sensitive, but not every server knows.
        let method = original.method.as_str();
        if ["TRACE", "CONNECT"]
            .iter()
            .any(|refused| method.eq_ignore_ascii_case(refused))
        {
            return Err(AuthzError::Method(original.method));
        }
        let uri = Uri::from(original.target);
        let endpoint = house.gateway().find(uri.path());
        let endpoint = endpoint.ok_or(AuthzError::NoResource)?;
        if let Some(name) = endpoint.route.identity.smuggled(&request.headers) {
            return Err(AuthzError::Smuggled(name.to_string()));
        }
        let mut response = match endpoint.admit(&request.headers, &uri).await {
            Ok(admitted) => {
                let mut response = Response::new(Body::empty());
                let headers = response.headers_mut();
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                // Empty unless the credential is one: the proxy copies it over the client's, which ends here.
                headers.insert(AUTHORIZATION, HeaderValue::from_static(""));
                self.claims.describe(&admitted.caller, headers);
                for (name, value) in admitted.identity {
                    // Empty for what the caller does not have: the proxy copies it over the client's.
                    headers.insert(name, value.unwrap_or(identity::EMPTY));
                }
                if let Some((name, value)) = admitted.credential {
                    headers.insert(name, value);
                }
                response
            }
            Err(refusal) => refusal,
        };
        let origin = request.headers.get(ORIGIN);
        endpoint.origins.apply(origin, response.headers_mut());
        Ok(response)
    }

    /// Only the connection's own address counts; headers about it are the caller's.
    fn trust(&self, request: &Parts) -> Result<(), AuthzError> {
        let peer = request.extensions.get::<PeerAddr>();
        let PeerAddr(peer) = peer.ok_or(AuthzError::Nobody)?;
        let peer = peer.ip().to_canonical();
        let mut trusted = self.settings.trusted_proxies.iter();
        if trusted.any(|net| net.contains(&peer)) {
            Ok(())
        } else {
            Err(AuthzError::Stranger(peer))
        }
    }
}
