//! `[clients]` and `[[client]]`: who may register or be described by a document (RFC 7591, CIMD), whom to refuse, and
//! the clients that are known beforehand.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use vestibule_guard::fetch::EgressProxy;
use vestibule_oauth::client::{Client, ClientKeys, DocumentUrl, MetadataDocument};
use vestibule_oauth::secret::{ClientSecret, Secret};
use vestibule_oauth::url::{PrivateUseSchemes, RedirectUri};
use zeroize::Zeroizing;

use super::problem::{Located, Problems};
use super::section::Section;
use crate::clients::policy::{ClientPolicy, HostPattern, NamePattern, RedirectRule};

/// Shorter secrets can be guessed.
const MIN_SECRET: usize = 16;
/// The largest metadata document that can be allowed, and the smallest limit that makes sense, in bytes.
const DOCUMENT_BYTES: std::ops::RangeInclusive<usize> = 1 << 10..=64 << 10;

/// Who may register or be described by a document, and the clients that are known beforehand.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Whether clients may register themselves (RFC 7591).
    pub registration: bool,
    /// What a registration must bring as `Authorization: Bearer` (RFC 7591 §1.2); none when anybody may register.
    pub initial_access_token: Option<Secret>,
    /// Whether a client that asks for a secret gets one.
    pub confidential: bool,
    /// The private-use URI schemes that redirect URIs may have (RFC 8252 §7.1).
    pub private_use_schemes: PrivateUseSchemes,
    /// Where codes may go, and who is refused.
    pub policy: ClientPolicy,
    /// Whether client id metadata documents are fetched.
    pub metadata_documents: bool,
    /// The hosts whose metadata documents are read; empty for every host.
    pub document_hosts: Vec<HostPattern>,
    /// The largest metadata document, in bytes.
    pub document_max_bytes: usize,
    /// Clients whose metadata document the operator keeps; nothing is fetched for them.
    pub pinned: Vec<Client>,
    /// The proxy that documents and key sets of clients are fetched through.
    pub egress_proxy: Option<EgressProxy>,
    /// Certificate authorities (PEM) trusted for documents and key sets of clients besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Clients that are known beforehand.
    pub preregistered: Vec<PreRegistered>,
}

/// A client that is known beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreRegistered {
    /// Its id.
    pub client_id: String,
    /// Its name for people; the id unless set.
    pub name: String,
    /// Where it may send the browser; at least one.
    pub redirect_uris: Vec<RedirectUri>,
    /// How it proves itself.
    pub credential: ClientCredential,
}

/// How a pre-registered client proves itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCredential {
    /// Not at all: a public client.
    #[default]
    None,
    /// With this secret, by HTTP Basic or in the form.
    Secret(ClientSecret),
    /// With assertions signed with one of these keys (`private_key_jwt`).
    Keys(ClientKeys),
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            registration: true,
            initial_access_token: None,
            confidential: true,
            private_use_schemes: PrivateUseSchemes::default(),
            policy: ClientPolicy::default(),
            metadata_documents: true,
            document_hosts: Vec::new(),
            document_max_bytes: 5 << 10,
            pinned: Vec::new(),
            egress_proxy: None,
            ca_file: None,
            preregistered: Vec::new(),
        }
    }
}

impl ClientSettings {
    pub(super) fn read(mut section: Section<'_>, clients: Vec<Section<'_>>) -> Self {
        let problems = section.problems();
        let mut settings = Self::default();
        if let Some(schemes) = section.parsed_list("private_use_schemes", scheme) {
            settings.private_use_schemes =
                PrivateUseSchemes::new(schemes.value.into_iter().map(|scheme| scheme.value));
        }
        settings.read_registration(&mut section);
        settings.read_policy(&mut section);
        settings.read_documents(&mut section);
        let proxy = section.secret("egress_proxy", "egress_proxy_file");
        if let Some(proxy) = proxy {
            match egress_proxy(proxy.value.expose()) {
                Ok(proxy) => settings.egress_proxy = Some(proxy),
                Err(message) => problems.add(&proxy.spot, message),
            }
        }
        settings.ca_file = section.file("ca_file").map(|file| file.value);
        section.finish();
        for client in clients {
            settings
                .preregistered
                .extend(PreRegistered::read(client, &settings, problems));
        }
        settings
    }

    fn read_registration(&mut self, section: &mut Section<'_>) {
        if let Some(registration) = section.flag("registration") {
            self.registration = registration.value;
        }
        if let Some(confidential) = section.flag("confidential") {
            self.confidential = confidential.value;
        }
        let token = section.secret("initial_access_token", "initial_access_token_file");
        let Some(token) = token else {
            return;
        };
        if !self.registration {
            let message = "says what a registration must bring, but `registration` is false";
            section.problems().add(&token.spot, message);
        }
        strong_enough(&token, section.problems());
        self.initial_access_token = Some(token.value);
    }

    fn read_policy(&mut self, section: &mut Section<'_>) {
        fn values<T>(list: Option<Located<Vec<Located<T>>>>) -> Vec<T> {
            let list = list.into_iter().flat_map(|list| list.value);
            list.map(|item| item.value).collect()
        }
        let redirects = section.parsed_list("redirect_hosts", RedirectRule::parse);
        self.policy = ClientPolicy {
            redirects: values(redirects).into_iter().flatten().collect(),
            refused_names: values(section.parsed_list("refuse_names", NamePattern::parse)),
            refused_hosts: values(section.parsed_list("refuse_hosts", HostPattern::parse)),
        };
    }

    fn read_documents(&mut self, section: &mut Section<'_>) {
        let problems = section.problems();
        if let Some(documents) = section.flag("metadata_documents") {
            self.metadata_documents = documents.value;
        }
        let off = "says what documents are fetched, but `metadata_documents` is false";
        if let Some(hosts) = section.parsed_list("document_hosts", HostPattern::parse) {
            if !self.metadata_documents {
                problems.add(&hosts.spot, off);
            }
            self.document_hosts = hosts.value.into_iter().map(|host| host.value).collect();
        }
        if let Some(most) = section.size("document_max_bytes") {
            if !self.metadata_documents {
                problems.add(&most.spot, off);
            }
            if !DOCUMENT_BYTES.contains(&most.value) {
                problems.add(&most.spot, "must be between 1 and 64 KiB");
            }
            self.document_max_bytes = most.value;
        }
        if let Some(directory) = section.path("documents_dir") {
            match read_documents(&problems.resolve(&directory), &self.private_use_schemes) {
                Ok(pinned) => self.pinned = pinned,
                Err(message) => problems.add(&directory.spot, message),
            }
        }
    }
}

impl PreRegistered {
    /// A public client.
    pub fn public(
        client_id: impl Into<String>,
        name: impl Into<String>,
        redirect_uris: Vec<RedirectUri>,
    ) -> Self {
        Self {
            client_id: client_id.into(),
            name: name.into(),
            redirect_uris,
            credential: ClientCredential::None,
        }
    }

    fn read(
        mut section: Section<'_>,
        settings: &ClientSettings,
        problems: &Problems,
    ) -> Option<Self> {
        let client_id = section.parsed("client_id", client_id);
        let client_id = section.required("client_id", client_id);
        let name = section.name("name");
        let uris = section.parsed_list("redirect_uris", |text| {
            RedirectUri::parse(text, &settings.private_use_schemes)
        });
        let uris = section.required("redirect_uris", uris);
        let credential = ClientCredential::read(&mut section);
        section.finish();
        if let Some(uris) = uris.as_ref().filter(|uris| uris.value.is_empty()) {
            problems.add(&uris.spot, "must name at least one redirect URI");
        }
        let client_id = client_id?;
        if settings
            .preregistered
            .iter()
            .any(|other| other.client_id == client_id.value)
        {
            problems.add(
                &client_id.spot,
                format!("the client '{}' is written twice", client_id.value),
            );
        }
        Some(Self {
            name: name.map_or_else(|| client_id.value.clone(), |name| name.value),
            client_id: client_id.value,
            redirect_uris: uris?.value.into_iter().map(|uri| uri.value).collect(),
            credential,
        })
    }
}

impl ClientCredential {
    /// One of `secret`, `secret_file`, `jwks`, `jwks_file` and `jwks_uri`, or none.
    fn read(section: &mut Section<'_>) -> Self {
        let problems = section.problems();
        let secret = section.secret("secret", "secret_file");
        let jwks = section.parsed("jwks", key_set);
        let file = section.file("jwks_file");
        let uri = section.parsed("jwks_uri", jwks_uri);
        let ways = [
            secret.as_ref().map(|secret| &secret.spot),
            jwks.as_ref().map(|jwks| &jwks.spot),
            file.as_ref().map(|file| &file.spot),
            uri.as_ref().map(|uri| &uri.spot),
        ];
        let ways: Vec<_> = ways.into_iter().flatten().collect();
        if let [_, second, ..] = ways.as_slice() {
            let message = "a client proves itself in one way: keep one of `secret`, `secret_file`, `jwks`, `jwks_file` and `jwks_uri`";
            problems.add(second, message);
        }
        if let Some(secret) = secret {
            strong_enough(&secret, problems);
            return Self::Secret(ClientSecret(secret.value));
        }
        if let Some(file) = file {
            let text = std::fs::read_to_string(&file.value).map_err(|error| error.to_string());
            return match text.and_then(|text| key_set(&text)) {
                Ok(keys) => Self::Keys(keys),
                Err(message) => {
                    problems.add(&file.spot, format!("{}: {message}", file.value.display()));
                    Self::None
                }
            };
        }
        let keys = jwks.map(|jwks| jwks.value).or(uri.map(|uri| uri.value));
        keys.map_or(Self::None, Self::Keys)
    }
}

fn strong_enough(secret: &Located<Secret>, problems: &Problems) {
    if secret.value.expose().len() < MIN_SECRET {
        let message = format!(
            "is shorter than {MIN_SECRET} characters and can be guessed; make one with `openssl rand -base64 32`"
        );
        problems.add(&secret.spot, message);
    }
}

fn key_set(text: &str) -> Result<ClientKeys, String> {
    let document = serde_json::from_str(text).map_err(|_| "is not JSON".to_owned())?;
    ClientKeys::from_jwks(&document).map_err(|error| error.to_string())
}

fn jwks_uri(text: &str) -> Result<ClientKeys, String> {
    // The rules of an issuer identifier are those of this URL: https, or http on this computer; no query.
    vestibule_oauth::url::Issuer::parse(text)
        .map(|url| ClientKeys::Uri(url.as_str().to_owned()))
        .map_err(|error| error.to_string())
}

/// Every `*.json` of the directory, each under the `client_id` it holds.
fn read_documents(
    directory: &Path,
    private_use: &PrivateUseSchemes,
) -> Result<Vec<Client>, String> {
    let unreadable =
        |path: &Path, error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let entries = std::fs::read_dir(directory).map_err(|error| unreadable(directory, error))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    let mut pinned: Vec<Client> = Vec::new();
    for path in files {
        let wrong = |message: String| format!("{}: {message}", path.display());
        let text = std::fs::read(&path).map_err(|error| unreadable(&path, error))?;
        let document: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let url = document["client_id"].as_str().unwrap_or_default();
        DocumentUrl::parse(url, true).map_err(|error| wrong(format!("client_id: {error}")))?;
        let client = MetadataDocument::read(url, &text, private_use)
            .map_err(|error| wrong(error.to_string()))?;
        if pinned.iter().any(|other| other.id == client.id) {
            return Err(wrong(format!(
                "another file has the client_id '{url}' as well"
            )));
        }
        pinned.push(client);
    }
    if pinned.is_empty() {
        return Err(format!("{} holds no *.json file", directory.display()));
    }
    Ok(pinned)
}

/// `http://[user:password@]host:port`. The text may hold a password, so no message repeats it.
fn egress_proxy(text: &str) -> Result<EgressProxy, String> {
    let wrong = || "must be `http://host:port`, or `http://user:password@host:port`".to_owned();
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?;
    let plain = url.scheme() == "http" && url.path() == "/" && url.query().is_none();
    if !plain || url.fragment().is_some() {
        return Err(wrong());
    }
    let port = url.port().unwrap_or(80);
    let uri: Uri = format!("http://{host}:{port}")
        .parse()
        .map_err(|_| wrong())?;
    let decode = |part: &str| {
        let decoded = percent_encoding::percent_decode_str(part).decode_utf8();
        decoded.map(|text| Zeroizing::new(text.into_owned()))
    };
    let authorization = match (url.username(), url.password().unwrap_or_default()) {
        ("", "") => None,
        (user, password) => {
            let user = decode(user).map_err(|_| wrong())?;
            let password = decode(password).map_err(|_| wrong())?;
            let pair = Zeroizing::new(format!("{}:{}", *user, *password));
            let encoded = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
            let mut value = HeaderValue::try_from(encoded.as_str()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            Some(value)
        }
    };
    Ok(EgressProxy::new(uri, authorization))
}

/// An id that cannot be taken for one of the other kinds: a metadata document's URL, or one that we sealed.
fn client_id(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be printable ASCII without blanks (RFC 6749 appendix A.1)".to_owned());
    }
    let lower = text.to_ascii_lowercase();
    if let Some(prefix) = ["https://", "http://"]
        .into_iter()
        .find(|prefix| lower.starts_with(prefix))
    {
        return Err(format!(
            "must not begin with `{prefix}`: such ids name a client metadata document; see `clients.documents_dir`"
        ));
    }
    if text.starts_with("vcl_") {
        return Err("must not begin with `vcl_`: such ids are made by `/register`".to_owned());
    }
    Ok(text.to_owned())
}

/// A scheme name (RFC 3986 §3.1) that a redirect URI may have.
fn scheme(text: &str) -> Result<String, String> {
    let alone = PrivateUseSchemes::new([text.to_owned()]);
    match RedirectUri::parse(&format!("{text}://callback"), &alone) {
        Ok(_) if !matches!(text.to_ascii_lowercase().as_str(), "http" | "https") => {
            Ok(text.to_ascii_lowercase())
        }
        _ => Err(format!(
            "'{text}' cannot be the scheme of a redirect URI; write it without `:`, as in \"cursor\""
        )),
    }
}
