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
        patterns.iter().map(|pattern| Self::one(pattern)).collect::<Result<_, _>>().map(Self)
    }

    fn one(pattern: &str) -> Result<Pattern, PatternError> {
        let parsed = Pattern::new(&pattern.to_lowercase())?;
        match unbracketed_brace(pattern) {
            None => Ok(parsed),
            Some(pos) => Err(PatternError { pos, msg: BRACES }),
        }
    }

    /// Whether one of the patterns matches the whole of `name`.
    #[must_use]
    pub fn match_any(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.0.iter().any(|pattern| pattern.matches_with(&name, OPTIONS))
    }
}

/// Elsewhere `{a,b}` is one of two; here it would be those very characters, and match nothing in silence.
const BRACES: &str = "braces have no meaning: write two patterns instead of {a,b}, and [{] for a brace itself";

/// Where the first brace stands, in characters, that is not within `[…]`.
fn unbracketed_brace(pattern: &str) -> Option<usize> {
    let mut characters = pattern.chars().enumerate();
    while let Some((at, character)) = characters.next() {
        match character {
            '{' | '}' => return Some(at),
            '[' => {
                // The first one may be the closing bracket itself, also after the `!`.
                let first = characters.next()?;
                if first.1 == '!' {
                    characters.next();
                }
                characters.find(|(_, character)| *character == ']');
            }
            _ => {}
        }
    }
    None
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
        for braces in ["Gateway.{Item,Price}", "a}", "[!]]{", "[{]{", "ä{"] {
            let error = Globs::new(&[braces.to_owned()]).expect_err(braces);
            assert!(error.msg.contains("write two patterns"), "{error}");
        }
        let globs = Globs::new(&["[{]a[!x}]".to_owned(), "[]}]".to_owned()]).expect("globs");
        assert!(globs.match_any("{ab") && globs.match_any("}") && !globs.match_any("{a}"));
    }
}
