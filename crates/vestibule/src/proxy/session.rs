//! `Mcp-Session-Id` belongs to the user and client that opened the session (MCP security best practices, "session
//! hijacking"; T27): we add a tag going out and take it off coming in, and remember nothing.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;
use vestibule_guard::Caller;
use vestibule_oauth::url::ResourceUri;

use crate::seal::Sealer;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// Between the upstream's id and our tag.
const SEPARATOR: char = '~';

/// The session is not one of this caller's. Whether it is somebody else's is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the session is not the caller's")]
pub(super) struct UnknownSession;

/// Ties session ids to callers. Every replica with the same key ring agrees.
#[derive(Clone, Debug)]
pub struct Sessions {
    sealer: Arc<Sealer>,
}

impl Sessions {
    /// With the keys of `sealer`.
    pub fn new(sealer: Arc<Sealer>) -> Self {
        Self { sealer }
    }

    /// Puts the upstream's own id in the place of ours.
    pub(super) fn open<X>(
        &self,
        resource: &ResourceUri,
        caller: &Caller<X>,
        headers: &mut HeaderMap,
    ) -> Result<(), UnknownSession> {
        let mut values = headers.get_all(SESSION_ID).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(()),
            (Some(value), None) => value.to_str().map_err(|_| UnknownSession)?,
            _ => return Err(UnknownSession),
        };
        let (id, tag) = value.rsplit_once(SEPARATOR).ok_or(UnknownSession)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| UnknownSession)?;
        let bound = bound(resource, caller, id);
        if !self.sealer.verify_tag(&bound, &tag) {
            return Err(UnknownSession);
        }
        let id = HeaderValue::from_str(id).map_err(|_| UnknownSession)?;
        headers.insert(SESSION_ID, id);
        Ok(())
    }

    /// Puts our id in the place of the upstream's.
    pub(super) fn close<X>(
        &self,
        resource: &ResourceUri,
        caller: &Caller<X>,
        headers: &mut HeaderMap,
    ) {
        let Some(id) = headers.remove(SESSION_ID) else {
            return;
        };
        let Ok(id) = id.to_str() else {
            return;
        };
        let tag = self.sealer.tag(&bound(resource, caller, id));
        let value = format!("{id}{SEPARATOR}{}", URL_SAFE_NO_PAD.encode(tag));
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(SESSION_ID, value);
        }
    }
}

/// Drops `Mcp_Session_Id` and the like: CGI and WSGI servers take it for the header that was checked.
pub(super) fn drop_lookalikes(headers: &mut HeaderMap) {
    let lookalike = |name: &&HeaderName| {
        name.as_str().contains('_') && name.as_str().replace('_', "-").starts_with("mcp-")
    };
    let names: Vec<HeaderName> = headers.keys().filter(lookalike).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// What the tag is over. Each part has its length before it, so that no two callers give the same bytes.
fn bound<X>(resource: &ResourceUri, caller: &Caller<X>, id: &str) -> Vec<u8> {
    let parts = [
        "mcp session",
        resource.as_str(),
        caller.client_id(),
        caller.subject(),
        id,
    ];
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}
