//! What `check` has to say: one finding for each thing looked at that is not as it should be, or that is worth knowing.

use std::fmt::{Display, Write as _};

use serde::Serialize;

use crate::settings::{Place, Problem, Report, ValueOrigin};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// It does not work.
    Error,
    /// It works and is unwise, or could not be found out.
    Warning,
    /// Worth knowing.
    Note,
    /// Looked at and found well.
    Ok,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    severity: Severity,
    /// A stable name for the kind of finding.
    slug: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<String>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What to write, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
}

impl Finding {
    pub(super) fn new(severity: Severity, slug: &'static str, message: impl Display) -> Self {
        Self {
            severity,
            slug,
            key: None,
            file: None,
            line: None,
            variable: None,
            message: message.to_string(),
            why: None,
            suggestion: None,
        }
    }

    /// A problem or warning of the settings.
    pub(super) fn of_setting(severity: Severity, problem: &Problem) -> Self {
        let mut finding = Self::new(severity, "setting", &problem.message);
        finding.key = Some(problem.key.clone()).filter(|key| !key.is_empty());
        finding.suggestion = problem.suggestion().map(str::to_owned);
        match &problem.place {
            Place::File { line, .. } => {
                finding.file.clone_from(&problem.file);
                finding.line = Some(*line);
            }
            Place::Variable(name) => finding.variable = Some(name.clone()),
            Place::Nowhere => finding.file.clone_from(&problem.file),
        }
        finding
    }

    /// Why it matters.
    pub(super) fn why(self, why: impl Into<String>) -> Self {
        Self {
            why: Some(why.into()),
            ..self
        }
    }

    /// What to do about it.
    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        Self {
            suggestion: Some(fix.into()),
            ..self
        }
    }

    /// The setting that it is about.
    pub(super) fn key(self, key: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            ..self
        }
    }

    /// The setting, with the place where it is written.
    pub(super) fn at(mut self, report: &Report, key: &str) -> Self {
        let found = report.explain(key).unwrap_or_default();
        if let Some(setting) = found.into_iter().next() {
            match setting.origin {
                ValueOrigin::File { file, line } => {
                    (self.file, self.line) = (Some(file), Some(line));
                }
                ValueOrigin::Variable { name } => self.variable = Some(name),
                _ => {}
            }
        }
        self.key(key)
    }

    fn place(&self) -> String {
        let place = match (&self.variable, &self.file, self.line) {
            (Some(variable), ..) => format!("{variable}: "),
            (None, Some(file), Some(line)) => format!("{file}:{line}: "),
            (None, Some(file), None) => format!("{file}: "),
            (None, None, _) => String::new(),
        };
        let key = self.key.as_ref();
        place + &key.map_or_else(String::new, |key| format!("{key}: "))
    }
}

/// All of them, in the order in which things were looked at.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    pub(super) fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    fn count(&self, severity: Severity) -> usize {
        let same = |finding: &&Finding| finding.severity == severity;
        self.0.iter().filter(same).count()
    }

    /// For scripts.
    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(&self.0).unwrap_or_default()
    }

    /// For people: numbered, with why and what to do.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (index, finding) in self.0.iter().enumerate() {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
                Severity::Ok => "ok",
            };
            let _ = writeln!(
                text,
                "{}. {severity} [{}] {}{}",
                index + 1,
                finding.slug,
                finding.place(),
                finding.message
            );
            if let Some(why) = &finding.why {
                let _ = writeln!(text, "   why: {why}");
            }
            // The message of a setting has its suggestion in it.
            let fix = finding.suggestion.as_ref();
            if let Some(fix) = fix.filter(|_| finding.slug != "setting") {
                let _ = writeln!(text, "   do:  {fix}");
            }
        }
        let (errors, warnings) = (self.errors(), self.count(Severity::Warning));
        let many = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        let _ = match (errors, warnings) {
            (0, 0) => writeln!(text, "nothing is wrong"),
            _ => writeln!(
                text,
                "{}, {}",
                many(errors, "error"),
                many(warnings, "warning")
            ),
        };
        text
    }
}
