//! The command against evidence that is made here, with tags as the gateway makes them.

use std::sync::Arc;

use tidegate_audit::keys::load_or_make;
use tidegate_audit::log::{LogOptions, ShardLog};
use tidegate_core::event::{Event, FindingCount, Kind, Outcome, ResourceUse, SubjectTags, push_posting};

use super::*;
use crate::cli::parsed::parsed;

/// Alice is in message 7 (written by shop, read masked by bob, in clear by carol) and in 9; Dave in 8.
pub(in crate::cli) fn evidence() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let (keys, _) = IndexKeys::load_or_make(&root.path().join(INDEX_KEYS_FILE)).unwrap();
    let secret = keys.newest().unwrap();
    let signer = Some(Arc::new(load_or_make(root.path(), None, "gw").unwrap().signer));
    let options = LogOptions { segment_bytes: 2 << 20, signer, index_key: secret.id(), ..LogOptions::default() };
    let now = tidegate_core::words::Timestamp(0);
    let (mut log, _) = ShardLog::open(root.path(), 0, "gw", options, now).unwrap();
    let rows = [
        ("Produce", "shop", "observe", vec![(7, "alice@example.com")]),
        ("Fetch", "bob", "redact", vec![(7, "Alice@Example.com"), (8, "dave@example.com")]),
        ("Fetch", "carol", "none", vec![(7, "alice@example.com"), (9, "alice@example.com")]),
        ("Fetch", "eve", "redact", vec![(8, "dave@example.com")]),
    ];
    for (n, (api, principal, operator, values)) in (0..).zip(rows) {
        let mut tags = SubjectTags { base_offset: Some(0), partition: 2, ..SubjectTags::default() };
        let mut before = 0;
        for (offset, value) in values {
            push_posting(&mut tags.postings, before, offset, tag(secret, "email", value).unwrap());
            before = offset;
        }
        log.append(&Event {
            time_micros: 1_700_000_000_000_000 + n * 1_000_000,
            kind: Kind::Exchange as i32,
            outcome: Outcome::Allowed as i32,
            api: api.into(),
            principal: principal.into(),
            groups: vec!["analysts".into()],
            session: format!("session-{principal}"),
            resources: vec![ResourceUse {
                kind: "topic".into(),
                name: "orders".into(),
                partition: Some(2),
                allowed: true,
                rule: "readers".into(),
                purpose: "planning".into(),
                records: 3,
                ..ResourceUse::default()
            }],
            findings: vec![FindingCount {
                class: "email".into(),
                operator: operator.into(),
                topic: "orders".into(),
                count: 1,
                ..FindingCount::default()
            }],
            subjects: vec![tags],
            ..Event::default()
        });
    }
    log.close().unwrap();
    root
}

fn output(dir: &Path, value: &str, line: &str) -> (u8, String, String) {
    let words = ["subject", value, dir.to_str().unwrap(), "--offline"].into_iter().chain(line.split_whitespace());
    let args = parsed::<Args>(words).unwrap_or_else(|error| panic!("{error}"));
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = run(&args, &mut out, &mut errors).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
}

#[test]
fn a_person_is_found_in_every_spelling_and_nobody_else() {
    let root = evidence();
    for (value, line, entries) in [
        ("alice@example.com", "", vec!["0/0", "0/1", "0/2"]),
        ("ALICE@example.com", "--class email", vec!["0/0", "0/1", "0/2"]),
        ("alice@example.com", "--class phone", vec![]),
        ("dave@example.com", "", vec!["0/1", "0/3"]),
        ("bob@example.com", "", vec![]),
        ("alice@example.com", "--since 2023-11-14T22:13:22Z", vec!["0/2"]),
        ("alice@example.com", "--until 2023-11-14T22:13:21Z --no-index", vec!["0/0"]),
        ("alice@example.com", "--shard 1", vec![]),
    ] {
        let (code, text, said) = output(root.path(), value, &format!("{line} --output json"));
        let account: serde_json::Value = serde_json::from_str(&text).unwrap();
        let found: Vec<&str> =
            account["accesses"].as_array().unwrap().iter().map(|access| access["entry"].as_str().unwrap()).collect();
        assert_eq!((code, found), (0, entries), "{value} {line}");
        assert!(said.contains("not in the evidence: --offline"), "{said}");
    }
}

#[test]
fn tables_csv_reports_and_proofs() {
    let root = evidence();
    let (_, table, _) = output(root.path(), "alice@example.com", "");
    assert!(table.contains("bob") && table.contains("masked (redact)") && table.contains("orders-2: 7, 9"), "{table}");
    assert!(table.contains("2 messages hold it; read by bob, carol"), "{table}");
    let (_, csv, _) = output(root.path(), "alice@example.com", "--output csv");
    assert_eq!(csv.lines().count(), 4);
    assert!(csv.lines().all(|line| line.matches(',').count() == 18), "{csv}");
    assert!(csv.contains(",carol,,session-carol,,orders,2,7..7 9..9,email,,in clear,,readers,planning,"), "{csv}");
    let (_, page, _) = output(root.path(), "alice@example.com", "--report internal");
    assert!(page.contains("carol") && page.contains("tombstone"), "{page}");
    let (_, answer, _) = output(root.path(), "alice@example.com", "--report subject --format markdown");
    assert!(!answer.contains("carol") && answer.contains("planning") && answer.contains("analysts"), "{answer}");

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("answer.json");
    let line = format!("--output json --out {} --prove {}", out.display(), folder.path().join("p").display());
    let (code, text, said) = output(root.path(), "dave@example.com", &line);
    assert!(code == 0 && text.is_empty() && said.contains("2 proofs"), "{said}");
    let proof = std::fs::read_to_string(folder.path().join("p/0-3.tlog-proof")).unwrap();
    assert!(proof.starts_with("c2sp.org/tlog-proof@v1") && out.exists());
}

#[test]
fn a_destroyed_secret_is_told_and_ends_with_one() {
    let root = evidence();
    let path = root.path().join(INDEX_KEYS_FILE);
    let mut keys = IndexKeys::load(&path).unwrap();
    keys.begin_epoch(&path).unwrap();
    keys.destroy(&path, 1).unwrap();
    let (code, text, said) = output(root.path(), "alice@example.com", "");
    assert!(code == 1 && text.contains("Nothing was found"), "{text}");
    assert!(said.contains("the secret of epoch 1 is destroyed"), "{said}");
    std::fs::remove_file(&path).unwrap();
    let args = parsed::<Args>(["subject", "a@b.cd", root.path().to_str().unwrap(), "--offline"]).unwrap();
    let error = run(&args, &mut Vec::new(), &mut Vec::new()).unwrap_err();
    assert!(format!("{error:#}").contains("--index-keys"), "{error:#}");
}

/// The key of tags and the name of it in segments' headers are derived in two crates from one description.
#[test]
fn both_sides_name_a_key_alike() {
    let root = tempfile::tempdir().unwrap();
    let (keys, _) = IndexKeys::load_or_make(&root.path().join("k")).unwrap();
    let newest = keys.newest().unwrap();
    let key = SubjectKey::new(newest.epoch, &newest.secret.as_ref().unwrap()[..]).unwrap();
    assert_eq!(newest.id().map(|id| (id.epoch, id.check)), Some((key.epoch(), key.check())));
}
