//! What recorded records say: their offsets, keys and values, as far as a line has room.

use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, MetadataResponse, ProduceRequest, ShareFetchResponse,
};
use tidegate_audit::recording::format::Exchange;
use tidegate_core::batch::{Inspect, Record, RecordEdit, inspect};
use tidegate_core::decode::{decode_request, decode_response};
use tidegate_core::header::{self, RequestHeader};
use tidegate_core::limits::Limits;
use uuid::Uuid;

/// Characters of a key or value that are shown.
const TEXT_CHARS_MAX: usize = 160;

/// Records of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Kafka's error.
    pub(super) error: i16,
    pub(super) records: Vec<Shown>,
    /// Records that are not shown.
    pub(super) more: usize,
    /// Why some could not be read.
    pub(super) unreadable: Option<String>,
}

/// A record as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) offset: i64,
    pub(super) timestamp_millis: i64,
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
}

/// Topic ids whose names a recording tells.
#[derive(Debug, Default)]
pub(super) struct TopicNames(HashMap<Uuid, String>);

impl TopicNames {
    /// Learns what an exchange tells: Metadata's answers, and of a request with ids the names in its evidence, which
    /// are in the same order.
    pub(super) fn learn(&mut self, exchange: &Exchange) {
        if let Some((ApiKey::Metadata, version, body)) = response_body(exchange)
            && let Ok(metadata) = decode_response::<MetadataResponse>(&body, version)
        {
            let named = metadata.topics.iter().filter(|topic| !topic.topic_id.is_nil());
            let named = named.filter_map(|topic| Some((topic.topic_id, topic.name.as_ref()?.to_string())));
            self.0.extend(named.collect::<Vec<_>>());
        }
        let Some((header, body)) = request_body(exchange) else { return };
        let (version, most) = (header.version, body.len());
        let ids: Vec<Uuid> = match header.api {
            ApiKey::Fetch => match decode_request::<FetchRequest>(&body, version, most) {
                Ok(request) => request.topics.iter().map(|topic| topic.topic_id).collect(),
                Err(_) => return,
            },
            ApiKey::Produce => match decode_request::<ProduceRequest>(&body, version, most) {
                Ok(request) => request.topic_data.iter().map(|topic| topic.topic_id).collect(),
                Err(_) => return,
            },
            _ => return,
        };
        let mut names: Vec<&str> = Vec::new();
        for touched in exchange.resources.iter().filter(|touched| touched.kind == "topic") {
            if !names.contains(&touched.name.as_str()) {
                names.push(&touched.name);
            }
        }
        if names.len() == ids.len() {
            let named = ids.into_iter().zip(names).filter(|(id, _)| !id.is_nil());
            self.0.extend(named.map(|(id, name)| (id, name.to_owned())));
        }
    }

    /// A topic's name, or its id where that is all there is.
    pub(super) fn name(&self, name: &str, id: Uuid) -> String {
        if !name.is_empty() {
            return name.to_owned();
        }
        self.0.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// Every id and its name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Uuid, &String)> {
        self.0.iter()
    }
}

/// A recorded request's header and body.
pub(super) fn request_body(exchange: &Exchange) -> Option<(RequestHeader, Bytes)> {
    let frame = exchange.request.as_ref()?;
    let header = RequestHeader::parse(frame).ok()?;
    let body = frame.slice(header.body_start.min(frame.len())..);
    Some((header, body))
}

/// A recorded response's API, version and body.
pub(super) fn response_body(exchange: &Exchange) -> Option<(ApiKey, i16, Bytes)> {
    let frame = exchange.response.as_ref()?;
    let api = ApiKey::try_from(i16::try_from(exchange.api_key).ok()?).ok()?;
    let version = i16::try_from(exchange.api_version).ok()?;
    let start = header::response_body_start(frame, api, version)?;
    Some((api, version, frame.slice(start.min(frame.len())..)))
}

/// The records that an exchange carried, at most `most` of each partition.
pub(super) fn partitions(exchange: &Exchange, names: &TopicNames, most: usize) -> Vec<Partition> {
    let mut found = Vec::new();
    if let Some((header, body)) = request_body(exchange)
        && header.api == ApiKey::Produce
        && let Ok(request) = decode_request::<ProduceRequest>(&body, header.version, body.len())
    {
        for topic in &request.topic_data {
            let name = names.name(&topic.name, topic.topic_id);
            let parts = topic.partition_data.iter();
            found.extend(parts.map(|part| partition(&name, part.index, 0, part.records.as_ref(), most)));
        }
    }
    let Some((api, version, body)) = response_body(exchange) else { return found };
    match api {
        ApiKey::Fetch => {
            let Ok(response) = decode_response::<FetchResponse>(&body, version) else { return found };
            for topic in &response.responses {
                let name = names.name(&topic.topic, topic.topic_id);
                found.extend(
                    topic.partitions.iter().map(|part| {
                        partition(&name, part.partition_index, part.error_code, part.records.as_ref(), most)
                    }),
                );
            }
        }
        ApiKey::ShareFetch => {
            let Ok(response) = decode_response::<ShareFetchResponse>(&body, version) else { return found };
            for topic in &response.responses {
                let name = names.name("", topic.topic_id);
                found.extend(
                    topic.partitions.iter().map(|part| {
                        partition(&name, part.partition_index, part.error_code, part.records.as_ref(), most)
                    }),
                );
            }
        }
        _ => {}
    }
    found.retain(|part| part.error != 0 || !part.records.is_empty() || part.more > 0 || part.unreadable.is_some());
    found
}

fn partition(topic: &str, partition: i32, error: i16, records: Option<&Bytes>, most: usize) -> Partition {
    let mut found = Partition { topic: topic.to_owned(), partition, error, ..Partition::default() };
    if let Some(records) = records.filter(|records| !records.is_empty()) {
        let (all, unreadable) = read(records);
        found.more = all.len().saturating_sub(most);
        found.records = all.into_iter().take(most).collect();
        found.unreadable = unreadable;
    }
    found
}

/// The records of batches, and why they end where they do. A batch at the end may be cut short, as brokers do.
pub(super) fn read(records: &Bytes) -> (Vec<Shown>, Option<String>) {
    struct Collect(Vec<Shown>);
    impl Inspect for Collect {
        fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
            self.0.push(Shown {
                offset: record.offset,
                timestamp_millis: record.timestamp_millis,
                key: record.key.map(text),
                value: record.value.map(text),
            });
            None
        }
    }
    let mut collect = Collect(Vec::new());
    let done = inspect(records, &Limits::default(), &mut collect);
    (collect.0, done.err().map(|error| error.to_string()))
}

/// Bytes as text that can do nothing to a terminal; what is no text is shown in hexadecimal.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => {
            let mut shown: String = text.chars().take(TEXT_CHARS_MAX).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            shown.replace(|c: char| c.is_control(), " ")
        }
        _ => {
            let mut shown = String::from("0x");
            bytes.iter().take(TEXT_CHARS_MAX / 2).for_each(|byte| shown.push_str(&format!("{byte:02x}")));
            if bytes.len() > TEXT_CHARS_MAX / 2 {
                shown.push('…');
            }
            shown
        }
    }
}
