//! Labels of a request and its answer: route, method, status, MCP method.

use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::Label;

label! {
    /// A path of ours, as a template.
    Route = "route" {
        Resource = "resource",
        Authorize = "/authorize",
        Consent = "/consent",
        Callback = "/callback",
        Token = "/token",
        Register = "/register",
        Revoke = "/revoke",
        Introspect = "/introspect",
        Authz = "authz",
        Jwks = "/jwks.json",
        WellKnown = "/.well-known",
        Connections = "/connections",
        ConnectionsForm = "/connections/{form}",
        Logout = "/logout",
        LogoutDone = "/logout/done",
        Landing = "/",
        Healthz = "/healthz",
        Readyz = "/readyz",
        /// What operators ask, on the listener of their own.
        Admin = "/admin",
        /// Nothing is there.
        Unknown = "other",
    }
}

impl Route {
    /// The route of a path, when it is one of those that every house has.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/authorize" => Self::Authorize,
            "/consent" => Self::Consent,
            "/callback" => Self::Callback,
            "/token" => Self::Token,
            "/register" => Self::Register,
            "/revoke" => Self::Revoke,
            "/introspect" => Self::Introspect,
            "/jwks.json" => Self::Jwks,
            "/connections" => Self::Connections,
            "/connections/sign-in" | "/connections/revoke" | "/connections/sign-out" => {
                Self::ConnectionsForm
            }
            "/logout" => Self::Logout,
            "/logout/done" => Self::LogoutDone,
            "/healthz" => Self::Healthz,
            "/readyz" => Self::Readyz,
            "/.well-known" => Self::WellKnown,
            _ if path.starts_with("/.well-known/") => Self::WellKnown,
            _ if path.starts_with("/callback/") => Self::Callback,
            _ => return None,
        })
    }
}

label! {
    /// The method of an HTTP request.
    Verb = "method" {
        Get = "GET",
        Head = "HEAD",
        Post = "POST",
        Put = "PUT",
        Delete = "DELETE",
        Options = "OPTIONS",
        Patch = "PATCH",
        Other = "other",
    }
}

impl Verb {
    pub(crate) fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::DELETE => Self::Delete,
            Method::OPTIONS => Self::Options,
            Method::PATCH => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// A status. Upstreams choose theirs, so those that are not in the list are told by their class only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(u8);

/// The listed ones, in order; behind them the classes.
const CODES: [u16; 30] = [
    101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408,
    409, 410, 413, 415, 416, 422, 429, 500, 502, 503, 504,
];

impl Label for Code {
    const NAME: &'static str = "code";
    const VALUES: &'static [&'static str] = &[
        "101", "200", "201", "202", "204", "206", "301", "302", "303", "304", "307", "308", "400",
        "401", "403", "404", "405", "406", "408", "409", "410", "413", "415", "416", "422", "429",
        "500", "502", "503", "504", "1xx", "2xx", "3xx", "4xx", "5xx", "other",
    ];

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Code {
    pub(crate) fn of(status: StatusCode) -> Self {
        // Nearly every answer.
        if status == StatusCode::OK {
            return Self(1);
        }
        let index = CODES.binary_search(&status.as_u16()).unwrap_or_else(|_| {
            let class = usize::from(status.as_u16() / 100);
            CODES.len() + if class <= 5 { class - 1 } else { 5 }
        });
        Self(u8::try_from(index).unwrap_or(u8::MAX))
    }
}

/// The method of a message, in a header (MCP 2026-07-28).
const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");

label! {
    /// A method of MCP.
    Operation = "mcp_method_name" {
        Initialize = "initialize",
        Discover = "server/discover",
        Ping = "ping",
        ToolsList = "tools/list",
        ToolsCall = "tools/call",
        PromptsList = "prompts/list",
        PromptsGet = "prompts/get",
        ResourcesList = "resources/list",
        TemplatesList = "resources/templates/list",
        ResourcesRead = "resources/read",
        ResourcesSubscribe = "resources/subscribe",
        ResourcesUnsubscribe = "resources/unsubscribe",
        SubscriptionsListen = "subscriptions/listen",
        Complete = "completion/complete",
        SetLevel = "logging/setLevel",
        Tasks = "tasks/*",
        Notifications = "notifications/*",
        /// What a client answers to a server's request.
        Answer = "answer",
        /// A JSON-RPC batch.
        Batch = "batch",
        /// A stream for what the server has to say (GET).
        Stream = "stream",
        /// The end of a session (DELETE).
        End = "end",
        /// A method that MCP does not have.
        Other = "other",
        /// Nobody read the body, and no header told.
        Unread = "unread",
    }
}

impl Operation {
    /// As far as method and headers tell. What the header of MCP 2026-07-28 says is good enough to count, not to decide:
    /// whoever sends it may lie.
    pub(crate) fn told_by(method: &Method, headers: &HeaderMap) -> Self {
        match *method {
            Method::POST => match headers.get(MCP_METHOD) {
                Some(name) => name.to_str().map_or(Self::Other, Self::named),
                None => Self::Unread,
            },
            Method::GET => Self::Stream,
            Method::DELETE => Self::End,
            _ => Self::Other,
        }
    }

    /// The operation of this name: whatever is not known is [`Self::Other`].
    pub(crate) fn named(method: &str) -> Self {
        match method {
            "initialize" => Self::Initialize,
            "server/discover" => Self::Discover,
            "ping" => Self::Ping,
            "tools/list" => Self::ToolsList,
            "tools/call" => Self::ToolsCall,
            "prompts/list" => Self::PromptsList,
            "prompts/get" => Self::PromptsGet,
            "resources/list" => Self::ResourcesList,
            "resources/templates/list" => Self::TemplatesList,
            "resources/read" => Self::ResourcesRead,
            "resources/subscribe" => Self::ResourcesSubscribe,
            "resources/unsubscribe" => Self::ResourcesUnsubscribe,
            "subscriptions/listen" => Self::SubscriptionsListen,
            "completion/complete" => Self::Complete,
            "logging/setLevel" => Self::SetLevel,
            _ if method.starts_with("tasks/") => Self::Tasks,
            _ if method.starts_with("notifications/") => Self::Notifications,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Labels as _;
    use super::*;

    #[test]
    fn every_status_has_a_place_and_only_listed_ones_one_of_their_own() {
        for status in 100..1000 {
            let code = Code::of(StatusCode::from_u16(status).unwrap());
            let value = Code::VALUES[code.index()];
            if CODES.contains(&status) {
                assert_eq!(value, status.to_string());
            } else if status < 600 {
                assert_eq!(value, format!("{}xx", status / 100));
            } else {
                assert_eq!(value, "other");
            }
        }
        assert!(CODES.is_sorted());
    }

    #[test]
    fn a_name_that_mcp_does_not_have_is_other() {
        for (index, name) in Operation::VALUES.iter().enumerate() {
            let operation = Operation::named(&name.replace('*', "x"));
            let named = operation.index() == index;
            let ours = ["answer", "batch", "stream", "end", "unread"].contains(name);
            assert!(named || (ours && operation == Operation::Other), "{name}");
        }
        assert_eq!(Operation::named("tools/call\n"), Operation::Other);
        assert_eq!(Operation::named(""), Operation::Other);
    }

    #[test]
    fn every_combination_has_an_index_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for route in [Route::Resource, Route::Authorize, Route::Unknown] {
            for method in [Verb::Get, Verb::Other] {
                for status in [StatusCode::OK, StatusCode::IM_A_TEAPOT] {
                    let index = (route, method, Code::of(status)).index();
                    assert!(index < <(Route, Verb, Code)>::SERIES);
                    assert!(seen.insert(index));
                }
            }
        }
    }
}
