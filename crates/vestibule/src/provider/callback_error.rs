//! The provider's error redirects (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6) mapped to what our client is told.
//!
//! The client asked us, not the provider: an `invalid_scope` of the provider means that *our* configured scopes are
//! wrong, so it must not reach the client as if its own request were at fault.

use vestibule_oauth::error::ErrorCode;

use super::profile::Profile;

/// What the client is told, and the slug the log gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// For the client.
    pub code: ErrorCode,
    /// For the client.
    pub description: &'static str,
    /// For the log.
    pub slug: &'static str,
}

/// Maps `error` and `error_description` of the provider's redirect.
pub fn map(profile: &Profile, error: &str, description: &str) -> Mapped {
    let says = |needle: &str| {
        description
            .to_ascii_lowercase()
            .contains(&needle.to_ascii_lowercase())
    };
    if profile
        .transient_descriptions
        .iter()
        .any(|transient| says(transient))
    {
        return TRANSIENT;
    }
    match error {
        // All but the first come only of `prompt=none`, which we never send: the provider wants a user who did not answer.
        "access_denied"
        | "login_required"
        | "interaction_required"
        | "account_selection_required"
        | "consent_required" => DENIED,
        "temporarily_unavailable" => TRANSIENT,
        "invalid_scope" => SCOPES,
        // Cognito's observed form: error=invalid_request, error_description=invalid_scope (facts/cognito §2.3).
        "invalid_request" if says("invalid_scope") => SCOPES,
        "invalid_request" | "unauthorized_client" | "unsupported_response_type" => CONFIGURATION,
        _ => FAILED,
    }
}

const DENIED: Mapped = Mapped {
    code: ErrorCode::AccessDenied,
    description: "the sign-in was cancelled or refused at the identity provider",
    slug: "provider_denied",
};
const TRANSIENT: Mapped = Mapped {
    code: ErrorCode::TemporarilyUnavailable,
    description: "the identity provider could not complete the sign-in right now; try again",
    slug: "provider_transient",
};
const SCOPES: Mapped = Mapped {
    code: ErrorCode::ServerError,
    description: "the identity provider refuses the scopes this server is configured to ask for; tell the operator",
    slug: "provider_refused_scopes",
};
const CONFIGURATION: Mapped = Mapped {
    code: ErrorCode::ServerError,
    description: "the identity provider refuses this server's request; tell the operator",
    slug: "provider_refused_request",
};
const FAILED: Mapped = Mapped {
    code: ErrorCode::ServerError,
    description: "the identity provider failed to complete the sign-in",
    slug: "provider_failed",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::profile::{COGNITO, GENERIC};

    #[test]
    fn every_error_shape_of_cognito_is_mapped() {
        for (error, description, expected) in [
            ("invalid_request", "invalid_scope", SCOPES),
            ("invalid_scope", "", SCOPES),
            ("invalid_request", "", CONFIGURATION),
            ("unauthorized_client", "", CONFIGURATION),
            (
                "invalid_request",
                "Okta IdP Error - 503 Service Unavailable",
                TRANSIENT,
            ),
            (
                "invalid_request",
                "Timeout occurred in calling IdP token endpoint",
                TRANSIENT,
            ),
            ("invalid_request", "Connection reset", TRANSIENT),
            ("server_error", "Read timed out", TRANSIENT),
            ("server_error", "", FAILED),
            ("access_denied", "User cancelled", DENIED),
            ("login_required", "", DENIED),
            ("something_new", "", FAILED),
        ] {
            assert_eq!(
                map(&COGNITO, error, description),
                expected,
                "{error} {description}"
            );
        }
    }

    #[test]
    fn descriptions_of_one_vendor_mean_nothing_at_another() {
        assert_eq!(map(&GENERIC, "server_error", "Read timed out"), FAILED);
    }
}
