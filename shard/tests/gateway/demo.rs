//! `tidegate demo`, as a user sees it: with the broker that it brings along, and with a real Kafka.

use std::time::Duration;

use crate::gateway::BINARY;
use crate::kafka::{Kafka, Listener};
use crate::process::{Process, guarded};

/// How long a demo may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts the demo, waits until it has shown everything, ends it as Ctrl-C does; what it said.
fn demo(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = guarded(BINARY);
    command.arg("demo").args(arguments);
    let demo = Process::start("tidegate demo", command, folder.path().join("demo.log"));
    demo.ready("done with showing", PATIENCE, || demo.output().contains("Ctrl-C ends the demo").then_some(()));
    demo.signal("INT");
    assert!(demo.wait(PATIENCE).success(), "{}", demo.output());
    demo.output()
}

/// Each reader saw what the demo's policy leaves, the denial was one, and the evidence has it all.
#[track_caller]
fn check(said: &str) {
    let masked = r#""customer":"[email]","phone":"[phone]","card":"**** **** **** 1111""#;
    for expected in [
        masked,
        "TopicAuthorizationFailed",
        " redacted, phone×",
        " in clear, phone×",
        "payroll denied (no grant)",
        "kcat -b 127.0.0.1:",
    ] {
        assert!(said.contains(expected), "the demo does not show {expected:?}:\n{said}");
    }
    // Written by the shop, read by Bob; Alice's copy is masked.
    assert_eq!(said.matches("alice.martin@example.com").count(), 2, "{said}");
    let folder = said.lines().find_map(|line| line.strip_prefix("  files      ")).unwrap();
    assert!(!std::path::Path::new(folder).exists(), "{folder} is left behind");
}

/// One after the other: both look for free ports from the same one on.
#[test]
fn the_demo_shows_the_main_job_alone_and_with_a_real_kafka() {
    check(&demo(&[]));
    check(&demo(&["--upstream", &Kafka::shared().bootstrap(Listener::Plaintext)]));
}
