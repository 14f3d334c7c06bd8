//! Web identity (IAM roles for service accounts): a token in a file is exchanged for credentials at AWS STS,
//! `AssumeRoleWithWebIdentity` of its Query API.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use vestibule_guard::fetch::{FetchLimits, Outbound};
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::UnixTime;

use super::{Credentials, Found, NoCredentials, absent, failed};
use crate::aws::endpoint;
use crate::aws::environment::AwsEnvironment;

const SOURCE: &str = "web identity";
const LIMITS: FetchLimits = FetchLimits {
    deadline: Duration::from_secs(5),
    max_body: 64 * 1024,
};
const ATTEMPTS: u32 = 3;

/// Whose role by which token.
pub(super) struct Role<'a> {
    pub(super) file: &'a Path,
    pub(super) arn: &'a str,
    pub(super) session: Option<&'a str>,
    pub(super) region: Option<&'a str>,
}

/// The link of the chain.
pub(super) async fn from_environment(
    environment: &AwsEnvironment,
    outbound: &Outbound,
    now: UnixTime,
) -> Found {
    let file = environment
        .get("AWS_WEB_IDENTITY_TOKEN_FILE")
        .ok_or_else(|| absent("AWS_WEB_IDENTITY_TOKEN_FILE is not set"))?;
    let role = environment
        .get("AWS_ROLE_ARN")
        .ok_or_else(|| failed("AWS_ROLE_ARN is not set, but AWS_WEB_IDENTITY_TOKEN_FILE is"))?;
    let region = environment.region();
    let role = Role {
        file: Path::new(file),
        arn: role,
        session: environment.get("AWS_ROLE_SESSION_NAME"),
        region: region.as_deref(),
    };
    assume(&role, environment, outbound, now).await
}

/// Asks STS. The request is not signed: the token is the proof.
pub(super) async fn assume(
    role: &Role<'_>,
    environment: &AwsEnvironment,
    outbound: &Outbound,
    now: UnixTime,
) -> Found {
    let path = role.file.display();
    // Read each time: the platform replaces it.
    let token = std::fs::read_to_string(role.file)
        .map(Zeroizing::new)
        .map_err(|error| failed(format!("{path}: {error}")))?;
    let url = match endpoint::overridden("STS", environment) {
        Some(url) => url.to_owned(),
        None => match role.region {
            Some(region) => {
                let host = endpoint::host("sts", region, environment).map_err(failed)?;
                format!("https://{host}")
            }
            None => "https://sts.amazonaws.com".to_owned(),
        },
    };
    let url = endpoint::parse(&url).map_err(failed)?;
    let session = role
        .session
        .map_or_else(|| format!("vestibule-{}", now.0), str::to_owned);
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let form = Bytes::from(format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}&WebIdentityToken={}",
        encoded(role.arn),
        encoded(&session),
        encoded(token.trim()),
    ));
    let mut attempt = 1;
    loop {
        let request = Request::post(url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(form.clone()))
            .map_err(|error| failed(error.to_string()))?;
        let why = match outbound.fetch(request, LIMITS).await {
            Ok(answer) if !is_passing(&answer) => return read(role.arn, &answer),
            Ok(answer) => format!("STS answers with status {}", answer.status().as_u16()),
            Err(error) => format!("STS: {error}"),
        };
        if attempt == ATTEMPTS {
            return Err(NoCredentials::Unreachable(why));
        }
        tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
        attempt += 1;
    }
}

/// A fault that may be gone in a moment. `IDPCommunicationError` is one, says its documentation.
fn is_passing(answer: &Response<Bytes>) -> bool {
    let text = String::from_utf8_lossy(answer.body());
    answer.status().is_server_error()
        || element(&text, "Code")
            .is_some_and(|code| matches!(code.as_str(), "Throttling" | "IDPCommunicationError"))
}

fn read(role: &str, answer: &Response<Bytes>) -> Found {
    let text = Zeroizing::new(String::from_utf8_lossy(answer.body()).into_owned());
    let value = |name: &str| element(&text, name);
    if !answer.status().is_success() {
        let code = value("Code").unwrap_or_else(|| format!("status {}", answer.status().as_u16()));
        let message = value("Message").unwrap_or_default();
        return Err(failed(format!("STS refuses {role}: {code}: {message}")));
    }
    let (Some(access_key_id), Some(secret)) = (value("AccessKeyId"), value("SecretAccessKey"))
    else {
        return Err(failed("the answer of STS holds no credentials"));
    };
    let expires_at = value("Expiration")
        .and_then(|time| UnixTime::parse_rfc3339(&time))
        .ok_or_else(|| failed("the answer of STS says no Expiration"))?;
    Ok(Credentials {
        access_key_id,
        secret_access_key: Secret::new(secret),
        session_token: value("SessionToken").map(Secret::new),
        expires_at: Some(expires_at),
        source: SOURCE,
    })
}

/// The text of the first element of that name. The answers of STS are flat where we read them, and have no attributes
/// there (schema of 2011-06-15).
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&");
    Some(text.trim().to_owned())
}
