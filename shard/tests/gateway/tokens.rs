//! The gateway as an issuer: tokens that it makes for a real Kafka, one for each session, which the broker checks
//! against the gateway's key set over HTTPS; and which bytes pass where.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kafka_protocol::messages::CreateAclsRequest;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;

use crate::gateway::{Door, Setup};
use crate::idp::Idp;
use crate::kafka::{Kafka, Listener, Oauth};
use crate::ports;
use crate::raw::Connection;
use crate::records::{batch, produce};

const POLICY: &str = "
version: 1
grants:
  - name: all-may
    purpose: Tests
    everyone: true
    resources: [{topic: {prefix: minted-}}]
    operations: [read, write]
";

/// What a broker says to whom its ACLs give nothing.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

/// Relays connections to one address and keeps every byte, of both directions.
struct Recorder {
    port: u16,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let recorder = Self { port: listener.local_addr().unwrap().port(), bytes: Arc::default() };
        let bytes = recorder.bytes.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                // Nothing listens there yet, perhaps: then the connection ends as it would without a relay.
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    let bytes = bytes.clone();
                    std::thread::spawn(move || {
                        let mut buffer = [0; 16 * 1024];
                        while let Ok(read @ 1..) = from.read(&mut buffer) {
                            bytes.lock().unwrap().extend_from_slice(&buffer[..read]);
                            if to.write_all(&buffer[..read]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        recorder
    }

    fn contains(&self, text: &str) -> bool {
        self.bytes.lock().unwrap().windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// The bearer tokens that passed, each once, in order.
    fn tokens(&self) -> Vec<String> {
        let bytes = self.bytes.lock().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let mut tokens = Vec::new();
        for part in text.split("auth=Bearer ").skip(1) {
            let token = part.split('\u{1}').next().unwrap().to_owned();
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        tokens
    }
}

fn claims(token: &str) -> Value {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

/// Lets `name` write to `topic` at the broker.
fn allow(kafka: &Kafka, name: &str, topic: &str) {
    let text = |text: String| StrBytes::from_string(text);
    let acl = |operation: i8| {
        AclCreation::default()
            .with_resource_type(2)
            .with_resource_name(text(topic.to_owned()))
            .with_resource_pattern_type(3)
            .with_principal(text(format!("User:{name}")))
            .with_host(text("*".to_owned()))
            .with_operation(operation)
            .with_permission_type(3)
    };
    // WRITE and DESCRIBE.
    let created = kafka.control().ask(3, &CreateAclsRequest::default().with_creations(vec![acl(4), acl(8)]));
    assert!(created.results.iter().all(|result| result.error_code == 0), "{created:?}");
}

fn error_of(connection: &mut Connection, topic: &str) -> i16 {
    connection.ask(9, &produce(&[topic], batch(&["hello"]))).responses[0].partition_responses[0].error_code
}

#[test]
fn a_real_broker_sees_the_principal_and_no_credential_crosses_the_gateway() {
    let broker_port = Kafka::reserve(1);
    let tokens_port = ports::free(1);
    let url = format!("https://localhost:{tokens_port}");
    let upstream = Recorder::to(broker_port + Listener::SaslPlaintext as u16);
    let gateway = Setup {
        upstream: Listener::SaslPlaintext,
        upstream_servers: Some(format!("localhost:{}", upstream.port)),
        upstream_sasl: "{mechanism: OAUTHBEARER, mint: {audience: brokers, lifetime_seconds: 10}}".to_owned(),
        more: format!(
            "tokens:\n  bind: \"127.0.0.1:{tokens_port}\"\n  issuer: {url}\n  \
             tls: {{certificate_file: server.pem, key_file: server-key.pem}}\n"
        ),
        ..Setup::new(Kafka::shared(), POLICY)
    }
    .prepare();
    // The broker reads the gateway's keys as it starts, so the gateway is there before it.
    gateway.process().ready("serving keys", crate::gateway::TIMEOUT, || {
        TcpStream::connect(("127.0.0.1", tokens_port)).ok().map(drop)
    });
    let kafka = Kafka::start_for(
        broker_port,
        Oauth {
            jwks_uri: format!("{url}/jwks"),
            issuer: url.clone(),
            audience: "brokers".to_owned(),
            max_reauth_millis: 8_000,
        },
    );
    gateway.wait_until_ready();
    kafka.create_topic("minted-orders", 1, 1);
    allow(&kafka, "alice", "minted-orders");

    let client_side = Recorder::to(gateway.port(Door::Plain));
    let (alice, bob) = (Idp::shared().token("alice", &["analysts"]), Idp::shared().token("bob", &[]));
    let connect = |token: &str| Connection::plain(("127.0.0.1", client_side.port)).login_token(token);
    let mut connection = connect(&alice);
    assert_eq!(error_of(&mut connection, "minted-orders"), 0);
    // The gateway's policy lets bob; the broker knows that it is he, and its own ACLs do not.
    assert_eq!(error_of(&mut connect(&bob), "minted-orders"), TOPIC_AUTHORIZATION_FAILED);

    // The broker closes a connection whose token ended: only who logs in anew in time goes on.
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        assert_eq!(error_of(&mut connection, "minted-orders"), 0, "the upstream connection lives on");
        std::thread::sleep(Duration::from_millis(250));
    }
    let minted: Vec<String> = upstream.tokens().into_iter().filter(|token| claims(token)["sub"] == "alice").collect();
    assert!(minted.len() >= 3, "logged in anew before each token's end: {}", minted.len());
    let session = gateway
        .evidence_of("alice's session", |entry| entry["kind"] == "session_start" && entry["principal"] == "alice");
    for token in &minted {
        let claims = claims(token);
        assert_eq!(claims["sid"], session["session"], "{claims}");
        assert_eq!(claims["groups"], serde_json::json!(["analysts"]));
        assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= 300);
    }
    for token in upstream.tokens() {
        assert!(!client_side.contains(&token), "a secret of the upstream reached a client");
        // Whoever reads one at the broker cannot come back with it.
        assert!(gateway.connect().authenticate("OAUTHBEARER", &crate::raw::bearer(&token)).is_err());
    }
    for token in [&alice, &bob] {
        assert!(client_side.contains(token), "the recorder works");
        assert!(!upstream.contains(token), "a client's credential reached the upstream");
    }
}
