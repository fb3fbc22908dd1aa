//! Masking JSON by field path: in place by the span-keeping walk, beside what decoding with
//! serde_json, changing and encoding takes for the same records. Throughput counts the values' bytes.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate_policy::mask::{Field, MaskEntry, MaskPlan, Operator, Path, Selector, Target};

/// Records of about 1 KB each.
fn records() -> Vec<Vec<u8>> {
    let record = |id: u64| {
        let items: Vec<serde_json::Value> = (0..8)
            .map(|item| serde_json::json!({
                "sku": format!("SKU-{:05}", id * 7 + item), "quantity": item + 1, "price": 19.99, "gift": item % 2 == 0,
                "title": "A teapot of cast iron, black",
            }))
            .collect();
        serde_json::json!({
            "id": id, "created": "2026-11-24T12:00:00Z", "status": "shipped",
            "customer": {"name": "Jane Doe", "email": "jane.doe@example.com", "since": 2019, "level": "gold"},
            "shipping": {"city": "Berlin", "method": "express", "tracking": format!("TRK{id:012}")},
            "items": items, "total": 159.92, "currency": "EUR",
        })
    };
    (0..64).map(|id| record(id).to_string().into_bytes()).collect()
}

fn plan(paths: &[&str]) -> MaskPlan {
    MaskPlan::new(paths.iter().map(|text| {
        let selector = Selector::Path(Path::parse(text).expect("the path is good"));
        let field = Field { selector, class: None, subject: None, text: (*text).into() };
        MaskEntry::new(Target::Field(Arc::new(field)), Operator::Redact, "bench")
    }))
}

fn fields(criterion: &mut Criterion) {
    let records = records();
    let mut group = criterion.benchmark_group("fields");
    group.throughput(Throughput::Bytes(records.iter().map(|record| record.len() as u64).sum()));
    for (name, paths) in [
        ("two_paths", &["$.customer.name", "$.customer.email"][..]),
        ("array", &["$.items[*].title"]),
        ("deep", &["$..email"]),
        ("absent", &["$.nowhere.name"]),
    ] {
        let plan = plan(paths);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut pass = plan.begin();
                for record in &records {
                    black_box(pass.value(record).expect("the record is sound"));
                }
            });
        });
    }
    group.bench_function("serde_json/two_paths", |bencher| {
        bencher.iter(|| {
            for record in &records {
                let mut value: serde_json::Value = serde_json::from_slice(record).expect("the record is sound");
                value["customer"]["name"] = "[field]".into();
                value["customer"]["email"] = "[field]".into();
                black_box(serde_json::to_vec(&value).expect("it is written"));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, fields);
criterion_main!(benches);
