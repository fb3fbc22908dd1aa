//! What `tidegate client-config` prints, pasted as it is: each stock client logs in with it and writes a record, as a
//! service account that gets its tokens from the gateway itself over HTTPS, and as somebody whose token lies in a file.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::dependencies;
use crate::gateway::{Door, Gateway, Setup, is_exchange, tidegate};
use crate::idp::Idp;
use crate::kafka::{Kafka, java};
use crate::ports;
use crate::process::{guarded, run};
use crate::tls::Authority;

const POLICY: &str = "
version: 1
grants:
  - name: pasted
    purpose: Tests
    principals: [etl, alice]
    resources: [{topic: {prefix: pasted-}}]
    operations: [read, write]
";

const CLIENT: Duration = Duration::from_secs(120);
/// Writes one record with a Python configuration, its delivery waited for.
const PYTHON: &str = "
import sys
from confluent_kafka import Producer
failures = []
producer = Producer(config)
producer.produce(sys.argv[1], b'x', on_delivery=lambda error, _: error and failures.append(error))
if producer.flush(60) or failures:
    sys.exit(f'not delivered: {failures}')
";
/// The same with KafkaJS.
const NODE: &str = "
const { Kafka } = require('kafkajs');
(async () => {
  const producer = new Kafka(config).producer();
  await producer.connect();
  await producer.send({ topic: process.argv[1], messages: [{ value: 'x' }] });
  await producer.disconnect();
})().catch((error) => { console.error(error); process.exit(1); });
";

/// Where a client's token comes from, and whose it is then.
#[derive(Clone, Copy)]
struct Source {
    label: &'static str,
    principal: &'static str,
}

const SOURCES: [Source; 2] =
    [Source { label: "account", principal: "etl" }, Source { label: "file", principal: "alice" }];

struct Scene {
    gateway: Gateway,
    tokens: String,
    secret: String,
    token_file: PathBuf,
    _accounts: tempfile::TempDir,
}

impl Scene {
    fn start() -> Self {
        let drawn = tidegate(&["service-account", "etl"]).success();
        let secret = drawn.lines().last().unwrap().trim_start_matches("# ").to_owned();
        let port = ports::free(1);
        let tokens = format!("https://localhost:{port}");
        let accounts: String = drawn.lines().filter(|line| line.starts_with(' ')).map(|l| format!("{l}\n")).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("accounts.yaml");
        std::fs::write(&file, format!("service_accounts:\n{accounts}")).unwrap();
        let more = format!(
            "tokens:\n  bind: \"127.0.0.1:{port}\"\n  issuer: {tokens}\n  service_accounts_file: {}\n  \
             tls: {{certificate_file: server.pem, key_file: server-key.pem}}\n",
            file.display()
        );
        let gateway = Setup { more, ..Setup::new(Kafka::shared(), POLICY) }.start();
        let token_file = gateway.folder().join("alice.token");
        std::fs::write(&token_file, Idp::shared().token("alice", &[])).unwrap();
        Self { gateway, tokens, secret, token_file, _accounts: folder }
    }

    /// What is printed for a client, with the secret that its owner puts in.
    fn printed(&self, client: &str, source: Source) -> String {
        let (bootstrap, ca) = (self.gateway.bootstrap(Door::Tls), Authority::shared().file());
        let ca = ca.to_str().unwrap();
        let mut how = vec!["client-config", "--client", client, "--bootstrap", &bootstrap, "--ca", ca];
        match source.label {
            "account" => how.extend(["--server", &self.tokens, "--service-account", source.principal]),
            _ => how.extend(["--token-file", self.token_file.to_str().unwrap()]),
        }
        tidegate(&how).success().replace("SECRET", &self.secret)
    }

    /// Runs a client to its end, and looks for its record in the evidence.
    fn writes(&self, client: &str, source: Source, write: impl FnOnce(&str, &str) -> Command) {
        let topic = format!("pasted-{client}-{}", source.label);
        Kafka::shared().create_topic(&topic, 1, 1);
        let printed = self.printed(client, source);
        let done = run(write(&printed, &topic), "x\n", CLIENT);
        assert!(done.status.success(), "{client} by {}: {done:?}\n{printed}", source.label);
        let entry = self.gateway.evidence_of(&format!("{client} by {}", source.label), |entry| {
            is_exchange(entry, "Produce", &topic) && entry["outcome"] == "allowed"
        });
        assert_eq!(entry["principal"], source.principal, "{client}");
    }
}

fn python(text: &str, topic: &str) -> Command {
    let mut command = guarded(dependencies::python());
    command.args(["-c", &format!("{text}\n{PYTHON}"), topic]);
    command
}

/// The properties as they stand there, for librdkafka of confluent-kafka: the one in this process has no OIDC.
fn properties(pairs: impl Iterator<Item = (String, String)>) -> String {
    let pairs: serde_json::Map<String, Value> = pairs.map(|(key, value)| (key, value.into())).collect();
    format!("config = {}", Value::Object(pairs))
}

#[test]
fn what_is_printed_for_each_client_works_as_it_is() {
    let scene = Scene::start();
    for source in SOURCES {
        scene.writes("java", source, |text, topic| {
            let file = scene.gateway.folder().join(format!("{}.properties", source.label));
            std::fs::write(&file, text).unwrap();
            let option = text.lines().find_map(|line| line.strip_prefix("# Run Java with ")).unwrap();
            let mut command = java();
            command.args(["-Xmx256m", option, "org.apache.kafka.tools.VerifiableProducer", "--bootstrap-server"]);
            command.arg(scene.gateway.bootstrap(Door::Tls)).arg("--command-config").arg(file);
            command.args(["--topic", topic, "--max-messages", "1"]);
            command
        });
        scene.writes("librdkafka", source, |text, topic| {
            let token = std::fs::read_to_string(&scene.token_file).unwrap();
            let content = format!("CONTENT OF {}", scene.token_file.display());
            let pairs = text.lines().map(|line| line.split_once('=').unwrap());
            let pairs = pairs.map(|(key, value)| (key.to_owned(), value.replace(&content, &token)));
            python(&properties(pairs), topic)
        });
        scene.writes("kcat", source, |text, topic| {
            let mut command = guarded("/bin/sh");
            command.args(["-c", &text.trim_end().replace(" -L", &format!(" -P -t {topic}"))]);
            command
        });
        scene.writes("python", source, python);
        scene.writes("node", source, |text, topic| {
            let mut command = guarded(dependencies::program("node"));
            if let Some(ca) = text.lines().find_map(|line| line.strip_prefix("// Run Node with NODE_EXTRA_CA_CERTS=")) {
                command.env("NODE_EXTRA_CA_CERTS", ca);
            }
            command.env("NODE_PATH", dependencies::node_modules()).env("KAFKAJS_NO_PARTITIONER_WARNING", "1");
            command.args(["-e", &format!("{text}\n{NODE}"), topic]);
            command
        });
    }
    // confluent-kafka-go hands its map to librdkafka as it is; so does the Python client here, as tests need no Go. The
    // few lines of Go that are printed for a token file are compiled by nothing.
    scene.writes("go", SOURCES[0], |text, topic| {
        let lines = text.lines().filter_map(|line| line.strip_prefix("\t\"")?.strip_suffix("\","));
        let pairs = lines.map(|line| line.split_once("\": \"").unwrap());
        python(&properties(pairs.map(|(key, value)| (key.to_owned(), value.to_owned()))), topic)
    });
}
