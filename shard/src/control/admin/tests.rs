//! The API over a real socket with tokens of a real issuer: every answer is held against the document
//! that the API serves.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate_policy::authority::{Actor, Change, ControlEvent, GrantRequest, GrantSpan};

use super::super::signature::{Purpose, Secret};
use super::super::{ControlThread, now, prepare, start, tls};
use super::route::Access;
use super::*;
use crate::control::authority::log::{ControlLog as _, FileLog};
use crate::demo::issuer::{Issuer, Options, TokenRequest};
use crate::shared::LiveSession;

const POLICY: &str = "
version: 1
requests:
  - name: ask
    groups: [analysts]
    resources: [{topic: {prefix: orders}}]
    operations: [read]
    duration_max: 8h
    approvers: {groups: [owners], principals: [bot]}
break_glass:
  - {name: oncall, groups: [oncall], resources: [{topic: orders}], operations: [read], duration_max: 1h, review_within: 24h}
holds:
  - {name: erasures, everyone: true, operations: [erase], topics: [{prefix: erase-}, both], approvers: {groups: [owners]}}
  - {name: others, everyone: true, operations: [erase], topics: [{prefix: other-}], approvers: {groups: [owners]}}
roles:
  admin: {groups: [admins]}
  approver: {groups: [lookers]}
  auditor: {groups: [auditors]}
  operator: {groups: [operators]}
";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

struct Api {
    issuer: Issuer,
    control: ControlThread,
    shared: Arc<Shared>,
    client: reqwest::Client,
    document: Value,
    folder: tempfile::TempDir,
}

impl Api {
    async fn start() -> Self {
        Self::start_after(|_, _| {}).await
    }

    /// With something done to the files before, given the issuer's URL.
    async fn start_after(before: impl FnOnce(&Config, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::start(Options::loopback("kafka")).await.unwrap();
        let config = config(folder.path(), issuer.url());
        before(&config, issuer.url());
        let prepared = prepare(&config).unwrap();
        let shared = prepared.shared.clone();
        let control = start(Arc::new(config), prepared).unwrap();
        let tls = tls::no_authorities().unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build().unwrap();
        let url = format!("http://{}/openapi.json", control.address);
        let document = client.get(url).send().await.unwrap().json().await.unwrap();
        Self { issuer, control, shared, client, document, folder }
    }

    fn address(&self) -> SocketAddr {
        self.control.address
    }

    /// A token of `who`, who is `name` or `name:group,group`.
    fn token(&self, who: &str) -> String {
        let (name, groups) = who.split_once(':').unwrap_or((who, ""));
        let groups: Vec<&str> = groups.split(',').filter(|group| !group.is_empty()).collect();
        self.issuer.mint(name, &groups, Duration::from_secs(600)).unwrap()
    }

    async fn get(&self, who: &str, path: &str) -> (u16, Value) {
        self.call(Method::GET, who, path, None).await
    }

    async fn post(&self, who: &str, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, who, path, Some(body)).await
    }

    async fn call(&self, method: Method, who: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.client.request(method.clone(), format!("http://{}{path}", self.address()));
        if !who.is_empty() {
            request = request.bearer_auth(self.token(who));
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.answer(&method, path, request).await
    }

    /// Sends a request and holds its answer against the document.
    async fn answer(&self, method: &Method, path: &str, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        let path = path.split('?').next().unwrap();
        let fits = |pattern: &str| {
            let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
            pattern.len() == path.len()
                && pattern.iter().zip(path).all(|(one, two)| one.starts_with('{') || *one == two)
        };
        let paths = self.document["paths"].as_object().unwrap();
        // A literal path comes before one with a parameter.
        let operations =
            paths.get(path).or_else(|| paths.iter().find(|(pattern, _)| fits(pattern)).map(|(_, found)| found));
        let operation =
            &operations.unwrap_or_else(|| panic!("{path} is not documented"))[method.as_str().to_lowercase()];
        let mut answer = &operation["responses"][status.to_string()];
        assert!(answer.is_object(), "{method} {path}: {status} is not documented: {body}");
        if answer["$ref"].is_string() {
            answer = &self.document["components"]["responses"]["Problem"];
        }
        let schema = answer["content"].as_object().unwrap().values().next().unwrap()["schema"].clone();
        let mut root = json!({ "components": self.document["components"] });
        root["allOf"] = json!([schema]);
        let validator = jsonschema::validator_for(&root).unwrap();
        let wrong: Vec<String> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{method} {path} {status}: {wrong:?} in {body}");
        (status, body)
    }

    async fn ask(&self, who: &str) -> String {
        let (status, approval) = self.post(who, "/v1/grants", wanted()).await;
        assert_eq!(status, 201, "{approval}");
        approval["id"].as_str().unwrap().to_owned()
    }

    async fn callback(&self, name: &str, seconds: i64, nonce: &str, body: &Value, signature: &str) -> u16 {
        let path = format!("/v1/callbacks/{name}");
        let request = self.client.post(format!("http://{}{path}", self.address())).json(body);
        let request = request.header("tidegate-timestamp", seconds).header("tidegate-nonce", nonce);
        self.answer(&Method::POST, &path, request.header("tidegate-signature", signature)).await.0
    }

    async fn stop(self) {
        let control = self.control;
        tokio::task::spawn_blocking(move || control.stop()).await.unwrap();
        drop(self.folder);
    }
}

fn config(folder: &Path, issuer: &str) -> Config {
    std::fs::write(folder.join("policy.yaml"), POLICY).unwrap();
    std::fs::write(folder.join("bot"), SECRET).unwrap();
    let text = format!(
        "origin: test\nshards: 1\nlisteners:\n  - {{ name: clients, protocol: kafka, bind: 127.0.0.1, bootstrap_port: 9092, \
         advertised_host: localhost, broker_ports: {{ first_port: 9100, node_ids: 0-2 }} }}\n\
         upstream: {{ bootstrap_servers: ['127.0.0.1:1'] }}\npolicy_file: policy.yaml\nevidence: {{ directory: evidence }}\n\
         identity: {{ issuers: [{{ issuer: '{issuer}', audiences: [kafka], algorithms: [RS256, ES256, EdDSA] }}] }}\n\
         control: {{ bind: '127.0.0.1:0', callbacks: [{{ name: bot, secret_file: bot, approver: {{ name: bot }} }}] }}\n"
    );
    Config::parse(&text, &folder.join("tidegate.yaml"), 1).unwrap()
}

fn wanted() -> Value {
    json!({ "resources": [{ "topic": "orders" }], "operations": ["read"], "duration": "1h",
            "purpose": "Report", "reason": "Month's end" })
}

fn reason() -> Value {
    json!({ "reason": "Because" })
}

#[tokio::test]
async fn a_grant_is_asked_for_approved_by_another_and_ended() {
    let api = Api::start().await;
    let id = api.ask("ann:analysts").await;
    let approve = format!("/v1/approvals/{id}/approve");
    // Herself, herself with the approvers' group, somebody without a say, nobody.
    for (who, status) in
        [("ann:analysts", 403), ("ann:owners", 403), ("ANN:owners", 403), ("eve:admins", 403), ("", 401)]
    {
        assert_eq!(api.post(who, &approve, reason()).await.0, status, "{who}");
    }
    for (who, status) in [("ann", 200), ("olga:owners", 200), ("lou:lookers", 200), ("eve", 404), ("op:operators", 404)]
    {
        assert_eq!(api.get(who, &format!("/v1/approvals/{id}")).await.0, status, "{who}");
    }
    // Two decide at once: the first in the log wins, and the other learns it.
    let deny = format!("/v1/approvals/{id}/deny");
    let (one, two) =
        tokio::join!(api.post("olga:owners", &approve, reason()), api.post("oscar:owners", &deny, reason()));
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);

    let id = api.ask("ann:analysts").await;
    let (status, approval) = api.post("olga:owners", &format!("/v1/approvals/{id}/approve"), reason()).await;
    assert_eq!(
        (status, &approval["status"], &approval["decisions"][0]["by"]["name"]),
        (200, &json!("approved"), &json!("olga"))
    );
    let grant = approval["grant"]["id"].as_str().unwrap().to_owned();
    assert_eq!(api.get("ann", &format!("/v1/grants/{grant}")).await.1["status"], "active");
    assert_eq!(api.get("eve", &format!("/v1/grants/{grant}")).await.0, 404);
    assert!(api.get("eve", "/v1/grants").await.1["items"].as_array().unwrap().is_empty());
    let longer = json!({ "duration": "4h", "reason": "More to do" });
    assert_eq!(api.post("ann:analysts", &format!("/v1/grants/{grant}/extend"), longer).await.0, 201);
    let revoke = format!("/v1/grants/{grant}/revoke");
    for (who, status) in [("eve", 403), ("aud:auditors", 403), ("op:operators", 200), ("op:operators", 409)] {
        assert_eq!(api.post(who, &revoke, reason()).await.0, status, "{who}");
    }
    assert_eq!(api.get("aud:auditors", &format!("/v1/grants/{grant}")).await.1["status"], "revoked");
    api.stop().await;
}

#[tokio::test]
async fn every_route_knows_who_may_and_leaves_evidence() {
    let api = Api::start().await;
    let routes = routes();
    let _ = api.shared.notices.take();
    for route in routes.iter().filter(|route| route.access != Access::Open) {
        let path = route.path.replace("{grant}", "gr-x").replace("{approval}", "ap-x").replace("{session}", "x");
        let path = path.replace("{name}", "bot");
        let body = (route.method == Method::POST).then(|| json!({ "surprise": 1 }));
        // Nobody, and somebody whose token is not one.
        let (status, problem) = api.call(route.method.clone(), "", &path, body.clone()).await;
        assert_eq!((status, &problem["status"]), (401, &json!(401)), "{path}");
        if route.access != Access::Signed {
            let (status, _) = api.call(route.method.clone(), "eve", &path, body.clone()).await;
            let expected = match (route.access, route.body.is_some()) {
                (Access::Roles(_), _) => 403,
                (_, true) => 400,
                _ => status,
            };
            assert_eq!(status, expected, "{path}");
        }
        let evidence = api.shared.notices.take();
        let calls: Vec<_> = evidence.iter().filter(|event| event.detail.starts_with(route.id)).collect();
        assert!(!calls.is_empty() && calls.iter().all(|event| !event.client_address.is_empty()), "{}", route.id);
        assert!(!calls.iter().any(|event| event.detail.contains("eyJ")), "a token in the evidence");
    }
    let documented: usize =
        api.document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(documented, routes.len());
    for (path, status) in [
        ("/v1/grants?limit=0", 400),
        ("/v1/grants?limit=501", 400),
        ("/v1/grants?foo=1", 400),
        ("/v1/approvals?after=x", 400),
    ] {
        assert_eq!(api.get("eve", path).await.0, status, "{path}");
    }
    let large = json!({ "reason": "x".repeat(BODY_BYTES_MAX) });
    assert_eq!(api.post("eve", "/v1/break-glass", large).await.0, 413);
    let plain =
        api.client.post(format!("http://{}/v1/break-glass", api.address())).bearer_auth(api.token("eve")).body("{}");
    assert_eq!(api.answer(&Method::POST, "/v1/break-glass", plain).await.0, 415);
    api.stop().await;
}

#[tokio::test]
async fn a_principal_is_shut_out_and_break_glass_is_reviewed_by_another() {
    let api = Api::start().await;
    let eve = json!({ "name": "eve", "reason": "Left" });
    assert_eq!(api.get("eve", "/v1/me").await.0, 200);
    assert_eq!(api.post("op:operators", "/v1/principals/revoke", eve.clone()).await.0, 200);
    assert_eq!(api.get("eve", "/v1/me").await.0, 401);
    assert_eq!(api.post("adm:admins", "/v1/principals/restore", eve).await.0, 200);
    assert_eq!(api.get("eve", "/v1/me").await.0, 200);

    let open = json!({ "reason": "Site down", "duration": "30m" });
    assert_eq!(api.post("eve", "/v1/break-glass", open.clone()).await.0, 403);
    let (status, opened) = api.post("otto:oncall", "/v1/break-glass", open).await;
    assert_eq!((status, &opened["status"]), (201, &json!("review_due")));
    let review = format!("/v1/break-glass/{}/review", opened["id"].as_str().unwrap());
    for (who, status) in [("otto:oncall,auditors", 403), ("eve", 403), ("aud:auditors", 200), ("aud:auditors", 409)] {
        assert_eq!(api.post(who, &review, reason()).await.0, status, "{who}");
    }
    api.stop().await;
}

#[tokio::test]
async fn a_revoked_login_or_token_is_nobody_here_either() {
    let api = Api::start().await;
    let sign = |claim: &str, value: &str| {
        let request = TokenRequest::new("ann", &["analysts"], Duration::from_secs(600)).claim(claim, json!(value));
        api.issuer.sign(&request).unwrap()
    };
    let me = async |token: &str| {
        let request = api.client.get(format!("http://{}/v1/me", api.address())).bearer_auth(token);
        api.answer(&Method::GET, "/v1/me", request).await.0
    };
    let (login, other, token) = (sign("sid", "Login-1"), sign("sid", "login-2"), sign("jti", "jti-1"));
    for token in [&login, &other, &token] {
        assert_eq!(me(token).await, 200);
    }
    // Whoever calls with a token of a login may end that one, and no other.
    let revoke = async |bearer: &str, session: &str| {
        let path = format!("/v1/sessions/{session}/revoke");
        let request = api.client.post(format!("http://{}{path}", api.address())).bearer_auth(bearer).json(&reason());
        api.answer(&Method::POST, &path, request).await.0
    };
    assert_eq!(revoke(&other, "login-1").await, 403);
    assert_eq!(revoke(&login, "login-1").await, 200);
    assert_eq!(me(&login).await, 401);
    let body = json!({ "token_id": "jti-1", "reason": "Leaked" });
    assert_eq!(api.post("op:operators", "/v1/tokens/revoke", body).await.0, 200);
    assert_eq!(me(&token).await, 401);
    assert_eq!(me(&other).await, 200);
    let refused = api.shared.notices.take();
    assert!(refused.iter().any(|event| event.detail.contains("401 revoked: Because")), "{refused:?}");
    api.stop().await;
}

#[tokio::test]
async fn revoking_a_connection_ends_what_it_was_opened_with() {
    let api = Api::start().await;
    let open = |number: u128, token_id: Option<&str>, login: Option<&str>| {
        let ann = tidegate_core::words::Principal {
            issuer: api.issuer.url().into(),
            subject: "ann".into(),
            name: "ann".into(),
            groups: Vec::new(),
        };
        let session = LiveSession {
            recorded: None,
            id: tidegate_core::words::SessionId(uuid::Uuid::from_u128(number)),
            principal: Arc::new(ann),
            client_address: "127.0.0.1:1".into(),
            client_id: "".into(),
            listener: "clients".into(),
            broker: -1,
            since: now(),
            expires: None,
            token_id: token_id.map(Arc::from),
            login: login.map(Arc::from),
        };
        let id = session.id.to_string();
        api.shared.sessions.enter(0, session);
        id
    };
    let (of_login, of_token) = (open(1, Some("jti-1"), Some("login-1")), open(2, Some("jti-2"), None));
    let (again, neither) = (open(3, Some("jti-3"), Some("login-1")), open(4, None, None));
    let standing = || api.shared.policy.load().standing().session_revoked("login-1").is_some();
    for (session, remarked) in [(&of_login, false), (&of_token, false), (&again, false), (&neither, true)] {
        let (status, done) = api.post("ann", &format!("/v1/sessions/{session}/revoke"), reason()).await;
        assert_eq!((status, done["remark"].is_string()), (200, remarked), "{done}");
        assert!(standing());
    }
    let policy = api.shared.policy.load();
    let token = |id: &str| policy.standing().token_revoked(id).is_some();
    assert_eq!([token("jti-1"), token("jti-2"), token("jti-3")], [false, true, false], "those of a login go with it");
    for session in [&of_login, &of_token, &again, &neither] {
        assert!(policy.standing().session_revoked(session).is_some(), "{session}");
    }
    api.stop().await;
}

/// Who may do what: by no role more than its work takes.
#[tokio::test]
async fn each_role_may_do_its_own_and_no_more() {
    let api = Api::start().await;
    const WHO: [&str; 6] = ["adm:admins", "lou:lookers", "aud:auditors", "op:operators", "olga:owners", "eve"];
    let asked = api.ask("ann:analysts").await;
    let granted = api.ask("ann:analysts").await;
    let (_, approval) = api.post("olga:owners", &format!("/v1/approvals/{granted}/approve"), reason()).await;
    let grant = approval["grant"]["id"].as_str().unwrap().to_owned();
    let (_, opened) = api.post("otto:oncall", "/v1/break-glass", reason()).await;
    let opened = opened["id"].as_str().unwrap().to_owned();
    let token = |id: &str| json!({ "token_id": id, "reason": "Leaked" });
    let mallory = json!({ "name": "mallory", "reason": "Left" });
    // What it is, who may (in the order of `WHO`), and the call. Who may comes last where it works once.
    type Row = (&'static str, [bool; 6], Method, String, Option<Value>);
    let rows: Vec<Row> = vec![
        ("see a question", [true, true, true, false, true, false], Method::GET, format!("/v1/approvals/{asked}"), None),
        ("see a grant", [true, false, true, true, false, false], Method::GET, format!("/v1/grants/{grant}"), None),
        ("ask", [false; 6], Method::POST, "/v1/grants".to_owned(), Some(wanted())),
        ("open in an emergency", [false; 6], Method::POST, "/v1/break-glass".to_owned(), Some(reason())),
        (
            "approve",
            [false, false, false, false, true, false],
            Method::POST,
            format!("/v1/approvals/{asked}/approve"),
            Some(reason()),
        ),
        (
            "review",
            [true, false, true, false, false, false],
            Method::POST,
            format!("/v1/break-glass/{opened}/review"),
            Some(reason()),
        ),
        (
            "revoke a grant",
            [true, false, false, true, true, false],
            Method::POST,
            format!("/v1/grants/{grant}/revoke"),
            Some(reason()),
        ),
        (
            "revoke a session",
            [true, false, false, true, false, false],
            Method::POST,
            "/v1/sessions/s-1/revoke".to_owned(),
            Some(reason()),
        ),
        (
            "revoke a token",
            [true, false, false, true, false, false],
            Method::POST,
            "/v1/tokens/revoke".to_owned(),
            Some(token("jti-9")),
        ),
        (
            "shut out",
            [true, false, false, true, false, false],
            Method::POST,
            "/v1/principals/revoke".to_owned(),
            Some(mallory.clone()),
        ),
        (
            "let in",
            [true, false, false, true, false, false],
            Method::POST,
            "/v1/principals/restore".to_owned(),
            Some(mallory),
        ),
        ("reload", [true, false, false, true, false, false], Method::POST, "/v1/reload".to_owned(), None),
    ];
    for (what, may, method, path, body) in rows {
        let mut refused_first: Vec<(&str, bool)> = WHO.into_iter().zip(may).collect();
        refused_first.sort_by_key(|(_, may)| *may);
        for (who, may) in refused_first {
            let (status, answer) = api.call(method.clone(), who, &path, body.clone()).await;
            // 404 hides from who may not see; 409 says that another of those who may was first.
            let did = matches!(status, 200 | 201 | 409) || (what == "let in" && status == 404);
            assert!(if may { did } else { matches!(status, 403 | 404) }, "{who}: {what}: {status} {answer}");
        }
    }
    api.stop().await;
}

/// Writes a hundred requests of each of these people into the log of a gateway that is not running.
fn write_questions(config: &Config, issuer: &str, people: std::ops::Range<usize>) {
    let mut log = FileLog::open(&config.authority.directory).unwrap();
    log.replay(&mut |_, _| Ok(())).unwrap();
    for (person, n) in people.flat_map(|person| (0..100).map(move |n| (person, n))) {
        let name: Arc<str> = format!("p{person}").into();
        let actor = Actor { issuer: issuer.into(), name: name.clone(), subject: name, groups: vec!["analysts".into()] };
        let request = GrantRequest {
            id: format!("ap-{person}-{n}").as_str().into(),
            grant: format!("gr-{person}-{n}").as_str().into(),
            extends: false,
            principal: actor.clone(),
            rule: "ask".into(),
            resources: serde_json::from_value(json!([{ "topic": "orders" }])).unwrap(),
            operations: serde_json::from_value(json!(["read"])).unwrap(),
            span: GrantSpan::Millis(3_600_000),
            purpose: "Report".into(),
            reason: "Month's end".into(),
            expires: now().plus_millis(3_600_000),
        };
        log.append(&ControlEvent::new(now(), actor, Change::GrantRequested(request))).unwrap();
    }
    log.sync().unwrap();
}

#[tokio::test]
async fn ten_thousand_questions_wait_are_listed_in_pages_and_the_next_is_refused() {
    let api = Api::start_after(|config, issuer| write_questions(config, issuer, 0..99)).await;
    for _ in 0..100 {
        api.ask("p99:analysts").await;
        let _ = api.shared.notices.take();
    }
    for (who, says) in [("p7:analysts", "100 requests of yours wait already"), ("ann:analysts", "10000 requests wait")]
    {
        let (status, problem) = api.post(who, "/v1/grants", wanted()).await;
        assert_eq!(status, 429, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
        assert!(problem["retry_after"].as_u64().unwrap() > 0);
    }
    let mut ids = std::collections::HashSet::new();
    let mut path = "/v1/approvals?status=pending&limit=500".to_owned();
    let mut pages = 0;
    loop {
        let (status, page) = api.get("aud:auditors", &path).await;
        assert_eq!(status, 200);
        pages += 1;
        ids.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/approvals?status=pending&limit=500&after={next}");
    }
    assert_eq!((ids.len(), pages), (10_000, 20));
    // Who asked few sees those, wherever they are among the many.
    let (_, own) = api.get("p0", "/v1/approvals?limit=500").await;
    assert_eq!(own["items"].as_array().unwrap().len(), 100);
    // One is decided: there is room for one.
    let first = ids.iter().next().unwrap();
    assert_eq!(api.post("olga:owners", &format!("/v1/approvals/{first}/deny"), reason()).await.0, 200);
    assert_eq!(api.post("ann:analysts", "/v1/grants", wanted()).await.0, 201);
    assert_eq!(api.post("ann:analysts", "/v1/grants", wanted()).await.0, 429);
    let events = api.shared.notices.take();
    let refused = events.iter().filter(|event| event.detail.contains("request for a grant refused (too_many)"));
    assert_eq!(refused.count(), 3, "each leaves an entry");
    api.stop().await;
}

#[tokio::test]
async fn callbacks_count_once_in_time_and_when_signed() {
    let api = Api::start().await;
    let id = api.ask("ann:analysts").await;
    let secret = Secret::new(SECRET).unwrap();
    let body = json!({ "approval": id, "decision": "approve", "reason": "Ticket is fine" });
    let bytes = serde_json::to_vec(&body).unwrap();
    let seconds = now().as_secs() + 1;
    let sign = |seconds, nonce: &str| secret.sign(Purpose::Callback("bot"), seconds, nonce, &bytes);
    let nonce = "0123456789abcdef";
    let forged = Secret::new(&[1; 32]).unwrap().sign(Purpose::Callback("bot"), seconds, nonce, &bytes);
    assert_eq!(api.callback("bot", seconds, nonce, &body, &forged).await, 401);
    assert_eq!(api.callback("other", seconds, nonce, &body, &sign(seconds, nonce)).await, 401);
    for off in [-400, -290, 400] {
        let at = seconds + off;
        assert_eq!(api.callback("bot", at, nonce, &body, &sign(at, nonce)).await, 401, "{off}");
    }
    let changed = json!({ "approval": id, "decision": "deny", "reason": "Ticket is fine" });
    assert_eq!(api.callback("bot", seconds, nonce, &changed, &sign(seconds, nonce)).await, 401);
    assert_eq!(api.callback("bot", seconds, nonce, &body, &sign(seconds, nonce)).await, 200);
    assert_eq!(api.callback("bot", seconds, nonce, &body, &sign(seconds, nonce)).await, 401, "replayed");
    let other = "fedcba9876543210";
    assert_eq!(api.callback("bot", seconds, other, &body, &sign(seconds, other)).await, 409, "decided already");
    assert_eq!(api.get("ann", &format!("/v1/approvals/{id}")).await.1["decisions"][0]["by"]["name"], "bot");
    api.stop().await;
}

#[tokio::test]
async fn an_erasure_is_for_one_plan_one_asker_and_one_run() {
    let api = Api::start().await;
    let (digest, other) = ("a".repeat(64), "b".repeat(64));
    let ask =
        |digest: &str, topics: &[&str]| json!({ "digest": digest, "topics": topics, "steps": 3, "reason": "Ticket 1" });
    let path = "/v1/erasures";
    for (row, body, status) in [
        ("no rule says who approves", ask(&digest, &["orders"]), 403),
        ("one of two has none", ask(&digest, &["erase-a", "orders"]), 403),
        ("two rules", ask(&digest, &["erase-a", "other-b"]), 422),
        ("no topic", ask(&digest, &[]), 422),
        ("out of order", ask(&digest, &["erase-b", "erase-a"]), 422),
        ("twice", ask(&digest, &["erase-a", "erase-a"]), 422),
        ("no name", ask(&digest, &["erase-a b"]), 422),
        ("no digest", ask("abc", &["erase-a"]), 422),
        ("upper case", ask(&"A".repeat(64), &["erase-a"]), 422),
    ] {
        assert_eq!(api.post("ann", path, body).await.0, status, "{row}");
    }
    let (status, asked) = api.post("ann", path, ask(&digest, &["erase-a", "erase-b"])).await;
    assert_eq!((status, &asked["status"], &asked["rule"]), (201, &json!("pending"), &json!("erasures")));
    assert!(asked["summary"].as_str().unwrap().contains(&digest));
    assert_eq!(api.post("ann", path, ask(&digest, &["erase-a", "erase-b"])).await.0, 409, "it waits already");
    let id = asked["id"].as_str().unwrap();
    let (run, another) = ("0123456789abcdef", "fedcba9876543210");
    let begin = |digest: &str, topics: &[&str], run: &str| json!({ "digest": digest, "topics": topics, "run": run });
    let (begins, steps) = (format!("{path}/{id}/begin"), format!("{path}/{id}/steps"));
    let right = || begin(&digest, &["erase-a", "erase-b"], run);
    assert_eq!(api.post("ann", &begins, right()).await.0, 409, "nobody has approved");
    let step = |run: &str| json!({ "run": run, "step": 1, "of": 3, "what": "tombstone", "outcome": "done" });
    assert_eq!(api.post("ann", &steps, step(run)).await.0, 409, "nothing has begun");
    assert_eq!(api.post("olga:owners", &format!("/v1/approvals/{id}/approve"), reason()).await.0, 200);
    for (who, body, status) in [
        ("eve", right(), 404),
        ("ann", begin(&other, &["erase-a", "erase-b"], run), 409),
        ("ann", begin(&digest, &["erase-a"], run), 409),
        ("ann", begin(&digest, &["erase-a", "erase-b"], "short"), 422),
        ("ann", right(), 200),
        ("ann", right(), 200),
        ("ann", begin(&digest, &["erase-a", "erase-b"], another), 409),
    ] {
        assert_eq!(api.post(who, &begins, body.clone()).await.0, status, "{who}: {body}");
    }
    for (who, run, status) in [("ann", run, 200), ("ann", another, 409), ("eve", run, 404)] {
        assert_eq!(api.post(who, &steps, step(run)).await.0, status, "{who} {run}");
    }
    let entries = api.shared.notices.take();
    let of_step = entries.iter().find(|event| event.detail.contains("step 1 of 3: tombstone: done"));
    assert!(of_step.is_some_and(|event| event.approval == id && event.principal == "ann"), "{entries:?}");
    api.stop().await;
}
