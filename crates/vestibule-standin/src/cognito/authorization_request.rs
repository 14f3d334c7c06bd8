//! The authorization request: Cognito's rules for its parameters, in Cognito's order (facts/cognito §2.3, §2.6; S2–S6, S9).

use serde_json::Value;
use vestibule_oauth::pkce::CodeChallenge;

use crate::cognito::http::Params;
use crate::cognito::options::{AppClient, ManagedLoginVersion, ScopeErrorForm};
use crate::cognito::refusal::Refusal;
use crate::cognito::state::Pool;

/// Longest `state`, in characters. Assumption A1: reported by others, not in AWS's documents.
const MAX_STATE: usize = 1024;

/// An authorization request that may be shown to a user.
pub(crate) struct AuthorizationRequest {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) challenge: Option<CodeChallenge>,
    pub(crate) nonce: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) prompt: Prompt,
}

/// What `prompt` asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// Silent with a session, the form without.
    Automatic,
    /// The form, always.
    Form,
    /// Silent with a session, an error without.
    None,
}

impl AuthorizationRequest {
    /// Reads and judges the query of `/oauth2/authorize` or `/login`.
    pub(crate) fn parse(pool: &Pool, query: &str) -> Result<Self, Refusal> {
        let params = Params::parse(query.as_bytes());
        let state = params.get("state");
        if state.is_some_and(is_json) {
            return Err(Refusal::Empty);
        }
        if state.is_some_and(|state| state.chars().count() > MAX_STATE) {
            return Err(Refusal::Page("The state parameter is too long."));
        }
        let client_id = params.get("client_id").unwrap_or_default();
        let redirect_uri = params.get("redirect_uri").unwrap_or_default();
        let client = pool
            .client(client_id)
            .filter(|_| pool.callback_allowed(client_id, redirect_uri))
            .ok_or_else(|| Refusal::Mismatch {
                client_id: client_id.to_owned(),
            })?;

        // From here on the callback is known, so refusals go there.
        let mut request = Self {
            client_id: client_id.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            state: state.map(str::to_owned),
            scopes: Vec::new(),
            challenge: None,
            nonce: params.get("nonce").map(str::to_owned),
            resource: None,
            prompt: Prompt::Automatic,
        };
        request.check_response_type(client, &params)?;
        request.challenge = request.read_challenge(&params)?;
        request.scopes = request.read_scopes(pool, client, &params)?;
        if pool.options.managed_login_version == ManagedLoginVersion::Managed {
            request.prompt = request.read_prompt(&params)?;
        }
        request.resource = request.read_resource(pool, &params)?;
        Ok(request)
    }

    fn check_response_type(&self, client: &AppClient, params: &Params) -> Result<(), Refusal> {
        match params.get("response_type") {
            Some("code") if !client.code_grant_disabled => Ok(()),
            // The implicit grant is never enabled here.
            Some("code" | "token") => Err(self.refuse("unauthorized_client")),
            _ => Err(self.refuse("invalid_request")),
        }
    }

    /// PKCE is the client's choice, but what is sent must be S256.
    fn read_challenge(&self, params: &Params) -> Result<Option<CodeChallenge>, Refusal> {
        let challenge = params.get("code_challenge");
        let method = params.get("code_challenge_method");
        if challenge.is_none() && method.is_none() {
            return Ok(None);
        }
        CodeChallenge::parse(challenge, method)
            .map(Some)
            .map_err(|_| self.refuse("invalid_request"))
    }

    /// All scopes or none: one that is not allowed fails the request.
    fn read_scopes(
        &self,
        pool: &Pool,
        client: &AppClient,
        params: &Params,
    ) -> Result<Vec<String>, Refusal> {
        let mut scopes: Vec<String> = Vec::new();
        for scope in params
            .get("scope")
            .unwrap_or_default()
            .split_ascii_whitespace()
        {
            if !scopes.iter().any(|known| known == scope) {
                scopes.push(scope.to_owned());
            }
        }
        if scopes.is_empty() {
            return Ok(client.scopes.clone());
        }
        let needs_openid = |scope: &String| matches!(scope.as_str(), "phone" | "email" | "profile");
        let allowed = scopes.iter().all(|scope| client.scopes.contains(scope));
        let complete =
            scopes.iter().any(|scope| scope == "openid") || !scopes.iter().any(needs_openid);
        if allowed && complete {
            Ok(scopes)
        } else {
            Err(self.scope_error(pool))
        }
    }

    fn read_prompt(&self, params: &Params) -> Result<Prompt, Refusal> {
        let words: Vec<&str> = params
            .get("prompt")
            .unwrap_or_default()
            .split_ascii_whitespace()
            .collect();
        if words == ["none"] {
            return Ok(Prompt::None);
        }
        let mut prompt = Prompt::Automatic;
        for word in words {
            match word {
                "login" | "select_account" => prompt = Prompt::Form,
                "consent" => {}
                _ => return Err(self.refuse("invalid_request")),
            }
        }
        Ok(prompt)
    }

    /// RFC 8707 as far as Cognito takes it (§2.6).
    fn read_resource(&self, pool: &Pool, params: &Params) -> Result<Option<String>, Refusal> {
        let values: Vec<&str> = params.all("resource").collect();
        match values.as_slice() {
            [] => Ok(None),
            _ if pool.options.managed_login_version == ManagedLoginVersion::Classic => {
                Err(self.observed_scope_error())
            }
            [one] if is_bindable(one) => Ok(Some((*one).to_owned())),
            _ => Err(self.refuse("invalid_request")),
        }
    }

    /// A refusal at the callback: `error`, then `state`.
    pub(crate) fn refuse(&self, error: &str) -> Refusal {
        let mut pairs = vec![("error", error.to_owned())];
        pairs.extend(self.state.clone().map(|state| ("state", state)));
        Refusal::Callback {
            redirect_uri: self.redirect_uri.clone(),
            pairs,
        }
    }

    fn scope_error(&self, pool: &Pool) -> Refusal {
        match pool.options.scope_error {
            ScopeErrorForm::Observed => self.observed_scope_error(),
            ScopeErrorForm::Documented => self.refuse("invalid_scope"),
        }
    }

    /// The recorded order: `error_description`, `state`, `error`.
    fn observed_scope_error(&self) -> Refusal {
        let mut pairs = vec![("error_description", "invalid_scope".to_owned())];
        pairs.extend(self.state.clone().map(|state| ("state", state)));
        pairs.push(("error", "invalid_request".to_owned()));
        Refusal::Callback {
            redirect_uri: self.redirect_uri.clone(),
            pairs,
        }
    }
}

/// A JSON object or array; a bare number or word is a fine state.
fn is_json(state: &str) -> bool {
    matches!(
        serde_json::from_str(state),
        Ok(Value::Object(_) | Value::Array(_))
    )
}

/// `https://…`, `http://localhost…` or a custom scheme; `http://127.0.0.1` is not among them.
fn is_bindable(resource: &str) -> bool {
    let Some((scheme, rest)) = resource.split_once("://") else {
        return false;
    };
    let host = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
    let printable = resource.chars().all(|c| c.is_ascii_graphic());
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    printable
        && scheme_ok
        && match scheme {
            "http" => host == "localhost",
            "https" => !host.is_empty(),
            _ => !rest.is_empty(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_can_be_bound_to() {
        for good in [
            "https://mcp.example.com/mcp",
            "http://localhost:8080/mcp",
            "myapp://x",
        ] {
            assert!(is_bindable(good), "{good}");
        }
        for bad in [
            "mcp",
            "http://127.0.0.1:8080/mcp",
            "http://localhost.example.com/",
            "https://",
            "https://a b",
        ] {
            assert!(!is_bindable(bad), "{bad}");
        }
    }

    #[test]
    fn only_structured_json_is_refused_as_state() {
        assert!(is_json("{\"a\":1}"));
        assert!(is_json("[1]"));
        assert!(!is_json("12345"));
        assert!(!is_json("eyJhIjoxfQ"));
    }
}
