//! The feature `rmcp`: `Caller` in tools and prompts. rmcp puts the head of the HTTP request into the context of each
//! call, and the layer has put the caller there.

use http::request::Parts;
use rmcp::ErrorData;
use rmcp::handler::server::common::{AsRequestContext, FromContextPart};
use rmcp::model::Extensions;
use serde_json::json;

use crate::caller::Caller;
use crate::refusal::Refusal;

/// `async fn tool(&self, caller: Caller) -> …` in a `#[tool_router]`.
impl<C, X> FromContextPart<C> for Caller<X>
where
    C: AsRequestContext,
    X: Clone + Send + Sync + 'static,
{
    fn from_context_part(context: &mut C) -> Result<Self, ErrorData> {
        let extensions = &context.as_request_context().extensions;
        let caller = Self::from_rmcp(extensions).cloned();
        caller.ok_or_else(|| Refusal::no_guard().into())
    }
}

impl<X: Clone + Send + Sync + 'static> Caller<X> {
    /// The caller of the HTTP request that a call came with; `None` where no guard is in front, or with another transport.
    ///
    /// ```
    /// use rmcp::{RoleServer, service::RequestContext};
    /// use vestibule_guard::Caller;
    ///
    /// fn who(context: &RequestContext<RoleServer>) -> Option<String> {
    ///     let caller = Caller::<()>::from_rmcp(&context.extensions)?;
    ///     Some(caller.subject().to_owned())
    /// }
    /// ```
    pub fn from_rmcp(extensions: &Extensions) -> Option<&Self> {
        extensions.get::<Parts>()?.extensions.get::<Self>()
    }
}

/// For `caller.require("…")?` in a tool. The HTTP response has begun by then, so the client sees a JSON-RPC error and not
/// the challenge; scopes that clients should ask for belong into [`Builder::scopes`](crate::Builder::scopes).
impl From<Refusal> for ErrorData {
    fn from(refusal: Refusal) -> Self {
        let challenge = refusal.challenge().and_then(|value| value.to_str().ok());
        let data = json!({ "reason": refusal.reason(), "challenge": challenge });
        Self::invalid_request(refusal.description(), Some(data))
    }
}
