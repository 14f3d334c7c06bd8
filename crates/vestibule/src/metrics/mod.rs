//! Metrics in the OpenMetrics text format, on a listener of their own (facts/deployment-and-operations.md §5.4).
//!
//! Every label is a type with a fixed list of values (`labels.rs`), every series an atomic that is there from the start
//! (`table.rs`): what strangers send can make no series, and a request costs no lock and no allocation.

mod exchange;
pub(crate) mod labels;
mod listener;
mod process;
mod reasons;
pub(crate) mod table;

use std::fmt::Debug;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use labels::{
    AuditOutcome, AuthorizationOutcome, Backend, ClientKind, Code, DocumentKind, FetchOutcome,
    GrantType, Labels, Operation, PolicyDecision, ProviderEndpoint, ProviderOutcome,
    QuarantineKind, RefreshOutcome, RegistrationOutcome, ReloadOutcome, Route, StoreFault, StoreOp,
    UpstreamOutcome, Verb,
};
use process::Process;
use table::{Count, Durations, Level, Series, Table};

use crate::grants::RevokedWhy;
use crate::limits::Limited;

pub(crate) use exchange::Exchange;
pub(crate) use reasons::Reason;

/// Before every name.
const PREFIX: &str = "vestibule";

/// A metric as the documents describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its whole name, as queries write it; of a histogram without `_bucket`, `_sum` and `_count`.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<&'static str>,
    /// What it says, a sentence.
    pub help: &'static str,
}

/// Every metric of a process. A house shares it with its successors.
pub struct Metrics {
    registry: Registry,
    /// Those whose names are not ours to choose.
    common: Registry,
    described: Vec<Described>,
    pub(crate) requests: Table<(Route, Verb, Code), Count>,
    pub(crate) request_durations: Table<(Route,), Durations>,
    pub(crate) refusals: Table<(Route, Reason), Count>,
    pub(crate) authorizations: Table<(AuthorizationOutcome, Reason), Count>,
    pub(crate) registrations: Table<(ClientKind, RegistrationOutcome), Count>,
    pub(crate) tokens_issued: Table<(GrantType,), Count>,
    pub(crate) refreshes: Table<(RefreshOutcome,), Count>,
    pub(crate) refresh_reuse: Table<(), Count>,
    pub(crate) grants_revoked: Table<(RevokedWhy,), Count>,
    pub(crate) provider_durations: Table<(ProviderEndpoint, ProviderOutcome), Durations>,
    pub(crate) upstream_durations: Table<(UpstreamOutcome,), Durations>,
    pub(crate) operation_durations: Table<(Operation,), Durations>,
    pub(crate) policy_decisions: Table<(PolicyDecision,), Count>,
    pub(crate) store_durations: Table<(Backend, StoreOp), Durations>,
    pub(crate) store_errors: Table<(Backend, StoreOp, StoreFault), Count>,
    pub(crate) rate_limited: Table<(Limited,), Count>,
    pub(crate) document_fetches: Table<(DocumentKind, FetchOutcome), Count>,
    pub(crate) audit_events: Table<(AuditOutcome,), Count>,
    pub(crate) reloads: Table<(ReloadOutcome,), Count>,
    pub(crate) active_connections: Table<(), Level>,
    pub(crate) active_streams: Table<(), Level>,
    shown: Shown,
}

/// What is looked up when somebody asks.
#[derive(Debug, Default)]
struct Shown {
    signing_key_age: Table<(), Level>,
    sealing_key_age: Table<(), Level>,
    key_rotation_due: Table<(), Level>,
    quarantined: Table<(QuarantineKind,), Level>,
    config_loaded_at: Table<(), Level>,
    config_in_force: Table<(), Level>,
}

/// Registers and describes.
struct Catalogue {
    registry: Registry,
    described: Vec<Described>,
}

impl Catalogue {
    fn add<S: Labels, M: Series>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &'static str,
    ) -> Table<S, M> {
        let table = Table::<S, M>::default();
        let kind = match table.metric_type().as_str() {
            "counter" => "counter",
            "gauge" => "gauge",
            _ => "histogram",
        };
        self.describe(name, unit.as_ref(), kind, S::names(), help);
        // The library ends the sentence.
        let sentence = help.trim_end_matches('.');
        match unit {
            Some(unit) => {
                (self.registry).register_with_unit(name, sentence, unit, table.clone());
            }
            None => self.registry.register(name, sentence, table.clone()),
        }
        table
    }

    fn describe(
        &mut self,
        name: &str,
        unit: Option<&Unit>,
        kind: &'static str,
        labels: Vec<&'static str>,
        help: &'static str,
    ) {
        let unit = unit.map(|unit| format!("_{}", unit.as_str()));
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        self.described.push(Described {
            name: format!("{PREFIX}_{name}{}{suffix}", unit.unwrap_or_default()),
            kind,
            labels,
            help,
        });
    }

    fn counter<S: Labels>(&mut self, name: &str, help: &'static str) -> Table<S, Count> {
        self.add(name, None, help)
    }

    fn seconds<S: Labels, M: Series>(&mut self, name: &str, help: &'static str) -> Table<S, M> {
        self.add(name, Some(Unit::Seconds), help)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut all = Catalogue {
            registry: Registry::with_prefix(PREFIX),
            described: Vec::new(),
        };
        let info = "What runs here.";
        all.describe("build", None, "info", vec!["version"], info);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        all.registry
            .register("build", "What runs here", Info::new(version));
        Self {
            requests: all.counter(
                "http_requests",
                "Requests that were answered, up to the first byte of the answer's body.",
            ),
            request_durations: all.seconds(
                "http_request_duration",
                "Time from a request's header to its answer's.",
            ),
            refusals: all.counter(
                "refusals",
                "Requests that were refused, by the word that the log has as `reason`.",
            ),
            authorizations: all.counter(
                "oauth_authorizations",
                "Steps of sign-ins: consent pages shown or skipped, decisions, codes given, refusals.",
            ),
            registrations: all.counter("oauth_registrations", "Registrations of clients."),
            tokens_issued: all.counter("oauth_tokens_issued", "Access tokens issued."),
            refreshes: all.counter("oauth_refreshes", "Refreshes by how they ended."),
            refresh_reuse: all.counter(
                "refresh_reuse",
                "Refresh tokens that came back after their successor was used; each revoked its family.",
            ),
            grants_revoked: all.counter("oauth_grants_revoked", "Grants that were ended, and why."),
            provider_durations: all.seconds(
                "idp_request_duration",
                "Calls to identity providers.",
            ),
            upstream_durations: all.seconds(
                "upstream_request_duration",
                "Time from sending a request to an MCP server until the header of its answer.",
            ),
            operation_durations: all.seconds(
                "mcp_operation_duration",
                "MCP operations that were forwarded or refused by rules, from a request's header to its answer's.",
            ),
            policy_decisions: all.counter(
                "policy_decisions",
                "Requests that the rules of a resource let pass or refused.",
            ),
            store_durations: all.seconds("store_op_duration", "Operations of the store."),
            store_errors: all.counter("store_errors", "Operations of the store that failed."),
            rate_limited: all.counter("rate_limited", "Requests that were too many."),
            document_fetches: all.counter(
                "client_document_fetches",
                "Fetches of metadata documents and key sets from clients' websites.",
            ),
            audit_events: all.counter("audit_events", "Events of the audit stream."),
            reloads: all.counter("config_reloads", "Times the configuration was read again."),
            active_connections: all.add(
                "active_connections",
                None,
                "Connections that are open at the public listeners.",
            ),
            active_streams: all.add(
                "active_streams",
                None,
                "Event streams from MCP servers that are open.",
            ),
            shown: Shown {
                signing_key_age: all.seconds(
                    "signing_key_age",
                    "How long the signing key has been in use.",
                ),
                sealing_key_age: all.seconds(
                    "sealing_key_age",
                    "How long the sealing key has been in use.",
                ),
                key_rotation_due: all.seconds(
                    "key_rotation_due",
                    "Time until the next step of a key rotation is overdue; negative when it is. Zero when `keys.rotate_after` is 0.",
                ),
                quarantined: all.add(
                    "quarantine_entries",
                    None,
                    "Users and clients in quarantine, as this replica knows them.",
                ),
                config_loaded_at: all.seconds(
                    "config_last_reload_success_timestamp",
                    "When the configuration in force was read, in seconds since 1970.",
                ),
                config_in_force: all.add(
                    "config_last_reload_successful",
                    None,
                    "1 when the newest configuration is in force, 0 when it was refused.",
                ),
            },
            common: {
                let mut common = Registry::default();
                common.register_collector(Box::new(Process));
                common
            },
            registry: all.registry,
            described: all.described.into_iter().chain(Process::described()).collect(),
        }
    }
}

impl Metrics {
    /// Every metric there is.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// The exposition.
    fn text(&self) -> String {
        let mut text = String::with_capacity(32 << 10);
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &self.common))
            .and_then(|()| encode_eof(&mut text));
        if let Err(error) = written {
            tracing::error!(%error, "the metrics were not written");
        }
        text
    }
}

impl Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics")
            .field("described", &self.described.len())
            .finish_non_exhaustive()
    }
}
