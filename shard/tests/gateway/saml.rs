//! SAML logins through the built gateway, at a provider made of other people's code (`clients/saml_idp.py`): the tokens
//! that come of them reach a real broker, and no document that is wrong comes to anything.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::tokens::secret::s256;

use crate::dependencies;
use crate::gateway::{Gateway, Setup, TIMEOUT, is_exchange};
use crate::kafka::Kafka;
use crate::ports;
use crate::process::{Process, guarded, until};
use crate::raw::Connection;
use crate::records::{batch, produce};
use crate::tls::Authority;
use crate::web::{Answer, Web};

const SCRIPT: &str = include_str!("clients/saml_idp.py");

/// What pages call it.
pub(crate) const SAML_LABEL: &str = "Example University";

/// The SAML provider of one test.
pub(crate) struct SamlIdp {
    process: Process,
    port: u16,
    _folder: TempDir,
}

impl SamlIdp {
    /// A provider for the gateway whose token endpoint is `tokens`. Everybody's password is the name and `-secret`.
    pub(crate) fn start(tokens: &str, people: &[(&str, &[&str])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let people: serde_json::Map<String, Value> = people
            .iter()
            .map(|(name, groups)| ((*name).to_owned(), json!({"password": format!("{name}-secret"), "groups": groups})))
            .collect();
        let config = json!({
            "sp_metadata": format!("{tokens}/saml/metadata"),
            "ca": Authority::shared().file(),
            "people": people,
        });
        let given = folder.path().join("config");
        std::fs::write(&given, format!("{config}\n")).unwrap();
        let mut command = guarded(dependencies::python());
        command.args(["-c", SCRIPT]).stdin(std::fs::File::open(given).unwrap());
        let process = Process::start("SAML provider", command, folder.path().join("log"));
        let port = process.ready("listening", TIMEOUT, || {
            process.output().lines().find_map(|line| line.strip_prefix("port ")?.parse().ok())
        });
        Self { process, port, _folder: folder }
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Its entity id.
    pub(crate) fn entity_id(&self) -> String {
        format!("{}/saml", self.url())
    }

    /// The line of `identity.saml` that names it.
    pub(crate) fn configuration(&self) -> String {
        let (entity_id, url) = (self.entity_id(), self.url());
        format!("  saml: [{{entity_id: \"{entity_id}\", label: {SAML_LABEL}, metadata_url: \"{url}/metadata\"}}]\n")
    }

    /// Changes what it does from now on.
    fn change(&self, web: &Web, what: &str, to: &str) {
        assert_eq!(web.post(&format!("{}/tests", self.url()), &[(what, to)], "").status, 200);
    }

    fn assertion(&self, web: &Web, user: &str, recipient: &str) -> String {
        web.post(&format!("{}/assertion", self.url()), &[("user", user), ("recipient", recipient)], "").body
    }
}

const POLICY: &str = "
version: 1
grants:
  - name: by-group
    purpose: Tests
    groups: [analysts]
    resources: [{topic: {prefix: saml-}}]
    operations: [read, write]
";

/// A gateway and its provider.
struct Scene {
    gateway: Gateway,
    idp: SamlIdp,
    tokens: String,
}

/// A login under way: what the provider had the browser post.
struct Posted {
    cookie: String,
    response: String,
    state: String,
}

const REDIRECT: &str = "http://127.0.0.1:4711/callback";
const VERIFIER: &str = "a-verifier-of-the-tests-that-is-long-enough-for-pkce";

impl Scene {
    fn new() -> Self {
        let port = ports::free(1);
        let tokens = format!("https://localhost:{port}");
        let idp = SamlIdp::start(&tokens, &[("alice", &["analysts", "R&D"]), ("bob", &[])]);
        let gateway = Setup {
            identity: idp.configuration(),
            more: format!(
                "tokens:\n  bind: \"127.0.0.1:{port}\"\n  issuer: {tokens}\n  \
                 tls: {{certificate_file: server.pem, key_file: server-key.pem}}\n"
            ),
            ..Setup::new(Kafka::shared(), POLICY)
        }
        .start();
        Self { gateway, idp, tokens }
    }

    /// The way to the provider, through its form, up to the response that it has the browser post.
    #[track_caller]
    fn browse(&self, web: &Web, user: &str) -> Posted {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("response_type", "code"),
                ("client_id", "tidegate-cli"),
                ("redirect_uri", REDIRECT),
                ("state", "s1"),
                ("code_challenge", &s256(VERIFIER)),
                ("code_challenge_method", "S256"),
            ])
            .finish();
        let begun = web.get(&format!("{}/authorize?{query}", self.tokens), "");
        assert_eq!(begun.status, 303, "{begun:?}\n{}", self.idp.process.output_tail());
        assert!(begun.set_cookie.contains("SameSite=None; Secure"), "{}", begun.set_cookie);
        let form = web.get(&begun.location, "");
        assert_eq!(form.status, 200, "{form:?}\n{}", self.idp.process.output_tail());
        let fields =
            [("request", form.field("request")), ("user", user.to_owned()), ("password", format!("{user}-secret"))];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let posting = web.post(&format!("{}/login", self.idp.url()), &fields, "");
        assert!(posting.body.contains(&format!("action=\"{}/saml/acs\"", self.tokens)), "{posting:?}");
        Posted { cookie: begun.cookie, response: posting.field("SAMLResponse"), state: posting.field("RelayState") }
    }

    fn post(&self, web: &Web, posted: &Posted) -> Answer {
        let fields = [("SAMLResponse", posted.response.as_str()), ("RelayState", posted.state.as_str())];
        web.post(&format!("{}/saml/acs", self.tokens), &fields, &posted.cookie)
    }

    /// A whole login: the token endpoint's answer.
    #[track_caller]
    fn log_in(&self, web: &Web, user: &str) -> Value {
        let ended = self.post(web, &self.browse(web, user));
        assert_eq!(ended.status, 303, "{ended:?}");
        assert!(ended.location.starts_with(REDIRECT) && ended.parameter("state") == "s1", "{ended:?}");
        let code = ended.parameter("code");
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", "tidegate-cli"),
            ("code", &code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        self.token(web, &fields)
    }

    #[track_caller]
    fn token(&self, web: &Web, fields: &[(&str, &str)]) -> Value {
        web.post(&format!("{}/token", self.tokens), fields, "").json()
    }

    fn refresh(&self, web: &Web, answer: &Value) -> Value {
        let token = answer["refresh_token"].as_str().unwrap();
        let fields = [("grant_type", "refresh_token"), ("client_id", "tidegate-cli"), ("refresh_token", token)];
        self.token(web, &fields)
    }

    /// Whether the broker takes a record from whoever has the token.
    fn produces(&self, answer: &Value, topic: &str) -> bool {
        let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}"));
        let mut kafka = Connection::plain(("127.0.0.1", self.gateway.broker_port(crate::gateway::Door::Plain, 1)));
        if kafka.authenticate("OAUTHBEARER", &crate::raw::bearer(token)).is_err() {
            return false;
        }
        kafka.ask(9, &produce(&[topic], batch(&["x"]))).responses[0].partition_responses[0].error_code == 0
    }

    fn bearer(&self, web: &Web, assertion: &str) -> Value {
        let grant = "urn:ietf:params:oauth:grant-type:saml2-bearer";
        self.token(web, &[("grant_type", grant), ("assertion", assertion)])
    }
}

#[test]
fn who_logs_in_at_a_saml_provider_reaches_kafka_and_its_keys_may_change() {
    Kafka::shared().create_topic("saml-orders", 1, 1);
    let scene = Scene::new();
    let web = Web::from(1);
    let alice = scene.log_in(&web, "alice");
    assert!(scene.produces(&alice, "saml-orders"));
    let entry = scene.gateway.evidence_of("the produce", |entry| is_exchange(entry, "Produce", "saml-orders"));
    assert_eq!((&entry["principal"], &entry["groups"]), (&"alice".into(), &json!(["analysts", "R&D"])));
    let issued = scene.gateway.evidence_of("the token", |entry| entry["kind"] == "token_issued");
    assert_eq!((&issued["principal"], &issued["issuer"]), (&"alice".into(), &scene.idp.entity_id().into()));
    assert!(!scene.produces(&scene.log_in(&web, "bob"), "saml-orders"), "bob has no group");

    // It goes on by itself, and ends when the provider said that the login does.
    let refreshed = scene.refresh(&web, &alice);
    assert!(scene.produces(&refreshed, "saml-orders"), "{refreshed}");
    scene.idp.change(&web, "session_seconds", "4");
    let short = scene.log_in(&web, "alice");
    assert!(short["expires_in"].as_i64().unwrap() <= 4, "{short}");
    let again = until("the login is over", TIMEOUT, || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let answer = scene.refresh(&web, &short);
        Some(answer).filter(|answer| answer["error"].is_string())
    });
    assert_eq!(again["error"], "invalid_grant");
    scene.idp.change(&web, "session_seconds", "3600");

    // RFC 7522: an assertion by itself, once, for no longer than its login.
    let token_url = format!("{}/token", scene.tokens);
    let assertion = scene.idp.assertion(&web, "alice", &token_url);
    let granted = scene.bearer(&web, &assertion);
    assert!(granted["refresh_token"].is_null() && scene.produces(&granted, "saml-orders"), "{granted}");
    assert_eq!(scene.bearer(&web, &assertion)["error"], "invalid_grant", "a replay");
    let elsewhere = scene.idp.assertion(&web, "alice", &format!("{}/saml/acs", scene.tokens));
    assert_eq!(scene.bearer(&web, &elsewhere)["error"], "invalid_grant", "meant for another place");
    assert_eq!(scene.bearer(&web, "bm8geG1s")["error"], "invalid_grant");

    // The provider has another key from one moment to the next: its metadata is read anew.
    scene.idp.change(&web, "keys", "switch");
    let other = Web::from(2);
    assert_eq!(scene.post(&other, &scene.browse(&other, "alice")).status, 400, "the new key is not known yet");
    let mut host = 2;
    let rolled = until("the new key is known", TIMEOUT, || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        host += 1;
        let web = Web::from(host);
        let ended = scene.post(&web, &scene.browse(&web, "alice"));
        (ended.status == 303).then_some(ended)
    });
    assert!(rolled.location.starts_with(REDIRECT));
    // And one that it announces before is there when it is used.
    scene.idp.change(&web, "keys", "announce");
    assert!(scene.produces(&scene.log_in(&web, "alice"), "saml-orders"));
}

#[test]
fn wrong_responses_come_to_nothing_and_leave_an_entry_each() {
    let scene = Scene::new();
    let flaws = [
        "expired",
        "not_yet",
        "audience",
        "recipient",
        "destination",
        "in_response_to",
        "issuer",
        "unsigned",
        "changed",
        "foreign_key",
    ];
    let mut host = 10;
    let mut web = || {
        // Each row from an address of its own, so that nobody is slowed down.
        host += 1;
        Web::from(host)
    };
    let refused = |what: &str, answer: &Answer| {
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert!(answer.body.contains("You are not logged in") && answer.location.is_empty(), "{what}: {answer:?}");
    };
    for flaw in flaws {
        let web = web();
        scene.idp.change(&web, "flaw", flaw);
        let posted = scene.browse(&web, "alice");
        refused(flaw, &scene.post(&web, &posted));
    }
    let first = web();
    scene.idp.change(&first, "flaw", "");
    let good = scene.browse(&first, "alice");
    let again = |change: &dyn Fn(&mut Posted)| {
        let mut posted =
            Posted { cookie: good.cookie.clone(), response: good.response.clone(), state: good.state.clone() };
        change(&mut posted);
        posted
    };
    let mut count = flaws.len();
    let mut row = |what: &str, web: &Web, posted: &Posted| {
        refused(what, &scene.post(web, posted));
        count += 1;
    };
    row("no such login", &web(), &again(&|posted| posted.state = "made-up".to_owned()));
    let other = web();
    let another = scene.browse(&other, "bob");
    row("an answer to another request", &other, &Posted { response: good.response.clone(), ..another });
    let other = web();
    let foreign = scene.browse(&other, "alice");
    row("another browser", &other, &Posted { cookie: good.cookie.clone(), ..foreign });
    let other = web();
    let without = scene.browse(&other, "alice");
    row("no browser", &other, &Posted { cookie: String::new(), ..without });
    let other = web();
    let broken = scene.browse(&other, "alice");
    row(
        "no document",
        &other,
        &Posted { response: STANDARD.encode("<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>"), ..broken },
    );
    // The good one is good, once.
    assert_eq!(scene.post(&first, &good).status, 303);
    row("a replay", &web(), &again(&|_| ()));

    let entries = until("an entry for each", TIMEOUT, || {
        let entries = scene.gateway.evidence();
        let refused: Vec<Value> =
            entries.into_iter().filter(|entry| entry["kind"] == "token_refused" && entry["api"] == "saml").collect();
        (refused.len() >= count).then_some(refused)
    });
    assert_eq!(entries.len(), count);
    assert!(!scene.gateway.evidence().iter().any(|entry| entry["kind"] == "token_issued"));
}
