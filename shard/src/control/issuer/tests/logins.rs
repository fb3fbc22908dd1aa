//! What ends a login and its tokens, and what does not: revocations of every kind, a group lost at the provider, a
//! restart, other keys.

use tidegate_core::words::SessionId;
use tidegate_policy::authority::{Actor, Command};

use super::login::{REDIRECT, Scene, text};
use super::*;

fn verified(fixture: &Fixture, token: &str) -> tidegate_policy::identity::Verified {
    verify(token, &fixture.issuer.shared.issuers.load(), now(), &Limits::default()).unwrap()
}

impl Fixture {
    /// Why the data plane and the token endpoint take a token no longer.
    fn revoked(&self, token: &str) -> Option<String> {
        let verified = verified(self, token);
        let policy = self.issuer.shared.policy.load();
        let session = SessionId(uuid::Uuid::now_v7());
        let of_token = policy.revoked(&verified.principal, &session, verified.token_id.as_deref());
        let of_login = || policy.standing().session_revoked(verified.session.as_deref()?);
        of_token.or_else(of_login).map(str::to_owned)
    }

    async fn command(&self, command: Command) {
        self.authority.submit(Actor::gateway(), command).await.unwrap();
    }

    async fn is_active(&self, token: &str) -> bool {
        let fields = [("token", token), ("client_id", "auditor"), ("client_secret", self.secret.as_str())];
        let (status, answer) = self.post("/introspect", &fields).await;
        assert_eq!(status, 200, "{answer}");
        answer["active"] == true
    }

    /// Another process on the same files.
    async fn restarted(&self) -> (Arc<Issuer>, String) {
        let policy = super::super::super::compile_policy(&self.config, 1).unwrap();
        let issuers = self.issuer.shared.issuers.load().clone();
        let (shared, _) = Shared::new(&self.config, Arc::new(policy), issuers, Arc::new(UpstreamCredentials::None));
        let mut config = self.config.clone();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        config.tokens.as_mut().unwrap().bind.set_port(port);
        let issuer = prepare(&config, &shared).unwrap().unwrap();
        issuer.clone().serve(issuer.bind().unwrap(), self.authority.clone());
        (issuer, format!("http://localhost:{port}"))
    }
}

fn reason() -> String {
    "lost laptop".to_owned()
}

#[tokio::test]
async fn a_token_of_the_gateway_is_of_the_principal_that_its_provider_vouched_for() {
    let fixture = Fixture::new().await;
    let idp_token = fixture.idp_token(json!({"jti": "idp-1"}));
    let (_, answer) = fixture.exchange(&idp_token, &[]).await;
    let token = text(&answer, "access_token");
    assert_eq!(verified(&fixture, &token).principal, verified(&fixture, &idp_token).principal);
    assert_eq!(&*verified(&fixture, &token).issuer, fixture.url);
    let (status, answer) = fixture.exchange(&token, &[]).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")), "it is refreshed, not exchanged");

    // Shut out at the provider, whichever token it comes with; and no longer where another provider is meant.
    let revoke = |issuer: &str| Command::RevokePrincipal {
        issuer: Some(issuer.into()),
        name: "alice".into(),
        until: None,
        reason: reason(),
    };
    fixture.command(revoke("https://other.example")).await;
    assert_eq!(fixture.revoked(&token), None);
    assert!(fixture.is_active(&token).await);
    fixture.command(revoke(IDP)).await;
    assert_eq!(fixture.revoked(&token), Some(reason()));
    assert!(!fixture.is_active(&token).await);
    assert_eq!(fixture.exchange(&idp_token, &[]).await.0, 400);
    // A service account of that name is somebody else.
    let account = fixture.credentials().await;
    assert_eq!(verified(&fixture, &account).principal.issuer, Arc::from(fixture.url.as_str()));
}

#[tokio::test]
async fn a_revoked_token_or_login_is_exchanged_for_nothing() {
    let fixture = Fixture::new().await;
    let token = fixture.idp_token(json!({"jti": "idp-1", "sid": "Login-1"}));
    assert_eq!(fixture.exchange(&token, &[]).await.0, 200);
    let session = Command::RevokeSession { session: "login-1".to_owned(), reason: reason(), holder: None };
    fixture.command(session).await;
    let (status, answer) = fixture.exchange(&token, &[]).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")), "{answer}");
    let token = fixture.idp_token(json!({"jti": "idp-2"}));
    let until = now().plus_millis(60_000);
    fixture.command(Command::RevokeToken { token_id: "idp-2".to_owned(), until, reason: reason(), holder: None }).await;
    assert_eq!(fixture.exchange(&token, &[]).await.0, 400);
}

#[tokio::test]
async fn a_revoked_login_is_refreshed_no_more() {
    let scene = Scene::new().await;
    let (_, first) = scene.redeem(&scene.code().await, &scene.verifier, REDIRECT).await;
    let access = text(&first, "access_token");
    let sid = verified(&scene.fixture, &access).session.unwrap().to_string();
    assert!(scene.fixture.is_active(&access).await);
    scene.fixture.command(Command::RevokeSession { session: sid, reason: reason(), holder: None }).await;
    assert!(!scene.fixture.is_active(&access).await);
    assert_eq!(scene.fixture.revoked(&access), Some(reason()));
    let (status, answer) = scene.refresh(&text(&first, "refresh_token")).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")), "{answer}");
    let events = scene.fixture.issuer.shared.notices.take();
    assert!(events.iter().any(|event| event.kind == Kind::TokenRefused as i32 && event.api == "refresh_token"));
}

#[tokio::test]
async fn a_group_lost_at_the_provider_ends_every_token_that_names_it() {
    let scene = Scene::new().await;
    scene.provider.groups.lock().unwrap().push("loaders");
    let (_, first) = scene.redeem(&scene.code().await, &scene.verifier, REDIRECT).await;
    let (_, second) = scene.refresh(&text(&first, "refresh_token")).await;
    // One more group takes nothing away.
    scene.provider.groups.lock().unwrap().push("owners");
    let (_, third) = scene.refresh(&text(&second, "refresh_token")).await;
    for answer in [&first, &second, &third] {
        assert_eq!(scene.fixture.revoked(&text(answer, "access_token")), None);
    }
    scene.provider.groups.lock().unwrap().retain(|group| *group != "analysts");
    let (_, fourth) = scene.refresh(&text(&third, "refresh_token")).await;
    assert_eq!(scene.groups(&fourth), ["loaders", "owners"]);
    // When the answer is there nothing is admitted on the old ones any more.
    for answer in [&first, &second, &third] {
        let why = scene.fixture.revoked(&text(answer, "access_token"));
        assert_eq!(why.as_deref(), Some("lost at the identity provider: the group analysts"));
    }
    assert_eq!(scene.fixture.revoked(&text(&fourth, "access_token")), None);
    let (_, fifth) = scene.refresh(&text(&fourth, "refresh_token")).await;
    assert_eq!(scene.groups(&fifth), ["loaders", "owners"], "the login itself goes on");
    let events = scene.fixture.issuer.shared.notices.take();
    let revoked = events.iter().filter(|event| event.kind == Kind::TokenRevoked as i32);
    assert_eq!(revoked.filter(|event| event.detail.contains("the group analysts")).count(), 3);
}

#[tokio::test]
async fn a_restart_ends_no_login() {
    let mut scene = Scene::new().await;
    let (_, first) = scene.redeem(&scene.code().await, &scene.verifier, REDIRECT).await;
    let (_, second) = scene.refresh(&text(&first, "refresh_token")).await;
    for entry in std::fs::read_dir(scene.fixture.folder.path().join("evidence/control")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            assert!(!text.contains("tgr_") && !text.contains("\"r1\""), "a secret in {}", path.display());
        }
    }
    let (issuer, url) = scene.fixture.restarted().await;
    (scene.fixture.issuer, scene.fixture.url) = (issuer, url);
    let (status, third) = scene.refresh(&text(&second, "refresh_token")).await;
    assert_eq!(status, 200, "{third}");
    assert_eq!(scene.groups(&third), ["analysts"], "its provider was asked with the token of before");
    assert_eq!(scene.refresh(&text(&first, "refresh_token")).await.0, 400, "one of before that was used");
    assert_eq!(scene.refresh(&text(&third, "refresh_token")).await.0, 400, "ends the login");
}

#[tokio::test]
async fn sessions_and_upstream_may_be_signed_for_differently() {
    let (idp, _) = SigningKey::generate(TokenAlgorithm::ES256).unwrap();
    let fixture = Fixture::with_idp_and(IDP, &idp, "mint: {audience: brokers, algorithm: EdDSA}").await;
    let algorithm = |token: &str| {
        let header = token.split('.').next().unwrap();
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
        serde_json::from_slice::<Value>(&header).unwrap()["alg"].as_str().unwrap().to_owned()
    };
    let token = fixture.credentials().await;
    assert_eq!(algorithm(&token), "ES256");
    let etl = verified(&fixture, &token).principal;
    let minted = fixture.issuer.shared.upstream_login.load().for_session(&etl, "s", now()).unwrap();
    let UpstreamCredentials::OAuthBearer { token } = minted else { panic!("{minted:?}") };
    assert_eq!(algorithm(token.reveal()), "EdDSA");
    // Both first keys are in the control log, and no attempt at it was refused.
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    while fixture.authority.read().keys().len() < 2 {
        assert!(tokio::time::Instant::now() < until, "{:?}", fixture.authority.read().keys());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (again, _) = fixture.restarted().await;
    assert_eq!(lock(&again.ring).entries().len(), 2);
    let events = fixture.issuer.shared.notices.take();
    assert!(!events.iter().any(|event| event.detail.contains("publication of a key refused")), "{events:?}");
}

#[tokio::test]
async fn a_login_is_refreshed_until_the_last_grant_ends() {
    let scene = Scene::new().await;
    let shared = &scene.fixture.issuer.shared;
    let publish = |version, ends: &str| {
        let policy = format!(
            "version: 1\ngrants:\n  - {{name: g, purpose: Tests, principals: [alice], resources: [{{topic: orders}}], \
             operations: [read], not_after: '{ends}'}}\n"
        );
        let policy = tidegate_policy::snapshot::Snapshot::read(&policy, "policy.yaml", version);
        shared.publish_policy(Arc::new(policy.unwrap_or_else(|problems| panic!("{problems:?}"))));
    };
    publish(10, "2999-01-01T00:00:00Z");
    let (_, first) = scene.redeem(&scene.code().await, &scene.verifier, REDIRECT).await;
    let (status, second) = scene.refresh(&text(&first, "refresh_token")).await;
    assert_eq!(status, 200, "{second}");
    publish(11, "2020-01-01T00:00:00Z");
    let (status, refused) = scene.refresh(&text(&second, "refresh_token")).await;
    assert_eq!((status, &refused["error"]), (400, &json!("invalid_grant")), "{refused}");
    assert!(refused["error_description"].as_str().unwrap().contains("last grant"), "{refused}");
    // The login is over, whatever is granted later; its tokens with it.
    publish(12, "2999-01-01T00:00:00Z");
    assert_eq!(scene.refresh(&text(&second, "refresh_token")).await.0, 400);
    let revoked = |token: &str| scene.fixture.authority.read().revoked_tokens().contains_key(token);
    let jti = verified(&scene.fixture, &text(&second, "access_token")).token_id.unwrap();
    assert!(revoked(&jti), "the token that it had");
}
