//! Proofs of entries, verified by a program that shares nothing with this crate: `verify_proof.py`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tidegate_audit::keys::{VERIFIER_FILE, load_or_make, read_verifier_keys};
use tidegate_audit::log::{LogOptions, ShardLog};
use tidegate_audit::prove::{ProveError, prove};
use tidegate_core::event::Event;
use tidegate_core::words::Timestamp;

fn event(n: u64) -> Event {
    Event { time_micros: n as i64, principal: format!("p{n}"), detail: "x".repeat(300), ..Event::default() }
}

/// What the Python program says of a proof, and whether it accepts it.
fn python(root: &Path, proof: &str) -> (bool, String) {
    let file = root.join("entry.tlog-proof");
    fs::write(&file, proof).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify_proof.py");
    let done = Command::new("python3").arg(script).arg(&file).arg(root.join(VERIFIER_FILE)).output().unwrap();
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    (done.status.success(), String::from_utf8(done.stdout).unwrap())
}

/// 150 entries in several segments; the last 5 are not signed yet.
fn evidence() -> (tempfile::TempDir, ShardLog) {
    let root = tempfile::tempdir().unwrap();
    let signer = load_or_make(root.path(), None, "gw.example").unwrap().signer;
    let options = LogOptions {
        segment_bytes: 24 * 1024,
        entry_bytes_max: 8 * 1024,
        signer: Some(Arc::new(signer)),
        checkpoint_interval: Duration::ZERO,
        ..LogOptions::default()
    };
    let (mut log, _) = ShardLog::open(root.path(), 2, "gw.example", options, Timestamp(0)).unwrap();
    for n in 0..150 {
        log.append(&event(n));
        log.commit().unwrap();
        if n % 29 == 28 {
            while let Some(chore) = log.chore() {
                chore.run().unwrap();
            }
            log.commit().unwrap();
        }
    }
    (root, log)
}

#[test]
fn an_independent_verifier_accepts_proofs_and_rejects_changed_ones() {
    let (root, log) = evidence();
    let keys = read_verifier_keys(&root.path().join(VERIFIER_FILE)).unwrap();
    for sequence in [0, 1, 28, 29, 51, 52, 53, 90, 110, 144] {
        let proof = prove(root.path(), 2, sequence, &keys).unwrap();
        let (good, said) = python(root.path(), &proof.encode());
        assert!(good && said.contains(&format!("gw.example/shard-002 entry {sequence} of ")), "{said}");
    }
    let proof = prove(root.path(), 2, 77, &keys).unwrap();
    let good = proof.encode();
    // Every line of it: another character, and the line gone.
    let lines: Vec<&str> = good.lines().collect();
    for index in 0..lines.len() {
        let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let line = &mut changed[index];
        let middle = line.char_indices().nth(line.chars().count() / 2).map(|(place, char)| (place, char.len_utf8()));
        let Some((place, bytes)) = middle else { continue };
        let other = if line[place..].starts_with('8') { "9" } else { "8" };
        line.replace_range(place..place + bytes, other);
        let (accepted, said) = python(root.path(), &(changed.join("\n") + "\n"));
        assert!(!accepted, "line {index} changed: {said}");
        let mut gone = lines.clone();
        gone.remove(index);
        assert!(!python(root.path(), &(gone.join("\n") + "\n")).0, "line {index} removed");
    }
    // Another entry under the same path, and a key that nobody trusts.
    let mut other = proof.clone();
    other.frame = prove(root.path(), 2, 78, &keys).unwrap().frame;
    assert!(!python(root.path(), &other.encode()).0);
    fs::write(
        root.path().join(VERIFIER_FILE),
        format!("{}\n", tidegate_audit::note::Signer::from_seed("gw.example", &[1; 32]).unwrap().verifier()),
    )
    .unwrap();
    let (accepted, said) = python(root.path(), &good);
    assert!(!accepted && said.contains("no known key"), "{said}");
    drop(log);
}

#[test]
fn what_cannot_be_proven() {
    let (root, log) = evidence();
    let keys = read_verifier_keys(&root.path().join(VERIFIER_FILE)).unwrap();
    assert!(matches!(prove(root.path(), 2, 149, &keys), Err(ProveError::Unsigned { .. })));
    assert!(matches!(prove(root.path(), 2, 150, &keys), Err(ProveError::Missing { .. })));
    assert!(matches!(prove(root.path(), 0, 0, &keys), Err(ProveError::Directory { .. })));
    assert!(matches!(prove(root.path(), 2, 7, &[]), Err(ProveError::Checkpoint { .. })));
    log.close().unwrap();
    let proof = prove(root.path(), 2, 149, &keys).unwrap();
    assert!(python(root.path(), &proof.encode()).0);
}
