//! The client registry: pre-registered clients from the settings, registered ones out of their own sealed `client_id`.
//!
//! Nothing is stored (law 7). Client id metadata documents are recognised by their https id and refused until they are
//! supported; their place is [`ClientId::MetadataDocument`].

use thiserror::Error;

use vestibule_oauth::client::{Client, ClientAuthMethod, ClientId, Registration};
use vestibule_oauth::random::Random;
use vestibule_oauth::time::UnixTime;
use vestibule_oauth::token::PresentedClient;

use crate::seal::{Kind, SealError, Sealable, Sealer};
use crate::settings::ClientSettings;

impl Sealable for Registration {
    const KIND: Kind = Kind::Registration;
}

/// Why a `client_id` leads to no client. Outside this is always the same: the client is not known here.
#[derive(Debug, Error)]
pub enum UnknownClient {
    /// Not among the configured ones.
    #[error("no pre-registered client has this client_id")]
    NotConfigured,
    /// Looks like one of ours, but the seal does not open.
    #[error("the client_id was not issued by this server: {0}")]
    Seal(#[from] SealError),
    /// A metadata document URL.
    #[error("client id metadata documents are not supported by this version")]
    MetadataDocument,
    /// Empty, too long, or not printable.
    #[error("the client_id is malformed")]
    Malformed,
}

/// Finds clients by id.
#[derive(Debug)]
pub struct ClientRegistry {
    preregistered: Vec<Client>,
}

impl ClientRegistry {
    /// Takes the configured clients.
    pub fn new(settings: &ClientSettings) -> Self {
        let client = |configured: &crate::settings::PreRegistered| Client {
            id: ClientId::PreRegistered(configured.client_id.clone()),
            name: Some(configured.name.clone()),
            redirect_uris: configured.redirect_uris.clone(),
            auth_method: ClientAuthMethod::None,
            application_type: None,
        };
        Self {
            preregistered: settings.preregistered.iter().map(client).collect(),
        }
    }

    /// The client behind a `client_id` as it came over the wire.
    pub fn resolve(
        &self,
        sealer: &Sealer,
        client_id: &str,
        now: UnixTime,
    ) -> Result<Client, UnknownClient> {
        match ClientId::parse(client_id).ok_or(UnknownClient::Malformed)? {
            ClientId::PreRegistered(id) => {
                let found = self
                    .preregistered
                    .iter()
                    .find(|client| client.id.as_str() == id);
                found.cloned().ok_or(UnknownClient::NotConfigured)
            }
            ClientId::Registered(id) => {
                let registration: Registration = sealer.open(&id, now)?;
                Ok(registration.into_client(ClientId::Registered(id)))
            }
            ClientId::MetadataDocument(_) => Err(UnknownClient::MetadataDocument),
        }
    }

    /// The client that a token or revocation request comes from.
    ///
    /// Every client is public so far: a secret that one presents all the same proves nothing and is not looked at, since
    /// clients that once heard of `client_secret_basic` keep sending an empty or made-up one (facts/clients.md §0.5).
    pub fn authenticate(
        &self,
        sealer: &Sealer,
        presented: &PresentedClient,
        now: UnixTime,
    ) -> Result<Client, UnknownClient> {
        self.resolve(sealer, presented.id.as_str(), now)
    }

    /// Seals a registration into a `client_id` that never expires.
    pub fn register(
        &self,
        sealer: &Sealer,
        registration: Registration,
        random: &dyn Random,
    ) -> Client {
        let id = sealer.seal(&registration, None, random);
        registration.into_client(ClientId::Registered(id))
    }
}
