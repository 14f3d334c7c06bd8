//! `docs/conformance.md`: every row has a test that exists, or says why it has none.

use std::collections::BTreeSet;

use super::files::{in_backticks, read, root, tests};

/// How a row without a test begins to say why.
const REASONS: [&str; 3] = ["**By choice**", "**Not done**", "**Does not apply**"];

#[test]
fn every_row_of_the_conformance_table_names_a_test_that_exists_or_says_why_not() {
    let tests = tests();
    let mut ids = BTreeSet::new();
    for row in read(&root().join("docs/conformance.md")).lines() {
        if !row.starts_with('|') {
            continue;
        }
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let ["", id, asked, ours, proof, ""] = cells.as_slice() else {
            panic!("a row without its four cells: {row}");
        };
        if id.is_empty() || id.starts_with("---") {
            continue;
        }
        assert!(ids.insert((*id).to_owned()), "{id} is there twice");
        assert!(
            !asked.is_empty() && !ours.is_empty(),
            "{id} says too little"
        );
        let names = in_backticks(proof);
        for name in &names {
            assert!(
                tests.contains(name),
                "{id} names the test `{name}`, which is nowhere"
            );
        }
        let is_explained = REASONS.iter().any(|reason| proof.starts_with(reason));
        assert!(
            !names.is_empty() || is_explained,
            "{id} has neither a test nor one of {REASONS:?}"
        );
    }
    assert!(ids.len() > 120, "only {} rows were found", ids.len());
}
