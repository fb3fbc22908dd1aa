//! Walking record batches, and rewriting them, in every codec. Throughput counts the values' bytes
//! before compression.
//!
//! `clean` is what most traffic costs: checksum, decompression, a walk. `rewrite` edits every
//! hundredth record and so recompresses the batch.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_bench::payloads::{self, Content};
use tidegate_core::batch::{Codec, FieldEdit, Inspect, Inspector, Record, RecordEdit, summarise};
use tidegate_core::limits::Limits;

/// Looks at every byte's length and edits each record whose offset is a multiple.
struct Edit {
    every: Option<i64>,
    seen: usize,
}

impl Inspect for Edit {
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
        self.seen += record.value.map_or(0, <[u8]>::len);
        let edit = self.every.is_some_and(|every| record.offset % every == 0);
        edit.then(|| RecordEdit { value: Some(FieldEdit::Bytes(b"masked".to_vec())), ..RecordEdit::default() })
    }
}

fn walk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    let limits = Limits::default();
    let mut inspector = Inspector::default();
    for codec in Codec::ALL {
        let (records, bytes) = payloads::batch(codec, Content::Clean);
        group.throughput(Throughput::Bytes(bytes));
        for (name, every) in [("clean", None), ("rewrite", Some(100))] {
            group.bench_with_input(BenchmarkId::new(name, format!("{codec:?}")), &records, |bencher, records| {
                bencher.iter(|| {
                    let mut edit = Edit { every, seen: 0 };
                    let inspected = inspector.inspect(records, &limits, &mut edit).expect("the batch is sound");
                    black_box((inspected, edit.seen))
                });
            });
        }
    }
    let (records, bytes) = payloads::batch(Codec::Zstd, Content::Clean);
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("summarise", |bencher| bencher.iter(|| summarise(black_box(&records))));
    group.finish();
}

criterion_group!(benches, walk);
criterion_main!(benches);
