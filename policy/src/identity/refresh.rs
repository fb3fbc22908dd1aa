//! When an issuer's keys are fetched: on schedule, and when a token names a key that is not known.
//!
//! Pure policy; the control thread does the fetching. Two dangers are balanced: a flood of made-up key ids must not
//! become a flood of requests to the issuer, and a rotated key must become known within seconds.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_core::words::Timestamp;

use super::keys::KeySet;

/// The times and bounds of refreshing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshPolicy {
    /// Milliseconds between two refreshes of one issuer that unknown keys ask for.
    pub unknown_key_interval_millis: i64,
    /// Milliseconds for which a key id that a refresh did not bring is not asked for again.
    pub absent_key_millis: i64,
    /// Absent key ids that are remembered. At the bound the oldest is forgotten: the interval still holds.
    pub absent_keys_max: usize,
    /// Milliseconds between two refreshes on schedule, where the issuer does not say how long its answer holds.
    pub interval_millis: i64,
    /// Bounds on what the issuer says (`Cache-Control: max-age`), milliseconds.
    pub interval_millis_range: (i64, i64),
    /// Milliseconds until the first retry after a failure; doubles with each failure up to the interval's lower bound.
    pub retry_millis: i64,
    /// Milliseconds for which keys are trusted without a successful refresh (stale-if-error).
    pub stale_millis_max: i64,
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        const SECOND: i64 = 1000;
        const MINUTE: i64 = 60 * SECOND;
        Self {
            unknown_key_interval_millis: 10 * SECOND,
            absent_key_millis: MINUTE,
            absent_keys_max: 1024,
            interval_millis: 15 * MINUTE,
            interval_millis_range: (MINUTE, 24 * 60 * MINUTE),
            retry_millis: SECOND,
            stale_millis_max: 24 * 60 * MINUTE,
        }
    }
}

/// What to do about a key that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Fetch the issuer's keys now. The gate counts it as done.
    Refresh,
    /// Too soon after the last refresh; one may be asked from this time on. A refresh that is under way may bring the
    /// key all the same.
    Later(Timestamp),
    /// A refresh has shown that the issuer does not have it; it is not asked for again before this time.
    Absent(Timestamp),
}

#[derive(Debug, Default)]
struct IssuerGate {
    /// When the last refresh for an unknown key was allowed.
    asked: Option<Timestamp>,
    /// Key ids that were asked for since the last answer.
    waiting: Vec<String>,
    /// Key ids that the issuer was seen not to have, and until when that is believed.
    absent: HashMap<String, Timestamp>,
}

/// Decides whether an unknown key id is worth a refresh. Bounded in memory, whatever clients send.
#[derive(Debug)]
pub struct RefreshGate {
    policy: RefreshPolicy,
    issuers: HashMap<Arc<str>, IssuerGate>,
}

impl RefreshGate {
    /// A gate that has seen nothing.
    #[must_use]
    pub fn new(policy: RefreshPolicy) -> Self {
        Self { policy, issuers: HashMap::new() }
    }

    /// Somebody's token names a key `kid` of `issuer` (a configured one) that is not known.
    pub fn ask(&mut self, issuer: &Arc<str>, kid: &str, now: Timestamp) -> Ask {
        let policy = self.policy;
        let gate = self.issuers.entry(issuer.clone()).or_default();
        if let Some(until) = gate.absent.get(kid).copied() {
            if now < until {
                return Ask::Absent(until);
            }
            gate.absent.remove(kid);
        }
        if gate.waiting.len() < policy.absent_keys_max && !gate.waiting.iter().any(|waiting| waiting == kid) {
            gate.waiting.push(kid.to_owned());
        }
        if let Some(asked) = gate.asked {
            let next = asked.plus_millis(policy.unknown_key_interval_millis);
            if now < next {
                return Ask::Later(next);
            }
        }
        gate.asked = Some(now);
        Ask::Refresh
    }

    /// A refresh of `issuer`, whoever asked for it, brought `keys`: what was asked for and is not among them is absent.
    pub fn refreshed(&mut self, issuer: &Arc<str>, keys: &KeySet, now: Timestamp) {
        let policy = self.policy;
        let gate = self.issuers.entry(issuer.clone()).or_default();
        gate.absent.retain(|kid, until| now < *until && !keys.has(kid));
        for kid in std::mem::take(&mut gate.waiting) {
            if kid.is_empty() || keys.has(&kid) {
                continue;
            }
            if gate.absent.len() >= policy.absent_keys_max
                && let Some(oldest) = gate.absent.iter().min_by_key(|(_, until)| **until).map(|(kid, _)| kid.clone())
            {
                gate.absent.remove(&oldest);
            }
            gate.absent.insert(kid, now.plus_millis(policy.absent_key_millis));
        }
    }

    /// How many key ids are remembered, over all issuers.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.issuers.values().map(|gate| gate.absent.len() + gate.waiting.len()).sum()
    }
}

/// How fresh one issuer's keys are: when to fetch again, and until when old keys are trusted (stale-if-error).
#[derive(Debug, Clone, Copy)]
pub struct KeyFreshness {
    policy: RefreshPolicy,
    fetched: Option<Timestamp>,
    due: Timestamp,
    failures: u32,
}

impl KeyFreshness {
    /// Nothing fetched: due at once.
    #[must_use]
    pub fn new(policy: RefreshPolicy) -> Self {
        Self { policy, fetched: None, due: Timestamp(i64::MIN), failures: 0 }
    }

    /// Keys were fetched. `max_age_seconds` is what the issuer's answer says, if it says something.
    pub fn succeeded(&mut self, now: Timestamp, max_age_seconds: Option<u32>) {
        let (least, most) = self.policy.interval_millis_range;
        let interval = max_age_seconds.map_or(self.policy.interval_millis, |secs| i64::from(secs) * 1000);
        self.fetched = Some(now);
        self.failures = 0;
        self.due = now.plus_millis(interval.clamp(least, most));
    }

    /// Fetching failed: it is due again after a pause that doubles with each failure.
    pub fn failed(&mut self, now: Timestamp) {
        let pause = self.policy.retry_millis.saturating_mul(1_i64 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        self.due = now.plus_millis(pause.min(self.policy.interval_millis_range.0));
    }

    /// When the next fetch is due.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        self.due
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the keys that were fetched may still be trusted. False where none were.
    #[must_use]
    pub fn usable(&self, now: Timestamp) -> bool {
        self.fetched.is_some_and(|fetched| now < fetched.plus_millis(self.policy.stale_millis_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[u8] =
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"new","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000).plus_millis(millis)
    }

    #[test]
    fn unknown_keys_are_rate_limited_and_then_remembered() {
        let issuer: Arc<str> = Arc::from("https://a");
        let other: Arc<str> = Arc::from("https://b");
        let keys = KeySet::parse(KEYS).unwrap();
        let mut gate = RefreshGate::new(RefreshPolicy::default());
        assert_eq!(gate.ask(&issuer, "x", at(0)), Ask::Refresh);
        assert_eq!(gate.ask(&issuer, "y", at(1)), Ask::Later(at(10_000)));
        assert_eq!(gate.ask(&other, "x", at(1)), Ask::Refresh, "issuers do not slow each other down");
        gate.refreshed(&issuer, &keys, at(100));
        assert_eq!(gate.ask(&issuer, "x", at(20_000)), Ask::Absent(at(60_100)));
        assert_eq!(gate.ask(&issuer, "y", at(20_000)), Ask::Absent(at(60_100)));
        assert_eq!(gate.ask(&issuer, "x", at(60_100)), Ask::Refresh, "absence is not believed for ever");
    }

    #[test]
    fn a_rotated_key_is_not_taken_for_absent() {
        let issuer: Arc<str> = Arc::from("https://a");
        let keys = KeySet::parse(KEYS).unwrap();
        let mut gate = RefreshGate::new(RefreshPolicy::default());
        assert_eq!(gate.ask(&issuer, "new", at(0)), Ask::Refresh);
        gate.refreshed(&issuer, &keys, at(50));
        assert_eq!(gate.ask(&issuer, "new", at(10_000)), Ask::Refresh);
    }

    #[test]
    fn a_flood_of_made_up_keys_costs_bounded_memory_and_few_refreshes() {
        let policy = RefreshPolicy { absent_keys_max: 16, ..RefreshPolicy::default() };
        let issuer: Arc<str> = Arc::from("https://a");
        let keys = KeySet::parse(KEYS).unwrap();
        let mut gate = RefreshGate::new(policy);
        let mut refreshes = 0;
        for i in 0..60_000 {
            if gate.ask(&issuer, &format!("kid-{i}"), at(i)) == Ask::Refresh {
                refreshes += 1;
                gate.refreshed(&issuer, &keys, at(i));
            }
            assert!(gate.remembered() <= 32);
        }
        assert_eq!(refreshes, 6);
    }

    #[test]
    fn failures_back_off_and_old_keys_stay_usable_for_a_day() {
        let mut freshness = KeyFreshness::new(RefreshPolicy::default());
        assert!(freshness.due() < at(0) && !freshness.usable(at(0)));
        freshness.succeeded(at(0), Some(300));
        assert_eq!(freshness.due(), at(300_000));
        freshness.failed(at(300_000));
        assert_eq!(freshness.due(), at(301_000));
        freshness.failed(at(301_000));
        assert_eq!(freshness.due(), at(303_000));
        for _ in 0..100 {
            freshness.failed(at(400_000));
        }
        assert_eq!(freshness.due(), at(460_000), "the pause is bounded");
        let day = 24 * 3_600_000;
        assert!(freshness.usable(at(day - 1)) && !freshness.usable(at(day)));
        freshness.succeeded(at(day), Some(1));
        assert_eq!((freshness.due(), freshness.failures()), (at(day + 60_000), 0));
    }
}
