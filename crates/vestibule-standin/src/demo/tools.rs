//! The tools of the demo MCP server (MCP `tools/call`, `notifications/progress`).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::request::Parts;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    handler::server::{
        router::tool::ToolRouter,
        tool::{Extension, ToolCallContext},
        wrapper::Parameters,
    },
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
        ProgressNotificationParam,
    },
    schemars::{self, JsonSchema},
    service::RequestContext,
    tool, tool_handler, tool_router,
};
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Observed, ResponseGone,
    identity::{Keys, Received},
};

/// The group `admin_report` asks for.
const ADMINS: &str = "admins";

/// The MCP server; one clone per session or stateless request.
#[derive(Clone)]
pub(super) struct Tools {
    router: ToolRouter<Self>,
    observed: Arc<Observed>,
    keys: Option<Arc<Keys>>,
    stop: CancellationToken,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Text {
    /// What to say back.
    text: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Summands {
    /// The first number.
    a: f64,
    /// The second number.
    b: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Countdown {
    /// How many steps, 10000 at most.
    from: u32,
    /// Milliseconds between two steps, 60000 at most.
    #[serde(default = "one_second")]
    interval_ms: u64,
}

fn one_second() -> u64 {
    1000
}

#[tool_router(router = router)]
impl Tools {
    pub(super) fn new(
        observed: Arc<Observed>,
        keys: Option<Arc<Keys>>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            router: Self::router(),
            observed,
            keys,
            stop,
        }
    }

    #[tool(description = "Tells which identity and which headers reached this server.")]
    async fn whoami(&self, Extension(parts): Extension<Parts>) -> CallToolResult {
        let received = Received::read(&parts.headers, self.keys.as_deref()).await;
        CallToolResult::structured(received.report())
    }

    #[tool(description = "Says the text back.")]
    async fn echo(&self, Parameters(Text { text }): Parameters<Text>) -> CallToolResult {
        CallToolResult::success(vec![ContentBlock::text(text)])
    }

    #[tool(description = "Adds two numbers.")]
    async fn add(&self, Parameters(Summands { a, b }): Parameters<Summands>) -> CallToolResult {
        CallToolResult::structured(json!({ "sum": a + b }))
    }

    #[tool(description = "Counts down, with a progress notification for each step.")]
    async fn countdown(
        &self,
        Parameters(Countdown { from, interval_ms }): Parameters<Countdown>,
        Extension(parts): Extension<Parts>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let from = from.min(10_000);
        let interval = Duration::from_millis(interval_ms.min(60_000));
        let gone = parts.extensions.get::<ResponseGone>();
        let gone = gone.map_or_else(CancellationToken::new, |gone| gone.0.clone());
        let progress_token = context.meta.get_progress_token();
        let mut unfinished = Unfinished::new(self);
        for step in 1..=from {
            tokio::select! {
                () = gone.cancelled() => return Err(abandoned()),
                () = context.ct.cancelled() => return Err(abandoned()),
                () = self.stop.cancelled() => return Err(abandoned()),
                () = tokio::time::sleep(interval) => {}
            }
            if let Some(token) = progress_token.clone() {
                let progress = ProgressNotificationParam::new(token, f64::from(step))
                    .with_total(f64::from(from))
                    .with_message(format!("{} to go", from - step));
                if context.peer.notify_progress(progress).await.is_err() {
                    return Err(abandoned());
                }
            }
        }
        unfinished.finish();
        Ok(CallToolResult::structured(json!({ "counted": from })))
    }

    #[tool(description = "A report for members of the group `admins`.")]
    async fn admin_report(&self, Extension(parts): Extension<Parts>) -> CallToolResult {
        let received = Received::read(&parts.headers, self.keys.as_deref()).await;
        let groups = received.groups();
        if groups.iter().any(|group| group == ADMINS) {
            CallToolResult::structured(json!({ "report": "all systems nominal", "groups": groups }))
        } else {
            CallToolResult::structured_error(json!({
                "error": format!("admin_report is for the group `{ADMINS}`; the caller's groups are {groups:?}"),
                "groups": groups,
            }))
        }
    }
}

#[tool_handler(
    router = self.router,
    name = "vestibule-demo",
    instructions = "A demo server that tells what it received. Call whoami to see your identity."
)]
impl ServerHandler for Tools {
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.observed.calls.fetch_add(1, Ordering::Relaxed);
        self.router
            .call(ToolCallContext::new(self, request, context))
            .await
    }
}

fn abandoned() -> ErrorData {
    ErrorData::internal_error("the countdown was abandoned", None)
}

/// Counts a countdown that is left or dropped before its end, unless this server is the one that stops.
struct Unfinished<'a> {
    tools: &'a Tools,
    finished: bool,
}

impl<'a> Unfinished<'a> {
    fn new(tools: &'a Tools) -> Self {
        Self {
            tools,
            finished: false,
        }
    }

    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.finished && !self.tools.stop.is_cancelled() {
            self.tools
                .observed
                .cancelled
                .fetch_add(1, Ordering::Relaxed);
        }
    }
}
