//! A real Apache Kafka in KRaft mode, started from its jars: one broker or several, each also a
//! controller, on free ports, with ACLs enforced by Kafka's own authorizer.
//!
//! `PLAINTEXT` is the tests' control connection (its anonymous user is a super user), the SASL
//! listeners are for clients and for the gateway.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateTopicsRequest, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tempfile::TempDir;

use crate::dependencies;
use crate::idp::{AUDIENCE, Idp};
use crate::ports;
use crate::process::{Process, guarded, run, until};
use crate::raw::Connection;
use crate::tls::Authority;

/// How long a broker may take to start on a busy machine of two cores.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Users of the broker's PLAIN and SCRAM listeners; the password is the name and `-secret`.
pub(crate) const USERS: [&str; 4] = ["admin", "gateway", "alice", "bob"];

/// How many users `rowN` the broker knows besides, for tests that give ACLs to a user of their own.
pub(crate) const ROW_USERS: usize = 200;

/// A listener of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// The tests' control connection.
    Plaintext = 1,
    /// PLAIN, SCRAM and OAUTHBEARER.
    SaslPlaintext = 2,
    /// The same over TLS.
    SaslSsl = 3,
    /// TLS without SASL.
    Ssl = 4,
}

const PORTS_PER_BROKER: u16 = 5;

/// Whose tokens a broker's OAUTHBEARER listeners take.
#[derive(Debug, Clone)]
pub(crate) struct Oauth {
    pub(crate) issuer: String,
    pub(crate) jwks_uri: String,
    pub(crate) audience: String,
    /// `connections.max.reauth.ms`; 0 leaves it off.
    pub(crate) max_reauth_millis: u32,
}

impl Oauth {
    /// The tests' identity provider.
    fn shared() -> Self {
        let idp = Idp::shared();
        let (issuer, audience) = (idp.url().to_owned(), AUDIENCE.to_owned());
        Self { issuer, jwks_uri: idp.jwks_uri(), audience, max_reauth_millis: 0 }
    }
}

/// A cluster.
pub(crate) struct Kafka {
    folder: TempDir,
    first_port: u16,
    brokers: Vec<Option<Process>>,
    oauth: Oauth,
}

impl Kafka {
    /// The one broker that tests share which leave it running.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(1))
    }

    /// A cluster of the test's own.
    pub(crate) fn start(brokers: u16) -> Self {
        let folder = tempfile::Builder::new().prefix("tidegate-kafka").tempdir().unwrap();
        let first_port = Self::reserve(brokers);
        Self::start_with(brokers, first_port, Oauth::shared(), folder)
    }

    /// Ports for `brokers` brokers that are started later; the first one.
    pub(crate) fn reserve(brokers: u16) -> u16 {
        ports::free(PORTS_PER_BROKER * brokers)
    }

    /// One broker on reserved ports that takes the tokens of `oauth`.
    pub(crate) fn start_for(first_port: u16, oauth: Oauth) -> Self {
        let folder = tempfile::Builder::new().prefix("tidegate-kafka").tempdir().unwrap();
        Self::start_with(1, first_port, oauth, folder)
    }

    fn start_with(brokers: u16, first_port: u16, oauth: Oauth, folder: TempDir) -> Self {
        let mut kafka = Self { folder, first_port, brokers: Vec::new(), oauth };
        for node in 1..=brokers {
            kafka.configure(node, brokers);
        }
        for node in 1..=brokers {
            kafka.brokers.push(None);
            kafka.start_broker(node);
        }
        kafka.wait_for_brokers(usize::from(brokers));
        kafka
    }

    /// Starts the broker `node` (from 1), which must not be running.
    pub(crate) fn start_broker(&mut self, node: u16) {
        let mut command = java_allowing(&self.oauth.jwks_uri);
        command.arg("-Xmx512m");
        command.arg("kafka.Kafka").arg(self.properties(node));
        let output = self.folder.path().join(format!("broker-{node}.log"));
        self.brokers[usize::from(node) - 1] = Some(Process::start(&format!("broker {node}"), command, output));
    }

    /// Kills the broker `node` as a power cut would.
    pub(crate) fn kill_broker(&mut self, node: u16) {
        self.brokers[usize::from(node) - 1] = None;
    }

    /// Waits until every running broker sees `count` brokers.
    pub(crate) fn wait_for_brokers(&self, count: usize) {
        for (index, process) in self.brokers.iter().enumerate() {
            let Some(process) = process else { continue };
            let port = self.port(index as u16 + 1, Listener::Plaintext);
            process.ready("serving", START_TIMEOUT, || {
                let mut connection = Connection::try_plain(("127.0.0.1", port))?;
                let metadata = connection.try_ask(12, &MetadataRequest::default().with_topics(Some(vec![]))).ok()?;
                (metadata.brokers.len() == count && metadata.controller_id.0 >= 0).then_some(())
            });
        }
    }

    /// The port of a listener of the broker `node`.
    pub(crate) fn port(&self, node: u16, listener: Listener) -> u16 {
        self.first_port + (node - 1) * PORTS_PER_BROKER + listener as u16
    }

    /// `bootstrap.servers` for a listener: all brokers.
    pub(crate) fn bootstrap(&self, listener: Listener) -> String {
        let servers: Vec<String> =
            (1..=self.brokers.len() as u16).map(|node| format!("localhost:{}", self.port(node, listener))).collect();
        servers.join(",")
    }

    /// A control connection, to a broker that runs.
    pub(crate) fn control(&self) -> Connection {
        let node = self.brokers.iter().position(Option::is_some).expect("a running broker") as u16 + 1;
        Connection::plain(("127.0.0.1", self.port(node, Listener::Plaintext)))
    }

    /// Creates a topic and waits until its partitions have leaders.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32, replication: i16) {
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replication);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let response = self.control().ask(7, &request);
        assert_eq!(response.topics[0].error_code, 0, "creating {name}: {:?}", response.topics[0].error_message);
        until(&format!("{name} has leaders"), Duration::from_secs(30), || {
            let metadata = self.metadata(&[name]);
            let topic = metadata.topics.first()?;
            (topic.error_code == 0
                && topic.partitions.len() == partitions as usize
                && topic.partitions.iter().all(|p| p.error_code == 0 && p.leader_id.0 >= 0))
            .then_some(())
        });
    }

    /// The cluster's metadata as the control connection sees it.
    pub(crate) fn metadata(&self, topics: &[&str]) -> MetadataResponse {
        use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
        let topics = topics.iter().map(|&t| MetadataRequestTopic::default().with_name(Some(topic_name(t)))).collect();
        self.control()
            .ask(12, &MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false))
    }

    fn properties(&self, node: u16) -> PathBuf {
        self.folder.path().join(format!("broker-{node}.properties"))
    }

    /// Writes the broker's properties and formats its storage.
    fn configure(&self, node: u16, brokers: u16) {
        let properties = self.properties(node);
        std::fs::write(&properties, self.broker_properties(node, brokers)).unwrap();
        let mut format = java();
        format.args(["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"]).arg(properties);
        for user in USERS {
            for (mechanism, iterations) in [("SCRAM-SHA-256", 4096), ("SCRAM-SHA-512", 4096)] {
                format.arg("--add-scram");
                format.arg(format!("{mechanism}=[name={user},iterations={iterations},password={user}-secret]"));
            }
        }
        run(format, "", START_TIMEOUT).success();
    }

    fn broker_properties(&self, node: u16, brokers: u16) -> String {
        let folder = self.folder.path().join(format!("broker-{node}"));
        let controller = |node: u16| self.first_port + (node - 1) * PORTS_PER_BROKER;
        let voters: Vec<String> = (1..=brokers).map(|n| format!("{n}@localhost:{}", controller(n))).collect();
        let listeners = [
            ("PLAINTEXT", Listener::Plaintext),
            ("SASL_PLAINTEXT", Listener::SaslPlaintext),
            ("SASL_SSL", Listener::SaslSsl),
            ("SSL", Listener::Ssl),
        ]
        .map(|(name, listener)| format!("{name}://localhost:{}", self.port(node, listener)))
        .join(",");
        let pair = Authority::shared().server();
        let replicas = brokers.min(3);
        let mut text = String::new();
        let mut set = |key: &str, value: &str| writeln!(text, "{key}={value}").unwrap();
        set("process.roles", "broker,controller");
        set("node.id", &node.to_string());
        set("controller.quorum.voters", &voters.join(","));
        set("controller.listener.names", "CONTROLLER");
        set("inter.broker.listener.name", "PLAINTEXT");
        set("listeners", &format!("CONTROLLER://localhost:{},{listeners}", controller(node)));
        set("advertised.listeners", &listeners);
        set(
            "listener.security.protocol.map",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
        );
        set("log.dirs", &folder.display().to_string());
        set("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
        set("super.users", "User:ANONYMOUS;User:admin;User:gateway");
        set("ssl.keystore.type", "PEM");
        set("ssl.keystore.location", &pair.store.display().to_string());
        set("ssl.truststore.type", "PEM");
        set("ssl.truststore.location", &Authority::shared().file().display().to_string());
        set("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER");
        set("sasl.oauthbearer.jwks.endpoint.url", &self.oauth.jwks_uri);
        set("sasl.oauthbearer.expected.issuer", &self.oauth.issuer);
        set("sasl.oauthbearer.expected.audience", &self.oauth.audience);
        set("connections.max.reauth.ms", &self.oauth.max_reauth_millis.to_string());
        let mut plain = "org.apache.kafka.common.security.plain.PlainLoginModule required".to_owned();
        let rows = (0..ROW_USERS).map(|row| format!("row{row}"));
        for user in USERS.iter().map(|&user| user.to_owned()).chain(rows) {
            write!(plain, " user_{user}=\"{user}-secret\"").unwrap();
        }
        plain.push(';');
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let mut oauth = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required".to_owned();
        if self.oauth.jwks_uri.starts_with("https") {
            // The authority of the key set's certificate; with options the broker's own login wants a name.
            let ca = Authority::shared().file();
            write!(oauth, " unsecuredLoginStringClaim_sub=\"broker\" ssl.truststore.type=\"PEM\"").unwrap();
            write!(oauth, " ssl.truststore.location=\"{}\"", ca.display()).unwrap();
        }
        oauth.push(';');
        for listener in ["sasl_plaintext", "sasl_ssl"] {
            let key = |mechanism: &str, key: &str| format!("listener.name.{listener}.{mechanism}.{key}");
            set(&key("plain", "sasl.jaas.config"), &plain);
            set(&key("scram-sha-256", "sasl.jaas.config"), scram);
            set(&key("scram-sha-512", "sasl.jaas.config"), scram);
            set(&key("oauthbearer", "sasl.jaas.config"), &oauth);
            set(
                &key("oauthbearer", "sasl.server.callback.handler.class"),
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
            );
        }
        set("delegation.token.secret.key", "delegation-secret");
        for (key, value) in [
            ("offsets.topic.num.partitions", 1),
            ("offsets.topic.replication.factor", replicas),
            ("transaction.state.log.num.partitions", 1),
            ("transaction.state.log.replication.factor", replicas),
            ("transaction.state.log.min.isr", 1),
            ("share.coordinator.state.topic.num.partitions", 1),
            ("share.coordinator.state.topic.replication.factor", replicas),
            ("share.coordinator.state.topic.min.isr", 1),
            ("group.initial.rebalance.delay.ms", 0),
            ("num.partitions", 1),
            ("num.network.threads", 2),
            ("num.io.threads", 4),
        ] {
            set(key, &value.to_string());
        }
        // Small where the defaults are for big machines.
        set("log.cleaner.dedupe.buffer.size", "4194304");
        set("log.index.size.max.bytes", "1048576");
        text
    }
}

/// Java with Kafka's classes, quick to start.
pub(crate) fn java() -> Command {
    java_allowing("")
}

/// The same, with one more URL that OAUTHBEARER may read from.
fn java_allowing(url: &str) -> Command {
    let mut command = guarded(dependencies::program("java"));
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    command.arg(format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={},{url}", allowed_urls()));
    command.arg(format!("-Djdk.net.hosts.file={}", hosts_file().display()));
    command.arg("-cp").arg(format!("{}/*", Path::display(&dependencies::kafka_jars())));
    command
}

/// Names that Java resolves without DNS: those under which the gateway's SNI listener shows brokers.
fn hosts_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let brokers: String = (0..10).map(|node| format!("127.0.0.1 broker-{node}.kafka.localhost\n")).collect();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hosts");
        std::fs::write(&path, format!("127.0.0.1 localhost bootstrap.kafka.localhost\n{brokers}")).unwrap();
        path
    })
}

/// Kafka's OAUTHBEARER code reads only from URLs that this names.
fn allowed_urls() -> String {
    format!("{},{}", Idp::shared().jwks_uri(), Idp::shared().token_endpoint())
}

/// A topic's name as `kafka-protocol` has it.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
