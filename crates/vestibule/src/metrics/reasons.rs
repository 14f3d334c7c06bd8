//! Reasons of refusals as a label: the words that pages, logs and answers have, in one list.

use super::labels::Label;

/// A reason. Made from a word of the list; every other word is `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reason(u8);

impl Reason {
    /// Nothing was refused.
    pub(crate) const NONE: Self = Self(0);

    /// The reason of this name.
    pub(crate) fn named(word: &str) -> Self {
        let words = Self::VALUES.get(Self::UNSORTED..).unwrap_or_default();
        let found = words.binary_search(&word).ok();
        debug_assert!(found.is_some(), "{word} is missing in the list of reasons");
        Self(
            found
                .and_then(|index| u8::try_from(index + Self::UNSORTED).ok())
                .unwrap_or(1),
        )
    }

    /// So many words stand before those that are in their order.
    const UNSORTED: usize = 2;
}

impl Label for Reason {
    const NAME: &'static str = "reason";
    const VALUES: &'static [&'static str] = &[
        "none",
        "other",
        "admin_method",
        "admin_no_grant",
        "admin_no_store",
        "admin_not_quarantined",
        "admin_page",
        "admin_path",
        "admin_request",
        "admin_token",
        "admin_token_limit",
        "answer_unfit",
        "authorization_request",
        "authorization_unreadable",
        "authz_header",
        "authz_host",
        "authz_method",
        "authz_path",
        "authz_peer",
        "authz_request",
        "batch",
        "body",
        "body_broken",
        "body_invalid",
        "body_slow",
        "body_too_large",
        "body_unreadable",
        "callback_expired",
        "callback_issuer",
        "callback_other_browser",
        "callback_provider_gone",
        "callback_unreadable",
        "client_authentication",
        "client_document",
        "client_document_away",
        "client_quarantined",
        "client_refused",
        "client_request",
        "client_unavailable",
        "client_unknown",
        "code_binding",
        "code_expired",
        "code_replay",
        "code_unreadable",
        "connections_issuer",
        "connections_other_session",
        "connections_provider",
        "connections_provider_away",
        "connections_refused",
        "connections_signed_out",
        "connections_store",
        "connections_unreadable",
        "consent_cross_site",
        "consent_denied",
        "consent_expired",
        "consent_other_browser",
        "consent_other_user",
        "consent_unreadable",
        "content_encoding",
        "content_type",
        "credential_signs",
        "credentials_unreadable",
        "event_of_another",
        "grant_dead",
        "group_required",
        "header_mismatch",
        "insufficient_scope",
        "introspection_client",
        "introspection_request",
        "list_unfit",
        "logout_cross_site",
        "logout_not_offered",
        "logout_provider",
        "method",
        "no_credentials",
        "not_entitled",
        "origin_forbidden",
        "origin_lock",
        "params_invalid",
        "path",
        "policy_needs_body",
        "provider_bad_answer",
        "provider_denied",
        "provider_failed",
        "provider_id_token",
        "provider_invalid_grant",
        "provider_misconfigured",
        "provider_refused_request",
        "provider_refused_scopes",
        "provider_subject_changed",
        "provider_transient",
        "provider_unavailable",
        "rate_limit",
        "redirect_mismatch",
        "refresh_busy",
        "refresh_reuse",
        "registration_malformed",
        "registration_off",
        "registration_refused",
        "registration_token",
        "revocation_request",
        "scope_not_permitted",
        "session_of_another",
        "store_unavailable",
        "token_characters",
        "token_check_unavailable",
        "token_crash",
        "token_expired",
        "token_in_query",
        "token_inactive",
        "token_malformed",
        "token_mint",
        "token_request",
        "token_revoked",
        "token_scope",
        "token_signature",
        "token_target",
        "token_too_long",
        "token_wrong_audience",
        "token_wrong_issuer",
        "two_credentials",
        "upstream_credential",
        "upstream_refused_our_credential",
        "upstream_silent",
        "upstream_switched_protocols",
        "upstream_unauthorized",
        "upstream_unreachable",
        "user_quarantined",
    ];

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_once_and_finds_itself() {
        assert!(Reason::VALUES.len() < 256 && Reason::VALUES[Reason::UNSORTED..].is_sorted());
        for (index, word) in Reason::VALUES.iter().enumerate().skip(Reason::UNSORTED) {
            assert_eq!(Reason::named(word).index(), index);
        }
    }
}
