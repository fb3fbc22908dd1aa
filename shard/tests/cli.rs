//! The binary from outside: exit codes, where its words go, and that starting and stopping work
//! without a broker.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

const POLICY: &str = "version: 1\n";

fn tidegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).output().unwrap()
}

/// What a run must give: exit code, and a part of stdout and of stderr.
#[track_caller]
fn check(arguments: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = tidegate(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\nstdout: {out}\nstderr: {err}");
    assert!(out.contains(stdout), "{arguments:?}: no `{stdout}` in stdout: {out}");
    assert!(err.contains(stderr), "{arguments:?}: no `{stderr}` in stderr: {err}");
    assert!(!out.contains('\x1b') && !err.contains('\x1b'), "colours without a terminal");
    if code != 0 && !arguments.contains(&"json") {
        assert!(out.is_empty(), "errors go to stderr: {out}");
    }
}

/// A folder with a configuration and a policy, and free ports in it.
fn folder(more: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    let [bootstrap, broker] = free_ports();
    let text = format!(
        "origin: cli-test\nshards: 1\nlisteners:\n  - {{ name: clients, protocol: kafka, bind: 127.0.0.1, bootstrap_port: {bootstrap}, \
         advertised_host: localhost, broker_ports: {{ first_port: {broker}, node_ids: 0 }} }}\n\
         upstream: {{ bootstrap_servers: ['127.0.0.1:1'] }}\npolicy_file: policy.yaml\nevidence: {{ directory: evidence, segment_bytes: 4194304 }}\n\
         control: {{ bind: '127.0.0.1:0' }}\n{more}"
    );
    let file = folder.path().join("tidegate.yaml");
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    std::array::from_fn(|at| held[at].local_addr().unwrap().port())
}

#[test]
fn help_and_version_are_results() {
    check(&["--help"], 0, "Exit codes:", "");
    check(&["--version"], 0, "tidegate 0.1", "");
    check(&["serve", "--help"], 0, "--config <FILE>", "");
}

#[test]
fn a_wrong_command_line_is_64() {
    check(&[], 64, "", "Usage:");
    check(&["serve"], 64, "", "--config");
    check(&["check"], 64, "", "--policy");
    check(&["fly"], 64, "", "unrecognized subcommand");
}

#[test]
fn schemas_are_printed_as_json() {
    for schema in ["config", "policy"] {
        let output = tidegate(&["check", "--schema", schema]);
        assert!(output.status.success());
        let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["additionalProperties"], false);
    }
}

#[test]
fn check_finds_what_is_wrong_and_names_the_line() {
    let (folder, file) = folder("");
    let file = file.to_str().unwrap();
    check(&["check", "--config", file], 0, "good", "");
    std::fs::write(folder.path().join("policy.yaml"), "version: 1\ngrant: []\n").unwrap();
    check(&["check", "--config", file], 64, "", "policy.yaml:2:1: grant: ");
    check(&["serve", "--config", file], 64, "", "policy.yaml:2:1: grant: ");
    check(&["check", "--config", file, "--output", "json"], 64, "\"line\": 2", "");
    let policy = folder.path().join("policy.yaml");
    check(&["check", "--policy", policy.to_str().unwrap()], 64, "", "policy.yaml:2:1: grant: ");
    std::fs::remove_file(&policy).unwrap();
    check(&["check", "--config", file], 64, "", "policy.yaml: No such file or directory (os error 2)");
    check(&["serve", "--config", "/nowhere.yaml"], 64, "", "/nowhere.yaml:1:1: cannot be read: No such file");
}

#[test]
fn the_examples_of_the_repository_are_right() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let policy = deploy.join("policy.example.yaml");
    check(&["check", "--policy", policy.to_str().unwrap()], 0, "good", "");
}

#[test]
fn a_key_that_cannot_be_used_is_64() {
    let (folder, file) = folder("");
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("server.pem"), pair.cert.pem()).unwrap();
    std::fs::write(folder.path().join("server.key"), "not a key").unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let tls = "tls: { certificate_file: server.pem, key_file: server.key }, advertised_host";
    std::fs::write(&file, text.replace("advertised_host", tls)).unwrap();
    check(&["serve", "--config", file.to_str().unwrap()], 64, "", "server.key does not hold a private key");
}

#[test]
fn a_taken_port_is_1_and_names_it() {
    let (_folder, file) = folder("");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once("bootstrap_port: ").unwrap();
    let (_, after) = after.split_once(',').unwrap();
    std::fs::write(&file, format!("{before}bootstrap_port: {},{after}", address.port())).unwrap();
    let sentence = format!("listener clients: {address} is taken by another process");
    check(&["serve", "--config", file.to_str().unwrap()], 1, "", &sentence);
}

#[test]
fn an_upstream_that_is_required_and_missing_is_1() {
    let (_folder, file) = folder("limits: { upstream_connect_millis_max: 300 }\n");
    let arguments = ["serve", "--config", file.to_str().unwrap(), "--require-upstream"];
    check(&arguments, 1, "", "the upstream cannot be reached: none of 127.0.0.1:1 answered");
}

/// A gateway that is stopped when the test ends, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn serve_comes_up_without_a_broker_and_sigterm_ends_it_with_0() {
    let (_folder, file) = folder("");
    let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["serve", "--config", file.to_str().unwrap()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut lines = BufReader::new(running.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut log = String::new();
    let mut wait_for = |what: &str| {
        for line in lines.by_ref() {
            log.push_str(&line);
            log.push('\n');
            if line.contains(what) {
                return;
            }
        }
        panic!("no `{what}` in\n{log}");
    };
    wait_for("is up");
    let status = Command::new("kill").arg("-TERM").arg(running.0.id().to_string()).status().unwrap();
    assert!(status.success());
    wait_for("stopped");
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}
