//! What looking into a clean compressed batch costs beside decompressing it, codec by codec, in one run.
//! Throughput counts the values' bytes before compression.
//!
//! `decompress` is the codec's library alone, into a buffer that is reused; `walk` adds the checksum and
//! the records' boundaries; `scan` looks for all classes and finds none, so that the batch goes as it
//! came. The overhead of the issue is `scan` over `decompress`.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::hint::black_box;
use std::io::Read as _;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_bench::payloads::{self, Content};
use tidegate_core::batch::{Codec, Inspect, Inspector, Record, RecordEdit};
use tidegate_core::limits::Limits;
use tidegate_core::words::DataClass;
use tidegate_policy::mask::{MaskEntry, MaskPlan, Operator, Target};

/// What stands before a batch's records, in bytes.
const HEADER: usize = 61;
/// xerial's header before snappy's blocks.
const XERIAL_HEADER: usize = 16;

struct Nothing;

impl Inspect for Nothing {
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
        black_box(record);
        None
    }
}

/// Decompresses a batch's records with the codec's library.
fn decompress(codec: Codec, batch: &Bytes, out: &mut Vec<u8>) {
    out.clear();
    let packed = &batch[HEADER..];
    let read = match codec {
        Codec::None => { packed }.read_to_end(out).map(drop),
        Codec::Gzip => flate2::bufread::MultiGzDecoder::new(packed).read_to_end(out).map(drop),
        Codec::Lz4 => lz4_flex::frame::FrameDecoder::new(packed).read_to_end(out).map(drop),
        Codec::Zstd => {
            zstd::stream::read::Decoder::with_buffer(packed).and_then(|mut it| it.read_to_end(out)).map(drop)
        }
        Codec::Snappy => {
            let mut rest = &packed[XERIAL_HEADER..];
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let (block, after) = after.split_at(u32::from_be_bytes(*length) as usize);
                let start = out.len();
                out.resize(start + snap::raw::decompress_len(block).expect("the block is sound"), 0);
                snap::raw::Decoder::new().decompress(block, &mut out[start..]).expect("the block is sound");
                rest = after;
            }
            Ok(())
        }
    };
    read.expect("the batch is sound");
}

fn compressed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compressed");
    let limits = Limits::default();
    let mut inspector = Inspector::default();
    let entry = |class| MaskEntry::new(Target::Class(class), Operator::Redact, "redact");
    let plan = MaskPlan::new(DataClass::ALL.into_iter().filter(|class| !class.has_fields()).map(entry));
    for codec in [Codec::Lz4, Codec::Snappy, Codec::Zstd, Codec::Gzip] {
        let (batch, bytes) = payloads::batch(codec, Content::Clean);
        group.throughput(Throughput::Bytes(bytes));
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("decompress", format!("{codec:?}")), |bencher| {
            bencher.iter(|| {
                decompress(codec, &batch, &mut out);
                black_box(out.len())
            });
        });
        group.bench_function(BenchmarkId::new("walk", format!("{codec:?}")), |bencher| {
            bencher.iter(|| black_box(inspector.inspect(&batch, &limits, &mut Nothing).expect("the batch is sound")));
        });
        group.bench_function(BenchmarkId::new("scan", format!("{codec:?}")), |bencher| {
            bencher.iter(|| {
                let mut pass = plan.begin();
                black_box(inspector.inspect(&batch, &limits, &mut pass).expect("the batch is sound"))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, compressed);
criterion_main!(benches);
