//! Why there is no access.

use std::fmt;
use std::time::Duration;

use crate::error::{Class, Classify};
use crate::secret::redact;

/// Why there is no access. The text names the object and what to do, without a secret.
#[derive(Clone, Debug)]
pub struct AccessError {
    class: Class,
    message: String,
    remedy: Option<String>,
    retry_after: Option<Duration>,
    /// Whether it was asked for again until there was no sense in it.
    is_final: bool,
}

impl AccessError {
    /// An error of `class`; `message` says the object and what is wrong with it.
    pub fn new(class: Class, message: impl AsRef<str>) -> Self {
        Self { class, message: redact(message.as_ref()), remedy: None, retry_after: None, is_final: false }
    }

    /// What to do about it; follows the message in the text.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl AsRef<str>) -> Self {
        self.remedy = Some(redact(remedy.as_ref()));
        self
    }

    /// The same error, to be dealt with as `class`.
    #[must_use]
    pub(super) fn with_class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// The other side asked for `wait`.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// The same error, after it was asked for again in vain: whoever called need not begin anew.
    #[must_use]
    pub(super) fn for_good(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// Whether it was asked for again in vain.
    pub(super) fn is_final(&self) -> bool {
        self.is_final
    }

    /// What is wrong, without the remedy.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.remedy.iter().try_for_each(|remedy| write!(f, "; {remedy}"))
    }
}

impl std::error::Error for AccessError {}

impl Classify for AccessError {
    fn class(&self) -> Class {
        self.class
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}
