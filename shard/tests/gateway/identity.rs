//! Where principals come from: an issuer behind HTTPS whose keys change or that is away, and client
//! certificates.

use std::time::Duration;

use kafka_protocol::messages::MetadataRequest;
use tidegate::demo::issuer::KeyKind;

use crate::gateway::{Door, Gateway, Setup, TIMEOUT, is_exchange};
use crate::idp::Idp;
use crate::kafka::Kafka;
use crate::process::until;
use crate::raw::{Connection, bearer};
use crate::records::{batch, produce};
use crate::tls::Authority;

const POLICY: &str = "
version: 1
grants:
  - name: by-group
    purpose: Tests
    groups: [analysts]
    resources: [{topic: {prefix: identity-}}]
    operations: [read, write]
  - name: by-certificate
    purpose: Tests
    principals: [{name: reporting-service, issuer: tls}]
    resources: [{topic: {prefix: identity-}}]
    operations: [read, write]
";

/// Whether the gateway takes this token now.
fn takes(gateway: &Gateway, token: &str) -> bool {
    gateway.connect().authenticate("OAUTHBEARER", &bearer(token)).is_ok()
}

#[test]
fn an_issuer_behind_https_may_change_its_keys_and_be_away() {
    let idp = Idp::https();
    let gateway = Setup { idp: &idp, ..Setup::new(Kafka::shared(), POLICY) }.start();
    let first = idp.token("eve", &["analysts"]);
    assert!(takes(&gateway, &first));
    for kind in [KeyKind::Es256, KeyKind::EdDsa, KeyKind::Rs256] {
        idp.rotate(kind).unwrap();
        let next = idp.token("eve", &["analysts"]);
        until("the new key is fetched", Duration::from_secs(60), || takes(&gateway, &next).then_some(()));
        assert!(takes(&gateway, &first), "the former key is still in the set");
    }
    // What is known goes on while the issuer is away.
    idp.set_failing(true);
    let token = idp.token("eve", &["analysts"]);
    assert!(takes(&gateway, &token));
    // A principal's groups come from its token.
    let other = idp.token("eve", &["interns"]);
    assert!(!takes(&gateway, &other), "eve has no grant without her group");
    // Tokens of an issuer that isn't configured are worth nothing.
    assert!(!takes(&gateway, &Idp::shared().token("alice", &["analysts"])));
}

#[test]
fn a_client_certificate_names_a_principal() {
    Kafka::shared().create_topic("identity-certificate", 1, 1);
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let connect = |authority: &Authority, name: &str| {
        let pair = authority.issue(name, &["reporting.example.com"]);
        let config = Authority::shared().client_config(Some(&pair));
        Connection::tls(("127.0.0.1", gateway.broker_port(Door::Certificate, 1)), config, "localhost")
            .client_id("reports")
    };
    let mut service = connect(Authority::shared(), "reporting-service");
    let answer = service.ask(11, &produce(&["identity-certificate"], batch(&["x"])));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    let entry = gateway.evidence_of("the produce", |entry| is_exchange(entry, "Produce", "identity-certificate"));
    assert_eq!((&entry["principal"], &entry["issuer"]), (&"reporting-service".into(), &"tls".into()));
    assert_eq!(entry["client_id"], "reports");

    let mut unknown = connect(Authority::shared(), "somebody-else");
    let answer = unknown.try_ask(11, &produce(&["identity-certificate"], batch(&["x"])));
    let refused = answer.map_or(29, |answer| answer.responses[0].partition_responses[0].error_code);
    assert_eq!(refused, 29, "a certificate without a grant may produce");
    let nothing = MetadataRequest::default().with_topics(Some(vec![]));
    let foreign = connect(&Authority::new("another authority"), "reporting-service").try_ask(12, &nothing);
    assert!(foreign.is_err(), "a certificate of another authority is taken: {foreign:?}");
}

#[test]
fn a_renewed_server_certificate_is_taken_without_a_restart() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let address = ("127.0.0.1", gateway.port(Door::Tls));
    let connect = |authority: &Authority| {
        let versions = kafka_protocol::messages::ApiVersionsRequest::default();
        Connection::tls(address, authority.client_config(None), "localhost").try_ask(0, &versions).is_ok()
    };
    assert!(connect(Authority::shared()));
    // Renewed by another authority, so that the change can be told.
    let authority = Authority::new("renewal");
    assert!(!connect(&authority));
    let renewed = authority.server();
    for (new, name) in [(&renewed.certificate, "server.pem"), (&renewed.key, "server-key.pem")] {
        std::fs::copy(new, gateway.folder().join(name)).unwrap();
    }
    until("the renewed certificate is shown", TIMEOUT, || connect(&authority).then_some(()));
}
