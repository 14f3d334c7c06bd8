//! A browser as far as a sign-in needs one: cookies per host and port, redirects by hand, the first form of a page.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::{Body, Bytes};
use http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::ServiceExt as _;

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn location(&self) -> &str {
        assert!(
            self.status.is_redirection(),
            "{} {}",
            self.status,
            self.text()
        );
        self.header(LOCATION.as_str())
    }

    /// A parameter of the redirect's query.
    pub(crate) fn location_param(&self, name: &str) -> Option<String> {
        let url = url::Url::parse(self.location()).unwrap();
        url.query_pairs()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.into_owned())
    }

    /// `error` of a JSON error body.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The value of a named input of the page.
    pub(crate) fn input(&self, name: &str) -> String {
        let html = self.text();
        let input = html
            .split("<input")
            .find(|input| input.contains(&format!("name=\"{name}\"")));
        let input = input.unwrap_or_else(|| panic!("no input {name} in {html}"));
        let value = input
            .split("value=\"")
            .nth(1)
            .unwrap_or("\"")
            .split('"')
            .next()
            .unwrap();
        value.replace("&#38;", "&").replace("&amp;", "&")
    }
}

/// One browser profile. The house is reached through its router (several for several replicas; none means by HTTP as
/// well), everybody else by HTTP.
pub(crate) struct Browser {
    own_origin: String,
    /// Which replica answers the next request to our origin; round robin.
    replicas: Vec<Router>,
    next: usize,
    pub(crate) jars: BTreeMap<String, BTreeMap<String, String>>,
}

impl Browser {
    pub(crate) fn new(own_origin: &str, replicas: Vec<Router>) -> Self {
        Self {
            own_origin: own_origin.to_owned(),
            replicas,
            next: 0,
            jars: BTreeMap::new(),
        }
    }

    pub(crate) async fn get(&mut self, url: &str) -> Answer {
        self.send(Method::GET, url, &[], None).await
    }

    /// Submits a form as a browser does, with the headers that say where the form stood.
    pub(crate) async fn post(&mut self, url: &str, fields: &[(&str, &str)]) -> Answer {
        let origin = origin_of(url);
        self.send(
            Method::POST,
            url,
            &[("origin", &origin), ("sec-fetch-site", "same-origin")],
            Some(fields),
        )
        .await
    }

    /// Sends with exactly these extra headers and this browser's cookies.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        form: Option<&[(&str, &str)]>,
    ) -> Answer {
        let host = host_of(url);
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(jar) = self.jars.get(&host).filter(|jar| !jar.is_empty()) {
            let cookies: Vec<_> = jar
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        let body = match form {
            None => Bytes::new(),
            Some(fields) => {
                request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                Bytes::from(form.extend_pairs(fields).finish())
            }
        };
        let answer = if origin_of(url) == self.own_origin && !self.replicas.is_empty() {
            let path = url.strip_prefix(&self.own_origin).unwrap();
            let request = request
                .uri(path)
                .header(HOST, &host)
                .body(Body::from(body))
                .unwrap();
            let router = self.replicas[self.next % self.replicas.len()].clone();
            self.next += 1;
            whole(router.oneshot(request).await.unwrap()).await
        } else {
            let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
            whole(
                client
                    .request(request.uri(url).body(Full::new(body)).unwrap())
                    .await
                    .unwrap(),
            )
            .await
        };
        self.keep_cookies(&host, &answer.headers);
        answer
    }

    /// Signs in at the stand-in from its authorize URL, and gives the answer whose redirect leads back to our callback.
    pub(crate) async fn sign_in_at_provider(
        &mut self,
        authorize_url: &str,
        username: &str,
        password: &str,
    ) -> Answer {
        let callback = format!("{}/callback", self.own_origin);
        let mut url = authorize_url.to_owned();
        for _ in 0..8 {
            let answer = self.get(&url).await;
            let answer = if answer.status == StatusCode::OK && answer.text().contains("<form") {
                let action = form_action(&answer, &url);
                let hidden: Vec<(String, String)> = hidden_inputs(&answer);
                let mut fields: Vec<(&str, &str)> = hidden
                    .iter()
                    .map(|(n, v)| (n.as_str(), v.as_str()))
                    .collect();
                fields.extend([("username", username), ("password", password)]);
                self.post(&action, &fields).await
            } else {
                answer
            };
            let next = absolute(&url, answer.location());
            if next.starts_with(&callback) {
                return answer;
            }
            url = next;
        }
        panic!("the provider never came back");
    }

    fn keep_cookies(&mut self, host: &str, headers: &HeaderMap) {
        let jar = self.jars.entry(host.to_owned()).or_default();
        for value in headers.get_all(SET_COOKIE) {
            let text = value.to_str().unwrap();
            let (name, content) = text.split(';').next().unwrap().split_once('=').unwrap();
            if text.contains("Max-Age=0") || content.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), content.to_owned());
            }
        }
    }
}

pub(crate) async fn whole<B>(response: http::Response<B>) -> Answer
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

pub(crate) fn origin_of(url: &str) -> String {
    url::Url::parse(url).unwrap().origin().ascii_serialization()
}

fn host_of(url: &str) -> String {
    origin_of(url).split_once("://").unwrap().1.to_owned()
}

fn absolute(base: &str, location: &str) -> String {
    // A browser keeps what it was given; only relative references are resolved.
    if location.contains("://") {
        location.to_owned()
    } else {
        url::Url::parse(base)
            .unwrap()
            .join(location)
            .unwrap()
            .into()
    }
}

fn form_action(page: &Answer, base: &str) -> String {
    let html = page.text();
    let form = html
        .split("<form")
        .nth(1)
        .unwrap()
        .split('>')
        .next()
        .unwrap()
        .to_owned();
    let action = form
        .split("action=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("");
    let action = action.replace("&#38;", "&").replace("&amp;", "&");
    if action.is_empty() {
        base.to_owned()
    } else {
        absolute(base, &action)
    }
}

fn hidden_inputs(page: &Answer) -> Vec<(String, String)> {
    let html = page.text();
    let inputs = html
        .split("<input")
        .skip(1)
        .filter(|input| input.contains("type=\"hidden\""));
    let names = inputs.filter_map(|input| {
        input
            .split("name=\"")
            .nth(1)?
            .split('"')
            .next()
            .map(str::to_owned)
    });
    names
        .map(|name| (name.clone(), page.input(&name)))
        .collect()
}
