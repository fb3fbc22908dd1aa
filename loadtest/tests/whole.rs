//! The subcommands from outside, short: everything is started, measured, judged and reported.

use std::path::Path;
use std::process::{Command, Output};

fn loadtest(out: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest")).args(arguments).arg("--out").arg(out).output().unwrap()
}

fn succeeded(output: &Output) -> String {
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    said.into_owned()
}

const SHORT: [&str; 8] = ["--warm-up", "200ms", "--producers", "2", "--consumers", "2", "--partitions", "4"];

#[test]
fn a_comparison_measures_every_system_and_is_reported() {
    let out = tempfile::tempdir().unwrap();
    let mut arguments = vec!["compare", "--scenario", "bulk", "--rounds", "2", "--duration", "500ms"];
    arguments.extend(SHORT);
    arguments.extend(["--absent", "kafka-proxy=not here"]);
    let said = succeeded(&loadtest(out.path(), &arguments));
    for part in ["| direct", "| relay-epoll", "| relay-glommio", "| gateway", "not here", "found nothing wrong"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let result = out.path().join("comparison.json").display().to_string();
    succeeded(&loadtest(out.path(), &["report", &result]));
    let page = std::fs::read_to_string(out.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("relay-glommio"));
}

#[test]
fn a_revocation_admits_nothing_more() {
    let out = tempfile::tempdir().unwrap();
    for by in ["principal", "policy"] {
        let arguments = [
            "revocation",
            "--by",
            by,
            "--rounds",
            "1",
            "--consumers",
            "50",
            "--rate",
            "500",
            "--duration",
            "3s",
            "--warm-up",
            "200ms",
            "--shards",
            "2",
        ];
        let said = succeeded(&loadtest(out.path(), &arguments));
        assert!(said.contains("✓ 0"), "{by}: {said}");
    }
}
