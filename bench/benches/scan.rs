//! The scanner over records' values, by what they hold and by what is looked for.
//!
//! `scan-1k` is what the figures ask: records of 1 KB, all classes, in sets that stay in the
//! second-level cache (256 KiB) and in the third (8 MiB), without a finding and with three in each;
//! `scan-finding` gives time per record, so a finding costs a third of the difference of its two.
//!
//! The limit beside it is `scan/memory-read`: the same bytes summed up in words, one pass and nothing
//! looked for.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_bench::payloads::{self, Content, RECORDS};
use tidegate_core::words::DataClass;
use tidegate_policy::scan::{ClassSet, Scanner};

/// Reads all of `bytes`, in words where they fill them.
fn read(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

fn scan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    let single = DataClass::ALL.map(|class| (class.name(), [class].into_iter().collect()));
    let class_sets: Vec<(&str, ClassSet)> = [("all", ClassSet::ALL)].into_iter().chain(single).collect();
    let mut scanner = Scanner::default();
    let mut findings = Vec::new();
    for (content_name, content) in Content::ALL {
        let values: Vec<Vec<u8>> = (0..RECORDS).map(|index| payloads::value(index, content)).collect();
        group.throughput(Throughput::Bytes(values.iter().map(|value| value.len() as u64).sum()));
        group.bench_with_input(BenchmarkId::new("memory-read", content_name), &values, |bencher, values| {
            bencher.iter(|| values.iter().fold(0u64, |sum, value| sum.wrapping_add(read(black_box(value)))));
        });
        for (classes_name, classes) in &class_sets {
            group.bench_with_input(BenchmarkId::new(*classes_name, content_name), &values, |bencher, values| {
                bencher.iter(|| {
                    let mut count = 0;
                    for value in values {
                        findings.clear();
                        scanner.scan(value, *classes, &mut findings);
                        count += findings.len();
                    }
                    black_box(count)
                });
            });
        }
    }
    group.finish();
}

/// Bytes of sets of records that stay in a core's second-level cache, and in the third.
const SETS: [(&str, usize); 2] = [("l2", 256 << 10), ("l3", 8 << 20)];

fn scan_kilobytes(criterion: &mut Criterion) {
    let mut scanner = Scanner::default();
    let mut findings = Vec::new();
    let mut all = |values: &[Vec<u8>]| {
        let mut count = 0;
        for value in values {
            findings.clear();
            scanner.scan(black_box(value), ClassSet::ALL, &mut findings);
            count += findings.len();
        }
        count
    };
    for (group, by_record) in [("scan-1k", false), ("scan-finding", true)] {
        let mut group = criterion.benchmark_group(group);
        for (content_name, content) in Content::ALL {
            for (set_name, bytes) in SETS {
                let values = payloads::kilobytes(bytes, content);
                let sum: usize = values.iter().map(Vec::len).sum();
                group.throughput(match by_record {
                    true => Throughput::Elements(values.len() as u64),
                    false => Throughput::Bytes(sum as u64),
                });
                group.bench_function(BenchmarkId::new(content_name, set_name), |bencher| {
                    bencher.iter(|| black_box(all(&values)));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, scan_kilobytes, scan);
criterion_main!(benches);
