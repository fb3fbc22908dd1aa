//! An exchange's entry without its copies: what most entries are, encoded from what the hot path
//! holds anyway.
//!
//! [`ExchangeEntry`] encodes to the very fields of an [`Event`], in another order where that saves
//! work (Protocol Buffers leave the order open): who asked is encoded once a session, and texts are
//! shared instead of owned. A test holds the two against each other.

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, int32, key_len, message, sint32};
use smol_str::SmolStr;

use super::{Entry, Event, FindingCount, Kind, Outcome, ResourceUse, SubjectTags};

/// Field numbers of [`Event`].
mod field {
    pub(super) const TIME: u32 = 1;
    pub(super) const KIND: u32 = 2;
    pub(super) const API: u32 = 10;
    pub(super) const API_VERSION: u32 = 11;
    pub(super) const OUTCOME: u32 = 12;
    pub(super) const RESOURCES: u32 = 13;
    pub(super) const POLICY_VERSION: u32 = 15;
    pub(super) const FINDINGS: u32 = 16;
    pub(super) const UPSTREAM_ERRORS: u32 = 17;
    pub(super) const LATENCY: u32 = 18;
    pub(super) const DETAIL: u32 = 19;
    pub(super) const REQUEST_BYTES: u32 = 20;
    pub(super) const RESPONSE_BYTES: u32 = 21;
    pub(super) const BROKER: u32 = 22;
    pub(super) const APPROVAL: u32 = 23;
    pub(super) const SUBJECTS: u32 = 24;
    pub(super) const SUBJECTS_CUT: u32 = 25;
}

/// One resource of an exchange under way: a [`ResourceUse`] whose texts cost nothing to hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Touched {
    /// As in [`ResourceUse`], and so are the others.
    pub kind: &'static str,
    /// The resource's name.
    pub name: SmolStr,
    /// The partition, where one is meant.
    pub partition: Option<i32>,
    /// The operation asked for.
    pub operation: &'static str,
    /// Whether it was allowed.
    pub allowed: bool,
    /// The grant that allowed it, or why it was denied.
    pub rule: SmolStr,
    /// The purpose that the grant declares.
    pub purpose: SmolStr,
    /// First record offset, inclusive, where records were carried.
    pub first_offset: Option<i64>,
    /// Last record offset, inclusive.
    pub last_offset: Option<i64>,
    /// Records carried.
    pub records: u64,
    /// Bytes of record batches carried, as on the wire.
    pub bytes: u64,
}

/// A number that is left out where it is zero, or always written where it is optional.
#[derive(Clone, Copy)]
struct Number(u32, Option<u64>);

impl Touched {
    /// The texts with their field numbers in [`ResourceUse`].
    fn texts(&self) -> [(u32, &str); 5] {
        [(1, self.kind), (2, &self.name), (4, self.operation), (6, &self.rule), (7, &self.purpose)]
    }

    /// The numbers, as varints.
    fn numbers(&self) -> [Number; 6] {
        let unless_zero = |number: u64| (number != 0).then_some(number);
        // Negative numbers of 32 bits are written in 64, as Protocol Buffers have it.
        let sign_extended = |number: i64| number as u64;
        [
            Number(3, self.partition.map(|partition| sign_extended(i64::from(partition)))),
            Number(5, self.allowed.then_some(1)),
            Number(8, self.first_offset.map(sign_extended)),
            Number(9, self.last_offset.map(sign_extended)),
            Number(10, unless_zero(self.records)),
            Number(11, unless_zero(self.bytes)),
        ]
    }

    /// Appends it as field `tag` of the message that holds it.
    fn encode(&self, tag: u32, buffer: &mut Vec<u8>) {
        let texts = self.texts();
        let numbers = self.numbers();
        let texts_len: usize = texts.iter().map(|(tag, text)| text_len(*tag, text)).sum();
        let numbers_len: usize =
            numbers.iter().map(|Number(tag, n)| n.map_or(0, |n| key_len(*tag) + encoded_len_varint(n))).sum();
        encode_key(tag, WireType::LengthDelimited, buffer);
        encode_varint((texts_len + numbers_len) as u64, buffer);
        for (tag, text) in texts {
            encode_text(tag, text, buffer);
        }
        for Number(tag, number) in numbers {
            if let Some(number) = number {
                encode_key(tag, WireType::Varint, buffer);
                encode_varint(number, buffer);
            }
        }
    }
}

impl From<&Touched> for ResourceUse {
    fn from(touched: &Touched) -> Self {
        let Touched {
            kind,
            name,
            partition,
            operation,
            allowed,
            rule,
            purpose,
            first_offset,
            last_offset,
            records,
            bytes,
        } = touched;
        Self {
            kind: (*kind).to_owned(),
            name: name.to_string(),
            partition: *partition,
            operation: (*operation).to_owned(),
            allowed: *allowed,
            rule: rule.to_string(),
            purpose: purpose.to_string(),
            first_offset: *first_offset,
            last_offset: *last_offset,
            records: *records,
            bytes: *bytes,
        }
    }
}

/// The entry of an exchange: an [`Event`] of [`Kind::Exchange`] whose fields are borrowed. They mean
/// what they mean there.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeEntry<'a> {
    /// An encoded [`Event`] of what does not change within a session: who asked, and from where.
    pub who: &'a [u8],
    /// When the exchange was complete.
    pub time_micros: i64,
    /// The API's name.
    pub api: &'a str,
    /// The API's version.
    pub api_version: i16,
    /// How it ended.
    pub outcome: Outcome,
    /// What was touched.
    pub resources: &'a [Touched],
    /// The policy that decided.
    pub policy_version: u64,
    /// What was found.
    pub findings: &'a [FindingCount],
    /// The upstream's error codes.
    pub upstream_errors: &'a [i32],
    /// How long it took.
    pub latency_micros: u64,
    /// A sentence for people.
    pub detail: &'a str,
    /// The request's bytes on the wire.
    pub request_bytes: u64,
    /// The response's bytes on the wire.
    pub response_bytes: u64,
    /// The upstream broker's node id.
    pub broker: i32,
    /// The approval that it is part of the story of.
    pub approval: &'a str,
    /// Whose data was found.
    pub subjects: &'a [SubjectTags],
    /// Tags that are missing.
    pub subjects_cut: u64,
}

impl Entry for ExchangeEntry<'_> {
    fn time_micros(&self) -> i64 {
        self.time_micros
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        encode_number(field::TIME, self.time_micros as u64, buffer);
        encode_number(field::KIND, Kind::Exchange as u64, buffer);
        buffer.extend_from_slice(self.who);
        encode_text(field::API, self.api, buffer);
        encode_number(field::API_VERSION, i64::from(self.api_version) as u64, buffer);
        encode_number(field::OUTCOME, self.outcome as u64, buffer);
        for touched in self.resources {
            touched.encode(field::RESOURCES, buffer);
        }
        encode_number(field::POLICY_VERSION, self.policy_version, buffer);
        message::encode_repeated(field::FINDINGS, self.findings, buffer);
        int32::encode_packed(field::UPSTREAM_ERRORS, self.upstream_errors, buffer);
        encode_number(field::LATENCY, self.latency_micros, buffer);
        encode_text(field::DETAIL, self.detail, buffer);
        encode_number(field::REQUEST_BYTES, self.request_bytes, buffer);
        encode_number(field::RESPONSE_BYTES, self.response_bytes, buffer);
        if self.broker != 0 {
            sint32::encode(field::BROKER, &self.broker, buffer);
        }
        encode_text(field::APPROVAL, self.approval, buffer);
        message::encode_repeated(field::SUBJECTS, self.subjects, buffer);
        encode_number(field::SUBJECTS_CUT, self.subjects_cut, buffer);
    }

    fn to_event(&self) -> Event {
        let mut encoded = Vec::new();
        self.encode(&mut encoded);
        // What was encoded here can be read.
        Event::decode(&encoded[..]).unwrap_or_default()
    }
}

/// A number that is left out where it is zero.
fn encode_number(tag: u32, number: u64, buffer: &mut Vec<u8>) {
    if number != 0 {
        encode_key(tag, WireType::Varint, buffer);
        encode_varint(number, buffer);
    }
}

fn text_len(tag: u32, text: &str) -> usize {
    if text.is_empty() { 0 } else { key_len(tag) + encoded_len_varint(text.len() as u64) + text.len() }
}

fn encode_text(tag: u32, text: &str, buffer: &mut Vec<u8>) {
    if !text.is_empty() {
        encode_key(tag, WireType::LengthDelimited, buffer);
        encode_varint(text.len() as u64, buffer);
        buffer.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{FindingCount, Kind, Outcome};

    fn touched() -> impl Strategy<Value = Touched> {
        let texts = (".{0,40}", ".{0,30}", ".{0,30}");
        let optional = (any::<Option<i32>>(), any::<Option<i64>>(), any::<Option<i64>>());
        (texts, optional, any::<bool>(), any::<(u64, u64)>(), 0..3usize).prop_map(
            |((name, rule, purpose), (partition, first_offset, last_offset), allowed, (records, bytes), kind)| {
                Touched {
                    kind: ["", "topic", "transactional_id"][kind],
                    name: name.into(),
                    partition,
                    operation: ["", "read", "idempotent_write"][kind],
                    allowed,
                    rule: rule.into(),
                    purpose: purpose.into(),
                    first_offset,
                    last_offset,
                    records: records >> (kind * 30),
                    bytes,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn it_decodes_to_the_event_that_it_stands_for(
            resources in proptest::collection::vec(touched(), 0..5),
            numbers in any::<(i64, u64, u64, i32)>(),
        ) {
            let (findings, subjects) = (
                vec![FindingCount { class: "email".into(), count: numbers.1, ..FindingCount::default() }; resources.len()],
                vec![SubjectTags { finding: 1, partition: numbers.3, base_offset: Some(-9), postings: vec![7; 9] }; resources.len()],
            );
            let expected = Event {
                time_micros: numbers.0,
                kind: Kind::Exchange as i32,
                session: "0192f5a0".into(),
                principal: "anna".into(),
                groups: vec!["a".into(), String::new(), "b".into()],
                client_id: "c".into(),
                api: "Fetch".into(),
                api_version: numbers.3 >> 16,
                outcome: Outcome::Denied as i32,
                resources: resources.iter().map(ResourceUse::from).collect(),
                policy_version: numbers.1,
                findings: findings.clone(),
                upstream_errors: vec![3, 0, -1][..resources.len().min(3)].to_vec(),
                latency_micros: numbers.2,
                detail: "why".into(),
                request_bytes: numbers.2,
                response_bytes: numbers.1 >> 40,
                broker: numbers.3,
                approval: "a1".into(),
                subjects: subjects.clone(),
                subjects_cut: numbers.1 >> 60,
                ..Event::default()
            };
            let who = Event {
                session: expected.session.clone(),
                principal: expected.principal.clone(),
                groups: expected.groups.clone(),
                client_id: expected.client_id.clone(),
                ..Event::default()
            };
            let entry = ExchangeEntry {
                who: &who.encode_to_vec(),
                time_micros: numbers.0,
                api: "Fetch",
                api_version: (numbers.3 >> 16) as i16,
                outcome: Outcome::Denied,
                resources: &resources,
                policy_version: numbers.1,
                findings: &findings,
                upstream_errors: &expected.upstream_errors,
                latency_micros: numbers.2,
                detail: "why",
                request_bytes: numbers.2,
                response_bytes: numbers.1 >> 40,
                broker: numbers.3,
                approval: "a1",
                subjects: &subjects,
                subjects_cut: numbers.1 >> 60,
            };
            let mut encoded = Vec::new();
            entry.encode(&mut encoded);
            prop_assert_eq!(encoded.len(), expected.encoded_len());
            prop_assert_eq!(&Event::decode(&encoded[..]).unwrap(), &expected);
            prop_assert_eq!(&entry.to_event(), &expected);
        }
    }
}
