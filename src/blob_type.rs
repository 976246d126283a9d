//! Blob-type filters: include and exclude globs, compared without regard to case.

use glob::PatternError;

use crate::globs::Globs;

/// Which blob types are wanted: those that match an include glob and no exclude glob.
#[derive(Clone, Debug)]
pub struct BlobTypeFilter {
    include: Globs,
    exclude: Globs,
}

impl BlobTypeFilter {
    /// A filter of globs such as `Gateway.*`; `*` and `?` match any character, also a dot or a slash.
    ///
    /// # Errors
    /// The glob that cannot be understood, and why.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        Ok(Self { include: Globs::new(include)?, exclude: Globs::new(exclude)? })
    }

    /// Whether notices of `blob_type` are wanted.
    #[must_use]
    pub fn wants(&self, blob_type: &str) -> bool {
        self.wants_any(&[blob_type])
    }

    /// Whether notices of a blob type that has several names are wanted: one is included, and none excluded.
    #[must_use]
    pub fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.include.match_any(name)) && !names.iter().any(|name| self.exclude.match_any(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusion_wins_and_case_does_not_matter() {
        let filter = BlobTypeFilter::new(&["Gateway.*".to_owned()], &["*Errors".to_owned()]).expect("globs");
        assert!(filter.wants("gateway.itemchanges"));
        assert!(!filter.wants("Gateway.ItemImportERRORS"));
        assert!(!filter.wants("Customers"));
    }
}
