//! The feature `axum`: `Caller` as an extractor, `Refusal` as a response, and routes for the documents (RFC 9728 §3).

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};

use crate::builder::Door;
use crate::caller::Caller;
use crate::refusal::Refusal;
use crate::well_known::Rendered;

/// `async fn handler(caller: Caller) -> …`. Where no guard is in front of the handler, every request gets 500.
///
/// ```
/// use axum::{Router, routing::get};
/// use vestibule_guard::{Caller, ProtectedResource, Refusal};
///
/// async fn delete_all(caller: Caller) -> Result<String, Refusal> {
///     caller.require("notes/write")?;
///     Ok(format!("{} deleted everything", caller.subject()))
/// }
///
/// # fn main() -> Result<(), vestibule_guard::BuildError> {
/// let door = ProtectedResource::builder()
///     .resource("https://notes.example/mcp")
///     .authorization_server("https://login.example")
///     .build()?;
/// let app: Router = Router::new()
///     .route("/mcp", get(delete_all))
///     .layer(door.layer())
///     .merge(door.routes());
/// # Ok(())
/// # }
/// ```
impl<S: Sync, X: Clone + Send + Sync + 'static> FromRequestParts<S> for Caller<X> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let caller = parts.extensions.get::<Self>();
        caller.cloned().ok_or_else(Refusal::no_guard)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        Self::into_response::<Body>(self)
    }
}

impl Door {
    /// Routes for the metadata documents. Merge them behind the layer, not below it: documents are for everybody.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        self.some_routes(0)
    }

    /// The same without the document of the origin, which only one of several resources can have.
    pub fn routes_without_root<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        self.some_routes(1)
    }

    fn some_routes<S: Clone + Send + Sync + 'static>(&self, skip: usize) -> Router<S> {
        let mut router = Router::new();
        for path in self.documents.paths().skip(skip) {
            if let Some(document) = self.documents.get(path) {
                let document = document.clone();
                let answer = move |method: Method| std::future::ready(serve(&method, document));
                router = router.route(path, any(answer));
            }
        }
        router
    }
}

fn serve(method: &Method, document: Rendered) -> Response {
    let mut response = Response::new(Body::empty());
    match *method {
        Method::GET | Method::HEAD => {
            *response.headers_mut() = document.headers;
            *response.body_mut() = Body::from(document.body);
        }
        // Clients in a browser send `MCP-Protocol-Version` along, which makes it a preflight.
        Method::OPTIONS => {
            *response.status_mut() = StatusCode::NO_CONTENT;
            for (name, value) in [
                (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
                (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, "*, Authorization"),
                (header::ACCESS_CONTROL_MAX_AGE, "7200"),
            ] {
                response
                    .headers_mut()
                    .insert(name, HeaderValue::from_static(value));
            }
        }
        _ => {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            let allow = HeaderValue::from_static("GET, HEAD, OPTIONS");
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    response
}
