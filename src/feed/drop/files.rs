//! Which files of a folder are looked at, by their names.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Names that are looked at, and names that are not.
#[derive(Clone, Debug)]
pub struct FileFilter {
    include: GlobSet,
    ignore: GlobSet,
}

impl FileFilter {
    /// A filter of globs such as `*.zip`, compared without regard to case. What begins with a dot is always ignored.
    ///
    /// # Errors
    /// The glob that cannot be understood, and why.
    pub fn new(include: &[String], ignore: &[String]) -> Result<Self, globset::Error> {
        Ok(Self { include: set(include)?, ignore: set(ignore)? })
    }

    /// Whether a file in the folder is looked at.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.include.is_match(name) && !self.ignores(name)
    }

    /// Whether a name, of a file or of an entry in an archive, is one that nobody means: hidden, or still being written.
    pub(super) fn ignores(&self, name: &str) -> bool {
        let base = name.rsplit('/').next().unwrap_or(name);
        base.starts_with('.') || self.ignore.is_match(base)
    }
}

fn set(globs: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(GlobBuilder::new(glob).case_insensitive(true).build()?);
    }
    set.build()
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
