//! Reading one section: every key is asked for once by name and kind, and what nobody asked for is an unknown key.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use vestibule_oauth::scope::{ScopeSet, is_scope_token};
use vestibule_oauth::secret::Secret;

use super::document::{Entry, Value};
use super::env::variable_for;
use super::problem::{Located, Place, Problems, Spot};
use super::record::{ANY_NAME, Kind, dotted};
use super::units;
use crate::spelling::closest;

/// A section of the document, with the keys that were asked for.
pub(super) struct Section<'a> {
    entries: BTreeMap<String, Entry>,
    path: Vec<String>,
    place: Place,
    asked: Vec<&'static str>,
    present: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    pub(super) fn root(entries: BTreeMap<String, Entry>, problems: &'a Problems) -> Self {
        Self::new(entries, Vec::new(), Place::Nowhere, problems)
    }

    fn new(
        entries: BTreeMap<String, Entry>,
        path: Vec<String>,
        place: Place,
        problems: &'a Problems,
    ) -> Self {
        Self {
            entries,
            path,
            place,
            asked: Vec::new(),
            present: Vec::new(),
            problems,
        }
    }

    /// Where problems go.
    pub(super) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// The place of `key` if it is absent: its section's in the file. A variable that made the section has no part in it.
    pub(super) fn spot_of(&self, key: &str) -> Spot {
        let place = match &self.place {
            Place::Variable(_) => Place::Nowhere,
            place => place.clone(),
        };
        Spot {
            key: dotted(&self.path_to(key)),
            place,
        }
    }

    /// Text that must not be shown again, where no file can hold it instead (see [`Section::secret`]).
    pub(super) fn hidden_text(&mut self, key: &'static str) -> Option<Located<String>> {
        self.text_as(key, Kind::Secret, |text| Ok::<_, String>(text.to_owned()))
    }

    /// Text that is not blank.
    pub(super) fn name(&mut self, key: &'static str) -> Option<Located<String>> {
        self.text_as(key, Kind::Text, not_blank)
    }

    /// The path of a file or directory, as written.
    pub(super) fn path(&mut self, key: &'static str) -> Option<Located<String>> {
        self.text_as(key, Kind::Path, not_blank)
    }

    /// Text that a rule makes into something.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        key: &'static str,
        rule: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Located<T>> {
        self.text_as(key, Kind::Text, rule)
    }

    /// The same for text that a regular expression describes, for editors; the rule decides.
    pub(super) fn parsed_like<T, E: Display>(
        &mut self,
        key: &'static str,
        pattern: &'static str,
        rule: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Located<T>> {
        self.text_as(key, Kind::Pattern(pattern), rule)
    }

    fn text_as<T, E: Display>(
        &mut self,
        key: &'static str,
        kind: Kind,
        rule: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Located<T>> {
        let (entry, spot) = self.take(key, kind)?;
        let Value::Text(text) = entry.value else {
            return self.wrong_kind(&spot, "text", &entry.value);
        };
        self.judged(spot, rule(&text))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<Located<T>> {
        let kind = Kind::Word(words.iter().map(|(word, _)| *word).collect());
        self.text_as(key, kind, |text| {
            let found = words
                .iter()
                .find(|(word, _)| word.eq_ignore_ascii_case(text));
            found.map(|(_, meaning)| *meaning).ok_or_else(|| {
                let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                match closest(text, names.iter().copied()) {
                    Some(meant) => format!("'{text}' is not known here; did you mean `{meant}`?"),
                    None => format!(
                        "'{text}' is not known here; write one of `{}`",
                        names.join("`, `")
                    ),
                }
            })
        })
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<Located<bool>> {
        let (entry, spot) = self.take(key, Kind::Flag)?;
        match (entry.value, &spot.place) {
            (Value::Boolean(value), _) => Some(Located { value, spot }),
            (Value::Text(text), Place::Variable(_)) => {
                let value = text
                    .parse::<bool>()
                    .map_err(|_| format!("'{text}' is neither true nor false"));
                self.judged(spot, value)
            }
            (other, _) => self.wrong_kind(&spot, "true or false", &other),
        }
    }

    /// A number of things.
    pub(super) fn count(&mut self, key: &'static str) -> Option<Located<usize>> {
        let (entry, spot) = self.take(key, Kind::Count)?;
        let text = match (entry.value, &spot.place) {
            (Value::Integer(number), _) => number.to_string(),
            (Value::Text(text), Place::Variable(_)) => text,
            (other, _) => return self.wrong_kind(&spot, "a number", &other),
        };
        let value = text
            .parse::<usize>()
            .map_err(|_| format!("'{text}' is not a whole number from 0 up"));
        self.judged(spot, value)
    }

    /// A duration: `"1h"`, or whole seconds.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<Located<Duration>> {
        let wanted = "a duration such as \"90s\"";
        self.measured(key, Kind::Duration, wanted, units::duration)
    }

    /// A number of bytes: `"64KiB"`, or a plain number.
    pub(super) fn size(&mut self, key: &'static str) -> Option<Located<usize>> {
        self.measured(key, Kind::Size, "a size such as \"64KiB\"", units::size)
    }

    fn measured<T>(
        &mut self,
        key: &'static str,
        kind: Kind,
        wanted: &str,
        rule: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        let (entry, spot) = self.take(key, kind)?;
        match entry.value {
            Value::Integer(number) => self.judged(spot, rule(&number.to_string())),
            Value::Text(text) => self.judged(spot, rule(&text)),
            other => self.wrong_kind(&spot, wanted, &other),
        }
    }

    /// A list of texts; in a variable, separated by commas.
    pub(super) fn list(&mut self, key: &'static str) -> Option<Located<Vec<Located<String>>>> {
        self.list_as(key, Kind::List)
    }

    fn list_as(&mut self, key: &'static str, kind: Kind) -> Option<Located<Vec<Located<String>>>> {
        let (entry, spot) = self.take(key, kind)?;
        match (entry.value, &spot.place) {
            (Value::List(items), _) => {
                let value = items.into_iter().enumerate().filter_map(|(index, item)| {
                    let spot = Spot {
                        key: format!("{}[{index}]", spot.key),
                        place: item.place,
                    };
                    match item.value {
                        Value::Text(value) => Some(Located { value, spot }),
                        other => self.wrong_kind(&spot, "text", &other),
                    }
                });
                Some(Located {
                    value: value.collect(),
                    spot,
                })
            }
            (Value::Text(text), Place::Variable(_)) => {
                let items = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                let value = items
                    .map(|item| Located {
                        value: item.to_owned(),
                        spot: spot.clone(),
                    })
                    .collect();
                Some(Located { value, spot })
            }
            (other, _) => self.wrong_kind(&spot, "a list", &other),
        }
    }

    /// A list of texts, each made into something by a rule.
    pub(super) fn parsed_list<T, E: Display>(
        &mut self,
        key: &'static str,
        rule: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Located<Vec<Located<T>>>> {
        let list = self.list(key)?;
        let value = list
            .value
            .into_iter()
            .filter_map(|item| self.judged(item.spot, rule(&item.value)));
        Some(Located {
            value: value.collect(),
            spot: list.spot,
        })
    }

    /// Scopes: a list, or one text separated by blanks as in the protocol. Ill-formed ones are problems here, although
    /// they are forgiven in requests.
    pub(super) fn scopes(&mut self, key: &'static str) -> Option<Located<ScopeSet>> {
        if matches!(
            self.entries.get(key),
            Some(Entry {
                value: Value::Text(_),
                ..
            })
        ) {
            let text = self.text_as(key, Kind::Scopes, |text| Ok::<_, String>(text.to_owned()))?;
            let tokens = text
                .value
                .split([' ', ','])
                .filter(|token| !token.is_empty());
            let value = tokens
                .filter_map(|token| self.scope_token(&text.spot, token))
                .collect();
            return Some(Located {
                value,
                spot: text.spot,
            });
        }
        let list = self.list_as(key, Kind::Scopes)?;
        let value = list
            .value
            .iter()
            .filter_map(|item| self.scope_token(&item.spot, &item.value))
            .collect();
        Some(Located {
            value,
            spot: list.spot,
        })
    }

    fn scope_token(&self, spot: &Spot, token: &str) -> Option<String> {
        if is_scope_token(token) {
            return Some(token.to_owned());
        }
        self.problems.add(
            spot,
            format!("'{token}' is not a scope: no blanks, quotes or backslashes (RFC 6749 §3.3)"),
        );
        None
    }

    /// The path of a file that must be readable.
    pub(super) fn file(&mut self, key: &'static str) -> Option<Located<PathBuf>> {
        let written = self.path(key)?;
        let path = self.problems.resolve(&written);
        if let Err(error) = std::fs::File::open(&path) {
            self.problems.add(
                &written.spot,
                format!("cannot read {}: {error}", path.display()),
            );
            return None;
        }
        Some(written.map(|_| path))
    }

    /// A secret, written as `key`, in the file that `key_file` names, or elsewhere, with a reference as `key`. A variable
    /// beats the file, whichever of the two it sets; both in one place is a contradiction.
    pub(super) fn secret(
        &mut self,
        key: &'static str,
        key_file: &'static str,
    ) -> Option<Located<Secret>> {
        let direct = self.hidden_text(key);
        let file = self.text_as(key_file, Kind::SecretFile(key), not_blank);
        let overrule = |key| self.problems.record().overrule(&self.path_to(key));
        let (direct, file) = match (direct, file) {
            (Some(direct), Some(file)) => match (&direct.spot.place, &file.spot.place) {
                (Place::Variable(_), Place::File { .. }) => {
                    overrule(key_file);
                    (Some(direct), None)
                }
                (Place::File { .. }, Place::Variable(_)) => {
                    overrule(key);
                    (None, Some(file))
                }
                _ => {
                    self.problems.add(
                        &file.spot,
                        format!("both `{key}` and `{key_file}` are set; keep one"),
                    );
                    return None;
                }
            },
            one => one,
        };
        let secret = match (direct, file) {
            (Some(direct), _) => self.problems.secret(direct)?,
            (None, Some(file)) => {
                let path = self.problems.resolve(&file);
                match std::fs::read_to_string(&path) {
                    Ok(text) => {
                        let text = zeroize::Zeroizing::new(text);
                        file.map(|_| Secret::new(text.trim_end_matches(['\r', '\n'])))
                    }
                    Err(error) => {
                        self.problems.add(
                            &file.spot,
                            format!("cannot read {}: {error}", path.display()),
                        );
                        return None;
                    }
                }
            }
            (None, None) => return None,
        };
        if secret.value.is_empty() {
            self.problems.add(&secret.spot, "the secret is empty");
            return None;
        }
        Some(secret)
    }

    /// A section within this one; an empty one when it is not written.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        self.section_as(key, Kind::Section)
    }

    fn section_as(&mut self, key: &'static str, kind: Kind) -> Self {
        let path = self.path_to(key);
        match self.take(key, kind) {
            Some((
                Entry {
                    value: Value::Table(entries),
                    place,
                },
                _,
            )) => Section::new(entries, path, place, self.problems),
            Some((Entry { value, .. }, spot)) => {
                let _: Option<()> = self.wrong_kind(&spot, "a section", &value);
                Section::new(BTreeMap::new(), path, spot.place, self.problems)
            }
            None => Section::new(BTreeMap::new(), path, Place::Nowhere, self.problems),
        }
    }

    /// A section within this one, when it is written.
    pub(super) fn optional_section(&mut self, key: &'static str) -> Option<Self> {
        let section = self.section(key);
        (section.is_written() || self.problems.is_survey()).then_some(section)
    }

    /// True when one of `keys` was asked for and written, rightly or wrongly.
    pub(super) fn has_written(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.present.contains(key))
    }

    /// True when anything of the section is written.
    pub(super) fn is_written(&self) -> bool {
        !self.present.is_empty() || !self.entries.is_empty()
    }

    /// The sections of a list (`[[key]]`).
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        self.sections_as(key, Kind::Sections)
    }

    fn sections_as(&mut self, key: &'static str, kind: Kind) -> Vec<Self> {
        let path = self.path_to(key);
        let Some((entry, spot)) = self.take(key, kind) else {
            if self.problems.is_survey() {
                let first = path.into_iter().chain(["0".to_owned()]).collect();
                let section = Section::new(BTreeMap::new(), first, Place::Nowhere, self.problems);
                return vec![section];
            }
            return Vec::new();
        };
        let Value::List(items) = entry.value else {
            let _: Option<()> = self.wrong_kind(
                &spot,
                &format!("a list of sections; write `[[{key}]]`"),
                &entry.value,
            );
            return Vec::new();
        };
        let section = |(index, item): (usize, Entry)| {
            let mut path = path.clone();
            path.push(index.to_string());
            match item.value {
                Value::Table(entries) => {
                    Some(Section::new(entries, path, item.place, self.problems))
                }
                other => self.wrong_kind(
                    &Spot {
                        key: dotted(&path),
                        place: item.place,
                    },
                    "a section",
                    &other,
                ),
            }
        };
        items.into_iter().enumerate().filter_map(section).collect()
    }

    /// The sections of a list, or the one section that is written as such; one empty section when there is neither.
    pub(super) fn one_or_more(&mut self, key: &'static str) -> Vec<Self> {
        match self.entries.get(key) {
            Some(Entry {
                value: Value::List(items),
                ..
            }) if !items.is_empty() => self.sections_as(key, Kind::OneOrMore),
            _ => vec![self.section_as(key, Kind::OneOrMore)],
        }
    }

    /// Everything in the section, as text by key; for sections whose keys the operator chooses.
    pub(super) fn all_texts(&mut self) -> Vec<(String, Located<String>)> {
        let entries = std::mem::take(&mut self.entries);
        let record = self.problems.record();
        record.note(self.path_to(ANY_NAME), Kind::Text, None);
        let text = |(key, entry): (String, Entry)| {
            record.note(self.path_to(&key), Kind::Text, Some(&entry));
            let spot = Spot {
                key: dotted(&self.path_to(&key)),
                place: entry.place,
            };
            match entry.value {
                Value::Text(value) => Some((key, Located { value, spot })),
                other => self.wrong_kind(&spot, "text", &other),
            }
        };
        entries.into_iter().filter_map(text).collect()
    }

    /// `value`, or a problem when `key` is not written at all. (A value that is written but wrong has its problem.)
    pub(super) fn required<T>(&self, key: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.present.contains(&key) {
            let variable = variable_for(&self.path_to(key));
            self.problems.add(
                &self.spot_of(key),
                format!("missing; write it in the file or set {variable}"),
            );
        }
        value
    }

    /// Ends the reading: what is left over is unknown.
    pub(super) fn finish(self) {
        for (key, entry) in &self.entries {
            let path = self.path_to(key);
            let meant = closest(key, self.asked.iter().copied());
            let message = match (meant, &entry.place) {
                (Some(meant), Place::Variable(name)) => {
                    let mut segments: Vec<&str> = name.split("__").collect();
                    let upper = meant.to_ascii_uppercase();
                    if let Some(segment) = segments.get_mut(path.len()) {
                        *segment = &upper;
                    }
                    format!("unknown setting; did you mean `{}`?", segments.join("__"))
                }
                (Some(meant), _) => format!("unknown key; did you mean `{meant}`?"),
                (None, _) => format!("unknown key; known here are `{}`", self.asked.join("`, `")),
            };
            self.problems.add(
                &Spot {
                    key: dotted(&path),
                    place: entry.place.clone(),
                },
                message,
            );
        }
    }

    fn take(&mut self, key: &'static str, kind: Kind) -> Option<(Entry, Spot)> {
        self.asked.push(key);
        let entry = self.entries.remove(key);
        let record = self.problems.record();
        record.note(self.path_to(key), kind, entry.as_ref());
        let entry = entry?;
        self.present.push(key);
        let spot = Spot {
            key: dotted(&self.path_to(key)),
            place: entry.place.clone(),
        };
        Some((entry, spot))
    }

    fn judged<T, E: Display>(&self, spot: Spot, result: Result<T, E>) -> Option<Located<T>> {
        match result {
            Ok(value) => Some(Located { value, spot }),
            Err(error) => {
                self.problems.add(&spot, error.to_string());
                None
            }
        }
    }

    fn wrong_kind<T>(&self, spot: &Spot, wanted: &str, got: &Value) -> Option<T> {
        self.problems
            .add(spot, format!("must be {wanted}, not {}", got.kind()));
        None
    }

    fn path_to(&self, key: &str) -> Vec<String> {
        self.path.iter().cloned().chain([key.to_owned()]).collect()
    }
}

fn not_blank(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() {
        Err("must not be empty")
    } else {
        Ok(text.to_owned())
    }
}
