//! Opaque tokens: the authorization server is asked what they are worth (RFC 7662).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use vestibule_oauth::jose::SKEW_SECONDS;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::{Clock, UnixTime};
use vestibule_oauth::url::{Endpoint, ResourceUri};

use crate::caller::{TokenRefusal, Verified, VerifyToken};
use crate::claims;
use crate::fetch::{FetchLimits, Outbound};
use crate::jwks_verifier::Binding;
use crate::presets::Preset;

/// At most this many questions at once; more wait. Made-up tokens must not become a flood at the server.
const MAX_CONCURRENT: usize = 32;
/// For waiting and asking together.
const PATIENCE: Duration = Duration::from_secs(5);
const LIMITS: FetchLimits = FetchLimits {
    deadline: Duration::from_secs(5),
    max_body: 64 * 1024,
};
/// A token without `exp` is good for this long at a time.
const WITHOUT_EXPIRY_SECONDS: u64 = 60;

/// How we prove ourselves at the introspection endpoint, which must not answer strangers (RFC 7662 §2.1).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum IntrospectionAuth {
    /// Client id and secret in `Authorization: Basic` (RFC 6749 §2.3.1).
    Basic(String, Secret),
    /// Client id and secret in the form.
    Post(String, Secret),
    /// A bearer token of our own.
    Bearer(Secret),
}

/// An introspection endpoint and what its answers must say.
///
/// ```
/// use vestibule_guard::{Introspection, IntrospectionAuth, ProtectedResource, Secret};
///
/// # fn main() -> Result<(), vestibule_guard::BuildError> {
/// let auth = IntrospectionAuth::Basic("notes-api".into(), Secret::new("from your secret store"));
/// let door = ProtectedResource::builder()
///     .resource("https://notes.example/mcp")
///     .advertise("https://login.example")
///     .introspection(Introspection::new("https://login.example/introspect", auth))
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Introspection {
    pub(crate) endpoint: String,
    pub(crate) auth: IntrospectionAuth,
    pub(crate) issuer: Option<String>,
    pub(crate) binding: Binding,
    pub(crate) preset: Preset,
}

impl Introspection {
    /// Asks at `endpoint`. Tokens must be meant for the resource unless you say otherwise.
    pub fn new(endpoint: impl Into<String>, auth: IntrospectionAuth) -> Self {
        Self {
            endpoint: endpoint.into(),
            auth,
            issuer: None,
            binding: Binding::Resource,
            preset: Preset::STANDARD,
        }
    }

    /// Answers must name this `iss`, if they name one.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// What ties a token to this resource.
    #[must_use]
    pub fn binding(mut self, binding: Binding) -> Self {
        self.binding = binding;
        self
    }

    /// How the answers look.
    #[must_use]
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = preset;
        self
    }
}

/// Verifies tokens by introspection. It asks each time; put a [`Cached`](crate::Cached) around it, as the builder does.
#[derive(Debug)]
pub struct IntrospectionVerifier {
    settings: Introspection,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
    permits: Semaphore,
}

impl IntrospectionVerifier {
    /// Asks through `outbound`.
    pub fn new(settings: Introspection, outbound: Outbound, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            outbound,
            clock,
            permits: Semaphore::new(MAX_CONCURRENT),
        }
    }

    fn request(&self, token: &str) -> Option<Request<Full<Bytes>>> {
        Endpoint::parse(&self.settings.endpoint).ok()?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", token)
            .append_pair("token_type_hint", "access_token");
        let authorization = match &self.settings.auth {
            IntrospectionAuth::Basic(id, secret) => {
                let encode = |text: &str| {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
                };
                let pair = format!("{}:{}", encode(id), encode(secret.expose()));
                Some(format!("Basic {}", STANDARD.encode(pair)))
            }
            IntrospectionAuth::Post(id, secret) => {
                form.append_pair("client_id", id)
                    .append_pair("client_secret", secret.expose());
                None
            }
            IntrospectionAuth::Bearer(token) => Some(format!("Bearer {}", token.expose())),
        };
        let mut request = Request::post(&self.settings.endpoint)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        if let Some(authorization) = authorization {
            let mut value = HeaderValue::try_from(authorization).ok()?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(Full::from(form.finish())).ok()
    }

    async fn ask(&self, token: &str) -> Result<Map<String, Value>, TokenRefusal> {
        let request = self.request(token).ok_or_else(|| {
            tracing::error!(endpoint = %self.settings.endpoint, "this introspection endpoint cannot be asked");
            TokenRefusal::Unavailable
        })?;
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| TokenRefusal::Unavailable)?;
        let away = |cause: &dyn std::fmt::Display| {
            tracing::warn!(endpoint = %self.settings.endpoint, %cause, "introspection failed");
            TokenRefusal::Unavailable
        };
        let response = self
            .outbound
            .fetch(request, LIMITS)
            .await
            .map_err(|error| away(&error))?;
        if response.status() != 200 {
            return Err(away(&response.status()));
        }
        match serde_json::from_slice(response.body()) {
            Ok(Value::Object(answer)) => Ok(answer),
            _ => Err(away(&"the answer is no JSON object")),
        }
    }

    fn judge(
        &self,
        answer: Map<String, Value>,
        resource: &ResourceUri,
    ) -> Result<Verified, TokenRefusal> {
        // Only a real `true`: `"true"`, `1` and absence are not.
        if answer.get("active") != Some(&Value::Bool(true)) {
            return Err(TokenRefusal::Inactive);
        }
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let issuer = text("iss").map(str::to_owned);
        let expected = self.settings.issuer.as_ref();
        if expected.is_some_and(|own| issuer.as_ref().is_some_and(|named| named != own)) {
            return Err(TokenRefusal::WrongIssuer);
        }
        claims::is_access_token(&answer)?;
        let now = self.clock.now();
        let time = |name: &str| match answer.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_u64()
                .map(|seconds| Some(UnixTime(seconds)))
                .ok_or(TokenRefusal::Malformed),
        };
        let expires_at = time("exp")?.unwrap_or(now.plus(WITHOUT_EXPIRY_SECONDS));
        let starts = time("nbf")?.unwrap_or_default();
        if expires_at.plus(SKEW_SECONDS) <= now || starts > now.plus(SKEW_SECONDS) {
            return Err(TokenRefusal::Expired);
        }
        let client_id = claims::first_text(&answer, self.settings.preset.client_claims);
        let bound = match &self.settings.binding {
            Binding::Resource => claims::meant_for(&answer, resource),
            Binding::Audience(own) => claims::names_audience(&answer, |named| named == own),
            Binding::ClientIds(allowed) => !client_id.is_empty() && allowed.contains(&client_id),
        };
        if !bound {
            return Err(TokenRefusal::WrongAudience);
        }
        // Tokens that a client got for itself may have no `sub`; RFC 9068 §2.2 says it is then the client.
        let subject = [text("sub"), text("username"), Some(client_id.as_str())]
            .into_iter()
            .flatten()
            .find(|text| !text.is_empty())
            .ok_or(TokenRefusal::Malformed)?
            .to_owned();
        let mut verified = Verified::new(subject, client_id, expires_at, ());
        verified.issuer = issuer.or_else(|| expected.cloned()).unwrap_or_default();
        verified.scope = claims::scope(&answer, self.settings.preset.scope_claims);
        verified.groups = claims::groups(&answer, self.settings.preset.group_claims);
        verified.token_id = claims::first_text(&answer, &["jti"]);
        verified.claims = answer;
        Ok(verified)
    }
}

impl VerifyToken for IntrospectionVerifier {
    type Extra = ();

    async fn verify(&self, token: &str, resource: &ResourceUri) -> Result<Verified, TokenRefusal> {
        let answer = tokio::time::timeout(PATIENCE, self.ask(token))
            .await
            .map_err(|_| TokenRefusal::Unavailable)??;
        self.judge(answer, resource)
    }
}

#[cfg(test)]
mod tests;
