//! Patterns for names of tools and prompts, resource URIs and methods: `*` for any characters, `?` for one (docs/authorization.md).

use std::fmt;

const WILD: [char; 2] = ['*', '?'];

/// A pattern. It matches whole names, upper and lower case apart; a slash is a character like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Reads a pattern, or says why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a pattern must not be empty; `*` matches everything".to_owned());
        }
        if text.chars().any(char::is_control) {
            return Err("a pattern must not hold control characters".to_owned());
        }
        if text.contains("**") {
            return Err(format!(
                "'{text}' has `**`; one `*` matches everything, slashes too"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when the pattern is a plain name.
    pub fn is_literal(&self) -> bool {
        !self.0.contains(WILD)
    }

    /// True when `name` as a whole fits. Takes at most the product of both lengths in steps.
    pub fn matches(&self, name: &str) -> bool {
        // What stands before the first wildcard stands in the name as well, and mostly there is one star at most.
        let wild = self.0.find(WILD).unwrap_or(self.0.len());
        let (plain, wild) = self.0.split_at(wild);
        let Some(name) = name.strip_prefix(plain) else {
            return false;
        };
        match wild.strip_prefix('*') {
            Some(end) if !end.contains(WILD) => name.ends_with(end),
            _ => matches_wild(wild, name),
        }
    }

    /// True when everything that `other` matches is matched by this one too, as far as can be seen without effort.
    pub fn covers(&self, other: &Self) -> bool {
        self == other || (!self.0.contains('?') && self.matches(&other.0))
    }
}

/// The same for what follows the plain beginning of a pattern.
fn matches_wild(pattern: &str, name: &str) -> bool {
    let bytes = pattern.as_bytes();
    let mut rest = name.char_indices();
    let mut at = 0;
    // Where to go on after the newest star, and the text that it has not taken yet.
    let mut retry: Option<(usize, std::str::CharIndices<'_>)> = None;
    loop {
        let before = rest.clone();
        let next = rest.next().map(|(_, character)| character);
        match (bytes.get(at), next) {
            (Some(b'*'), _) => {
                at += 1;
                retry = Some((at, before.clone()));
                rest = before;
                continue;
            }
            (None, None) => return true,
            (Some(b'?'), Some(_)) => {
                at += 1;
                continue;
            }
            (Some(_), Some(character)) => {
                let wanted = pattern.get(at..).and_then(|text| text.chars().next());
                if wanted == Some(character) {
                    at += character.len_utf8();
                    continue;
                }
            }
            (Some(_), None) => return false,
            (None, Some(_)) => {}
        }
        let Some((after_star, untaken)) = &mut retry else {
            return false;
        };
        if untaken.next().is_none() {
            return false;
        }
        at = *after_star;
        rest = untaken.clone();
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::parse(text).unwrap()
    }

    #[test]
    fn stars_take_any_characters_and_question_marks_one() {
        for (pattern, yes, no) in [
            (
                "echo",
                vec!["echo"],
                vec!["Echo", "echo2", "ech", "", "echo "],
            ),
            ("*", vec!["", "a", "a/b"], vec![]),
            (
                "admin_*",
                vec!["admin_", "admin_x"],
                vec!["admin", "xadmin_y"],
            ),
            ("*_write", vec!["_write", "a_write_write"], vec!["a_write2"]),
            ("a*b*c", vec!["abc", "aXbXbXc"], vec!["acb", "abcd"]),
            ("gr?n", vec!["grün", "gran"], vec!["grn", "graan"]),
            ("*ü", vec!["ü", "xü"], vec!["u"]),
            ("file:///a/*", vec!["file:///a/b/c"], vec!["file:///ab"]),
        ] {
            for name in yes {
                assert!(glob(pattern).matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!glob(pattern).matches(name), "{pattern} {name}");
            }
        }
        for bad in ["", "a**b", "a\nb"] {
            assert!(Glob::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one() {
        for (wide, narrow, covers) in [
            ("*", "a*", true),
            ("a*", "ab*", true),
            ("ab*", "a*", false),
            ("a", "a", true),
            ("a?", "a*", false),
            ("a*", "a?", true),
            ("a", "*", false),
        ] {
            assert_eq!(glob(wide).covers(&glob(narrow)), covers, "{wide} {narrow}");
        }
    }

    #[test]
    fn a_pattern_made_to_backtrack_ends() {
        let pattern = glob(&"*a".repeat(60));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(5_000))));
    }

    /// The obvious matcher, against which the quick one is measured.
    fn slow(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((&'*', rest)), _) => {
                slow(rest, name) || (!name.is_empty() && slow(pattern, &name[1..]))
            }
            (Some((&wanted, pattern)), Some((&got, name))) => {
                (wanted == '?' || wanted == got) && slow(pattern, name)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_quick_matcher_agrees_with_the_obvious_one(pattern in "[abü?*]{1,8}", name in "[abü]{0,10}") {
            prop_assume!(!pattern.contains("**"));
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(glob(&pattern).matches(&name), slow(&chars(&pattern), &chars(&name)));
        }

        #[test]
        fn a_name_without_wildcards_matches_itself_alone(name in "[a-z_/.-]{1,20}", other in "[a-z_/.-]{1,20}") {
            prop_assert!(glob(&name).matches(&name));
            prop_assert_eq!(glob(&name).matches(&other), name == other);
        }
    }
}
