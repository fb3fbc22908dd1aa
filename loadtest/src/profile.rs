//! What load is wanted: a YAML file, every key of which is also a flag. Flags win over the file.
//!
//! The same profile, seed included, gives the same bytes in the same order on every connection.

use std::path::Path;

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_core::batch::Codec;
use tidegate_policy::document;
use tidegate_policy::document::Problem;
use tidegate_policy::document::text::{ByteSize, Duration};

/// A workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Its name in reports.
    pub name: String,
    /// What records, keys and schedules are made from.
    pub seed: u64,
    /// How long load runs before anything counts.
    pub warm_up: Duration,
    /// How long is measured.
    pub duration: Duration,
    /// Threads of the generator.
    pub generator_threads: u16,
    /// Open loop: so many requests a second (produce and fetch together) whatever the system does.
    /// Without it the loop is closed: as fast as the system answers at `depth`.
    pub requests_per_second: Option<u64>,
    /// Requests in flight on each connection; in an open loop the most there may be.
    pub depth: u32,
    /// Connections that produce.
    pub producers: u32,
    /// Connections that fetch.
    pub consumers: u32,
    /// Connections that log in and then do nothing.
    pub idle: u32,
    /// Connections that fetch and read at most 64 KiB/s of the answers.
    pub slow_readers: u32,
    /// Open loop: fetches for each produce.
    pub fetches_per_produce: f64,
    /// How many consumers read each partition; consumers beyond partitions × this many double up.
    pub fan_out: u32,
    /// Topics, named `load-0`, `load-1`, …
    pub topics: u32,
    /// Partitions of each topic.
    pub partitions: u32,
    /// The records.
    pub record: Record,
    /// The batches.
    pub batch: Batch,
    /// What producers wait for.
    pub acks: Acks,
    /// Consumer groups that heartbeat and commit, one connection each.
    pub groups: u32,
    /// Whether connections are TLS.
    pub tls: bool,
    /// How connections log in.
    pub sasl: Sasl,
    /// Connect, log in, ask for metadata, leave: so many a second beside the other load.
    pub sessions_per_second: u32,
    /// Admin requests (topics created, configurations and metadata read) a second, in bursts.
    pub admin_per_second: u32,
    /// How much the oracle looks at while the load runs.
    pub verify: Verify,
}

/// What a record is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    /// Bytes of a value, on average.
    pub bytes: ByteSize,
    /// Values are this many percent shorter or longer, evenly spread.
    pub spread_percent: u8,
    /// The keys.
    pub keys: Keys,
    /// Records that hold personal data, in percent.
    pub personal_data_percent: f64,
}

/// What a batch is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// Bytes of a batch's values before compression; at least one record is in it.
    pub bytes: ByteSize,
    /// The codec.
    pub codec: CodecName,
    /// Bytes that a fetch asks of a partition.
    pub fetch_bytes: ByteSize,
}

/// Keys of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// Null.
    None,
    /// One of a thousand.
    Few,
    /// A new one each.
    Unique,
}

/// `acks` of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Acks {
    /// Nothing: no response is sent.
    None,
    /// The leader.
    Leader,
    /// All in-sync replicas.
    All,
}

impl Acks {
    /// As in a Produce request.
    #[must_use]
    pub fn wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How clients log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Sasl {
    /// Not at all.
    None,
    /// PLAIN, a token as the password.
    Plain,
    /// OAUTHBEARER with a token.
    #[value(name = "oauthbearer")]
    #[serde(rename = "oauthbearer")]
    OAuthBearer,
}

/// How much the oracle looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// Offsets and counts only.
    Offsets,
    /// And the content of one batch in 64.
    Sampled,
    /// And the content of every batch. Costs the generator CPU.
    All,
}

/// A codec by its name in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum CodecName {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<CodecName> for Codec {
    fn from(name: CodecName) -> Self {
        match name {
            CodecName::None => Self::None,
            CodecName::Gzip => Self::Gzip,
            CodecName::Snappy => Self::Snappy,
            CodecName::Lz4 => Self::Lz4,
            CodecName::Zstd => Self::Zstd,
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            seed: 1,
            warm_up: Duration(std::time::Duration::from_secs(1)),
            duration: Duration(std::time::Duration::from_secs(10)),
            generator_threads: 1,
            requests_per_second: None,
            depth: 4,
            producers: 4,
            consumers: 4,
            idle: 0,
            slow_readers: 0,
            fetches_per_produce: 1.0,
            fan_out: 1,
            topics: 1,
            partitions: 12,
            record: Record::default(),
            batch: Batch::default(),
            acks: Acks::All,
            groups: 0,
            tls: false,
            sasl: Sasl::OAuthBearer,
            sessions_per_second: 0,
            admin_per_second: 0,
            verify: Verify::Sampled,
        }
    }
}

impl Default for Record {
    fn default() -> Self {
        Self { bytes: ByteSize(1024), spread_percent: 0, keys: Keys::None, personal_data_percent: 0.0 }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: ByteSize(16 * 1024), codec: CodecName::None, fetch_bytes: ByteSize(64 * 1024) }
    }
}

/// What a profile may ask for at most. Over it the profile is refused, whoever wrote it.
const CONNECTIONS_MAX: u32 = 60_000;
const PARTITIONS_MAX: u32 = 10_000;
const DEPTH_MAX: u32 = 1_000;

impl Profile {
    /// Reads a profile file and holds it to its bounds.
    ///
    /// # Errors
    /// Every problem at once, with its place.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![Problem {
                file: name.as_str().into(),
                path: String::new(),
                line: 1,
                column: 1,
                message: error.to_string(),
            }]
        })?;
        Self::parse(&text, &name)
    }

    /// As [`Profile::read`], of a text.
    ///
    /// # Errors
    /// Every problem at once, with its place.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, Vec<Problem>> {
        document::load::<Self, Self>(text, file_name, |parsed| {
            let problems: Vec<Problem> =
                parsed.value.problems().into_iter().map(|(key, sentence)| parsed.problem(key, sentence)).collect();
            if problems.is_empty() { Ok(parsed.value) } else { Err(problems) }
        })
    }

    /// What is out of bounds, by key.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, key: &'static str, sentence: &str| {
            if !holds {
                problems.push((key, sentence.to_owned()));
            }
        };
        let connections = [self.producers, self.consumers, self.idle, self.slow_readers, self.groups];
        let connections = connections.iter().fold(0u32, |sum, count| sum.saturating_add(*count));
        must(!self.duration.0.is_zero(), "duration", "nothing can be measured in no time");
        must((1..=256).contains(&self.generator_threads), "generator_threads", "must be 1 to 256");
        must((1..=DEPTH_MAX).contains(&self.depth), "depth", "must be 1 to 1000");
        must(
            self.requests_per_second != Some(0),
            "requests_per_second",
            "must be over 0; leave it out for a closed loop",
        );
        must(connections <= CONNECTIONS_MAX, "idle", "more than 60000 connections in all do not fit one address");
        must(
            self.fetches_per_produce.is_finite() && self.fetches_per_produce >= 0.0,
            "fetches_per_produce",
            "must be 0 or more",
        );
        must(self.fan_out >= 1, "fan_out", "must be 1 or more");
        must((1..=PARTITIONS_MAX).contains(&self.topics), "topics", "must be 1 to 10000");
        must((1..=PARTITIONS_MAX).contains(&self.partitions), "partitions", "must be 1 to 10000");
        must(self.topics.saturating_mul(self.partitions) <= PARTITIONS_MAX, "partitions", "more than 10000 in all");
        must((32..=8 << 20).contains(&self.record.bytes.0), "record.bytes", "must be 32B to 8MiB");
        must(self.record.spread_percent <= 90, "record.spread_percent", "must be 0 to 90");
        must(
            (0.0..=100.0).contains(&self.record.personal_data_percent),
            "record.personal_data_percent",
            "must be 0 to 100",
        );
        must((1..=16 << 20).contains(&self.batch.bytes.0), "batch.bytes", "must be 1B to 16MiB");
        must((1..=64 << 20).contains(&self.batch.fetch_bytes.0), "batch.fetch_bytes", "must be 1B to 64MiB");
        problems
    }

    /// The name of topic `index`.
    #[must_use]
    pub fn topic(index: u32) -> String {
        format!("load-{index}")
    }
}

/// The profile's keys as flags.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Load")]
pub struct ProfileFlags {
    /// A profile file (YAML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub profile: Option<std::path::PathBuf>,
    /// Name in reports
    #[arg(long)]
    pub name: Option<String>,
    /// What records, keys and schedules are made from
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long load runs before anything counts, for instance 2s
    #[arg(long)]
    pub warm_up: Option<Duration>,
    /// How long is measured
    #[arg(long, short)]
    pub duration: Option<Duration>,
    /// Threads of the generator
    #[arg(long)]
    pub generator_threads: Option<u16>,
    /// Open loop: requests a second in all; without it the loop is closed
    #[arg(long, value_name = "N")]
    pub rate: Option<u64>,
    /// Requests in flight a connection
    #[arg(long)]
    pub depth: Option<u32>,
    /// Connections that produce
    #[arg(long)]
    pub producers: Option<u32>,
    /// Connections that fetch
    #[arg(long)]
    pub consumers: Option<u32>,
    /// Connections that log in and do nothing
    #[arg(long)]
    pub idle: Option<u32>,
    /// Connections that fetch and hardly read
    #[arg(long)]
    pub slow_readers: Option<u32>,
    /// Open loop: fetches for each produce
    #[arg(long)]
    pub fetches_per_produce: Option<f64>,
    /// Consumers of each partition
    #[arg(long)]
    pub fan_out: Option<u32>,
    /// Topics
    #[arg(long)]
    pub topics: Option<u32>,
    /// Partitions of each topic
    #[arg(long)]
    pub partitions: Option<u32>,
    /// Bytes of a record's value, for instance 1KiB
    #[arg(long)]
    pub record_bytes: Option<ByteSize>,
    /// By how many percent values are shorter or longer
    #[arg(long)]
    pub record_spread_percent: Option<u8>,
    /// Keys of records
    #[arg(long, value_enum)]
    pub keys: Option<Keys>,
    /// Records with personal data, in percent
    #[arg(long, value_name = "PERCENT")]
    pub personal_data_percent: Option<f64>,
    /// Bytes of a batch's values before compression
    #[arg(long)]
    pub batch_bytes: Option<ByteSize>,
    /// Codec of batches
    #[arg(long, value_enum)]
    pub codec: Option<CodecName>,
    /// Bytes that a fetch asks of a partition
    #[arg(long)]
    pub fetch_bytes: Option<ByteSize>,
    /// What producers wait for
    #[arg(long, value_enum)]
    pub acks: Option<Acks>,
    /// Consumer groups that heartbeat and commit
    #[arg(long)]
    pub groups: Option<u32>,
    /// Connect with TLS
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub tls: Option<bool>,
    /// How connections log in
    #[arg(long, value_enum)]
    pub sasl: Option<Sasl>,
    /// Sessions opened and closed a second beside the other load
    #[arg(long)]
    pub sessions_per_second: Option<u32>,
    /// Admin requests a second
    #[arg(long)]
    pub admin_per_second: Option<u32>,
    /// How much the oracle looks at
    #[arg(long, value_enum)]
    pub verify: Option<Verify>,
}

/// Sets a field where the flag was given.
fn set<T: Clone>(field: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        field.clone_from(value);
    }
}

impl ProfileFlags {
    /// The file's profile, or the default one, with the flags' values.
    ///
    /// # Errors
    /// What is wrong, a sentence each.
    pub fn profile(&self) -> Result<Profile, Vec<String>> {
        self.profile_over(Profile::default())
    }

    /// As [`ProfileFlags::profile`], with another default.
    ///
    /// # Errors
    /// What is wrong, a sentence each.
    pub fn profile_over(&self, default: Profile) -> Result<Profile, Vec<String>> {
        let sentences = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut profile = match &self.profile {
            Some(path) => Profile::read(path).map_err(sentences)?,
            None => default,
        };
        set(&mut profile.name, &self.name);
        set(&mut profile.seed, &self.seed);
        set(&mut profile.warm_up, &self.warm_up);
        set(&mut profile.duration, &self.duration);
        set(&mut profile.generator_threads, &self.generator_threads);
        set(&mut profile.requests_per_second, &self.rate.map(Some));
        set(&mut profile.depth, &self.depth);
        set(&mut profile.producers, &self.producers);
        set(&mut profile.consumers, &self.consumers);
        set(&mut profile.idle, &self.idle);
        set(&mut profile.slow_readers, &self.slow_readers);
        set(&mut profile.fetches_per_produce, &self.fetches_per_produce);
        set(&mut profile.fan_out, &self.fan_out);
        set(&mut profile.topics, &self.topics);
        set(&mut profile.partitions, &self.partitions);
        set(&mut profile.record.bytes, &self.record_bytes);
        set(&mut profile.record.spread_percent, &self.record_spread_percent);
        set(&mut profile.record.keys, &self.keys);
        set(&mut profile.record.personal_data_percent, &self.personal_data_percent);
        set(&mut profile.batch.bytes, &self.batch_bytes);
        set(&mut profile.batch.codec, &self.codec);
        set(&mut profile.batch.fetch_bytes, &self.fetch_bytes);
        set(&mut profile.acks, &self.acks);
        set(&mut profile.groups, &self.groups);
        set(&mut profile.tls, &self.tls);
        set(&mut profile.sasl, &self.sasl);
        set(&mut profile.sessions_per_second, &self.sessions_per_second);
        set(&mut profile.admin_per_second, &self.admin_per_second);
        set(&mut profile.verify, &self.verify);
        let problems = profile.problems();
        if problems.is_empty() {
            Ok(profile)
        } else {
            Err(problems.into_iter().map(|(key, sentence)| format!("{key}: {sentence}")).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_file_is_read_with_every_problem_at_its_place() {
        let profile =
            Profile::parse("name: small\nrecord: {bytes: 256B}\nrequests_per_second: 500\n", "p.yaml").unwrap();
        assert_eq!((profile.record.bytes.0, profile.requests_per_second, profile.producers), (256, Some(500), 4));
        let problems = Profile::parse("depth: 0\nduration: 0s\n", "p.yaml").unwrap_err();
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 2, "{text:?}");
        assert!(text[0].starts_with("p.yaml:1"), "{text:?}");
        assert!(Profile::parse("dept: 1\n", "p.yaml").is_err());
    }

    #[test]
    fn a_profile_survives_json() {
        let profile = Profile { requests_per_second: Some(7), ..Profile::default() };
        let json = serde_json::to_string(&profile).unwrap();
        assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
        assert!(profile.problems().is_empty());
    }

    #[test]
    fn flags_win_over_the_file() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            flags: ProfileFlags,
        }
        use clap::Parser as _;
        let cli =
            Cli::try_parse_from(["x", "--rate", "9", "--tls", "--record-bytes", "2KiB", "--sasl", "plain"]).unwrap();
        let profile = cli.flags.profile().unwrap();
        assert_eq!(profile.requests_per_second, Some(9));
        assert_eq!((profile.tls, profile.record.bytes.0, profile.sasl), (true, 2048, Sasl::Plain));
        let cli = Cli::try_parse_from(["x", "--depth", "0"]).unwrap();
        assert_eq!(cli.flags.profile().unwrap_err().len(), 1);
    }
}
