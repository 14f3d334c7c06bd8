//! How the event streams of a resource live and end: keys of `[[resource]]` that belong together.

use std::time::Duration;

use super::section::Section;
use crate::proxy::StreamRules;

/// The shortest time between two comments.
const SHORTEST_HEARTBEAT: Duration = Duration::from_secs(1);

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
