//! People in a browser: `tidegate login` at an OIDC provider, at a SAML provider and for a device, each through the real
//! pages in a headless Chromium; what the pages say when something is wrong; `tidegate logout`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::demo::issuer::{Person, RelyingParty};

use crate::dependencies;
use crate::gateway::{BINARY, Gateway, Setup, TIMEOUT, tidegate};
use crate::idp::Idp;
use crate::kafka::Kafka;
use crate::ports;
use crate::process::{Process, guarded, run};
use crate::raw::bearer;
use crate::saml::{SAML_LABEL, SamlIdp};
use crate::tls::Authority;

const SCRIPT: &str = include_str!("clients/browser.js");

/// How long a walk through some pages may take, the browser's start included.
const WALK: Duration = Duration::from_secs(90);

/// A step of somebody at a browser.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'a> {
    /// Opens a URL.
    Go(&'a str),
    /// Fills in the field with this label.
    Fill(&'a str, &'a str),
    /// Clicks the button or link with this name.
    Click(&'a str),
    /// Waits until the page says this.
    See(&'a str),
}

/// Takes the steps in a new browser; what the last page says.
#[track_caller]
pub(crate) fn browse(steps: &[Step<'_>]) -> String {
    let steps: Vec<Value> = steps
        .iter()
        .map(|step| match step {
            Step::Go(url) => json!(["go", url]),
            Step::Fill(label, text) => json!(["fill", label, text]),
            Step::Click(name) => json!(["click", name]),
            Step::See(text) => json!(["see", text]),
        })
        .collect();
    let mut command = guarded(dependencies::program("node"));
    command.env("NODE_PATH", dependencies::node_modules()).args(["-e", SCRIPT]);
    let given = json!({ "chromium": dependencies::browser(), "steps": steps });
    let said: Value = serde_json::from_str(&run(command, &given.to_string(), WALK).success()).unwrap();
    assert!(said["failed"].is_null(), "{said:#}");
    // A browser complains of a page that breaks its own content security policy.
    let complaints = said["complaints"].as_array().unwrap();
    let policy = complaints.iter().any(|complaint| complaint.to_string().contains("Content Security Policy"));
    assert!(!policy, "{complaints:?}");
    said["seen"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap().to_owned()
}

/// Which provider somebody logs in at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Oidc,
    Saml,
}

/// What pages call the OIDC provider.
const LABEL: &str = "Example Corp";

impl At {
    /// The name of a button or link that leads there.
    fn label(self) -> &'static str {
        match self {
            Self::Oidc => LABEL,
            Self::Saml => SAML_LABEL,
        }
    }
}

/// A gateway whose people log in at an OIDC and at a SAML provider. Everybody's password is the name and `-secret`.
pub(crate) struct Front {
    pub(crate) gateway: Gateway,
    pub(crate) saml: SamlIdp,
    /// `tokens.issuer`.
    pub(crate) tokens: String,
}

impl Front {
    pub(crate) fn start(policy: &str, people: &[(&str, &[&str])]) -> Self {
        let port = ports::free(1);
        let tokens = format!("https://localhost:{port}");
        let (oidc, client) = (Idp::shared(), format!("gateway-{port}"));
        oidc.register_party(RelyingParty {
            client_id: client.clone(),
            secret: Some("gateway-secret".to_owned()),
            redirect_uri: format!("{tokens}/callback"),
        });
        for (name, groups) in people {
            oidc.register_person(Person {
                name: (*name).to_owned(),
                password: format!("{name}-secret"),
                groups: groups.iter().map(|&group| group.to_owned()).collect(),
            });
        }
        let saml = SamlIdp::start(&tokens, people);
        let more = format!(
            "tokens:\n  bind: \"127.0.0.1:{port}\"\n  issuer: {tokens}\n  \
             tls: {{certificate_file: server.pem, key_file: server-key.pem}}\n  \
             login: [{{issuer: \"{}\", client_id: {client}, client_secret_file: upstream-secret, label: {LABEL}}}]\n",
            oidc.url()
        );
        let setup = Setup { shards: 2, identity: saml.configuration(), more, ..Setup::new(Kafka::shared(), policy) };
        Self { gateway: setup.start(), saml, tokens }
    }

    /// Where somebody's token is.
    pub(crate) fn token_file(&self, name: &str) -> PathBuf {
        self.gateway.folder().join(format!("{name}.token"))
    }

    /// `tidegate login`, begun.
    fn begin(&self, name: &str, how: &[&str], browser: Option<&Path>) -> Process {
        let mut command = guarded(BINARY);
        command.args(["login", "--server", &self.tokens, "--ca"]).arg(Authority::shared().file());
        command.arg("--token-file").arg(self.token_file(name)).args(how);
        without_windows(&mut command);
        if let Some(browser) = browser {
            command.env("BROWSER", browser);
        }
        static LOGINS: AtomicU32 = AtomicU32::new(0);
        let log = self.gateway.folder().join(format!("login-{}.log", LOGINS.fetch_add(1, Ordering::Relaxed)));
        Process::start("tidegate login", command, log)
    }

    /// `name` logs in with a browser of this machine.
    #[track_caller]
    pub(crate) fn log_in(&self, name: &str, at: At) {
        let login = self.begin(name, &["--no-browser"], None);
        let url = said(&login, "https://");
        browse(&[
            Step::Go(&url),
            Step::Click(at.label()),
            Step::Fill("User", name),
            Step::Fill("Password", &format!("{name}-secret")),
            Step::Click("Log in"),
            Step::See("You are logged in"),
        ]);
        assert!(login.wait(TIMEOUT).success(), "{}", login.output());
    }

    /// Whether the gateway takes somebody's token.
    fn takes(&self, token: &str) -> bool {
        self.gateway.connect().authenticate("OAUTHBEARER", &bearer(token)).is_ok()
    }
}

/// A machine without a desktop.
fn without_windows(command: &mut Command) {
    for name in ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"] {
        command.env_remove(name);
    }
}

/// The first line of a program that begins so, without spaces around it.
#[track_caller]
fn said(process: &Process, beginning: &str) -> String {
    process.ready(&format!("saying {beginning}"), TIMEOUT, || {
        let output = process.output();
        let mut lines = output.split_inclusive('\n').filter_map(|line| Some(line.strip_suffix('\n')?.trim()));
        lines.find(|line| line.starts_with(beginning)).map(str::to_owned)
    })
}

const POLICY: &str = "
version: 1
grants:
  - name: analysts
    purpose: Tests
    groups: [analysts]
    resources: [{topic: {prefix: browser-}}]
    operations: [read]
";

#[test]
fn people_log_in_with_a_browser_at_either_provider_and_out_again() {
    let front = Front::start(POLICY, &[("alice", &["analysts"]), ("bob", &["analysts"])]);
    front.log_in("alice", At::Saml);
    let read = |name: &str| std::fs::read_to_string(front.token_file(name)).unwrap();
    assert!(front.takes(&read("alice")));

    // The browser that `BROWSER` names is opened with the URL.
    let opener = front.gateway.folder().join("opener");
    let opened = front.gateway.folder().join("opened");
    std::fs::write(&opener, format!("#!/bin/sh\necho \"$1\" > '{}'\n", opened.display())).unwrap();
    std::fs::set_permissions(&opener, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let login = front.begin("bob", &[], Some(&opener));
    let url = login.ready("opening a browser", TIMEOUT, || {
        std::fs::read_to_string(&opened).ok().filter(|url| url.ends_with('\n'))
    });
    // A wrong password comes to nothing; the next try does.
    let way = |password: &'static str, then: &'static str| {
        [
            Step::Click(LABEL),
            Step::Fill("User", "bob"),
            Step::Fill("Password", password),
            Step::Click("Log in"),
            Step::See(then),
        ]
    };
    let mut steps = vec![Step::Go(url.trim())];
    steps.extend(way("wrong", "Wrong user or password"));
    steps.push(Step::Go(url.trim()));
    steps.extend(way("bob-secret", "You are logged in"));
    browse(&steps);
    assert!(login.wait(TIMEOUT).success(), "{}", login.output());
    let first = read("bob");
    assert!(front.takes(&first));

    let file = front.token_file("bob");
    let file = file.to_str().unwrap();
    tidegate(&["login", "--refresh", "--token-file", file]).success();
    let second = read("bob");
    assert!(second != first && front.takes(&second), "a refreshed token is another one");
    tidegate(&["logout", "--token-file", file]).success();
    assert!(!front.token_file("bob").exists());
    assert!(!front.takes(&second), "it ended with the login");
    let nobody = tidegate(&["login", "--refresh", "--token-file", file]).failure();
    assert!(nobody.contains("nobody is logged in"), "{nobody}");
    assert!(front.takes(&read("alice")), "others stay");
}

#[test]
fn a_device_is_logged_in_from_a_browser_elsewhere() {
    let front = Front::start(POLICY, &[("alice", &["analysts"])]);
    // Where no window can be shown, it is the device flow by itself.
    for (how, at) in [(&[] as &[&str], At::Oidc), (&["--device"], At::Saml)] {
        let device = front.begin("alice", how, None);
        let entry = said(&device, "https://");
        let code = device.ready("showing a code", TIMEOUT, || {
            let output = device.output();
            output.lines().map(str::trim).find(|line| line.len() == 9 && line.as_bytes()[4] == b'-').map(str::to_owned)
        });
        let button = format!("Log in at {}", at.label());
        let shown = browse(&[
            Step::Go(&entry),
            Step::Fill("Code", "bbbb bbbb"),
            Step::Click(&button),
            Step::See("the code is not known"),
            Step::Fill("Code", &code.to_lowercase()),
            Step::Click(&button),
            Step::Fill("User", "alice"),
            Step::Fill("Password", "alice-secret"),
            Step::Click("Log in"),
            Step::See("Log in this device?"),
            Step::See(&code),
            Step::See("127.0.0.1"),
            Step::Click("Log it in"),
            Step::See("The device is logged in"),
        ]);
        assert!(shown.contains("You can close this window"), "{shown}");
        assert!(device.wait(TIMEOUT).success(), "{}", device.output());
        assert!(front.takes(&std::fs::read_to_string(front.token_file("alice")).unwrap()));
        std::fs::remove_file(front.token_file("alice")).unwrap();
    }
    let device = front.begin("alice", &["--device"], None);
    let complete = said(&device, "or open https://");
    browse(&[
        Step::Go(complete.trim_start_matches("or open ")),
        Step::Click(LABEL),
        Step::Fill("User", "alice"),
        Step::Fill("Password", "alice-secret"),
        Step::Click("Log in"),
        Step::Click("Refuse"),
        Step::See("The device is not logged in"),
    ]);
    assert!(!device.wait(TIMEOUT).success());
    assert!(device.output().contains("access_denied"), "{}", device.output());
    assert!(!front.token_file("alice").exists());

    // A request that is wrong is told to whoever sees it, and goes nowhere.
    let at = |path: &str| format!("{}{path}", front.tokens);
    browse(&[
        Step::Go(&at("/authorize?client_id=evil")),
        Step::See("This login cannot begin"),
        Step::Go(&at("/callback?state=made-up&code=x")),
        Step::See("You are not logged in"),
    ]);
}
