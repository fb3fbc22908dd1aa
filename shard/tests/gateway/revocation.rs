//! Revocation in front of a real broker: stock consumers in the middle of a stream are revoked by session, by token,
//! by grant and by principal. No record that is written after the command's return reaches them, their connections
//! are closed, what they had cannot be used to come back, and the evidence says so. Everybody else reads on. And a
//! login whose provider takes a group away: what rested on the group ends with the next refresh, whatever restarts.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tidegate::demo::issuer::{Options, Person as Employee, RelyingParty};
use tidegate::tokens::secret::s256;

use crate::admin::Person;
use crate::clients::{java_follow, kcat_follow};
use crate::gateway::{Door, Gateway, Setup, TIMEOUT};
use crate::idp::{AUDIENCE, Idp};
use crate::kafka::Kafka;
use crate::ports;
use crate::process::{Process, until};
use crate::raw::Connection;
use crate::records::{batch, fetch, produce};
use crate::web::Web;

const TOPIC: &str = "revocation-stream";

const POLICY: &str = "
version: 1
grants:
  - name: streams
    purpose: Tests
    principals: [alice, by-session, by-token, stays]
    resources: [{topic: {prefix: revocation-}}, {group: '*'}]
    operations: [read]
requests:
  - name: ask
    principals: [by-grant]
    resources: [{topic: {prefix: revocation-}}, {group: '*'}]
    operations: [read]
    duration_max: 8h
    approvers: {groups: [owners]}
";

/// A stock consumer that prints what it is given.
struct Reader {
    name: &'static str,
    process: Process,
}

impl Reader {
    fn has(&self, text: &str) -> bool {
        self.process.output().lines().any(|line| line == text)
    }

    fn kcat(gateway: &Gateway, name: &'static str, folder: &Path) -> Self {
        Self { name, process: kcat_follow(&gateway.token_as_password(name, &[]), TOPIC, folder, name) }
    }
}

fn put(value: &str) {
    let answer = Kafka::shared().control().ask(11, &produce(&[TOPIC], batch(&[value])));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

/// Sessions of `name` that are open, as the operator sees them.
fn sessions(operator: &Person<'_>, name: &str) -> Vec<Value> {
    operator.json(&["session", "list", "--principal", name])["items"].as_array().unwrap().clone()
}

/// A session that reads: the one at the broker, not the one that asked for its address.
fn reading(operator: &Person<'_>, name: &str) -> Value {
    let all = sessions(operator, name);
    all.iter().find(|session| session["broker"] == 1).unwrap_or_else(|| panic!("{all:?}")).clone()
}

#[test]
fn a_stock_consumer_in_the_middle_of_a_stream_is_given_nothing_more() {
    Kafka::shared().create_topic(TOPIC, 1, 1);
    let gateway = Setup { shards: 2, ..Setup::new(Kafka::shared(), POLICY) }.start();
    let operator = Person::operator(&gateway);
    let by_grant = Person::new(&gateway, "by-grant", &[]);
    let ask = ["grant", "request", "--topic", TOPIC, "--operation", "read", "--for", "1h", "--purpose", "Tests"];
    let asked = by_grant.json(&[&ask[..], &["--reason", "Tests"]].concat());
    let olga = Person::new(&gateway, "olga", &["owners"]);
    olga.json(&["approval", "approve", asked["id"].as_str().unwrap(), "--reason", "fine"]);
    let grant = asked["grant"]["id"].as_str().unwrap();

    let folder = tempfile::tempdir().unwrap();
    let kcat = |name| Reader::kcat(&gateway, name, folder.path());
    let alice = java_follow(&gateway.oauth("alice"), TOPIC, folder.path(), "alice");
    let readers = [kcat("by-session"), kcat("by-token"), kcat("by-grant"), Reader { name: "alice", process: alice }];
    let stays = kcat("stays");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A busy stream, so that each of them is in the middle of one.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                put("before");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        // However the test ends.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&done);
        for reader in readers.iter().chain([&stays]) {
            reader.process.ready("reading", Duration::from_secs(90), || reader.has("before").then_some(()));
        }

        let session = reading(&operator, "by-session");
        let token = reading(&operator, "by-token");
        let (session, token) = (session["id"].as_str().unwrap(), token["token_id"].as_str().unwrap());
        let ways: [&[&str]; 4] = [&["session", session], &["token", token], &["grant", grant], &["principal", "alice"]];
        for (way, reader) in ways.into_iter().zip(&readers) {
            let marker = format!("after {}", way[0]);
            operator.run(&[&["revoke"], way, &["--reason", "Laptop lost"]].concat()).success();
            put(&marker);
            stays.process.ready("given what came after", TIMEOUT, || stays.has(&marker).then_some(()));
            // What is closed stays closed: it comes back with what it had, and is nobody.
            let why = if way[0] == "grant" { "no grant left" } else { "Laptop lost" };
            gateway.evidence_of("the closed connection", |entry| {
                entry["principal"] == reader.name
                    && entry["kind"] == "connection_refused"
                    && entry["detail"].as_str().is_some_and(|detail| detail.contains(why))
            });
            if way[0] != "grant" {
                gateway.evidence_of("the attempt to come back", |entry| {
                    entry["kind"] == "authentication_failure"
                        && entry["detail"].as_str().is_some_and(|detail| detail.contains("Laptop lost"))
                });
                assert!(sessions(&operator, reader.name).is_empty(), "{}", reader.name);
            }
        }
    });
    // All the while they had time to be given something.
    for (reader, way) in readers.iter().zip(["session", "token", "grant", "principal"]) {
        assert!(!reader.has(&format!("after {way}")), "{}: a record came after the command's return", reader.name);
    }
    assert!(["session", "token", "grant", "principal"].iter().all(|way| stays.has(&format!("after {way}"))));
    // A fetch by a principal without any grant is answered, and holds nothing.
    assert!(!readers[2].process.output().contains("after principal"));
    let control = |kind: &str| {
        gateway
            .evidence()
            .iter()
            .filter(|entry| {
                entry["kind"] == "control" && entry["detail"].as_str().is_some_and(|detail| detail.starts_with(kind))
            })
            .count()
    };
    assert_eq!(
        ["revoked session", "revoked token", "revoked grant", "revoked principal"].map(control),
        // The session's token is revoked with it.
        [1, 2, 1, 1]
    );
}

#[test]
fn a_revocation_survives_a_crash_at_once_after_it() {
    Kafka::shared().create_topic("revocation-crash", 1, 1);
    let mut gateway = Setup::new(Kafka::shared(), POLICY).start();
    let token = Idp::shared().token("by-token", &[]);
    let takes = |gateway: &Gateway| gateway.connect().authenticate("OAUTHBEARER", &crate::raw::bearer(&token)).is_ok();
    assert!(takes(&gateway));
    Person::operator(&gateway).json(&["revoke", "principal", "by-token", "--reason", "Left"]);
    gateway.crash_and_restart();
    assert!(!takes(&gateway), "a crash brought it back");
    Person::operator(&gateway).json(&["revoke", "principal", "by-token", "--restore", "--reason", "Is back"]);
    until("it is let in again", TIMEOUT, || takes(&gateway).then_some(()));
}

const BY_GROUP: &str = "
version: 1
grants:
  - {name: analysts, purpose: Tests, groups: [analysts], resources: [{topic: revocation-group}], operations: [read]}
  - {name: staff, purpose: Tests, groups: [staff], resources: [{topic: revocation-other}], operations: [read]}
";

const VERIFIER: &str = "a-verifier-of-the-tests-that-is-long-enough-for-pkce";
const REDIRECT: &str = "http://127.0.0.1:4711/callback";

/// Logs alice in at her provider; the token endpoint's answer.
fn log_in(web: &Web, tokens: &str) -> Value {
    let challenge = s256(VERIFIER);
    let asked = [
        ("response_type", "code"),
        ("client_id", "tidegate-cli"),
        ("redirect_uri", REDIRECT),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(asked).finish();
    let begun = web.get(&format!("{tokens}/authorize?{query}"), "");
    let form = web.get(&begun.location, "");
    let provider = begun.location.split("/authorize").next().unwrap();
    let fields = [("request", &*form.field("request")), ("user", "alice"), ("password", "alice-secret")];
    let back = web.post(&format!("{provider}/login"), &fields, "");
    let code = web.get(&back.location, &begun.cookie).parameter("code");
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", "tidegate-cli"),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    web.post(&format!("{tokens}/token"), &fields, "").json()
}

#[test]
fn a_group_lost_at_the_provider_ends_what_rested_on_it_and_a_login_outlives_a_crash() {
    for topic in ["revocation-group", "revocation-other"] {
        Kafka::shared().create_topic(topic, 1, 1);
    }
    let port = ports::free(1);
    let tokens = format!("http://localhost:{port}");
    let idp = Idp::start(Options::loopback(AUDIENCE));
    idp.register_party(RelyingParty {
        client_id: "gateway".to_owned(),
        secret: None,
        redirect_uri: format!("{tokens}/callback"),
    });
    let employ = |groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        idp.register_person(Employee { name: "alice".to_owned(), password: "alice-secret".to_owned(), groups });
    };
    employ(&["analysts", "staff"]);
    let more = format!(
        "tokens:\n  bind: \"127.0.0.1:{port}\"\n  issuer: {tokens}\n  login: [{{issuer: \"{}\", client_id: gateway}}]\n",
        idp.url()
    );
    let mut gateway = Setup { idp: &idp, more, ..Setup::new(Kafka::shared(), BY_GROUP) }.start();
    let web = Web::from(1);
    let text = |answer: &Value, field: &str| answer[field].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    let refresh_by = |web: &Web, answer: &Value| {
        let token = text(answer, "refresh_token");
        let fields = [("grant_type", "refresh_token"), ("client_id", "tidegate-cli"), ("refresh_token", &*token)];
        web.post(&format!("{tokens}/token"), &fields, "").json()
    };
    let refresh = |answer: &Value| refresh_by(&web, answer);
    let connect = |gateway: &Gateway, answer: &Value| {
        let address = ("127.0.0.1", gateway.broker_port(Door::Plain, 1));
        Connection::plain(address).login_token(&text(answer, "access_token"))
    };
    let error = |connection: &mut Connection, topic: &str| {
        connection.ask(12, &fetch(&[topic])).responses[0].partitions[0].error_code
    };

    let first = log_in(&web, &tokens);
    let mut open = connect(&gateway, &first);
    assert_eq!((error(&mut open, "revocation-group"), error(&mut open, "revocation-other")), (0, 0));
    let second = refresh(&first);
    assert_eq!(error(&mut open, "revocation-group"), 0, "a refresh that changes nothing ends nothing");
    employ(&["staff"]);
    let third = refresh(&second);
    assert!(open.is_closed(), "the connection rests on a group that is lost");
    let mut next = connect(&gateway, &third);
    assert_eq!((error(&mut next, "revocation-group"), error(&mut next, "revocation-other")), (29, 0));
    let refused = gateway.evidence_of("the end of the connection", |entry| {
        entry["kind"] == "connection_refused" && entry["principal"] == "alice"
    });
    assert!(refused["detail"].as_str().unwrap().contains("lost at the identity provider: the group analysts"));
    // Whoever vouches for her is her issuer, though the gateway made the token.
    assert_eq!(refused["issuer"], idp.url());

    gateway.crash_and_restart();
    // Its connection to the process of before is no more.
    let web = Web::from(2);
    let fourth = refresh_by(&web, &third);
    let mut next = connect(&gateway, &fourth);
    assert_eq!((error(&mut next, "revocation-group"), error(&mut next, "revocation-other")), (29, 0));
    let old = gateway.connect().authenticate("OAUTHBEARER", &crate::raw::bearer(&text(&first, "access_token")));
    assert!(old.is_err(), "what was revoked before the crash is so after it");
    gateway.evidence_of("the old token's refusal", |entry| {
        entry["kind"] == "authentication_failure"
            && entry["detail"].as_str().is_some_and(|d| d.contains("the group analysts"))
    });
    // Shut out at her provider: with the tokens that the gateway made as well.
    let out = ["revoke", "principal", "alice", "--issuer", idp.url(), "--reason", "Left"];
    Person::operator(&gateway).json(&out);
    assert!(next.is_closed());
    assert_eq!(refresh_by(&web, &fourth)["error"], "invalid_grant");
}
