//! Which files of a folder are looked at, by their names.

use glob::PatternError;

use crate::globs::Globs;

/// Names that are looked at, and names that are not.
#[derive(Clone, Debug)]
pub struct FileFilter {
    include: Globs,
    ignore: Globs,
}

impl FileFilter {
    /// A filter of globs such as `*.zip`, compared without regard to case. What begins with a dot is always ignored.
    ///
    /// # Errors
    /// The glob that cannot be understood, and why.
    pub fn new(include: &[String], ignore: &[String]) -> Result<Self, PatternError> {
        Ok(Self { include: Globs::new(include)?, ignore: Globs::new(ignore)? })
    }

    /// Whether a file in the folder is looked at.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.include.match_any(name) && !self.ignores(name)
    }

    /// Whether a name, of a file or of an entry in an archive, is one that nobody means: hidden, or still being written.
    pub(super) fn ignores(&self, name: &str) -> bool {
        let base = name.rsplit('/').next().unwrap_or(name);
        base.starts_with('.') || self.ignore.match_any(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_those_still_being_written_are_not_looked_at() {
        let filter = FileFilter::new(&["*.zip".to_owned()], &["*.part".to_owned(), "*.tmp".to_owned()]).expect("globs");
        assert!(filter.wants("Client ID_ 01012022.ZIP"));
        for name in [".a.zip", "a.zip.part", "a.csv"] {
            assert!(!filter.wants(name), "{name}");
        }
        assert!(filter.ignores("folder/.DS_Store"));
        assert!(filter.ignores("x/a.TMP"));
        assert!(!filter.ignores("x/a.csv"));
    }
}
