//! `[pages]`: which of the pages for people are shown.

use super::section::Section;

/// Which of the pages for people are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagesSettings {
    /// Whether browsers find the instructions for adding a resource to a client, at `/` and at the resource itself.
    pub landing: bool,
    /// Whether the consent page offers to show the answer instead of redirecting, for a client on another computer.
    pub other_computer: bool,
}

impl Default for PagesSettings {
    fn default() -> Self {
        Self {
            landing: true,
            other_computer: true,
        }
    }
}

impl PagesSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let mut settings = Self::default();
        for (key, target) in [
            ("landing", &mut settings.landing),
            ("other_computer", &mut settings.other_computer),
        ] {
            if let Some(written) = section.flag(key) {
                *target = written.value;
            }
        }
        section.finish();
        settings
    }
}
