//! A request's header: the API, the version, the client's id and where the body begins.
//!
//! The limit beside it is `header/read`: the same bytes summed up, which is the least that looking at
//! them costs.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate_bench::exchanges::{fetch, heartbeat, produce, records};
use tidegate_bench::payloads::Content;
use tidegate_core::batch::Codec;
use tidegate_core::header::RequestHeader;

fn header(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header");
    let batch = records(256, Content::Clean, Codec::None);
    let cases = [
        ("produce", produce(13, batch.clone()).request),
        ("fetch", fetch(17, batch).request),
        ("heartbeat", heartbeat().request),
    ];
    for (name, frame) in &cases {
        group.bench_with_input(BenchmarkId::new("parse", name), frame, |bencher, frame| {
            bencher.iter(|| RequestHeader::parse(black_box(frame)).map(|header| header.body_start));
        });
        let length = RequestHeader::parse(frame).expect("the header is sound").body_start;
        group.bench_with_input(BenchmarkId::new("read", name), &frame[..length], |bencher, header| {
            bencher.iter(|| black_box(header).iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
        });
    }
    group.finish();
}

criterion_group!(benches, header);
criterion_main!(benches);
