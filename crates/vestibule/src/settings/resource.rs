//! `[[resource]]`: the protected MCP endpoints — public path, upstream, scopes and what the upstream receives.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vestibule_guard::fetch::Protocol;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::url::{Endpoint, Origin, ResourceUri, is_loopback_host};

use super::cedar;
use super::credential::CredentialSettings;
use super::identity;
use super::problem::{Located, Problems, Spot};
use super::rule;
use super::scope::{self, ScopeDetail};
use super::section::Section;
use super::streams::{self, StreamRules};
use super::tokens::{TOKEN_FORMATS, TokenFormat};
use crate::policy::{CedarPolicies, Glob, Rule};
use crate::spelling::closest;
use crate::upstream_identity::UpstreamIdentity;

/// One protected MCP endpoint.
#[derive(Clone, Debug)]
pub struct ResourceSettings {
    /// The public path, as `/mcp`.
    pub path: String,
    /// The public URL, which is the resource identifier (RFC 8707, RFC 9728).
    pub uri: ResourceUri,
    /// A name for people, shown on the consent page.
    pub name: Option<String>,
    /// The MCP server.
    pub upstream: Endpoint,
    /// Every scope there is; may be empty.
    pub scopes: ScopeSet,
    /// What is granted to a client that asks for no scope; a subset of `scopes`.
    pub default_scopes: ScopeSet,
    /// What is known of scopes beyond their names.
    pub scope_details: Vec<ScopeDetail>,
    /// Ids of the providers that may sign people in here, the first one preferred; empty means the default provider.
    pub providers: Vec<String>,
    /// The form of our access tokens for this resource.
    pub token_format: TokenFormat,
    /// What the upstream receives in place of the client's token.
    pub credential: CredentialSettings,
    /// What the upstream is told of the caller besides.
    pub identity: UpstreamIdentity,
    /// How long the upstream may take until its response headers.
    pub timeout: Duration,
    /// Where people read about it (RFC 9728 `resource_documentation`).
    pub documentation: Option<String>,
    /// Certificate authorities (PEM) trusted for the upstream besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Who may call, read and see what.
    pub rules: Vec<Rule>,
    /// True when what no rule allows is hidden.
    pub deny_by_default: bool,
    /// Cedar policies in the place of rules.
    pub cedar: Option<Arc<CedarPolicies>>,
    /// Longest message that is read for the rules, in bytes.
    pub max_message_bytes: usize,
    /// Longest list, or event of a stream, that is read to be filtered, in bytes.
    pub max_list_bytes: usize,
    /// Tools whose results are lists of tools.
    pub search_tools: Vec<Glob>,
    /// True when a session belongs to the user and client that opened it, and so do the events of a stream.
    pub bind_sessions: bool,
    /// True when the ids of tasks and `requestState` belong to them too.
    pub bind_handles: bool,
    /// How event streams live and end.
    pub streams: StreamRules,
    /// What is spoken with the upstream.
    pub upstream_protocol: Protocol,
}

/// The search that AgentCore Gateway offers beside a gateway's own tools.
const SEARCH_TOOL: &str = "*x_amz_bedrock_agentcore_search";

/// First path segments that are ours. No resource may begin with one.
const RESERVED: [&str; 15] = [
    ".well-known",
    "authorize",
    "authz",
    "callback",
    "connections",
    "consent",
    "healthz",
    "introspect",
    "jwks.json",
    "logout",
    "readyz",
    "register",
    "revoke",
    "token",
    "version",
];

impl ResourceSettings {
    /// A resource at `path` of `public_url` with every default, or why the two make no URL.
    pub fn new(public_url: &Origin, path: &str, upstream: Endpoint) -> Result<Self, String> {
        let path = public_path(path)?;
        let uri = ResourceUri::parse(&public_url.join(&path)).map_err(|error| error.to_string())?;
        Ok(Self {
            path,
            uri,
            name: None,
            upstream,
            scopes: ScopeSet::default(),
            default_scopes: ScopeSet::default(),
            scope_details: Vec::new(),
            providers: Vec::new(),
            token_format: TokenFormat::default(),
            credential: CredentialSettings::default(),
            identity: UpstreamIdentity::default(),
            timeout: Duration::from_secs(300),
            documentation: None,
            ca_file: None,
            rules: Vec::new(),
            deny_by_default: false,
            cedar: None,
            max_message_bytes: 1024 * 1024,
            max_list_bytes: 8 * 1024 * 1024,
            search_tools: Glob::parse(SEARCH_TOOL).into_iter().collect(),
            bind_sessions: true,
            bind_handles: false,
            streams: StreamRules::default(),
            upstream_protocol: Protocol::Http1,
        })
    }

    /// Reads every `[[resource]]`. Without a public URL the values are checked, but there are no resources to return.
    pub(super) fn read_all(
        sections: Vec<Section<'_>>,
        public_url: Option<&Origin>,
        default_format: TokenFormat,
        provider_ids: &[&str],
        problems: &Problems,
    ) -> Vec<Self> {
        let mut paths: Vec<Located<String>> = Vec::new();
        let mut resources = Vec::new();
        if sections.is_empty() {
            let spot = Spot {
                key: "resource".to_owned(),
                place: super::Place::Nowhere,
            };
            problems.add(&spot, "missing; write a `[[resource]]` with `path` and `upstream`, the MCP server to protect");
        }
        for mut section in sections {
            let path = section.parsed("path", public_path);
            if let Some(path) = section.required("path", path) {
                refuse_overlap(&path, &paths, problems);
                resources.extend(Self::read(
                    section,
                    &path.value,
                    public_url,
                    default_format,
                    provider_ids,
                ));
                paths.push(path);
            } else {
                let stand_in = "/mcp";
                Self::read(section, stand_in, None, default_format, provider_ids);
            }
        }
        resources
    }

    fn read(
        mut section: Section<'_>,
        path: &str,
        public_url: Option<&Origin>,
        default_format: TokenFormat,
        provider_ids: &[&str],
    ) -> Option<Self> {
        let problems = section.problems();
        let name = section.name("name");
        let upstream = section.parsed("upstream", Endpoint::parse);
        let upstream = section.required("upstream", upstream);
        if let (Some(upstream), Some(public_url)) = (&upstream, public_url)
            && url::Url::parse(upstream.value.as_str())
                .is_ok_and(|url| url.origin().ascii_serialization() == public_url.as_str())
        {
            problems.add(
                &upstream.spot,
                "points back at `public_url`; every request would come back to us for ever",
            );
        }
        let scopes = section.scopes("scopes");
        let default_scopes = section.scopes("default_scopes");
        let described = section.sections("scope");
        let providers = read_providers(&mut section, provider_ids);
        let format = section.choice("token_format", &TOKEN_FORMATS);
        let credential_spot = section.spot_of("credential");
        let credential = CredentialSettings::read(
            section.section("credential"),
            upstream.as_ref().map(|url| &url.value),
        );
        let identity = identity::read(
            section.section("identity"),
            credential.as_ref(),
            upstream.as_ref().map(|url| &url.value),
        );
        let timeout = section.duration("timeout");
        let documentation = section.parsed("documentation", Endpoint::parse);
        let ca_file = section.file("ca_file");
        let cedar = cedar::read(&mut section);
        let deny_by_default = section.choice("default", &[("allow", false), ("deny", true)]);
        let rules = rule::read_all(section.sections("rule"));
        let max_message_bytes = section.size("max_message_bytes");
        let max_list_bytes = section.size("max_list_bytes");
        let search_tools = section.parsed_list("search_tools", Glob::parse);
        let bind_sessions = section.flag("bind_sessions");
        let bind_handles = section.flag("bind_handles");
        let streams = streams::read(&mut section);
        let upstream_http2 = section.flag("upstream_http2");
        section.finish();

        let listed = scopes.map_or_else(ScopeSet::default, |scopes| scopes.value);
        let (scopes_value, scope_details) = scope::read_all(described, &listed, problems);
        if let Some(defaults) = default_scopes
            .as_ref()
            .filter(|defaults| !defaults.value.is_subset(&scopes_value))
        {
            let foreign: Vec<&str> = defaults
                .value
                .iter()
                .filter(|scope| !scopes_value.contains(scope))
                .collect();
            problems.add(
                &defaults.spot,
                format!("`{}` is not among `scopes`", foreign.join("`, `")),
            );
        }
        let other = deny_by_default.as_ref().map(|deny| deny.spot.clone());
        let other = other.or_else(|| rules.first().map(rule::Written::spot));
        let cedar = cedar.checked(problems, other.as_ref());
        let deny = deny_by_default.as_ref().is_some_and(|deny| deny.value);
        if let Some(deny) = deny_by_default.filter(|deny| deny.value && rules.is_empty()) {
            problems.add(
                &deny.spot,
                "nothing is allowed: there is no `[[resource.rule]]`",
            );
        }
        let rules = rule::check(rules, &scopes_value, deny, problems);
        for size in [&max_message_bytes, &max_list_bytes].into_iter().flatten() {
            if size.value < 1024 {
                problems.add(&size.spot, "must be at least 1KiB");
            }
        }
        let unbound = bind_sessions.as_ref().is_some_and(|bind| !bind.value);
        if let Some(bind) = bind_handles.as_ref().filter(|bind| bind.value && unbound) {
            problems.add(&bind.spot, "needs `bind_sessions`");
        }
        if let Some(timeout) = timeout.as_ref().filter(|timeout| timeout.value.is_zero()) {
            problems.add(&timeout.spot, "must be longer than 0");
        }
        let token_format = format
            .as_ref()
            .map_or(default_format, |format| format.value);
        if token_format == TokenFormat::Jwt
            && matches!(credential, Some(CredentialSettings::ProviderToken))
        {
            let spot = format.map_or(credential_spot, |format| format.spot);
            problems.add(
                &spot,
                "`provider-token` needs the format `sealed`: a JWT could be read by the client and cannot carry the provider's \
                 token (see also `tokens.format`)",
            );
        }
        let upstream = upstream?.value;
        if !matches!(credential, Some(CredentialSettings::None) | None) && plain_and_far(&upstream)
        {
            problems.warn(
                &section_spot(path),
                "the upstream gets a credential over plain http, which anyone on the way can read",
            );
        }

        let defaults = Self::new(public_url?, path, upstream).ok()?;
        Some(Self {
            name: name.map(|name| name.value),
            default_scopes: default_scopes
                .map_or_else(|| scopes_value.clone(), |scopes| scopes.value),
            scopes: scopes_value,
            scope_details,
            providers,
            token_format,
            credential: credential?,
            identity,
            timeout: timeout.map_or(defaults.timeout, |timeout| timeout.value),
            documentation: documentation.map(|url| url.value.as_str().to_owned()),
            ca_file: ca_file.map(|file| file.value),
            rules,
            deny_by_default: deny,
            cedar,
            max_message_bytes: max_message_bytes
                .map_or(defaults.max_message_bytes, |size| size.value),
            max_list_bytes: max_list_bytes.map_or(defaults.max_list_bytes, |size| size.value),
            search_tools: search_tools.map_or(defaults.search_tools, |tools| {
                tools.value.into_iter().map(|tool| tool.value).collect()
            }),
            bind_sessions: bind_sessions.is_none_or(|bind| bind.value),
            bind_handles: bind_handles.is_some_and(|bind| bind.value),
            streams,
            upstream_protocol: match upstream_http2 {
                Some(http2) if http2.value => Protocol::Http2,
                _ => Protocol::Http1,
            },
            ..defaults
        })
    }
}

/// `provider = "one"` or `providers = ["one", "another"]`, of those that there are.
fn read_providers(section: &mut Section<'_>, known: &[&str]) -> Vec<String> {
    let problems = section.problems();
    let one = section.name("provider");
    let several = section.list("providers");
    if let (Some(_), Some(several)) = (&one, &several) {
        problems.add(
            &several.spot,
            "both `provider` and `providers` are set; keep one",
        );
    }
    if let Some(several) = several.as_ref().filter(|list| list.value.is_empty()) {
        problems.add(
            &several.spot,
            "names no provider; leave it out to use the first",
        );
    }
    let several = several.map_or_else(Vec::new, |list| list.value);
    let mut ids: Vec<String> = Vec::new();
    for id in one.into_iter().chain(several) {
        if ids.contains(&id.value) {
            problems.add(&id.spot, format!("`{}` is named twice", id.value));
        } else if !known.is_empty() && !known.contains(&id.value.as_str()) {
            let message = match closest(&id.value, known.iter().copied()) {
                Some(meant) => format!(
                    "no provider has the id `{}`; did you mean `{meant}`?",
                    id.value
                ),
                None => format!("no provider has the id `{}`", id.value),
            };
            problems.add(&id.spot, message);
        }
        ids.push(id.value);
    }
    ids
}

/// Reads a public path: a plain one that is not ours.
fn public_path(text: &str) -> Result<String, String> {
    let path = plain_path(text)?;
    match reserved_segment(&path) {
        Some(segment) => Err(format!(
            "`/{segment}` is an endpoint of Vestibule itself; choose another path"
        )),
        None => Ok(path),
    }
}

/// The first segment of a path, if it is one of ours.
pub(super) fn reserved_segment(path: &str) -> Option<&str> {
    let first = path.strip_prefix('/')?.split('/').next()?;
    RESERVED
        .iter()
        .any(|own| own.eq_ignore_ascii_case(first))
        .then_some(first)
}

/// Reads a path: absolute, without trailing slash, dot segments or anything that needs encoding.
pub(super) fn plain_path(text: &str) -> Result<String, String> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err(format!("'{text}' must begin with `/`, as in \"/mcp\""));
    };
    if rest.is_empty() {
        return Err(
            "a resource cannot be the whole site; give it a path such as \"/mcp\"".to_owned(),
        );
    }
    if rest.ends_with('/') {
        return Err(format!(
            "must not end in `/`; write '{}'",
            text.trim_end_matches('/')
        ));
    }
    if rest.contains(['?', '#']) {
        return Err("must not have a query or a fragment".to_owned());
    }
    let plain = |segment: &str| {
        segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    for segment in rest.split('/') {
        if segment.is_empty() || matches!(segment, "." | "..") || !plain(segment) {
            return Err(format!(
                "'{text}' may hold only letters, digits, `-`, `.`, `_` and `~` between single slashes"
            ));
        }
        if segment.eq_ignore_ascii_case(".well-known") {
            return Err("everything below `.well-known` is served by Vestibule itself".to_owned());
        }
    }
    Ok(text.to_owned())
}

/// True for the same path, and when one is above the other.
pub(super) fn lie_within_each_other(one: &str, other: &str) -> bool {
    let at_or_below = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    at_or_below(one, other) || at_or_below(other, one)
}

fn refuse_overlap(path: &Located<String>, others: &[Located<String>], problems: &Problems) {
    for other in others {
        if path.value == other.value {
            problems.add(
                &path.spot,
                format!("{} has this path already", other.spot.key),
            );
        } else if lie_within_each_other(&path.value, &other.value) {
            let message = format!(
                "'{}' and '{}' ({}) lie within each other",
                path.value, other.value, other.spot.key
            );
            problems.add(&path.spot, message);
        }
    }
}

/// True for plain http to a host that is not this computer.
pub(super) fn plain_and_far(upstream: &Endpoint) -> bool {
    url::Url::parse(upstream.as_str())
        .is_ok_and(|url| url.scheme() == "http" && !url.host_str().is_some_and(is_loopback_host))
}

pub(super) fn section_spot(path: &str) -> Spot {
    Spot {
        key: format!("resource {path}"),
        place: super::Place::Nowhere,
    }
}
