//! The control thread against real sockets: an issuer whose keys rotate and fail, a broker's worth
//! of Metadata, and the control port itself.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tidegate_core::event::Kind;

use super::*;

mod broker;

const POLICY: &str = include_str!("../../../deploy/policy.example.yaml");

/// The example's policy with one word changed.
fn another_policy() -> String {
    POLICY.replacen("purpose: ", "purpose: Another ", 1)
}

/// A configuration in `folder` whose upstream is `upstream` and whose issuer is `issuer`.
fn config(folder: &Path, upstream: &str, issuer: Option<&str>) -> Config {
    std::fs::write(folder.join("policy.yaml"), POLICY).unwrap();
    let issuers = issuer.map_or_else(String::new, |url| {
        format!("identity: {{ issuers: [{{ issuer: '{url}', audiences: [kafka] }}] }}\n")
    });
    let text = format!(
        "origin: test\nshards: 2\nlisteners:\n  - {{ name: clients, protocol: kafka, bind: 127.0.0.1, bootstrap_port: 9092, \
         advertised_host: localhost, broker_ports: {{ first_port: 9100, node_ids: 0-2 }} }}\n\
         upstream: {{ bootstrap_servers: ['{upstream}'] }}\npolicy_file: policy.yaml\nevidence: {{ directory: evidence }}\n\
         control: {{ bind: '127.0.0.1:0' }}\n{issuers}"
    );
    Config::parse(&text, &folder.join("tidegate.yaml"), 2).unwrap()
}

/// An issuer whose discovery document, key set and failures a test decides.
#[derive(Default)]
struct Provider {
    url: Mutex<String>,
    named_issuer: Mutex<Option<String>>,
    kid: Mutex<String>,
    failing: AtomicBool,
    bloated: AtomicBool,
    discoveries: AtomicUsize,
    fetches: AtomicUsize,
}

impl Provider {
    async fn start() -> (Arc<Self>, String) {
        let provider = Arc::new(Self::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        provider.url.lock().unwrap().clone_from(&url);
        provider.rotate("first");
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (provider, url)
    }

    fn rotate(&self, kid: &str) {
        kid.clone_into(&mut self.kid.lock().unwrap());
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

async fn discovery(State(provider): State<Arc<Provider>>) -> String {
    provider.discoveries.fetch_add(1, Ordering::SeqCst);
    let url = provider.url.lock().unwrap().clone();
    let issuer = provider.named_issuer.lock().unwrap().clone().unwrap_or_else(|| url.clone());
    serde_json::json!({ "issuer": issuer, "jwks_uri": format!("{url}/jwks") }).to_string()
}

async fn jwks(State(provider): State<Arc<Provider>>) -> Result<String, StatusCode> {
    provider.fetches.fetch_add(1, Ordering::SeqCst);
    if provider.failing.load(Ordering::SeqCst) {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let kid = provider.kid.lock().unwrap().clone();
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let padding = if provider.bloated.load(Ordering::SeqCst) { "x".repeat(2 * 1024 * 1024) } else { String::new() };
    let key = serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x });
    Ok(serde_json::json!({ "keys": [key], "padding": padding }).to_string())
}

/// A keeper at work for the provider, with its shared state and where to name unknown keys.
fn keep_keys(folder: &Path, url: &str, policy: RefreshPolicy) -> (Arc<Shared>, mpsc::Sender<Arc<str>>) {
    let config = config(folder, "127.0.0.1:1", Some(url));
    let shared = prepare(&config).unwrap().shared;
    let client = keys::client(&config.identity.issuers[0], None).unwrap();
    let issuer = config.identity.issuers[0].clone();
    let (keeper, unknown) = keys::KeyKeeper::new(issuer, policy, client, shared.clone(), Arc::default());
    tokio::spawn(keeper.run());
    (shared, unknown)
}

/// Waits until `holds`, at most ten seconds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(tokio::time::Instant::now() < until, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn knows(shared: &Shared, url: &str, kid: &str) -> bool {
    shared.issuers.load().keys(url).is_some_and(|keys| keys.has(kid))
}

fn fast() -> RefreshPolicy {
    RefreshPolicy {
        interval_millis: 50,
        interval_millis_range: (50, 50),
        retry_millis: 10,
        unknown_key_interval_millis: 20,
        ..RefreshPolicy::default()
    }
}

#[tokio::test]
async fn keys_rotate_on_schedule_and_survive_an_issuer_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (provider, url) = Provider::start().await;
    let (shared, _unknown) = keep_keys(folder.path(), &url, fast());
    eventually("the first key", || knows(&shared, &url, "first")).await;
    assert!(!shared.readiness.missing().iter().any(|reason| reason.contains("keys")));
    provider.rotate("second");
    eventually("the second key", || knows(&shared, &url, "second") && !knows(&shared, &url, "first")).await;

    provider.failing.store(true, Ordering::SeqCst);
    let before = provider.fetches();
    eventually("failed fetches", || provider.fetches() > before + 2).await;
    assert!(knows(&shared, &url, "second"), "keys stay in use while fetching fails");
    provider.rotate("third");
    provider.failing.store(false, Ordering::SeqCst);
    eventually("recovery", || knows(&shared, &url, "third")).await;
}

#[tokio::test]
async fn keys_that_are_too_old_are_trusted_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let (provider, url) = Provider::start().await;
    let (shared, _unknown) = keep_keys(folder.path(), &url, RefreshPolicy { stale_millis_max: 300, ..fast() });
    eventually("the first key", || knows(&shared, &url, "first")).await;
    provider.failing.store(true, Ordering::SeqCst);
    eventually("the end of trust", || !knows(&shared, &url, "first")).await;
    assert!(shared.readiness.missing().iter().any(|reason| reason.contains("keys")));
}

#[tokio::test]
async fn an_unknown_key_is_fetched_at_once_and_a_flood_costs_two_fetches() {
    let folder = tempfile::tempdir().unwrap();
    let (provider, url) = Provider::start().await;
    let (shared, unknown) = keep_keys(folder.path(), &url, RefreshPolicy::default());
    eventually("the first key", || knows(&shared, &url, "first")).await;
    provider.rotate("second");
    unknown.send(Arc::from("second")).await.unwrap();
    eventually("the second key", || knows(&shared, &url, "second")).await;
    for made_up in 0..10_000 {
        unknown.send(Arc::from(format!("made-up-{made_up}"))).await.unwrap();
    }
    assert_eq!(provider.fetches(), 2, "one at the start and one for the key that exists");
}

#[tokio::test]
async fn documents_of_another_issuer_or_too_large_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (provider, url) = Provider::start().await;
    *provider.named_issuer.lock().unwrap() = Some("https://evil.example".to_owned());
    let (shared, _unknown) = keep_keys(folder.path(), &url, fast());
    eventually("some tries", || provider.discoveries.load(Ordering::SeqCst) > 2).await;
    assert_eq!(provider.fetches(), 0, "the key set of a foreign document is not even fetched");
    assert!(!knows(&shared, &url, "first"));
    *provider.named_issuer.lock().unwrap() = None;
    provider.bloated.store(true, Ordering::SeqCst);
    eventually("fetches", || provider.fetches() > 1).await;
    assert!(!knows(&shared, &url, "first"));
    provider.bloated.store(false, Ordering::SeqCst);
    eventually("the first key", || knows(&shared, &url, "first")).await;
}

#[test]
fn a_bad_policy_is_refused_loudly_and_the_old_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let config = Arc::new(config(folder.path(), "127.0.0.1:1", None));
    let shared = prepare(&config).unwrap().shared;
    let first = shared.policy.load().version();
    let mut reloader = reload::Reloader::new(config, shared.clone(), Arc::default());

    std::fs::write(folder.path().join("policy.yaml"), "grants: 7\nmasks: 8\n").unwrap();
    let report = reloader.reload_all();
    assert!(!report.ok && report.problems.len() >= 2, "{report:?}");
    assert_eq!(report.policy_version, first);
    assert!(report.problems.iter().all(|problem| problem.line > 0 && problem.file.ends_with("policy.yaml")));
    assert_eq!(shared.policy.load().version(), first);

    std::fs::write(folder.path().join("policy.yaml"), format!("# a comment\n{POLICY}")).unwrap();
    let report = reloader.reload_all();
    assert!(report.ok && report.policy_version == first, "it says what it said: {report:?}");
    std::fs::write(folder.path().join("policy.yaml"), another_policy()).unwrap();
    let report = reloader.reload_all();
    assert!(report.ok && report.policy_version > first, "{report:?}");
    assert_eq!(shared.policy_version.load(Ordering::Acquire), report.policy_version);
    let kinds: Vec<i32> = shared.notices.take().iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::PolicyRefused as i32, Kind::PolicyLoaded as i32]);
}

#[test]
fn a_changed_certificate_is_taken_over_and_half_of_a_pair_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let pair = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (old, new) = (pair(), pair());
    let mut config = config(folder.path(), "127.0.0.1:1", None);
    std::fs::write(at("server.pem"), old.cert.pem()).unwrap();
    std::fs::write(at("server.key"), old.signing_key.serialize_pem()).unwrap();
    config.listeners[0].tls = Some(crate::config::ListenerTls {
        certificate_file: at("server.pem"),
        key_file: at("server.key"),
        client_ca_file: None,
        client_auth: crate::config::ClientAuth::None,
        principal_from: crate::config::PrincipalFrom::CommonName,
    });
    let shared = prepare(&config).unwrap().shared;
    let in_use = || shared.listener_tls[0].load_full().unwrap();
    let first = in_use();
    let mut reloader = reload::Reloader::new(Arc::new(config), shared.clone(), Arc::default());

    std::fs::write(at("server.pem"), new.cert.pem()).unwrap();
    reloader.reload_changed();
    reloader.reload_changed();
    assert!(Arc::ptr_eq(&first, &in_use()), "the new certificate does not fit the old key");
    assert!(!reloader.reload_all().ok);
    std::fs::write(at("server.key"), new.signing_key.serialize_pem()).unwrap();
    reloader.reload_changed();
    reloader.reload_changed();
    assert!(!Arc::ptr_eq(&first, &in_use()), "the pair is whole again");
}

#[test]
fn a_changed_policy_file_is_noticed_once_it_settles() {
    let folder = tempfile::tempdir().unwrap();
    let config = Arc::new(config(folder.path(), "127.0.0.1:1", None));
    let shared = prepare(&config).unwrap().shared;
    let first = shared.policy.load().version();
    let mut reloader = reload::Reloader::new(config, shared.clone(), Arc::default());
    reloader.reload_changed();
    assert_eq!(shared.policy.load().version(), first);
    std::fs::write(folder.path().join("policy.yaml"), another_policy()).unwrap();
    reloader.reload_changed();
    assert_eq!(shared.policy.load().version(), first, "it may still be being written");
    reloader.reload_changed();
    assert!(shared.policy.load().version() > first);
    let second = shared.policy.load().version();
    reloader.reload_changed();
    assert_eq!(shared.policy.load().version(), second);
}

#[test]
fn a_changed_key_is_noticed_and_a_missing_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = Arc::new(config(folder.path(), "127.0.0.1:1", None));
    let shared = prepare(&config).unwrap().shared;
    let mut reloader = reload::Reloader::new(config, shared.clone(), Arc::default());
    let policy = "version: 1\nkeys: [{name: k, file: k.key}]\nmasks:\n  - \
                  {name: m, topics: [t], everyone: true, classes: [email], operator: {pseudonym: k}}\n";
    std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    let report = reloader.reload_all();
    assert!(!report.ok && report.problems[0].message.starts_with("cannot be read: "), "{report:?}");
    std::fs::write(folder.path().join("k.key"), [1; 32]).unwrap();
    assert!(reloader.reload_all().ok);
    let first = shared.policy.load().version();
    std::fs::write(folder.path().join("k.key"), [2; 33]).unwrap();
    reloader.reload_changed();
    reloader.reload_changed();
    assert!(shared.policy.load().version() > first, "the key file is watched, too");
}

async fn call(method: reqwest::Method, address: SocketAddr, path: &str) -> (u16, String) {
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls::no_authorities().unwrap()).build().unwrap();
    let response = client.request(method, format!("http://{address}{path}")).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn the_control_port_answers() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker::start(&[(0, "127.0.0.1", 19092)]).await;
    let config = Arc::new(config(folder.path(), &broker.address.to_string(), None));
    let prepared = prepare(&config).unwrap();
    let shared = prepared.shared.clone();
    let control = start(config, prepared).unwrap();
    let get = |path: &'static str| call(reqwest::Method::GET, control.address, path);
    assert_eq!(get("/livez").await.0, 200);
    let (status, text) = get("/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains("0 of 2 shards are up"), "{text}");
    shared.readiness.shard_up();
    shared.readiness.shard_up();
    eventually("readiness", || shared.readiness.missing().is_empty()).await;
    assert_eq!(get("/readyz").await, (200, "ready\n".to_owned()));
    shared.draining.store(true, Ordering::Release);
    assert_eq!(get("/readyz").await, (503, "draining\n".to_owned()));

    shared.shards[1].connections_accepted.add(7);
    shared.shards[1].latency.record(150);
    shared.shards[0].requested(3);
    let (status, text) = get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "tidegate_connections_accepted_total{shard=\"1\"} 7",
        "tidegate_requests_total{shard=\"0\",api=\"Metadata\"} 1",
        "tidegate_request_duration_seconds_bucket{le=\"0.0002\",shard=\"1\"} 1",
        "tidegate_request_duration_seconds_count{shard=\"1\"} 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }

    let (status, text) = call(reqwest::Method::POST, control.address, "/reload").await;
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &report["ok"]), (200, &serde_json::json!(true)), "{text}");
    std::fs::write(folder.path().join("policy.yaml"), "grant: []").unwrap();
    let (status, text) = call(reqwest::Method::POST, control.address, "/reload").await;
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &report["ok"]), (422, &serde_json::json!(false)), "{text}");
    assert_eq!(report["problems"][0]["line"], 1);
    tokio::task::spawn_blocking(move || control.stop()).await.unwrap();
}

#[tokio::test]
async fn brokers_are_found_learned_and_missed() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker::start(&[(1, "127.0.0.1", 19091), (2, "localhost", 19092)]).await;
    let config = Arc::new(config(folder.path(), &broker.address.to_string(), None));
    let shared = prepare(&config).unwrap().shared;
    let (topology, asks) = topology::Topology::new(config, shared.clone(), Arc::default());
    tokio::spawn(topology.run());
    let upstream_missing = || shared.readiness.missing().iter().any(|reason| reason.contains("upstream"));
    assert!(upstream_missing());
    eventually("the brokers", || shared.cluster.load().brokers.len() == 2).await;
    assert!(!upstream_missing());
    let cluster = shared.cluster.load_full();
    assert_eq!(cluster.id.as_deref(), Some("a-cluster"));
    assert_eq!(cluster.bootstrap[0].addresses, [broker.address]);
    assert_eq!(cluster.brokers[&1].addresses, ["127.0.0.1:19091".parse().unwrap()]);
    assert!(!cluster.brokers[&2].addresses.is_empty(), "names are resolved here, not on a shard");
    assert_eq!(cluster.hosts()[&2], ("localhost".to_owned(), 19092));
    assert_eq!(cluster.versions.negotiate(kafka_protocol::messages::ApiKey::Metadata, 99), Some(12));

    let version = shared.cluster_version.load(Ordering::Acquire);
    let moved =
        std::collections::BTreeMap::from([(2, ("127.0.0.1".to_owned(), 29092)), (1, ("127.0.0.1".to_owned(), 19091))]);
    asks.send(topology::TopologyAsk::Learned(moved)).await.unwrap();
    eventually("the moved broker", || shared.cluster.load().brokers[&2].port == 29092).await;
    assert_eq!(shared.cluster_version.load(Ordering::Acquire), version + 1);

    broker.task.abort();
    asks.send(topology::TopologyAsk::Refresh).await.unwrap();
    eventually("the loss", upstream_missing).await;
    assert_eq!(shared.cluster.load().brokers.len(), 2, "what was known stays known");
}
