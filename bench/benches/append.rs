//! The cost of evidence: encoding an entry, and a group commit by size and durability.
//!
//! `append` is what a request pays on the shard's own core; `commit` is the system call that its
//! group shares. Where the directory lies decides what `durable` costs: set `TIDEGATE_BENCH_DIR` to
//! a disk worth measuring (default: the current directory).

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message as _;
use tidegate_audit::log::{Durability, LogOptions, ShardLog};
use tidegate_core::event::{Event, FindingCount, Kind, Outcome, ResourceUse};
use tidegate_core::words::Timestamp;

/// A consumer's fetch of a few partitions with findings: about 500 bytes encoded.
fn fetch(partitions: i32) -> Event {
    Event {
        time_micros: 1_700_000_000_000_000,
        kind: Kind::Exchange as i32,
        session: "0192f5a0-6b1c-7d2e-8f3a-4b5c6d7e8f90".into(),
        principal: "fraud-detection".into(),
        issuer: "https://login.example.org/realms/streams".into(),
        subject: "5f0c8b1e-0b51-4b42-9f5e-9d3c1f0a7a11".into(),
        groups: vec!["analysts".into(), "fraud".into()],
        client_address: "10.20.30.40:51234".into(),
        client_id: "consumer-fraud-detection-1".into(),
        api: "Fetch".into(),
        api_version: 17,
        outcome: Outcome::Allowed as i32,
        resources: (0..partitions)
            .map(|partition| ResourceUse {
                kind: "topic".into(),
                name: "orders".into(),
                partition: Some(partition),
                operation: "Read".into(),
                allowed: true,
                rule: "analysts-read-orders".into(),
                purpose: "fraud prevention".into(),
                first_offset: Some(1_000_000),
                last_offset: Some(1_000_499),
                records: 500,
                bytes: 120_000,
            })
            .collect(),
        policy_version: 7,
        findings: vec![FindingCount {
            class: "email".into(),
            operator: "redact".into(),
            count: 500,
            topic: "orders".into(),
            ..FindingCount::default()
        }],
        latency_micros: 1500,
        request_bytes: 150,
        response_bytes: 120_400,
        broker: 1,
        ..Event::default()
    }
}

fn directory() -> tempfile::TempDir {
    let place = std::env::var_os("TIDEGATE_BENCH_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    tempfile::tempdir_in(place).expect("the bench needs a directory that it may write to")
}

fn open(root: &tempfile::TempDir, durability: Durability) -> ShardLog {
    let options = LogOptions { durability, ..LogOptions::default() };
    ShardLog::open(root.path(), 0, "bench", options, Timestamp(0)).expect("a fresh log opens").0
}

/// Runs `step` on fresh logs `iterations` times and adds up only its own time. A log is given up, files
/// and all, after 256 MiB, so that no run fills the disk.
fn measure(durability: Durability, event: &Event, iterations: u64, mut step: impl FnMut(&mut ShardLog)) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let root = directory();
        let mut log = open(&root, durability);
        let first = log.written().end();
        let mut bytes = 0;
        while left > 0 && bytes < 256 << 20 {
            let round = left.min(64);
            let before = Instant::now();
            for _ in 0..round {
                step(&mut log);
            }
            spent += before.elapsed();
            log.commit().expect("the disk has room");
            bytes = (log.written().end() - first) * event.encoded_len() as u64;
            left -= round;
        }
    }
    spent
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("evidence/append");
    group.sample_size(20);
    for partitions in [1, 4, 50] {
        let event = fetch(partitions);
        group.throughput(Throughput::Bytes(event.encoded_len() as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{partitions}-partitions")), |bencher| {
            bencher.iter_custom(|iterations| {
                measure(Durability::Async, &event, iterations, |log| {
                    black_box(log.append(black_box(&event)));
                })
            });
        });
    }
    group.finish();
}

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("evidence/commit");
    // Each sample begins with a fresh log, whose segments are allocated outside of what is measured.
    group.sample_size(10);
    let event = fetch(1);
    for (name, durability) in [("written", Durability::Written), ("durable", Durability::Durable)] {
        for entries in [1u64, 64, 1024] {
            group.throughput(Throughput::Elements(entries));
            group.bench_function(BenchmarkId::new(name, entries), |bencher| {
                bencher.iter_custom(|iterations| {
                    measure(durability, &event, iterations, |log| {
                        for _ in 0..entries {
                            log.append(&event);
                        }
                        black_box(log.commit().expect("the disk has room"));
                    })
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, append, commit);
criterion_main!(benches);
