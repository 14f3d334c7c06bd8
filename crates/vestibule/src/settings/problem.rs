//! What is wrong with a configuration: every problem at once, each with its place and, where one can be guessed, a
//! correction (facts/deployment-and-operations.md §5.1 row 11).

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use vestibule_oauth::secret::Secret;

use super::record::{Asked, Record};
use super::reference::{Fetched, SecretReference};

/// Everything that is wrong with a configuration. Prints one line for each problem.
#[derive(Debug, Error)]
#[error("{}", self.lines())]
pub struct SettingsError {
    problems: Vec<Problem>,
    files: Vec<PathBuf>,
}

impl SettingsError {
    pub(super) fn new(problems: Vec<Problem>, files: Vec<PathBuf>) -> Self {
        Self { problems, files }
    }

    /// The problems, in the order in which they were found; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The files that the configuration names, as far as it was understood.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn lines(&self) -> String {
        let lines: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub place: Place,
    /// The configuration file's name, when there is one.
    pub file: Option<String>,
    /// The key, as `provider.client_id` or `resource[0].path`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, in one sentence without a full stop. Never holds the value of a secret.
    pub message: String,
}

impl Problem {
    /// What to write instead, where the message knows it: the text in quotes after "did you mean" or "write".
    pub fn suggestion(&self) -> Option<&str> {
        let quoted = |phrase: &str, quote: char| {
            let (_, rest) = self.message.split_once(&format!("{phrase} {quote}"))?;
            rest.split(quote).next().filter(|text| !text.is_empty())
        };
        quoted("did you mean", '`').or_else(|| quoted("write", '\''))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, &self.file) {
            (Place::File { line, column }, Some(file)) => write!(f, "{file}:{line}:{column}: ")?,
            (Place::File { line, column }, None) => write!(f, "line {line}, column {column}: ")?,
            (Place::Variable(name), _) => write!(f, "{name}: ")?,
            (Place::Nowhere, Some(file)) => write!(f, "{file}: ")?,
            (Place::Nowhere, None) => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file, counted from one; columns count characters.
    File {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In this environment variable.
    Variable(String),
    /// Nowhere: it is missing, or a default.
    Nowhere,
}

/// A value with the key and the place it was written at.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
}

impl<T> Located<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located {
            value: change(self.value),
            spot: self.spot,
        }
    }
}

/// A key and the place it was written at.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) key: String,
    pub(super) place: Place,
}

/// Collects problems and warnings while a configuration is read, and what was asked for.
#[derive(Debug, Default)]
pub(super) struct Problems {
    file: Option<PathBuf>,
    survey: bool,
    found: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    notes: RefCell<Vec<String>>,
    files: RefCell<Vec<PathBuf>>,
    record: Record,
    fetched: Fetched,
    references: RefCell<Vec<SecretReference>>,
}

/// What a reading came to.
pub(super) struct Judgement<T> {
    pub(super) outcome: Result<T, SettingsError>,
    pub(super) warnings: Vec<Problem>,
    pub(super) notes: Vec<String>,
    pub(super) files: Vec<PathBuf>,
    pub(super) asked: Vec<Asked>,
}

impl Problems {
    pub(super) fn new(file: Option<PathBuf>, fetched: Fetched) -> Self {
        Self {
            file,
            fetched,
            ..Self::default()
        }
    }

    /// For reading nothing, to learn what is asked for: every optional section and one element of every list is there.
    pub(super) fn survey() -> Self {
        Self {
            survey: true,
            ..Self::default()
        }
    }

    pub(super) fn is_survey(&self) -> bool {
        self.survey
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Records that the value at `spot` is wrong.
    pub(super) fn add(&self, spot: &Spot, message: impl Into<String>) {
        let problem = self.problem(spot, message.into());
        self.found.borrow_mut().push(problem);
    }

    /// Records something that is allowed but unwise.
    pub(super) fn warn(&self, spot: &Spot, message: &str) {
        let problem = self.problem(spot, message.to_owned());
        self.warnings.borrow_mut().push(problem);
    }

    /// Records something that is worth a line in the log.
    pub(super) fn remark(&self, note: String) {
        self.notes.borrow_mut().push(note);
    }

    fn problem(&self, spot: &Spot, message: String) -> Problem {
        Problem {
            place: spot.place.clone(),
            file: self.file.as_ref().map(|file| file.display().to_string()),
            key: spot.key.clone(),
            message,
        }
    }

    /// A file beside the configuration file; in the working directory when there is none.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        let directory = self.file.as_deref().and_then(Path::parent);
        directory.map_or_else(|| PathBuf::from(name), |directory| directory.join(name))
    }

    /// The secret that is written as `text`, or that `text` refers to.
    pub(super) fn secret(&self, text: Located<String>) -> Option<Located<Secret>> {
        let reference = match SecretReference::parse(&text.value) {
            None => return Some(text.map(Secret::new)),
            Some(Ok(reference)) => reference,
            Some(Err(message)) => {
                self.add(&text.spot, message);
                return None;
            }
        };
        match self.fetched.get(&reference) {
            Some(Ok(secret)) => return Some(text.map(|_| secret.clone())),
            Some(Err(error)) => self.add(&text.spot, format!("{reference}: {error}")),
            None => {
                self.add(&text.spot, format!("{reference}: was not fetched"));
                self.references.borrow_mut().push(reference);
            }
        }
        None
    }

    /// The references that nobody has fetched.
    pub(super) fn references(&self) -> Vec<SecretReference> {
        self.references.take()
    }

    /// A path as written at `spot`: relative to the configuration file when it stands there, else to the working
    /// directory. Remembered, so that a change of the file can be noticed.
    pub(super) fn resolve(&self, written: &Located<String>) -> PathBuf {
        let path = self.locate(written);
        self.files.borrow_mut().push(path.clone());
        path
    }

    /// The same for a file that is not configuration: it may change as it likes.
    pub(super) fn locate(&self, written: &Located<String>) -> PathBuf {
        let directory = self.file.as_deref().and_then(Path::parent);
        match (&written.spot.place, directory) {
            (Place::File { .. }, Some(directory)) => directory.join(&written.value),
            _ => PathBuf::from(&written.value),
        }
    }

    /// `settings` when nothing was wrong, with all there is to say about the reading.
    pub(super) fn judge<T>(self, settings: Option<T>) -> Judgement<T> {
        let mut found = self.found.into_inner();
        let files = self.files.into_inner();
        let outcome = match settings {
            Some(settings) if found.is_empty() => Ok(settings),
            _ => {
                if found.is_empty() {
                    found.push(Problem {
                        place: Place::Nowhere,
                        file: None,
                        key: String::new(),
                        message: "the configuration is incomplete".to_owned(),
                    });
                }
                Err(SettingsError::new(found, files.clone()))
            }
        };
        Judgement {
            outcome,
            warnings: self.warnings.into_inner(),
            notes: self.notes.into_inner(),
            files,
            asked: self.record.into_asked(),
        }
    }
}
