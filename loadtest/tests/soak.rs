//! The short form of the soak: a leg with each disturbance. Alone in its binary, so that no other test
//! takes the gateway's ports while it restarts.

use std::process::Command;

#[test]
fn a_soak_of_a_leg_each_holds_its_limits() {
    let out = tempfile::tempdir().unwrap();
    let soak = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"))
        .args(["soak", "--for", "1s", "--duration", "3s", "--rate", "100", "--sessions-per-second", "2"])
        .args(["--warm-up", "200ms", "--producers", "2", "--consumers", "2", "--partitions", "4"])
        .arg("--out")
        .arg(out.path())
        .output()
        .unwrap();
    let (said, complained) = (String::from_utf8_lossy(&soak.stdout), String::from_utf8_lossy(&soak.stderr));
    assert!(soak.status.success(), "{said}\n{complained}");
    for part in ["everything that must hold did", "GatewayRestart", "BrokerRestart", "Reload"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}
