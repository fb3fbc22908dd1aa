//! The device flow over HTTP: a program that polls, and a person in a browser elsewhere.

use serde_json::Value;
use tidegate_core::event::Kind;

use super::login::Scene;
use super::*;

/// A device's codes, and what its browser holds.
struct Device {
    scene: Scene,
    codes: Value,
}

/// What a browser is answered: status, first cookie, page.
type Page = (u16, String, String);

impl Device {
    async fn new() -> Self {
        let scene = Scene::new().await;
        let (status, codes) = scene.fixture.post("/device_authorization", &[("client_id", "tidegate-cli")]).await;
        assert_eq!(status, 200, "{codes}");
        Self { scene, codes }
    }

    fn code(&self, name: &str) -> &str {
        self.codes[name].as_str().unwrap()
    }

    async fn poll(&self) -> (u16, Value) {
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", "tidegate-cli"),
            ("device_code", self.code("device_code")),
        ];
        self.scene.fixture.post("/token", &fields).await
    }

    async fn submit(&self, path: &str, fields: &[(&str, &str)], cookie: &str) -> (Page, String) {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.scene.fixture.http.post(format!("{}{path}", self.scene.fixture.url)).body(body);
        let request = request.header("content-type", "application/x-www-form-urlencoded").header("cookie", cookie);
        let answer = request.send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let (location, cookie) = (header("location"), header("set-cookie"));
        ((answer.status().as_u16(), cookie, answer.text().await.unwrap()), location)
    }

    /// Enters `typed` and logs in; the page that asks about the device, or the one that says what is wrong.
    async fn enter(&self, typed: &str) -> Page {
        let fields = [("user_code", typed), ("idp", self.scene.provider())];
        let (page, location) = self.submit("/device", &fields, "").await;
        if location.is_empty() {
            return page;
        }
        let cookie = page.1.split(';').next().unwrap();
        let (_, back, _) = self.scene.get(&location, "").await;
        let answer = self.scene.fixture.http.get(back).header("cookie", cookie).send().await.unwrap();
        let cookie = answer.headers().get("set-cookie").map_or("", |value| value.to_str().unwrap()).to_owned();
        (answer.status().as_u16(), cookie, answer.text().await.unwrap())
    }

    async fn answer(&self, page: &Page, answer: &str, cookie: &str) -> u16 {
        let token = page.2.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        self.submit("/device/answer", &[("token", token), ("answer", answer)], cookie).await.0.0
    }
}

fn cookie(page: &Page) -> &str {
    page.1.split(';').next().unwrap()
}

#[tokio::test]
async fn a_device_is_logged_in_by_a_browser_that_agreed() {
    let device = Device::new().await;
    assert_eq!(device.poll().await.1["error"], "authorization_pending");
    assert_eq!(device.poll().await.1["error"], "slow_down");
    let complete = device.code("verification_uri_complete");
    let entry = device.scene.fixture.http.get(complete).send().await.unwrap().text().await.unwrap();
    assert!(entry.contains(device.code("user_code")) && entry.contains("Log in at"), "{entry}");
    let question = device.enter(&device.code("user_code").to_lowercase()).await;
    assert_eq!(question.0, 200, "{question:?}");
    for part in ["alice", device.code("user_code"), "127.0.0.1", "less than a minute"] {
        assert!(question.2.contains(part), "{part}: {}", question.2);
    }
    assert!(question.1.contains("SameSite=Strict") && question.1.contains("HttpOnly"), "{}", question.1);
    assert_eq!(device.poll().await.1["error"], "slow_down", "a login is not yet an agreement");
    assert_eq!(device.answer(&question, "yes", cookie(&question)).await, 200);
    let (status, answer) = device.poll().await;
    assert_eq!(status, 200, "{answer}");
    // Who agreed, where, and to what came of it stands in the evidence.
    let events = device.scene.fixture.issuer.shared.notices.take();
    let of = |kind: Kind| events.iter().find(|event| event.kind == kind as i32).unwrap_or_else(|| panic!("{events:?}"));
    let (agreed, issued) = (of(Kind::DeviceAgreed), of(Kind::TokenIssued));
    assert_eq!((&*agreed.principal, &*agreed.client_address, &*agreed.api), ("alice", "127.0.0.1", "device"));
    assert_eq!(agreed.groups, ["analysts"]);
    assert!(agreed.detail.contains("the device at 127.0.0.1"), "{}", agreed.detail);
    assert!(!agreed.session.is_empty() && agreed.session == issued.session, "one story: {issued:?}");
    assert!(!agreed.detail.contains(device.code("user_code")), "codes are secrets");
    assert_eq!(device.scene.groups(&answer), ["analysts"]);
    assert_eq!(device.scene.refresh(answer["refresh_token"].as_str().unwrap()).await.0, 200, "it goes on");
    assert_eq!(device.poll().await.1["error"], "invalid_grant", "once");
    assert_eq!(device.enter(device.code("user_code")).await.0, 400, "it was answered");
}

#[tokio::test]
async fn nobody_agrees_for_another_browser_and_a_refusal_holds() {
    let device = Device::new().await;
    let other = device.enter(device.code("user_code")).await;
    for (row, stolen) in [("none", ""), ("made up", "=other"), ("of another question", cookie(&other))] {
        let question = device.enter(device.code("user_code")).await;
        let stolen = match stolen.strip_prefix('=') {
            Some(value) => format!("{}={value}", cookie(&question).split('=').next().unwrap()),
            None => stolen.to_owned(),
        };
        assert_eq!(device.answer(&question, "yes", &stolen).await, 400, "{row}");
        assert_eq!(device.answer(&question, "yes", cookie(&question)).await, 400, "a question is asked once");
    }
    assert_eq!(device.poll().await.1["error"], "authorization_pending");
    let question = device.enter(device.code("user_code")).await;
    let other = device.enter(device.code("user_code")).await;
    assert_eq!(device.answer(&question, "no", cookie(&question)).await, 200);
    assert_eq!(device.answer(&other, "yes", cookie(&other)).await, 400, "the first answer holds");
    assert_eq!(device.poll().await.1["error"], "access_denied");
    let events = device.scene.fixture.issuer.shared.notices.take();
    let refused = events.iter().find(|event| event.kind == Kind::TokenRefused as i32 && event.principal == "alice");
    assert!(refused.is_some_and(|event| event.detail.contains("access_denied")), "{events:?}");
    assert!(events.iter().all(|event| event.kind != Kind::TokenIssued as i32));
}

#[tokio::test]
async fn codes_cannot_be_guessed_at_speed_and_strangers_get_none() {
    let device = Device::new().await;
    let fixture = &device.scene.fixture;
    for (fields, error) in
        [(vec![("client_id", "evil")], "invalid_client"), (vec![("scope", "kafka")], "invalid_client")]
    {
        assert_eq!(fixture.post("/device_authorization", &fields).await.1["error"], error);
    }
    fixture.issuer.throttle.lock().unwrap().clone_from(&Throttle::default());
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(device.enter("BBBB-BBBB").await.0);
    }
    assert_eq!(answers, [400, 400, 400, 400, 400, 400, 400, 400, 400, 400, 429, 429]);
    assert_eq!(device.enter(device.code("user_code")).await.0, 429, "the right one waits too");
    // Whoever logs in otherwise does not wait.
    let (status, _, _) = device.scene.get(&format!("{}/authorize?client_id=x", fixture.url), "").await;
    assert_eq!(status, 400);
    let (_, _, page) = device.submit("/device", &[], "").await.0;
    assert!(page.contains("too many attempts"), "{page}");
}
