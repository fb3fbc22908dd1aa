//! Masking records in a schema registry's framing: Avro and Protobuf, walked by their schemas. Throughput
//! counts the values' bytes.
//!
//! `paths` changes two fields of each record and scans nothing; `clean` looks for all classes where there
//! are none; `both` is what a topic with rules of both kinds costs.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message as _;
use tidegate_core::words::DataClass;
use tidegate_policy::mask::schema::{Lookup, Schema, SchemaId, Schemas};
use tidegate_policy::mask::{Field, MaskEntry, MaskPlan, Operator, Path, Selector, Target};

const RECORDS: u64 = 64;
const ITEMS: u64 = 8;

const AVRO: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "long"},
    {"name": "created", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "status", "type": "string"},
    {"name": "customer", "type": {"type": "record", "name": "Customer", "fields": [
        {"name": "name", "type": "string"}, {"name": "email", "type": "string"}, {"name": "since", "type": "int"}]}},
    {"name": "items", "type": {"type": "array", "items": {"type": "record", "name": "Item", "fields": [
        {"name": "sku", "type": "string"}, {"name": "title", "type": "string"}, {"name": "note", "type": "string"},
        {"name": "quantity", "type": "int"}, {"name": "price", "type": "double"}]}}},
    {"name": "total", "type": "double"}]}"#;

const PROTOBUF: &str = r#"syntax = "proto3";
    message Order {
      message Customer { string name = 1; string email = 2; int32 since = 3; }
      message Item { string sku = 1; string title = 2; string note = 3; int32 quantity = 4; double price = 5; }
      int64 id = 1; int64 created = 2; string status = 3; Customer customer = 4; repeated Item items = 5;
      double total = 6;
    }"#;

#[derive(Clone, PartialEq, prost::Message)]
struct Order {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    created: i64,
    #[prost(string, tag = "3")]
    status: String,
    #[prost(message, optional, tag = "4")]
    customer: Option<Customer>,
    #[prost(message, repeated, tag = "5")]
    items: Vec<Item>,
    #[prost(double, tag = "6")]
    total: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Customer {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    email: String,
    #[prost(int32, tag = "3")]
    since: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Item {
    #[prost(string, tag = "1")]
    sku: String,
    #[prost(string, tag = "2")]
    title: String,
    #[prost(string, tag = "3")]
    note: String,
    #[prost(int32, tag = "4")]
    quantity: i32,
    #[prost(double, tag = "5")]
    price: f64,
}

/// An order of about 1 KB without personal data.
fn order(id: u64) -> Order {
    let item = |item: u64| Item {
        sku: format!("SKU-{:05}", id * 7 + item),
        title: "A teapot of cast iron, black".to_owned(),
        note: "wrap it as a present, please, and leave the price away".to_owned(),
        quantity: item as i32 + 1,
        price: 19.99,
    };
    let customer = Customer { name: "none given".to_owned(), email: format!("reference {id}"), since: 2019 };
    Order {
        id: id as i64,
        created: 1_767_268_800_000,
        status: "shipped".to_owned(),
        customer: Some(customer),
        items: (0..ITEMS).map(item).collect(),
        total: 159.92,
    }
}

fn long(value: i64, out: &mut Vec<u8>) {
    prost::encoding::encode_varint(((value << 1) ^ (value >> 63)) as u64, out);
}

fn text(text: &str, out: &mut Vec<u8>) {
    long(text.len() as i64, out);
    out.extend_from_slice(text.as_bytes());
}

fn avro(order: &Order) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0, 7];
    long(order.id, &mut out);
    long(order.created, &mut out);
    text(&order.status, &mut out);
    let customer = order.customer.clone().unwrap_or_default();
    text(&customer.name, &mut out);
    text(&customer.email, &mut out);
    long(i64::from(customer.since), &mut out);
    long(order.items.len() as i64, &mut out);
    for item in &order.items {
        text(&item.sku, &mut out);
        text(&item.title, &mut out);
        text(&item.note, &mut out);
        long(i64::from(item.quantity), &mut out);
        out.extend_from_slice(&item.price.to_le_bytes());
    }
    out.push(0);
    out.extend_from_slice(&order.total.to_le_bytes());
    out
}

fn protobuf(order: &Order) -> Vec<u8> {
    [&[0, 0, 0, 0, 7, 0][..], &order.encode_to_vec()].concat()
}

#[derive(Debug)]
struct One(Arc<Schema>);

impl Schemas for One {
    fn find(&self, _id: SchemaId) -> Lookup {
        Lookup::Known(self.0.clone())
    }
}

fn plan(paths: bool, classes: bool) -> MaskPlan {
    let by_path = ["$.customer.name", "$.customer.email"].iter().filter(|_| paths).map(|text| {
        let selector = Selector::Path(Path::parse(text).expect("the path is good"));
        Target::Field(Arc::new(Field { selector, class: None, subject: None, text: (*text).into() }))
    });
    let by_class = DataClass::ALL.into_iter().filter(|class| classes && !class.has_fields()).map(Target::Class);
    let entry = |target| MaskEntry { framed: true, ..MaskEntry::new(target, Operator::Redact, "bench") };
    MaskPlan::new(by_path.chain(by_class).map(entry))
}

fn framed(criterion: &mut Criterion) {
    let schema = |kind, text| One(Arc::new(Schema::compile(Some(kind), text, &[]).expect("the schema is good")));
    let of_avro: Vec<Vec<u8>> = (0..RECORDS).map(|id| avro(&order(id))).collect();
    let of_protobuf: Vec<Vec<u8>> = (0..RECORDS).map(|id| protobuf(&order(id))).collect();
    let mut group = criterion.benchmark_group("framed");
    for (format, schemas, records) in
        [("avro", schema("AVRO", AVRO), of_avro), ("protobuf", schema("PROTOBUF", PROTOBUF), of_protobuf)]
    {
        group.throughput(Throughput::Bytes(records.iter().map(|record| record.len() as u64).sum()));
        for (name, plan) in [("paths", plan(true, false)), ("clean", plan(false, true)), ("both", plan(true, true))] {
            group.bench_function(BenchmarkId::new(format, name), |bencher| {
                bencher.iter(|| {
                    let mut pass = plan.begin().with_schemas(&schemas);
                    for record in &records {
                        black_box(pass.value(record).expect("the record is sound"));
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, framed);
criterion_main!(benches);
