//! The open loop: when requests are due, and whose they are. A seeded Poisson process for each
//! thread, dealt out to its connections in turn.

use std::rc::Rc;
use std::time::Duration;

use tidegate::data::runtime;

use super::{Handle, Phase, Thread};
use crate::payload::Random;

/// Deals requests out until the run drains.
pub(super) async fn pace(thread: Rc<Thread>, rate: u64, producers: Vec<Rc<Handle>>, consumers: Vec<Rc<Handle>>) {
    let shared = &thread.shared;
    let profile = &shared.profile;
    let threads = f64::from(profile.generator_threads);
    let mut random = Random::new(profile.seed ^ (u64::from(thread.index) << 32));
    let mut deal = Deal::new(producers.len(), consumers.len(), profile.fetches_per_produce);
    while shared.phase() == Phase::Connecting {
        runtime::sleep(Duration::from_millis(2)).await;
    }
    let mut due = shared.now() as f64;
    while shared.phase() < Phase::Draining {
        let now = shared.now() as f64;
        while due <= now {
            if let Some((produces, index)) = deal.next() {
                let handle = if produces { &producers[index] } else { &consumers[index] };
                handle.due.borrow_mut().push_back(due as u64);
                handle.wake();
            }
            due += random.exponential(rate as f64 / threads) * 1e9;
        }
        runtime::sleep(Duration::from_nanos((due - now) as u64)).await;
    }
}

/// Whose turn it is.
struct Deal {
    producers: usize,
    consumers: usize,
    /// Share of produce requests among all.
    share: f64,
    owed: f64,
    produced: usize,
    fetched: usize,
}

impl Deal {
    fn new(producers: usize, consumers: usize, fetches_per_produce: f64) -> Self {
        let share = match (producers, consumers) {
            (0, _) => 0.0,
            (_, 0) => 1.0,
            _ => 1.0 / (1.0 + fetches_per_produce),
        };
        Self { producers, consumers, share, owed: 0.0, produced: 0, fetched: 0 }
    }

    /// Whether to produce, and which connection; `None` where there is none.
    fn next(&mut self) -> Option<(bool, usize)> {
        self.owed += self.share;
        if self.owed >= 1.0 {
            self.owed -= 1.0;
            self.produced += 1;
            return (self.producers > 0).then(|| (true, self.produced % self.producers));
        }
        self.fetched += 1;
        (self.consumers > 0).then(|| (false, self.fetched % self.consumers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_dealt_out_in_the_wanted_ratio_and_to_all() {
        for (ratio, expected) in [(0.0, 1000), (1.0, 500), (3.0, 250)] {
            let mut deal = Deal::new(3, 5, ratio);
            let dealt: Vec<_> = (0..1000).filter_map(|_| deal.next()).collect();
            let produced = dealt.iter().filter(|(produces, _)| *produces).count();
            assert!(produced.abs_diff(expected) <= 1, "{ratio}: {produced}");
            assert!((0..3).all(|index| dealt.contains(&(true, index))));
        }
        assert_eq!(Deal::new(0, 0, 1.0).next(), None);
        let mut only_fetches = Deal::new(0, 2, 1.0);
        assert!((0..10).filter_map(|_| only_fetches.next()).all(|(produces, _)| !produces));
    }
}
