//! The gateway as an issuer: tokens that it makes for a real Kafka, one for each session, which the broker checks
//! against the gateway's key set over HTTPS, while the key rotates; which bytes pass where; and identity providers
//! that are down.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
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

fn part(token: &str, index: usize) -> Value {
    let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap();
    serde_json::from_slice(&part).unwrap()
}

fn claims(token: &str) -> Value {
    part(token, 1)
}

/// The signing keys' files, in the order of their first use, as they are written.
fn signing_keys(folder: &Path) -> Vec<(PathBuf, Value)> {
    let Ok(files) = std::fs::read_dir(folder.join("evidence/control/issuer-keys")) else { return Vec::new() };
    let paths = files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "key"));
    let mut keys: Vec<(PathBuf, Value)> =
        paths.map(|path| (path.clone(), serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())).collect();
    keys.sort_by_key(|(_, key)| key["first_use"].as_i64());
    keys
}

/// Has the newest key signed since `seconds` from now on. Its file keeps its mode.
fn set_first_use(folder: &Path, seconds: i64) {
    let (path, mut key) = signing_keys(folder).pop().unwrap();
    key["first_use"] = (jiff::Timestamp::now().as_microsecond() + seconds * 1_000_000).into();
    std::fs::write(path, key.to_string()).unwrap();
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
    let mut gateway = Setup {
        upstream: Listener::SaslPlaintext,
        upstream_servers: Some(format!("localhost:{}", upstream.port)),
        upstream_sasl: "{mechanism: OAUTHBEARER, mint: {audience: brokers, lifetime_seconds: 10}}".to_owned(),
        more: format!(
            "tokens:\n  bind: \"127.0.0.1:{tokens_port}\"\n  issuer: {url}\n  \
             key_rotation: 2h\n  tls: {{certificate_file: server.pem, key_file: server-key.pem}}\n"
        ),
        ..Setup::new(Kafka::shared(), POLICY)
    }
    .prepare();
    let serves_keys = || TcpStream::connect(("127.0.0.1", tokens_port)).ok().map(drop);
    gateway.process().ready("serving keys", crate::gateway::TIMEOUT, serves_keys);
    // Hours have passed, and the next key is published.
    gateway.start_again_after(|folder| set_first_use(folder, -3 * 3600));
    gateway.process().ready("serving the next key", crate::gateway::TIMEOUT, || {
        (signing_keys(gateway.folder()).len() == 2).then(serves_keys).flatten()
    });
    // The broker reads the gateway's keys as it starts, so the gateway is there before it.
    let kafka = Kafka::start_for(
        broker_port,
        Oauth {
            jwks_uri: format!("{url}/jwks"),
            issuer: url.clone(),
            audience: "brokers".to_owned(),
            max_reauth_millis: 8_000,
        },
    );
    // In the middle of what follows the next key takes over.
    gateway.restart_after(|folder| set_first_use(folder, 15));
    let kids: Vec<String> = signing_keys(gateway.folder())
        .into_iter()
        .map(|(path, _)| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    kafka.create_topic("minted-orders", 1, 1);
    allow(&kafka, "alice", "minted-orders");

    let client_side = Recorder::to(gateway.port(Door::Plain));
    let (alice, bob) = (Idp::shared().token("alice", &["analysts"]), Idp::shared().token("bob", &[]));
    let connect = |token: &str| Connection::plain(("127.0.0.1", client_side.port)).login_token(token);
    let mut connection = connect(&alice);
    // The broker's authorizer learns of an ACL a little after it was made.
    crate::process::until("the ACL is in force", crate::gateway::TIMEOUT, || {
        (error_of(&mut connection, "minted-orders") == 0).then_some(())
    });
    // The gateway's policy lets bob; the broker knows that it is he, and its own ACLs do not.
    assert_eq!(error_of(&mut connect(&bob), "minted-orders"), TOPIC_AUTHORIZATION_FAILED);

    // The broker closes a connection whose token ended: only who logs in anew in time goes on, with tokens of
    // whichever key signs by then.
    let minted =
        || -> Vec<String> { upstream.tokens().into_iter().filter(|token| claims(token)["sub"] == "alice").collect() };
    let kid = |token: &String| part(token, 0)["kid"].as_str().unwrap().to_owned();
    let (from, mut all) = (Instant::now(), Vec::new());
    while from.elapsed() < Duration::from_secs(20) || !all.iter().any(|token| kid(token) == kids[1]) {
        assert!(from.elapsed() < Duration::from_secs(60), "the next key signs nothing: {kids:?}");
        assert_eq!(error_of(&mut connection, "minted-orders"), 0, "the upstream connection lives on");
        std::thread::sleep(Duration::from_millis(250));
        all = minted();
    }
    assert_eq!(error_of(&mut connect(&alice), "minted-orders"), 0, "and so for new connections");
    let minted = minted();
    assert!(minted.len() >= 3, "logged in anew before each token's end: {}", minted.len());
    assert_eq!(kid(&minted[0]), kids[0], "the test saw both");
    let started = |entry: &Value| entry["kind"] == "session_start" && entry["principal"] == "alice";
    let sessions: Vec<Value> = gateway.evidence().into_iter().filter(started).map(|e| e["session"].clone()).collect();
    for token in &minted {
        let claims = claims(token);
        assert!(sessions.contains(&claims["sid"]), "{claims}");
        assert_eq!(claims["groups"], serde_json::json!(["analysts"]));
        assert_eq!(claims["scope"], "kafka");
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

/// Providers that are away when the gateway starts, and when it needs their word.
#[test]
fn a_provider_that_is_down_admits_nobody_and_keeps_nobody_out_for_good() {
    let idp = Idp::https();
    idp.set_failing(true);
    let gateway = Setup { idp: &idp, ..Setup::new(Kafka::shared(), POLICY) }.prepare();
    let token = idp.token("alice", &[]);
    gateway
        .process()
        .ready("alive", crate::gateway::TIMEOUT, || gateway.try_get("/livez").filter(|(status, _)| *status == 200));
    let attempt = || gateway.connect().authenticate("OAUTHBEARER", &crate::raw::bearer(&token));
    gateway.process().ready("refusing", crate::gateway::TIMEOUT, || {
        Connection::try_plain(("127.0.0.1", gateway.port(Door::Plain))).map(drop)
    });
    assert!(attempt().is_err(), "nobody has vouched for it");
    let (status, why) = gateway.get("/readyz");
    assert_eq!(status, 503, "{why}");
    gateway
        .evidence_of("the refusal", |entry| entry["kind"] == "authentication_failure" && entry["outcome"] == "denied");
    idp.set_failing(false);
    gateway.wait_until_ready();
    crate::process::until("it is known", crate::gateway::TIMEOUT, || attempt().is_ok().then_some(()));
    // What was fetched counts while the provider is away again.
    idp.set_failing(true);
    assert!(attempt().is_ok());
}
