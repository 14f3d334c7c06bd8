//! What somebody probably meant to write.

/// The one of `candidates` that `given` was probably meant to be.
pub(crate) fn closest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let given = given.to_ascii_lowercase();
    let near = candidates.into_iter().filter_map(|candidate| {
        let distance = strsim::damerau_levenshtein(&given, &candidate.to_ascii_lowercase());
        let contained =
            given.len() >= 4 && (candidate.contains(&given) || given.contains(candidate));
        (distance <= given.len().div_ceil(3) || contained).then_some((distance, candidate))
    });
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
