//! A bounded store of things that are good for a while, found by the hash of a secret: codes, logins under way, ids
//! that may be used once.

use std::collections::HashMap;
use std::hash::Hash;

use tidegate_core::words::Timestamp;

/// Where no more fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Values with an end, at most so many.
#[derive(Debug)]
pub(super) struct Shelf<K, V> {
    max: usize,
    kept: HashMap<K, (Timestamp, V)>,
}

impl<K: Eq + Hash, V> Shelf<K, V> {
    /// Empty; keeps at most `max`.
    pub(super) fn new(max: usize) -> Self {
        Self { max, kept: HashMap::new() }
    }

    /// Keeps `value` until `end`.
    ///
    /// # Errors
    /// [`Full`]: nothing that is still good is dropped for something new.
    pub(super) fn put(&mut self, key: K, value: V, end: Timestamp, now: Timestamp) -> Result<(), Full> {
        if self.kept.len() >= self.max && !self.kept.contains_key(&key) {
            self.kept.retain(|_, (end, _)| now < *end);
            if self.kept.len() >= self.max {
                return Err(Full);
            }
        }
        self.kept.insert(key, (end, value));
        Ok(())
    }

    /// What is kept under `key`, where it is still good.
    pub(super) fn get_mut(&mut self, key: &K, now: Timestamp) -> Option<&mut V> {
        self.kept.get_mut(key).filter(|(end, _)| now < *end).map(|(_, value)| value)
    }

    /// Until when what is kept under `key` is good, where it still is.
    pub(super) fn end_of(&self, key: &K, now: Timestamp) -> Option<Timestamp> {
        self.kept.get(key).map(|(end, _)| *end).filter(|end| now < *end)
    }

    /// Takes out what is kept under `key`, where it is still good.
    pub(super) fn take(&mut self, key: &K, now: Timestamp) -> Option<V> {
        self.kept.remove(key).filter(|(end, _)| now < *end).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_good_stays_and_what_has_ended_makes_room() {
        let at = Timestamp::from_secs;
        let mut shelf = Shelf::new(2);
        assert_eq!(shelf.put("a", 1, at(10), at(0)), Ok(()));
        assert_eq!(shelf.put("b", 2, at(20), at(0)), Ok(()));
        assert_eq!(shelf.put("c", 3, at(20), at(5)), Err(Full));
        assert_eq!(shelf.get_mut(&"a", at(9)).copied(), Some(1));
        assert_eq!(shelf.get_mut(&"a", at(10)), None);
        assert_eq!(shelf.put("c", 3, at(20), at(10)), Ok(()));
        assert_eq!(shelf.take(&"c", at(11)), Some(3));
        assert_eq!(shelf.take(&"c", at(11)), None, "taken once");
    }
}
