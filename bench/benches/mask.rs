//! Whole batches through walker, scanner, operators and rewriter: what a masked exchange costs.
//! Throughput counts the values' bytes before compression.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_bench::payloads::{self, Content};
use tidegate_core::batch::{Codec, Inspector};
use tidegate_core::limits::Limits;
use tidegate_core::words::DataClass;
use tidegate_policy::mask::{MaskEntry, MaskPlan, Operator, Target};

fn mask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    let limits = Limits::default();
    let mut inspector = Inspector::default();
    let entry = |class| MaskEntry::new(Target::Class(class), Operator::Redact, "redact");
    let plan = MaskPlan::new(DataClass::ALL.map(entry));
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        for (name, content) in Content::ALL {
            let (records, bytes) = payloads::batch(codec, content);
            group.throughput(Throughput::Bytes(bytes));
            group.bench_with_input(BenchmarkId::new(format!("{codec:?}"), name), &records, |bencher, records| {
                bencher.iter(|| {
                    let mut pass = plan.begin();
                    let inspected = inspector.inspect(records, &limits, &mut pass).expect("the batch is sound");
                    black_box((inspected, pass.tally().clone()))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, mask);
criterion_main!(benches);
