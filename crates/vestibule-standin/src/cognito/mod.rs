//! A stand-in for an Amazon Cognito user pool that is as awkward as the real one (facts/cognito §4.3 S1–S13, S16).
//!
//! It differs from Cognito in what it cannot do (federation, self-service pages, the control plane) and
//! never by being kinder: one unknown scope fails a request, callbacks match as strings, access tokens have
//! no audience, and errors come in Cognito's words. Behaviour nobody has confirmed is marked in the names
//! of the tests (`assumption`).
//!
//! | Endpoint | File |
//! |---|---|
//! | `<issuer>/.well-known/*` | `discovery` |
//! | `GET /oauth2/authorize`, `GET /error` | `authorize`, `authorization_request`, `refusal` |
//! | `GET`, `POST /login` | `login` |
//! | `POST /oauth2/token` | `token` |
//! | `POST /oauth2/revoke`, `GET /oauth2/userInfo`, `GET /logout` | `revoke`, `userinfo`, `logout` |
//! | `/_control/*` | `control_http` |

mod authorization_request;
mod authorize;
mod client_auth;
mod control;
mod control_http;
mod discovery;
mod faults;
mod http;
mod keys;
mod login;
mod logout;
mod options;
mod pages;
mod random;
mod refusal;
mod revoke;
mod state;
mod token;
mod tokens;
mod userinfo;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;
use vestibule_oauth::time::Clock;

use crate::cognito::keys::{KeyRing, KeySet};
use crate::cognito::state::Pool;
use crate::serve;

pub use crate::cognito::control::Control;
pub use crate::cognito::faults::{Endpoint, Fault};
pub use crate::cognito::options::{
    AppClient, CognitoOptions, IssuerForm, Lifetimes, ManagedLoginVersion, ResourceServer,
    ScopeErrorForm, UnregisteredResource, User,
};

/// A running stand-in. It stops when dropped, at the latest a second later.
pub struct Cognito {
    control: Control,
    servers: [JoinHandle<()>; 2],
    stop: DropGuard,
}

impl Cognito {
    /// Binds the issuer host and the domain host, which are different ports, and serves both.
    /// `/_control/*` is on the domain host.
    ///
    /// Fails if an address cannot be bound or is not loopback, or if no keys can be made.
    pub async fn start(options: CognitoOptions, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let issuer_listener = serve::bind(options.issuer_address).await?;
        let domain_listener = serve::bind(options.domain_address).await?;
        let keys = tokio::task::spawn_blocking(KeySet::shared)
            .await
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;

        let issuer_host = issuer_listener.local_addr()?;
        let issuer = match options.issuer_form {
            IssuerForm::Original => format!("http://{issuer_host}/{}", options.pool_id),
            IssuerForm::Updated => {
                format!(
                    "http://localhost:{}/{}",
                    issuer_host.port(),
                    options.pool_id
                )
            }
        };
        let domain = format!("http://{}", domain_listener.local_addr()?);
        let keys = KeyRing {
            current: keys,
            previous: None,
        };
        let pool = Arc::new(Pool::new(options, issuer, domain, clock, keys));
        let stop = pool.stop.clone();
        Ok(Self {
            servers: [
                serve::serve(issuer_listener, discovery::routes(&pool), stop.clone()),
                serve::serve(domain_listener, domain_routes(&pool), stop.clone()),
            ],
            stop: stop.drop_guard(),
            control: Control { pool },
        })
    }

    /// The issuer, as discovery and tokens name it: `http://127.0.0.1:P1/us-east-1_EXAMPLE1`.
    pub fn issuer(&self) -> &str {
        &self.control.pool.issuer
    }

    /// The domain, where the endpoints are: `http://127.0.0.1:P2`.
    pub fn domain(&self) -> &str {
        &self.control.pool.domain
    }

    /// The id of the first app client; empty if there is none.
    pub fn client_id(&self) -> &str {
        self.first_client()
            .map_or("", |client| client.client_id.as_str())
    }

    /// The secret of the first app client; empty if there is none or it is public.
    pub fn client_secret(&self) -> &str {
        self.first_client()
            .and_then(|client| client.client_secret.as_deref())
            .unwrap_or_default()
    }

    /// Registers an exact callback URL with the first app client.
    pub fn allow_callback(&self, url: &str) {
        self.control.allow_callback(self.client_id(), url);
    }

    /// What can be done to the stand-in and read from it.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Stops, and returns when both listeners and all connections are closed.
    pub async fn shutdown(self) {
        drop(self.stop);
        for server in self.servers {
            if let Err(error) = server.await {
                tracing::error!(%error, "a stand-in server failed");
            }
        }
    }

    fn first_client(&self) -> Option<&AppClient> {
        self.control.pool.options.clients.first()
    }
}

/// The routes of the domain host.
fn domain_routes(pool: &Arc<Pool>) -> Router {
    let oauth = Router::new()
        .route(
            "/oauth2/authorize",
            endpoint(pool, Endpoint::Authorize, get(authorize::handle)),
        )
        .route("/error", get(authorize::error_page))
        .route(
            "/login",
            endpoint(pool, Endpoint::Login, get(login::form).post(login::submit)),
        )
        .route(
            "/oauth2/token",
            endpoint(pool, Endpoint::Token, post(token::handle)),
        )
        .route(
            "/oauth2/userInfo",
            endpoint(
                pool,
                Endpoint::UserInfo,
                get(userinfo::handle).post(userinfo::handle),
            ),
        )
        .route(
            "/oauth2/revoke",
            endpoint(pool, Endpoint::Revoke, post(revoke::handle)),
        )
        .route(
            "/logout",
            endpoint(pool, Endpoint::Logout, get(logout::handle)),
        )
        .with_state(Arc::clone(pool));
    let control = control_http::routes(pool);
    if pool.options.pool_has_domain {
        control.merge(oauth)
    } else {
        control
    }
}

/// Puts the gate in front of an endpoint, before the check of the method.
fn endpoint(
    pool: &Arc<Pool>,
    endpoint: Endpoint,
    handlers: MethodRouter<Arc<Pool>>,
) -> MethodRouter<Arc<Pool>> {
    handlers.layer(from_fn_with_state(
        (Arc::clone(pool), endpoint),
        faults::gate,
    ))
}
