//! A clock that jumps: times are what the clock said, and order is that of the sequence.

use super::*;
use crate::query::{Indexes, Query, Search};
use crate::tail::{Item, StartAt, Tail};
use crate::verify::{Options, Progress, Verdict, verify};

const DAY: i64 = 86_400_000_000;

/// Forward, a day back, far beyond the calendar, before 1970, and right again.
const JUMPS: [i64; 6] = [0, 1, -DAY, i64::MAX / 2, -NOW.0 - DAY, 2];

fn at(n: usize) -> i64 {
    JUMPS[n / 10 % JUMPS.len()].saturating_add(NOW.0).saturating_add(n as i64)
}

#[test]
fn a_clock_that_jumps_changes_no_order_and_loses_nothing() {
    let root = tempfile::tempdir().unwrap();
    let signer = Arc::new(Signer::from_seed("gateway", &[5; 32]).unwrap());
    let signing = LogOptions {
        signer: Some(signer.clone()),
        segment_age_max: Some(Duration::from_secs(3600)),
        ..options(14 * 1024)
    };
    for life in 0..6 {
        // Each life of the gateway begins at another time, too.
        let now = Timestamp(at(life * 10));
        let (mut log, recovery) = ShardLog::open(root.path(), 0, "gateway", signing.clone(), now).unwrap();
        assert_eq!(recovery.next_sequence, life as u64 * 10);
        for n in life * 10..(life + 1) * 10 {
            log.append(&Event { time_micros: at(n), ..event(n as u64, 700) });
            log.commit().unwrap();
        }
        log.close().unwrap();
    }
    let keys = vec![signer.verifier().clone()];
    let report = verify(root.path(), &Options { keys, ..Options::default() }, &Progress::default()).unwrap();
    assert_eq!(report.verdict(), Verdict::Intact, "{report:#?}");
    let mut tail = Tail::open(root.path(), None, StartAt::First, Box::new(|_| true)).unwrap();
    let mut sequences = Vec::new();
    while let Some(item) = tail.next().unwrap() {
        let Item::Entry(entry) = item else { panic!("{item:?}") };
        sequences.push(entry.sequence);
    }
    assert_eq!(sequences, (0..60).collect::<Vec<_>>(), "a shard is told in its own order");
    // By time, with and without indexes: exactly those that the clock put there.
    for (since, until) in [(NOW.0, NOW.0 + DAY), (NOW.0 - 2 * DAY, NOW.0 - 1), (i64::MIN, 0), (NOW.0 + DAY, i64::MAX)] {
        let expected: Vec<u64> = (0..60).filter(|n| (since..until).contains(&at(*n))).map(|n| n as u64).collect();
        for indexes in [Indexes::Build, Indexes::Use, Indexes::Ignore] {
            let query = Query { from_micros: Some(since), until_micros: Some(until), ..Query::default() };
            let mut search = Search::new(root.path(), None, query, indexes).unwrap();
            let mut found = Vec::new();
            while let Some(item) = search.next().unwrap() {
                let Item::Entry(entry) = item else { panic!("{item:?}") };
                found.push(entry.sequence);
            }
            assert_eq!(found, expected, "{since}..{until} {indexes:?}");
        }
    }
}
