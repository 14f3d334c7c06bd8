//! What the upstreams answer to somebody without a token, and what the public URL answers to a client.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use vestibule_guard::fetch::{FetchError, FetchLimits, Outbound, Protocol, StreamRequest};
use vestibule_oauth::url::is_loopback_host;

use super::finding::{Finding, Findings, Severity};
use crate::settings::{CredentialSettings, ResourceSettings, Settings};
use crate::ways::Ways;

const MAX_ANSWER: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// What AWS front doors make of `WWW-Authenticate` (facts/cognito-and-agentcore.md, F04).
static RENAMED_CHALLENGE: HeaderName = HeaderName::from_static("x-amzn-remapped-www-authenticate");

/// Reads a URL.
pub(super) async fn get(
    outbound: &Outbound,
    url: &str,
    deadline: Duration,
) -> Result<Response<Bytes>, FetchError> {
    let request = Request::get(url).body(Full::default());
    let limits = FetchLimits {
        deadline,
        max_body: MAX_ANSWER,
    };
    let request = request.map_err(|_| FetchError::NotAbsolute)?;
    outbound.fetch(request, limits).await
}

/// Asks an upstream for a session, without a token.
pub(super) async fn upstream(resource: &ResourceSettings, findings: &mut Findings) {
    let url = resource.upstream.as_str();
    let name = format!("resource {}", resource.path);
    let (authorities, protocol) = (resource.ca_file.as_deref(), resource.upstream_protocol);
    let Ok(outbound) = Ways::after(None).open(name, url, authorities, protocol) else {
        // Said already, when the house was built.
        return;
    };
    let answer = head(&outbound, initialize(url), PATIENCE.min(resource.timeout)).await;
    findings.add(match answer {
        Ok(answer) => verdict(resource, &answer),
        Err(error) => of_upstream(
            resource,
            Severity::Error,
            &format!("{url} cannot be reached: {error}"),
        )
        .why("Users sign in and then get 502.")
        .fix("start it, or correct `resource.upstream`"),
    });
}

fn of_upstream(resource: &ResourceSettings, severity: Severity, message: &str) -> Finding {
    let message = format!("resource {}: {message}", resource.path);
    Finding::new(severity, "upstream", message).key("resource.upstream")
}

/// What the answer to somebody without a token says of an upstream.
fn verdict(resource: &ResourceSettings, answer: &Response<()>) -> Finding {
    let url = resource.upstream.as_str();
    let status = answer.status();
    let finding = |severity, message: String| of_upstream(resource, severity, &message);
    match status {
        StatusCode::UNAUTHORIZED if answer.headers().contains_key(WWW_AUTHENTICATE) => {
            finding(Severity::Ok, format!("{url} answers and asks for a token"))
        }
        StatusCode::UNAUTHORIZED => {
            finding(Severity::Ok, format!("{url} answers and refuses who has no credential"))
        }
        status if status.is_success() => open(resource, &finding),
        StatusCode::FORBIDDEN => finding(Severity::Warning, format!("{url} answers 403"))
            .why(
                "It wants something that is not a bearer token: signed requests (IAM) or another network; or a firewall is \
                 in the way.",
            )
            .fix("let it accept bearer tokens, or name the header it wants in `resource.credential`"),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            finding(Severity::Error, format!("{url} answers {status} to an MCP request"))
                .why("There is no MCP server at this path.")
                .fix("correct the path of `resource.upstream`")
        }
        status if status.is_redirection() => {
            finding(Severity::Error, format!("{url} answers {status}"))
                .why("Redirects of an upstream are not followed.")
                .fix("write the address that it leads to")
        }
        status if status.is_server_error() => {
            finding(Severity::Error, format!("{url} answers {status}")).why("Users get the same.")
        }
        status => finding(
            Severity::Warning,
            format!("{url} answers {status} to `initialize` without a token"),
        )
        .why("An MCP server answers 401 or 200 here."),
    }
}

/// It lets everybody in.
fn open(resource: &ResourceSettings, finding: &impl Fn(Severity, String) -> Finding) -> Finding {
    let url = resource.upstream.as_str();
    let here = url::Url::parse(url).is_ok_and(|url| url.host_str().is_some_and(is_loopback_host));
    let message = format!("{url} answers WITHOUT A TOKEN");
    if here {
        return finding(Severity::Note, message)
            .why("It is on this computer, so only what runs here can go around Vestibule.");
    }
    let fix = match resource.credential {
        CredentialSettings::None => {
            "let nobody but Vestibule reach it (network rules), or give it a credential to check"
        }
        _ => "let it check the credential that it gets, and let nobody but Vestibule reach it",
    };
    finding(Severity::Warning, message)
        .why("Whoever can reach this address can go around Vestibule: no sign-in, no scopes, no log.")
        .fix(fix)
}

/// What a client finds at the public URL, if the server runs.
pub(super) async fn public_url(settings: &Settings, findings: &mut Findings) {
    let origin = settings.public_url.as_str();
    let name = "the public URL".to_owned();
    let Ok(outbound) = Ways::after(None).open(name, origin, None, Protocol::Http1) else {
        return;
    };
    let finding =
        |severity, slug, message: String| Finding::new(severity, slug, message).key("public_url");
    let url = settings
        .public_url
        .join("/.well-known/oauth-authorization-server");
    let response = match get(&outbound, &url, PATIENCE).await {
        Ok(response) => response,
        Err(error) => {
            let message = format!("{url} cannot be read from here: {error}");
            let finding = finding(Severity::Warning, "public-url", message)
                .why("If the server is running, clients cannot reach it either, unless they are in another network.")
                .fix("start the server and check again; else look at DNS, certificate and load balancer");
            findings.add(finding);
            return;
        }
    };
    let document: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    match document["issuer"].as_str() {
        Some(issuer) if issuer == origin => {
            let message = format!("{url} is there and names us");
            findings.add(finding(Severity::Ok, "public-url", message));
        }
        Some(issuer) => {
            let message = format!("{url} names the issuer '{issuer}' and not '{origin}'");
            let finding = finding(Severity::Error, "public-issuer", message)
                .why("Clients compare the two byte for byte (RFC 8414 §3.3).")
                .fix("give `public_url` the address that clients use, or see what else answers there");
            findings.add(finding);
            return;
        }
        None => {
            let message = format!("{url} answers {} and not our document", response.status());
            let finding = finding(Severity::Error, "public-url", message)
                .why("Clients cannot find out how to sign in.")
                .fix("route /.well-known/* to Vestibule, and switch off error pages and caches for it");
            findings.add(finding);
            return;
        }
    }
    for resource in &settings.resources {
        challenge(resource, settings, &outbound, findings).await;
    }
}

/// The way in to a resource: 401, a challenge, and the document that the challenge names.
async fn challenge(
    resource: &ResourceSettings,
    settings: &Settings,
    outbound: &Outbound,
    findings: &mut Findings,
) {
    let uri = resource.uri.as_str();
    let finding = |severity, message: String| {
        Finding::new(severity, "public-challenge", message).key("resource.path")
    };
    let fix = "pass requests and answers on as they are, and switch off error pages, caches and redirects for this path";
    let response = match head(outbound, initialize(uri), PATIENCE).await {
        Ok(response) => response,
        Err(error) => {
            findings.add(finding(
                Severity::Error,
                format!("{uri} cannot be reached: {error}"),
            ));
            return;
        }
    };
    let document = settings.public_url.join(&format!(
        "/.well-known/oauth-protected-resource{}",
        resource.path
    ));
    if let Some(message) = fault(&response, uri, &document) {
        let renamed = response.headers().contains_key(&RENAMED_CHALLENGE);
        let fix = if renamed {
            "put a front there that does not rename WWW-Authenticate, or renames it back"
        } else {
            fix
        };
        let finding = finding(Severity::Error, message)
            .why("Without this answer clients do not begin a sign-in.")
            .fix(fix);
        findings.add(finding);
        return;
    }
    let described = match get(outbound, &document, PATIENCE).await {
        Ok(response) => serde_json::from_slice::<Value>(response.body()).unwrap_or_default(),
        Err(_) => Value::Null,
    };
    findings.add(if described["resource"] == uri {
        finding(Severity::Ok, format!("{uri} leads clients to us"))
    } else {
        finding(
            Severity::Error,
            format!("{document} does not describe {uri}"),
        )
        .why("Clients compare the two byte for byte (RFC 9728 §3.3).")
        .fix(fix)
    });
}

/// What is wrong with the answer to a request without a token.
fn fault(response: &Response<()>, uri: &str, document: &str) -> Option<String> {
    if response.status() != StatusCode::UNAUTHORIZED {
        return Some(format!(
            "{uri} answers {} without a token, not 401",
            response.status()
        ));
    }
    let text = |headers: &HeaderMap| {
        let value = headers.get(WWW_AUTHENTICATE)?.to_str().ok()?;
        Some(value.to_owned())
    };
    match text(response.headers()) {
        None => Some(format!("{uri} answers 401 without WWW-Authenticate")),
        Some(value) if !value.contains(&format!("\"{document}\"")) => {
            Some(format!("the challenge of {uri} does not name {document}"))
        }
        Some(_) => None,
    }
}

fn initialize(url: &str) -> http::Result<Request<Full<Bytes>>> {
    let body = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": { "name": "vestibule-check", "version": env!("CARGO_PKG_VERSION") }
        }
    });
    Request::post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
        .body(Full::from(body.to_string()))
}

/// Status and headers. The body may be a stream without an end, so it is not read.
async fn head(
    outbound: &Outbound,
    request: http::Result<Request<Full<Bytes>>>,
    deadline: Duration,
) -> Result<Response<()>, FetchError> {
    let request = request.map_err(|_| FetchError::NotAbsolute)?;
    let response = outbound
        .stream_within(StreamRequest::new(request), deadline)
        .await?;
    Ok(response.map(drop))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use vestibule_oauth::url::{Endpoint, Origin};

    use super::*;

    fn answer(status: u16, challenge: Option<&'static str>) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(challenge) = challenge {
            let value = HeaderValue::from_static(challenge);
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        response
    }

    fn text(upstream: &str, answer: &Response<()>) -> String {
        let origin = Origin::parse("https://m.example").unwrap();
        let upstream = Endpoint::parse(upstream).unwrap();
        let resource = ResourceSettings::new(&origin, "/mcp", upstream).unwrap();
        let mut findings = Findings::default();
        findings.add(verdict(&resource, answer));
        findings.text()
    }

    #[test]
    fn an_upstream_is_judged_by_what_it_tells_a_stranger() {
        let far = "https://up.example/mcp";
        for (status, begins, says) in [
            (200, "1. warning [upstream]", "can go around Vestibule"),
            (202, "1. warning [upstream]", "WITHOUT A TOKEN"),
            (301, "1. error [upstream]", "not followed"),
            (400, "1. warning [upstream]", "401 or 200"),
            (401, "1. ok [upstream]", "refuses who has no credential"),
            (403, "1. warning [upstream]", "IAM"),
            (404, "1. error [upstream]", "no MCP server"),
            (405, "1. error [upstream]", "no MCP server"),
            (502, "1. error [upstream]", "Users get the same"),
        ] {
            let text = text(far, &answer(status, None));
            assert!(
                text.starts_with(begins) && text.contains(says),
                "{status}: {text}"
            );
        }
        assert!(text(far, &answer(401, Some("Bearer"))).contains("asks for a token"));
        let near = text("http://127.0.0.1:9/mcp", &answer(200, None));
        assert!(near.starts_with("1. note [upstream]"), "{near}");
    }

    #[test]
    fn a_challenge_is_ours_or_says_why_not() {
        let uri = "https://m.example/mcp";
        let document = "https://m.example/.well-known/oauth-protected-resource/mcp";
        let fault = |answer: &Response<()>| fault(answer, uri, document).unwrap_or_default();
        let ours = "Bearer resource_metadata=\"https://m.example/.well-known/oauth-protected-resource/mcp\", scope=\"a\"";
        assert_eq!(fault(&answer(401, Some(ours))), "");
        assert!(fault(&answer(200, Some(ours))).contains("answers 200 OK"));
        assert!(fault(&answer(401, None)).contains("without WWW-Authenticate"));
        let other =
            "Bearer resource_metadata=\"https://m.example/.well-known/oauth-protected-resource\"";
        assert!(fault(&answer(401, Some(other))).contains("does not name"));
    }
}
