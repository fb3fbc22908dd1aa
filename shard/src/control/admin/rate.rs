//! How often somebody may call: a token bucket each, in a bounded table.
//!
//! Invariants: no clock of its own; at the bound of the table buckets that are full again are
//! forgotten first (they say nothing), and where none is, newcomers share one bucket: a flood of new
//! names slows newcomers down and nobody else.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_core::words::Timestamp;

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Calls a second.
    pub per_second: u32,
    /// Calls at once.
    pub burst: u32,
}

/// Names that the table holds.
const NAMES_MAX: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Millionths of calls that may be made at once.
    level: i64,
    seen: Timestamp,
}

/// The buckets of one kind of callers.
#[derive(Debug)]
pub(super) struct Buckets {
    rate: Rate,
    by_name: HashMap<Arc<str>, Bucket>,
    newcomers: Bucket,
}

/// A call, in the unit of levels.
const CALL: i64 = 1_000_000;

impl Buckets {
    /// Full buckets for everybody.
    pub(super) fn new(rate: Rate) -> Self {
        let newcomers = Bucket { level: i64::from(rate.burst) * CALL, seen: Timestamp(0) };
        Self { rate, by_name: HashMap::new(), newcomers }
    }

    /// Takes one call out of the bucket of `name`; else the seconds until there is one.
    ///
    /// # Errors
    /// At least 1.
    pub(super) fn take(&mut self, name: &str, now: Timestamp) -> Result<(), u32> {
        let rate = self.rate;
        if let Some(bucket) = self.by_name.get_mut(name) {
            return take(rate, bucket, now);
        }
        if self.by_name.len() >= NAMES_MAX {
            self.by_name.retain(|_, bucket| fill(rate, bucket, now) < full(rate));
        }
        if self.by_name.len() >= NAMES_MAX {
            return take(rate, &mut self.newcomers, now);
        }
        let bucket = self.by_name.entry(Arc::from(name)).or_insert(Bucket { level: full(rate), seen: now });
        take(rate, bucket, now)
    }
}

const fn full(rate: Rate) -> i64 {
    rate.burst as i64 * CALL
}

/// Brings a bucket up to now; its level.
fn fill(rate: Rate, bucket: &mut Bucket, now: Timestamp) -> i64 {
    let micros = now.0.saturating_sub(bucket.seen.0).clamp(0, 3_600_000_000);
    bucket.level = (bucket.level + micros * i64::from(rate.per_second)).min(full(rate));
    bucket.seen = now;
    bucket.level
}

fn take(rate: Rate, bucket: &mut Bucket, now: Timestamp) -> Result<(), u32> {
    let level = fill(rate, bucket, now);
    if level >= CALL {
        bucket.level -= CALL;
        return Ok(());
    }
    let seconds = (CALL - level) / (i64::from(rate.per_second.max(1)) * 1_000_000) + 1;
    Err(u32::try_from(seconds).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_and_the_table_is_bounded() {
        let mut buckets = Buckets::new(Rate { per_second: 2, burst: 3 });
        let at = |millis: i64| Timestamp(1_000_000_000_000).plus_millis(millis);
        let takes = |buckets: &mut Buckets, name: &str, millis| buckets.take(name, at(millis)).is_ok();
        assert_eq!([0, 0, 0, 0].map(|millis| takes(&mut buckets, "a", millis)), [true, true, true, false]);
        assert_eq!(buckets.take("a", at(0)), Err(1));
        assert!(takes(&mut buckets, "b", 0), "each has its own");
        assert_eq!([500, 500].map(|millis| takes(&mut buckets, "a", millis)), [true, false]);
        assert!(!takes(&mut buckets, "a", 400), "a clock that goes back fills nothing");

        for number in 0..10 * NAMES_MAX {
            let _ = buckets.take(&format!("n{number}"), at(600));
        }
        assert!(buckets.by_name.len() <= NAMES_MAX);
        assert!(!takes(&mut buckets, "one more", 600), "newcomers share what is left");
        assert!(takes(&mut buckets, "n0", 600), "who is known has his own still");
        assert!(takes(&mut buckets, "one more", 10_000), "full buckets are forgotten");
    }
}
