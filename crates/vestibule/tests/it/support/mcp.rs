//! MCP through the gateway, sign-ins of other people, and what a refusal must look like.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::browser::{Answer, Browser};
use super::house::{Client, TestHouse, Tokens};

/// The stateless protocol revision.
pub(crate) const MODERN: &str = "2026-07-28";
/// The challenge for [`super::MCP`] without credentials, whole.
pub(crate) const CHALLENGE: &str = "Bearer resource_metadata=\"https://mcp.example.test/.well-known/oauth-protected-resource/mcp\", scope=\"mcp:read mcp:write\"";

/// A stateless `tools/call`, with the headers that the revision asks for.
pub(crate) fn tool_call(tool: &str, arguments: &Value) -> (Vec<(&'static str, String)>, Value) {
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("accept", "application/json, text/event-stream".to_owned()),
        ("mcp-protocol-version", MODERN.to_owned()),
        ("mcp-method", "tools/call".to_owned()),
        ("mcp-name", tool.to_owned()),
    ];
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params });
    (headers, body)
}

impl TestHouse {
    /// Calls a tool with a bearer token and further headers.
    pub(crate) async fn tool_at(
        &self,
        path: &str,
        token: &str,
        extra: &[(&str, &str)],
        tool: &str,
    ) -> Answer {
        let (headers, body) = tool_call(tool, &json!({}));
        let bearer = format!("Bearer {token}");
        let mut all: Vec<(&str, &str)> = vec![("authorization", &bearer)];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
        all.extend(extra);
        self.request(Method::POST, path, &all, &body.to_string())
            .await
    }

    /// What the upstream says about the caller. Fails unless the call went through.
    pub(crate) async fn whoami(&self, token: &str) -> Value {
        self.whoami_at("/mcp", token).await
    }

    pub(crate) async fn whoami_at(&self, path: &str, token: &str) -> Value {
        let answer = self.tool_at(path, token, &[], "whoami").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.rpc()["result"]["structuredContent"].clone()
    }

    /// Fails unless the door is shut for `token`, and no request went past it.
    pub(crate) async fn assert_shut(&self, token: &str, why: &str) {
        let before = self.demo.requests();
        let answer = self.tool_at("/mcp", token, &[], "whoami").await;
        answer.assert_challenged("invalid_token", why);
        assert_eq!(self.demo.requests(), before, "{why}: reached the upstream");
    }

    /// Signs somebody in at a client in a fresh browser and gives our code.
    pub(crate) async fn code_of(&self, client: &Client, username: &str, password: &str) -> String {
        let mut browser = self.browser();
        self.code_in(&mut browser, client, username, password).await
    }

    pub(crate) async fn code_in(
        &self,
        browser: &mut Browser,
        client: &Client,
        username: &str,
        password: &str,
    ) -> String {
        let answer = self.browse(browser, client, username, password).await;
        let code = answer.location_param("code");
        code.unwrap_or_else(|| panic!("no code in {}", answer.location()))
    }

    /// Redeems a code as its client should.
    pub(crate) async fn redeem(&self, client: &Client, code: &str) -> Answer {
        self.post_form("/token", &Self::redemption(client, code))
            .await
    }

    pub(crate) async fn sign_in_as(&self, username: &str, password: &str) -> (Client, Tokens) {
        let client = self.register(super::CALLBACK).await;
        let code = self.code_of(&client, username, password).await;
        let tokens = Tokens::of(&self.redeem(&client, &code).await);
        (client, tokens)
    }

    /// Refreshes with further parameters.
    pub(crate) async fn refresh_with(
        &self,
        client: &Client,
        refresh_token: &str,
        extra: &[(&str, &str)],
    ) -> Answer {
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
            ("client_id", client.id.as_str()),
        ];
        form.extend(extra);
        self.post_form("/token", &form).await
    }
}

impl Answer {
    /// The last JSON-RPC message of a plain or streamed answer.
    pub(crate) fn rpc(&self) -> Value {
        let text = self.text();
        if let Ok(whole) = serde_json::from_str(&text) {
            return whole;
        }
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        let mut messages = data.filter_map(|data| serde_json::from_str(data.trim()).ok());
        messages
            .next_back()
            .unwrap_or_else(|| panic!("no message in {text}"))
    }

    /// An OAuth error in JSON with a reference, that nobody may keep, and nothing of a success in it.
    pub(crate) fn assert_refused(&self, status: u16, error: &str, why: &str) {
        let text = self.text();
        assert_eq!(self.status, status, "{why}: {text}");
        let body = self.json();
        assert_eq!(body["error"], error, "{why}: {text}");
        let told = |name: &str| body[name].as_str().is_some_and(|text| !text.is_empty());
        assert!(
            told("error_description") && told("reference"),
            "{why}: {text}"
        );
        assert_eq!(self.header("cache-control"), "no-store", "{why}");
        assert!(!self.headers.contains_key("location"), "{why}");
        for absent in ["access_token", "refresh_token", "id_token", "expires_in"] {
            assert!(body.get(absent).is_none(), "{why}: {text}");
        }
    }

    /// 401 of the demo resource with this error in its challenge.
    pub(crate) fn assert_challenged(&self, error: &str, why: &str) {
        assert_eq!(self.status, 401, "{why}: {}", self.text());
        let challenge = self.header("www-authenticate");
        let (start, end) = (format!("Bearer error=\"{error}\", "), &CHALLENGE[7..]);
        assert!(challenge.starts_with(&start), "{why}: {challenge}");
        assert!(challenge.ends_with(end), "{why}: {challenge}");
        assert_eq!(self.header("cache-control"), "no-store", "{why}");
        assert_eq!(self.json()["error"], error, "{why}");
    }
}
