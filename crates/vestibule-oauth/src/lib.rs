//! The words: OAuth 2.1, OpenID Connect and MCP authorization documents, parameters and rules as types.
//!
//! Nothing here does I/O, reads a clock or awaits. Text from outside is parsed once, at the edge, into a type
//! that carries its rule; what cannot be parsed is an error with an RFC code, never a panic.
//!
//! | Source | Module |
//! |---|---|
//! | RFC 6749, OAuth 2.1: parameters, errors | [`params`], [`error`] |
//! | RFC 6749 §4.1: authorization request and response | [`authorize`] |
//! | RFC 6749 §3.2, §6, RFC 7009: token and revocation requests | [`token`] |
//! | RFC 6749 §3.3: scopes | [`scope`] |
//! | RFC 6750, RFC 9728 §5: `WWW-Authenticate` | [`challenge`] |
//! | RFC 7515, 7517, 7519, 9068: signatures, keys and claims | [`jose`] |
//! | RFC 7591 and client id metadata documents: clients | [`client`] |
//! | RFC 7636: PKCE | [`pkce`] |
//! | RFC 8252 §7.3: redirect URIs; RFC 8707: resources; RFC 8414 §2: issuers | [`url`] |
//! | RFC 8414, RFC 9728, OpenID Connect Discovery: documents | [`metadata`] |
//! | Well-known paths of the above | [`well_known`] |

pub mod authorize;
pub mod base64url;
pub mod challenge;
pub mod client;
pub mod error;
pub mod jose;
pub mod keyed_hash;
pub mod metadata;
pub mod params;
pub mod pkce;
pub mod random;
pub mod scope;
pub mod secret;
pub mod time;
pub mod token;
pub mod url;
pub mod well_known;
