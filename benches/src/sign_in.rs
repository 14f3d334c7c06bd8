//! A client and the browser of its user, as far as a sign-in needs them: registration, consent, provider, code, tokens.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use url::Url;
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::SystemRandom;

use crate::{Fallible, PUBLIC_URL};

const CALLBACK: &str = "http://localhost:4711/callback";
/// What is asked of Vestibule.
const SCOPES: &str = "mcp:read mcp:write";

/// One client with one browser. Connections are kept.
pub(crate) struct Agent {
    http: Client<HttpConnector, Full<Bytes>>,
    /// Where `PUBLIC_URL` is served.
    base: SocketAddr,
    scopes: &'static str,
    jars: BTreeMap<String, BTreeMap<String, String>>,
}

/// What a sign-in gives.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) client_id: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

struct Answer {
    status: StatusCode,
    location: Option<String>,
    body: Bytes,
}

impl Agent {
    /// An agent for the Vestibule at `base`.
    pub(crate) fn new(base: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
            base,
            scopes: SCOPES,
            jars: BTreeMap::new(),
        }
    }

    /// The same for somebody else, who offers other scopes.
    pub(crate) fn asking_for(self, scopes: &'static str) -> Self {
        Self { scopes, ..self }
    }

    /// Everything from registration to tokens, with a browser that knows nothing yet.
    pub(crate) async fn sign_in(&mut self) -> Fallible<Tokens> {
        self.jars.clear();
        let client = json!({
            "client_name": "Bench",
            "redirect_uris": [CALLBACK],
            "token_endpoint_auth_method": "none",
        });
        let url = format!("{PUBLIC_URL}/register");
        let body = (client.to_string(), "application/json");
        let registered = self.send(Method::POST, &url, Some(body)).await?.json()?;
        let client_id = text(&registered, "client_id")?;

        let verifier = CodeVerifier::generate(&SystemRandom);
        let challenge = verifier.challenge();
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &client_id),
            ("redirect_uri", CALLBACK),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("state", "bench"),
            ("scope", self.scopes),
            ("resource", &format!("{PUBLIC_URL}/mcp")),
        ]);
        let mut url = format!("{PUBLIC_URL}/authorize?{query}");
        let mut answer = self.send(Method::GET, &url, None).await?;
        let code = loop {
            if answer.status == StatusCode::OK {
                let page = String::from_utf8_lossy(&answer.body).into_owned();
                let (action, fields) = filled(&page, &url)?;
                let body = (fields, "application/x-www-form-urlencoded");
                url = action;
                answer = self.send(Method::POST, &url, Some(body)).await?;
                continue;
            }
            let location = answer
                .location
                .as_deref()
                .ok_or("neither a page nor a redirect")?;
            url = Url::parse(&url)?.join(location)?.into();
            if url.starts_with(CALLBACK) {
                let back = Url::parse(&url)?;
                let code = back.query_pairs().find(|(name, _)| name == "code");
                break code
                    .ok_or_else(|| format!("no code: {back}"))?
                    .1
                    .into_owned();
            }
            answer = self.send(Method::GET, &url, None).await?;
        };
        let fields = form(&[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("client_id", &client_id),
            ("redirect_uri", CALLBACK),
            ("code_verifier", verifier.expose()),
        ]);
        self.tokens(client_id, fields).await
    }

    /// New tokens for old.
    pub(crate) async fn refresh(&mut self, old: &Tokens) -> Fallible<Tokens> {
        let fields = form(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", &old.refresh),
            ("client_id", &old.client_id),
        ]);
        self.tokens(old.client_id.clone(), fields).await
    }

    async fn tokens(&mut self, client_id: String, fields: String) -> Fallible<Tokens> {
        let url = format!("{PUBLIC_URL}/token");
        let body = (fields, "application/x-www-form-urlencoded");
        let answer = self.send(Method::POST, &url, Some(body)).await?.json()?;
        Ok(Tokens {
            client_id,
            access: text(&answer, "access_token")?,
            refresh: text(&answer, "refresh_token")?,
        })
    }

    async fn send(
        &mut self,
        method: Method,
        url: &str,
        body: Option<(String, &str)>,
    ) -> Fallible<Answer> {
        let parsed = Url::parse(url)?;
        let origin = parsed.origin().ascii_serialization();
        let path = &parsed[url::Position::BeforePath..url::Position::AfterQuery];
        let at = if origin == PUBLIC_URL {
            format!("http://{}", self.base)
        } else {
            origin.clone()
        };
        let mut request = Request::builder().method(method).uri(format!("{at}{path}"));
        let jar = self.jars.entry(origin.clone()).or_default();
        if !jar.is_empty() {
            let cookies: Vec<String> = jar
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        let body = match body {
            None => String::new(),
            Some((body, kind)) => {
                request = request
                    .header(header::CONTENT_TYPE, kind)
                    .header(header::ORIGIN, &origin)
                    .header("sec-fetch-site", "same-origin");
                body
            }
        };
        let response = self
            .http
            .request(request.body(Full::new(Bytes::from(body)))?)
            .await?;
        for value in response.headers().get_all(header::SET_COOKIE) {
            let whole = value.to_str()?;
            let pair = whole
                .split(';')
                .next()
                .and_then(|pair| pair.split_once('='));
            let (name, content) = pair.ok_or("a cookie without a name")?;
            if whole.contains("Max-Age=0") || content.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), content.to_owned());
            }
        }
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        let location = parts.headers.get(header::LOCATION);
        let location = location
            .map(|value| value.to_str().map(str::to_owned))
            .transpose()?;
        if parts.status.is_client_error() || parts.status.is_server_error() {
            let said = String::from_utf8_lossy(&body)
                .chars()
                .take(500)
                .collect::<String>();
            return Err(format!("{} {url}: {said}", parts.status).into());
        }
        Ok(Answer {
            status: parts.status,
            location,
            body,
        })
    }
}

impl Answer {
    fn json(&self) -> Fallible<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

fn text(value: &Value, name: &str) -> Fallible<String> {
    let text = value.get(name).and_then(Value::as_str);
    Ok(text
        .ok_or_else(|| format!("no {name} in {value}"))?
        .to_owned())
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// The first form of a page, filled in: Ada's name and password, and yes to everything.
fn filled(page: &str, base: &str) -> Fallible<(String, String)> {
    let start = page.split("<form").nth(1).ok_or("a page without a form")?;
    let whole = start.split("</form").next().unwrap_or_default();
    let tag = whole.split('>').next().unwrap_or_default();
    let action = attribute(tag, "action").unwrap_or_default();
    let mut fields = form_urlencoded::Serializer::new(String::new());
    for input in whole.split("<input").skip(1) {
        let input = input.split('>').next().unwrap_or_default();
        let Some(name) = attribute(input, "name") else {
            continue;
        };
        match (attribute(input, "type").as_deref(), name.as_str()) {
            (Some("hidden"), _) => {
                fields.append_pair(&name, &attribute(input, "value").unwrap_or_default());
            }
            (_, "username") => {
                fields.append_pair(&name, "ada");
            }
            (_, "password") => {
                fields.append_pair(&name, "lovelace");
            }
            _ => {}
        }
    }
    if whole.contains("value=\"approve\"") {
        fields.append_pair("decision", "approve");
    }
    Ok((Url::parse(base)?.join(&action)?.into(), fields.finish()))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag
        .split(&format!(" {name}=\""))
        .nth(1)?
        .split('"')
        .next()?;
    Some(value.replace("&#38;", "&").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_filled_in() {
        let page = "<p><form method=\"post\" action=\"/consent?a=1&amp;b=2\"><input type=\"hidden\" name=\"ticket\" value=\"t&#38;u\">\
            <button name=\"decision\" value=\"approve\">Yes</button></form><form action=\"/other\">";
        let (action, fields) = filled(page, "https://h/authorize?x=1").unwrap();
        assert_eq!(action, "https://h/consent?a=1&b=2");
        assert_eq!(fields, "ticket=t%26u&decision=approve");
        let login = "<form action=\"\"><input name=\"username\" type=\"text\"><input name=\"password\" type=\"password\"></form>";
        let (action, fields) = filled(login, "http://p/login?x=1").unwrap();
        assert_eq!(action, "http://p/login?x=1");
        assert_eq!(fields, "username=ada&password=lovelace");
        assert!(filled("<p>", "https://h/").is_err());
    }
}
