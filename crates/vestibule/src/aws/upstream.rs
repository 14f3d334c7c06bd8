//! Signed requests to MCP servers behind IAM: AgentCore runtimes and gateways, Lambda function URLs, API Gateway, VPC
//! Lattice (credential `sigv4`).

use std::fmt;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::client::is_about_credentials;
use super::sign::{Signer, body_hash};
use super::{Aws, AwsError};

const X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Signs what is sent to one upstream.
pub struct UpstreamSigner {
    aws: Arc<Aws>,
    service: String,
    region: String,
    signs_bodies_up_to: Option<usize>,
}

impl UpstreamSigner {
    /// `region` wins over the environment and the profile. Bodies are signed up to a number of bytes, or not at all.
    pub fn new(
        aws: Arc<Aws>,
        service: &str,
        region: Option<&str>,
        signs_bodies_up_to: Option<usize>,
    ) -> Result<Self, AwsError> {
        let region = region
            .map(str::to_owned)
            .or_else(|| aws.environment.region());
        let region = region.ok_or_else(|| {
            AwsError::Settings(
                "no AWS region: set `credential.region` or AWS_REGION, or `region` in the profile"
                    .to_owned(),
            )
        })?;
        Ok(Self {
            aws,
            service: service.to_owned(),
            region,
            signs_bodies_up_to,
        })
    }

    /// How long a body may be that must be known before anything is sent.
    pub(crate) fn signs_bodies_up_to(&self) -> Option<usize> {
        self.signs_bodies_up_to
    }

    /// Adds the signature to a request that is complete otherwise. `body` is not looked at where payloads are unsigned.
    ///
    /// Signed are the host and what AWS and MCP servers act upon; `told` are further headers of ours. What else comes from
    /// the client is not: a proxy on the way may change it, and AWS counts its letters otherwise than we do.
    pub(crate) async fn sign<B>(
        &self,
        request: &mut Request<B>,
        body: &[u8],
        told: &[HeaderName],
    ) -> Result<(), AwsError> {
        let credentials = self.aws.credentials.get().await?;
        let payload = match self.signs_bodies_up_to {
            Some(_) => body_hash(body),
            None => UNSIGNED.to_owned(),
        };
        let unsendable =
            |_| AwsError::Settings("the request holds what a header cannot".to_owned());
        let hash = HeaderValue::from_str(&payload).map_err(unsendable)?;
        let host = HeaderValue::from_str(&host(request)).map_err(unsendable)?;
        request.headers_mut().insert(X_AMZ_CONTENT_SHA256, hash);
        request.headers_mut().insert(HOST, host);
        let plain = |value: &HeaderValue| value.to_str().is_ok();
        let headers = request.headers();
        let all_plain = |name: &HeaderName| headers.get_all(name).iter().all(plain);
        let chosen: Vec<HeaderName> = headers
            .keys()
            .filter(|name| is_acted_upon(name) || told.contains(name))
            .filter(|name| all_plain(name))
            .cloned()
            .collect();
        let signer = Signer {
            credentials: &credentials,
            region: &self.region,
            service: &self.service,
            now: self.aws.clock.now(),
        };
        // What signing itself adds begins with `x-amz-`.
        let is_signed =
            |name: &HeaderName| name.as_str().starts_with("x-amz-") || chosen.contains(name);
        signer
            .sign_with(request, &payload, is_signed)
            .map_err(unsendable)
    }

    /// True when AWS itself refused the request, and not the server behind it. If that is about our credentials, the
    /// chain is asked again.
    pub(crate) fn is_refused_by(&self, answer: &HeaderMap) -> bool {
        let Some(kind) = answer.get("x-amzn-errortype") else {
            return false;
        };
        // `ExpiredTokenException:http://…`.
        let name = kind.to_str().unwrap_or_default().split(':').next();
        if name.is_some_and(is_about_credentials) {
            self.aws.credentials.forget();
        }
        true
    }
}

fn is_acted_upon(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == HOST
        || name == CONTENT_TYPE
        || ["mcp-", "x-amzn-"].iter().any(|own| name.starts_with(own))
}

/// `Host` as it is sent: without the port that the scheme has anyway.
fn host<B>(request: &Request<B>) -> String {
    let uri = request.uri();
    let default = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let host = uri.host().unwrap_or_default();
    match uri.port_u16().filter(|port| *port != default) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

impl fmt::Debug for UpstreamSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamSigner")
            .field("service", &self.service)
            .field("region", &self.region)
            .field("signs_bodies_up_to", &self.signs_bodies_up_to)
            .finish_non_exhaustive()
    }
}
