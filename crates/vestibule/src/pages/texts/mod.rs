//! The words of the pages, one value of [`Texts`] for each language: a language that lacks a sentence does not compile.

mod en;
mod ja;

pub use en::ENGLISH;
pub use ja::JAPANESE;

/// Everything that a page says in one language. Arrays are the pieces around values, in the order of the sentence.
#[derive(Debug)]
pub struct Texts {
    /// For `<html lang>`: BCP 47.
    pub lang: &'static str,
    /// The consent page.
    pub consent: ConsentTexts,
    /// The page that hands an answer to the application.
    pub answer: AnswerTexts,
    /// The page that signs out.
    pub logout: LogoutTexts,
    /// The page that lists what somebody has connected.
    pub connections: ConnectionsTexts,
    /// The landing page.
    pub landing: LandingTexts,
    /// Before the id under which the log knows more. It contains the English word, which people search for.
    pub reference: &'static str,
    /// The words of a refusal by its slug, where the language has its own; else the English ones are shown.
    pub refusal: fn(&str) -> Option<RefusalTexts>,
}

/// What was refused, why, and what to do.
#[derive(Clone, Copy, Debug)]
pub struct RefusalTexts {
    /// What happened.
    pub title: &'static str,
    /// Why.
    pub explanation: &'static str,
    /// What to do.
    pub next_step: &'static str,
}

/// The consent page.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "each is a sentence; its name says where it stands"
)]
pub struct ConsentTexts {
    /// Around the client's name.
    pub title: [&'static str; 2],
    /// Around the client's name and the resource's.
    pub heading: [&'static str; 3],
    /// Instead of a name.
    pub nameless: &'static str,
    pub unverified: &'static str,
    /// Around the host whose document describes the client.
    pub described_by: [&'static str; 2],
    pub anybody_here: &'static str,
    pub to_this_computer: &'static str,
    /// Around the scheme.
    pub to_scheme: [&'static str; 2],
    /// Around the host.
    pub to_website: [&'static str; 2],
    pub it_may: &'static str,
    /// When there are no scopes.
    pub use_it: &'static str,
    pub answer_goes_to: &'static str,
    pub next: &'static str,
    /// Above the providers, where there is a choice.
    pub sign_in_with: &'static str,
    pub elsewhere: &'static str,
    /// By the number of days.
    pub remember: fn(u64) -> String,
    /// Beside a scope that was not approved before.
    pub new_scope: &'static str,
    /// Around the name of the account and that of its provider.
    pub last_account: [&'static str; 3],
    pub another_account: &'static str,
    pub approve: &'static str,
    pub deny: &'static str,
}

/// The page that hands an answer to the application.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "each is a sentence; its name says where it stands"
)]
pub struct AnswerTexts {
    pub done_title: &'static str,
    pub done: &'static str,
    pub denied_title: &'static str,
    pub denied: &'static str,
    pub refused_title: &'static str,
    /// Around the reason.
    pub refused: [&'static str; 2],
    /// Around the host.
    pub or_tell: [&'static str; 2],
    /// Around the host.
    pub return_to: [&'static str; 2],
    /// Around the scheme.
    pub launching: [&'static str; 2],
    pub open: &'static str,
    pub copy: &'static str,
    pub or_paste: &'static str,
    pub tell_nobody: &'static str,
}

/// The page that signs out.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "each is a sentence; its name says where it stands"
)]
pub struct LogoutTexts {
    pub ask_title: &'static str,
    pub ask: &'static str,
    pub done_title: &'static str,
    pub done: &'static str,
    pub nothing_title: &'static str,
    pub nothing: &'static str,
    pub still_connected: &'static str,
    pub sign_out: &'static str,
    /// When the browser remembers decisions.
    pub remembers: &'static str,
    pub forget: &'static str,
    /// Around the provider's name.
    pub sign_out_of: [&'static str; 2],
}

/// The page that lists what somebody has connected.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "each is a sentence; its name says where it stands"
)]
pub struct ConnectionsTexts {
    pub title: &'static str,
    pub no_record_title: &'static str,
    pub no_record: &'static str,
    pub no_record_instead: &'static str,
    pub sign_in_title: &'static str,
    pub sign_in: &'static str,
    /// Around the provider's name.
    pub sign_in_with: [&'static str; 2],
    /// Around the name of the account and that of its provider.
    pub signed_in_as: [&'static str; 3],
    pub nothing: &'static str,
    /// On a page behind the last one.
    pub no_more: &'static str,
    pub what: &'static str,
    pub unverified: &'static str,
    /// The user is in quarantine.
    pub suspended: &'static str,
    /// The client is.
    pub client_suspended: &'static str,
    /// Above the resource.
    pub uses: &'static str,
    /// Above the redirect host.
    pub answer_went_to: &'static str,
    pub since: &'static str,
    pub last_used: &'static str,
    pub disconnect: &'static str,
    pub next: &'static str,
    pub all: &'static str,
    pub all_means: &'static str,
    pub disconnect_all: &'static str,
    /// By the number of connections.
    pub ended: fn(u32) -> String,
    pub ended_none: &'static str,
    pub provider_not_told: &'static str,
    pub more_left: &'static str,
    pub sign_out: &'static str,
    /// The way to `/logout`.
    pub provider_sign_out: &'static str,
}

/// The landing page.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "each is a sentence; its name says where it stands"
)]
pub struct LandingTexts {
    pub title: &'static str,
    /// On the page that a browser gets at the URL of a resource.
    pub for_programs: &'static str,
    /// Around the host.
    pub what: [&'static str; 2],
    pub documentation: &'static str,
    pub run: &'static str,
    /// Around the file's name.
    pub write: [&'static str; 2],
    pub install: &'static str,
    /// Around the way through the menus.
    pub menu: [&'static str; 2],
    /// Around a command.
    pub then: [&'static str; 2],
    pub first_use: &'static str,
    pub connections: &'static str,
}
