//! `[clients]` and `[[client]]`: who may register (RFC 7591), and the clients that are known beforehand.

use vestibule_oauth::url::{PrivateUseSchemes, RedirectUri};

use super::problem::Problems;
use super::section::Section;

/// Who may register, and the clients that are known beforehand.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Whether clients may register themselves (RFC 7591).
    pub registration: bool,
    /// The private-use URI schemes that redirect URIs may have (RFC 8252 §7.1).
    pub private_use_schemes: PrivateUseSchemes,
    /// Clients that are known beforehand.
    pub preregistered: Vec<PreRegistered>,
}

/// A client that is known beforehand. It is public: it has no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreRegistered {
    /// Its id.
    pub client_id: String,
    /// Its name for people; the id unless set.
    pub name: String,
    /// Where it may send the browser; at least one.
    pub redirect_uris: Vec<RedirectUri>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            registration: true,
            private_use_schemes: PrivateUseSchemes::default(),
            preregistered: Vec::new(),
        }
    }
}

impl ClientSettings {
    pub(super) fn read(mut section: Section<'_>, clients: Vec<Section<'_>>) -> Self {
        let mut settings = Self::default();
        if let Some(registration) = section.flag("registration") {
            settings.registration = registration.value;
        }
        if let Some(schemes) = section.parsed_list("private_use_schemes", scheme) {
            settings.private_use_schemes =
                PrivateUseSchemes::new(schemes.value.into_iter().map(|scheme| scheme.value));
        }
        let problems = section.problems();
        section.finish();
        for client in clients {
            settings
                .preregistered
                .extend(PreRegistered::read(client, &settings, problems));
        }
        settings
    }
}

impl PreRegistered {
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
        })
    }
}

/// An id that cannot be taken for one of the other kinds: a metadata document's URL, or one that we sealed.
fn client_id(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be printable ASCII without blanks (RFC 6749 appendix A.1)".to_owned());
    }
    if text.to_ascii_lowercase().starts_with("https://") {
        return Err(
            "must not begin with `https://`: such ids name a client metadata document".to_owned(),
        );
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
