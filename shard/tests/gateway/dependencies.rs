//! What the tests need besides Cargo's crates; `make test` puts it there. A missing part fails the
//! test that needs it, with a sentence that says so: nothing is skipped silently.

use std::path::{Path, PathBuf};
use std::process::Command;

fn target() -> PathBuf {
    // Cargo hands integration tests a folder inside the target folder.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

#[track_caller]
fn existing(what: &str, variable: &str, default: PathBuf) -> PathBuf {
    let path = std::env::var_os(variable).map_or(default, PathBuf::from);
    assert!(path.exists(), "{what} is missing at {}: run `make test`, which puts it there", path.display());
    path
}

/// The folder of Kafka's jars.
#[track_caller]
pub(crate) fn kafka_jars() -> PathBuf {
    existing("Apache Kafka", "TIDEGATE_KAFKA_JARS", target().join("kafka"))
}

/// A Python that has `confluent-kafka`.
#[track_caller]
pub(crate) fn python() -> PathBuf {
    existing("Python with confluent-kafka", "TIDEGATE_PYTHON", target().join("venv/bin/python"))
}

/// The folder of kafkajs.
#[track_caller]
pub(crate) fn node_modules() -> PathBuf {
    existing("kafkajs", "TIDEGATE_NODE_MODULES", target().join("node/node_modules"))
}

/// A browser: Debian's Chromium, or Chrome where somebody has installed that.
#[track_caller]
pub(crate) fn browser() -> PathBuf {
    find("google-chrome").unwrap_or_else(|| program("chromium"))
}

/// A program of the system, found in the path.
#[track_caller]
pub(crate) fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is missing: run `make test`, which installs it"))
}

fn find(name: &str) -> Option<PathBuf> {
    let found = Command::new("sh").args(["-c", "command -v -- \"$0\"", name]).output().unwrap();
    let path = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    (!path.is_empty()).then(|| PathBuf::from(path))
}
