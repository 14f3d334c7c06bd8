//! How the event streams of a resource live and end: keys of `[[resource]]` that belong together.

use std::time::Duration;

use super::section::Section;

/// The shortest time between two comments.
const SHORTEST_HEARTBEAT: Duration = Duration::from_secs(1);

/// How the event streams of a resource live and end.
#[derive(Clone, Copy, Debug)]
pub struct StreamRules {
    /// Whether they end with the token that opened them, and with its grant.
    pub end_with_token: bool,
    /// How long the answer to a call may go on after its token has expired. Streams that only listen have no such time,
    /// because they can be opened again.
    pub answer_grace: Duration,
    /// How long a stream may be silent before we send a comment.
    pub heartbeat: Option<Duration>,
}

impl Default for StreamRules {
    fn default() -> Self {
        Self {
            end_with_token: true,
            answer_grace: Duration::from_secs(3600),
            heartbeat: None,
        }
    }
}

/// Reads them; the defaults stand for what is missing or wrong.
pub(super) fn read(section: &mut Section<'_>) -> StreamRules {
    let problems = section.problems();
    let defaults = StreamRules::default();
    let end_with_token = section.flag("end_streams");
    let answer_grace = section.duration("answer_grace");
    let heartbeat = section.duration("heartbeat");
    let end_with_token = end_with_token.map_or(defaults.end_with_token, |end| end.value);
    if let Some(grace) = answer_grace.as_ref().filter(|_| !end_with_token) {
        problems.add(
            &grace.spot,
            "has no effect: with `end_streams = false` no stream ends with its token",
        );
    }
    if let Some(heartbeat) = heartbeat
        .as_ref()
        .filter(|heartbeat| heartbeat.value < SHORTEST_HEARTBEAT)
    {
        problems.add(
            &heartbeat.spot,
            "must be at least 1s; leave it out for no heartbeat",
        );
    }
    StreamRules {
        end_with_token,
        answer_grace: answer_grace.map_or(defaults.answer_grace, |grace| grace.value),
        heartbeat: heartbeat.map(|heartbeat| heartbeat.value),
    }
}
