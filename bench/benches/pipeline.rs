//! A whole session in memory: frame, header, authorise, scan, evidence, release, everything but the
//! sockets. Before the times it prints what an exchange costs in allocations.
//!
//! Its limit stands beside it as `pipeline/memcpy`: the bytes of the same exchanges copied once each
//! way, which is what a relay in memory does.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]
#![allow(clippy::print_stderr, reason = "what a bench has to say is for whoever runs it")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::benching::Pipeline;
use tidegate_bench::counting::{Counting, counts};
use tidegate_bench::exchanges::{self, Exchange, POLICY, POLICY_WITHOUT_MASKS};
use tidegate_bench::payloads::Content;
use tidegate_core::batch::Codec;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Exchanges under way at once.
const DEPTH: usize = 16;

struct Case {
    name: &'static str,
    policy: &'static str,
    burst: Exchange,
}

fn cases() -> Vec<Case> {
    let case = |name, policy, exchange: Exchange| Case { name, policy, burst: exchange.pipelined(DEPTH) };
    let records = |bytes, content| exchanges::records(bytes, content, Codec::None);
    vec![
        case("produce-256B", POLICY, exchanges::produce(13, records(256, Content::Clean))),
        case("produce-256B-by-name", POLICY, exchanges::produce(9, records(256, Content::Clean))),
        case("produce-256B-unmasked", POLICY_WITHOUT_MASKS, exchanges::produce(13, records(256, Content::Clean))),
        case("fetch-256B", POLICY, exchanges::fetch(17, records(256, Content::Clean))),
        case("heartbeat", POLICY, exchanges::heartbeat()),
        case("produce-16KiB", POLICY, exchanges::produce(13, records(16 << 10, Content::Clean))),
        case("produce-16KiB-unmasked", POLICY_WITHOUT_MASKS, exchanges::produce(13, records(16 << 10, Content::Clean))),
        case("produce-16KiB-full", POLICY, exchanges::produce(13, records(16 << 10, Content::Full))),
        case("fetch-64KiB", POLICY, exchanges::fetch(17, records(64 << 10, Content::Clean))),
        case("fetch-64KiB-unmasked", POLICY_WITHOUT_MASKS, exchanges::fetch(17, records(64 << 10, Content::Clean))),
        case("fetch-64KiB-full", POLICY, exchanges::fetch(17, records(64 << 10, Content::Full))),
    ]
}

fn open(folder: &tempfile::TempDir, policy: &str) -> Pipeline {
    let pipeline = Pipeline::open(folder.path(), policy).expect("a pipeline over a fresh folder");
    pipeline.learn_topic(exchanges::TOPIC_ID, exchanges::TOPIC);
    pipeline
}

fn pass(pipeline: &mut Pipeline, burst: &Exchange) -> usize {
    let released = pipeline.exchange(&burst.request, &burst.response, |_, bytes| {
        black_box(bytes);
    });
    assert!(released > 0 && pipeline.is_open(), "the session ended");
    released
}

fn pipeline(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipeline");
    for case in cases() {
        let folder = tempfile::tempdir_in(".").expect("the bench needs a directory that it may write to");
        let mut pipeline = open(&folder, case.policy);
        for _ in 0..64 {
            pass(&mut pipeline, &case.burst);
        }
        let before = counts();
        const ROUNDS: u64 = 256;
        for _ in 0..ROUNDS {
            pass(&mut pipeline, &case.burst);
        }
        let after = counts();
        let exchanges = (ROUNDS * DEPTH as u64) as f64;
        eprintln!(
            "{:24} {:8.2} allocations and {:8.0} bytes allocated an exchange; denied, scanned: {:?}",
            case.name,
            (after.0 - before.0) as f64 / exchanges,
            (after.1 - before.1) as f64 / exchanges,
            pipeline.counted(),
        );
        let bytes = case.burst.request.len() + case.burst.response.len();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(case.name), |bencher| {
            bencher.iter(|| pass(&mut pipeline, &case.burst));
        });
        let mut copy = Vec::with_capacity(bytes);
        group.bench_function(BenchmarkId::new("memcpy", case.name), |bencher| {
            bencher.iter(|| {
                copy.clear();
                copy.extend_from_slice(&case.burst.request);
                copy.extend_from_slice(&case.burst.response);
                black_box(copy.len())
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = pipeline
}
criterion_main!(benches);
