//! Decisions by programs in front of a real broker: an automated approver that is asked while a client waits, one whose
//! answer is worth nothing, a message to a chat, and a signed callback. Written from the documentation alone: the
//! signatures here are the test's own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use serde_json::{Value, json};

use crate::gateway::{Gateway, Setup, TIMEOUT, tidegate};
use crate::kafka::{Kafka, topic_name};
use crate::process::until;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn sign(key: &[u8], purpose: &str, seconds: i64, nonce: &str, body: &[u8]) -> String {
    let mut message = format!("tidegate v1\n{purpose}\n{seconds}\n{nonce}\n").into_bytes();
    message.extend_from_slice(body);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &message);
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={hex}")
}

fn seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// One HTTP message: its first line, its headers in lower case, its body.
struct Message {
    first: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            Some(line.trim_end().to_owned())
        };
        let first = line()?;
        let mut headers = Vec::new();
        loop {
            let line = line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value.as_str());
        let mut body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        Some(Self { first, headers, body })
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }
}

/// A chat that is told, and an approver that is asked; it agrees to what its secret signs.
struct Hooks {
    port: u16,
    told: Arc<Mutex<Vec<String>>>,
}

impl Hooks {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hooks = Self { port: listener.local_addr().unwrap().port(), told: Arc::default() };
        let told = hooks.told.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let told = told.clone();
                std::thread::spawn(move || {
                    let Some(message) = Message::read(&mut stream) else { return };
                    let answer = if message.first.starts_with("POST /chat ") {
                        told.lock().unwrap().push(String::from_utf8(message.body).unwrap());
                        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
                    } else {
                        Self::decide(&message)
                    };
                    let _ = stream.write_all(answer.as_bytes());
                });
            }
        });
        hooks
    }

    fn decide(message: &Message) -> String {
        let (at, nonce) = (message.header("tidegate-timestamp"), message.header("tidegate-nonce"));
        let expected = sign(SECRET, "question", at.parse().unwrap(), nonce, &message.body);
        assert_eq!(message.header("tidegate-signature"), expected, "the question is signed as documented");
        let asked: Value = serde_json::from_slice(&message.body).unwrap();
        let body = r#"{"decision":"approve","reason":"it is empty"}"#;
        // About this topic somebody else answers.
        let forged = asked["approval"]["summary"].as_str().unwrap().contains("decide-forged");
        let key: &[u8] = if forged { b"another secret of the same size." } else { SECRET };
        let now = seconds();
        let signature = sign(key, &format!("answer {nonce}"), now, nonce, body.as_bytes());
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ntidegate-timestamp: {now}\r\n\
             tidegate-signature: {signature}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

/// Sends a callback; the status of its answer.
fn call_back(gateway: &Gateway, nonce: &str, body: &str) -> u16 {
    let now = seconds();
    let signature = sign(SECRET, "callback bot", now, nonce, body.as_bytes());
    let at = gateway.control_url();
    let mut stream = TcpStream::connect(at.trim_start_matches("http://")).unwrap();
    let request = format!(
        "POST /v1/callbacks/bot HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         tidegate-timestamp: {now}\r\ntidegate-nonce: {nonce}\r\ntidegate-signature: {signature}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let answer = Message::read(&mut stream).unwrap();
    answer.first.split(' ').nth(1).unwrap().parse().unwrap()
}

fn delete(gateway: &Gateway, topic: &str) -> i16 {
    let state = DeleteTopicState::default().with_name(Some(topic_name(topic)));
    let request = DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(30_000);
    let answer: DeleteTopicsResponse = gateway.connect_as("alice", &[]).ask(6, &request);
    answer.responses[0].error_code
}

#[test]
fn programs_decide_with_signed_words_and_a_chat_is_told() {
    for topic in ["decide-machine", "decide-forged"] {
        Kafka::shared().create_topic(topic, 1, 1);
    }
    let hooks = Hooks::start();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let secret = secret.display();
    let port = hooks.port;
    let policy = format!(
        "version: 1\ngrants:\n  - {{name: all, purpose: Tests, principals: [alice], resources: [{{topic: {{prefix: decide-}}}}], \
         operations: [delete]}}\nholds:\n  - name: machines-first\n    everyone: true\n    operations: [delete_topics]\n    \
         approvers: {{principals: [bot]}}\n    hold: 20s\n    \
         automatic: {{url: 'http://127.0.0.1:{port}/approver', timeout: 5s, secret_file: {secret}}}\n\
         notify:\n  - {{url: 'http://127.0.0.1:{port}/chat', kind: slack, events: [requested, decided]}}\n"
    );
    let control = format!(", callbacks: [{{name: bot, secret_file: {secret}, approver: {{name: bot}}}}]");
    let gateway = Setup { control, ..Setup::new(Kafka::shared(), &policy) }.start();

    assert_eq!(delete(&gateway, "decide-machine"), 0, "the approver agreed while the client waited");
    let decided = gateway.evidence_of("its decision", |entry| {
        entry["detail"].to_string().contains("approved by the automated approver of machines-first: it is empty")
    });
    assert_eq!(decided["principal"], "tidegate");

    let approval = std::thread::scope(|scope| {
        let waits = scope.spawn(|| delete(&gateway, "decide-forged"));
        let nothing = gateway.evidence_of("the worthless answer", |entry| {
            entry["detail"].to_string().contains("decided nothing, a person must: its answer's signature is wrong")
        });
        let approval = nothing["approval"].as_str().unwrap().to_owned();
        let asks = |text: &String| text.contains(&approval) && text.contains("delete topics decide-forged");
        until("the chat is told", TIMEOUT, || hooks.told().iter().any(asks).then_some(()));
        assert!(!waits.is_finished(), "it passed on a forged answer");
        let body = json!({ "approval": approval, "decision": "approve", "reason": "ticket 4711" }).to_string();
        assert_eq!(call_back(&gateway, "0123456789abcdef", &body), 200);
        assert_eq!(waits.join().unwrap(), 0);
        assert_eq!(call_back(&gateway, "0123456789abcdef", &body), 401, "the same nonce again");
        approval
    });
    let decided = |text: &String| text.contains("bot approved") && text.contains("ticket 4711");
    until("the chat is told of the decision", TIMEOUT, || hooks.told().iter().any(decided).then_some(()));
    for text in hooks.told() {
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(message.as_object().unwrap().keys().collect::<Vec<_>>(), ["text"], "as incoming webhooks take it");
    }
    let story = until("the whole story", Duration::from_secs(10), || {
        let folder = gateway.evidence_folder();
        let story = tidegate(&["audit", "show", &approval, folder.to_str().unwrap()]).success();
        story.contains("DeleteTopics allowed").then_some(story)
    });
    for part in ["alice", "decided nothing", "bot", "ticket 4711", "used"] {
        assert!(story.contains(part), "{part} is not in the story:\n{story}");
    }
}
