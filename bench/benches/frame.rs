//! Frames out of a stream of bytes, as they arrive: 64 KiB a read.
//!
//! The limit beside it is `frame/memcpy`: the same bytes copied once, which is all that taking them
//! over from the read's buffer does.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_bench::exchanges::{produce, records};
use tidegate_bench::payloads::Content;
use tidegate_core::batch::Codec;
use tidegate_core::frame::FrameBuffer;

const READ_BYTES: usize = 64 * 1024;
const FRAME_BYTES_MAX: u32 = 100 * 1024 * 1024;

fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for (name, bytes) in [("256B", 256), ("16KiB", 16 << 10), ("1MiB", 1 << 20)] {
        let request = produce(13, records(bytes, Content::Clean, Codec::None)).request;
        let stream = request.repeat((1 << 20) / request.len() + 1);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        let mut buffer = FrameBuffer::new();
        group.bench_with_input(BenchmarkId::new("take", name), &stream, |bencher, stream| {
            bencher.iter(|| {
                let mut frames = 0;
                for read in stream.chunks(READ_BYTES) {
                    buffer.extend(read);
                    while let Some(frame) = buffer.next_frame(FRAME_BYTES_MAX).expect("the frames are sound") {
                        frames += black_box(frame).len().min(1);
                    }
                }
                frames
            });
        });
        let mut copy = vec![0; READ_BYTES];
        group.bench_with_input(BenchmarkId::new("memcpy", name), &stream, |bencher, stream| {
            bencher.iter(|| {
                for read in stream.chunks(READ_BYTES) {
                    copy[..read.len()].copy_from_slice(read);
                    black_box(&copy);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, frame);
criterion_main!(benches);
