//! What must hold before the gateway takes clients, and why it does not yet.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Something that readiness waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    /// The upstream answered at least once and did so at the last try.
    Upstream = 1,
    /// Every issuer's keys are known.
    Keys = 2,
}

/// The conditions met so far. Every part is written by one thread and read by the control thread.
#[derive(Debug)]
pub struct Readiness {
    shards_wanted: usize,
    shards_up: AtomicUsize,
    met: AtomicU8,
}

impl Readiness {
    /// Nothing is met; `shards` shards will come up.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self { shards_wanted: shards, shards_up: AtomicUsize::new(0), met: AtomicU8::new(0) }
    }

    /// A shard listens. Called once by each.
    pub fn shard_up(&self) {
        self.shards_up.fetch_add(1, Ordering::AcqRel);
    }

    /// A shard ended. Called once by each that was up.
    pub fn shard_down(&self) {
        self.shards_up.fetch_sub(1, Ordering::AcqRel);
    }

    /// A condition holds, or no longer does.
    pub fn set(&self, condition: Condition, met: bool) {
        if met {
            self.met.fetch_or(condition as u8, Ordering::AcqRel);
        } else {
            self.met.fetch_and(!(condition as u8), Ordering::AcqRel);
        }
    }

    /// Why the gateway isn't ready, a sentence each; empty where it is.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let up = self.shards_up.load(Ordering::Acquire);
        if up < self.shards_wanted {
            missing.push(format!("{up} of {} shards are up", self.shards_wanted));
        }
        let met = self.met.load(Ordering::Acquire);
        if met & Condition::Upstream as u8 == 0 {
            missing.push("the upstream cannot be reached".to_owned());
        }
        if met & Condition::Keys as u8 == 0 {
            missing.push("the keys of at least one issuer are not known".to_owned());
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_is_missing() {
        let readiness = Readiness::new(2);
        assert_eq!(readiness.missing().len(), 3);
        readiness.shard_up();
        readiness.set(Condition::Upstream, true);
        readiness.set(Condition::Keys, true);
        assert_eq!(readiness.missing(), ["1 of 2 shards are up"]);
        readiness.shard_up();
        assert!(readiness.missing().is_empty());
        readiness.set(Condition::Keys, false);
        assert_eq!(readiness.missing().len(), 1);
    }
}
