//! Logs on stderr, and the reference that ties an error a user sees to the log line that explains it (law 12).

use std::fmt;
use std::io;

use axum::response::Response;
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use vestibule_oauth::random::Random;

use crate::settings::{LogFormat, LogSettings};

/// Why there are no logs.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter is not in the syntax of `EnvFilter`.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody has installed a subscriber before.
    #[error("logging is installed already")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends this process's events to stderr. Once for each process.
///
/// `colour` is for people at a terminal; it has no effect on JSON.
pub fn install(log: &LogSettings, colour: bool) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder().parse(&log.filter)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match log.format {
        LogFormat::Json => {
            registry
                .with(lines.json().flatten_event(true).with_span_list(false))
                .try_init()?;
        }
        LogFormat::Text => registry.with(lines.with_ansi(colour)).try_init()?,
    }
    Ok(())
}

/// A reference id: shown to the user with an error, logged as `reference`, easy to read out on the telephone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReferenceId(u64);

impl ReferenceId {
    /// A new one.
    pub fn new(random: &dyn Random) -> Self {
        Self(random.number())
    }

    /// A message with the id behind it, where an answer has no other place for it.
    pub(crate) fn behind(self, message: &str) -> String {
        format!("{message} (reference {self})")
    }

    /// Thirteen letters and digits of Crockford's base 32, which has no `i`, `l`, `o` and `u`.
    fn letters(self) -> [u8; 13] {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        std::array::from_fn(|at| {
            let digit = usize::try_from(self.0 >> (5 * (12 - at)) & 31);
            digit.map_or(b'0', |digit| ALPHABET[digit & 31])
        })
    }
}

impl fmt::Display for ReferenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.letters()).unwrap_or_default())
    }
}

/// The same text, without the machinery of formats.
impl From<ReferenceId> for String {
    fn from(id: ReferenceId) -> Self {
        Self::from_utf8(id.letters().to_vec()).unwrap_or_default()
    }
}

/// What a refusal was told under. It travels with the response, for metrics and audit; nothing of it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// As in the answer and the log.
    pub(crate) reference: ReferenceId,
    /// The stable word for why.
    pub(crate) reason: &'static str,
}

impl Told {
    pub(crate) fn new(reference: ReferenceId, reason: &'static str) -> Self {
        Self { reference, reason }
    }

    /// The response with it.
    pub(crate) fn on<B>(self, mut response: Response<B>) -> Response<B> {
        response.extensions_mut().insert(self);
        response
    }

    /// What a response was told under; `None` when it is no refusal.
    pub(crate) fn of<B>(response: &Response<B>) -> Option<Self> {
        response.extensions().get().copied()
    }
}

/// A refusal and what it was told under side by side, where it need not travel far: in the response it takes a map of its
/// own.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) response: Response,
    pub(crate) told: Option<Told>,
}

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        let told = Told::of(&response);
        Self { response, told }
    }
}

impl From<Refused> for Response {
    fn from(refused: Refused) -> Self {
        match refused.told {
            Some(told) => told.on(refused.response),
            None => refused.response,
        }
    }
}

/// True for a character of a stranger's that must not be shown as it is: control characters, what ends a line, and what
/// turns the direction of text around.
pub(crate) fn is_unsafe_to_show(one: char) -> bool {
    one.is_control()
        || matches!(
            one,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::random::SystemRandom;

    use super::*;

    #[test]
    fn a_reference_is_thirteen_unmistakable_characters() {
        assert_eq!(ReferenceId(0).to_string(), "0000000000000");
        assert_eq!(ReferenceId(u64::MAX).to_string(), "fzzzzzzzzzzzz");
        assert_eq!(ReferenceId(33).to_string(), "0000000000011");
        assert_eq!(String::from(ReferenceId(33)), "0000000000011");
        assert_ne!(
            ReferenceId::new(&SystemRandom),
            ReferenceId::new(&SystemRandom)
        );
    }
}
