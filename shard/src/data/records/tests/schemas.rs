//! Records in a schema registry's framing: what waits for a schema, and what was made of one.

use std::cell::RefCell;
use std::sync::Arc;

use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::fetch_response::FetchResponse;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use tidegate_policy::mask::schema::{Lookup, Schema, SchemaId, Schemas};

use super::fetch::{broker, fetch, topic_name};
use super::*;

/// Answers what it is told to; one that knows nothing at first.
#[derive(Debug)]
pub(super) struct Registry(RefCell<Lookup>);

impl Default for Registry {
    fn default() -> Self {
        Self(RefCell::new(Lookup::Unusable("there is none".into())))
    }
}

impl Schemas for Registry {
    fn find(&self, _id: SchemaId) -> Lookup {
        self.0.borrow().clone()
    }
}

impl Registry {
    fn answers(&self, lookup: Lookup) {
        *self.0.borrow_mut() = lookup;
    }

    fn knows(&self, schema: &str) {
        self.answers(Lookup::Known(Arc::new(Schema::compile(None, schema, &[]).unwrap())));
    }
}

fn policy(on_unparseable: &str) -> String {
    format!(
        "version: 1\non_unparseable: {on_unparseable}\ngrants: [{{name: g, purpose: p, principals: [alice], \
         resources: [{{topic: orders}}], operations: [read, write]}}]\nmasks: [{{name: m, topics: [orders], \
         everyone: true, directions: [produce, fetch], classes: [email], operator: redact, schema_registry: true}}]\n"
    )
}

fn world(on_unparseable: &str) -> World {
    let mut world = World::new();
    world.view = view(&policy(on_unparseable), 1);
    world.on_unparseable = world.view.on_unparseable();
    world.limits.verdict_cache_bytes_per_shard_max = 1 << 20;
    world
}

/// A batch of one string of Avro in the framing.
fn framed(text: &str) -> Bytes {
    let value = [&[0, 0, 0, 0, 7, text.len() as u8 * 2][..], text.as_bytes()].concat();
    BatchBuilder::new(5).values([value.as_slice()]).build().unwrap()
}

fn read(world: &mut World, records: &Bytes) -> (FetchResponse, Draft) {
    let sent = fetch(12, &[("orders", 0)]);
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &sent);
    let sent = broker(&sent, records);
    let response = world.respond(asked, &sent, &mut draft).unwrap_or(sent);
    (response, draft)
}

fn write(world: &mut World, records: &Bytes) -> (Asked, Draft) {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(records.clone()));
    let topic = TopicProduceData::default().with_name(topic_name("orders")).with_partition_data(vec![data]);
    let sent = ProduceRequest::default().with_acks(-1).with_timeout_ms(9).with_topic_data(vec![topic]);
    world.ask(ApiKey::Produce, 9, &sent)
}

#[test]
fn a_consumer_waits_for_a_schema_and_gets_what_is_before_it() {
    for on_unparseable in ["reject", "mask_whole_value", "pass"] {
        let mut world = world(on_unparseable);
        world.schemas.answers(Lookup::Pending);
        let records: Bytes = [batch(&[PERSONAL]), framed("jane.doe@example.com")].concat().into();
        let (response, draft) = read(&mut world, &records);
        let partition = &response.responses[0].partitions[0];
        assert_eq!((partition.error_code, response.throttle_time_ms), (0, 100));
        assert_eq!(values(partition.records.as_ref().unwrap()).len(), 1);
        assert_eq!((draft.inspected.unparseable, draft.unparseable), (0, false));
        assert!(draft.detail.contains("waits for its schema"), "{}", draft.detail);
        // And nothing where nothing is before it.
        let (response, draft) = read(&mut world, &framed("jane.doe@example.com"));
        let partition = &response.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.records.as_ref().map(Bytes::len)), (0, Some(0)));
        assert_eq!(resources(&draft), ["+read orders-0 0"]);
        // Once it is there, all is.
        world.schemas.knows("\"string\"");
        let (response, draft) = read(&mut world, &records);
        let masked = values(response.responses[0].partitions[0].records.as_ref().unwrap());
        assert_eq!(masked[1], "\0\0\0\0\u{7}\u{e}[email]");
        assert_eq!(findings(&draft), ["email redact 2 orders"]);
    }
}

#[test]
fn a_producer_is_told_to_come_again() {
    let mut world = world("pass");
    world.schemas.answers(Lookup::Pending);
    let (asked, draft) = write(&mut world, &framed("jane.doe@example.com"));
    let answer: kafka_protocol::messages::ProduceResponse = asked.answer();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, E::RequestTimedOut.code());
    assert_eq!(draft.resources[0].rule, "the record at offset 5 waits for its schema");
    world.schemas.knows("\"string\"");
    let (asked, _) = write(&mut world, &framed("jane.doe@example.com"));
    let (sent, _) = asked.forwarded::<ProduceRequest>();
    let records = sent.topic_data[0].partition_data[0].records.clone().unwrap();
    assert_eq!(values(&records), ["\0\0\0\0\u{7}\u{e}[email]"]);
}

#[test]
fn what_came_of_a_schema_that_could_not_be_had_is_not_remembered() {
    let mut world = world("mask_whole_value");
    let records = framed("nobody's");
    for _ in 0..3 {
        let (response, mut draft) = read(&mut world, &records);
        assert_eq!(values(response.responses[0].partitions[0].records.as_ref().unwrap()), ["[unparseable]"]);
        assert_eq!(std::mem::take(&mut draft.inspected.recalled), 0);
    }
    world.schemas.knows("\"string\"");
    let (response, _) = read(&mut world, &records);
    assert_eq!(response.responses[0].partitions[0].records, Some(records.clone()));
    let (_, draft) = read(&mut world, &records);
    assert_eq!(draft.inspected.recalled, 1);
    // It is refused where the policy refuses.
    let mut world = self::world("reject");
    assert_eq!(read(&mut world, &records).0.responses[0].partitions[0].error_code, E::CorruptMessage.code());
}
