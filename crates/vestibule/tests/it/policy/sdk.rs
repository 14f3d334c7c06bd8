//! The Rust SDK's client before a resource with rules: a filtered list, an unknown tool, and the step-up that it is told.

use std::error::Error;

use rmcp::model::CallToolRequestParams;
use rmcp::service::{RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthorizationRequest, OAuthState};
use rmcp::transport::streamable_http_client::{
    InsufficientScopeError, StreamableHttpClientTransportConfig,
};
use rmcp::{RoleClient, ServiceExt as _};
use serde_json::json;
use vestibule::settings::Settings;

use super::set_rules;
use crate::rmcp_client::{REDIRECT, Street};

/// Ada is in `admins` and `staff`.
const RULES: &str = "
[[resource.rule]]
tools = [\"echo\"]
groups = [\"pilots\"]
[[resource.rule]]
tools = [\"add\"]
scopes = [\"mcp:write\"]
";

async fn connect(street: &Street, request: AuthorizationRequest) -> RunningService<RoleClient, ()> {
    let mut oauth = OAuthState::new(street.mcp(), None).await.unwrap();
    oauth.start_authorization(request).await.unwrap();
    let url = oauth.get_authorization_url().await.unwrap();
    let redirect = street.user_approves(&url).await;
    oauth.handle_callback_url(&redirect).await.unwrap();
    let manager = oauth.into_authorization_manager().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let config = StreamableHttpClientTransportConfig::with_uri(street.mcp());
    let auth = AuthClient::new(http, manager);
    let transport = StreamableHttpClientTransport::with_client(auth, config);
    ().serve(transport).await.unwrap()
}

fn add() -> CallToolRequestParams {
    let arguments = json!({ "a": 2, "b": 3 });
    CallToolRequestParams::new("add").with_arguments(arguments.as_object().unwrap().clone())
}

/// The challenge in an error of the client.
fn challenge(error: &ServiceError) -> String {
    let ServiceError::TransportSend(sending) = error else {
        panic!("not refused by HTTP: {error:?}");
    };
    let mut source: Option<&(dyn Error + 'static)> = Some(sending.error.as_ref());
    while let Some(current) = source {
        if let Some(lacking) = current.downcast_ref::<InsufficientScopeError>() {
            return lacking.www_authenticate_header.clone();
        }
        source = current.source();
    }
    panic!("no challenge in {error:?}");
}

#[tokio::test]
async fn the_sdk_sees_less_is_told_what_it_lacks_and_gets_it() {
    let rules = |settings: &mut Settings| set_rules(settings, RULES);
    let street = Street::open("127.0.0.1", rules).await;
    let request = || AuthorizationRequest::new(REDIRECT).with_client_name("rmcp");
    let client = connect(&street, request().with_scopes(["mcp:read"])).await;

    let tools = client.list_all_tools().await.unwrap();
    let mut names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    names.sort_unstable();
    assert_eq!(names, ["add", "admin_report", "countdown", "whoami"]);

    let calls = street.demo.calls();
    let hidden = client
        .call_tool(CallToolRequestParams::new("echo"))
        .await
        .unwrap_err();
    let ServiceError::McpError(error) = &hidden else {
        panic!("not an answer of the protocol: {hidden:?}");
    };
    assert_eq!(
        (error.code.0, error.message.as_ref()),
        (-32602, "Unknown tool: echo")
    );

    let refused = client.call_tool(add()).await.unwrap_err();
    let challenge = challenge(&refused);
    assert!(
        challenge.contains("scope=\"mcp:read mcp:write\""),
        "{challenge}"
    );
    assert_eq!(street.demo.calls(), calls);

    let client = connect(&street, request().with_challenge(challenge)).await;
    let sum = client.call_tool(add()).await.unwrap();
    assert_eq!(sum.structured_content.unwrap()["sum"], 5.0);
}
