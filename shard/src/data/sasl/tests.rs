//! Whole conversations, with requests as clients encode them.

use bytes::BytesMut;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::protocol::Decodable;
use proptest::prelude::*;
use tidegate_core::header::{RequestHeader, request_frame};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const BOTH: [Mechanism; 2] = [Mechanism::OAuthBearer, Mechanism::Plain];

fn request(api: ApiKey, version: i16, body: &[u8]) -> Request {
    let frame = request_frame(1, api, version, "client", body);
    Request { header: RequestHeader::parse(&frame).unwrap(), frame }
}

fn message<M: Encodable>(api: ApiKey, version: i16, message: &M) -> Request {
    let mut body = BytesMut::new();
    message.encode(&mut body, version).unwrap();
    request(api, version, &body)
}

fn handshake(mechanism: &str) -> Request {
    let body = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_string(mechanism.to_owned()));
    message(ApiKey::SaslHandshake, 1, &body)
}

fn authenticate(version: i16, bytes: &[u8]) -> Request {
    let body = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::copy_from_slice(bytes));
    message(ApiKey::SaslAuthenticate, version, &body)
}

fn bearer(token: &str) -> Request {
    authenticate(2, format!("n,,\x01auth=Bearer {token}\x01\x01").as_bytes())
}

fn plain(token: &str) -> Request {
    authenticate(2, format!("\0token\0{token}").as_bytes())
}

fn principal(subject: &str) -> Principal {
    let issuer = if subject == "mallory" { "https://other.example" } else { "https://id.example" };
    // A subject of another issuer is another principal, whatever it is called.
    let subject = if subject == "mallory" { "alice" } else { subject };
    Principal { issuer: Arc::from(issuer), subject: Arc::from(subject), name: Arc::from(subject), groups: Vec::new() }
}

/// Tokens in these tests are `subject.lifetime-in-seconds`, or the name of an error.
fn verify_at(now: Timestamp) -> impl FnMut(&str) -> Result<Verified, TokenError> {
    move |token| match token.split_once('.') {
        Some((subject, seconds)) => Ok(Verified {
            principal: principal(subject),
            issuer: principal(subject).issuer,
            expires: now.plus_millis(seconds.parse::<i64>().unwrap() * 1000),
            token_id: Some(Arc::from("jti-1")),
            session: None,
        }),
        None if token == "newkey" => {
            Err(TokenError::UnknownKey { issuer: Arc::from("https://id.example"), kid: "k2".to_owned() })
        }
        None => Err(TokenError::Expired { at: now }),
    }
}

/// Sends a request, and checks that nothing said or shown holds a token.
fn send(server: &mut SaslServer, request: &Request) -> Action {
    let action = server.on_request(request, NOW, &mut verify_at(NOW));
    let shown = format!("{action:?} {server:?}");
    for secret in ["alice.", "bob.", "expired-token", "newkey"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    action
}

fn answered(action: Action) -> Bytes {
    match action {
        Action::Answer(body) => body,
        other => panic!("expected an answer, got {other:?}"),
    }
}

fn decode<M: Decodable>(mut body: Bytes, version: i16) -> M {
    let message = M::decode(&mut body, version).unwrap();
    assert!(body.is_empty(), "bytes left over");
    message
}

/// Expects an answer with an error and then the end; returns error code, message and the failure's code.
fn ended(action: Action, version: i16) -> (i16, String, &'static str) {
    match action {
        Action::AnswerThenClose(body, failure) => {
            let response: SaslAuthenticateResponse = decode(body, version);
            (response.error_code, response.error_message.unwrap_or_default().to_string(), failure.code)
        }
        other => panic!("expected an answer and the end, got {other:?}"),
    }
}

fn closed(action: Action) -> &'static str {
    match action {
        Action::Close(failure) => failure.code,
        other => panic!("expected the end, got {other:?}"),
    }
}

fn authenticated(action: Action, version: i16) -> (Authentication, i64) {
    match action {
        Action::Authenticated { body, authentication } => {
            let response: SaslAuthenticateResponse = decode(body, version);
            assert_eq!((response.error_code, response.auth_bytes.len()), (0, 0));
            (authentication, response.session_lifetime_ms)
        }
        other => panic!("expected success, got {other:?}"),
    }
}

fn choose(server: &mut SaslServer, mechanism: &str) {
    let response: SaslHandshakeResponse = decode(answered(send(server, &handshake(mechanism))), 1);
    assert_eq!((response.error_code, response.mechanisms.len()), (0, 2));
}

fn logged_in(mechanism: &str) -> SaslServer {
    let mut server = SaslServer::new(&BOTH, None);
    choose(&mut server, mechanism);
    let first = if mechanism == "PLAIN" { plain("alice.600") } else { bearer("alice.600") };
    authenticated(send(&mut server, &first), 2);
    server
}

const SASL_FAILED: i16 = 58;
const ILLEGAL_STATE: i16 = 34;

#[test]
fn a_client_asks_for_versions_chooses_and_is_let_in() {
    for (mechanism, make) in [("OAUTHBEARER", "n,,\x01auth=Bearer alice.600\x01\x01"), ("PLAIN", "\0alice\0alice.600")]
    {
        for version in 0..=2 {
            let mut server = SaslServer::new(&BOTH, None);
            let versions = request(ApiKey::ApiVersions, 3, b"");
            assert_eq!(send(&mut server, &versions), Action::Versions);
            assert_eq!(send(&mut server, &versions), Action::Versions);
            choose(&mut server, mechanism);
            let (who, lifetime) = authenticated(send(&mut server, &authenticate(version, make.as_bytes())), version);
            assert_eq!(lifetime, if version == 0 { 0 } else { 600_000 }, "v{version}");
            assert_eq!(who.expires, NOW.plus_millis(600_000));
            assert_eq!((who.mechanism.name(), who.again), (mechanism, false));
            assert_eq!(who.token_id.as_deref(), Some("jti-1"));
            assert_eq!(server.principal(), Some(&principal("alice")));
            assert_eq!(send(&mut server, &request(ApiKey::Metadata, 12, b"")), Action::Proceed);
            assert_eq!(send(&mut server, &versions), Action::Versions);
        }
    }
}

#[test]
fn a_refused_bearer_token_is_challenged_and_then_refused_as_brokers_do() {
    for acknowledgement in [&b"\x01"[..], b"", b"n,,\x01auth=Bearer alice.600\x01\x01"] {
        let mut server = SaslServer::new(&BOTH, None);
        choose(&mut server, "OAUTHBEARER");
        let response: SaslAuthenticateResponse = decode(answered(send(&mut server, &bearer("expired-token"))), 2);
        assert_eq!((response.error_code, &*response.auth_bytes), (0, &br#"{"status":"invalid_token"}"#[..]));
        let end = ended(send(&mut server, &authenticate(2, acknowledgement)), 2);
        assert_eq!(end, (SASL_FAILED, "Authentication failed: the token has expired".to_owned(), "expired"));
        assert_eq!(closed(send(&mut server, &request(ApiKey::Metadata, 12, b""))), "out_of_order");
    }
    let mut server = SaslServer::new(&BOTH, None);
    choose(&mut server, "OAUTHBEARER");
    send(&mut server, &bearer("expired-token"));
    assert_eq!(server.abandoned().unwrap().code, "expired", "a client that just leaves is not forgotten");
}

#[test]
fn a_refused_password_is_refused_at_once() {
    let mut server = SaslServer::new(&BOTH, None);
    choose(&mut server, "PLAIN");
    let end = ended(send(&mut server, &plain("expired-token")), 2);
    assert_eq!(end, (SASL_FAILED, "Authentication failed: the token has expired".to_owned(), "expired"));
    let mut server = SaslServer::new(&BOTH, None);
    choose(&mut server, "PLAIN");
    let end = ended(send(&mut server, &authenticate(0, b"\0bob\0alice.600")), 0);
    assert_eq!((end.0, end.2), (SASL_FAILED, "other_name"));
    assert!(server.principal().is_none() && !server.is_authenticated());
}

#[test]
fn messages_that_are_malformed_get_an_error_or_the_end() {
    for (mechanism, bytes) in
        [("OAUTHBEARER", &b"n,,auth=Bearer alice.600"[..]), ("PLAIN", b"alice"), ("PLAIN", b"\xff")]
    {
        let mut server = SaslServer::new(&BOTH, None);
        choose(&mut server, mechanism);
        let end = ended(send(&mut server, &authenticate(2, bytes)), 2);
        assert_eq!((end.0, end.2), (SASL_FAILED, "malformed"));
    }
    for bad in [
        request(ApiKey::SaslAuthenticate, 2, b"\xff\xff\xff\xff\x0f"),
        request(ApiKey::SaslAuthenticate, 1, b"\x7f\xff\xff\xff"),
        request(ApiKey::SaslHandshake, 1, b"\x7f\xff"),
        request(ApiKey::SaslHandshake, 1, b"\xff\xff"),
    ] {
        assert_eq!(closed(send(&mut SaslServer::new(&BOTH, None), &bad)), "malformed", "{bad:?}");
    }
    for (api, version) in [(ApiKey::SaslHandshake, 2), (ApiKey::SaslHandshake, -1), (ApiKey::SaslAuthenticate, 3)] {
        let bad = request(api, version, b"");
        assert_eq!(closed(send(&mut SaslServer::new(&BOTH, None), &bad)), "unsupported_version", "{api:?} {version}");
    }
}

#[test]
fn handshake_v0_and_unknown_mechanisms_are_refused_with_an_answer() {
    let mut server = SaslServer::new(&BOTH, None);
    let v0 = message(ApiKey::SaslHandshake, 0, &SaslHandshakeRequest::default());
    let Action::AnswerThenClose(body, failure) = send(&mut server, &v0) else { panic!("v0 is refused") };
    assert_eq!((decode::<SaslHandshakeResponse>(body, 0).error_code, failure.code), (35, "unsupported_version"));

    for name in ["SCRAM-SHA-512", "GSSAPI", "plain", ""] {
        let mut server = SaslServer::new(&BOTH[..1], None);
        let Action::AnswerThenClose(body, failure) = send(&mut server, &handshake(name)) else { panic!("{name}") };
        let response: SaslHandshakeResponse = decode(body, 1);
        assert_eq!((response.error_code, failure.code), (33, "unsupported_mechanism"));
        assert_eq!(response.mechanisms, [StrBytes::from_static_str("OAUTHBEARER")]);
    }
}

#[test]
fn nothing_else_is_served_before_authentication() {
    let apis = [ApiKey::Metadata, ApiKey::Produce, ApiKey::Fetch, ApiKey::CreateDelegationToken];
    for api in apis {
        let other = request(api, 3, b"");
        assert_eq!(closed(send(&mut SaslServer::new(&BOTH, None), &other)), "out_of_order");
        let mut chosen = SaslServer::new(&BOTH, None);
        choose(&mut chosen, "PLAIN");
        assert_eq!(closed(send(&mut chosen, &other)), "out_of_order");
        let mut anew = logged_in("PLAIN");
        choose(&mut anew, "PLAIN");
        assert_eq!(closed(send(&mut anew, &other)), "out_of_order", "nor while authenticating anew");
    }
    let end = ended(send(&mut SaslServer::new(&BOTH, None), &plain("alice.600")), 2);
    assert_eq!((end.0, end.2), (ILLEGAL_STATE, "out_of_order"));

    let mut chosen = SaslServer::new(&BOTH, None);
    choose(&mut chosen, "PLAIN");
    let Action::AnswerThenClose(body, _) = send(&mut chosen, &handshake("PLAIN")) else { panic!("a second handshake") };
    assert_eq!(decode::<SaslHandshakeResponse>(body, 1).error_code, ILLEGAL_STATE);

    for (version, layout) in [(0, 0), (4, 4), (99, 0)] {
        let mut chosen = SaslServer::new(&BOTH, None);
        choose(&mut chosen, "PLAIN");
        let late = request(ApiKey::ApiVersions, version, b"");
        let Action::AnswerThenClose(body, _) = send(&mut chosen, &late) else { panic!("versions too late") };
        assert_eq!(decode::<ApiVersionsResponse>(body, layout).error_code, ILLEGAL_STATE);
    }
}

#[test]
fn a_session_is_renewed_by_its_own_principal_and_mechanism_only() {
    for mechanism in ["OAUTHBEARER", "PLAIN"] {
        let make = |token: &str| if mechanism == "PLAIN" { plain(token) } else { bearer(token) };
        let mut server = logged_in(mechanism);
        choose(&mut server, mechanism);
        assert!(!server.is_authenticated());
        let (who, lifetime) = authenticated(send(&mut server, &make("alice.900")), 2);
        assert_eq!((who.again, lifetime), (true, 900_000));
        assert_eq!(server.expires(), Some(NOW.plus_millis(900_000)));
        assert_eq!(send(&mut server, &request(ApiKey::Fetch, 12, b"")), Action::Proceed);

        for other in ["bob.900", "mallory.900"] {
            let mut server = logged_in(mechanism);
            choose(&mut server, mechanism);
            let mut action = send(&mut server, &make(other));
            if mechanism == "OAUTHBEARER" {
                answered(action);
                action = send(&mut server, &authenticate(2, b"\x01"));
            }
            let end = ended(action, 2);
            assert_eq!((end.0, end.2), (SASL_FAILED, "principal_changed"), "{other}");
        }

        let mut server = logged_in(mechanism);
        choose(&mut server, if mechanism == "PLAIN" { "OAUTHBEARER" } else { "PLAIN" });
        let end = ended(send(&mut server, &make("alice.900")), 2);
        assert_eq!((end.0, end.2), (SASL_FAILED, "mechanism_changed"));
    }
    let mut server = logged_in("PLAIN");
    let response: SaslAuthenticateResponse = decode(answered(send(&mut server, &plain("alice.900"))), 2);
    assert_eq!(response.error_code, ILLEGAL_STATE, "no handshake before it; the connection stays");
    assert!(server.is_authenticated());
}

#[test]
fn an_expired_session_serves_nothing_but_its_renewal() {
    let later = NOW.plus_millis(600_000);
    let metadata = request(ApiKey::Metadata, 12, b"");
    let mut server = logged_in("PLAIN");
    assert_eq!(server.on_request(&metadata, Timestamp(later.0 - 1), &mut verify_at(NOW)), Action::Proceed);
    assert_eq!(closed(server.on_request(&metadata, later, &mut verify_at(NOW))), "session_expired");

    let mut server = logged_in("PLAIN");
    answered(server.on_request(&handshake("PLAIN"), later, &mut verify_at(later)));
    authenticated(server.on_request(&plain("alice.60"), later, &mut verify_at(later)), 2);
    assert_eq!(server.on_request(&metadata, later, &mut verify_at(later)), Action::Proceed);
}

struct Granted(Option<Timestamp>);

impl Verify for Granted {
    fn verify(&mut self, token: &str) -> Result<Verified, TokenError> {
        verify_at(NOW)(token)
    }

    fn ends(&mut self, _principal: &Principal) -> Option<Timestamp> {
        self.0
    }
}

#[test]
fn the_session_ends_with_token_grant_or_configuration_whichever_is_first() {
    let check = |grant: Option<i64>, most: Option<i64>, expected: i64| {
        let mut server = SaslServer::new(&BOTH, most);
        choose(&mut server, "PLAIN");
        let mut verify = Granted(grant.map(|millis| NOW.plus_millis(millis)));
        let (who, lifetime) = authenticated(server.on_request(&plain("alice.600"), NOW, &mut verify), 2);
        assert_eq!((lifetime, who.expires), (expected, NOW.plus_millis(expected)));
    };
    check(None, None, 600_000);
    check(Some(5_000), None, 5_000);
    check(Some(700_000), Some(1_000), 1_000);
    check(None, Some(999_999), 600_000);

    let mut server = SaslServer::new(&BOTH, None);
    choose(&mut server, "PLAIN");
    let end = ended(server.on_request(&plain("alice.600"), NOW, &mut Granted(Some(NOW))), 2);
    assert_eq!(end.2, "no_grant");

    // Less than a millisecond must not become 0, which would mean that the session never ends.
    let mut server = SaslServer::new(&BOTH, None);
    choose(&mut server, "PLAIN");
    let mut verify = Granted(Some(Timestamp(NOW.0 + 10)));
    assert_eq!(authenticated(server.on_request(&plain("alice.600"), NOW, &mut verify), 2).1, 1);
}

#[test]
fn a_token_of_an_unknown_key_waits_and_is_tried_again() {
    let waits = |mechanism: &str| {
        let mut server = SaslServer::new(&BOTH, None);
        choose(&mut server, mechanism);
        let first = if mechanism == "PLAIN" { plain("newkey") } else { bearer("newkey") };
        let action = send(&mut server, &first);
        assert_eq!(action, Action::AwaitKeys { issuer: Arc::from("https://id.example"), kid: "k2".to_owned() });
        server
    };
    let mut server = waits("OAUTHBEARER");
    assert!(matches!(server.retry(NOW, &mut verify_at(NOW)), Action::AwaitKeys { .. }));
    let mut now_known = |_: &str| verify_at(NOW)("alice.600");
    assert_eq!(authenticated(server.retry(NOW, &mut now_known), 2).0.principal, principal("alice"));
    assert!(matches!(server.retry(NOW, &mut now_known), Action::Close(_)), "nothing waits any more");
    assert!(server.is_authenticated());

    let end = ended(waits("PLAIN").give_up(), 2);
    assert_eq!((end.0, end.2), (SASL_FAILED, "unknown_key"));
    let mut server = waits("OAUTHBEARER");
    answered(server.give_up());
    assert_eq!(ended(send(&mut server, &authenticate(2, b"\x01")), 2).2, "unknown_key");
    assert_eq!(waits("PLAIN").abandoned().unwrap().code, "unknown_key");
    assert_eq!(closed(send(&mut waits("PLAIN"), &request(ApiKey::Metadata, 12, b""))), "out_of_order");
}

#[test]
fn who_is_known_by_certificate_may_still_authenticate_but_not_after_the_first_request() {
    let by_certificate = Principal { issuer: Arc::from("tls"), ..principal("CN=app") };
    let metadata = request(ApiKey::Metadata, 12, b"");
    let mut server = SaslServer::known(by_certificate.clone(), &BOTH, None);
    assert_eq!(send(&mut server, &request(ApiKey::ApiVersions, 3, b"")), Action::Versions);
    choose(&mut server, "PLAIN");
    let (who, _) = authenticated(send(&mut server, &plain("alice.600")), 2);
    assert_eq!((who.principal, who.again), (principal("alice"), false));

    let mut server = SaslServer::known(by_certificate.clone(), &BOTH, None);
    assert_eq!(send(&mut server, &metadata), Action::Proceed);
    assert_eq!((server.principal(), server.expires()), (Some(&by_certificate), None));
    let Action::AnswerThenClose(body, _) = send(&mut server, &handshake("PLAIN")) else { panic!("too late") };
    assert_eq!(decode::<SaslHandshakeResponse>(body, 1).error_code, ILLEGAL_STATE);

    // Without mechanisms SASL is refused as a broker's plain listener does, and the connection stays.
    let mut server = SaslServer::known(Principal::anonymous(), &[], None);
    let response: SaslHandshakeResponse = decode(answered(send(&mut server, &handshake("PLAIN"))), 1);
    assert_eq!(response.error_code, ILLEGAL_STATE);
    let response: SaslAuthenticateResponse = decode(answered(send(&mut server, &plain("alice.600"))), 2);
    assert_eq!(response.error_code, ILLEGAL_STATE);
    assert_eq!(send(&mut server, &metadata), Action::Proceed);
    assert_eq!(&*server.principal().unwrap().name, "ANONYMOUS");
}

#[test]
fn requests_cut_at_every_byte_are_the_end_and_no_panic() {
    for whole in [handshake("PLAIN"), plain("alice.600"), authenticate(0, b"\0alice\0alice.600")] {
        let body = whole.body();
        for cut in 0..body.len() {
            let mut server = SaslServer::new(&BOTH, None);
            if whole.api() == ApiKey::SaslAuthenticate {
                choose(&mut server, "PLAIN");
            }
            let part = request(whole.api(), whole.version(), &body[..cut]);
            assert_eq!(closed(send(&mut server, &part)), "malformed", "{:?} cut at {cut}", whole.api());
        }
    }
}

/// What a client may send, sensible or not.
fn any_request() -> impl Strategy<Value = Request> {
    let tokens =
        prop::sample::select(vec!["alice.600", "bob.600", "mallory.600", "alice.0", "newkey", "expired-token"]);
    prop_oneof![
        prop::sample::select(vec!["PLAIN", "OAUTHBEARER", "GSSAPI"]).prop_map(handshake),
        tokens.clone().prop_map(plain),
        tokens.prop_map(bearer),
        Just(authenticate(1, b"\x01")),
        Just(request(ApiKey::ApiVersions, 3, b"")),
        Just(request(ApiKey::Metadata, 12, b"")),
        (prop::sample::select(vec![ApiKey::SaslHandshake, ApiKey::SaslAuthenticate]), -1i16..4, any::<[u8; 6]>())
            .prop_map(|(api, version, body)| request(api, version, &body)),
    ]
}

proptest! {
    /// Whatever the order: a request passes only while somebody is authenticated, nobody becomes somebody else, and
    /// what is over stays over.
    #[test]
    fn no_order_of_requests_lets_anybody_in_unseen(requests in prop::collection::vec(any_request(), 1..24)) {
        let mut server = SaslServer::new(&BOTH, None);
        let mut who: Option<Authentication> = None;
        let mut over = false;
        for request in &requests {
            let mut action = server.on_request(request, NOW, &mut verify_at(NOW));
            if matches!(action, Action::AwaitKeys { .. }) {
                action = server.give_up();
            }
            match action {
                Action::Authenticated { authentication, .. } => {
                    prop_assert!(!over);
                    prop_assert!(authentication.expires > NOW);
                    if let Some(before) = &who {
                        prop_assert_eq!(&before.principal, &authentication.principal);
                        prop_assert_eq!(before.mechanism, authentication.mechanism);
                    }
                    who = Some(authentication);
                }
                Action::Proceed => {
                    prop_assert!(!over && who.is_some());
                    prop_assert_eq!(request.api(), ApiKey::Metadata);
                }
                Action::Answer(_) | Action::Versions => prop_assert!(!over),
                Action::AnswerThenClose(..) | Action::Close(_) => over = true,
                Action::AwaitKeys { .. } => prop_assert!(false, "nothing waits after giving up"),
            }
            prop_assert_eq!(server.principal(), who.as_ref().map(|who| &who.principal));
        }
    }
}
