//! Globs: how blob types and file names are chosen.

use glob::{MatchOptions, Pattern, PatternError};

/// Patterns such as `Gateway.*`, compared without regard to case: `*` and `?` match any character, also a dot or a slash;
/// `[ab]`, `[0-9]` and `[!x]` one of some, and `[*]` the star itself.
#[derive(Clone, Debug)]
pub struct Globs(Vec<Pattern>);

impl Globs {
    /// Some patterns.
    ///
    /// # Errors
    /// The pattern that cannot be understood: where, and why.
    pub fn new(patterns: &[String]) -> Result<Self, PatternError> {
        patterns.iter().map(|pattern| Pattern::new(&pattern.to_lowercase())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of the patterns matches the whole of `name`.
    #[must_use]
    pub fn match_any(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.0.iter().any(|pattern| pattern.matches_with(&name, OPTIONS))
    }
}

/// Names here are no paths: nothing about a slash or a leading dot is special. Case is folded beforehand, as `glob` knows
/// that of ASCII only.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: false, require_literal_leading_dot: false };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_dots_and_slashes_and_case_does_not_matter() {
        let globs = Globs::new(&["Gateway.*Änderung".to_owned(), "[*]".to_owned()]).expect("globs");
        for name in ["gateway.item/ÄNDERUNG", "Gateway..änderung", "*"] {
            assert!(globs.match_any(name), "{name}");
        }
        for name in ["x.gateway.änderung", "gateway", "**", ""] {
            assert!(!globs.match_any(name), "{name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        assert!(Globs::new(&["[a".to_owned()]).is_err());
    }
}
