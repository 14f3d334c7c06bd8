//! A street to walk on: a running stand-in, a clock set by hand, and a browser of forty lines.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use vestibule_oauth::time::{ManualClock, UnixTime};
use vestibule_standin::cognito::{Cognito, CognitoOptions};

/// The callback every test client has; nobody listens there.
pub(crate) const CALLBACK: &str = "http://127.0.0.1:9/oauth/callback";

/// RFC 7636 Appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(crate) struct Street {
    pub(crate) cognito: Cognito,
    pub(crate) clock: Arc<ManualClock>,
}

impl Street {
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    pub(crate) async fn open_with(change: impl FnOnce(&mut CognitoOptions)) -> Self {
        let mut options = CognitoOptions::default();
        options.clients[0].callback_urls.push(CALLBACK.to_owned());
        change(&mut options);
        let clock = Arc::new(ManualClock::new(UnixTime(1_800_000_000)));
        let cognito = Cognito::start(options, clock.clone()).await.unwrap();
        Self { cognito, clock }
    }

    /// The URL of a good authorization request; `change` overrides or, with `None`, removes parameters.
    pub(crate) fn authorize_url(&self, change: &[(&str, Option<&str>)]) -> String {
        let mut params: Vec<(&str, &str)> = vec![
            ("response_type", "code"),
            ("client_id", self.cognito.client_id()),
            ("redirect_uri", CALLBACK),
            ("state", "s-1"),
            ("scope", "openid email mcp/read"),
        ];
        for (name, value) in change {
            params.retain(|(known, _)| known != name);
            params.extend(value.map(|value| (*name, value)));
        }
        format!(
            "{}/oauth2/authorize?{}",
            self.cognito.domain(),
            encode(&params)
        )
    }

    pub(crate) async fn authorize(&self, change: &[(&str, Option<&str>)]) -> Answer {
        Browser::default().get(&self.authorize_url(change)).await
    }

    /// Signs ada in with a new browser; gives the redirect to the callback.
    pub(crate) async fn sign_in(&self, change: &[(&str, Option<&str>)]) -> Answer {
        Browser::default()
            .sign_in(&self.authorize_url(change))
            .await
    }

    /// `POST /oauth2/token` of the default client with Basic authentication.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Answer {
        let basic = basic(self.cognito.client_id(), self.cognito.client_secret());
        self.post("/oauth2/token", Some(&basic), form).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        authorization: Option<&str>,
        form: &[(&str, &str)],
    ) -> Answer {
        let headers: Vec<_> = authorization
            .map(|value| (AUTHORIZATION.as_str(), value))
            .into_iter()
            .collect();
        let url = format!("{}{path}", self.cognito.domain());
        Browser::default()
            .send(Method::POST, &url, &headers, Some(encode(form)))
            .await
    }

    pub(crate) async fn redeem(&self, code: &str) -> Answer {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
        ])
        .await
    }

    /// Signs in and redeems the code.
    pub(crate) async fn tokens(&self, change: &[(&str, Option<&str>)]) -> Value {
        let code = self.sign_in(change).await.param("code");
        let answer = self.redeem(&code).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        self.token(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
        ])
        .await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let url = format!("{}{path}", self.cognito.domain());
        Browser::default()
            .send(Method::GET, &url, headers, None)
            .await
    }
}

/// Keeps cookies, follows nothing by itself.
pub(crate) struct Browser {
    client: Client<HttpConnector, Full<Bytes>>,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Default for Browser {
    fn default() -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            cookies: BTreeMap::new(),
        }
    }
}

impl Browser {
    pub(crate) async fn get(&mut self, url: &str) -> Answer {
        self.send(Method::GET, url, &[], None).await
    }

    /// `body` is a form.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(url);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<_> = self
                .cookies
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            request = request.header(COOKIE, pairs.join("; "));
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .unwrap();
        let response = self.client.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        for line in parts.headers.get_all(SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// From an authorize URL through the form as ada to the callback.
    pub(crate) async fn sign_in(&mut self, authorize_url: &str) -> Answer {
        let to_form = self.get(authorize_url).await;
        let page = self.get(to_form.location()).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        self.submit(to_form.location(), &page, "ada", "lovelace")
            .await
    }

    /// Fills and sends the first form of `page`.
    pub(crate) async fn submit(
        &mut self,
        page_url: &str,
        page: &Answer,
        username: &str,
        password: &str,
    ) -> Answer {
        let action = between(&page.body, "action=\"", "\"").replace("&amp;", "&");
        let csrf = between(&page.body, "name=\"_csrf\" value=\"", "\"");
        let origin = page_url.split('/').take(3).collect::<Vec<_>>().join("/");
        let form = encode(&[
            ("_csrf", csrf),
            ("username", username),
            ("password", password),
        ]);
        let url = format!("{origin}{action}");
        self.send(Method::POST, &url, &[], Some(form)).await
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn location(&self) -> &str {
        assert_eq!(self.status, StatusCode::FOUND, "{}", self.body);
        self.headers.get(LOCATION).unwrap().to_str().unwrap()
    }

    /// A parameter of the redirect, which must be there.
    pub(crate) fn param(&self, name: &str) -> String {
        let query = self.location().split_once('?').unwrap().1;
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .unwrap_or_else(|| panic!("no {name} in {query}"))
            .1
            .into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Asserts a 400 with `error` and nothing else.
    pub(crate) fn assert_error(&self, error: &str) {
        assert_eq!(self.status, StatusCode::BAD_REQUEST, "{}", self.body);
        assert_eq!(self.json(), serde_json::json!({ "error": error }));
    }
}

pub(crate) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

pub(crate) fn encode(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// Header (0) or claims (1) of a JWT, unverified.
pub(crate) fn jwt_part(token: &Value, part: usize) -> Value {
    let text = token.as_str().unwrap().split('.').nth(part).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).unwrap().1;
    rest.split_once(end).unwrap().0
}
