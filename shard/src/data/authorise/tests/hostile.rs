//! Bytes that nobody should send: they are refused or understood, and never more than that.

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tidegate_core::api::{Handling, enforced, handling};

use super::super::super::stage::StageError;
use super::super::call::BODY_BYTES_MAX;
use super::gate::{Gate, id};
use super::table::rows;

/// A small generator (SplitMix64): the same bytes in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self) -> Bytes {
        let length = self.roll() % 64;
        // Small bytes make plausible lengths, so that decoding gets somewhere.
        let narrow = self.roll().is_multiple_of(2);
        (0..length).map(|_| (self.roll() % if narrow { 4 } else { 256 }) as u8).collect()
    }
}

fn gate() -> Gate {
    let mut gate =
        Gate::new(&["topic: '*' | all", "group: '*' | all", "transactional_id: '*' | all", "cluster: true | all"]);
    gate.topics.learn(id(1), "t");
    gate
}

#[test]
fn random_requests_and_responses_never_panic() {
    let mut dice = Dice(1);
    let mut gate = gate();
    for api in ApiKey::iter().filter(|api| handling(*api) == Some(Handling::Inspected)) {
        let range = enforced(api).unwrap();
        for version in range.min..=range.max {
            for _ in 0..100 {
                let _ = gate.ask_bytes(api, version, dice.bytes());
            }
        }
    }
    for row in rows() {
        for version in row.versions.clone() {
            for _ in 0..100 {
                // Allowed whole, so that the response is looked at; some rows ask for too much.
                let decided = gate.ask_bytes(row.api, version, (row.request)(version)).unwrap();
                if !matches!(decided.verdict, super::super::Verdict::ForwardThen(_)) {
                    continue;
                }
                let _ = gate.respond_bytes(decided.forwarded(), dice.bytes());
            }
        }
    }
}

#[test]
fn a_request_cut_short_is_malformed_and_bytes_behind_one_are_let_be() {
    let mut gate = gate();
    for row in rows() {
        for version in row.versions.clone() {
            let whole = (row.request)(version);
            for cut in 0..whole.len() {
                let decided = gate.ask_bytes(row.api, version, whole.slice(..cut));
                assert!(matches!(decided, Err(StageError::Request { .. })), "{:?} v{version} cut at {cut}", row.api);
            }
            let mut longer = whole.to_vec();
            longer.push(0);
            let decided = gate.ask_bytes(row.api, version, longer.into());
            assert!(decided.is_ok(), "{:?} v{version} and a byte", row.api);
        }
    }
}

#[test]
fn a_request_with_a_byte_flipped_never_panics() {
    let mut gate = gate();
    for row in rows() {
        for version in row.versions.clone() {
            let whole = (row.request)(version);
            for at in 0..whole.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut flipped = whole.to_vec();
                    flipped[at] ^= flip;
                    let _ = gate.ask_bytes(row.api, version, flipped.into());
                }
            }
        }
    }
}

#[test]
fn a_body_over_the_limit_is_not_decoded() {
    let long = "x".repeat(BODY_BYTES_MAX);
    let mut body = vec![0, 0, 0, 1];
    body.extend((long.len() as i32).to_be_bytes());
    body.extend(long.into_bytes());
    let error = gate().ask_bytes(ApiKey::CreateAcls, 1, body.into()).err().unwrap();
    assert!(error.to_string().contains("is over"), "{error}");
}

#[test]
fn what_is_not_of_this_stage_is_refused() {
    for api in [ApiKey::Produce, ApiKey::Fetch, ApiKey::ApiVersions, ApiKey::Vote] {
        assert!(matches!(gate().ask_bytes(api, 0, Bytes::new()), Err(StageError::Request { .. })), "{api:?}");
    }
}
