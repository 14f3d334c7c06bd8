//! `[introspection]`: the resource servers that may ask about access tokens (RFC 7662).

use vestibule_oauth::secret::ClientSecret;

use super::problem::Problems;
use super::resource::ResourceSettings;
use super::section::Section;

/// Shortest secret, in characters.
const SHORTEST_SECRET: usize = 32;

/// Who may ask about access tokens. With nobody in it there is no endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntrospectionSettings {
    /// The resource servers.
    pub clients: Vec<IntrospectionClient>,
}

/// A resource server. It is no OAuth client: it cannot ask for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntrospectionClient {
    /// Its id.
    pub client_id: String,
    /// How it proves itself, by HTTP Basic or in the form.
    pub secret: ClientSecret,
    /// Paths of the resources it may ask about.
    pub resources: Vec<String>,
}

impl IntrospectionSettings {
    pub(super) fn read(mut section: Section<'_>, resources: &[ResourceSettings]) -> Self {
        let problems = section.problems();
        let mut settings = Self::default();
        for client in section.sections("client") {
            let Some(client) = IntrospectionClient::read(client, resources, &settings, problems)
            else {
                continue;
            };
            settings.clients.push(client);
        }
        section.finish();
        settings
    }
}

impl IntrospectionClient {
    fn read(
        mut section: Section<'_>,
        known: &[ResourceSettings],
        before: &IntrospectionSettings,
        problems: &Problems,
    ) -> Option<Self> {
        let client_id = section.parsed("client_id", |text| {
            let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
            if text.is_empty() || !printable {
                return Err("must be printable ASCII without blanks (RFC 6749 appendix A.1)");
            }
            Ok(text.to_owned())
        });
        let client_id = section.required("client_id", client_id);
        let secret = section.secret("secret", "secret_file");
        if secret.is_none() && !section.has_written(&["secret", "secret_file"]) {
            section.required::<()>("secret", None);
        }
        let resources = section.parsed_list("resources", |path| {
            if known.iter().any(|resource| resource.path == path) {
                Ok(path.to_owned())
            } else {
                Err(format!("'{path}' is not the `path` of a [[resource]]"))
            }
        });
        let resources = section.required("resources", resources);
        section.finish();
        if let Some(secret) = &secret
            && secret.value.expose().len() < SHORTEST_SECRET
        {
            let message = format!(
                "is shorter than {SHORTEST_SECRET} characters and can be guessed; make one with `openssl rand -hex 32`"
            );
            problems.add(&secret.spot, message);
        }
        if let Some(empty) = resources.as_ref().filter(|list| list.value.is_empty()) {
            problems.add(&empty.spot, "must name a resource to ask about");
        }
        let client_id = client_id?;
        let twice = |other: &Self| other.client_id == client_id.value;
        if before.clients.iter().any(twice) {
            let message = format!("the client '{}' is written twice", client_id.value);
            problems.add(&client_id.spot, message);
        }
        let resources = resources?.value.into_iter();
        Some(Self {
            client_id: client_id.value,
            secret: ClientSecret(secret?.value),
            resources: resources.map(|path| path.value).collect(),
        })
    }
}
