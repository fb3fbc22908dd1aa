//! Order events in JSON, about 400 bytes each, with or without personal data, the same on every run.
//!
//! Clean ones are no easy prey: they hold times in milliseconds, long identifiers, amounts and a time
//! zone, which a scanner must look at and let pass.

use bytes::Bytes;
use tidegate_core::batch::Codec;
use tidegate_core::batch::build::{BatchBuilder, OwnedRecord};

/// Records of one batch in the benches.
pub const RECORDS: usize = 500;

/// What a payload holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// No personal data.
    Clean,
    /// An e-mail address in every hundredth record, else none.
    Rare,
    /// An e-mail address, a telephone number and a card number in every record.
    Full,
}

impl Content {
    /// Every content, by name.
    pub const ALL: [(&'static str, Self); 3] = [("clean", Self::Clean), ("rare", Self::Rare), ("full", Self::Full)];
}

/// The value of record `index`.
#[must_use]
pub fn value(index: usize, content: Content) -> Vec<u8> {
    let (email, phone, card) = match content {
        Content::Full => (format!("customer{index}@example.com"), "+4915112345678", "4111 1111 1111 1111"),
        Content::Rare if index.is_multiple_of(100) => (format!("customer{index}@example.com"), "none", "none"),
        _ => (format!("customer-{index}"), "none", "none"),
    };
    format!(
        concat!(
            r#"{{"event":"order.placed","id":"5f0c8b1e-0b51-4b42-9f5e-{index:012}","ts":17{index:011},"#,
            r#""created":"2026-03-01T12:34:56.789+02:00","customer":{{"ref":"{email}","phone":"{phone}","tier":"gold"}},"#,
            r#""payment":{{"card":"{card}","amount":{index}.99,"currency":"EUR","reference":98765432101{index:05}}},"#,
            r#""lines":[{{"sku":"TG-{index}-A","quantity":2,"price":19.95}},{{"sku":"TG-{index}-B","quantity":1,"price":5.0}}],"#,
            r#""note":"deliver between nine and twelve, ring twice, leave with the neighbour otherwise"}}"#
        ),
        index = index,
        email = email,
        phone = phone,
        card = card
    )
    .into_bytes()
}

/// Values of 1,000 to 1,100 bytes, of `bytes` in all at most: such an event, with a history behind it.
#[must_use]
pub fn kilobytes(bytes: usize, content: Content) -> Vec<Vec<u8>> {
    let mut left = bytes;
    let mut values = Vec::new();
    for index in 0.. {
        let mut value = value(index, content);
        value.pop();
        value.extend_from_slice(br#","history":["#);
        for step in 0..5 {
            let state = ["placed", "paid", "packed", "shipped", "delivered"][step];
            let entry = format!(
                r#"{{"state":"{state}","at":"2026-03-0{}T08:{:02}:0{step}.250Z","by":"worker-{}","trace":"4bf92f3577b34da6a3ce{:012x}"}},"#,
                step + 1,
                index % 60,
                index % 9,
                index
            );
            value.extend_from_slice(entry.as_bytes());
        }
        value.pop();
        value.extend_from_slice(b"]}");
        let Some(rest) = left.checked_sub(value.len()) else { break };
        left = rest;
        values.push(value);
    }
    values
}

/// A batch of [`RECORDS`] such values, and how many bytes they have uncompressed.
///
/// # Panics
/// Where the batch cannot be built, which would be a bug.
#[must_use]
pub fn batch(codec: Codec, content: Content) -> (Bytes, u64) {
    let records: Vec<OwnedRecord> = (0..RECORDS)
        .map(|index| OwnedRecord {
            offset_delta: index as i32,
            timestamp_delta_millis: index as i64,
            key: Some(index.to_string().into_bytes()),
            value: Some(value(index, content)),
            headers: vec![(b"trace".to_vec(), Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736".to_vec()))],
        })
        .collect();
    let bytes = records.iter().filter_map(|record| record.value.as_ref()).map(|value| value.len() as u64).sum();
    let batch = BatchBuilder { codec, base_timestamp_millis: 1_700_000_000_000, records, ..BatchBuilder::default() };
    (batch.build().expect("the batch is within the format's bounds"), bytes)
}

#[cfg(test)]
mod tests {
    use tidegate_core::limits::Limits;
    use tidegate_core::words::DataClass;
    use tidegate_policy::mask::{MaskEntry, MaskPlan, Operator, Target};

    use super::*;

    #[test]
    fn kilobytes_are_about_that() {
        let values = kilobytes(300_000, Content::Full);
        let sizes: Vec<usize> = values.iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| (980..1150).contains(size)), "{sizes:?}");
        assert!(sizes.iter().sum::<usize>() > 298_000);
        assert!(values.iter().all(|value| serde_json::from_slice::<serde_json::Value>(value).is_ok()));
    }

    #[test]
    fn contents_hold_what_their_names_say() {
        let entry =
            |class| MaskEntry { keys: true, ..MaskEntry::new(Target::Class(class), Operator::Redact, "redact") };
        let plan = MaskPlan::new(DataClass::ALL.map(entry));
        let all = RECORDS as u64;
        let classes = [DataClass::Email, DataClass::Phone, DataClass::PaymentCard];
        for (content, expected) in [(Content::Clean, [0; 3]), (Content::Rare, [5, 0, 0]), (Content::Full, [all; 3])] {
            let mut pass = plan.begin();
            let (records, _) = batch(Codec::Lz4, content);
            tidegate_core::batch::inspect(&records, &Limits::default(), &mut pass).unwrap();
            assert_eq!(classes.map(|class| pass.count(class)), expected, "{content:?}");
            let found: u64 = DataClass::ALL.into_iter().map(|class| pass.count(class)).sum();
            assert_eq!(found, expected.iter().sum::<u64>(), "{content:?}");
        }
    }
}
