//! A whole login: a program, a browser, and an identity provider of the test's own.

use std::collections::HashMap;

use axum::extract::RawQuery;
use serde_json::Value;
use tidegate_core::limits::Limits;
use tidegate_policy::identity::verify;

use super::super::cookie::LOGINS_MAX;
use super::*;
use crate::tokens::SigningKey;
use crate::tokens::secret::{draw, s256};

/// What the provider knows; it lets everybody in as alice.
pub(super) struct Provider {
    url: String,
    key: SigningKey,
    pub(super) groups: Mutex<Vec<&'static str>>,
    away: std::sync::atomic::AtomicBool,
    asked: Mutex<HashMap<String, String>>,
    nonce: Mutex<Option<&'static str>>,
}

impl Provider {
    async fn start(key: SigningKey) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Arc::new(Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            key,
            groups: Mutex::new(vec!["analysts"]),
            away: false.into(),
            asked: Mutex::default(),
            nonce: Mutex::default(),
        });
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(Self::discovery))
            .route("/jwks", get(async |State(p): State<Arc<Self>>| axum::Json(json!({"keys": [p.key.public_jwk()]}))))
            .route("/authorize", get(Self::authorize))
            .route("/token", post(Self::token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        provider
    }

    async fn discovery(State(provider): State<Arc<Self>>) -> Response {
        let at = |path: &str| format!("{}{path}", provider.url);
        axum::Json(json!({"issuer": provider.url, "jwks_uri": at("/jwks"), "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token")}))
            .into_response()
    }

    async fn authorize(State(provider): State<Arc<Self>>, RawQuery(query): RawQuery) -> Response {
        let asked: HashMap<String, String> = form_urlencoded::parse(query.unwrap().as_bytes()).into_owned().collect();
        let to = format!("{}?code=c1&state={}", asked["redirect_uri"], asked["state"]);
        *provider.asked.lock().unwrap() = asked;
        axum::response::Redirect::to(&to).into_response()
    }

    async fn token(State(provider): State<Arc<Self>>, body: String) -> Response {
        let form: HashMap<String, String> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        use std::sync::atomic::Ordering;
        if provider.away.load(Ordering::Relaxed) {
            return axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let asked = provider.asked.lock().unwrap().clone();
        let first = form["grant_type"] == "authorization_code";
        let good = if first {
            form["code"] == "c1" && s256(&form["code_verifier"]) == asked["code_challenge"]
        } else {
            form["refresh_token"] == "r1"
        };
        if !good {
            return axum::http::StatusCode::BAD_REQUEST.into_response();
        }
        let nonce = provider.nonce.lock().unwrap().map_or(asked["nonce"].clone(), str::to_owned);
        let from = now().as_secs();
        let groups = provider.groups.lock().unwrap().clone();
        let claims = json!({"iss": provider.url, "sub": "alice", "aud": "gateway", "nonce": nonce, "iat": from, "exp": from + 300, "groups": groups});
        axum::Json(
            json!({"id_token": provider.key.sign(&claims).unwrap(), "access_token": "opaque", "refresh_token": "r1"}),
        )
        .into_response()
    }
}

/// A gateway whose people log in at a provider, and a program's side of one login.
pub(super) struct Scene {
    pub(super) fixture: Fixture,
    pub(super) provider: Arc<Provider>,
    pub(super) verifier: String,
}

pub(super) const REDIRECT: &str = "http://127.0.0.1:4711/callback";

impl Scene {
    pub(super) async fn new() -> Self {
        let (key, _) = SigningKey::generate(crate::tokens::TokenAlgorithm::ES256).unwrap();
        let provider = Provider::start(key).await;
        let fixture = Fixture::with_idp(&provider.url, &provider.key).await;
        Self { fixture, provider, verifier: draw("").unwrap().to_string() }
    }

    /// The provider's URL.
    pub(super) fn provider(&self) -> &str {
        &self.provider.url
    }

    pub(super) async fn get(&self, url: &str, cookie: &str) -> (u16, String, String) {
        let answer = self.fixture.http.get(url).header("cookie", cookie).send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        (answer.status().as_u16(), header("location"), header("set-cookie"))
    }

    /// The browser's way to the provider: where that sends it back to, and its cookie.
    async fn browse(&self) -> (String, String) {
        self.browse_with("").await
    }

    /// The same in a browser that has these cookies already.
    async fn browse_with(&self, cookies: &str) -> (String, String) {
        let challenge = s256(&self.verifier);
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("response_type", "code"),
                ("client_id", "tidegate-cli"),
                ("redirect_uri", REDIRECT),
                ("state", "s1"),
                ("code_challenge", &challenge),
                ("code_challenge_method", "S256"),
            ])
            .finish();
        let (status, provider, cookie) = self.get(&format!("{}/authorize?{query}", self.fixture.url), cookies).await;
        assert_eq!(status, 303, "{provider}");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"));
        let (_, back, _) = self.get(&provider, "").await;
        (back, cookie.split(';').next().unwrap().to_owned())
    }

    /// A code for the program.
    pub(super) async fn code(&self) -> String {
        let (back, cookie) = self.browse().await;
        let (status, location, _) = self.get(&back, &cookie).await;
        assert_eq!(status, 303, "{location}");
        assert!(location.starts_with(REDIRECT) && location.contains("state=s1"), "{location}");
        let query: HashMap<String, String> =
            form_urlencoded::parse(location.split_once('?').unwrap().1.as_bytes()).into_owned().collect();
        assert_eq!(query["iss"], self.fixture.url);
        query["code"].clone()
    }

    pub(super) async fn redeem(&self, code: &str, verifier: &str, redirect: &str) -> (u16, Value) {
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", "tidegate-cli"),
            ("code", code),
            ("redirect_uri", redirect),
            ("code_verifier", verifier),
        ];
        self.fixture.post("/token", &fields).await
    }

    pub(super) async fn refresh(&self, token: &str) -> (u16, Value) {
        let fields = [("grant_type", "refresh_token"), ("client_id", "tidegate-cli"), ("refresh_token", token)];
        self.fixture.post("/token", &fields).await
    }

    pub(super) fn groups(&self, answer: &Value) -> Vec<String> {
        let token = answer["access_token"].as_str().unwrap();
        let issuers = self.fixture.issuer.shared.issuers.load();
        let verified = verify(token, &issuers, now(), &Limits::default()).unwrap();
        assert_eq!(&*verified.principal.name, "alice");
        verified.principal.groups.iter().map(ToString::to_string).collect()
    }
}

pub(super) fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn a_login_goes_on_and_a_group_lost_at_the_provider_is_lost_here() {
    let scene = Scene::new().await;
    let (status, first) = scene.redeem(&scene.code().await, &scene.verifier, REDIRECT).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(scene.groups(&first), ["analysts"]);
    let (_, second) = scene.refresh(&text(&first, "refresh_token")).await;
    assert_eq!(scene.groups(&second), ["analysts"]);
    // Away is no verdict: the same token is good again.
    scene.provider.away.store(true, std::sync::atomic::Ordering::Relaxed);
    let (status, away) = scene.refresh(&text(&second, "refresh_token")).await;
    assert_eq!((status, away["error"].as_str()), (503, Some("temporarily_unavailable")), "{away}");
    scene.provider.away.store(false, std::sync::atomic::Ordering::Relaxed);
    scene.provider.groups.lock().unwrap().clear();
    let (_, third) = scene.refresh(&text(&second, "refresh_token")).await;
    assert!(scene.groups(&third).is_empty());
    // One that was used is somebody else's: all of the login ends.
    let (status, _) = scene.refresh(&text(&first, "refresh_token")).await;
    assert_eq!(status, 400);
    assert_eq!(scene.refresh(&text(&third, "refresh_token")).await.0, 400);
    let events = scene.fixture.issuer.shared.notices.take();
    assert!(events.iter().any(|event| event.kind == Kind::TokenRevoked as i32 && event.principal == "alice"));
}

#[tokio::test]
async fn logging_out_ends_the_login() {
    let scene = Scene::new().await;
    let (_, first) = scene.redeem(&scene.code().await, &scene.verifier, REDIRECT).await;
    let token = text(&first, "refresh_token");
    let fields = [("token", token.as_str()), ("client_id", "tidegate-cli")];
    assert_eq!(scene.fixture.post("/revoke", &fields).await.0, 200);
    assert_eq!(scene.fixture.post("/revoke", &fields).await.0, 200, "what is gone is gone");
    assert_eq!(scene.refresh(&token).await.0, 400);
}

#[tokio::test]
async fn a_code_is_for_one_program_and_one_use() {
    let scene = Scene::new().await;
    for (row, verifier, redirect) in [
        ("another verifier", draw("").unwrap().to_string(), REDIRECT),
        ("another redirect", scene.verifier.clone(), "http://127.0.0.1:4712/callback"),
    ] {
        let code = scene.code().await;
        assert_eq!(scene.redeem(&code, &verifier, redirect).await.0, 400, "{row}");
        assert_eq!(scene.redeem(&code, &scene.verifier, REDIRECT).await.0, 400, "{row}: it was used");
    }
    let code = scene.code().await;
    let (_, answer) = scene.redeem(&code, &scene.verifier, REDIRECT).await;
    assert_eq!(scene.redeem(&code, &scene.verifier, REDIRECT).await.0, 400);
    assert_eq!(scene.refresh(&text(&answer, "refresh_token")).await.0, 400, "what came of it has ended");
}

#[tokio::test]
async fn a_login_is_one_browsers_and_one_providers() {
    let scene = Scene::new().await;
    let (back, cookie) = scene.browse().await;
    let name = cookie.split('=').next().unwrap();
    assert_eq!(scene.get(&back, &format!("{name}=other")).await.0, 400, "another browser");
    assert_eq!(scene.get(&back, &cookie).await.0, 400, "it was used");
    let (back, cookie) = scene.browse().await;
    assert_eq!(scene.get(&format!("{back}&iss=https://evil.example"), &cookie).await.0, 400, "another provider");
    *scene.provider.nonce.lock().unwrap() = Some("another");
    let (back, cookie) = scene.browse().await;
    assert_eq!(scene.get(&back, &cookie).await.0, 400, "an id token of another login");
    let made_up = format!("{}/callback?code=c1&state=made-up", scene.fixture.url);
    assert_eq!(scene.get(&made_up, &cookie).await.0, 400);
}

#[tokio::test]
async fn logins_in_several_windows_of_one_browser_do_not_take_each_others_place() {
    let scene = Scene::new().await;
    let (first, one) = scene.browse().await;
    // The provider of the tests knows what it was asked last; each window comes back in its turn.
    let asked_first = scene.provider.asked.lock().unwrap().clone();
    let (second, two) = scene.browse_with(&one).await;
    let asked_second = scene.provider.asked.lock().unwrap().clone();
    assert_ne!(one.split('=').next(), two.split('=').next());
    let jar = format!("{one}; {two}");
    for (back, asked, own) in [(&second, asked_second, &two), (&first, asked_first, &one)] {
        *scene.provider.asked.lock().unwrap() = asked;
        let (status, location, gone) = scene.get(back, &jar).await;
        assert_eq!(status, 303, "{location}");
        assert!(gone.starts_with(own.split('=').next().unwrap()) && gone.contains("Max-Age=0"), "{gone}");
    }
    // One login's cookie is no good for another, whichever the browser has.
    let (back, _) = scene.browse().await;
    assert_eq!(scene.get(&back, &jar).await.0, 400);

    // A browser has so many under way; one more ends its oldest, and takes out what is over.
    let mut windows = Vec::new();
    for _ in 0..LOGINS_MAX {
        let jar: Vec<&str> = windows.iter().map(|(_, cookie): &(String, String)| cookie.as_str()).collect();
        windows.push(scene.browse_with(&jar.join("; ")).await);
    }
    let jar: Vec<&str> = windows.iter().map(|(_, cookie)| cookie.as_str()).chain([one.as_str()]).collect();
    let jar = jar.join("; ");
    let (last, cookie) = scene.browse_with(&jar).await;
    let (oldest, newest) = (&windows[0], &windows[LOGINS_MAX - 1]);
    assert_eq!(scene.get(&oldest.0, &jar).await.0, 400, "it was ended");
    assert_eq!(scene.get(&last, &format!("{jar}; {cookie}")).await.0, 303);
    let (status, _, _) = scene.get(&newest.0, "").await;
    assert_eq!(status, 400, "without its cookie it is another browser");
}
