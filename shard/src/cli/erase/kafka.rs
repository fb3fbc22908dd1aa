//! The few questions that an erasure asks of Kafka, through the gateway: a blocking client of one connection a broker, that
//! logs in with a token. Answers are walked before they are decoded, as everywhere.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, BrokerId, DeleteRecordsRequest, DescribeConfigsRequest, FetchRequest, MetadataRequest, ProduceRequest,
    SaslAuthenticateRequest, SaslHandshakeRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, Request, StrBytes};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tidegate_core::batch::build::BatchBuilder;
use tidegate_core::batch::{Inspect, Record, RecordEdit, inspect};
use tidegate_core::decode::{Body, decode_response};
use tidegate_core::header;
use tidegate_core::limits::Limits;
use zeroize::Zeroizing;

use super::plan::Forgetting;

/// How long the gateway may take for an answer. A request that waits for an approver takes up to 25 seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How much of a partition is read at once, in bytes.
const FETCH_BYTES: i32 = 4 * 1024 * 1024;
/// Kafka's `ConfigResource.Type.TOPIC`.
const TOPIC: i8 = 2;

/// A record's key, as a tombstone needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The record is there, with this key.
    Key(Vec<u8>),
    /// It is there and has no key.
    NoKey,
    /// It is there and is a tombstone already.
    Empty,
    /// It is there no more.
    Gone,
}

/// The cluster behind the gateway.
pub(super) struct Cluster {
    bootstrap: String,
    tls: Option<Arc<ClientConfig>>,
    token: Zeroizing<String>,
    brokers: HashMap<i32, String>,
    leaders: HashMap<(String, i32), i32>,
    connections: HashMap<String, Connection>,
}

impl Cluster {
    /// A cluster that nobody has asked yet. A token crosses a network only inside TLS.
    pub(super) fn new(bootstrap: &str, tls: Option<ClientConfig>, token: Zeroizing<String>) -> anyhow::Result<Self> {
        let host = bootstrap.rsplit_once(':').map_or(bootstrap, |(host, _)| host).trim_matches(['[', ']']);
        let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if tls.is_none() && !local {
            bail!("--bootstrap {bootstrap}: a token is sent inside TLS (--kafka-ca), or without it to the loopback");
        }
        Ok(Self {
            bootstrap: bootstrap.to_owned(),
            tls: tls.map(Arc::new),
            token,
            brokers: HashMap::new(),
            leaders: HashMap::new(),
            connections: HashMap::new(),
        })
    }

    /// How a topic forgets.
    pub(super) fn forgetting(&mut self, topic: &str) -> anyhow::Result<Forgetting> {
        let names = ["cleanup.policy", "retention.ms"].map(StrBytes::from_static_str);
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configuration_keys(Some(names.to_vec()));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.bootstrap()?.ask(4, &request)?;
        let result = answer.results.first().context("the broker says nothing of the topic")?;
        if result.error_code != 0 {
            let why = result.error_message.as_deref().unwrap_or_default();
            bail!("the configuration of topic {topic} is not shown (error {}): {why}", result.error_code);
        }
        let value = |name: &str| result.configs.iter().find(|config| &*config.name == name)?.value.as_deref();
        let policy = value("cleanup.policy").context("the broker does not say how the topic is cleaned")?;
        let retention: i64 = value("retention.ms").and_then(|value| value.parse().ok()).unwrap_or(-1);
        let ages = policy.split(',').any(|word| word.trim() == "delete");
        Ok(Forgetting {
            compacts: policy.split(',').any(|word| word.trim() == "compact"),
            retention_millis: Some(retention).filter(|millis| ages && *millis >= 0),
        })
    }

    /// What stands at an offset.
    pub(super) fn find(&mut self, topic: &str, partition: i32, offset: i64) -> anyhow::Result<Found> {
        let of_partition = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(FETCH_BYTES);
        let of_topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![of_partition]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES)
            .with_session_epoch(-1)
            .with_topics(vec![of_topic]);
        let answer = self.leader(topic, partition)?.ask(12, &request)?;
        let found = answer.responses.iter().flat_map(|topic| &topic.partitions).next();
        let found = found.context("the broker says nothing of the partition")?;
        match found.error_code {
            0 => {}
            // OFFSET_OUT_OF_RANGE: deleted since.
            1 => return Ok(Found::Gone),
            code => bail!("{topic}-{partition} cannot be read: error {code}"),
        }
        let mut finder = Finder { offset, found: Found::Gone };
        let records = found.records.clone().unwrap_or_default();
        // What is behind the record may be cut off.
        match inspect(&records, &Limits::default(), &mut finder) {
            Err(error) if finder.found == Found::Gone => {
                bail!("{topic}-{partition} at {offset} cannot be read: {error}")
            }
            _ => Ok(finder.found),
        }
    }

    /// Writes a record without a value; its offset.
    pub(super) fn tombstone(&mut self, topic: &str, partition: i32, key: &[u8]) -> anyhow::Result<i64> {
        let mut batch = BatchBuilder::new(0).record(Some(key), None);
        batch.base_timestamp_millis = jiff::Timestamp::now().as_millisecond();
        let of_partition = PartitionProduceData::default().with_index(partition).with_records(Some(batch.build()?));
        let of_topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![of_partition]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![of_topic]);
        let answer = self.leader(topic, partition)?.ask(9, &request)?;
        let done = answer.responses.iter().flat_map(|topic| &topic.partition_responses).next();
        let done = done.context("the broker says nothing of the partition")?;
        if done.error_code != 0 {
            let why = done.error_message.as_deref().unwrap_or_default();
            bail!("{topic}-{partition} takes no tombstone (error {}): {why}", done.error_code);
        }
        Ok(done.base_offset)
    }

    /// Deletes the records before an offset; the first that is left.
    pub(super) fn delete_records(&mut self, topic: &str, partition: i32, before: i64) -> anyhow::Result<i64> {
        let of_partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(before);
        let of_topic = DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![of_partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![of_topic]).with_timeout_ms(30_000);
        let answer = self.leader(topic, partition)?.ask(2, &request)?;
        let done = answer.topics.iter().flat_map(|topic| &topic.partitions).next();
        let done = done.context("the broker says nothing of the partition")?;
        match done.error_code {
            0 => Ok(done.low_watermark),
            // OFFSET_OUT_OF_RANGE: age was faster, or there are fewer records than the evidence saw.
            1 => Ok(before),
            // POLICY_VIOLATION: it waits for an approver of its own.
            44 => {
                bail!("records of {topic}-{partition} are not deleted: a rule of `holds` wants an approval for it too")
            }
            code => bail!("records of {topic}-{partition} are not deleted: error {code}"),
        }
    }

    fn bootstrap(&mut self) -> anyhow::Result<&mut Connection> {
        let address = self.bootstrap.clone();
        self.connection(&address)
    }

    fn leader(&mut self, topic: &str, partition: i32) -> anyhow::Result<&mut Connection> {
        let at = (topic.to_owned(), partition);
        if !self.leaders.contains_key(&at) {
            let wanted = MetadataRequestTopic::default().with_name(Some(name(topic)));
            let request =
                MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
            let answer = self.bootstrap()?.ask(12, &request)?;
            for broker in &answer.brokers {
                self.brokers.insert(broker.node_id.0, format!("{}:{}", &*broker.host, broker.port));
            }
            let found = answer.topics.first().context("the broker says nothing of the topic")?;
            if found.error_code != 0 {
                bail!("topic {topic}: error {}", found.error_code);
            }
            for known in &found.partitions {
                self.leaders.insert((topic.to_owned(), known.partition_index), known.leader_id.0);
            }
        }
        let leader = self.leaders.get(&at).with_context(|| format!("{topic} has no partition {partition}"))?;
        let address = self.brokers.get(leader).with_context(|| format!("{topic}-{partition} has no leader now"))?;
        let address = address.clone();
        self.connection(&address)
    }

    fn connection(&mut self, address: &str) -> anyhow::Result<&mut Connection> {
        if !self.connections.contains_key(address) {
            let mut connection = Connection::open(address, self.tls.clone())
                .with_context(|| format!("the gateway at {address} cannot be reached"))?;
            connection.log_in(&self.token).with_context(|| format!("login at {address}"))?;
            self.connections.insert(address.to_owned(), connection);
        }
        self.connections.get_mut(address).context("the connection is gone")
    }
}

struct Finder {
    offset: i64,
    found: Found,
}

impl Inspect for Finder {
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
        if record.offset == self.offset {
            self.found = match (record.value, record.key) {
                (None, Some(_)) => Found::Empty,
                (_, Some(key)) => Found::Key(key.to_vec()),
                (_, None) => Found::NoKey,
            };
        }
        None
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

struct Connection {
    stream: Stream,
    correlation: i32,
}

impl Connection {
    fn open(address: &str, tls: Option<Arc<ClientConfig>>) -> anyhow::Result<Self> {
        let mut refused = None;
        for candidate in address.to_socket_addrs()? {
            let tcp = match TcpStream::connect_timeout(&candidate, PATIENCE) {
                Ok(tcp) => tcp,
                Err(error) => {
                    refused = Some(error);
                    continue;
                }
            };
            tcp.set_read_timeout(Some(PATIENCE))?;
            tcp.set_write_timeout(Some(PATIENCE))?;
            tcp.set_nodelay(true)?;
            let stream = match tls {
                None => Stream::Plain(tcp),
                Some(tls) => {
                    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
                    let name = ServerName::try_from(host.to_owned())?;
                    Stream::Tls(Box::new(StreamOwned::new(ClientConnection::new(tls, name)?, tcp)))
                }
            };
            return Ok(Self { stream, correlation: 0 });
        }
        Err(refused.map_or_else(|| anyhow::anyhow!("its name resolves to nothing"), Into::into))
    }

    /// SASL/OAUTHBEARER (RFC 7628).
    fn log_in(&mut self, token: &str) -> anyhow::Result<()> {
        let handshake = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("OAUTHBEARER"));
        let answer = self.ask(1, &handshake)?;
        if answer.error_code != 0 {
            bail!("the gateway takes no tokens there (error {})", answer.error_code);
        }
        let initial = Zeroizing::new(format!("n,,\x01auth=Bearer {token}\x01\x01"));
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::copy_from_slice(initial.as_bytes()));
        let answer = self.ask(2, &request)?;
        if answer.error_code != 0 || !answer.auth_bytes.is_empty() {
            bail!("the token is not taken: {}", answer.error_message.as_deref().unwrap_or_default());
        }
        Ok(())
    }

    fn ask<R>(&mut self, version: i16, request: &R) -> anyhow::Result<R::Response>
    where
        R: Request + Encodable,
        R::Response: Body,
    {
        self.correlation += 1;
        let api = ApiKey::try_from(R::KEY).ok().context("an API that is not known")?;
        let mut body = BytesMut::new();
        request.encode(&mut body, version)?;
        let frame = header::request_frame(self.correlation, api, version, "tidegate-erase", &body);
        self.write(&frame)?;
        let frame = self.read()?;
        let start = header::response_body_start(&frame, api, version).context("an answer is cut short")?;
        if frame.get(4..8) != Some(&self.correlation.to_be_bytes()[..]) {
            bail!("an answer to another question came");
        }
        Ok(decode_response(&frame.slice(start..), version)?)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// The next frame, its length included.
    fn read(&mut self) -> anyhow::Result<Bytes> {
        let mut length = [0; 4];
        self.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > ANSWER_BYTES_MAX {
            bail!("an answer of {length} bytes is too large");
        }
        let mut rest = vec![0; length];
        self.read_exact(&mut rest)?;
        let mut frame = Vec::with_capacity(4 + length);
        frame.extend_from_slice(&i32::try_from(length)?.to_be_bytes());
        frame.append(&mut rest);
        Ok(frame.into())
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.read_exact(bytes),
            Stream::Tls(tls) => tls.read_exact(bytes),
        }
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}
