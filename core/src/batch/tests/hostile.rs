//! Bytes that lie, break off, or blow up.

use std::io::Write;

use bytes::Bytes;

use super::{By, batches, elaborate, run};
use crate::batch::build::{BatchBuilder, reseal};
use crate::batch::*;

fn refused(records: Vec<u8>) -> BatchError {
    run(&Bytes::from(records), |_| None).expect_err("must be refused")
}

/// A batch with `payload` in place of its records.
fn with_payload(builder: &BatchBuilder, payload: &[u8]) -> Vec<u8> {
    let mut batch = builder.build().unwrap()[..61].to_vec();
    batch.extend_from_slice(payload);
    reseal(&mut batch).unwrap();
    batch
}

#[test]
fn any_flipped_bit_behind_the_checksum_is_noticed() {
    let batch = elaborate(Codec::None).build().unwrap();
    for at in 17..batch.len() {
        let mut bytes = batch.to_vec();
        bytes[at] ^= 0x10;
        assert_eq!(refused(bytes), BatchError::Crc, "byte {at}");
    }
}

#[test]
fn a_cut_at_any_byte_is_cut_off_or_refused() {
    for builder in batches() {
        let batch = builder.build().unwrap();
        for cut in 0..batch.len() {
            // As a fetch limit cuts: nothing whole is left.
            let inspected = run(&batch.slice(..cut), |_| None).unwrap();
            assert!(inspected.records.is_empty());
            assert_eq!(inspected.changed, cut > 0);
            // As a liar cuts: the length and the checksum are those of the shorter batch.
            if cut >= 61 {
                let mut shorter = batch[..cut].to_vec();
                reseal(&mut shorter).unwrap();
                // An LZ4 frame may lack its end mark: all records are there and were seen.
                let seen_all = builder.codec == Codec::Lz4 && cut >= batch.len() - 4;
                assert_eq!(run(&Bytes::from(shorter), |_| None).is_err(), !seen_all, "{:?} at {cut}", builder.codec);
            }
        }
    }
}

#[test]
fn a_wrong_record_count_is_refused() {
    for builder in batches() {
        for count in [-1, 0, 1, 3, 5, 1_000_000, i32::MAX, i32::MIN] {
            let lying = BatchBuilder { count: Some(count), ..builder.clone() }.build().unwrap();
            let error = refused(lying.to_vec());
            if count == i32::MAX {
                assert!(matches!(error, BatchError::OverLimit { limit: "batch_records_max", .. }));
            } else {
                assert!(matches!(error, BatchError::Malformed(_)), "{count}: {error}");
            }
            assert_eq!(summarise(&lying).is_err(), count < 0);
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let builder = BatchBuilder::new(0).record(Some(b"k"), Some(b"value"));
    let good = &builder.build().unwrap()[61..];
    // length, attributes, timestamp, offset, key length, k, value length, value…, header count
    assert_eq!(good, [24, 0, 0, 0, 2, b'k', 10, b'v', b'a', b'l', b'u', b'e', 0]);
    for (at, wrong) in
        [(0, 22), (0, 26), (0, 1), (0, 0), (4, 0), (4, 3), (4, 24), (6, 8), (6, 12), (6, 3), (12, 1), (12, 2)]
    {
        let mut payload = good.to_vec();
        payload[at] = wrong;
        let error = refused(with_payload(&builder, &payload));
        assert!(matches!(error, BatchError::Malformed(_)), "{at} {wrong}: {error}");
    }
    // A huge length, and a varint that never ends.
    for payload in [&[0xfe, 0xff, 0xff, 0xff, 0x0f][..], &[0xff; 12]] {
        assert!(matches!(refused(with_payload(&builder, payload)), BatchError::Malformed(_)));
    }
    // A header with a null key.
    let null_key = [14, 0, 0, 0, 1, 1, 2, 1, 1];
    assert!(matches!(refused(with_payload(&builder, &null_key)), BatchError::Malformed(_)));
    // A record behind the counted ones, which a client that trusts lengths would read.
    let hidden = [good, good].concat();
    assert!(matches!(refused(with_payload(&builder, &hidden)), BatchError::Malformed(_)));
}

#[test]
fn absurd_batch_lengths_are_refused_and_long_ones_are_tails() {
    let batch = elaborate(Codec::None).build().unwrap();
    for length in [i32::MIN, -1, 0, 48] {
        let mut bytes = batch.to_vec();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        assert_eq!(summarise(&Bytes::from(bytes.clone())), Err(BatchError::Malformed("batch length")));
        assert_eq!(refused(bytes), BatchError::Malformed("batch length"));
    }
    let mut bytes = batch.to_vec();
    bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    assert!(run(&Bytes::from(bytes), |_| None).unwrap().records.is_empty());
}

#[test]
fn other_message_formats_are_refused_by_name() {
    for magic in [0, 1, 3, -1] {
        let good = elaborate(Codec::None).build().unwrap();
        let mut bytes = good.to_vec();
        bytes[16] = magic as u8;
        assert_eq!(refused(bytes.clone()), BatchError::Magic(magic));
        assert_eq!(summarise(&Bytes::from(bytes.clone())), Err(BatchError::Magic(magic)));
        // Behind a good batch, and cut short: still not passed on.
        let records = [&good[..], &bytes[..20]].concat();
        assert_eq!(refused(records.clone()), BatchError::Magic(magic));
        let (counted, error) = summarise_intact(&records);
        assert_eq!((counted.records, counted.last_offset), (4, Some(7_000_000_040)));
        assert_eq!(error, Some(BatchError::Magic(magic)));
    }
    // A message set of format 1 as an old producer sends it: offset, size, crc, magic, attributes,
    // timestamp, key, value.
    let mut old = vec![0; 8];
    old.extend_from_slice(&[0, 0, 0, 23, 1, 2, 3, 4, 1, 0]);
    old.extend_from_slice(&[0; 8]);
    old.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, b'v']);
    assert_eq!(refused(old), BatchError::Magic(1));
}

#[test]
fn unknown_codecs_are_refused() {
    for codec in 5..8 {
        let mut bytes = elaborate(Codec::None).build().unwrap().to_vec();
        bytes[22] |= codec;
        reseal(&mut bytes).unwrap();
        assert_eq!(refused(bytes), BatchError::Codec(codec));
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    const LIMIT: usize = 1 << 20;
    let limits = Limits { batch_decompressed_bytes_max: LIMIT as u32, ..Limits::default() };
    let bomb = vec![0u8; 64 * LIMIT];
    for builder in batches().into_iter().filter(|builder| builder.codec != Codec::None) {
        let batch = builder.clone().values([&bomb[..]]).build().unwrap();
        assert!(batch.len() < 8 * LIMIT, "it is a bomb");
        let mut inspector = Inspector::default();
        let result = inspector.inspect(&batch, &limits, &mut By(|_: &Record<'_>| None));
        let expected = BatchError::OverLimit { limit: "batch_decompressed_bytes_max", max: LIMIT as u64 };
        assert_eq!(result, Err(expected), "{:?}", builder.codec);
        assert!(inspector.plain.capacity() <= LIMIT, "{:?}", builder.codec);
    }
}

#[test]
fn the_limit_itself_is_allowed() {
    for builder in batches().into_iter().filter(|builder| builder.codec != Codec::None) {
        let builder = builder.values([&[b'x'; 200_000][..]]);
        let batch = builder.build().unwrap();
        let size = super::reference::decompress(builder.codec, &batch[61..]).len() as u32;
        for (limit, allowed) in [(size, true), (size - 1, false), (1, false), (0, false)] {
            let limits = Limits { batch_decompressed_bytes_max: limit, ..Limits::default() };
            let result = inspect(&batch, &limits, &mut By(|_: &Record<'_>| None));
            assert_eq!(result.is_ok(), allowed, "{:?} {limit}: {result:?}", builder.codec);
        }
    }
}

#[test]
fn declared_sizes_are_not_believed() {
    let limits = Limits::default();
    let mut inspector = Inspector::default();
    let mut refused = |codec, payload: &[u8]| {
        let builder = BatchBuilder { count: Some(1), codec, ..BatchBuilder::default() };
        let batch = with_payload(&builder, payload);
        let result = inspector.inspect(&Bytes::from(batch), &limits, &mut By(|_: &Record<'_>| None));
        (result.expect_err("must be refused"), inspector.plain.capacity())
    };
    // Snappy: 100 MiB, and 4 GiB, declared by a few bytes; also as a xerial block.
    let declared_100_mib = [0x80, 0x80, 0x80, 0x32, 0xfe, 0x01, 0x00];
    let (error, capacity) = refused(Codec::Snappy, &declared_100_mib);
    assert!(matches!(error, BatchError::Decompress(_)), "{error}");
    assert_eq!(capacity, 0);
    let framed = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x07"[..], &declared_100_mib].concat();
    assert!(matches!(refused(Codec::Snappy, &framed).0, BatchError::Decompress(_)));
    assert!(matches!(refused(Codec::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]).0, BatchError::OverLimit { .. }));
    // Xerial: a block beyond the end, a negative length, a cut header.
    for tail in [&[0, 0, 0, 9, 1][..], &[0xff, 0xff, 0xff, 0xff], &[0, 0]] {
        let framed = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], tail].concat();
        assert!(matches!(refused(Codec::Snappy, &framed).0, BatchError::Malformed(_)));
    }
    assert!(matches!(refused(Codec::Snappy, b"\x82SNAPPY\0\0\0").0, BatchError::Malformed(_)));
    // zstd: a frame header that declares 2 GiB of content and a window beyond the bound.
    let (error, capacity) = refused(Codec::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x80, 1, 0, 0]);
    assert!(matches!(error, BatchError::Decompress(_)), "{error}");
    assert!(capacity <= 64 * 1024);
    // Garbage and nothing in every codec.
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        for payload in [&b"\x01garbage that is no stream"[..], &[]] {
            refused(codec, payload);
        }
    }
}

#[test]
fn records_behind_the_first_stream_are_seen() {
    let builder = BatchBuilder::new(0).values([&b"first"[..], b"second"]);
    let plain = builder.build().unwrap()[61..].to_vec();
    let (first, second) = plain.split_at(plain.len() / 2);
    let gzip = |part: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |part: &[u8]| zstd::stream::encode_all(part, 1).unwrap();
    let cases = [(Codec::Gzip, [gzip(first), gzip(second)]), (Codec::Zstd, [zstd(first), zstd(second)])];
    for (codec, streams) in cases {
        let batch = with_payload(&BatchBuilder { codec, ..builder.clone() }, &streams.concat());
        let mut seen = Vec::new();
        run(&Bytes::from(batch), |record| {
            seen.push(record.value.unwrap_or_default().to_vec());
            None
        })
        .unwrap();
        assert_eq!(seen, [&b"first"[..], b"second"], "{codec:?}");
    }
}

#[test]
fn records_and_headers_are_bounded() {
    let batch = elaborate(Codec::None).build().unwrap();
    for (records, headers, over) in [
        (4, 4, None),
        (3, 4, Some("batch_records_max")),
        (4, 3, Some("record_headers_max")),
        (4, 0, Some("record_headers_max")),
    ] {
        let limits = Limits { batch_records_max: records, record_headers_max: headers, ..Limits::default() };
        match (inspect(&batch, &limits, &mut By(|_: &Record<'_>| None)), over) {
            (Ok(_), None) => {}
            (Err(BatchError::OverLimit { limit, .. }), Some(over)) => assert_eq!(limit, over),
            (result, _) => panic!("{records} {headers}: {result:?}"),
        }
    }
}
