//! The API over a real socket with tokens of a real issuer: every answer is held against the document
//! that the API serves.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::super::signature::{Purpose, Secret};
use super::super::{ControlThread, now, prepare, start, tls};
use super::route::Access;
use super::*;
use crate::demo::issuer::{Issuer, Options};

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
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::start(Options::loopback("kafka")).await.unwrap();
        let config = config(folder.path(), issuer.url());
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
