//! Finding and taking apart the documents.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents at the root and below `docs/`.
pub(super) fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = [root(), root().join("docs")]
        .iter()
        .flat_map(|directory| std::fs::read_dir(directory).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    found.sort();
    assert!(found.len() >= 9, "{found:?}");
    found
}

/// The name of every Rust test of the workspace.
pub(super) fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in source_files() {
        let mut is_test = false;
        for line in read(&file).lines().map(str::trim_start) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let function = line.strip_prefix("async ").unwrap_or(line);
            if let Some((name, _)) = function
                .strip_prefix("fn ")
                .and_then(|rest| rest.split_once('('))
                && std::mem::take(&mut is_test)
            {
                names.insert(name.to_owned());
            }
        }
    }
    assert!(names.len() > 500, "only {} tests were found", names.len());
    names
}

/// Every Rust file of the workspace.
fn source_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join("crates")];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The fenced blocks of one language, fences and their indentation excluded.
pub(super) fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut current: Option<(bool, usize, String)> = None;
    for line in text.lines() {
        let inner = line.trim_start();
        match (&mut current, inner.strip_prefix("```")) {
            (None, Some(fence)) => {
                let indentation = line.len() - inner.len();
                current = Some((fence == language, indentation, String::new()));
            }
            (Some((wanted, _, block)), Some(_)) => {
                if *wanted {
                    blocks.push(std::mem::take(block));
                }
                current = None;
            }
            (Some((_, indentation, block)), None) => {
                block.push_str(line.get(*indentation..).unwrap_or_default());
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(current.is_none(), "a fence is not closed");
    blocks
}

/// What stands in single backticks outside of fenced blocks.
pub(super) fn in_backticks(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            names.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    names
}

/// The anchor of a heading, as code hosts make it.
pub(super) fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
