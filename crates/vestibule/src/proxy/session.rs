//! `Mcp-Session-Id` belongs to the user and client that opened the session (MCP security best practices, "session
//! hijacking"; T27): we add a tag going out and take it off coming in, and remember nothing.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;
use vestibule_guard::Caller;
use vestibule_oauth::base64url::BASE64URL;
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
        let tag = BASE64URL.decode(tag).map_err(|_| UnknownSession)?;
        let bound = bound("mcp session", resource, caller, id);
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
        let tag = self.sealer.tag(&bound("mcp session", resource, caller, id));
        let value = format!("{id}{SEPARATOR}{}", BASE64URL.encode(tag));
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(SESSION_ID, value);
        }
    }
}

impl Sessions {
    /// For tags on what else belongs to this caller; `what` keeps one kind from passing for another.
    pub(super) fn principal<X>(
        &self,
        what: &str,
        resource: &ResourceUri,
        caller: &Caller<X>,
    ) -> Principal {
        Principal {
            sealer: Arc::clone(&self.sealer),
            digest: digest::digest(&digest::SHA256, &bound(what, resource, caller, "")),
        }
    }
}

/// One caller at one resource: short, because every open stream has one.
#[derive(Clone)]
pub(super) struct Principal {
    sealer: Arc<Sealer>,
    digest: digest::Digest,
}

impl Principal {
    /// The id with the tag.
    pub(super) fn tagged(&self, id: &[u8]) -> Vec<u8> {
        let tag = self.sealer.tag(&self.bytes(id));
        let tag = BASE64URL.encode(tag);
        [id, &[SEPARATOR as u8], tag.as_bytes()].concat()
    }

    /// The id without its tag; `None` unless the tag is this caller's.
    pub(super) fn untagged<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        let at = value.iter().rposition(|byte| *byte == SEPARATOR as u8)?;
        let (id, tag) = value.split_at(at);
        let tag = BASE64URL.decode(tag.get(1..)?).ok()?;
        self.sealer.verify_tag(&self.bytes(id), &tag).then_some(id)
    }

    fn bytes(&self, id: &[u8]) -> Vec<u8> {
        [self.digest.as_ref(), id].concat()
    }
}

/// Drops `Mcp_Session_Id` and the like: CGI and WSGI servers take it for the header that was checked.
pub(super) fn drop_lookalikes(headers: &mut HeaderMap) {
    let lookalike = |name: &&HeaderName| {
        if !name.as_str().as_bytes().contains(&b'_') {
            return false;
        }
        let meant = name.as_str().replace('_', "-");
        meant.starts_with("mcp-") || meant == "last-event-id"
    };
    let names: Vec<HeaderName> = headers.keys().filter(lookalike).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// What the tag is over. Each part has its length before it, so that no two callers give the same bytes.
fn bound<X>(what: &str, resource: &ResourceUri, caller: &Caller<X>, id: &str) -> Vec<u8> {
    let parts = [
        what,
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
