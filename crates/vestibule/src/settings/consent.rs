//! `[consent]`: whether a browser may remember what its user approved (attack T9).

use std::time::Duration;

use super::clients::ClientSettings;
use super::section::Section;

const DAY: u64 = 24 * 3600;
/// Longest memory, in days.
const MOST_DAYS: u64 = 90;

/// Whether consent may be remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsentSettings {
    /// How long; whole days. `None`: the user is asked each time.
    pub remember: Option<Duration>,
    /// Clients (`client_id`) that compare `iss` and tie the answer to the browser that began: for them a remembered consent
    /// counts wherever the browser comes from.
    pub from_anywhere: Vec<String>,
}

impl ConsentSettings {
    pub(super) fn read(mut section: Section<'_>, clients: &ClientSettings) -> Self {
        let problems = section.problems();
        let mut settings = Self::default();
        if let Some(remember) = section.duration("remember") {
            let days = remember.value.as_secs() / DAY;
            let whole = remember.value == Duration::from_secs(days * DAY);
            if !whole || !(1..=MOST_DAYS).contains(&days) {
                let message = format!(
                    "must be whole days, 1d to {MOST_DAYS}d; leave it out to ask each time"
                );
                problems.add(&remember.spot, message);
            }
            settings.remember = Some(remember.value);
        }
        let known = |id: &str| {
            let configured = clients.preregistered.iter().any(|own| own.client_id == id);
            if configured || id.starts_with("https://") || id.starts_with("http://") {
                Ok(id.to_owned())
            } else {
                Err(format!(
                    "'{id}' is neither the URL of a metadata document nor the `client_id` of a [[client]]"
                ))
            }
        };
        if let Some(ids) = section.parsed_list("from_anywhere", known) {
            if settings.remember.is_none() {
                let message = "says whose consent is remembered, but `remember` is not set";
                problems.add(&ids.spot, message);
            }
            settings.from_anywhere = ids.value.into_iter().map(|id| id.value).collect();
        }
        section.finish();
        settings
    }
}
