//! A recording's requests once more, to a test broker, and what differs in its answers.
//!
//! Requests go in the order in which they came, one after the other, over one connection without TLS or login. What a broker hands
//! out itself is exchanged for what the test broker hands out: topic ids by the topics' names, fetch session ids, and
//! member ids where they are as long. Requests whose bytes were not recorded are left out and counted.

use std::collections::HashMap;
use std::io::{Read as _, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, JoinGroupResponse, MetadataRequest, MetadataResponse,
};
use serde_json::json;
use tidegate_audit::recording::format::Exchange;
use tidegate_core::decode::{Body, VisitMessage, decode_request, decode_response, each_message, encode};
use tidegate_core::frame::{FrameBuffer, LENGTH_BYTES};
use tidegate_core::header::{self, RequestHeader};
use uuid::Uuid;

use super::super::api::Output;
use super::difference::differences;
use super::load::Recording;
use super::preview::{self, TopicNames, request_body, response_body};
use super::timeline::clean;

/// How long an answer may take: longer than any client's own patience.
const ANSWER: Duration = Duration::from_secs(60);
/// The largest answer.
const FRAME_BYTES_MAX: u32 = 128 * 1024 * 1024;
/// The version of the question for topics' ids.
const METADATA_VERSION: i16 = 12;

/// What came of one exchange.
enum Outcome {
    Same,
    Differs(Vec<String>),
    /// Sent, but there is nothing to compare with, or not all of it.
    NotCompared(String),
    NotSent(String),
}

/// Sends the requests of `recordings` to `host` and shows what differs; whether anything does.
pub(super) fn run(
    recordings: &[Recording],
    host: &str,
    read_only: bool,
    output: Output,
    out: &mut impl Write,
) -> Result<bool, String> {
    let (mut same, mut differ, mut not_compared, mut not_sent) = (0, 0, 0, 0);
    for recording in recordings {
        let mut broker = Broker::connect(host, recording)?;
        for (number, exchange) in recording.exchanges.iter().enumerate() {
            let outcome = broker.exchange(exchange, read_only);
            let (word, sentences) = match &outcome {
                Outcome::Same => (&mut same, Vec::new()),
                Outcome::Differs(found) => (&mut differ, found.clone()),
                Outcome::NotCompared(why) => (&mut not_compared, vec![format!("not compared: {why}")]),
                Outcome::NotSent(why) => (&mut not_sent, vec![format!("not sent: {why}")]),
            };
            *word += 1;
            let shown = show(recording, number, exchange, &outcome, &sentences, output, out);
            shown.map_err(|error| error.to_string())?;
        }
    }
    let done = match output {
        Output::Json => writeln!(
            out,
            "{}",
            json!({ "same": same, "differ": differ, "not_compared": not_compared, "not_sent": not_sent })
        ),
        Output::Text => writeln!(
            out,
            "{same} answers are the same, {differ} differ, {not_compared} could not be compared, {not_sent} requests were not sent"
        ),
    };
    done.map_err(|error| error.to_string())?;
    Ok(differ > 0)
}

fn show(
    recording: &Recording,
    number: usize,
    exchange: &Exchange,
    outcome: &Outcome,
    sentences: &[String],
    output: Output,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let word = match outcome {
        Outcome::Same => "same",
        Outcome::Differs(_) => "differs",
        Outcome::NotCompared(_) => "not_compared",
        Outcome::NotSent(_) => "not_sent",
    };
    if output == Output::Json {
        let line = json!({
            "recording": recording.id.to_string(), "number": number, "api": exchange.api,
            "version": exchange.api_version, "result": word, "differences": sentences,
        });
        return writeln!(out, "{line}");
    }
    let seconds = (exchange.started_micros - recording.header.started_micros) as f64 / 1e6;
    let api = format!("{} v{}", exchange.api, exchange.api_version);
    writeln!(out, "{seconds:>+10.3} s  {api:<24} {}", word.replace('_', " "))?;
    sentences.iter().try_for_each(|sentence| writeln!(out, "              {}", clean(sentence)))
}

/// The test broker, and what stands there for what the recorded one handed out.
struct Broker {
    stream: TcpStream,
    received: FrameBuffer,
    correlation: i32,
    names: TopicNames,
    /// Bytes of requests that are exchanged: equally long.
    handed: Vec<(Vec<u8>, Vec<u8>)>,
    sessions: HashMap<i32, i32>,
}

impl Broker {
    fn connect(host: &str, recording: &Recording) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{host}: {error}");
        let address = host.to_socket_addrs().map_err(failed)?.next().ok_or_else(|| format!("{host} has no address"))?;
        let stream = TcpStream::connect_timeout(&address, ANSWER).map_err(failed)?;
        stream.set_read_timeout(Some(ANSWER)).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut names = TopicNames::default();
        recording.exchanges.iter().for_each(|exchange| names.learn(exchange));
        let mut broker = Self {
            stream,
            received: FrameBuffer::new(),
            correlation: 0,
            names,
            handed: Vec::new(),
            sessions: HashMap::new(),
        };
        broker.learn_ids().map_err(|error| format!("{host}: {error}"))?;
        Ok(broker)
    }

    /// Asks which ids the recorded topics have here.
    fn learn_ids(&mut self) -> Result<(), String> {
        let question = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
        let body = encode(&question, METADATA_VERSION).map_err(|error| error.to_string())?;
        let frame = header::request_frame(0, ApiKey::Metadata, METADATA_VERSION, "tidegate-replay", &body);
        let answer = self.ask(&frame)?.ok_or("it closes the connection; does it want TLS or a login?")?;
        let start = header::response_body_start(&answer, ApiKey::Metadata, METADATA_VERSION).unwrap_or(answer.len());
        let metadata = decode_response::<MetadataResponse>(&answer.slice(start..), METADATA_VERSION)
            .map_err(|error| format!("its Metadata cannot be read: {error}"))?;
        let here: HashMap<String, Uuid> = metadata
            .topics
            .iter()
            .filter_map(|topic| Some((topic.name.as_ref()?.to_string(), topic.topic_id)))
            .collect();
        let known: Vec<(Uuid, Uuid)> =
            self.names.iter().filter_map(|(id, name)| Some((*id, *here.get(name)?))).collect();
        let pairs = known.into_iter().filter(|(recorded, here)| recorded != here);
        self.handed.extend(pairs.map(|(recorded, here)| (recorded.as_bytes().to_vec(), here.as_bytes().to_vec())));
        Ok(())
    }

    fn exchange(&mut self, exchange: &Exchange, read_only: bool) -> Outcome {
        let Some((header, body)) = request_body(exchange) else {
            return Outcome::NotSent("the request's bytes were not recorded".to_owned());
        };
        if read_only && !only_reads(header.api) {
            return Outcome::NotSent("it could change something (--read-only)".to_owned());
        }
        let frame = self.rewritten(exchange, &header, body);
        let wants_answer = exchange.response_bytes > 0 || header.api != ApiKey::Produce;
        if !wants_answer {
            return match self.send(&frame) {
                Ok(()) => Outcome::NotCompared("it wants no answer".to_owned()),
                Err(error) => Outcome::Differs(vec![error]),
            };
        }
        let answer = match self.ask(&frame) {
            Ok(Some(answer)) => answer,
            Ok(None) => return Outcome::Differs(vec!["the broker closes the connection".to_owned()]),
            Err(error) => return Outcome::Differs(vec![error]),
        };
        let Some((api, version, recorded)) = response_body(exchange) else {
            return Outcome::NotCompared("the answer's bytes were not recorded".to_owned());
        };
        if version != header.version {
            return Outcome::NotCompared("the gateway asked the broker in another version".to_owned());
        }
        let start = header::response_body_start(&answer, api, version).unwrap_or(answer.len());
        let now = answer.slice(start..);
        self.learn(api, version, &recorded, &now);
        let found = compare(api, version, &recorded, &now, exchange);
        match found {
            found if !found.differ.is_empty() => Outcome::Differs(found.differ),
            found => found.not_compared.map_or(Outcome::Same, Outcome::NotCompared),
        }
    }

    /// The request as this broker understands it.
    fn rewritten(&self, exchange: &Exchange, header: &RequestHeader, body: Bytes) -> Bytes {
        let mut body = body;
        if header.api == ApiKey::Fetch
            && let Ok(mut fetch) = decode_request::<FetchRequest>(&body, header.version, body.len())
            && fetch.session_id != 0
        {
            // A session that this broker never began: the request stands alone, with what it names.
            match self.sessions.get(&fetch.session_id) {
                Some(here) => fetch.session_id = *here,
                None => (fetch.session_id, fetch.session_epoch) = (0, -1),
            }
            body = encode(&fetch, header.version).unwrap_or(body);
        }
        if self.handed.iter().any(|(recorded, _)| find(&body, recorded).is_some()) {
            let mut bytes = body.to_vec();
            for (recorded, here) in &self.handed {
                while let Some(at) = find(&bytes, recorded) {
                    bytes[at..at + here.len()].copy_from_slice(here);
                }
            }
            body = bytes.into();
        }
        let frame = exchange.request.clone().unwrap_or_default();
        header::with_body(&frame, header.body_start, &body)
    }

    /// Learns what this broker handed out where the recorded one did.
    fn learn(&mut self, api: ApiKey, version: i16, recorded: &Bytes, now: &Bytes) {
        match api {
            ApiKey::Fetch => {
                let read = |body: &Bytes| decode_response::<FetchResponse>(body, version).map(|fetch| fetch.session_id);
                if let (Ok(recorded), Ok(now)) = (read(recorded), read(now))
                    && recorded != 0
                    && now != 0
                {
                    self.sessions.insert(recorded, now);
                }
            }
            ApiKey::JoinGroup => {
                let read =
                    |body: &Bytes| decode_response::<JoinGroupResponse>(body, version).map(|join| join.member_id);
                if let (Ok(recorded), Ok(now)) = (read(recorded), read(now))
                    && recorded.len() == now.len()
                    && recorded != now
                    && !recorded.is_empty()
                {
                    self.handed.push((recorded.as_bytes().to_vec(), now.as_bytes().to_vec()));
                }
            }
            _ => {}
        }
    }

    /// Sends a frame under a correlation id of its own.
    fn send(&mut self, frame: &[u8]) -> Result<(), String> {
        self.correlation += 1;
        let mut frame = frame.to_vec();
        // Length, API and version come before it.
        if let Some(place) = frame.get_mut(LENGTH_BYTES + 4..LENGTH_BYTES + 8) {
            place.copy_from_slice(&self.correlation.to_be_bytes());
        }
        self.stream.write_all(&frame).map_err(|error| format!("the broker takes nothing more: {error}"))
    }

    /// Sends a frame and waits for its answer; `None` where the broker closes.
    fn ask(&mut self, frame: &[u8]) -> Result<Option<Bytes>, String> {
        self.send(frame)?;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match self.received.next_frame(FRAME_BYTES_MAX).map_err(|error| error.to_string())? {
                Some(answer) if header::response_correlation_id(&answer) == Some(self.correlation) => {
                    return Ok(Some(answer));
                }
                Some(_) => return Err("the broker answers out of order".to_owned()),
                None => match self.stream.read(&mut chunk) {
                    Ok(0) => return Ok(None),
                    Ok(read) => self.received.extend(&chunk[..read]),
                    Err(error) => return Err(format!("the broker does not answer: {error}")),
                },
            }
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

const fn only_reads(api: ApiKey) -> bool {
    use ApiKey as A;
    matches!(
        api,
        A::Fetch
            | A::ListOffsets
            | A::Metadata
            | A::OffsetFetch
            | A::FindCoordinator
            | A::DescribeGroups
            | A::ListGroups
            | A::ApiVersions
            | A::OffsetForLeaderEpoch
            | A::DescribeAcls
            | A::DescribeConfigs
            | A::DescribeLogDirs
            | A::DescribeClientQuotas
            | A::DescribeUserScramCredentials
            | A::DescribeCluster
            | A::DescribeProducers
            | A::DescribeTransactions
            | A::ListTransactions
            | A::ConsumerGroupDescribe
            | A::DescribeTopicPartitions
            | A::ShareGroupDescribe
    )
}

/// What came of comparing two answers.
#[derive(Default)]
struct Compared {
    differ: Vec<String>,
    not_compared: Option<String>,
}

fn compare(api: ApiKey, version: i16, recorded: &Bytes, now: &Bytes, exchange: &Exchange) -> Compared {
    if api == ApiKey::Fetch {
        return fetches(version, recorded, now, exchange);
    }
    let name = format!("{api:?}Response");
    match (debug_text(&name, version, recorded), debug_text(&name, version, now)) {
        (Some(recorded), Some(now)) => Compared { differ: differences(&recorded, &now), not_compared: None },
        (_, None) => Compared { differ: vec!["the answer cannot be read".to_owned()], not_compared: None },
        (None, _) => {
            Compared { not_compared: Some("the recorded answer cannot be read".to_owned()), ..Compared::default() }
        }
    }
}

/// Fetches: the records one by one, then the rest field by field.
fn fetches(version: i16, recorded: &Bytes, now: &Bytes, exchange: &Exchange) -> Compared {
    let read = |body: &Bytes| decode_response::<FetchResponse>(body, version);
    let (Ok(mut recorded), Ok(mut now)) = (read(recorded), read(now)) else {
        return Compared { differ: vec!["the answers cannot be read".to_owned()], not_compared: None };
    };
    let mut compared = Compared::default();
    let masked = exchange.findings.iter().any(|found| !matches!(found.operator.as_str(), "none" | "observe"));
    for (topic_at, topic) in recorded.responses.iter_mut().enumerate() {
        let one_topic = now.responses.len() == 1 && topic_at == 0;
        let Some(other) = now.responses.iter_mut().find(|other| {
            one_topic || (other.topic == topic.topic && (version < 13 || other.topic_id == topic.topic_id))
        }) else {
            continue;
        };
        // Ids are of each broker's own; from here on the topics are the same.
        other.topic_id = topic.topic_id;
        for part in &mut topic.partitions {
            let Some(other) = other.partitions.iter_mut().find(|other| other.partition_index == part.partition_index)
            else {
                continue;
            };
            let place = format!("{}-{}", topic.topic.as_str(), part.partition_index);
            let (was, is) = (part.records.take().unwrap_or_default(), other.records.take().unwrap_or_default());
            records(&place, &was, &is, masked, &mut compared);
        }
    }
    compared.differ.extend(differences(&format!("{recorded:?}"), &format!("{now:?}")));
    compared
}

fn records(place: &str, was: &Bytes, is: &Bytes, masked: bool, compared: &mut Compared) {
    let ((was, _), (is, _)) = (preview::read(was), preview::read(is));
    let mut here: HashMap<i64, &preview::Shown> = is.iter().map(|record| (record.offset, record)).collect();
    let (mut values, mut missing) = (Vec::new(), Vec::new());
    for record in &was {
        match here.remove(&record.offset) {
            Some(other) if (&record.key, &record.value) != (&other.key, &other.value) => values.push((record, other)),
            Some(_) => {}
            None => missing.push(record.offset),
        }
    }
    if masked && !values.is_empty() {
        let why = format!("{place}: {} values differ, which were masked in the recording", values.len());
        compared.not_compared = Some(why);
    } else {
        for (was, is) in values.iter().take(5) {
            let text = |record: &preview::Shown| record.value.clone().unwrap_or_else(|| "null".to_owned());
            compared.differ.push(format!("{place} #{}: was {}, is {}", was.offset, text(was), text(is)));
        }
        if values.len() > 5 {
            compared.differ.push(format!("{place}: {} more records differ", values.len() - 5));
        }
    }
    if let [first, ..] = missing[..] {
        compared.differ.push(format!("{place}: {} records are not there any more, from offset {first}", missing.len()));
    }
    if !here.is_empty() {
        let first = here.keys().min().copied().unwrap_or_default();
        compared.differ.push(format!("{place}: {} records are new, from offset {first}", here.len()));
    }
}

/// The debug text of a message of any type.
fn debug_text(name: &str, version: i16, body: &Bytes) -> Option<String> {
    struct Find<'a> {
        name: &'a str,
        version: i16,
        body: &'a Bytes,
        text: Option<String>,
    }
    impl VisitMessage for Find<'_> {
        fn visit<T: Body>(&mut self, name: &'static str) {
            if name == self.name && T::layout().versions().contains(&self.version) {
                self.text = decode_response::<T>(self.body, self.version).ok().map(|message| format!("{message:?}"));
            }
        }
    }
    let mut find = Find { name, version, body, text: None };
    each_message(&mut find);
    find.text
}
