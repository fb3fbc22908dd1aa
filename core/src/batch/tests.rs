//! What a rewritten batch keeps, what a clean one is, and (in the files below) what hostile bytes
//! and random edits do. The reference in `reference` decodes slowly and shares no code with the
//! walker; `kafka-protocol`'s record codec is a second opinion.

use bytes::Bytes;

use super::build::{BatchBuilder, OwnedRecord};
use super::*;

mod hostile;
mod model;
mod reference;

/// An inspection by closure.
struct By<F>(F);

impl<F: FnMut(&Record<'_>) -> Option<RecordEdit>> Inspect for By<F> {
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
        self.0(record)
    }
}

fn run(records: &Bytes, edit: impl FnMut(&Record<'_>) -> Option<RecordEdit>) -> Result<Inspected, BatchError> {
    inspect(records, &Limits::default(), &mut By(edit))
}

fn value_edit(bytes: &[u8]) -> Option<RecordEdit> {
    Some(RecordEdit { value: Some(FieldEdit::Bytes(bytes.to_vec())), ..RecordEdit::default() })
}

/// A batch in which no field has its default.
fn elaborate(codec: Codec) -> BatchBuilder {
    let record = |offset_delta, key: Option<&str>, value: Option<&str>, headers: &[(&str, Option<&str>)]| OwnedRecord {
        offset_delta,
        timestamp_delta_millis: i64::from(offset_delta) * 1000 - 500,
        key: key.map(|key| key.as_bytes().to_vec()),
        value: value.map(|value| value.as_bytes().to_vec()),
        headers: headers
            .iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec())))
            .collect(),
    };
    BatchBuilder {
        base_offset: 7_000_000_000,
        partition_leader_epoch: 17,
        codec,
        transactional: true,
        // The compaction took what stood behind the last record.
        last_offset_delta: Some(40),
        base_timestamp_millis: 1_700_000_000_000,
        max_timestamp_millis: Some(1_700_000_099_000),
        producer_id: 4711,
        producer_epoch: 3,
        base_sequence: 99,
        records: vec![
            record(0, Some("k0"), Some("first value"), &[]),
            record(3, None, Some("second value"), &[("b", Some("2")), ("a", None), ("b", Some("1")), ("", Some(""))]),
            record(4, Some("gone"), None, &[("reason", Some("erased"))]),
            record(31, Some(""), Some(""), &[("z", Some("z"))]),
        ],
        ..BatchBuilder::default()
    }
}

/// Every codec in every framing.
fn batches() -> Vec<BatchBuilder> {
    let raw_snappy = BatchBuilder { snappy_framing: SnappyFraming::Raw, ..elaborate(Codec::Snappy) };
    Codec::ALL.into_iter().map(elaborate).chain([raw_snappy]).collect()
}

#[test]
fn a_clean_batch_is_the_very_bytes_that_came() {
    for batch in batches() {
        let records = batch.build().unwrap();
        let mut seen = Vec::new();
        let inspected = run(&records, |record| {
            seen.push(OwnedRecord {
                offset_delta: (record.offset - batch.base_offset) as i32,
                timestamp_delta_millis: record.timestamp_millis - batch.base_timestamp_millis,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect(),
            });
            None
        })
        .unwrap();
        assert_eq!(seen, batch.records, "{:?}", batch.codec);
        assert!(!inspected.changed);
        assert_eq!(inspected.records.as_ptr(), records.as_ptr());
        assert_eq!(inspected.records, records);
        assert_eq!(reference::decode(&records), vec![batch.clone()]);
    }
}

#[test]
fn an_edit_changes_what_it_names_and_nothing_else() {
    for batch in batches() {
        let records = batch.build().unwrap();
        let mut index = 0;
        let inspected = run(&records, |_| {
            index += 1;
            match index {
                2 => Some(RecordEdit {
                    key: None,
                    value: Some(FieldEdit::Bytes(b"a value of another length".to_vec())),
                    // Out of order on purpose.
                    headers: vec![(2, FieldEdit::Null), (1, FieldEdit::Bytes(b"no longer null".to_vec()))],
                }),
                4 => Some(RecordEdit {
                    key: Some(FieldEdit::Null),
                    value: Some(FieldEdit::Null),
                    headers: vec![(0, FieldEdit::Bytes(b"Z".to_vec()))],
                }),
                _ => None,
            }
        })
        .unwrap();

        let mut expected = batch.clone();
        expected.records[1].value = Some(b"a value of another length".to_vec());
        expected.records[1].headers[1].1 = Some(b"no longer null".to_vec());
        expected.records[1].headers[2].1 = None;
        expected.records[3].key = None;
        expected.records[3].value = None;
        expected.records[3].headers[0].1 = Some(b"Z".to_vec());
        assert!(inspected.changed);
        assert_eq!(reference::decode(&inspected.records), vec![expected.clone()], "{:?}", batch.codec);
        // What the builder makes of the expected batch is what the rewriter made of the old one.
        assert_eq!(inspected.records, expected.build().unwrap(), "{:?}", batch.codec);
    }
}

#[test]
fn kafka_protocol_reads_what_was_rewritten() {
    for mut batch in batches() {
        // Its header map knows a key only once.
        batch.records[1].headers.truncate(2);
        let records = batch.build().unwrap();
        let inspected = run(&records, |record| record.value.and_then(|_| value_edit(b"masked"))).unwrap();
        let decoded = reference::decode_by_kafka_protocol(&inspected.records);
        assert_eq!(decoded.len(), batch.records.len());
        for (decoded, record) in decoded.iter().zip(&batch.records) {
            assert_eq!(decoded.offset, batch.base_offset + i64::from(record.offset_delta));
            assert_eq!(decoded.timestamp, batch.base_timestamp_millis + record.timestamp_delta_millis);
            assert_eq!(decoded.key.as_deref(), record.key.as_deref());
            assert_eq!(decoded.value.as_deref(), record.value.as_ref().map(|_| &b"masked"[..]));
            let headers: Vec<_> = decoded
                .headers
                .iter()
                .map(|(key, value)| (key.as_bytes().to_vec(), value.as_ref().map(|value| value.to_vec())))
                .collect();
            assert_eq!(headers, record.headers);
            assert_eq!((decoded.producer_id, decoded.producer_epoch), (batch.producer_id, batch.producer_epoch));
            assert_eq!(decoded.partition_leader_epoch, batch.partition_leader_epoch);
            assert!(decoded.transactional);
        }
    }
}

#[test]
fn an_edit_of_the_same_length_is_patched_in_place() {
    let batch = elaborate(Codec::None);
    let records = batch.build().unwrap();
    let inspected = run(&records, |record| match record.value {
        Some(b"second value") => Some(RecordEdit {
            value: Some(FieldEdit::Bytes(b"SECOND VALUE".to_vec())),
            headers: vec![(2, FieldEdit::Bytes(b"#".to_vec()))],
            ..RecordEdit::default()
        }),
        _ => None,
    })
    .unwrap();
    assert!(inspected.changed);
    let differing = records.iter().zip(&inspected.records).skip(21).filter(|(old, new)| old != new).count();
    assert_eq!((inspected.records.len(), differing), (records.len(), "secondvalue#".len()));
    let mut expected = batch;
    expected.records[1].value = Some(b"SECOND VALUE".to_vec());
    expected.records[1].headers[2].1 = Some(b"#".to_vec());
    assert_eq!(inspected.records, expected.build().unwrap());
}

#[test]
fn padded_varints_of_untouched_fields_stay() {
    // A producer may encode a length in more bytes than it needs.
    let batch = BatchBuilder::new(0).values([&b"one"[..], b"two"]);
    let mut bytes = batch.build().unwrap().to_vec();
    // The first record: length, attributes, timestamp delta, offset delta: pad the offset delta.
    assert_eq!(bytes[61..65], [18, 0, 0, 0]);
    bytes[61] = 20;
    bytes.splice(64..65, [0x80, 0x00]);
    build::reseal(&mut bytes).unwrap();
    let records = Bytes::from(bytes);
    let inspected =
        run(&records, |record| (record.value == Some(b"one")).then(|| value_edit(b"longer")).flatten()).unwrap();
    assert_eq!(inspected.records[61..66], [26, 0, 0, 0x80, 0x00]);
    let decoded = reference::decode(&inspected.records);
    assert_eq!(decoded[0].records[0].value.as_deref(), Some(&b"longer"[..]));
    assert_eq!(decoded[0].records[1].value.as_deref(), Some(&b"two"[..]));
}

#[test]
fn an_edit_that_says_the_same_changes_nothing() {
    let records = elaborate(Codec::Lz4).build().unwrap();
    let inspected = run(&records, |record| {
        let same = |field: Option<&[u8]>| field.map_or(FieldEdit::Null, |bytes| FieldEdit::Bytes(bytes.to_vec()));
        Some(RecordEdit {
            key: Some(same(record.key)),
            value: Some(same(record.value)),
            headers: record.headers.iter().map(|(_, value)| same(value)).enumerate().collect(),
        })
    })
    .unwrap();
    assert!(!inspected.changed);
    assert_eq!(inspected.records.as_ptr(), records.as_ptr());
}

#[test]
fn only_the_edited_batch_of_a_partition_is_rewritten() {
    let batches: Vec<Bytes> = Codec::ALL
        .into_iter()
        .enumerate()
        .map(|(index, codec)| {
            let value = format!("value {index}");
            BatchBuilder::new(index as i64 * 10).codec(codec).values([&b"same"[..], value.as_bytes()]).build().unwrap()
        })
        .collect();
    let records = Bytes::from(batches.concat());
    for edited in 0..batches.len() {
        let wanted = format!("value {edited}");
        let inspected = run(&records, |record| {
            (record.value == Some(wanted.as_bytes())).then(|| value_edit(b"masked to another length")).flatten()
        })
        .unwrap();
        let before: usize = batches[..edited].iter().map(Bytes::len).sum();
        let after: usize = batches[edited + 1..].iter().map(Bytes::len).sum();
        assert_eq!(inspected.records[..before], records[..before]);
        assert_eq!(inspected.records[inspected.records.len() - after..], records[records.len() - after..]);
        let values: Vec<_> =
            reference::decode(&inspected.records).into_iter().map(|batch| batch.records[1].value.clone()).collect();
        for (index, value) in values.iter().enumerate() {
            let expected =
                if index == edited { "masked to another length".to_owned() } else { format!("value {index}") };
            assert_eq!(value.as_deref(), Some(expected.as_bytes()));
        }
        assert_eq!(inspected.summary.records, 10);
    }
}

#[test]
fn control_and_empty_batches_pass_unseen() {
    let control = BatchBuilder { control: true, transactional: true, ..BatchBuilder::new(5) }
        .record(Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 7]));
    // What compaction leaves to keep a producer's last sequence.
    let empty =
        BatchBuilder { last_offset_delta: Some(9), codec: Codec::Zstd, base_sequence: 4, ..BatchBuilder::new(6) };
    let data = BatchBuilder::new(16).values([&b"seen"[..]]);
    let parts = [&control, &empty, &data].map(|batch| batch.build().unwrap());
    let records = Bytes::from(parts.concat());
    let mut seen = Vec::new();
    let inspected = run(&records, |record| {
        seen.push(record.offset);
        value_edit(b"edited")
    })
    .unwrap();
    assert_eq!(seen, [16]);
    let unseen = parts[0].len() + parts[1].len();
    assert_eq!(inspected.records[..unseen], records[..unseen]);
    let summary =
        Summary { batches: 3, records: 1, bytes: records.len() as u64, first_offset: Some(5), last_offset: Some(16) };
    assert_eq!(inspected.summary, summary);
    assert_eq!(summarise(&records), Ok(summary));
}

#[test]
fn times_follow_the_batch_flags() {
    let base = BatchBuilder {
        base_timestamp_millis: 1000,
        max_timestamp_millis: Some(5000),
        records: vec![OwnedRecord { timestamp_delta_millis: -7, value: Some(b"v".to_vec()), ..OwnedRecord::default() }],
        ..BatchBuilder::default()
    };
    let cases = [
        (base.clone(), 993),
        (BatchBuilder { log_append_time: true, ..base.clone() }, 5000),
        (BatchBuilder { delete_horizon: true, ..base }, 993),
    ];
    for (batch, expected) in cases {
        let mut time = None;
        let inspected = run(&batch.build().unwrap(), |record| {
            time = Some(record.timestamp_millis);
            value_edit(b"w")
        })
        .unwrap();
        assert_eq!(time, Some(expected));
        let kept = &reference::decode(&inspected.records)[0];
        assert_eq!((kept.log_append_time, kept.delete_horizon), (batch.log_append_time, batch.delete_horizon));
    }
}

#[test]
fn a_partial_tail_is_cut_off_without_a_copy() {
    let whole = elaborate(Codec::None).build().unwrap();
    let next = BatchBuilder::new(7_000_000_100).values([&b"cut short"[..]]).build().unwrap();
    for cut in 1..next.len() {
        let records = Bytes::from([&whole[..], &next[..cut]].concat());
        let inspected = run(&records, |_| None).unwrap();
        assert!(inspected.changed);
        assert_eq!(inspected.records, whole);
        assert_eq!(inspected.records.as_ptr(), records.as_ptr());
        assert_eq!(summarise(&records).unwrap(), inspected.summary);
    }
    assert_eq!(
        run(&Bytes::new(), |_| None).unwrap(),
        Inspected { records: Bytes::new(), changed: false, summary: Summary::default() }
    );
}

#[test]
fn a_large_batch_is_rewritten_in_every_codec() {
    // Several blocks of each codec, and a record that stands across their borders.
    let values: Vec<Vec<u8>> = (0..50u32)
        .map(|index| (0..5000u32).flat_map(|at| ((index * at) ^ (at >> 3)).to_le_bytes()).collect())
        .collect();
    for mut batch in batches() {
        batch.records.clear();
        let batch = batch.values(values.iter().map(Vec::as_slice));
        let records = batch.build().unwrap();
        let inspected = run(&records, |record| if record.offset % 7 == 0 { value_edit(b"x") } else { None }).unwrap();
        let mut expected = batch.clone();
        for record in &mut expected.records {
            if (batch.base_offset + i64::from(record.offset_delta)) % 7 == 0 {
                record.value = Some(b"x".to_vec());
            }
        }
        assert_eq!(reference::decode(&inspected.records), vec![expected], "{:?}", batch.codec);
    }
}

#[test]
fn an_inspector_may_be_used_again_after_an_error() {
    let mut inspector = Inspector::default();
    let limits = Limits::default();
    for batch in batches() {
        let good = batch.build().unwrap();
        let mut bad = good.to_vec();
        // More than the end mark of an LZ4 frame, which may be missing.
        let end = bad.len() - 6;
        bad.truncate(end);
        build::reseal(&mut bad).unwrap();
        let mut nothing = By(|_: &Record<'_>| None);
        assert!(inspector.inspect(&Bytes::from(bad), &limits, &mut nothing).is_err(), "{:?}", batch.codec);
        let mut all = By(|record: &Record<'_>| record.value.and_then(|_| value_edit(b"masked")));
        let rewritten = inspector.inspect(&good, &limits, &mut all).unwrap();
        assert_eq!(reference::decode(&rewritten.records)[0].records[0].value.as_deref(), Some(&b"masked"[..]));
    }
}

/// Inspects in steps of `work`; what came of it, and how many steps it took.
fn in_steps(
    records: &Bytes,
    work: usize,
    edit: impl FnMut(&Record<'_>) -> Option<RecordEdit>,
) -> (Result<Inspected, (BatchError, Inspected)>, usize) {
    let mut inspection = Inspection::new(records.clone());
    let (mut inspect, limits) = (By(edit), Limits::default());
    for steps in 1.. {
        // Another inspector each time: nothing of a step is left in it.
        match Inspector::default().step(&mut inspection, &limits, &mut inspect, &mut work.clone()) {
            Ok(false) => {}
            Ok(true) => return (Ok(inspection.finish()), steps),
            Err(error) => return (Err((error, inspection.finish())), steps),
        }
    }
    unreachable!()
}

#[test]
fn steps_come_to_the_same_as_one_go() {
    let some = |record: &Record<'_>| if record.offset % 3 == 0 { value_edit(b"masked") } else { None };
    let all: Vec<u8> = batches().iter().flat_map(|batch| batch.build().unwrap().to_vec()).collect();
    let mut with_tail = all.clone();
    with_tail.extend_from_slice(&all[..50]);
    for records in [Bytes::from(all), Bytes::from(with_tail)] {
        let at_once = run(&records, some).unwrap();
        let mut before = usize::MAX;
        for work in [1, 100, 1000, 10_000, usize::MAX] {
            let (stepped, steps) = in_steps(&records, work, some);
            assert_eq!(stepped.unwrap(), at_once, "steps of {work}");
            assert!(steps <= before, "{steps} steps of {work}, {before} of less");
            before = steps;
        }
        assert_eq!(before, 1);
        let (_, steps) = in_steps(&records, 1, some);
        assert!(steps as u64 >= at_once.summary.records, "a step of no more than a record: {steps}");
    }
}

#[test]
fn what_was_sound_before_a_bad_batch_is_left() {
    let all = |record: &Record<'_>| record.value.and_then(|_| value_edit(b"masked"));
    for edited in [false, true] {
        let good = batches()[0].build().unwrap();
        let mut bytes = good.to_vec();
        bytes.extend_from_slice(&good);
        *bytes.last_mut().unwrap() ^= 1;
        for work in [1, usize::MAX] {
            let (stepped, _) =
                in_steps(&Bytes::from(bytes.clone()), work, |record| if edited { all(record) } else { None });
            let (error, sound) = stepped.unwrap_err();
            assert_eq!(error, BatchError::Crc);
            let expected = if edited { run(&good, all).unwrap() } else { run(&good, |_| None).unwrap() };
            assert_eq!(sound, Inspected { changed: true, ..expected });
        }
    }
}
