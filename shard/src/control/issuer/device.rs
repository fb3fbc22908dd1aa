//! People whose program has no browser: the device flow (RFC 8628). The program shows a code; its user enters it in a
//! browser anywhere, logs in at an identity provider there, sees who asks, and agrees; the program asks for its token
//! until then.
//!
//! Invariants: whoever holds a browser's login agrees on a page that only this browser can answer, so that nobody can be
//! made to by a link or by another site's form. A code can be agreed to once. Codes end after ten minutes, and whoever
//! guesses at them is slowed down as one who guesses passwords.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidegate_core::event::{Kind, Outcome};
use tidegate_core::words::{Principal, Timestamp};

use super::accounts::{authenticate, claimed_name};
use super::cookie::Cookies;
use super::login::{COOKIES as LOGINS, Purpose};
use super::oauth::{Form, OAuthError, no_store};
use super::pages::{Question, device_entry, device_question, page, set_cookie};
use super::refresh::Source;
use super::shelf::Shelf;
use super::token::{Asked, Granted, known_client, new_session};
use super::{Issuer, lock, name};
use crate::config::tokens::CLI_CLIENT;
use crate::control::listen::Peer;
use crate::control::now;
use crate::tokens::secret::{SecretHash, draw};

/// Where a program asks for its codes.
pub(super) const AUTHORIZATION: &str = "/device_authorization";
/// Where its user enters the code.
pub(super) const ENTRY: &str = "/device";
/// Where he agrees.
pub(super) const ANSWER: &str = "/device/answer";
/// RFC 8628's grant type.
pub(super) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// How long a code is good, in milliseconds.
const CODE_MILLIS: i64 = 10 * 60_000;
/// How long an ended one is remembered, so that its program is told that it ended, in milliseconds.
const ENDED_MILLIS: i64 = 10 * 60_000;
/// Seconds between two questions of a program, to begin with.
const INTERVAL_SECONDS: i64 = 5;
/// By how many milliseconds a question may be early: networks and clocks are not exact.
const EARLY_MILLIS: i64 = 500;
/// Devices that ask at the same time, in all and from one address.
const DEVICES_MAX: usize = 4096;
const DEVICES_OF_PEER_MAX: usize = 256;
/// Letters of a code: no vowels, so that it is never a word, and none that looks like another (RFC 8628 §6.1). With
/// eight of them there are 2.56 × 10¹⁰ codes.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LETTERS: usize = 8;
/// Under what name failed guesses are counted.
const GUESSES: &str = "device-code";
/// The cookies that bind questions to their browsers.
const COOKIES: Cookies = Cookies { prefix: "tidegate_device", path: ANSWER };

/// A device that waits.
struct Device {
    client_id: String,
    user_code: String,
    peer: IpAddr,
    asked: Timestamp,
    ends: Timestamp,
    interval_seconds: i64,
    polled: Option<Timestamp>,
    answer: Answer,
}

enum Answer {
    None,
    No,
    /// With the session of the tokens that come of it.
    Yes {
        principal: Principal,
        source: Source,
        sid: Arc<str>,
    },
}

/// Who agreed, on whose word, and the session of the tokens that come of it.
type Agreed = (Principal, Source, Arc<str>);

/// Somebody who has logged in and is asked whether the device is his.
struct Asking {
    device: SecretHash,
    browser: SecretHash,
    principal: Principal,
    source: Source,
}

/// Devices that wait, and people who are asked about them.
pub(super) struct Devices {
    by_code: HashMap<SecretHash, Device>,
    by_user_code: HashMap<SecretHash, SecretHash>,
    asking: Shelf<SecretHash, Asking>,
}

impl Default for Devices {
    fn default() -> Self {
        Self { by_code: HashMap::new(), by_user_code: HashMap::new(), asking: Shelf::new(DEVICES_MAX) }
    }
}

impl Devices {
    fn put(&mut self, code: SecretHash, device: Device, now: Timestamp) -> Result<(), OAuthError> {
        let over: Vec<SecretHash> = self
            .by_code
            .iter()
            .filter(|(_, device)| device.ends.plus_millis(ENDED_MILLIS) <= now)
            .map(|(code, _)| *code)
            .collect();
        for code in over {
            self.remove(&code);
        }
        let of_peer = self.by_code.values().filter(|other| other.peer == device.peer).count();
        if self.by_code.len() >= DEVICES_MAX || of_peer >= DEVICES_OF_PEER_MAX {
            return Err(OAuthError::unavailable("too many devices are logging in"));
        }
        self.by_user_code.insert(SecretHash::of(&device.user_code), code);
        self.by_code.insert(code, device);
        Ok(())
    }

    fn remove(&mut self, code: &SecretHash) -> Option<Device> {
        let device = self.by_code.remove(code)?;
        self.by_user_code.remove(&SecretHash::of(&device.user_code));
        Some(device)
    }

    /// The device that shows `user_code` and is not answered yet.
    fn shown(&self, user_code: &str, now: Timestamp) -> Option<SecretHash> {
        let code = self.by_user_code.get(&SecretHash::of(user_code))?;
        self.waiting(code, now).map(|_| *code)
    }

    fn waiting(&self, code: &SecretHash, now: Timestamp) -> Option<&Device> {
        self.by_code.get(code).filter(|device| now < device.ends && matches!(device.answer, Answer::None))
    }

    fn decide(&mut self, code: &SecretHash, answer: Answer, now: Timestamp) -> Result<(), OAuthError> {
        self.waiting(code, now).ok_or_else(unknown_code)?;
        let device = self.by_code.get_mut(code).ok_or_else(unknown_code)?;
        device.answer = answer;
        Ok(())
    }

    /// What a program is told (RFC 8628 §3.5).
    fn poll(&mut self, code: &SecretHash, client: &str, now: Timestamp) -> Result<Agreed, OAuthError> {
        let refusal = |error, description| Err(OAuthError::new(StatusCode::BAD_REQUEST, error, description));
        let device = self.by_code.get_mut(code).filter(|device| device.client_id == client);
        let device = device.ok_or_else(|| OAuthError::invalid_grant("the device code is not known, or was used"))?;
        if now >= device.ends {
            self.remove(code);
            return refusal("expired_token", "nobody agreed in time");
        }
        match device.answer {
            Answer::None => {
                let early = device.polled.is_some_and(|polled| {
                    now.millis_since(polled) + EARLY_MILLIS < device.interval_seconds.saturating_mul(1000)
                });
                device.polled = Some(now);
                if early {
                    device.interval_seconds = device.interval_seconds.saturating_add(5);
                    return refusal("slow_down", "too many questions; five seconds more between two");
                }
                refusal("authorization_pending", "nobody has agreed yet")
            }
            Answer::No => {
                self.remove(code);
                refusal("access_denied", "the user refused")
            }
            Answer::Yes { .. } => match self.remove(code).map(|device| device.answer) {
                Some(Answer::Yes { principal, source, sid }) => Ok((principal, source, sid)),
                _ => Err(OAuthError::server_error("the device is gone")),
            },
        }
    }
}

/// `POST /device_authorization`.
pub(super) async fn authorization(
    State(issuer): State<Arc<Issuer>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match issuer.begin_device(peer.ip(), &headers, &body) {
        Ok(answer) => (no_store(), axum::Json(answer)).into_response(),
        Err(error) => {
            issuer.refused(peer.ip(), CLI_CLIENT, "device_authorization", &error, None);
            error.into_response()
        }
    }
}

/// `GET /device`.
pub(super) async fn entry(State(issuer): State<Arc<Issuer>>, RawQuery(query): RawQuery) -> Response {
    let form = Form::parse(query.unwrap_or_default().as_bytes());
    let code = form.ok().and_then(|form| form.get("user_code").map(str::to_owned)).unwrap_or_default();
    device_entry(&code.chars().take(16).collect::<String>(), None, &issuer.providers())
}

/// `POST /device`.
pub(super) async fn enter(
    State(issuer): State<Arc<Issuer>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match issuer.enter_code(peer.ip(), &headers, &body).await {
        Ok(response) => response,
        Err(error) => {
            issuer.refused(peer.ip(), GUESSES, "device", &error, None);
            device_entry("", Some(&error), &issuer.providers())
        }
    }
}

/// `POST /device/answer`.
pub(super) async fn answer(
    State(issuer): State<Arc<Issuer>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match issuer.answer_device(peer.ip(), &headers, &body) {
        Ok(response) => response,
        Err(error) => {
            issuer.refused(peer.ip(), GUESSES, "device", &error, None);
            page(error.status, "The device is not logged in", &error.description)
        }
    }
}

impl Issuer {
    /// RFC 8628 §3.1 and §3.2.
    fn begin_device(&self, peer: IpAddr, headers: &HeaderMap, body: &[u8]) -> Result<Value, OAuthError> {
        let form = Form::of_body(headers, body)?;
        self.admit(peer, &claimed_name(headers, &form), "device_authorization")?;
        let now = now();
        let client = authenticate(&self.accounts.load(), &mut lock(&self.used_assertions), headers, &form, now)?;
        let client_id = known_client(&client)?;
        if self.providers().is_empty() {
            return Err(OAuthError::invalid_request("no identity provider is configured to log in at"));
        }
        let no_randomness = |_| OAuthError::server_error("the system has no randomness");
        let code = draw("tgd_").map_err(no_randomness)?;
        let user_code = draw_user_code().map_err(no_randomness)?;
        let device = Device {
            client_id,
            user_code: user_code.clone(),
            peer,
            asked: now,
            ends: now.plus_millis(CODE_MILLIS),
            interval_seconds: INTERVAL_SECONDS,
            polled: None,
            answer: Answer::None,
        };
        lock(&self.devices).put(SecretHash::of(&code), device, now)?;
        let (shown, uri) = (shown(&user_code), self.config.url(ENTRY));
        Ok(json!({
            "device_code": &*code,
            "user_code": shown,
            "verification_uri": uri,
            "verification_uri_complete": format!("{uri}?user_code={shown}"),
            "expires_in": CODE_MILLIS / 1000,
            "interval": INTERVAL_SECONDS,
        }))
    }

    /// Somebody entered a code: he logs in, in this browser.
    async fn enter_code(&self, peer: IpAddr, headers: &HeaderMap, body: &[u8]) -> Result<Response, OAuthError> {
        self.admit(peer, GUESSES, "device")?;
        let form = Form::of_body(headers, body)?;
        let device = lock(&self.devices).shown(&read(form.need("user_code")?), now());
        let device = device.ok_or_else(unknown_code)?;
        self.send_to_provider(form.get("idp").unwrap_or_default(), Purpose::Device(device), headers).await
    }

    /// Who entered a code has logged in: he is asked whether the device is his.
    pub(super) fn ask_about_device(
        &self,
        code: SecretHash,
        principal: Principal,
        source: Source,
        login: &SecretHash,
        now: Timestamp,
    ) -> Result<Response, OAuthError> {
        let random = || draw("").map_err(|_| OAuthError::server_error("the system has no randomness"));
        let (token, browser) = (random()?, random()?);
        let mut devices = lock(&self.devices);
        let device = devices.waiting(&code, now).ok_or_else(unknown_code)?;
        let (user_code, ends) = (shown(&device.user_code), device.ends);
        let mut response = device_question(&Question {
            action: &self.config.url(ANSWER),
            token: &token,
            principal: &principal.name,
            user_code: &user_code,
            peer: &device.peer.to_string(),
            minutes: now.millis_since(device.asked) / 60_000,
        });
        let of = SecretHash::of(&token);
        let asking = Asking { device: code, browser: SecretHash::of(&browser), principal, source };
        devices
            .asking
            .put(of, asking, ends, now)
            .map_err(|_| OAuthError::unavailable("too many people are logging in"))?;
        drop(devices);
        let site = if self.config.issuer.starts_with("https:") { "Strict; Secure" } else { "Strict" };
        set_cookie(&mut response, &COOKIES.make(&of, &browser, site))?;
        set_cookie(&mut response, &LOGINS.remove(login))?;
        Ok(response)
    }

    fn answer_device(&self, peer: IpAddr, headers: &HeaderMap, body: &[u8]) -> Result<Response, OAuthError> {
        self.admit(peer, GUESSES, "device")?;
        let form = Form::of_body(headers, body)?;
        let (now, of) = (now(), SecretHash::of(form.need("token")?));
        let mut devices = lock(&self.devices);
        let asking = devices.asking.take(&of, now).ok_or_else(unknown_code)?;
        if !COOKIES.is_from(headers, &of, &asking.browser) {
            return Err(OAuthError::invalid_grant("the question was another browser's"));
        }
        let Asking { device, principal, source, .. } = asking;
        if form.get("answer") != Some("yes") {
            devices.decide(&device, Answer::No, now)?;
            drop(devices);
            let refusal = OAuthError::new(StatusCode::FORBIDDEN, "access_denied", "the user refused the device");
            self.refused(peer, GUESSES, "device", &refusal, Some(&principal));
            return forgetting(&of, page(StatusCode::OK, "Refused", "The device is not logged in."));
        }
        self.check_standing(&principal, None)?;
        let asked_from = devices.waiting(&device, now).ok_or_else(unknown_code)?.peer;
        let sid = new_session();
        devices.decide(&device, Answer::Yes { principal: principal.clone(), source, sid: sid.clone() }, now)?;
        drop(devices);
        tracing::info!(%peer, %asked_from, principal = %principal.name, %sid, "a device is agreed to");
        self.note_agreement(peer, asked_from, &principal, &sid, now);
        forgetting(&of, page(StatusCode::OK, "The device is logged in", "You can close this window."))
    }

    /// Leaves the agreement in the evidence, under the session of the tokens that come of it.
    fn note_agreement(&self, peer: IpAddr, asked_from: IpAddr, principal: &Principal, sid: &Arc<str>, now: Timestamp) {
        let mut event = self.event(Kind::DeviceAgreed, Outcome::Allowed, now);
        event.session = sid.to_string();
        event.client_address = peer.to_string();
        event.client_id = CLI_CLIENT.to_owned();
        event.api = "device".to_owned();
        event.detail = format!("agreed that the device at {asked_from} is logged in");
        name(&mut event, Some(principal));
        self.note(event);
    }

    /// RFC 8628 §3.4.
    pub(super) fn redeem_device(&self, asked: Asked<'_>) -> Result<Granted, OAuthError> {
        let Asked { form, client, now } = asked;
        let client = known_client(&client)?;
        let code = SecretHash::of(form.need("device_code")?);
        let (principal, source, sid) = lock(&self.devices).poll(&code, &client, now)?;
        self.begin(principal, source, &client, sid, now)
    }
}

/// Takes the answered question's cookie out of the browser.
fn forgetting(of: &SecretHash, mut response: Response) -> Result<Response, OAuthError> {
    set_cookie(&mut response, &COOKIES.remove(of))?;
    Ok(response)
}

fn unknown_code() -> OAuthError {
    OAuthError::invalid_grant("the code is not known, was answered, or is too old")
}

fn draw_user_code() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut code = String::with_capacity(CODE_LETTERS);
    while code.len() < CODE_LETTERS {
        let mut byte = [0];
        aws_lc_rs::rand::fill(&mut byte)?;
        // 240 is the largest multiple of 20 in a byte: every letter is as likely as another.
        let letter = LETTERS.get(usize::from(byte[0]) % LETTERS.len()).filter(|_| byte[0] < 240);
        code.extend(letter.map(|letter| char::from(*letter)));
    }
    Ok(code)
}

/// `BCDFGHJK` as `BCDF-GHJK`.
fn shown(user_code: &str) -> String {
    let (left, right) = user_code.split_at_checked(CODE_LETTERS / 2).unwrap_or((user_code, ""));
    format!("{left}-{right}")
}

/// What somebody typed, as it was drawn: without dashes, spaces and the like, in capitals (RFC 8628 §6.1).
fn read(typed: &str) -> String {
    typed.chars().filter(char::is_ascii_alphanumeric).take(CODE_LETTERS * 2).map(|c| c.to_ascii_uppercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_000 + seconds)
    }

    fn device(user_code: &str, asked: Timestamp) -> Device {
        Device {
            client_id: CLI_CLIENT.to_owned(),
            user_code: user_code.to_owned(),
            peer: PEER,
            asked,
            ends: asked.plus_millis(CODE_MILLIS),
            interval_seconds: INTERVAL_SECONDS,
            polled: None,
            answer: Answer::None,
        }
    }

    fn yes() -> Answer {
        let name: Arc<str> = Arc::from("alice");
        let principal = Principal { issuer: name.clone(), subject: name.clone(), name, groups: Vec::new() };
        Answer::Yes { principal, source: Source { idp: None, ends: at(9_000) }, sid: "s".into() }
    }

    fn code_of(error: Result<Agreed, OAuthError>) -> &'static str {
        error.map_or_else(|error| error.code, |_| "a token")
    }

    #[test]
    fn a_program_waits_slows_down_and_gets_its_answer_once() {
        let code = SecretHash::of("d");
        let waiting = || {
            let mut devices = Devices::default();
            devices.put(code, device("BCDFGHJK", at(0)), at(0)).unwrap();
            devices
        };
        // Seconds at which the program asks, and what it is told.
        let mut devices = waiting();
        for (second, told) in [
            (0, "authorization_pending"),
            (5, "authorization_pending"),
            (6, "slow_down"),
            (14, "slow_down"),
            (30, "authorization_pending"),
            (599, "authorization_pending"),
            (600, "expired_token"),
            (601, "invalid_grant"),
        ] {
            assert_eq!(code_of(devices.poll(&code, CLI_CLIENT, at(second))), told, "at {second}");
        }
        let mut devices = waiting();
        assert_eq!(code_of(devices.poll(&code, "etl", at(1))), "invalid_grant", "another program's code");
        devices.decide(&code, yes(), at(2)).unwrap();
        assert!(devices.shown("BCDFGHJK", at(2)).is_none(), "it was answered");
        assert!(devices.decide(&code, Answer::No, at(2)).is_err(), "the first answer holds");
        assert_eq!(code_of(devices.poll(&code, CLI_CLIENT, at(3))), "a token");
        assert_eq!(code_of(devices.poll(&code, CLI_CLIENT, at(8))), "invalid_grant");
        let mut devices = waiting();
        devices.decide(&code, Answer::No, at(2)).unwrap();
        assert_eq!(code_of(devices.poll(&code, CLI_CLIENT, at(3))), "access_denied");
        // Too late to agree.
        let mut devices = waiting();
        assert!(devices.shown("BCDFGHJK", at(600)).is_none() && devices.decide(&code, yes(), at(600)).is_err());
    }

    #[test]
    fn devices_are_bounded_in_all_and_for_each_address_and_make_room_when_they_end() {
        let mut devices = Devices::default();
        let mut add = |n: usize, peer: IpAddr, now: Timestamp| {
            let device = Device { peer, ..device(&format!("{n:08}"), now) };
            devices.put(SecretHash::of(&n.to_string()), device, now).is_ok()
        };
        assert!((0..DEVICES_OF_PEER_MAX).all(|n| add(n, PEER, at(0))));
        assert!(!add(9_999, PEER, at(0)), "one address has its share");
        for n in DEVICES_OF_PEER_MAX..DEVICES_MAX {
            assert!(add(n, IpAddr::from([10, 0, (n >> 8) as u8, 1]), at(0)), "{n}");
        }
        assert!(!add(9_999, IpAddr::from([10, 9, 9, 9]), at(1_199)), "in all");
        assert!(add(9_999, PEER, at(1_200)));
        assert_eq!((devices.by_code.len(), devices.by_user_code.len()), (1, 1));
    }

    #[test]
    fn codes_are_read_as_people_type_them_and_hard_to_guess() {
        for typed in ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "B.C.D.F.G.H.J.K"] {
            assert_eq!(read(typed), "BCDFGHJK");
        }
        assert_eq!(read(&"B".repeat(10_000)).len(), 16);
        let codes: std::collections::HashSet<String> = (0..500).map(|_| draw_user_code().unwrap()).collect();
        assert_eq!(codes.len(), 500);
        assert!(codes.iter().all(|code| code.len() == 8 && code.bytes().all(|byte| LETTERS.contains(&byte))));
        let letters: std::collections::HashSet<char> = codes.iter().flat_map(|code| code.chars()).collect();
        assert_eq!(letters.len(), LETTERS.len(), "every letter comes up");
        assert_eq!(shown("BCDFGHJK"), "BCDF-GHJK");
    }
}
