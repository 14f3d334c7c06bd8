//! The methods of MCP in all its revisions, for those who read rules and policies.

/// Methods that name a thing, by the key of the rule that is about such things.
const NAMING: [(&str, &[&str]); 3] = [
    ("tools", &["tools/call"]),
    ("prompts", &["prompts/get", "completion/complete"]),
    (
        "resources",
        &[
            "resources/read",
            "resources/subscribe",
            "resources/unsubscribe",
            "completion/complete",
            "subscriptions/listen",
        ],
    ),
];

/// Methods of all revisions that name nothing.
const OTHERS: [&str; 22] = [
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/elicitation/complete",
    "notifications/initialized",
    "notifications/message",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
    "ping",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "roots/list",
    "sampling/createMessage",
    "server/discover",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/list",
];

/// All of them.
pub(crate) fn known() -> impl Iterator<Item = &'static str> {
    let naming = NAMING.iter().flat_map(|(_, methods)| methods.iter());
    naming.copied().chain(OTHERS)
}

/// Those that name a thing of the kind that the key of a rule is about: `tools`, `prompts` or `resources`.
pub(crate) fn naming(key: &str) -> &'static [&'static str] {
    let naming = NAMING.iter().find(|(own, _)| *own == key);
    naming.map_or(&[], |(_, methods)| methods)
}
