//! The Kafka that a generator speaks all day, written and read in place: Produce and Fetch in their
//! flexible versions, topics by name or, from version 13 on, by id. Everything rarer goes through
//! `kafka-protocol`.
//!
//! Field orders are those of Kafka's message schemas; the tests hold every byte against
//! `kafka-protocol`.

use std::ops::Range;

use kafka_protocol::messages::ApiKey;

/// From this version of Produce and Fetch on topics are named by id.
pub const TOPIC_IDS_FROM: i16 = 13;
/// The highest Produce that is spoken, and the lowest: flexible, with names.
pub const PRODUCE_VERSIONS: (i16, i16) = (9, 13);
/// The highest Fetch that is spoken, and the lowest: flexible, with names.
pub const FETCH_VERSIONS: (i16, i16) = (12, 17);

/// A topic as a request names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: [u8; 16],
}

/// Where a request goes to.
#[derive(Debug, Clone, Copy)]
pub struct To<'a> {
    /// The version spoken.
    pub version: i16,
    /// The correlation id.
    pub correlation: i32,
    /// The topic.
    pub topic: &'a Topic,
    /// The partition.
    pub partition: i32,
}

/// Appends a Produce request of one batch of `batch_bytes` bytes, which `put_batch` appends.
pub fn produce(out: &mut Vec<u8>, to: To<'_>, acks: i16, batch_bytes: usize, put_batch: impl FnOnce(&mut Vec<u8>)) {
    let start = begin(out, ApiKey::Produce, to);
    out.push(0); // transactional id: null
    out.extend_from_slice(&acks.to_be_bytes());
    out.extend_from_slice(&30_000i32.to_be_bytes());
    out.push(2); // one topic
    topic(out, to);
    out.push(2); // one partition
    out.extend_from_slice(&to.partition.to_be_bytes());
    unsigned_varint(out, batch_bytes as u32 + 1);
    let before = out.len();
    put_batch(out);
    debug_assert_eq!(out.len() - before, batch_bytes);
    out.extend_from_slice(&[0, 0, 0]); // tagged fields of partition, topic, request
    finish(out, start);
}

/// What a Fetch asks for.
#[derive(Debug, Clone, Copy)]
pub struct FetchFrom {
    /// The first offset.
    pub offset: i64,
    /// Bytes of the partition at most.
    pub bytes_max: i32,
    /// How long the broker may wait for data, in milliseconds.
    pub wait_millis: i32,
}

/// Appends a Fetch request for one partition, without a fetch session.
pub fn fetch(out: &mut Vec<u8>, to: To<'_>, from: FetchFrom) {
    let start = begin(out, ApiKey::Fetch, to);
    if to.version <= 14 {
        out.extend_from_slice(&(-1i32).to_be_bytes()); // replica id
    }
    out.extend_from_slice(&from.wait_millis.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes()); // at least a byte
    out.extend_from_slice(&from.bytes_max.to_be_bytes());
    out.push(0); // read uncommitted
    out.extend_from_slice(&0i32.to_be_bytes()); // session id
    out.extend_from_slice(&(-1i32).to_be_bytes()); // session epoch: none
    out.push(2); // one topic
    topic(out, to);
    out.push(2); // one partition
    out.extend_from_slice(&to.partition.to_be_bytes());
    out.extend_from_slice(&(-1i32).to_be_bytes()); // current leader epoch
    out.extend_from_slice(&from.offset.to_be_bytes());
    out.extend_from_slice(&(-1i32).to_be_bytes()); // last fetched epoch
    out.extend_from_slice(&(-1i64).to_be_bytes()); // log start offset
    out.extend_from_slice(&from.bytes_max.to_be_bytes());
    // Tagged fields of partition and topic, no forgotten topics, no rack, tagged fields of the request.
    out.extend_from_slice(&[0, 0, 1, 1, 0]);
    finish(out, start);
}

/// The `client.id` of all requests.
pub const CLIENT_ID: &str = "loadtest";

fn begin(out: &mut Vec<u8>, api: ApiKey, to: To<'_>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(api as i16).to_be_bytes());
    out.extend_from_slice(&to.version.to_be_bytes());
    out.extend_from_slice(&to.correlation.to_be_bytes());
    out.extend_from_slice(&(CLIENT_ID.len() as i16).to_be_bytes());
    out.extend_from_slice(CLIENT_ID.as_bytes());
    out.push(0); // tagged fields
    start
}

fn topic(out: &mut Vec<u8>, to: To<'_>) {
    if to.version >= TOPIC_IDS_FROM {
        out.extend_from_slice(&to.topic.id);
    } else {
        unsigned_varint(out, to.topic.name.len() as u32 + 1);
        out.extend_from_slice(to.topic.name.as_bytes());
    }
}

fn finish(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends an unsigned varint.
pub fn unsigned_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A response that is not what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the response ends too early or does not add up")]
pub struct Malformed;

/// One partition of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: i32,
    /// Kafka's error code, 0 for none.
    pub error: i16,
    /// Produce: the base offset given. Fetch: the high watermark.
    pub offset: i64,
    /// Fetch: where its records stand in the body.
    pub records: Range<usize>,
}

/// Reads the partitions of a Produce response's body; its topics are not told apart.
///
/// # Errors
/// [`Malformed`].
pub fn produce_response(body: &[u8], version: i16, mut each: impl FnMut(Partition)) -> Result<(), Malformed> {
    let mut read = Read { bytes: body, at: 0 };
    for _ in 0..read.count()? {
        read.topic(version)?;
        for _ in 0..read.count()? {
            let (index, error, offset) = (read.i32()?, read.i16()?, read.i64()?);
            read.skip(16)?; // append time, log start offset
            for _ in 0..read.count()? {
                read.skip(4)?;
                read.bytes()?;
                read.tags()?;
            }
            read.bytes()?; // error message
            read.tags()?;
            each(Partition { index, error, offset, records: 0..0 });
        }
        read.tags()?;
    }
    read.skip(4)?; // throttle time
    read.tags()
}

/// Reads the partitions of a Fetch response's body; its topics are not told apart. The error of the
/// whole response is the value.
///
/// # Errors
/// [`Malformed`].
pub fn fetch_response(body: &[u8], version: i16, mut each: impl FnMut(Partition)) -> Result<i16, Malformed> {
    let mut read = Read { bytes: body, at: 0 };
    read.skip(4)?; // throttle time
    let error_of_all = read.i16()?;
    read.skip(4)?; // session id
    for _ in 0..read.count()? {
        read.topic(version)?;
        for _ in 0..read.count()? {
            let (index, error, offset) = (read.i32()?, read.i16()?, read.i64()?);
            read.skip(16)?; // last stable offset, log start offset
            for _ in 0..read.count()? {
                read.skip(16)?;
                read.tags()?;
            }
            read.skip(4)?; // preferred replica
            let records = read.bytes()?;
            read.tags()?;
            each(Partition { index, error, offset, records });
        }
        read.tags()?;
    }
    read.tags()?;
    Ok(error_of_all)
}

/// Reads flexible bodies from front to back.
struct Read<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Read<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let found = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(Malformed)?;
        self.at += N;
        Ok(*found)
    }

    fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    fn skip(&mut self, count: usize) -> Result<(), Malformed> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len()).ok_or(Malformed)?;
        self.at = end;
        Ok(())
    }

    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array::<1>()?;
            value |= u32::from(byte & 0x7f).checked_shl(shift).ok_or(Malformed)?;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// The length of a compact array; a null one has none.
    fn count(&mut self) -> Result<u32, Malformed> {
        self.varint().map(|count| count.saturating_sub(1))
    }

    /// Compact bytes or a compact string; a null one is empty.
    fn bytes(&mut self) -> Result<Range<usize>, Malformed> {
        let length = self.count()? as usize;
        let start = self.at;
        self.skip(length)?;
        Ok(start..self.at)
    }

    fn topic(&mut self, version: i16) -> Result<(), Malformed> {
        if version >= TOPIC_IDS_FROM { self.skip(16) } else { self.bytes().map(|_| ()) }
    }

    fn tags(&mut self) -> Result<(), Malformed> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()? as usize;
            self.skip(length)?;
        }
        Ok(())
    }
}

/// What a batch's header says to who reads it in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHead {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last.
    pub last_offset: i64,
    /// Bytes in all.
    pub bytes: usize,
    /// The stored checksum.
    pub crc: u32,
    /// Time of the first record, which says who wrote it.
    pub base_timestamp: i64,
    /// Records.
    pub records: u32,
}

/// The header of the batch that `bytes` begins with; `None` where it is cut or no batch.
#[must_use]
pub fn batch_head(bytes: &[u8]) -> Option<BatchHead> {
    let header = bytes.first_chunk::<61>()?;
    let i64_at = |at: usize| header[at..].first_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes));
    let i32_at = |at: usize| header[at..].first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes));
    let base_offset = i64_at(0)?;
    let total = usize::try_from(i32_at(8)?).ok()?.checked_add(12)?;
    (header[16] == 2 && (61..=bytes.len()).contains(&total)).then_some(())?;
    Some(BatchHead {
        base_offset,
        last_offset: base_offset.checked_add(i64::from(i32_at(23)?))?,
        bytes: total,
        crc: i32_at(17)? as u32,
        base_timestamp: i64_at(27)?,
        records: u32::try_from(i32_at(57)?).ok()?,
    })
}

/// Whether the checksum of a whole batch is right.
#[must_use]
pub fn batch_is_whole(batch: &[u8], head: &BatchHead) -> bool {
    batch.get(21..head.bytes).is_some_and(|bytes| crc_fast::crc32_iscsi(bytes) == head.crc)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::{FetchRequest, FetchResponse, ProduceRequest, ProduceResponse};
    use kafka_protocol::messages::{fetch_response, produce_response};
    use tidegate_core::decode::{decode_request, encode};
    use tidegate_core::header::RequestHeader;

    use super::*;

    fn topic() -> Topic {
        Topic { name: "load-7".to_owned(), id: [9; 16] }
    }

    #[test]
    fn requests_are_what_kafka_protocol_reads() {
        let topic = topic();
        for version in PRODUCE_VERSIONS.0..=PRODUCE_VERSIONS.1 {
            let mut out = b"before".to_vec();
            let to = To { version, correlation: 99, topic: &topic, partition: 5 };
            super::produce(&mut out, to, -1, 300, |out| out.extend_from_slice(&[7; 300]));
            let frame = Bytes::from(out).slice(6..);
            let header = RequestHeader::parse(&frame).unwrap();
            assert_eq!((header.api, header.version, header.correlation_id), (ApiKey::Produce, version, 99));
            let request: ProduceRequest = decode_request(&frame.slice(header.body_start..), version, 1 << 20).unwrap();
            assert_eq!((request.acks, request.topic_data.len()), (-1, 1));
            let data = &request.topic_data[0];
            let named =
                if version < 13 { data.name.as_str() == "load-7" } else { data.topic_id.as_bytes() == &[9; 16] };
            assert!(named, "{version}");
            assert_eq!(data.partition_data[0].index, 5);
            assert_eq!(data.partition_data[0].records.as_deref(), Some(&[7u8; 300][..]));
        }
        for version in FETCH_VERSIONS.0..=FETCH_VERSIONS.1 {
            let mut out = Vec::new();
            let to = To { version, correlation: 3, topic: &topic, partition: 5 };
            super::fetch(&mut out, to, FetchFrom { offset: 77, bytes_max: 4096, wait_millis: 250 });
            let frame = Bytes::from(out);
            let header = RequestHeader::parse(&frame).unwrap();
            let request: FetchRequest = decode_request(&frame.slice(header.body_start..), version, 1 << 20).unwrap();
            assert_eq!((request.max_wait_ms, request.min_bytes, request.max_bytes), (250, 1, 4096));
            assert_eq!((request.session_id, request.session_epoch), (0, -1));
            let partition = &request.topics[0].partitions[0];
            assert_eq!((partition.partition, partition.fetch_offset, partition.partition_max_bytes), (5, 77, 4096));
        }
    }

    #[test]
    fn responses_read_as_kafka_protocol_writes_them_and_cut_ones_are_malformed() {
        for version in PRODUCE_VERSIONS.0..=PRODUCE_VERSIONS.1 {
            let partition = produce_response::PartitionProduceResponse::default()
                .with_index(4)
                .with_error_code(29)
                .with_base_offset(1234)
                .with_error_message(Some("no".into()));
            let topic = produce_response::TopicProduceResponse::default()
                .with_name(if version < 13 {
                    kafka_protocol::messages::TopicName("t".into())
                } else {
                    Default::default()
                })
                .with_partition_responses(vec![partition]);
            let body = encode(&ProduceResponse::default().with_responses(vec![topic]), version).unwrap();
            let mut seen = Vec::new();
            super::produce_response(&body, version, |partition| seen.push(partition)).unwrap();
            assert_eq!(seen, [Partition { index: 4, error: 29, offset: 1234, records: 0..0 }]);
            for cut in 0..body.len() {
                assert_eq!(super::produce_response(&body[..cut], version, |_| {}), Err(Malformed));
            }
        }
        for version in FETCH_VERSIONS.0..=FETCH_VERSIONS.1 {
            let partition = fetch_response::PartitionData::default()
                .with_partition_index(2)
                .with_high_watermark(55)
                .with_records(Some(Bytes::from_static(b"some records")));
            let topic = fetch_response::FetchableTopicResponse::default()
                .with_topic(if version < 13 {
                    kafka_protocol::messages::TopicName("t".into())
                } else {
                    Default::default()
                })
                .with_partitions(vec![partition]);
            let body = encode(&FetchResponse::default().with_responses(vec![topic]), version).unwrap();
            let mut seen = Vec::new();
            assert_eq!(super::fetch_response(&body, version, |partition| seen.push(partition)), Ok(0));
            assert_eq!((seen[0].index, seen[0].offset, &body[seen[0].records.clone()]), (2, 55, &b"some records"[..]));
            for cut in 0..body.len() {
                assert_eq!(super::fetch_response(&body[..cut], version, |_| {}), Err(Malformed));
            }
        }
    }
}
