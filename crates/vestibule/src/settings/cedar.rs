//! `policy = "cedar"` in a `[[resource]]`: the file of policies, read and checked with the settings, so that a change of it
//! is a change of the configuration.

use std::path::Path;
use std::sync::Arc;

use super::ResourceSettings;
use super::problem::{Located, Spot};
use super::section::Section;
use crate::policy::CedarPolicies;

/// What is written about it.
pub(super) struct Written {
    chosen: Option<Located<bool>>,
    policies: Option<Arc<CedarPolicies>>,
}

/// Reads `policy`, `policy_file` and `policy_schema`.
pub(super) fn read(section: &mut Section<'_>) -> Written {
    let problems = section.problems();
    let chosen = section.choice("policy", &[("rules", false), ("cedar", true)]);
    let file = section.file("policy_file");
    let schema = section.file("policy_schema");
    let wanted = chosen.as_ref().is_some_and(|chosen| chosen.value);
    if !wanted {
        for file in [&file, &schema].into_iter().flatten() {
            problems.add(&file.spot, "is for `policy = \"cedar\"`");
        }
        return Written {
            chosen,
            policies: None,
        };
    }
    if cfg!(not(feature = "cedar")) {
        problems.add(
            &section.spot_of("policy"),
            "this build knows no Cedar; build it with `cargo build --release --features cedar`",
        );
    }
    let file = section.required("policy_file", file);
    let policies = file.and_then(|file| policies(section, &file, schema.as_ref()));
    Written {
        chosen,
        policies: policies.map(Arc::new),
    }
}

fn text(section: &Section<'_>, file: &Located<std::path::PathBuf>) -> Option<String> {
    let text = std::fs::read_to_string(&file.value);
    text.map_err(|error| {
        let message = format!("cannot read {}: {error}", file.value.display());
        section.problems().add(&file.spot, message);
    })
    .ok()
}

/// The file's name without the directories: what is said of it stands beside the place where all of it is written.
fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(feature = "cedar")]
fn policies(
    section: &Section<'_>,
    file: &Located<std::path::PathBuf>,
    schema: Option<&Located<std::path::PathBuf>>,
) -> Option<CedarPolicies> {
    let own = text(section, file)?;
    let schema = match schema {
        Some(schema) => Some((name(&schema.value), text(section, schema)?)),
        None => None,
    };
    let schema = schema
        .as_ref()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    let read = CedarPolicies::read(&name(&file.value), &own, schema);
    read.map_err(|found| {
        for problem in found {
            section.problems().add(&file.spot, problem);
        }
    })
    .ok()
}

#[cfg(not(feature = "cedar"))]
fn policies(
    section: &Section<'_>,
    file: &Located<std::path::PathBuf>,
    _: Option<&Located<std::path::PathBuf>>,
) -> Option<CedarPolicies> {
    let _ = (text(section, file), name(&file.value));
    None
}

impl Written {
    /// The policies, unless there are rules as well.
    pub(super) fn checked(
        self,
        section: &super::problem::Problems,
        rules: Option<&Spot>,
    ) -> Option<Arc<CedarPolicies>> {
        if let (Some(chosen), Some(rules)) = (self.chosen.filter(|own| own.value), rules) {
            let message = format!(
                "`{}` is not looked at with `policy = \"cedar\"`; say it in a policy",
                rules.key
            );
            section.add(&chosen.spot, message);
        }
        self.policies
    }
}

impl ResourceSettings {
    /// True when requests are decided on.
    pub(crate) fn has_policy(&self) -> bool {
        self.deny_by_default || !self.rules.is_empty() || self.cedar.is_some()
    }
}
