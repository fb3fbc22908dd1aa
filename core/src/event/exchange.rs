//! An exchange's entry without its copies: what most entries are, encoded from what the hot path
//! holds anyway.
//!
//! [`ExchangeEntry`] encodes to the very fields of an [`Event`], in another order where that saves
//! work (Protocol Buffers leave the order open): who asked is encoded once a session, and texts are
//! shared instead of owned. A test holds the two against each other.

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use smol_str::SmolStr;

use super::{Entry, Event, ResourceUse};

/// Field numbers of [`Event`].
const API: u32 = 10;
const RESOURCES: u32 = 13;

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

/// The entry of an exchange, in parts.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeEntry<'a> {
    /// All fields that none of the others holds.
    pub rest: &'a Event,
    /// An encoded [`Event`] of what does not change within a session: who asked, and from where.
    pub who: &'a [u8],
    /// The API's name.
    pub api: &'a str,
    /// What was touched.
    pub resources: &'a [Touched],
}

impl Entry for ExchangeEntry<'_> {
    fn time_micros(&self) -> i64 {
        self.rest.time_micros
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        self.rest.encode_raw(buffer);
        buffer.extend_from_slice(self.who);
        encode_text(API, self.api, buffer);
        for touched in self.resources {
            touched.encode(RESOURCES, buffer);
        }
    }

    fn to_event(&self) -> Event {
        let mut event = self.rest.clone();
        // What the gateway encoded itself can be read.
        let _ = event.merge(self.who);
        self.api.clone_into(&mut event.api);
        event.resources = self.resources.iter().map(ResourceUse::from).collect();
        event
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
            let rest = Event {
                time_micros: numbers.0,
                kind: Kind::Exchange as i32,
                outcome: Outcome::Denied as i32,
                api_version: numbers.3,
                policy_version: numbers.1,
                latency_micros: numbers.2,
                detail: "why".into(),
                broker: numbers.3,
                findings: vec![FindingCount { class: "email".into(), count: numbers.1, ..FindingCount::default() }],
                upstream_errors: vec![3, 0, -1],
                ..Event::default()
            };
            let who = Event {
                session: "0192f5a0".into(),
                principal: "anna".into(),
                groups: vec!["a".into(), String::new(), "b".into()],
                client_id: "c".into(),
                ..Event::default()
            };
            let entry = ExchangeEntry { rest: &rest, who: &who.encode_to_vec(), api: "Fetch", resources: &resources };
            let expected = Event {
                session: who.session.clone(),
                principal: who.principal.clone(),
                groups: who.groups.clone(),
                client_id: who.client_id.clone(),
                api: "Fetch".into(),
                resources: resources.iter().map(ResourceUse::from).collect(),
                ..rest.clone()
            };
            let mut encoded = Vec::new();
            entry.encode(&mut encoded);
            prop_assert_eq!(encoded.len(), expected.encoded_len());
            prop_assert_eq!(&Event::decode(&encoded[..]).unwrap(), &expected);
            prop_assert_eq!(&entry.to_event(), &expected);
        }
    }
}
