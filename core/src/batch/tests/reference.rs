//! Slow decoders to compare with: one written from the format's description alone, which panics on
//! anything odd, and `kafka-protocol`'s.

use std::io::Read;

use bytes::Bytes;
use kafka_protocol::records::{Compression, Record, RecordBatchDecoder};

use crate::batch::build::{BatchBuilder, OwnedRecord};
use crate::batch::{Codec, SnappyFraming};

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn int(&mut self, bytes: usize) -> i64 {
        let taken = self.take(bytes);
        let unsigned = taken.iter().fold(0i128, |value, byte| value << 8 | i128::from(*byte));
        let sign = if taken[0] & 0x80 != 0 { 1i128 << (8 * bytes) } else { 0 };
        (unsigned - sign) as i64
    }

    fn varint(&mut self) -> i64 {
        let mut value = 0u128;
        for shift in (0..).step_by(7) {
            let byte = self.take(1)[0];
            value |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let half = (value / 2) as i128;
        (if value & 1 == 0 { half } else { -half - 1 }) as i64
    }

    fn field(&mut self) -> Option<Vec<u8>> {
        match self.varint() {
            -1 => None,
            length => Some(self.take(length as usize).to_vec()),
        }
    }
}

/// The decompressed records.
pub(super) fn decompress(codec: Codec, stored: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match codec {
        Codec::None => plain.extend_from_slice(stored),
        Codec::Gzip => {
            flate2::read::MultiGzDecoder::new(stored).read_to_end(&mut plain).unwrap();
        }
        Codec::Snappy if stored.starts_with(b"\x82SNAPPY\0") => {
            let mut blocks = Cursor(&stored[16..]);
            while !blocks.0.is_empty() {
                let length = blocks.int(4) as usize;
                plain.extend(snap::raw::Decoder::new().decompress_vec(blocks.take(length)).unwrap());
            }
        }
        Codec::Snappy => plain = snap::raw::Decoder::new().decompress_vec(stored).unwrap(),
        Codec::Lz4 => {
            lz4_flex::frame::FrameDecoder::new(stored).read_to_end(&mut plain).unwrap();
        }
        Codec::Zstd => plain = zstd::stream::decode_all(stored).unwrap(),
    }
    plain
}

/// Decodes whole batches into what would build them again.
pub(super) fn decode(records: &[u8]) -> Vec<BatchBuilder> {
    let mut cursor = Cursor(records);
    let mut batches = Vec::new();
    while !cursor.0.is_empty() {
        let base_offset = cursor.int(8);
        let length = cursor.int(4) as usize;
        let mut batch = Cursor(cursor.take(length));
        let partition_leader_epoch = batch.int(4) as i32;
        assert_eq!(batch.int(1), 2);
        let crc = batch.int(4) as u32;
        assert_eq!(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, batch.0) as u32, crc);
        let attributes = batch.int(2);
        let last_offset_delta = batch.int(4) as i32;
        let base_timestamp_millis = batch.int(8);
        let max_timestamp_millis = batch.int(8);
        let producer_id = batch.int(8);
        let producer_epoch = batch.int(2) as i16;
        let base_sequence = batch.int(4) as i32;
        let count = batch.int(4);
        let codec = Codec::ALL[(attributes & 7) as usize];
        let raw = codec == Codec::Snappy && !batch.0.starts_with(b"\x82SNAPPY\0");
        let plain = decompress(codec, batch.0);
        let mut plain = Cursor(&plain);
        let records = (0..count)
            .map(|_| {
                let length = plain.varint() as usize;
                let mut record = Cursor(plain.take(length));
                record.take(1);
                let decoded = OwnedRecord {
                    timestamp_delta_millis: record.varint(),
                    offset_delta: record.varint() as i32,
                    key: record.field(),
                    value: record.field(),
                    headers: (0..record.varint()).map(|_| (record.field().unwrap(), record.field())).collect(),
                };
                assert!(record.0.is_empty());
                decoded
            })
            .collect();
        assert!(plain.0.is_empty());
        batches.push(BatchBuilder {
            base_offset,
            partition_leader_epoch,
            codec,
            snappy_framing: if raw { SnappyFraming::Raw } else { SnappyFraming::Xerial },
            log_append_time: attributes & 0x08 != 0,
            transactional: attributes & 0x10 != 0,
            control: attributes & 0x20 != 0,
            delete_horizon: attributes & 0x40 != 0,
            last_offset_delta: Some(last_offset_delta),
            base_timestamp_millis,
            max_timestamp_millis: Some(max_timestamp_millis),
            producer_id,
            producer_epoch,
            base_sequence,
            count: None,
            records,
        });
    }
    batches
}

/// The first batch, as `kafka-protocol` reads it. It checks the CRC.
pub(super) fn decode_by_kafka_protocol(records: &Bytes) -> Vec<Record> {
    let set = RecordBatchDecoder::decode_with_custom_compression(
        &mut records.clone(),
        Some(|stored: &mut Bytes, compression: Compression| {
            Ok(Bytes::from(decompress(Codec::ALL[compression as usize], stored)))
        }),
    );
    set.unwrap().records
}
