//! A layer for routes that need more scopes than the rest of the service (RFC 6750 §3.1 `insufficient_scope`).

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use tower::{Layer, Service};

use crate::caller::Caller;
use crate::refusal::Refusal;

/// Refuses callers without certain scopes. It belongs behind a [`GuardLayer`](crate::GuardLayer); where none is in
/// front of it, every request gets 500.
///
/// `X` is the verifier's addition ([`VerifyToken::Extra`](crate::VerifyToken::Extra)), `()` unless yours has one.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::delete};
/// use vestibule_guard::RequireScope;
///
/// let app: Router = Router::new()
///     .route("/notes", delete(|| async { "gone" }))
///     .route_layer(RequireScope::<()>::new("notes/write"));
/// // … and `.layer(door.layer())` around the whole.
/// # }
/// ```
pub struct RequireScope<X = ()> {
    scopes: Arc<str>,
    extra: PhantomData<fn() -> X>,
}

impl<X> RequireScope<X> {
    /// All of these, separated by spaces, are needed.
    pub fn new(scopes: impl Into<Arc<str>>) -> Self {
        Self {
            scopes: scopes.into(),
            extra: PhantomData,
        }
    }
}

impl<X> Clone for RequireScope<X> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.scopes))
    }
}

impl<X> std::fmt::Debug for RequireScope<X> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RequireScope").field(&self.scopes).finish()
    }
}

impl<X, S> Layer<S> for RequireScope<X> {
    type Service = ScopeRequired<S, X>;

    fn layer(&self, inner: S) -> ScopeRequired<S, X> {
        ScopeRequired {
            required: self.clone(),
            inner,
        }
    }
}

/// A service behind a [`RequireScope`].
#[derive(Debug)]
pub struct ScopeRequired<S, X = ()> {
    required: RequireScope<X>,
    inner: S,
}

impl<S: Clone, X> Clone for ScopeRequired<S, X> {
    fn clone(&self) -> Self {
        Self {
            required: self.required.clone(),
            inner: self.inner.clone(),
        }
    }
}

impl<S, X, B, R> Service<Request<B>> for ScopeRequired<S, X>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S::Future: Send + 'static,
    X: Clone + Send + Sync + 'static,
    R: Send + 'static,
{
    type Response = Response<Either<Full<Bytes>, R>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let allowed = request
            .extensions()
            .get::<Caller<X>>()
            .ok_or_else(Refusal::no_guard)
            .and_then(|caller| caller.require(&self.required.scopes));
        match allowed {
            Ok(()) => {
                let answer = self.inner.call(request);
                Box::pin(async { Ok(answer.await?.map(Either::Right)) })
            }
            Err(refusal) => {
                tracing::debug!(reason = refusal.reason(), "request refused");
                let response = refusal.into_response().map(Either::Left);
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}
