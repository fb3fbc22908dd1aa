//! Slows down whoever fails: attempts are counted by peer, and by peer and client, and refused for a while when too
//! many of them failed. Bounded, whatever comes.

use std::collections::HashMap;
use std::net::IpAddr;

use tidegate_core::words::Timestamp;

/// How long failures count, in milliseconds.
const WINDOW_MILLIS: i64 = 60_000;
/// Failures of one client from one address in a window. Many clients may share an address behind a balancer.
const CLIENT_FAILURES_MAX: u32 = 10;
/// Failures of all from one address in a window.
const PEER_FAILURES_MAX: u32 = 200;
/// Who is remembered. At the bound whoever failed longest ago is forgotten.
const REMEMBERED_MAX: usize = 4096;

/// Whose failures are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Peer(IpAddr),
    Client(IpAddr, String),
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since: Timestamp,
    failures: u32,
    /// The evidence has said that it is refused.
    told: bool,
}

/// What an attempt meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// It may be made.
    Open,
    /// It is refused for so many seconds; `first` where the evidence does not know yet.
    Shut { seconds: u32, first: bool },
}

/// The failures of the last minute.
#[derive(Debug, Clone, Default)]
pub(super) struct Throttle {
    windows: HashMap<Key, Window>,
}

impl Throttle {
    /// Whether `client` at `peer` may try.
    pub(super) fn ask(&mut self, peer: IpAddr, client: &str, now: Timestamp) -> Gate {
        let bounds = [(Key::Peer(peer), PEER_FAILURES_MAX), (Key::Client(peer, cut(client)), CLIENT_FAILURES_MAX)];
        for (key, max) in bounds {
            let Some(window) = self.windows.get_mut(&key) else { continue };
            let left = WINDOW_MILLIS - now.millis_since(window.since);
            if left > 0 && window.failures >= max {
                let first = !std::mem::replace(&mut window.told, true);
                return Gate::Shut { seconds: u32::try_from(left / 1000 + 1).unwrap_or(60), first };
            }
        }
        Gate::Open
    }

    /// An attempt failed in a way that guessing does.
    pub(super) fn failed(&mut self, peer: IpAddr, client: &str, now: Timestamp) {
        for key in [Key::Peer(peer), Key::Client(peer, cut(client))] {
            self.make_room(&key, now);
            let window = self.windows.entry(key).or_insert(Window { since: now, failures: 0, told: false });
            if now.millis_since(window.since) >= WINDOW_MILLIS {
                *window = Window { since: now, failures: 0, told: false };
            }
            window.failures = window.failures.saturating_add(1);
        }
    }

    fn make_room(&mut self, key: &Key, now: Timestamp) {
        if self.windows.len() < REMEMBERED_MAX || self.windows.contains_key(key) {
            return;
        }
        self.windows.retain(|_, window| now.millis_since(window.since) < WINDOW_MILLIS);
        if self.windows.len() >= REMEMBERED_MAX
            // An address' own count goes last: made-up names must not wash it out.
            && let Some(oldest) = self
                .windows
                .iter()
                .min_by_key(|(key, window)| (matches!(key, Key::Peer(_)), window.since))
                .map(|(key, _)| key.clone())
        {
            self.windows.remove(&oldest);
        }
    }
}

fn cut(client: &str) -> String {
    client.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_shut_one_out_for_a_minute_and_nobody_else() {
        let at = |secs: i64| Timestamp::from_secs(1_000 + secs);
        let (peer, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut throttle = Throttle::default();
        for _ in 0..CLIENT_FAILURES_MAX {
            assert_eq!(throttle.ask(peer, "etl", at(0)), Gate::Open);
            throttle.failed(peer, "etl", at(0));
        }
        assert_eq!(throttle.ask(peer, "etl", at(1)), Gate::Shut { seconds: 60, first: true });
        assert_eq!(throttle.ask(peer, "etl", at(30)), Gate::Shut { seconds: 31, first: false });
        assert_eq!(throttle.ask(peer, "billing", at(30)), Gate::Open);
        assert_eq!(throttle.ask(other, "etl", at(30)), Gate::Open);
        assert_eq!(throttle.ask(peer, "etl", at(60)), Gate::Open);
    }

    #[test]
    fn a_flood_of_names_costs_bounded_memory_and_shuts_out_its_address() {
        let peer = IpAddr::from([10, 0, 0, 1]);
        let mut throttle = Throttle::default();
        for n in 0..10_000 {
            throttle.failed(peer, &format!("client-{n}"), Timestamp::from_secs(1_000));
            assert!(throttle.windows.len() <= REMEMBERED_MAX);
        }
        assert!(matches!(throttle.ask(peer, "etl", Timestamp::from_secs(1_000)), Gate::Shut { .. }));
    }
}
