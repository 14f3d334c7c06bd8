//! `GET /.well-known/…` and `/jwks.json`: rendered once from the settings, never from `Host` (law 1, facts §3).
//!
//! Everything below `/.well-known` that is not one of our documents is a JSON 404: strict clients stop at a 200 whose
//! issuer has no path, and at HTML (facts §3.1).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Serialize;

use vestibule_oauth::base64url::BASE64URL;
use vestibule_oauth::client::{ClientAssertion, ClientAuthMethod};
use vestibule_oauth::metadata::{AuthorizationServerMetadata, ProtectedResourceMetadata};
use vestibule_oauth::pkce::METHOD_S256;
use vestibule_oauth::scope::{OFFLINE_ACCESS, ScopeSet};
use vestibule_oauth::well_known::{
    AUTHORIZATION_SERVER, OPENID_CONFIGURATION, PROTECTED_RESOURCE, protected_resource_path,
};

use super::respond::{json, not_found};
use crate::House;
use crate::issuer::TokenIssuer;
use crate::keys::rotation::JWKS_MAX_AGE;
use crate::settings::{ClientCredential, ClientSettings, ResourceSettings, Settings};

/// How resource servers authenticate at `/introspect`.
const BY_SECRET: [ClientAuthMethod; 2] = [
    ClientAuthMethod::ClientSecretBasic,
    ClientAuthMethod::ClientSecretPost,
];

/// One document, ready to send.
#[derive(Clone, Debug)]
struct Document {
    path: String,
    body: Bytes,
    etag: HeaderValue,
    cache: HeaderValue,
}

/// Every document this server publishes.
#[derive(Clone, Debug)]
pub struct Documents(Vec<Document>);

impl Documents {
    /// Renders them.
    pub fn render(settings: &Settings, issuer: &TokenIssuer) -> Self {
        let server = authorization_server(settings);
        let mut documents = vec![
            Document::new(AUTHORIZATION_SERVER, &server),
            Document::new(OPENID_CONFIGURATION, &as_openid(server, settings)),
            Document::new("/jwks.json", issuer.jwks()),
        ];
        for resource in &settings.resources {
            let metadata = protected_resource(settings, resource);
            let path = protected_resource_path(&resource.path);
            // A client that was given the URL with a slash behind it asks here and wants to read its own spelling
            // (facts §3.1); the form without the slash never gets it.
            let slashed = ProtectedResourceMetadata {
                resource: format!("{}/", metadata.resource),
                ..metadata.clone()
            };
            documents.push(Document::new(&format!("{path}/"), &slashed));
            documents.push(Document::new(&path, &metadata));
        }
        // The root form is the only resource's. With several there is none: a document that named the origin, or one of
        // them, would make a client of another resource ask for a token that is refused there.
        if let [only] = settings.resources.as_slice() {
            let metadata = protected_resource(settings, only);
            documents.push(Document::new(PROTECTED_RESOURCE, &metadata));
        }
        Self(documents)
    }

    /// True when there is one at this path.
    pub(crate) fn publish(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    fn find(&self, path: &str) -> Option<&Document> {
        self.0.iter().find(|document| document.path == path)
    }
}

impl Document {
    fn new(path: &str, content: &impl Serialize) -> Self {
        let body = Bytes::from(serde_json::to_vec(content).unwrap_or_default());
        let tag = BASE64URL.encode(&digest(&SHA256, &body).as_ref()[..12]);
        let etag = HeaderValue::try_from(format!("\"{tag}\""))
            .unwrap_or_else(|_| HeaderValue::from_static("\"0\""));
        // Short enough for a key rotation, long enough for clients that fetch it eight times in one session.
        let cache = HeaderValue::try_from(format!("public, max-age={JWKS_MAX_AGE}"))
            .unwrap_or_else(|_| HeaderValue::from_static("no-cache"));
        Self {
            path: path.to_owned(),
            body,
            etag,
            cache,
        }
    }

    fn respond(&self, method: &Method, headers: &HeaderMap) -> Response {
        let mut response = Response::new(Body::empty());
        if matches_etag(headers, &self.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else if method == Method::HEAD {
            response.headers_mut().insert(
                http::header::CONTENT_LENGTH,
                HeaderValue::from(self.body.len()),
            );
        } else {
            *response.body_mut() = Body::from(self.body.clone());
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, self.cache.clone());
        headers.insert(ETAG, self.etag.clone());
        response
    }
}

/// Serves the document at this path, or says in JSON that there is none.
pub async fn document(State(house): State<Arc<House>>, request: Request) -> Response {
    answer(&house, &request)
}

/// The document at the path that is asked for, or a word in JSON that there is none.
pub(crate) fn answer(house: &House, request: &Request) -> Response {
    let path = request.uri().path();
    let Some(document) = house.documents().find(path) else {
        let several = house.settings().resources.len() > 1;
        if several && path.strip_suffix('/').unwrap_or(path) == PROTECTED_RESOURCE {
            return which_resource(house.settings());
        }
        return not_found(path);
    };
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return document.respond(request.method(), request.headers());
    }
    let mut response = json(
        StatusCode::METHOD_NOT_ALLOWED,
        &serde_json::json!({ "error": "method_not_allowed" }),
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}

/// The root form where there are several resources: where their documents are.
fn which_resource(settings: &Settings) -> Response {
    let url = |resource: &ResourceSettings| {
        let path = protected_resource_path(&resource.path);
        settings.public_url.join(&path)
    };
    let all: Vec<String> = settings.resources.iter().map(url).collect();
    json(
        StatusCode::NOT_FOUND,
        &serde_json::json!({
            "error": "not_found",
            "error_description": "this server has several resources, each with a document of its own",
            "protected_resource_metadata": all,
        }),
    )
}

fn matches_etag(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let wanted = headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    wanted
        .split(',')
        .any(|tag| tag.trim().trim_start_matches("W/") == etag || tag.trim() == "*")
}

fn authorization_server(settings: &Settings) -> AuthorizationServerMetadata {
    let methods = auth_methods(&settings.clients);
    let with_keys = methods.contains(&ClientAuthMethod::PrivateKeyJwt);
    let methods: Vec<String> = methods
        .iter()
        .map(|method| method.as_str().to_owned())
        .collect();
    let algorithms: Vec<String> = ClientAssertion::ALGORITHMS
        .iter()
        .filter(|_| with_keys)
        .map(|name| (*name).to_owned())
        .collect();
    let origin = &settings.public_url;
    let introspection = !settings.introspection.clients.is_empty();
    let strings = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let catalogue = settings
        .resources
        .iter()
        .fold(ScopeSet::default(), |all, resource| {
            all.union(&resource.scopes)
        });
    AuthorizationServerMetadata {
        issuer: origin.as_str().to_owned(),
        authorization_endpoint: origin.join("/authorize"),
        token_endpoint: origin.join("/token"),
        registration_endpoint: settings
            .clients
            .registration
            .then(|| origin.join("/register")),
        revocation_endpoint: origin.join("/revoke"),
        jwks_uri: origin.join("/jwks.json"),
        response_types_supported: strings(&["code"]),
        response_modes_supported: strings(&["query"]),
        grant_types_supported: strings(&["authorization_code", "refresh_token"]),
        token_endpoint_auth_methods_supported: methods.clone(),
        token_endpoint_auth_signing_alg_values_supported: algorithms.clone(),
        revocation_endpoint_auth_methods_supported: methods,
        revocation_endpoint_auth_signing_alg_values_supported: algorithms,
        introspection_endpoint: introspection.then(|| origin.join("/introspect")),
        introspection_endpoint_auth_methods_supported: BY_SECRET
            .iter()
            .filter(|_| introspection)
            .map(|method| method.as_str().to_owned())
            .collect(),
        code_challenge_methods_supported: strings(&[METHOD_S256]),
        scopes_supported: catalogue.union(&ScopeSet::parse(OFFLINE_ACCESS)).to_vec(),
        client_id_metadata_document_supported: settings.clients.metadata_documents,
        authorization_response_iss_parameter_supported: true,
        protected_resources: settings
            .resources
            .iter()
            .map(|resource| resource.uri.as_str().to_owned())
            .collect(),
        service_documentation: None,
        subject_types_supported: Vec::new(),
        id_token_signing_alg_values_supported: Vec::new(),
    }
}

/// How clients may authenticate: only what some client can really use here.
fn auth_methods(clients: &ClientSettings) -> Vec<ClientAuthMethod> {
    let configured = |wanted: fn(&ClientCredential) -> bool| {
        let mut known = clients.preregistered.iter();
        known.any(|client| wanted(&client.credential))
    };
    let secrets = (clients.registration && clients.confidential)
        || configured(|credential| matches!(credential, ClientCredential::Secret(_)));
    let keys = clients.metadata_documents
        || !clients.pinned.is_empty()
        || configured(|credential| matches!(credential, ClientCredential::Keys(_)));
    let mut methods = vec![ClientAuthMethod::None];
    if secrets {
        methods.push(ClientAuthMethod::ClientSecretBasic);
        methods.push(ClientAuthMethod::ClientSecretPost);
    }
    if keys {
        methods.push(ClientAuthMethod::PrivateKeyJwt);
    }
    methods
}

/// The same under the OpenID Connect name, for AWS authorizers and clients that look only there.
fn as_openid(
    server: AuthorizationServerMetadata,
    settings: &Settings,
) -> AuthorizationServerMetadata {
    AuthorizationServerMetadata {
        subject_types_supported: vec!["public".to_owned()],
        id_token_signing_alg_values_supported: vec![
            settings.tokens.signing_alg.as_str().to_owned(),
        ],
        ..server
    }
}

fn protected_resource(
    settings: &Settings,
    resource: &ResourceSettings,
) -> ProtectedResourceMetadata {
    ProtectedResourceMetadata {
        resource: resource.uri.as_str().to_owned(),
        authorization_servers: vec![settings.public_url.as_str().to_owned()],
        scopes_supported: resource.scopes.to_vec(),
        bearer_methods_supported: vec!["header".to_owned()],
        resource_name: resource.name.clone(),
        resource_documentation: resource.documentation.clone(),
    }
}
