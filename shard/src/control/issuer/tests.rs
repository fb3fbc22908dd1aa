//! The token endpoint, asked over HTTP as clients ask it.

mod device;
mod login;
mod logins;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tidegate_core::limits::Limits;
use tidegate_policy::identity::{KeySet, SigningAlgorithm, TokenError, verify};

use super::accounts::hash_line;
use super::*;
use crate::shared::Ask;
use crate::tokens::secret::draw;
use crate::tokens::{SigningKey, TokenAlgorithm};

const IDP: &str = "https://idp.example";

/// An issuer of ours that serves on the loopback, and an identity provider's key.
struct Fixture {
    issuer: Arc<Issuer>,
    url: String,
    http: reqwest::Client,
    idp: SigningKey,
    secret: String,
    config: Config,
    authority: authority::Handle,
    folder: tempfile::TempDir,
    _asks: tokio::sync::mpsc::Receiver<Ask>,
}

fn configuration(folder: &Path, port: u16, secret: &str, idp: &str, mint: &str) -> Config {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("policy.yaml", "version: 1\n");
    let hash = hash_line(secret);
    write(
        "accounts.yaml",
        &format!(
            "service_accounts:\n  - {{name: etl, groups: [loaders], secret_hashes: [\"{hash}\"]}}\n  \
             - {{name: auditor, may_introspect: true, secret_hashes: [\"{hash}\"]}}\n"
        ),
    );
    let text = format!(
        "origin: test\nlisteners: [{{name: a, protocol: kafka, bind: 127.0.0.1, bootstrap_port: 9092, advertised_host: localhost, broker_ports: {{first_port: 9100, node_ids: 0-1}}, sasl: {{mechanisms: [OAUTHBEARER]}}}}]\n\
         upstream: {{bootstrap_servers: [\"localhost:1\"], sasl: {{mechanism: OAUTHBEARER, {mint}}}}}\n\
         identity: {{issuers: [{{issuer: \"{idp}\", audiences: [kafka], algorithms: [ES256], leeway_seconds: 10}}]}}\n\
         tokens: {{bind: \"127.0.0.1:{port}\", issuer: \"http://localhost:{port}\", service_accounts_file: accounts.yaml, login: [{{issuer: \"{idp}\", client_id: gateway}}]}}\n\
         policy_file: policy.yaml\nevidence: {{directory: evidence}}\n"
    );
    Config::parse(&text, &folder.join("tidegate.yaml"), 1).unwrap_or_else(|problems| panic!("{problems:?}"))
}

impl Fixture {
    async fn new() -> Self {
        let (idp, _) = SigningKey::generate(TokenAlgorithm::ES256).unwrap();
        let fixture = Self::with_idp(IDP, &idp).await;
        Self { idp, ..fixture }
    }

    async fn with_idp(url: &str, idp: &SigningKey) -> Self {
        Self::with_idp_and(url, idp, "mint: {audience: brokers}").await
    }

    async fn with_idp_and(url: &str, idp: &SigningKey, mint: &str) -> Self {
        // The port is free again for an instant; nobody else takes one of the kernel's choice so soon.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let secret = draw("tgs_").unwrap().to_string();
        let config = configuration(folder.path(), port, &secret, url, mint);
        let policy = super::super::compile_policy(&config, 1).unwrap();
        let issuers = config.identity.issuers.iter().cloned();
        let issuers =
            tidegate_policy::identity::Issuers::new(issuers.chain(config.tokens.as_ref().map(Tokens::issuer_config)));
        let keys = KeySet::parse(json!({"keys": [idp.public_jwk()]}).to_string().as_bytes()).unwrap();
        let issuers = issuers.with_keys(url, Arc::new(keys));
        let (idp, _) = SigningKey::generate(TokenAlgorithm::ES256).unwrap();
        let (shared, asks) =
            Shared::new(&config, Arc::new(policy), Arc::new(issuers), Arc::new(UpstreamCredentials::None));
        let authority = authority::open(&config).unwrap().start(shared.clone(), Default::default());
        let issuer = prepare(&config, &shared).unwrap().unwrap();
        let listener = issuer.bind().unwrap();
        issuer.clone().serve(listener, authority.clone());
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::no_authorities().unwrap())
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            issuer,
            url: format!("http://localhost:{port}"),
            http,
            idp,
            secret,
            config,
            authority,
            folder,
            _asks: asks,
        }
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.http.post(format!("{}{path}", self.url)).body(body);
        let answer = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn credentials(&self) -> String {
        let fields =
            [("grant_type", "client_credentials"), ("client_id", "etl"), ("client_secret", self.secret.as_str())];
        let (status, answer) = self.post("/token", &fields).await;
        assert_eq!(status, 200, "{answer}");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// A token of the identity provider, changed; `null` takes a claim out.
    fn idp_token(&self, change: Value) -> String {
        let from = now().as_secs();
        let mut claims = json!({"iss": IDP, "sub": "alice", "aud": "kafka", "exp": from + 120, "groups": ["analysts"]});
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.idp.sign(&claims).unwrap()
    }

    async fn exchange(&self, token: &str, more: &[(&str, &str)]) -> (u16, Value) {
        let mut fields = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", token),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ];
        fields.extend_from_slice(more);
        self.post("/token", &fields).await
    }
}

#[tokio::test]
async fn a_service_account_gets_a_token_that_the_data_plane_believes_and_the_evidence_knows() {
    let fixture = Fixture::new().await;
    let token = fixture.credentials().await;
    let verified = verify(&token, &fixture.issuer.shared.issuers.load(), now(), &Limits::default()).unwrap();
    assert_eq!(&*verified.principal.name, "etl");
    assert_eq!(verified.principal.groups, [Arc::from("loaders")]);
    let lifetime = verified.expires.millis_since(now());
    assert!((295_000..=306_000).contains(&lifetime), "{lifetime}");
    // Whoever fetches the key set over HTTP believes it too.
    let discovery = fixture.http.get(format!("{}/.well-known/openid-configuration", fixture.url)).send().await.unwrap();
    let discovery: Value = serde_json::from_slice(&discovery.bytes().await.unwrap()).unwrap();
    assert_eq!(discovery["issuer"], fixture.url.as_str());
    let jwks = fixture.http.get(discovery["jwks_uri"].as_str().unwrap()).send().await.unwrap();
    let keys = Arc::new(KeySet::parse(&jwks.bytes().await.unwrap()).unwrap());
    let mut config = tidegate_policy::identity::IssuerConfig::new(&fixture.url, "kafka");
    config.algorithms = vec![SigningAlgorithm::ES256];
    let issuers = tidegate_policy::identity::Issuers::new([config]).with_keys(&fixture.url, keys);
    assert!(verify(&token, &issuers, now(), &Limits::default()).is_ok());
    let events = fixture.issuer.shared.notices.take();
    let issued = events.iter().find(|event| event.kind == Kind::TokenIssued as i32).unwrap();
    assert_eq!((issued.principal.as_str(), issued.api.as_str()), ("etl", "client_credentials"));
    assert!(issued.detail.contains(verified.token_id.as_deref().unwrap()));
    assert!(!format!("{events:?}").contains(&token) && !format!("{events:?}").contains(&fixture.secret));
}

#[tokio::test]
async fn what_a_token_rests_on_bounds_it_and_who_it_is_stays() {
    let fixture = Fixture::new().await;
    let exp = now().as_secs() + 60;
    let (status, answer) = fixture.exchange(&fixture.idp_token(json!({ "exp": exp })), &[]).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert!(answer.get("refresh_token").is_none());
    let token = answer["access_token"].as_str().unwrap();
    let verified = verify(token, &fixture.issuer.shared.issuers.load(), now(), &Limits::default()).unwrap();
    assert_eq!(&*verified.principal.name, "alice");
    assert_eq!(verified.principal.groups, [Arc::from("analysts")]);
    assert_eq!(verified.expires, Timestamp::from_secs(exp + 5), "no longer than the provider's, but for the leeway");
    let (status, answer) = fixture.exchange(token, &[]).await;
    assert_eq!((status, answer["error"].as_str()), (400, Some("invalid_request")), "{answer}");
}

#[tokio::test]
async fn bad_requests_get_no_token_and_leave_an_entry_each() {
    let fixture = Fixture::new().await;
    let from = now().as_secs();
    let (foreign, _) = SigningKey::generate(TokenAlgorithm::ES256).unwrap();
    let claims = json!({"iss": IDP, "sub": "alice", "aud": "kafka", "exp": from + 120});
    let good = fixture.idp_token(json!({}));
    let part = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", part(json!({"alg": "none"})), part(claims.clone()));
    let hmac = format!("{}.{}.{}", part(json!({"alg": "HS256"})), part(claims.clone()), part(json!("x")));
    // A key that is not the provider's, under the name of one that is.
    let forged = foreign.sign(&claims).unwrap();
    let mut pieces = forged.split('.').map(str::to_owned).collect::<Vec<_>>();
    pieces[0] = good.split('.').next().unwrap().to_owned();
    let tokens = [
        ("expired", fixture.idp_token(json!({"exp": from - 60}))),
        ("just expired, past the leeway", fixture.idp_token(json!({"exp": from - 11}))),
        ("future", fixture.idp_token(json!({"nbf": from + 60}))),
        ("other audience", fixture.idp_token(json!({"aud": "billing"}))),
        ("audience of the brokers", fixture.idp_token(json!({"aud": "brokers"}))),
        ("no subject", fixture.idp_token(json!({"sub": null}))),
        ("no end", fixture.idp_token(json!({"exp": null}))),
        ("other issuer", fixture.idp_token(json!({"iss": "https://evil.example"}))),
        ("unauthenticated", fixture.idp_token(json!({"sub": "ANONYMOUS"}))),
        ("unsigned", unsigned),
        ("hmac", hmac),
        ("foreign", pieces.join(".")),
        ("malformed", "a.b".to_owned()),
    ];
    let count = tokens.len();
    for (row, token) in tokens {
        // Each row as a client of its own, so that nobody is slowed down.
        fixture.issuer.throttle.lock().unwrap().clone_from(&Throttle::default());
        let (status, answer) = fixture.exchange(&token, &[]).await;
        assert_eq!((status, answer["error"].as_str()), (400, Some("invalid_grant")), "{row}: {answer}");
        assert!(!answer.to_string().contains(&token), "{row}");
    }
    let refused = |events: &[Event]| events.iter().filter(|event| event.kind == Kind::TokenRefused as i32).count();
    assert_eq!(refused(&fixture.issuer.shared.notices.take()), count);

    // Within the leeway at both edges.
    for change in [json!({"nbf": from + 5})] {
        let (status, answer) = fixture.exchange(&fixture.idp_token(change), &[]).await;
        assert_eq!(status, 200, "{answer}");
    }
    for (row, more, error) in [
        ("for another", vec![("audience", "billing")], "invalid_target"),
        ("acting", vec![("actor_token", "x")], "invalid_request"),
        ("scope", vec![("scope", "admin")], "invalid_scope"),
        ("unknown client", vec![("client_id", "evil")], "invalid_client"),
        ("twice", vec![("subject_token", "x")], "invalid_request"),
    ] {
        let (status, answer) = fixture.exchange(&good, &more).await;
        assert_eq!(answer["error"], error, "{row}: {status} {answer}");
    }
    for (grant, error) in [
        ("password", "unsupported_grant_type"),
        ("urn:ietf:params:oauth:grant-type:saml2-bearer", "unsupported_grant_type"),
        ("client_credentials", "invalid_client"),
    ] {
        let (_, answer) = fixture.post("/token", &[("grant_type", grant)]).await;
        assert_eq!(answer["error"], error, "{grant}: {answer}");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_no_verdict() {
    let fixture = Fixture::new().await;
    fixture.issuer.shared.issuers.rcu(|issuers| issuers.without_keys(IDP));
    let (status, answer) = fixture.exchange(&fixture.idp_token(json!({})), &[]).await;
    assert_eq!((status, answer["error"].as_str()), (503, Some("temporarily_unavailable")), "{answer}");
}

#[tokio::test]
async fn guessing_is_slowed_down_and_the_right_secret_waits_too() {
    let fixture = Fixture::new().await;
    let wrong = draw("tgs_").unwrap();
    let attempt = |secret: String| {
        let fixture = &fixture;
        async move {
            let fields =
                [("grant_type", "client_credentials"), ("client_id", "etl"), ("client_secret", secret.as_str())];
            fixture.post("/token", &fields).await.0
        }
    };
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(attempt(wrong.to_string()).await);
    }
    assert_eq!(answers, [401, 401, 401, 401, 401, 401, 401, 401, 401, 401, 429, 429]);
    assert_eq!(attempt(fixture.secret.clone()).await, 429);
}

#[tokio::test]
async fn who_may_ask_learns_whether_a_token_is_good() {
    let fixture = Fixture::new().await;
    let token = fixture.credentials().await;
    let ask = |name: &'static str, token: String| {
        let fixture = &fixture;
        async move {
            let basic = STANDARD.encode(format!("{name}:{}", fixture.secret));
            let body = form_urlencoded::Serializer::new(String::new()).append_pair("token", &token).finish();
            let request = fixture.http.post(format!("{}/introspect", fixture.url)).body(body);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            let answer = request.header("authorization", format!("Basic {basic}")).send().await.unwrap();
            (answer.status().as_u16(), serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).unwrap())
        }
    };
    let (status, answer) = ask("auditor", token.clone()).await;
    assert_eq!((status, &answer["active"], &answer["sub"]), (200, &json!(true), &json!("etl")), "{answer}");
    let (_, answer) = ask("auditor", fixture.idp_token(json!({}))).await;
    assert_eq!(answer, json!({"active": false}), "not one of ours");
    assert_eq!(ask("etl", token.clone()).await.0, 403);
    assert_eq!(fixture.post("/introspect", &[("token", &token)]).await.0, 401);
}

#[tokio::test]
async fn tokens_for_the_upstream_are_no_good_here() {
    let fixture = Fixture::new().await;
    let alice =
        Principal { issuer: Arc::from(IDP), subject: Arc::from("alice"), name: Arc::from("alice"), groups: Vec::new() };
    let credentials = fixture.issuer.shared.upstream_login.load().for_session(&alice, "s", now()).unwrap();
    let UpstreamCredentials::OAuthBearer { token } = credentials else { panic!("{credentials:?}") };
    let verdict = verify(token.reveal(), &fixture.issuer.shared.issuers.load(), now(), &Limits::default());
    assert_eq!(verdict, Err(TokenError::WrongAudience));
}
