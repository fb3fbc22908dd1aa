//! Logins against a scripted broker: bytes only, with the broker's side of each mechanism written out.

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsResponse, SaslHandshakeResponse};
use kafka_protocol::protocol::Decodable;
use tidegate_core::header::{RequestHeader, response_frame};

use super::super::credentials::Secret;
use super::super::scram::ScramHash;
use super::*;

/// A broker that knows one user, and what it is asked.
struct Broker {
    api_versions_max: i16,
    authenticate_max: i16,
    mechanisms: Vec<&'static str>,
    password: &'static str,
    lifetime: i64,
    /// Signs with another password: an impostor.
    forges: bool,
    seen: Vec<(ApiKey, i16)>,
    mechanism: String,
    scram_first: String,
}

impl Broker {
    fn new() -> Self {
        Self {
            api_versions_max: 4,
            authenticate_max: 2,
            mechanisms: vec!["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"],
            password: "hush-hush",
            lifetime: 0,
            forges: false,
            seen: Vec::new(),
            mechanism: String::new(),
            scram_first: String::new(),
        }
    }

    fn answer(&mut self, frame: &Bytes) -> Bytes {
        let header = RequestHeader::parse(frame).unwrap();
        assert_eq!(header.client_id(frame), "tidegate-1");
        let (api, version) = (header.api, header.version);
        self.seen.push((api, version));
        let mut body = frame.slice(header.body_start..);
        let mut out = BytesMut::new();
        match api {
            ApiKey::ApiVersions => {
                let known = version <= self.api_versions_max;
                let mut response = ApiVersionsResponse::default().with_error_code(if known { 0 } else { 35 });
                let range = |api: ApiKey, max| {
                    ApiVersion::default().with_api_key(api as i16).with_min_version(0).with_max_version(max)
                };
                // Before Kafka 2.4 the refusal named no versions.
                if known || self.api_versions_max >= 3 {
                    response.api_keys.push(range(ApiKey::ApiVersions, self.api_versions_max));
                }
                if known {
                    response.api_keys.push(range(ApiKey::SaslHandshake, 1));
                    response.api_keys.push(range(ApiKey::Metadata, 12));
                    if self.authenticate_max >= 0 {
                        response.api_keys.push(range(ApiKey::SaslAuthenticate, self.authenticate_max));
                    }
                }
                response.encode(&mut out, if known { version } else { 0 }).unwrap();
            }
            ApiKey::SaslHandshake => {
                let request = SaslHandshakeRequest::decode(&mut body, version).unwrap();
                self.mechanism = request.mechanism.to_string();
                let known = self.mechanisms.contains(&self.mechanism.as_str());
                let names = self.mechanisms.iter().map(|name| StrBytes::from_static_str(name)).collect();
                let response = SaslHandshakeResponse::default().with_error_code(if known { 0 } else { 33 });
                response.with_mechanisms(names).encode(&mut out, version).unwrap();
            }
            ApiKey::SaslAuthenticate => {
                let request = SaslAuthenticateRequest::decode(&mut body, version).unwrap();
                let response = match self.mechanism_says(&request.auth_bytes) {
                    Ok(challenge) => SaslAuthenticateResponse::default()
                        .with_error_message(None)
                        .with_auth_bytes(Bytes::from(challenge))
                        .with_session_lifetime_ms(if version >= 1 { self.lifetime } else { 0 }),
                    Err(message) => SaslAuthenticateResponse::default()
                        .with_error_code(58)
                        .with_error_message(Some(StrBytes::from_static_str(message))),
                };
                response.encode(&mut out, version).unwrap();
            }
            other => panic!("{other:?}"),
        }
        assert!(body.is_empty() || api == ApiKey::ApiVersions, "bytes left over");
        response_frame(header.correlation_id, api, version, &out)
    }

    fn mechanism_says(&mut self, message: &[u8]) -> Result<Vec<u8>, &'static str> {
        let text = std::str::from_utf8(message).unwrap().to_owned();
        match self.mechanism.as_str() {
            "PLAIN" if text == format!("\0gw\0{}", self.password) => Ok(Vec::new()),
            "OAUTHBEARER" if text == format!("n,,\x01auth=Bearer {}\x01\x01", self.password) => Ok(Vec::new()),
            "OAUTHBEARER" if text == "\x01" => Err("Authentication failed"),
            "OAUTHBEARER" => Ok(br#"{"status":"invalid_token"}"#.to_vec()),
            "SCRAM-SHA-256" => self.scram(&text, &digest::SHA256, hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256),
            "SCRAM-SHA-512" => self.scram(&text, &digest::SHA512, hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512),
            _ => Err("Authentication failed: invalid credentials"),
        }
    }

    /// The server's side of RFC 5802 §3, from the formulas.
    fn scram(
        &mut self,
        text: &str,
        hash: &'static digest::Algorithm,
        mac: hmac::Algorithm,
        kdf: pbkdf2::Algorithm,
    ) -> Result<Vec<u8>, &'static str> {
        if let Some(first_bare) = text.strip_prefix("n,,") {
            let nonce = first_bare.strip_prefix("n=gw,r=").unwrap();
            let server_first = format!("r={nonce}SERVER,s={},i=4096", STANDARD.encode("salt"));
            self.scram_first = format!("{first_bare},{server_first}");
            return Ok(server_first.into_bytes());
        }
        let (without_proof, proof) = text.split_once(",p=").unwrap();
        let signed = format!("{},{without_proof}", self.scram_first);
        let mut salted = vec![0; hash.output_len()];
        pbkdf2::derive(kdf, 4096.try_into().unwrap(), b"salt", self.password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(mac, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored = digest::digest(hash, client_key.as_ref());
        let signature = hmac::sign(&hmac::Key::new(mac, stored.as_ref()), signed.as_bytes());
        let expected: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        if STANDARD.decode(proof).unwrap() != expected {
            return Err("Authentication failed during authentication due to invalid credentials");
        }
        let server_key = hmac::sign(&salted, if self.forges { b"Other Key!" } else { b"Server Key" });
        let signature = hmac::sign(&hmac::Key::new(mac, server_key.as_ref()), signed.as_bytes());
        Ok(format!("v={}", STANDARD.encode(signature.as_ref())).into_bytes())
    }
}

fn run(login: &mut UpstreamLogin, broker: &mut Broker) -> Result<LoggedIn, LoginError> {
    for _ in 0..20 {
        match login.next() {
            Action::Send(frame) => {
                assert!(matches!(login.next(), Action::Receive), "a frame is handed out once");
                assert!(!format!("{login:?}").contains("hush"), "the login shows its secret");
                let response = broker.answer(&frame);
                assert_eq!(response_correlation_id(&response), login.awaits());
                login.on_frame(response);
            }
            Action::Receive => panic!("nothing was sent"),
            Action::Done(done) => return Ok(done),
            Action::Failed(error) => {
                assert!(!error.to_string().contains("hush"), "{error}");
                return Err(error);
            }
        }
    }
    panic!("the login does not end");
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn every_mechanism(password: &str) -> Vec<UpstreamCredentials> {
    vec![
        UpstreamCredentials::Plain { username: "gw".to_owned(), password: secret(password) },
        UpstreamCredentials::scram(ScramHash::Sha256, "gw", secret(password)),
        UpstreamCredentials::scram(ScramHash::Sha512, "gw", secret(password)),
        UpstreamCredentials::OAuthBearer { token: secret(password) },
    ]
}

#[test]
fn every_mechanism_logs_in_with_every_version_of_authenticate() {
    for version in 0..=2 {
        for credentials in every_mechanism("hush-hush") {
            let mut broker = Broker { authenticate_max: version, lifetime: 60_000, ..Broker::new() };
            let done = run(&mut UpstreamLogin::new(&credentials, "tidegate-1"), &mut broker).unwrap();
            assert_eq!(done.session_lifetime_millis, (version >= 1).then_some(60_000));
            assert_eq!(done.versions.negotiate(ApiKey::Metadata, 99), Some(12));
            assert_eq!(done.next_correlation_id as usize, broker.seen.len());
            assert_eq!(broker.seen[..2], [(ApiKey::ApiVersions, 4), (ApiKey::SaslHandshake, 1)]);
            assert_eq!(broker.seen.last(), Some(&(ApiKey::SaslAuthenticate, version)));
        }
    }
}

#[test]
fn without_credentials_only_versions_are_asked() {
    let mut broker = Broker { authenticate_max: -1, ..Broker::new() };
    let done = run(&mut UpstreamLogin::new(&UpstreamCredentials::None, "tidegate-1"), &mut broker).unwrap();
    assert_eq!((done.session_lifetime_millis, done.next_correlation_id), (None, 1));
    assert_eq!(broker.seen, [(ApiKey::ApiVersions, 4)]);
}

#[test]
fn older_brokers_are_asked_again_in_a_version_they_speak() {
    let check = |max, expected: &[i16]| {
        let mut broker = Broker { api_versions_max: max, ..Broker::new() };
        run(&mut UpstreamLogin::new(&UpstreamCredentials::None, "tidegate-1"), &mut broker).unwrap();
        let asked: Vec<i16> = broker.seen.iter().map(|(_, version)| *version).collect();
        assert_eq!(asked, expected);
    };
    check(4, &[4]);
    check(3, &[4, 3]);
    check(2, &[4, 0]);
    let mut broker = Broker { api_versions_max: -1, ..Broker::new() };
    let refused = run(&mut UpstreamLogin::new(&UpstreamCredentials::None, "tidegate-1"), &mut broker);
    assert_eq!(refused, Err(LoginError::Versions(VersionsError::Unsupported { highest: None })));
    assert_eq!(broker.seen.len(), 2);
}

#[test]
fn a_wrong_secret_is_the_brokers_refusal_in_its_words() {
    for credentials in every_mechanism("hush") {
        let mut broker = Broker::new();
        match run(&mut UpstreamLogin::new(&credentials, "tidegate-1"), &mut broker) {
            Err(LoginError::Refused { code: 58, message }) => assert!(message.starts_with("Authentication failed")),
            other => panic!("{credentials:?}: {other:?}"),
        }
    }
    let mut broker = Broker::new();
    let error = run(&mut UpstreamLogin::new(&every_mechanism("hush")[3], "tidegate-1"), &mut broker).unwrap_err();
    assert!(error.to_string().contains("invalid_token"), "the broker's JSON is told: {error}");
}

#[test]
fn an_impostor_that_accepts_everything_is_found_out_by_scram() {
    for credentials in every_mechanism("hush-hush").drain(1..3) {
        let mut broker = Broker { forges: true, ..Broker::new() };
        let error = run(&mut UpstreamLogin::new(&credentials, "tidegate-1"), &mut broker).unwrap_err();
        assert_eq!(error, LoginError::Scram(ScramError::ServerSignature));
    }
}

#[test]
fn a_mechanism_or_api_that_the_broker_lacks_is_named() {
    let plain = &every_mechanism("hush-hush")[0];
    let mut broker = Broker { mechanisms: vec!["GSSAPI", "SCRAM-SHA-512"], ..Broker::new() };
    let error = run(&mut UpstreamLogin::new(plain, "tidegate-1"), &mut broker).unwrap_err();
    assert_eq!(error.to_string(), "the broker does not accept PLAIN; it offers GSSAPI, SCRAM-SHA-512");
    let mut broker = Broker { authenticate_max: -1, ..Broker::new() };
    let error = run(&mut UpstreamLogin::new(plain, "tidegate-1"), &mut broker).unwrap_err();
    assert_eq!(error, LoginError::NotOffered("SaslAuthenticate"));
}

#[test]
fn logging_in_anew_goes_straight_to_sasl_with_free_correlation_ids() {
    for credentials in every_mechanism("hush-hush") {
        let mut broker = Broker { lifetime: 1000, ..Broker::new() };
        let first = run(&mut UpstreamLogin::new(&credentials, "tidegate-1"), &mut broker).unwrap();
        broker.seen.clear();
        let mut anew = UpstreamLogin::reauthenticate(&credentials, "tidegate-1", &first.versions, i32::MAX);
        assert_eq!(anew.awaits(), Some(i32::MAX));
        let done = run(&mut anew, &mut broker).unwrap();
        assert_eq!(done.session_lifetime_millis, Some(1000));
        assert_eq!(done.versions, first.versions);
        assert_eq!(broker.seen[0], (ApiKey::SaslHandshake, 1));
        assert_eq!(anew.awaits(), None);
    }
}

#[test]
fn what_is_no_broker_is_not_believed_and_nothing_panics() {
    let http = Bytes::from_static(b"\0\0\0\x10HTTP/1.1 400 Bad");
    let mut login = UpstreamLogin::new(&UpstreamCredentials::None, "tidegate-1");
    login.on_frame(http);
    assert!(matches!(login.next(), Action::Failed(LoginError::Malformed(_))));
    // Every response of a SCRAM login cut at every byte: refused, or understood where only a tail was cut.
    let credentials = &every_mechanism("hush-hush")[1];
    for step in 0..4 {
        for cut in 0..400 {
            let mut broker = Broker::new();
            let mut login = UpstreamLogin::new(credentials, "tidegate-1");
            for at in 0..=step {
                let Action::Send(frame) = login.next() else { panic!("step {at}") };
                let response = broker.answer(&frame);
                login.on_frame(if at == step { response.slice(..cut.min(response.len())) } else { response });
            }
            let _ = login.next();
        }
    }
}
