//! Keys of others, old keys, and keys that were replaced in good order.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tidegate_audit::directory::shard_directory;
use tidegate_audit::keys::load_or_make;
use tidegate_audit::keys::rotation::rotate;
use tidegate_audit::log::{LogOptions, ShardLog};
use tidegate_audit::note::{Signer, base64, sign_with};
use tidegate_audit::verify::{Kind, Options, Progress, Verdict, verify};
use tidegate_core::event::Event;
use tidegate_core::words::Timestamp;

use crate::evidence::{Evidence, ORIGIN, event, options, signer, write};

/// Whoever has an old key, or makes one, can sign what he likes: nobody believes it.
#[test]
fn forged_with_another_or_an_old_key() {
    let original = Evidence::new();
    // Everything written anew with a key of the forger's own.
    let forged = original.copy();
    fs::remove_dir_all(shard_directory(forged.root.path(), 0)).unwrap();
    let forger = LogOptions { signer: Some(Arc::new(signer(66))), ..options() };
    let (mut log, _) = ShardLog::open(forged.root.path(), 0, ORIGIN, forger, Timestamp(0)).unwrap();
    (0..100).for_each(|n| assert_eq!(log.append(&event(0, n)), n));
    log.close().unwrap();
    let report = forged.verify();
    assert!(report.findings.iter().all(|finding| finding.kind == Kind::Signature), "{report:#?}");
    assert_eq!(report.shards[0].signed, 0, "nothing is covered by a key that is trusted");

    // The key was replaced in good order: 1 and then 2, both trusted.
    let rotated = original.copy();
    let newer = LogOptions { signer: Some(Arc::new(signer(2))), ..options() };
    let (mut log, _) = ShardLog::open(rotated.root.path(), 0, ORIGIN, newer, Timestamp(0)).unwrap();
    (100..130).for_each(|n| assert_eq!(log.append(&event(0, n)), n));
    log.close().unwrap();
    assert_eq!(rotated.verify_with(&[1, 2], &[]).verdict(), Verdict::Intact);
    let report = rotated.verify_with(&[1], &[]);
    assert!(
        report.findings.iter().any(|finding| finding.kind == Kind::Signature && finding.entry >= 100),
        "{report:?}"
    );
    // From then on the old key signs nothing any more.
    let (mut log, _) = ShardLog::open(rotated.root.path(), 0, ORIGIN, options(), Timestamp(0)).unwrap();
    log.append(&event(0, 130));
    log.close().unwrap();
    let report = rotated.verify_with(&[1, 2], &[]);
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    assert_eq!((report.findings[0].kind, report.findings[0].entry), (Kind::Signature, 130));
}

/// A rotation in good order: announced, signed with both keys. Whoever trusts either key can follow it; whoever
/// has the old one can do nothing with it.
#[test]
fn a_rotation_is_followed_and_the_old_key_forges_nothing() {
    let original = Evidence::new();
    let root = original.root.path();
    let key_file = root.join("signing.key");
    // The key of `signer(1)` as a file.
    let seed = [&[1u8][..], &[1; 32]].concat();
    let id = u32::from_be_bytes(signer(1).verifier().id());
    fs::write(&key_file, format!("PRIVATE+KEY+{ORIGIN}+{id:08x}+{}", base64(&seed))).unwrap();
    let done = rotate(root, None, None, ORIGIN, &options(), Timestamp(5)).unwrap();
    assert_eq!(done.rotation.ends.values().map(|end| end.size).collect::<Vec<_>>(), [100, 100]);
    let new = Arc::new(load_or_make(root, None, ORIGIN).unwrap().signer);
    let newer = LogOptions { signer: Some(Arc::clone(&new)), ..options() };
    for shard in 0..2 {
        let (mut log, recovery) = ShardLog::open(root, shard, ORIGIN, newer.clone(), Timestamp(0)).unwrap();
        assert_eq!(recovery.signer_before.as_ref(), Some(signer(1).verifier()));
        (100..130).for_each(|n| assert_eq!(log.append(&event(shard, n)), n));
        log.close().unwrap();
    }
    let with = |root: &Path, keys: &[&Signer]| {
        let keys = keys.iter().map(|signer| signer.verifier().clone()).collect();
        verify(root, &Options { keys, ..Options::default() }, &Progress::default()).unwrap()
    };
    let (first, last) = (signer(1), &*new);
    for keys in [vec![&first], vec![last], vec![&first, last]] {
        let report = with(root, &keys);
        assert_eq!((report.verdict(), report.rotations), (Verdict::Intact, 1), "{report:#?}");
    }
    let foreign = with(root, &[&signer(9)]);
    assert!(foreign.findings.iter().any(|found| found.detail.contains("neither")), "{foreign:#?}");

    let note = fs::read(&done.note).unwrap();
    let check = |what: &str, keys: &[&Signer], change: &dyn Fn(&Evidence), kind: Kind, words: &str| {
        let evidence = original.copy();
        fs::write(evidence.root.path().join("rotation-0001.note"), &note).unwrap();
        change(&evidence);
        let report = with(evidence.root.path(), keys);
        let found = report.findings.iter().any(|found| found.kind == kind && found.detail.contains(words));
        assert!(found, "{what}: {report:#?}");
    };
    let forge = |evidence: &Evidence, from: u64, to: u64| {
        let root = evidence.root.path();
        fs::remove_dir_all(shard_directory(root, 0)).unwrap();
        let (mut log, _) = ShardLog::open(root, 0, ORIGIN, options(), Timestamp(0)).unwrap();
        for n in from..to {
            let principal = if n < 50 || from == 0 { format!("shard0-{n}") } else { "nobody".to_owned() };
            log.append(&Event { principal, ..event(0, n) });
            if n == 99 {
                // So that the tree at the key's end can be told.
                log.commit().unwrap();
            }
        }
        log.close().unwrap();
    };
    // The old key goes on where its use ended: with the evidence of its time, which is genuine, before.
    let goes_on = |evidence: &Evidence| forge(evidence, 0, 120);
    for keys in [vec![&first], vec![last]] {
        check("the old key goes on", &keys, &goes_on, Kind::Signature, "use ended at 100");
    }
    // The past written anew with the old key.
    let past = |evidence: &Evidence| {
        let root = evidence.root.path();
        fs::remove_dir_all(shard_directory(root, 0)).unwrap();
        let (mut log, _) = ShardLog::open(root, 0, ORIGIN, options(), Timestamp(0)).unwrap();
        (0..100).for_each(|n| {
            log.append(&Event { principal: "somebody else".into(), ..event(0, n) });
        });
        log.close().unwrap();
    };
    check("the past written anew", &[&first], &past, Kind::Changed, "announcement of key 1");
    check(
        "a shard cut at the old key's time",
        &[last],
        &|evidence| {
            fs::remove_dir_all(shard_directory(evidence.root.path(), 0)).unwrap();
            write(evidence.root.path(), 0, 0, 60, true);
        },
        Kind::Missing,
        "covers 100 entries",
    );
    check(
        "a new shard of the old key",
        &[&first],
        &|evidence| write(evidence.root.path(), 7, 0, 5, true),
        Kind::Signature,
        "use ended",
    );
    check(
        "the announcement removed",
        &[&first],
        &|evidence| {
            fs::remove_file(evidence.root.path().join("rotation-0001.note")).unwrap();
        },
        Kind::Signature,
        "not trusted",
    );
    check(
        "the announcement changed",
        &[&first],
        &|evidence| {
            let changed = String::from_utf8(note.clone()).unwrap().replacen("shard-000 100", "shard-000 900", 1);
            fs::write(evidence.root.path().join("rotation-0001.note"), changed).unwrap();
        },
        Kind::Signature,
        "does not fit",
    );
    check(
        "another successor announced",
        &[&first],
        &|evidence| {
            let text = String::from_utf8(note.clone()).unwrap();
            let (text, _) = text.split_once("\n\n").unwrap();
            let text = text.replace(&last.verifier().to_string(), &signer(66).verifier().to_string()) + "\n";
            let text = text.replacen("\n1\n", "\n2\n", 1);
            let forged = sign_with(&text, &[&first, &signer(66)]);
            fs::write(evidence.root.path().join("rotation-0002.note"), forged).unwrap();
        },
        Kind::Signature,
        "forged",
    );
    check(
        "announced under a name of its own",
        &[&first],
        &|evidence| {
            fs::write(evidence.root.path().join("rotation-0003.note"), &note).unwrap();
        },
        Kind::Signature,
        "another number",
    );
}
