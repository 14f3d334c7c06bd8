//! Containers: Amazon ECS, EKS Pod Identity and whoever else serves credentials by HTTP beside us
//! ("Container credential provider" in the AWS SDKs and Tools Reference Guide).

use std::net::IpAddr;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;

use vestibule_guard::fetch::Outbound;
use vestibule_oauth::secret::Secret;

use super::{Found, Written, absent, ask_near, failed};
use crate::aws::environment::AwsEnvironment;

const SOURCE: &str = "container";
const ECS: &str = "http://169.254.170.2";
/// Where plain http is safe enough: the agents of ECS and EKS, which are not reached over a network.
const AGENTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// The link of the chain.
pub(super) async fn credentials(environment: &AwsEnvironment, near: &Outbound) -> Found {
    let url = url(environment)?;
    let authorization = authorization(environment)?;
    let build = || {
        let mut request = Request::get(url.clone()).header("accept", "application/json");
        if let Some(value) = &authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        request.body(Full::default())
    };
    let answer = ask_near(near, build).await?;
    if !answer.status().is_success() {
        return Err(failed(format!(
            "{url} answers with status {}",
            answer.status().as_u16()
        )));
    }
    Written::read(answer.body(), SOURCE)
}

fn url(environment: &AwsEnvironment) -> Result<Uri, super::NoCredentials> {
    if let Some(path) = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        let url = path
            .starts_with('/')
            .then(|| format!("{ECS}{path}").parse());
        return url.and_then(Result::ok).ok_or_else(|| {
            failed("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not a path that begins with /")
        });
    }
    let full = environment
        .get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        .ok_or_else(|| {
            absent("neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor …_FULL_URI is set")
        })?;
    let wrong = || failed("AWS_CONTAINER_CREDENTIALS_FULL_URI is not an http or https URL");
    let url: Uri = full.parse().map_err(|_| wrong())?;
    match (url.scheme_str(), url.host()) {
        (Some("https"), Some(_)) => Ok(url),
        (Some("http"), Some(host)) if is_near(host) => Ok(url),
        (Some("http"), Some(host)) => Err(failed(format!(
            "{host} is refused: plain http is for this computer and the agents of ECS and EKS only"
        ))),
        _ => Err(wrong()),
    }
}

/// Only addresses: a name may mean another one tomorrow. `localhost` never leaves the computer (RFC 6761 §6.3).
fn is_near(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<IpAddr>();
    host == "localhost"
        || address.is_ok_and(|address| {
            address.is_loopback() || AGENTS.iter().any(|agent| agent.parse() == Ok(address))
        })
}

fn authorization(
    environment: &AwsEnvironment,
) -> Result<Option<HeaderValue>, super::NoCredentials> {
    let token = match environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        // Read each time: the agent replaces it.
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| failed(format!("{path}: {error}")))?;
            Some(Secret::new(text))
        }
        None => environment
            .secret("AWS_CONTAINER_AUTHORIZATION_TOKEN")
            .cloned(),
    };
    let header = token.map(|token| {
        let mut value = HeaderValue::from_str(token.expose().trim_end_matches(['\r', '\n']))
            .map_err(|_| failed("the container's authorization token cannot stand in a header"))?;
        value.set_sensitive(true);
        Ok(value)
    });
    header.transpose()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::NoCredentials;
    use super::*;

    fn url_of(name: &str, value: &str) -> Result<String, NoCredentials> {
        let env = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        url(&AwsEnvironment::read(&env)).map(|url| url.to_string())
    }

    #[test]
    fn the_relative_form_is_the_agent_of_ecs() {
        let url = url_of(
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "/v2/credentials/x",
        );
        assert_eq!(url.unwrap(), "http://169.254.170.2/v2/credentials/x");
        let url = url_of("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@evil.example/");
        assert!(matches!(url, Err(NoCredentials::Failed(_))));
    }

    #[test]
    fn an_attacker_who_sets_the_url_gets_no_plain_http_request_with_the_token() {
        let name = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        for good in [
            "https://credentials.example/x",
            "http://localhost:81/x",
            "http://127.0.0.2/x",
            "http://[::1]/x",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
        ] {
            assert_eq!(url_of(name, good).unwrap(), good);
        }
        for bad in [
            "http://evil.example/x",
            "http://169.254.169.254/latest",
            "http://127.0.0.1.evil.example/",
            "http://localhost.evil.example/",
            "ftp://127.0.0.1/",
            "/relative",
        ] {
            assert!(
                matches!(url_of(name, bad), Err(NoCredentials::Failed(_))),
                "{bad}"
            );
        }
    }
}
