//! The identity provider of the tests: the demo's issuer on a thread of its own, for tests that
//! block.

use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use tidegate::demo::issuer::{Client, Flaw, Issuer, Options, TokenRequest};

use crate::tls::Authority;

/// The audience that the gateway and the broker expect.
pub(crate) const AUDIENCE: &str = "kafka";

/// The secret of every client that the tests register.
pub(crate) const SECRET: &str = "s3cret";

/// An issuer and the thread that serves it.
pub(crate) struct Idp {
    issuer: Issuer,
    // The server's runtime runs until this is dropped.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Idp {
    /// The issuer that the shared broker and most tests use, over HTTP, with some clients.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Idp> = OnceLock::new();
        SHARED.get_or_init(|| {
            let idp = Self::start(Options::loopback(AUDIENCE));
            idp.register("admin", &["operators"]);
            idp.register("alice", &["analysts"]);
            for name in ["bob", "carol", "dora", "walter"] {
                idp.register(name, &[]);
            }
            idp
        })
    }

    /// An issuer of the test's own, over HTTPS with a certificate of the tests' authority.
    pub(crate) fn https() -> Self {
        Self::start(Options { tls: Some(Authority::shared().server_config()), ..Options::loopback(AUDIENCE) })
    }

    /// Starts an issuer.
    pub(crate) fn start(options: Options) -> Self {
        let (send, receive) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                send.send(Issuer::start(options).await.unwrap()).unwrap();
                let _ = stopped.await;
            });
        });
        Self { issuer: receive.recv().unwrap(), _stop: stop }
    }

    /// Lets `name` ask for tokens with [`SECRET`].
    pub(crate) fn register(&self, name: &str, groups: &[&str]) {
        self.issuer.register(Client::new(name, SECRET, groups));
    }

    /// A good token that lives for ten minutes.
    pub(crate) fn token(&self, subject: &str, groups: &[&str]) -> String {
        self.issuer.mint(subject, groups, Duration::from_secs(600)).unwrap()
    }

    /// A token with one flaw.
    pub(crate) fn flawed(&self, subject: &str, flaw: Flaw) -> String {
        self.issuer.sign(&TokenRequest::new(subject, &[], Duration::from_secs(600)).flaw(flaw)).unwrap()
    }
}

impl std::ops::Deref for Idp {
    type Target = Issuer;

    fn deref(&self) -> &Issuer {
        &self.issuer
    }
}
