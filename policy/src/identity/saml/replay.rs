//! An assertion is good for one login: what was used is remembered until it would be refused anyway.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_core::words::Timestamp;

use super::error::SamlError;
use super::response::VerifiedAssertion;

/// Assertions that were used, by issuer and id, until they end. Bounded: at the bound nothing is
/// forgotten early; logins wait instead.
#[derive(Debug)]
pub struct ReplayCache {
    max: usize,
    used: HashMap<(Arc<str>, Arc<str>), Timestamp>,
    by_end: BTreeSet<(Timestamp, Arc<str>, Arc<str>)>,
}

impl ReplayCache {
    /// Remembers at most `max` assertions.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, used: HashMap::new(), by_end: BTreeSet::new() }
    }

    /// Takes an assertion that was verified for its one use.
    ///
    /// # Errors
    /// [`SamlError::Replayed`] where it was used before, [`SamlError::TooMany`] at the bound.
    pub fn take(&mut self, assertion: &VerifiedAssertion, now: Timestamp) -> Result<(), SamlError> {
        while let Some(first) = self.by_end.first().filter(|(end, ..)| *end <= now).cloned() {
            self.by_end.remove(&first);
            self.used.remove(&(first.1, first.2));
        }
        let key = (assertion.principal.issuer.clone(), assertion.id.clone());
        if self.used.contains_key(&key) {
            return Err(SamlError::Replayed);
        }
        if self.used.len() >= self.max {
            return Err(SamlError::TooMany);
        }
        self.by_end.insert((assertion.usable_until, key.0.clone(), key.1.clone()));
        self.used.insert(key, assertion.usable_until);
        Ok(())
    }
}
