//! `[resource.credential]`: what the upstream receives instead of the client's token.

use http::{HeaderName, HeaderValue};
use vestibule_oauth::secret::Secret;
use vestibule_oauth::url::Endpoint;

use super::problem::Located;
use super::resource::plain_and_far;
use super::section::Section;

/// What the upstream receives in place of the client's token.
#[derive(Clone, Debug, Default)]
pub enum CredentialSettings {
    /// Nothing.
    #[default]
    None,
    /// A short-lived JWT of ours about the user.
    VestibuleToken {
        /// Its audience; the upstream's URL unless set.
        audience: String,
    },
    /// The user's access token at the provider.
    ProviderToken,
    /// A fixed header, the same for every user.
    Header {
        /// The header's name.
        name: HeaderName,
        /// The header's value.
        value: Secret,
    },
    /// A signature of AWS (Signature Version 4) with credentials that are ours.
    SigV4 {
        /// The service's name in signatures.
        service: String,
        /// The region; that of the environment unless set.
        region: Option<String>,
        /// True when the body is left out of the signature.
        unsigned_payload: bool,
    },
}

/// Headers that belong to the message or to the protocol and cannot carry a credential.
const NOT_A_CREDENTIAL: [&str; 15] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl CredentialSettings {
    pub(super) fn read(mut section: Section<'_>, upstream: Option<&Endpoint>) -> Option<Self> {
        #[derive(Clone, Copy, PartialEq)]
        enum Kind {
            None,
            VestibuleToken,
            ProviderToken,
            Header,
            SigV4,
        }
        let problems = section.problems();
        let kinds = [
            ("none", Kind::None),
            ("vestibule-token", Kind::VestibuleToken),
            ("provider-token", Kind::ProviderToken),
            ("header", Kind::Header),
            ("sigv4", Kind::SigV4),
        ];
        let kind = section.choice("type", &kinds);
        let audience = section.name("audience");
        let name = section.parsed("name", credential_header);
        let value = section.secret("value", "value_file");
        let service = section.parsed("service", aws_name);
        let region = section.parsed("region", aws_name);
        let payload = section.choice("payload", &[("signed", false), ("unsigned", true)]);
        if section.is_written() {
            section.required("type", kind.as_ref());
        }
        let kind = match kind {
            Some(kind) => kind.value,
            None if section.is_written() => {
                section.finish();
                return None;
            }
            None => Kind::None,
        };
        if let Some(audience) = audience.as_ref().filter(|_| kind != Kind::VestibuleToken) {
            problems.add(&audience.spot, "belongs to the type `vestibule-token`");
        }
        if kind != Kind::Header {
            for spot in name
                .iter()
                .map(|name| &name.spot)
                .chain(value.iter().map(|value| &value.spot))
            {
                problems.add(spot, "belongs to the type `header`");
            }
        }
        if kind != Kind::SigV4 {
            let spots = [service.as_ref(), region.as_ref()].map(|name| name.map(|name| &name.spot));
            let spots = spots
                .into_iter()
                .chain([payload.as_ref().map(|own| &own.spot)]);
            for spot in spots.flatten() {
                problems.add(spot, "belongs to the type `sigv4`");
            }
        }
        let credential = match kind {
            Kind::None => Some(Self::None),
            Kind::ProviderToken => Some(Self::ProviderToken),
            Kind::VestibuleToken => {
                let audience = audience.map(|audience| audience.value);
                audience
                    .or_else(|| Some(upstream?.as_str().to_owned()))
                    .map(|audience| Self::VestibuleToken { audience })
            }
            Kind::Header => {
                let name = section.required("name", name);
                if let Some(value) = value
                    .as_ref()
                    .filter(|value| HeaderValue::from_str(value.value.expose()).is_err())
                {
                    problems.add(&value.spot, "holds characters that a header cannot carry");
                }
                if !section.has_written(&["value_file"]) {
                    section.required("value", value.as_ref());
                }
                name.zip(value).map(|(name, value)| Self::Header {
                    name: name.value,
                    value: value.value,
                })
            }
            Kind::SigV4 => {
                let service = service.map(|service| service.value);
                let region = region.map(|region| region.value);
                Self::sigv4(&section, upstream, service, region, payload)
            }
        };
        section.finish();
        credential
    }

    /// The header that carries it.
    pub(super) fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::None => None,
            Self::Header { name, .. } => Some(name),
            Self::VestibuleToken { .. } | Self::ProviderToken | Self::SigV4 { .. } => {
                Some(&http::header::AUTHORIZATION)
            }
        }
    }

    /// Service and region from the settings, else from the host.
    fn sigv4(
        section: &Section<'_>,
        upstream: Option<&Endpoint>,
        service: Option<String>,
        region: Option<String>,
        payload: Option<Located<bool>>,
    ) -> Option<Self> {
        let problems = section.problems();
        if cfg!(not(feature = "aws")) {
            problems.add(
                &section.spot_of("type"),
                "this build cannot sign for AWS; build it with `cargo build --release --features aws`",
            );
        }
        let named = upstream.and_then(of_host);
        let (of_host, in_host) = named.map_or((None, None), |(service, region)| {
            (Some(service), Some(region))
        });
        let service = service.or(of_host);
        if service.is_none() && upstream.is_some() {
            problems.add(
                &section.spot_of("service"),
                "the upstream's host does not say which service of AWS it is; set `service`, such as \"bedrock-agentcore\" or \"lambda\"",
            );
        }
        let service = service?;
        let lattice = service == LATTICE;
        if let Some(signed) = payload.as_ref().filter(|payload| lattice && !payload.value) {
            problems.add(
                &signed.spot,
                "VPC Lattice takes no signed payloads; leave it out",
            );
        }
        let unsigned_payload = payload.as_ref().map_or(lattice, |payload| payload.value);
        if let Some(unsigned) = payload.filter(|payload| payload.value) {
            if upstream.is_some_and(plain_and_far) {
                problems.add(
                    &unsigned.spot,
                    "over plain http anyone on the way could change the body; use https, or leave it out",
                );
            }
            if service == "lambda" {
                problems.add(
                    &unsigned.spot,
                    "Lambda takes no unsigned payloads; leave it out",
                );
            }
        }
        Some(Self::SigV4 {
            service,
            region: region.or(in_host),
            unsigned_payload,
        })
    }
}

fn credential_header(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("'{text}' is not a header name"))?;
    if NOT_A_CREDENTIAL.contains(&name.as_str()) || name.as_str().starts_with("mcp-") {
        return Err(format!(
            "`{name}` belongs to the message itself and cannot carry a credential"
        ));
    }
    Ok(name)
}

/// The service of VPC Lattice.
const LATTICE: &str = "vpc-lattice-svcs";

/// Hosts of services that are called with signatures: what stands before the region, and the name in signatures.
const SERVICES: [(&str, &str); 4] = [
    ("bedrock-agentcore", "bedrock-agentcore"),
    ("execute-api", "execute-api"),
    ("lambda-url", "lambda"),
    (LATTICE, LATTICE),
];

/// Service and region out of `ID.gateway.bedrock-agentcore.REGION.amazonaws.com`, `ID.lambda-url.REGION.on.aws` and the
/// like.
fn of_host(upstream: &Endpoint) -> Option<(String, String)> {
    let url = url::Url::parse(upstream.as_str()).ok()?;
    let host = url.host_str()?.to_ascii_lowercase();
    let aws = [
        ".amazonaws.com",
        ".amazonaws.com.cn",
        ".on.aws",
        ".amazonaws.eu",
    ];
    if !aws.iter().any(|suffix| host.ends_with(suffix)) {
        return None;
    }
    let labels: Vec<&str> = host.split('.').collect();
    labels.windows(2).find_map(|pair| {
        let [label, region] = pair else { return None };
        let (_, service) = SERVICES.iter().find(|(known, _)| known == label)?;
        let is_region = region.contains('-') && aws_name(region).is_ok();
        is_region.then(|| ((*service).to_owned(), (*region).to_owned()))
    })
}

/// A name as it stands in a signature's scope.
fn aws_name(text: &str) -> Result<String, String> {
    let plain = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if plain {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "'{text}' is no name of AWS: lower case letters, digits and `-`"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_aws_says_which_service_and_region_it_is() {
        for (url, expected) in [
            (
                "https://gw-1.gateway.bedrock-agentcore.us-west-2.amazonaws.com/mcp",
                Some(("bedrock-agentcore", "us-west-2")),
            ),
            (
                "https://bedrock-agentcore.eu-central-1.amazonaws.com/runtimes/arn%3Aaws/invocations?qualifier=DEFAULT",
                Some(("bedrock-agentcore", "eu-central-1")),
            ),
            (
                "https://abc.lambda-url.ap-northeast-1.on.aws/",
                Some(("lambda", "ap-northeast-1")),
            ),
            (
                "https://x-1.7d67968.vpc-lattice-svcs.us-east-2.on.aws/mcp",
                Some(("vpc-lattice-svcs", "us-east-2")),
            ),
            (
                "https://abc.execute-api.eu-west-1.amazonaws.com/prod/mcp",
                Some(("execute-api", "eu-west-1")),
            ),
            ("https://mcp.example.com/", None),
            ("https://lambda-url.eu-west-1.evil.example/", None),
            ("https://s3.eu-west-1.amazonaws.com/", None),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            let found = of_host(&endpoint);
            let found = found
                .as_ref()
                .map(|(service, region)| (service.as_str(), region.as_str()));
            assert_eq!(found, expected, "{url}");
        }
    }
}
