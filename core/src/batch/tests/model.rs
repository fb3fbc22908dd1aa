//! Random batches with random edits against the reference; random bytes against panics.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{By, reference, run};
use crate::batch::build::{BatchBuilder, OwnedRecord, reseal};
use crate::batch::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), 0..20), 1 => vec(b'a'..b'd', 0..300)]
}

fn record() -> impl Strategy<Value = OwnedRecord> {
    let headers = prop_oneof![2 => Just(Vec::new()), 1 => vec((bytes(), option::of(bytes())), 0..5)];
    (any::<i32>(), any::<i64>(), option::of(bytes()), option::of(bytes()), headers).prop_map(
        |(offset_delta, timestamp_delta_millis, key, value, headers)| OwnedRecord {
            offset_delta,
            timestamp_delta_millis,
            key,
            value,
            headers,
        },
    )
}

fn batch() -> impl Strategy<Value = BatchBuilder> {
    let form = (0..Codec::ALL.len(), any::<bool>(), any::<[bool; 3]>());
    let producer = (any::<i64>(), any::<i16>(), any::<i32>(), any::<i32>());
    let times = (any::<i64>(), any::<i64>());
    (form, producer, times, any::<i64>(), any::<i32>(), vec(record(), 1..12)).prop_map(
        |((codec, raw, flags), producer, times, base_offset, last_offset_delta, records)| {
            let codec = Codec::ALL[codec];
            let raw = raw && codec == Codec::Snappy;
            BatchBuilder {
                base_offset,
                partition_leader_epoch: producer.3,
                codec,
                snappy_framing: if raw { SnappyFraming::Raw } else { SnappyFraming::Xerial },
                log_append_time: flags[0],
                transactional: flags[1],
                control: false,
                delete_horizon: flags[2],
                last_offset_delta: Some(last_offset_delta),
                base_timestamp_millis: times.0,
                max_timestamp_millis: Some(times.1),
                producer_id: producer.0,
                producer_epoch: producer.1,
                base_sequence: producer.2,
                count: None,
                records,
            }
        },
    )
}

/// What to do to each record, in turn: key, value, one header.
fn edits() -> impl Strategy<Value = Vec<Option<RecordEdit>>> {
    let field = || option::of(prop_oneof![Just(FieldEdit::Null), bytes().prop_map(FieldEdit::Bytes)]);
    let edit = (field(), field(), field(), 0..5usize).prop_map(|(key, value, header, at)| RecordEdit {
        key,
        value,
        headers: header.map(|edit| (at, edit)).into_iter().collect(),
    });
    vec(option::weighted(0.4, edit), 1..8)
}

/// The edit without headers that the record does not have.
fn fitted(edit: &Option<RecordEdit>, headers: usize) -> Option<RecordEdit> {
    let mut edit = edit.clone()?;
    edit.headers.retain(|(at, _)| *at < headers);
    Some(edit)
}

fn apply(edit: &FieldEdit) -> Option<Vec<u8>> {
    match edit {
        FieldEdit::Null => None,
        FieldEdit::Bytes(bytes) => Some(bytes.clone()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edits_do_what_they_say(batches in vec(batch(), 1..4), edits in edits()) {
        let encoded: Vec<Bytes> = batches.iter().map(|batch| batch.build().unwrap()).collect();
        let records = Bytes::from(encoded.concat());
        let mut turn = edits.iter().cycle();
        let inspected = run(&records, |record| fitted(turn.next().unwrap(), record.headers.len())).unwrap();

        let mut turn = edits.iter().cycle();
        let mut expected = batches.clone();
        for record in expected.iter_mut().flat_map(|batch| &mut batch.records) {
            if let Some(edit) = fitted(turn.next().unwrap(), record.headers.len()) {
                if let Some(key) = &edit.key {
                    record.key = apply(key);
                }
                if let Some(value) = &edit.value {
                    record.value = apply(value);
                }
                for (at, value) in &edit.headers {
                    record.headers[*at].1 = apply(value);
                }
            }
        }
        prop_assert_eq!(&reference::decode(&inspected.records), &expected);
        prop_assert_eq!(inspected.changed, expected != batches);
        prop_assert_eq!(inspected.changed, inspected.records.as_ptr() != records.as_ptr());
        // Batches in which nothing changed are the bytes that came.
        let rebuilt: Vec<Bytes> = batches.iter().zip(&expected).zip(&encoded)
            .map(|((old, new), came)| if old == new { came.clone() } else { new.build().unwrap() })
            .collect();
        prop_assert_eq!(&inspected.records[..], &rebuilt.concat()[..]);
        prop_assert_eq!(summarise(&records).unwrap(), inspected.summary);
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..300)) {
        let records = Bytes::from(bytes);
        let _ = run(&records, |_| Some(RecordEdit::default()));
        let _ = summarise(&records);
    }

    /// Past the checksum, where the walker and the codecs are on their own.
    #[test]
    fn damaged_batches_do_not_panic(batch in batch(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), attributes in option::of(0..8u8)) {
        let mut bytes = batch.build().unwrap().to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len() - 57) + 57;
            bytes[at] = byte;
        }
        if let Some(attributes) = attributes {
            bytes[22] = attributes;
        }
        reseal(&mut bytes).unwrap();
        let limits = Limits { batch_decompressed_bytes_max: 1 << 16, ..Limits::default() };
        let mut edit = By(|record: &Record<'_>| Some(RecordEdit {
            value: Some(FieldEdit::Null),
            headers: record.headers.iter().enumerate().map(|(at, _)| (at, FieldEdit::Null)).collect(),
            ..RecordEdit::default()
        }));
        if let Ok(inspected) = inspect(&Bytes::from(bytes), &limits, &mut edit) {
            // What was let through and rewritten can be walked again.
            prop_assert!(run(&inspected.records, |_| None).is_ok());
        }
    }
}
