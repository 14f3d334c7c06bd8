//! Instances: the metadata service of Amazon EC2, version 2 only ("Use the Instance Metadata Service" in the EC2 User
//! Guide). A request without its token is never sent.

use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use vestibule_guard::fetch::Outbound;

use super::{AskError, Found, NoCredentials, Written, absent, ask_near, failed};
use crate::aws::environment::AwsEnvironment;

const SOURCE: &str = "instance";
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TOKEN_LIFETIME: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// The link of the chain; the last one.
pub(super) async fn credentials(environment: &AwsEnvironment, near: &Outbound) -> Found {
    if environment.flag("AWS_EC2_METADATA_DISABLED") {
        return Err(absent("AWS_EC2_METADATA_DISABLED is true"));
    }
    let base = base(environment)?;
    // Used at once and not kept: credentials are asked for once in some hours.
    let build = || {
        Request::put(format!("{base}/latest/api/token"))
            .header(TOKEN_LIFETIME, "60")
            .body(Full::default())
    };
    let answer = ask_near(near, build)
        .await
        .map_err(|error| no_token(&error))?;
    if !answer.status().is_success() {
        return Err(failed(format!(
            "the metadata service gives no token: status {}",
            answer.status().as_u16()
        )));
    }
    let mut token = HeaderValue::from_bytes(answer.body())
        .map_err(|_| failed("the metadata service's token cannot stand in a header"))?;
    token.set_sensitive(true);

    let get = async |path: String| {
        let build = || {
            Request::get(format!("{base}{path}"))
                .header(TOKEN, token.clone())
                .body(Full::default())
        };
        ask_near(near, build).await
    };
    let answer = get(ROLES.to_owned()).await?;
    let text = String::from_utf8_lossy(answer.body());
    let role = text.lines().next().unwrap_or_default().trim();
    if answer.status() == StatusCode::NOT_FOUND || role.is_empty() {
        return Err(absent("the instance has no IAM role"));
    }
    let is_name = role
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte));
    if !answer.status().is_success() || !is_name {
        return Err(failed(format!(
            "the metadata service names no role: status {}",
            answer.status().as_u16()
        )));
    }
    let answer = get(format!("{ROLES}{role}")).await?;
    if !answer.status().is_success() {
        return Err(failed(format!(
            "the metadata service has no credentials of the role {role}: status {}",
            answer.status().as_u16()
        )));
    }
    Written::read(answer.body(), SOURCE)
}

fn base(environment: &AwsEnvironment) -> Result<String, NoCredentials> {
    let base = match environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
        Some(url) => url,
        None => match environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE") {
            Some(mode) if mode.eq_ignore_ascii_case("ipv6") => "http://[fd00:ec2::254]",
            _ => "http://169.254.169.254",
        },
    };
    let base = base.trim_end_matches('/');
    let is_url = base.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
    });
    if is_url {
        Ok(base.to_owned())
    } else {
        Err(failed("AWS_EC2_METADATA_SERVICE_ENDPOINT is not a URL"))
    }
}

/// Nobody there means: not an instance. A connection without an answer means: the answer ran out of hops.
fn no_token(error: &AskError) -> NoCredentials {
    match error {
        AskError::Unreachable(cause) if cause.is_before_sending() => {
            absent(format!("there is no metadata service: {cause}"))
        }
        AskError::Unreachable(cause) if cause.is_timeout() => NoCredentials::Unreachable(format!(
            "{cause}; in a container on an instance the answer needs two hops: `aws ec2 \
             modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2`, or set \
             AWS_EC2_METADATA_DISABLED=true"
        )),
        AskError::Unsendable(why) => failed(why.as_str()),
        other => NoCredentials::Unreachable(other.to_string()),
    }
}
