//! Bytes that no honest client sends: each gets a clear answer or is cut off, stands in the
//! evidence, and harms nobody else's connection.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, ResponseHeader};
use kafka_protocol::protocol::{Decodable as _, StrBytes};
use kafka_protocol::records::Compression;
use serde_json::Value;
use tidegate::demo::issuer::{Flaw, TokenRequest};

use crate::gateway::{Door, Gateway, Setup, tidegate};
use crate::idp::Idp;
use crate::kafka::Kafka;
use crate::raw::{Connection, bearer, frame};
use crate::records::{batch, compressed_batch, produce};
use crate::tls::Authority;

const POLICY: &str = "
version: 1
grants:
  - name: all
    purpose: Tests
    principals: [alice]
    resources: [{topic: {prefix: bad-}}]
    operations: [read, write]
masks:
  - name: emails
    topics: [{prefix: bad-masked}]
    everyone: true
    directions: [produce, fetch]
    classes: [email]
    operator: redact
";

/// A connection that must not notice what the others do.
struct Witness(Connection);

impl Witness {
    fn new(gateway: &Gateway) -> Self {
        Self(gateway.connect_as("alice", &[]))
    }

    #[track_caller]
    fn is_served(&mut self, after: &str) {
        let answer = self.0.try_ask(12, &MetadataRequest::default().with_topics(Some(vec![])));
        assert!(answer.is_ok(), "another connection broke after {after}: {answer:?}");
    }
}

/// The evidence of what `connection` did.
#[track_caller]
fn evidence_of(gateway: &Gateway, connection: &Connection, what: &str, kinds: &[&str]) -> Value {
    let address = connection.local_address().to_string();
    gateway.evidence_of(what, |entry| {
        entry["client_address"] == address.as_str() && kinds.iter().any(|kind| entry["kind"] == *kind)
    })
}

#[test]
fn bytes_that_are_no_kafka_close_their_connection_alone() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let mut witness = Witness::new(&gateway);
    let versions = |version| frame(ApiKey::ApiVersions as i16, version, 1, "x", &[0; 8]);
    let with_length = |length: i32| [&length.to_be_bytes()[..], &[0; 64]].concat();
    let long_header = frame(ApiKey::ApiVersions as i16, 0, 1, &"x".repeat(300), &[]);
    let mut cut_header = versions(0).to_vec();
    cut_header[..4].copy_from_slice(&6_i32.to_be_bytes());
    cut_header.truncate(10);
    let mut client_id_beyond_end = versions(0).to_vec();
    client_id_beyond_end[12..14].copy_from_slice(&i16::MAX.to_be_bytes());
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("a TLS client hello", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 505]].concat()),
        ("a negative length", with_length(-1)),
        ("the lowest length", with_length(i32::MIN)),
        ("a length of zero", with_length(0)),
        ("a length of one", with_length(1)),
        ("the highest length", with_length(i32::MAX)),
        ("a length over the bound before authentication", with_length(300 * 1024)),
        ("a header cut short", cut_header),
        ("a client id that ends beyond the frame", client_id_beyond_end),
        ("an unknown API", frame(9999, 0, 1, "x", &[]).to_vec()),
        ("a negative API", frame(-1, 0, 1, "x", &[]).to_vec()),
        ("a broker's API", frame(ApiKey::BrokerRegistration as i16, 0, 1, "x", &[]).to_vec()),
        ("a request before authentication", frame(ApiKey::Metadata as i16, 4, 1, "x", &[0; 5]).to_vec()),
        ("a produce before authentication", frame(ApiKey::Produce as i16, 9, 1, "x", &[0; 40]).to_vec()),
        ("zeros", vec![0; 1024]),
        ("ones", vec![0xff; 1024]),
    ];
    for (what, bytes) in rows {
        let mut bad = gateway.connect();
        let _ = bad.write(&bytes);
        bad.set_read_timeout(Duration::from_secs(5));
        assert!(bad.is_closed(), "{what} leaves the connection open");
        evidence_of(&gateway, &bad, what, &["connection_refused", "exchange", "authentication_failure"]);
        witness.is_served(what);
    }
    // A long client id is none of that.
    let mut fine = gateway.connect();
    fine.write(&long_header).unwrap();
    assert!(fine.receive(ApiKey::ApiVersions, 0).is_ok());
}

#[test]
fn plain_text_to_a_tls_port_is_cut_off() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let mut witness = Witness::new(&gateway);
    let mut bad = Connection::plain(("127.0.0.1", gateway.port(Door::Tls)));
    bad.write(&frame(ApiKey::ApiVersions as i16, 0, 1, "x", &[])).unwrap();
    bad.set_read_timeout(Duration::from_secs(5));
    assert!(bad.is_closed());
    evidence_of(&gateway, &bad, "plain text on TLS", &["connection_refused"]);
    witness.is_served("plain text on TLS");
    // A certificate that is demanded and not shown.
    let config = Authority::shared().client_config(None);
    let mut bad = Connection::tls(("127.0.0.1", gateway.port(Door::Certificate)), config, "localhost");
    assert!(bad.try_ask(0, &ApiVersionsRequest::default()).is_err());
    evidence_of(&gateway, &bad, "no certificate", &["connection_refused", "authentication_failure"]);
    witness.is_served("no certificate");
}

#[test]
fn a_frame_may_come_in_any_pieces_and_end_at_any_byte() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let mut witness = Witness::new(&gateway);
    let whole = frame(ApiKey::ApiVersions as i16, 0, 77, "cut", &[]);
    for cut in 1..whole.len() {
        let mut pieces = gateway.connect();
        pieces.write(&whole[..cut]).unwrap();
        // Lets the first piece arrive by itself; the answer must be the same when it does not.
        std::thread::sleep(Duration::from_millis(2));
        pieces.write(&whole[cut..]).unwrap();
        match pieces.receive(ApiKey::ApiVersions, 0) {
            Ok((correlation, _)) => assert_eq!(correlation, 77, "cut at {cut}"),
            Err(error) => panic!(
                "cut at {cut}: {error}; {}",
                evidence_of(&gateway, &pieces, "the end", &["connection_refused", "session_end", "exchange"])
            ),
        }

        let mut ended = gateway.connect();
        ended.write(&whole[..cut]).unwrap();
        ended.finish_writing();
        assert!(ended.is_closed(), "ended at {cut}");
    }
    witness.is_served("cut frames");
}

#[test]
fn versions_that_nobody_knows_get_the_protocols_own_answers() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let mut witness = Witness::new(&gateway);
    // ApiVersions of the future is answered in v0 layout with the range (KIP-511).
    let mut future = gateway.connect();
    future.send_body(ApiKey::ApiVersions as i16, 99, &[0; 3]).unwrap();
    let mut body = future.receive_frame().unwrap();
    assert_eq!(ResponseHeader::decode(&mut body, 0).unwrap().correlation_id, 1);
    let answer = ApiVersionsResponse::decode(&mut body, 0).unwrap();
    assert_eq!(answer.error_code, 35);
    assert!(answer.api_keys.iter().any(|api| api.api_key == ApiKey::ApiVersions as i16 && api.max_version >= 3));
    // And the connection goes on with a version that is known.
    let name = StrBytes::from_static_str("tests");
    let known =
        ApiVersionsRequest::default().with_client_software_name(name.clone()).with_client_software_version(name);
    assert_eq!(future.ask(3, &known).error_code, 0);

    for (api, version) in [(ApiKey::Fetch, 99), (ApiKey::Produce, -1), (ApiKey::Metadata, 99), (ApiKey::Vote, 0)] {
        let mut bad = gateway.connect_as("alice", &[]);
        bad.send_body(api as i16, version, &[0; 32]).unwrap();
        bad.set_read_timeout(Duration::from_secs(5));
        assert!(bad.is_closed(), "{api:?} v{version}");
        evidence_of(&gateway, &bad, &format!("{api:?} v{version}"), &["connection_refused", "exchange"]);
        witness.is_served("an unknown version");
    }
}

#[test]
fn every_bad_token_is_refused() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let mut witness = Witness::new(&gateway);
    let idp = Idp::shared();
    // A token without a key id is fine as long as the issuer has but one key (OpenID Connect Core, 10.1).
    let flaws = Flaw::ALL.into_iter().filter(|flaw| *flaw != Flaw::NoKeyId);
    let mut rows: Vec<(String, String)> = flaws.map(|flaw| (format!("{flaw:?}"), idp.flawed("alice", flaw))).collect();
    rows.extend([
        ("no token".to_owned(), String::new()),
        ("no JWT".to_owned(), "secret".to_owned()),
        ("empty parts".to_owned(), "..".to_owned()),
        ("a long token".to_owned(), "a".repeat(100 * 1024)),
    ]);
    // Side by side, because whoever fails to authenticate is answered late.
    std::thread::scope(|scope| {
        for (what, token) in &rows {
            for mechanism in ["OAUTHBEARER", "PLAIN"] {
                scope.spawn(|| bad_token(&gateway, what, token, mechanism));
            }
        }
    });
    witness.is_served("bad tokens");
    // PLAIN's user has to be the token's.
    let mut bad = gateway.connect();
    assert!(bad.authenticate("PLAIN", &format!("\0admin\0{}", idp.token("alice", &[]))).is_err());
}

fn bad_token(gateway: &Gateway, what: &str, token: &str, mechanism: &str) {
    let mut bad = gateway.connect();
    let initial = if mechanism == "PLAIN" { format!("\0alice\0{token}") } else { bearer(token) };
    assert!(bad.authenticate(mechanism, &initial).is_err(), "{what} was taken by {mechanism}");
    let entry = evidence_of(gateway, &bad, what, &["authentication_failure", "connection_refused"]);
    assert!(!entry.to_string().contains(token) || token.is_empty(), "{what}: the token stands in the evidence");
    // Nothing else is served to whoever failed.
    assert!(bad.try_ask(12, &MetadataRequest::default().with_topics(None)).is_err(), "{what}");
}

#[test]
fn a_flood_of_unknown_keys_does_not_reach_the_issuer() {
    let idp = Idp::start(tidegate::demo::issuer::Options::loopback(crate::idp::AUDIENCE));
    let gateway = Setup { idp: &idp, ..Setup::new(Kafka::shared(), POLICY) }.start();
    let before = idp.jwks_requests();
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..100 {
            let token = idp.flawed("alice", Flaw::UnknownKeyId);
            let mut connection = gateway.connect();
            scope.spawn(move || assert!(connection.authenticate("OAUTHBEARER", &bearer(&token)).is_err()));
        }
    });
    let fetches = idp.jwks_requests() - before;
    let allowed = 3 + start.elapsed().as_secs() / 2;
    assert!(fetches <= allowed, "{fetches} fetches for 100 tokens in {:?}", start.elapsed());
    // A new key that is real is found, though.
    idp.rotate(tidegate::demo::issuer::KeyKind::Es256).unwrap();
    crate::process::until("the new key is known", Duration::from_secs(60), || {
        let token = idp.token("alice", &[]);
        gateway.connect().authenticate("OAUTHBEARER", &bearer(&token)).ok()
    });
}

#[test]
fn sasl_out_of_order_is_refused() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let mut witness = Witness::new(&gateway);
    let token = Idp::shared().token("alice", &[]);

    let mut no_handshake = gateway.connect();
    assert!(no_handshake.sasl_bytes(&bearer(&token)).is_err());
    evidence_of(&gateway, &no_handshake, "no handshake", &["authentication_failure", "connection_refused", "exchange"]);

    let mut wrong_mechanism = gateway.connect();
    let refused = wrong_mechanism.authenticate("SCRAM-SHA-256", "n,,n=alice,r=x").unwrap_err();
    assert!(refused.contains("error 33"), "{refused}");

    let mut other_bytes = gateway.connect();
    assert!(other_bytes.authenticate("OAUTHBEARER", "n,,\x01auth=Basic eA==\x01\x01").is_err());
    let mut other_bytes = gateway.connect();
    assert!(other_bytes.authenticate("PLAIN", "alice").is_err());
    witness.is_served("SASL out of order");
}

#[test]
fn a_live_connection_authenticates_again_only_as_itself() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let mut witness = Witness::new(&gateway);
    let idp = Idp::shared();
    let mut connection = gateway.connect();
    let short = idp.sign(&TokenRequest::new("alice", &[], Duration::from_secs(60))).unwrap();
    let lifetime = connection.authenticate("OAUTHBEARER", &bearer(&short)).unwrap();
    // The issuer's leeway of a second counts in.
    assert!((1..=61_000).contains(&lifetime), "{lifetime} ms");
    let lifetime = connection.authenticate("OAUTHBEARER", &bearer(&idp.token("alice", &[]))).unwrap();
    assert!(lifetime > 61_000, "{lifetime} ms");
    connection.ask(12, &MetadataRequest::default().with_topics(Some(vec![])));

    let other = connection.authenticate("OAUTHBEARER", &bearer(&idp.token("bob", &[])));
    assert!(other.is_err(), "another principal took over the connection");
    assert!(connection.try_ask(12, &MetadataRequest::default().with_topics(None)).is_err());
    evidence_of(&gateway, &connection, "another principal", &["authentication_failure"]);

    let mut connection = gateway.connect_as("alice", &[]);
    let other = connection.authenticate("PLAIN", &format!("\0alice\0{}", idp.token("alice", &[])));
    assert!(other.is_err(), "another mechanism took over the connection");
    witness.is_served("re-authentication");
}

#[test]
fn a_session_ends_with_its_token() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let token = Idp::shared().sign(&TokenRequest::new("alice", &[], Duration::from_secs(2))).unwrap();
    let mut connection = gateway.connect();
    connection.authenticate("OAUTHBEARER", &bearer(&token)).unwrap();
    connection.ask(12, &MetadataRequest::default().with_topics(Some(vec![])));
    connection.set_read_timeout(Duration::from_secs(20));
    let closed = connection.is_closed()
        || connection.try_ask(12, &MetadataRequest::default().with_topics(Some(vec![]))).is_err();
    assert!(closed, "a session outlived its token");
}

#[test]
fn batches_that_lie_are_refused_and_the_connection_goes_on() {
    let kafka = Kafka::shared();
    let gateway = Setup::new(kafka, POLICY).start();
    kafka.create_topic("bad-masked", 1, 1);
    let good = batch(&["mail to a@example.com", "x"]);
    let changed = |position: usize, bytes: &[u8], recompute: bool| {
        let mut batch = good.to_vec();
        batch[position..position + bytes.len()].copy_from_slice(bytes);
        if recompute {
            // Bytes 17 to 21 hold the CRC-32C of all that follows.
            let crc = crc32c(&batch[21..]);
            batch[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        Bytes::from(batch)
    };
    let bomb = {
        let zeros = "0".repeat(8 * 1024 * 1024);
        let values: Vec<&str> = std::iter::repeat_n(zeros.as_str(), 20).collect();
        compressed_batch(&values, Compression::Gzip)
    };
    assert!(bomb.len() < 1_000_000, "{} bytes are no bomb", bomb.len());
    let rows: Vec<(&str, Bytes)> = vec![
        ("a wrong CRC", changed(good.len() - 1, b"?", false)),
        ("an old message format", changed(16, &[1], true)),
        ("more records than there are", changed(57, &3_i32.to_be_bytes(), true)),
        ("fewer records than there are", changed(57, &1_i32.to_be_bytes(), true)),
        ("a negative number of records", changed(57, &(-5_i32).to_be_bytes(), true)),
        ("an unknown codec", changed(21, &7_i16.to_be_bytes(), true)),
        ("a codec that it is not in", changed(21, &1_i16.to_be_bytes(), true)),
        ("a length beyond the end", changed(8, &i32::MAX.to_be_bytes(), false)),
        ("a batch cut short", good.slice(..good.len() - 5)),
        ("a decompression bomb", bomb),
        ("no batch at all", Bytes::from_static(b"mail to a@example.com")),
    ];
    let mut alice = gateway.connect_as("alice", &[]);
    for (what, records) in rows {
        let answer = alice.ask(11, &produce(&["bad-masked"], records));
        let code = answer.responses[0].partition_responses[0].error_code;
        // CORRUPT_MESSAGE, MESSAGE_TOO_LARGE, UNSUPPORTED_FOR_MESSAGE_FORMAT, UNSUPPORTED_COMPRESSION_TYPE, INVALID_RECORD
        assert!([2, 10, 43, 76, 87].contains(&code), "{what}: error {code}");
    }
    let answer = alice.ask(11, &produce(&["bad-masked"], good));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    let stored = kafka.control().ask(12, &crate::records::fetch(&["bad-masked"]));
    assert_eq!(stored.responses[0].partitions[0].high_watermark, 2, "nothing but the good batch is stored");
}

#[test]
fn ten_mistakes_in_a_policy_are_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(
        b"version: 2
on_unparseable: perhaps
grants:
  - name: ''
    purpose: p
    principals: [a]
    resources: [{topic: t}]
    operations: [reed]
  - name: b
    purpose: p
    principals: [a]
    resources: []
    operations: [read]
    not_after: tomorrow
  - name: c
    purpos: p
    principals: [a]
    resources: [{topic: t, group: g}]
    operations: [read]
    windows: [{from: '25:00', to: '26:00', timezone: Europe/Nowhere}]
masks:
  - name: m
    topics: [t]
    everyone: true
    classes: [shoe_size]
    operator: {keep_last: 0}
",
    )
    .unwrap();
    let output = tidegate(&["check", "--policy", path.to_str().unwrap()]).failure();
    let problems = output.lines().filter(|line| line.contains("policy.yaml:")).count();
    assert!(problems >= 10, "{problems} problems:\n{output}");
    for part in ["grants[0].operations[0]", "did you mean `read`", "masks[0].operator", "tomorrow", "purpose"] {
        assert!(output.contains(part), "{part}:\n{output}");
    }
}

/// CRC-32C, bit by bit: only for the few batches that a test forges.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}
