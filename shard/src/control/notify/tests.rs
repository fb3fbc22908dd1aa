//! Webhooks that go out, received by a server of the test: what they say, how they are signed, and
//! what an automated approver's answer is worth.

use std::sync::Mutex;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use tidegate_policy::authority::{HeldOperation, RequestKey, Status};

use super::super::authority::draw_approval;
use super::super::metrics::ControlMetrics;
use super::super::{Prepared, prepare};
use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// An answer, and the secret that signs it.
type Answered = (&'static str, &'static [u8]);

/// What the test's server received, and how its approver behaves.
#[derive(Default)]
struct Hooks {
    told: Mutex<Vec<(HeaderMap, Bytes)>>,
    /// The answer, and the secret that signs it.
    answer: Mutex<Option<Answered>>,
    refusals: Mutex<u32>,
}

async fn told(State(hooks): State<Arc<Hooks>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut refusals = hooks.refusals.lock().unwrap();
    if *refusals > 0 {
        *refusals -= 1;
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    hooks.told.lock().unwrap().push((headers, body));
    StatusCode::OK
}

async fn approver(State(hooks): State<Arc<Hooks>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (seconds, nonce) = (header(TIMESTAMP), header(NONCE));
    let secret = Secret::new(SECRET).unwrap();
    assert!(secret.verifies(Purpose::Question, seconds.parse().unwrap(), &nonce, &body, &header(SIGNATURE)));
    let Some((answer, key)) = *hooks.answer.lock().unwrap() else {
        return std::future::pending().await;
    };
    let at = now().as_secs();
    let signature = Secret::new(key).unwrap().sign(Purpose::Answer(&nonce), at, &nonce, answer.as_bytes());
    ([(TIMESTAMP, at.to_string()), (SIGNATURE, signature)], answer).into_response()
}

async fn start(folder: &Path) -> (Arc<Hooks>, Handle, Arc<Shared>) {
    let hooks = Arc::new(Hooks::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let app = axum::Router::new().route("/told", post(told)).route("/approver", post(approver));
    let app = app.with_state(hooks.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let policy = format!(
        "version: 1\nholds:\n  - {{name: hold, everyone: true, operations: [delete_topics], approvers: {{groups: [owners]}}, \
         automatic: {{url: 'http://{at}/approver', timeout: 1s, secret_file: secret}}}}\n\
         break_glass:\n  - {{name: oncall, principals: [cal], resources: [{{topic: orders}}], operations: [read], \
         duration_max: 1h, review_within: 1s}}\nroles: {{operator: {{principals: [ops]}}, auditor: {{principals: [aud]}}}}\n\
         notify:\n  - {{url: 'http://{at}/told', secret_file: secret, events: [requested, decided]}}\n  \
         - {{url: 'http://{at}/told', kind: slack, events: [revoked, break_glass]}}\n"
    );
    std::fs::write(folder.join("policy.yaml"), policy).unwrap();
    std::fs::write(folder.join("secret"), SECRET).unwrap();
    let text = "origin: test\nshards: 1\nlisteners:\n  - { name: clients, protocol: kafka, bind: 127.0.0.1, bootstrap_port: 9092, \
         advertised_host: localhost, broker_ports: { first_port: 9100, node_ids: 0-2 } }\n\
         upstream: { bootstrap_servers: ['127.0.0.1:1'] }\npolicy_file: policy.yaml\nevidence: { directory: evidence }\n";
    let config = Arc::new(Config::parse(text, &folder.join("tidegate.yaml"), 1).unwrap());
    let Prepared { shared, authority, .. } = prepare(&config).unwrap();
    let authority = authority.start(shared.clone(), Arc::new(ControlMetrics::default()));
    Notifier::new(shared.clone(), config, authority.clone()).start();
    (hooks, authority, shared)
}

fn person(name: &str) -> Actor {
    Actor { issuer: "idp".into(), name: name.into(), subject: name.into(), groups: Vec::new() }
}

async fn hold(authority: &Handle, shared: &Shared, topic: &str) -> ApprovalId {
    let (id, ann) = (draw_approval(), person("ann"));
    let held = HeldOperation {
        id: id.clone(),
        key: RequestKey::unkeyed(&ann.principal(), "DeleteTopics", topic.as_bytes()),
        api: "DeleteTopics".to_owned(),
        summary: format!("delete the topic {topic} <now> & here"),
        resources: Vec::new(),
        principal: ann.clone(),
        session: "s".to_owned(),
        rule: "hold".to_owned(),
        policy_fingerprint: shared.policy.load().fingerprint().to_owned(),
        expires: tidegate_core::words::Timestamp::MAX,
        valid_millis: 1,
    };
    authority.submit(ann, Command::Hold(held)).await.unwrap();
    id
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn status(authority: &Handle, id: &ApprovalId) -> Status {
    authority.read().approval(id).unwrap().status(now())
}

#[tokio::test]
async fn an_automated_approver_decides_only_with_a_signed_answer_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (hooks, authority, shared) = start(folder.path()).await;
    let approve = r#"{"decision":"approve","reason":"small"}"#;
    let rows: [(&str, Option<Answered>, Status); 6] = [
        ("approved", Some((approve, SECRET)), Status::Approved),
        ("denied", Some((r#"{"decision":"deny"}"#, SECRET)), Status::Denied),
        ("abstained", Some((r#"{"decision":"abstain"}"#, SECRET)), Status::Pending),
        ("forged", Some((approve, b"another secret of the same length")), Status::Pending),
        ("garbled", Some(("{}", SECRET)), Status::Pending),
        ("silent", None, Status::Pending),
    ];
    let _ = shared.notices.take();
    for (row, answer, expected) in rows {
        *hooks.answer.lock().unwrap() = answer;
        let id = hold(&authority, &shared, row).await;
        match row {
            "approved" | "denied" => until(row, || status(&authority, &id) == expected).await,
            "abstained" => {}
            _ => {
                // Who decided nothing leaves evidence.
                let mut seen = Vec::new();
                until(row, || {
                    seen.extend(shared.notices.take());
                    seen.iter().any(|event| event.approval == *id.0 && event.detail.contains("decided nothing"))
                })
                .await;
            }
        }
        assert_eq!(status(&authority, &id), expected, "{row}");
    }
}

#[tokio::test]
async fn notifications_are_signed_tried_again_and_of_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (hooks, authority, shared) = start(folder.path()).await;
    *hooks.refusals.lock().unwrap() = 1;
    let id = hold(&authority, &shared, "orders").await;
    until("the question is told of", || !hooks.told.lock().unwrap().is_empty()).await;
    let (headers, body) = hooks.told.lock().unwrap().remove(0);
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let seconds = header(TIMESTAMP).parse().unwrap();
    let secret = Secret::new(SECRET).unwrap();
    assert!(secret.verifies(Purpose::Notification, seconds, &header(NONCE), &body, &header(SIGNATURE)));
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&said["event"], &said["approval"]["id"]), (&"operation_held".into(), &(*id.0).into()), "{said}");
    assert_eq!((&said["gateway"], &said["actor"]["name"]), (&"test".into(), &"ann".into()));

    let revoke = Command::RevokeSession { session: "s-1".into(), reason: "<!channel> & more".into(), holder: None };
    authority.submit(person("ops"), revoke).await.unwrap();
    until("the revocation is told of", || !hooks.told.lock().unwrap().is_empty()).await;
    let (headers, body) = hooks.told.lock().unwrap().remove(0);
    assert!(headers.get(SIGNATURE).is_none(), "no secret, no signature");
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(said["text"], "ops revoked session s-1 (&lt;!channel&gt; &amp; more)");
    assert!(hooks.told.lock().unwrap().is_empty(), "each is told once");
}

#[tokio::test]
async fn a_webhook_is_reached_safely_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (_hooks, authority, shared) = start(folder.path()).await;
    let config = Config::parse(
        "origin: t\nlisteners: [{ name: c, protocol: kafka, bind: 127.0.0.1, bootstrap_port: 9092, advertised_host: l, \
         broker_ports: { first_port: 9100, node_ids: 0-2 } }]\nupstream: { bootstrap_servers: ['127.0.0.1:1'] }\n\
         policy_file: policy.yaml\nevidence: { directory: evidence }\n",
        &folder.path().join("tidegate.yaml"),
        1,
    );
    let notifier = Notifier::new(shared, Arc::new(config.unwrap()), authority);
    for (url, says) in
        [("http://hooks.example.com/T/secret", "https"), ("ftp://127.0.0.1/secret", "https"), ("secret", "wrong")]
    {
        let error = notifier.client(url).err().unwrap();
        assert!(error.contains(says) && !error.contains("secret"), "{error}");
    }
    assert!(notifier.client("http://127.0.0.1:9/x").is_ok());
}

#[tokio::test]
async fn an_emergency_alarms_at_once_and_again_when_nobody_has_reviewed_it_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (hooks, authority, shared) = start(folder.path()).await;
    let (id, grant) = (draw_approval(), super::super::authority::draw_grant());
    let open = Command::BreakGlass { id: id.clone(), grant, rule: None, millis: None, reason: "Site down".to_owned() };
    authority.submit(person("cal"), open).await.unwrap();
    let told = || -> Vec<String> {
        let told = hooks.told.lock().unwrap();
        told.iter().map(|(_, body)| String::from_utf8_lossy(body).into_owned()).collect()
    };
    until("both", || told().len() == 2).await;
    let (first, second) = (&told()[0], &told()[1]);
    assert!(first.contains("BREAK-GLASS") && first.contains("Site down"), "{first}");
    assert!(second.contains("Its review was due") && second.contains(&*id.0), "{second}");
    let entries = shared.notices.take();
    let late = entries.iter().find(|event| event.detail.starts_with("nobody has reviewed it"));
    assert!(late.is_some_and(|event| event.approval == *id.0 && event.principal == "cal"), "{entries:?}");
    let review = Command::Review { id, reason: "It was needed".to_owned() };
    authority.submit(person("aud"), review).await.unwrap();
    until("the review", || told().len() == 3).await;
    assert!(told()[2].contains("aud reviewed"), "{:?}", told());
}
