//! One question of authorisation, by how many grants the principal has.
//!
//! The limit beside it is `authorise/lookup`: the topic's name looked up in a hash map, which any
//! answer by name begins with.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate_core::words::{Operation, Principal, Resource, Timestamp};
use tidegate_policy::snapshot::Snapshot;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// So many grants of a literal topic each, a window on every second, and one of a prefix at the end.
fn policy(grants: usize) -> Snapshot {
    let mut text = "version: 1\ngrants:\n".to_owned();
    for n in 0..grants {
        let _ = writeln!(
            text,
            "  - {{name: grant-{n}, purpose: bench, principals: [ANONYMOUS], operations: [read, write], \
             resources: [{{topic: topic-{n}}}]}}"
        );
    }
    text +=
        "  - {name: rest, purpose: bench, principals: [ANONYMOUS], operations: [read], resources: [{topic: logs-*}]}\n";
    Snapshot::read(&text, "policy.yaml", 1).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn authorise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("authorise");
    for grants in [1, 100, 10_000] {
        let view = policy(grants).view(&Principal::anonymous());
        let name = format!("topic-{}", grants / 2);
        for (case, topic) in [("allowed", name.as_str()), ("by-prefix", "logs-web"), ("denied", "secret")] {
            group.bench_function(BenchmarkId::new(case, grants), |bencher| {
                bencher.iter(|| {
                    let resource = Resource::partition(black_box(topic), 3);
                    view.authorise(Operation::Read, resource, NOW).allowed
                });
            });
        }
        let map: HashMap<String, usize> = (0..grants).map(|n| (format!("topic-{n}"), n)).collect();
        group.bench_function(BenchmarkId::new("lookup", grants), |bencher| {
            bencher.iter(|| map.get(black_box(name.as_str())).copied());
        });
    }
    group.finish();
}

criterion_group!(benches, authorise);
criterion_main!(benches);
