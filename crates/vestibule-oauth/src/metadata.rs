//! Discovery documents: RFC 9728 and RFC 8414 as we publish them, OpenID Connect Discovery as we read a provider's.
//!
//! Members without a value are left out: `null`, `""` and `[]` break typed parsers (RFC 9728 §3.2, facts §3.2).

use serde::{Deserialize, Serialize};

/// Protected resource metadata (RFC 9728 §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectedResourceMetadata {
    /// The resource identifier: exactly the URL that users type.
    pub resource: String,
    /// Issuers that give out tokens for it; ours alone.
    pub authorization_servers: Vec<String>,
    /// Scopes worth asking for; never `offline_access` (MCP 2026-07-28, "Refresh Tokens").
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes_supported: Vec<String>,
    /// Only `header`: tokens in queries are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bearer_methods_supported: Vec<String>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
    /// Where people read about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_documentation: Option<String>,
}

/// Authorization server metadata (RFC 8414 §2), with the OpenID Connect members that AWS authorizers ask for when it is
/// served as `openid-configuration`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationServerMetadata {
    /// Our origin, byte-identical wherever it appears.
    pub issuer: String,
    /// `/authorize`.
    pub authorization_endpoint: String,
    /// `/token`.
    pub token_endpoint: String,
    /// `/register` (RFC 7591).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_endpoint: Option<String>,
    /// `/revoke` (RFC 7009).
    pub revocation_endpoint: String,
    /// `/jwks.json`.
    pub jwks_uri: String,
    /// Only `code`.
    pub response_types_supported: Vec<String>,
    /// Only `query`.
    pub response_modes_supported: Vec<String>,
    /// `authorization_code` and `refresh_token`.
    pub grant_types_supported: Vec<String>,
    /// How clients may authenticate at `/token`. Leaving it out would mean `client_secret_basic`.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// What a `private_key_jwt` assertion may be signed with; required where that method is offered (RFC 8414 §2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// The same for `/revoke`.
    pub revocation_endpoint_auth_methods_supported: Vec<String>,
    /// Likewise for `/revoke`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocation_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// `/introspect` (RFC 7662), where resource servers may ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_endpoint: Option<String>,
    /// How they authenticate there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub introspection_endpoint_auth_methods_supported: Vec<String>,
    /// Only `S256`; clients refuse a server without this member.
    pub code_challenge_methods_supported: Vec<String>,
    /// Every scope of every resource, and `offline_access`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes_supported: Vec<String>,
    /// Whether client id metadata documents are understood.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub client_id_metadata_document_supported: bool,
    /// RFC 9207: we add `iss` to every authorization response.
    pub authorization_response_iss_parameter_supported: bool,
    /// RFC 9728 §4: the resources this server gives tokens for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protected_resources: Vec<String>,
    /// Where people read about this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_documentation: Option<String>,
    /// OpenID Connect only: `public`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_types_supported: Vec<String>,
    /// OpenID Connect only: required by the schema, though we issue no ID tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_token_signing_alg_values_supported: Vec<String>,
}

/// What we read from a provider's `openid-configuration`; everything else is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProviderMetadata {
    /// Must equal the configured issuer (OpenID Connect Discovery §4.3).
    pub issuer: String,
    /// Absent when a Cognito pool has no domain.
    pub authorization_endpoint: Option<String>,
    /// Absent when a Cognito pool has no domain.
    pub token_endpoint: Option<String>,
    /// Where the signing keys are.
    pub jwks_uri: String,
    /// RFC 7009, when the provider has it.
    pub revocation_endpoint: Option<String>,
    /// RP-initiated logout, when the provider has it.
    pub end_session_endpoint: Option<String>,
    /// Userinfo, when the provider has it.
    pub userinfo_endpoint: Option<String>,
    /// How we may authenticate at the token endpoint; absent means `client_secret_basic`.
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// RFC 9207: when true, a callback without `iss` is refused.
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}
