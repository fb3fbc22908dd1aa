//! Configuration files that are wrong, a row each, and what is said about them.

use super::*;

/// A folder with the files that a configuration names, and a configuration that is right.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["policy.yaml", "server.pem", "server.key", "ca.pem", "secret"] {
        std::fs::write(folder.path().join(file), "x").unwrap();
    }
    folder
}

const GOOD: &str = "\
origin: gw-1
listeners:
  - name: clients
    protocol: kafka
    bind: 127.0.0.1
    bootstrap_port: 9092
    advertised_host: gw.example.com
    broker_ports: { first_port: 9100, node_ids: 0-9 }
upstream:
  bootstrap_servers: [kafka-1:9092]
policy_file: policy.yaml
evidence: { directory: evidence }
";

fn parse(folder: &tempfile::TempDir, text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(text, &folder.path().join("tidegate.yaml"), 4)
}

#[test]
fn a_small_configuration_has_defaults() {
    let folder = folder();
    let config = parse(&folder, GOOD).unwrap();
    assert_eq!(config.shards, 4);
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.control.bind, "127.0.0.1:9644".parse().unwrap());
    assert_eq!(config.policy_file, folder.path().join("policy.yaml"));
    assert_eq!(config.upstream.sasl, UpstreamSasl::None);
    let listener = &config.listeners[0];
    assert_eq!(listener.sockets.len(), 11);
    assert_eq!(listener.sockets[0], ("127.0.0.1:9092".parse().unwrap(), Target::Bootstrap));
    assert_eq!(listener.sockets[10], ("127.0.0.1:9109".parse().unwrap(), Target::Broker(9)));
    assert_eq!(config.warnings.len(), 1, "anonymous callers are warned about: {:?}", config.warnings);
}

/// Rows: what is replaced in `GOOD` by what; the path and a part of the sentence that must come.
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("origin: gw-1", "origin: ''", "origin", "names this gateway"),
    ("origin: gw-1", "origin: gw-1\nshards: 0", "shards", "`auto` or a number from 1 to 1024"),
    ("origin: gw-1", "origin: gw-1\nshard: 1", "shard", "unknown key"),
    ("origin: gw-1", "origin: gw-1\nspin_micros: 1001", "spin_micros", "at most 1000"),
    ("bind: 127.0.0.1", "bind: localhost", "listeners[0].bind", "invalid IP address"),
    ("bootstrap_port: 9092", "bootstrap_port: 0", "listeners[0].bootstrap_port", "must not be 0"),
    (
        "bootstrap_port: 9092",
        "bootstrap_port: 9105",
        "listeners[0].broker_ports",
        "port 9105 is taken by `listeners[0].bootstrap_port` already",
    ),
    ("bootstrap_port: 9092", "bootstrap_port: 9644", "control.bind", "port 9644 is taken"),
    ("    advertised_host: gw.example.com\n", "", "listeners[0].advertised_host", "must be the host"),
    ("node_ids: 0-9", "node_ids: 9-0", "listeners[0].broker_ports.node_ids", "not a range of node ids"),
    ("node_ids: 0-9", "node_ids: 0-999999", "listeners[0].broker_ports.node_ids", "too many"),
    (
        "first_port: 9100",
        "first_port: 65530",
        "listeners[0].broker_ports.first_port",
        "10 ports from 65530 on don't fit",
    ),
    ("    broker_ports: { first_port: 9100, node_ids: 0-9 }\n", "", "listeners[0]", "needs either `broker_ports`"),
    (
        "    broker_ports: {",
        "    sni: { host_pattern: b-$(node_id).x, bootstrap_host: b.x }\n    broker_ports: {",
        "listeners[0]",
        "and not both",
    ),
    (
        "broker_ports: { first_port: 9100, node_ids: 0-9 }",
        "sni: { host_pattern: b-$(node_id).x, bootstrap_host: b.x }",
        "listeners[0].sni",
        "needs `tls`",
    ),
    (
        "broker_ports: { first_port: 9100, node_ids: 0-9 }",
        "sni: { host_pattern: b.x, bootstrap_host: b.x }",
        "listeners[0].sni.host_pattern",
        "$(node_id)",
    ),
    (
        "    broker_ports: {",
        "    tls: { certificate_file: server.pem, key_file: missing.key }\n    broker_ports: {",
        "listeners[0].tls.key_file",
        "missing.key: No such file or directory (os error 2)",
    ),
    (
        "    broker_ports: {",
        "    tls: { certificate_file: server.pem, key_file: server.key, client_auth: required }\n    broker_ports: {",
        "listeners[0].tls.client_auth",
        "needs `client_ca_file`",
    ),
    (
        "    broker_ports: {",
        "    tls: { certificate_file: server.pem, key_file: server.key, client_ca_file: ca.pem }\n    broker_ports: {",
        "listeners[0].tls.client_ca_file",
        "has no use",
    ),
    (
        "    broker_ports: {",
        "    sasl: { mechanisms: [OAUTHBEARER] }\n    broker_ports: {",
        "identity.issuers",
        "nobody's tokens",
    ),
    (
        "    broker_ports: {",
        "    sasl: { mechanisms: [PLAIN, PLAIN] }\n    broker_ports: {",
        "listeners[0].sasl.mechanisms",
        "each once",
    ),
    ("[kafka-1:9092]", "[kafka-1]", "upstream.bootstrap_servers[0]", "write `host:port`"),
    ("[kafka-1:9092]", "[]", "upstream.bootstrap_servers", ""),
    (
        "[kafka-1:9092]",
        "[kafka-1:9092]\n  sasl: { mechanism: PLAIN, username: '', password_file: secret }",
        "upstream.sasl.username",
        "must not be empty",
    ),
    (
        "[kafka-1:9092]",
        "[kafka-1:9092]\n  sasl: { mechanism: SCRAM-SHA-512, username: gw, password_file: none }",
        "upstream.sasl.password_file",
        "cannot read",
    ),
    ("[kafka-1:9092]", "[kafka-1:9092]\n  tls: { certificate_file: server.pem }", "upstream.tls", "only work together"),
    ("[kafka-1:9092]", "[kafka-1:9092]\n  tls: { ca_file: . }", "upstream.tls.ca_file", "it is a folder"),
    ("policy_file: policy.yaml", "policy_file: nowhere.yaml", "policy_file", "cannot read"),
    ("policy_file: policy.yaml", "policy_file: policy.yaml\ndrain_timeout: 30", "drain_timeout", "not a duration"),
    ("policy_file: policy.yaml", "policy_file: policy.yaml\ndrain_timeout: 2h", "drain_timeout", "at most 1h"),
    (
        "policy_file: policy.yaml",
        "policy_file: policy.yaml\nlimits: { frame_bytes_max: 0 }",
        "limits.frame_bytes_max",
        "must not be 0",
    ),
    (
        "policy_file: policy.yaml",
        "policy_file: policy.yaml\nlimits: { evidence_entry_bytes_max: 100 }",
        "limits.evidence_entry_bytes_max",
        "must be from 8192",
    ),
    (
        "policy_file: policy.yaml",
        "policy_file: policy.yaml\nlimits: { frame_byte_max: 1 }",
        "limits.frame_byte_max",
        "did you mean `frame_bytes_max`",
    ),
    (
        "policy_file: policy.yaml",
        "policy_file: policy.yaml\nidentity: { saml: [{ entity_id: idp, metadata_file: ca.pem }] }",
        "identity.saml[0]",
        "needs `tokens`",
    ),
    (
        "policy_file: policy.yaml",
        "policy_file: policy.yaml\nidentity: { saml: [{ entity_id: idp, metadata_file: none }] }",
        "identity.saml[0].metadata_file",
        "cannot read",
    ),
    (
        "policy_file: policy.yaml",
        "policy_file: policy.yaml\nidentity: { saml: [{ entity_id: idp, metadata_url: 'http://idp.example.com/' }] }",
        "identity.saml[0].metadata_url",
        "https://",
    ),
    (
        "policy_file: policy.yaml",
        "policy_file: policy.yaml\nidentity: { issuers: [{ issuer: 'https://idp', audiences: [a], algorithms: [ES256] }], saml: [{ entity_id: 'https://idp', metadata_file: ca.pem }] }",
        "identity.saml[0].entity_id",
        "twice",
    ),
    ("policy_file: policy.yaml", "policy_file: policy.yaml\nlog: { level: loud }", "log.level", "`loud`"),
    ("policy_file: policy.yaml", "policy_file: policy.yaml\ncontrol: { bind: 9644 }", "control.bind", "socket address"),
    (
        "policy_file: policy.yaml",
        "policy_file: policy.yaml\ncontrol: { bind: '0.0.0.0:9644' }",
        "control.bind",
        "control.tls",
    ),
    (
        "policy_file: policy.yaml",
        "policy_file: policy.yaml\ncontrol: { callbacks: [{ name: 'a/b', secret_file: policy.yaml, approver: { name: x } }] }",
        "control.callbacks[0].name",
        "64 letters",
    ),
    (
        "policy_file: policy.yaml",
        "policy_file: policy.yaml\ncontrol: { callbacks: [{ name: bot, secret_file: nowhere, approver: { name: x } }] }",
        "control.callbacks[0].secret_file",
        "cannot read",
    ),
    ("directory: evidence", "directory: evidence, segment_bytes: 5000", "evidence.segment_bytes", "multiple of 4096"),
    (
        "directory: evidence",
        "directory: evidence, segment_bytes: 1048576",
        "evidence.segment_bytes",
        "at least 1056768",
    ),
    ("directory: evidence", "directory: evidence, release: later", "evidence.release", ""),
    (
        "directory: evidence",
        "directory: evidence, signing_key_file: nowhere",
        "evidence.signing_key_file",
        "cannot read",
    ),
    (
        "directory: evidence",
        "directory: evidence, checkpoint_interval: 0s",
        "evidence.checkpoint_interval",
        "must be more than 0",
    ),
    ("directory: evidence", "directory: evidence, on_failure: ignore", "evidence.on_failure", ""),
    (
        "directory: evidence",
        "directory: evidence, anchors: { kafka_topic: 'a b' }",
        "evidence.anchors.kafka_topic",
        "no name of a topic",
    ),
    (
        "directory: evidence",
        "directory: evidence, anchors: { object_store: 'ftp://x/y' }",
        "evidence.anchors.object_store",
        "ftp",
    ),
    (
        "directory: evidence",
        "directory: evidence, segment_age_max: 0s",
        "evidence.segment_age_max",
        "must be more than 0",
    ),
    (
        "directory: evidence",
        "directory: evidence, retention: { age_max: 2 }",
        "evidence.retention.age_max",
        "not a duration",
    ),
    (
        "directory: evidence",
        "directory: evidence, retention: { bytes_max: 100000 }",
        "evidence.retention.bytes_max",
        "three times",
    ),
];

#[test]
fn every_mistake_is_named_with_path_and_line() {
    let folder = folder();
    for (replace, by, path, says) in WRONG {
        assert!(GOOD.contains(replace), "{replace}");
        let problems = parse(&folder, &GOOD.replacen(replace, by, 1)).expect_err(by);
        let found = problems
            .iter()
            .any(|problem| problem.path.starts_with(path) && problem.message.contains(says) && problem.line > 0);
        assert!(found, "{by}: want {path}: …{says}…, got {problems:#?}");
    }
}

#[test]
fn ten_mistakes_are_ten_problems_in_the_order_of_the_file() {
    let folder = folder();
    let text = "\
origin: ''
shards: many
listeners:
  - name: ''
    protocol: kafka
    bind: 127.0.0.1
    bootstrap_port: 9092
    advertised_host: ''
    broker_ports: { first_port: 9092, node_ids: 0-9 }
upstream:
  bootstrap_servers: [kafka]
  metadata_interval: often
policy_file: nowhere.yaml
evidence: { directory: evidence, segment_bytes: 1 }
drain_timeout: 0s
limits: { in_flight_requests_max: 0 }
";
    let problems = parse(&folder, text).unwrap_err();
    let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 2, 4, 8, 9, 11, 12, 13, 14, 15, 16], "{problems:#?}");
}

#[test]
fn server_names_say_which_broker() {
    let folder = folder();
    let text = GOOD.replace(
        "broker_ports: { first_port: 9100, node_ids: 0-9 }",
        "tls: { certificate_file: server.pem, key_file: server.key }\n    sni: { host_pattern: Broker-$(node_id).example.com, bootstrap_host: kafka.example.com }",
    );
    let config = parse(&folder, &text).unwrap();
    let listener = &config.listeners[0];
    assert_eq!(listener.sockets.len(), 1);
    for (name, target) in [
        (Some("kafka.example.com"), Some(Target::Bootstrap)),
        (Some("KAFKA.example.com"), Some(Target::Bootstrap)),
        (Some("broker-0.example.com"), Some(Target::Broker(0))),
        (Some("broker-17.example.com"), Some(Target::Broker(17))),
        (Some("broker-.example.com"), None),
        (Some("broker-+1.example.com"), None),
        (Some("broker-01.example.com"), None),
        (Some("broker-1.example.org"), None),
        (Some("broker-99999999999.example.com"), None),
        (None, None),
    ] {
        assert_eq!(listener.target_of_server_name(name), target, "{name:?}");
    }
}

#[test]
fn what_is_allowed_but_hardly_meant_is_warned_about() {
    let folder = folder();
    let text = GOOD
        .replace("origin: gw-1", "origin: gw-1\nshards: 9")
        .replace("directory: evidence", "directory: evidence, release: async");
    let warnings = parse(&folder, &text).unwrap().warnings;
    for path in ["shards: ", "evidence.release: ", "listeners[0]: "] {
        assert!(warnings.iter().any(|warning| warning.starts_with(path)), "{path} {warnings:?}");
    }
}

/// The annotated example is what people begin with: it loads, and where it says that a value is the
/// default, it is.
#[test]
fn the_annotated_example_loads_and_tells_the_defaults() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let text = std::fs::read_to_string(deploy.join("tidegate.example.yaml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("tls")).unwrap();
    std::fs::create_dir(at("secrets")).unwrap();
    let pair = rcgen::generate_simple_self_signed(vec!["kafka.example.com".to_owned()]).unwrap();
    for name in ["tls/server.pem", "tls/clients-ca.pem", "tls/kafka-ca.pem"] {
        std::fs::write(at(name), pair.cert.pem()).unwrap();
    }
    std::fs::write(at("tls/server.key"), pair.signing_key.serialize_pem()).unwrap();
    std::fs::write(at("secrets/upstream-password"), "secret\n").unwrap();
    std::fs::copy(deploy.join("policy.example.yaml"), at("policy.example.yaml")).unwrap();
    // The authorities of the machine that runs the test are not what is tested.
    let text = text.replace("  # ca_file: tls/id-ca.pem            #", "  ca_file: tls/kafka-ca.pem            #");

    let config = Config::parse(&text, &at("tidegate.yaml"), 4).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(*config.limits, Limits::default());
    assert_eq!(config.log, Log::default());
    let small = parse(&self::folder(), GOOD).unwrap();
    assert_eq!(config.shards, small.shards);
    assert_eq!(config.control.bind, small.control.bind);
    assert_eq!(config.drain_timeout, small.drain_timeout);
    assert_eq!(config.upstream.metadata_interval, small.upstream.metadata_interval);
    assert_eq!(config.identity.refresh_interval, small.identity.refresh_interval);
    assert_eq!(config.evidence.segment_bytes, small.evidence.segment_bytes);
    assert_eq!(config.evidence.release, small.evidence.release);
    let issuer = &config.identity.issuers[0];
    assert_eq!(*issuer, IssuerConfig::new(&issuer.issuer, "kafka"));
    let prepared = crate::control::prepare(&config).unwrap_or_else(|error| panic!("{error}"));
    assert!(prepared.shared.listener_tls.iter().all(|tls| tls.load().is_some()));
}
