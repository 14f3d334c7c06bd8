//! A person's own sign-in, for `/connections`: `AccountFlow` (in a cookie) → provider returns → `Session` (in a cookie), and
//! the tickets of the forms that a session sees. No client takes part in it, and none of it is a grant.

use serde::{Deserialize, Serialize};

use vestibule_oauth::pkce::{CodeChallenge, CodeVerifier};
use vestibule_oauth::random::Random;
use vestibule_oauth::time::UnixTime;

use super::{NotThisFlow, fingerprint};
use crate::seal::{Kind, Sealable};

/// Longest name of an account on a page, in characters.
const MAX_NAME: usize = 100;

/// Who signed in, as the provider says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Id of the provider.
    #[serde(rename = "d")]
    pub provider: String,
    /// The provider's `sub`.
    #[serde(rename = "s")]
    pub subject: String,
    /// For people.
    #[serde(rename = "n")]
    pub name: String,
}

impl Sealable for Account {
    const KIND: Kind = Kind::Account;
}

impl Account {
    /// How long a browser remembers who signed in last, in seconds.
    pub const LIFETIME: u64 = 30 * 24 * 3600;

    /// An account; of the name, only what fits on a line of a page is kept.
    pub fn new(provider: &str, subject: &str, name: &str) -> Self {
        let name: String = name
            .chars()
            .filter(|own| !own.is_control())
            .take(MAX_NAME)
            .collect();
        Self {
            provider: provider.to_owned(),
            subject: subject.to_owned(),
            name,
        }
    }
}

/// A person's own sign-in under way. The provider sees the same of it as of a client's.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountFlow {
    #[serde(rename = "i")]
    id: String,
    #[serde(rename = "d")]
    provider: String,
    #[serde(rename = "n")]
    nonce: String,
    #[serde(rename = "v", with = "super::carried_verifier")]
    verifier: CodeVerifier,
}

impl Sealable for AccountFlow {
    const KIND: Kind = Kind::AccountFlow;
}

impl AccountFlow {
    /// How long a person may take at the provider, in seconds.
    pub const LIFETIME: u64 = 600;

    /// A sign-in at a provider.
    pub fn begin(provider: &str, random: &dyn Random) -> Self {
        Self {
            id: random.token(16),
            provider: provider.to_owned(),
            nonce: random.token(16),
            verifier: CodeVerifier::generate(random),
        }
    }

    /// The `state` that the provider is given.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The `nonce` that must come back in the ID token.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Our PKCE challenge.
    pub fn challenge(&self) -> CodeChallenge {
        self.verifier.challenge()
    }

    /// Checks that the callback's `state` is this flow's; a cookie renamed by hand fails here.
    pub fn returned(self, state: &str) -> Result<ReturnedAccount, NotThisFlow> {
        if self.id == state {
            Ok(ReturnedAccount {
                provider: self.provider,
                nonce: self.nonce,
                verifier: self.verifier,
            })
        } else {
            Err(NotThisFlow)
        }
    }
}

/// A sign-in whose browser came back with its `state`.
#[derive(Debug)]
pub struct ReturnedAccount {
    /// Id of the provider that was asked.
    pub provider: String,
    /// To be found in the ID token.
    pub nonce: String,
    /// Our verifier for the provider.
    pub verifier: CodeVerifier,
}

/// What the next page tells, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Connections that were ended.
    #[serde(rename = "e")]
    pub ended: u32,
    /// False when a provider could not be told yet.
    #[serde(rename = "p")]
    pub provider_told: bool,
    /// There are more than one request ends.
    #[serde(rename = "m")]
    pub more: bool,
}

/// A person signed in at `/connections`: what the cookie holds, and all there is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Fresh at each sign-in; a session that was ended is known by it.
    #[serde(rename = "i")]
    pub id: String,
    /// Who.
    #[serde(rename = "a")]
    pub account: Account,
    /// When it is over, whatever happens in it.
    #[serde(rename = "e")]
    pub ends_at: UnixTime,
    /// What came of the last form.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
}

impl Sealable for Session {
    const KIND: Kind = Kind::Session;
}

impl Session {
    /// Seconds: long enough to look through a list.
    pub const LIFETIME: u64 = 900;

    /// A session that begins now.
    pub fn begin(account: Account, now: UnixTime, random: &dyn Random) -> Self {
        Self {
            id: random.token(16),
            account,
            ends_at: now.plus(Self::LIFETIME),
            notice: None,
        }
    }
}

/// What a form of `/connections` must bring back: made for one browser before the sign-in, for one session after it.
#[derive(Debug, Serialize, Deserialize)]
pub struct FormTicket {
    #[serde(rename = "b")]
    bound: String,
}

impl Sealable for FormTicket {
    const KIND: Kind = Kind::FormTicket;
}

impl FormTicket {
    /// Seconds that a form stays good.
    pub const LIFETIME: u64 = 900;

    /// For the form that begins a sign-in. `cookie` is the browser's own value.
    pub fn for_browser(cookie: &str) -> Self {
        Self {
            bound: fingerprint(&format!("browser {cookie}")),
        }
    }

    /// For the forms beside a list.
    pub fn for_session(session: &Session) -> Self {
        Self {
            bound: fingerprint(&format!("session {}", session.id)),
        }
    }

    /// True for the browser whose page the form was on.
    pub fn is_of_browser(&self, cookie: Option<&str>) -> bool {
        cookie.is_some_and(|cookie| Self::for_browser(cookie).bound == self.bound)
    }

    /// True for the session whose page the form was on.
    pub fn is_of_session(&self, session: &Session) -> bool {
        Self::for_session(session).bound == self.bound
    }
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::random::SystemRandom;

    use super::*;

    fn session() -> Session {
        let account = Account::new("p", "ada", "ada@example.com");
        Session::begin(account, UnixTime(1_000), &SystemRandom)
    }

    #[test]
    fn a_ticket_is_for_one_browser_or_one_session_and_never_for_both() {
        let (one, other) = (session(), session());
        let ticket = FormTicket::for_session(&one);
        assert!(ticket.is_of_session(&one));
        assert!(
            !ticket.is_of_session(&other),
            "another sign-in of the same user"
        );
        assert!(!ticket.is_of_browser(Some(&one.id)) && !ticket.is_of_browser(None));
        let ticket = FormTicket::for_browser("cookie");
        assert!(ticket.is_of_browser(Some("cookie")) && !ticket.is_of_browser(Some("other")));
        let named = Session {
            id: "cookie".to_owned(),
            ..one
        };
        assert!(!ticket.is_of_session(&named));
    }

    #[test]
    fn a_flow_is_found_by_its_own_state_only() {
        let flow = AccountFlow::begin("p", &SystemRandom);
        let state = flow.id().to_owned();
        assert!(flow.returned(&state).is_ok());
        let flow = AccountFlow::begin("p", &SystemRandom);
        assert!(flow.returned(&state).is_err());
    }

    #[test]
    fn a_name_stays_on_its_line() {
        let account = Account::new("p", "s", &format!("a\nb\u{7}{}", "c".repeat(500)));
        assert!(account.name.starts_with("abc") && account.name.len() == MAX_NAME);
    }
}
