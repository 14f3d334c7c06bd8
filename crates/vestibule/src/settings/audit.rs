//! `[audit]`: where the events go that security people ask for. Off unless there is a place.

use std::path::PathBuf;

use vestibule_oauth::secret::Secret;

use super::section::Section;

/// The audit stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where the lines go.
    pub to: AuditSink,
    /// Makes users unrecognisable: lines have a keyed hash of `sub` in its place. Without it they have `sub`.
    pub subject_key: Option<Secret>,
    /// Requests to MCP servers that were let through are events as well.
    pub every_call: bool,
}

/// Where audit lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditSink {
    /// Standard output.
    Stdout,
    /// Standard error, between the lines of the log.
    Stderr,
    /// The end of this file; opened again at SIGHUP.
    File(PathBuf),
}

/// Shortest key, in characters: 128 bits when it is written in hexadecimal.
const SHORTEST_KEY: usize = 32;

impl AuditSettings {
    /// Events in this place, with users by name and without the calls that were let through.
    pub fn new(to: AuditSink) -> Self {
        Self {
            to,
            subject_key: None,
            every_call: false,
        }
    }

    /// Reads the section.
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let problems = section.problems();
        let to = section.path("to");
        let key = section.secret("subject_key", "subject_key_file");
        let calls = section.choice("calls", &[("denied", false), ("all", true)]);
        if to.is_none() && section.has_written(&["subject_key", "subject_key_file", "calls"]) {
            problems.add(
                &section.spot_of("to"),
                "missing: without it there is no audit stream; write \"stdout\", \"stderr\" or the name of a file",
            );
        }
        section.finish();
        if let Some(key) = &key
            && key.value.expose().len() < SHORTEST_KEY
        {
            problems.add(
                &key.spot,
                format!(
                    "can be guessed: it must have at least {SHORTEST_KEY} characters; make one with `openssl rand -hex 32`"
                ),
            );
        }
        let to = to?;
        let sink = match to.value.as_str() {
            "stdout" => AuditSink::Stdout,
            "stderr" => AuditSink::Stderr,
            _ => AuditSink::File(problems.locate(&to)),
        };
        Some(Self {
            subject_key: key.map(|key| key.value),
            every_call: calls.is_some_and(|calls| calls.value),
            ..Self::new(sink)
        })
    }
}
