//! `[authz]`: whether proxies may ask who is calling, which ones, and how they describe the request (external authorizer).

use ipnet::IpNet;

use super::credential::CredentialSettings;
use super::resource::{self, ResourceSettings};
use super::section::Section;
use super::server::proxy_network;

/// The endpoint for proxies that forward requests themselves. There is none unless somebody is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthzSettings {
    /// Its path.
    pub path: String,
    /// The proxies that may ask. What they say about a request is believed, and they receive the upstream's credential.
    pub trusted_proxies: Vec<IpNet>,
    /// Where they say which request it is about.
    pub request_from: RequestFrom,
}

/// Where a proxy describes the request that it wants judged. One place only: whatever stands in the others was
/// written by the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestFrom {
    /// `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`: Traefik, Caddy.
    #[default]
    XForwarded,
    /// `X-Original-Method`, and `X-Original-URL` or `X-Original-Proto`, `-Host` and `-URI`: nginx.
    XOriginal,
    /// The request itself, with the original path behind ours: Envoy.
    Path,
}

const DEFAULT_PATH: &str = "/authz";

impl AuthzSettings {
    /// The endpoint at its usual path, for these proxies.
    pub fn new(trusted_proxies: Vec<IpNet>, request_from: RequestFrom) -> Self {
        Self {
            path: DEFAULT_PATH.to_owned(),
            trusted_proxies,
            request_from,
        }
    }

    /// Reads the section; `None` when nobody is trusted.
    pub(super) fn read(mut section: Section<'_>, resources: &[ResourceSettings]) -> Option<Self> {
        let problems = section.problems();
        let proxies = section.parsed_list("trusted_proxies", proxy_network);
        let path = section.parsed("path", own_path);
        let request_from = section.choice(
            "request_from",
            &[
                ("x-forwarded", RequestFrom::XForwarded),
                ("x-original", RequestFrom::XOriginal),
                ("path", RequestFrom::Path),
            ],
        );
        let nobody = proxies.as_ref().is_none_or(|list| list.value.is_empty());
        let path_spot = path.as_ref().map(|path| &path.spot);
        let from_spot = request_from.as_ref().map(|from| &from.spot);
        if nobody && let Some(spot) = path_spot.or(from_spot) {
            problems.add(
                spot,
                "has no effect without `trusted_proxies`: say which proxies may ask",
            );
        }
        for resource in resources {
            if let Some(proxies) = proxies.as_ref().filter(|_| !nobody)
                && resource.has_policy()
            {
                let message = format!(
                    "the rules of {} need the bodies of requests, which proxies do not send: each of their questions about \
                     it is refused",
                    resource.path
                );
                problems.warn(&proxies.spot, &message);
            }
        }
        for resource in resources {
            if let Some(proxies) = proxies.as_ref().filter(|_| !nobody)
                && matches!(resource.credential, CredentialSettings::SigV4 { .. })
            {
                let message = format!(
                    "the credential of {} signs each request as it is sent, which a proxy that sends it cannot be given: each \
                     of their questions about it is refused",
                    resource.path
                );
                problems.warn(&proxies.spot, &message);
            }
        }
        if let Some(path) = &path {
            for resource in resources {
                if resource::lie_within_each_other(&path.value, &resource.path) {
                    let message = format!("'{}' is taken by a resource", resource.path);
                    problems.add(&path.spot, message);
                }
            }
        }
        section.finish();
        let trusted = proxies.map_or_else(Vec::new, |list| list.value);
        let mut settings = Self::new(
            trusted.into_iter().map(|net| net.value).collect(),
            request_from.map_or_else(RequestFrom::default, |from| from.value),
        );
        if let Some(path) = path {
            settings.path = path.value;
        }
        (!nobody).then_some(settings)
    }
}

/// A path that is nobody else's.
fn own_path(text: &str) -> Result<String, String> {
    let path = resource::plain_path(text)?;
    match resource::reserved_segment(&path) {
        Some(segment) if !DEFAULT_PATH[1..].eq_ignore_ascii_case(segment) => Err(format!(
            "`/{segment}` is another endpoint of Vestibule; choose another path"
        )),
        _ => Ok(path),
    }
}
