//! Tree and checkpoints as the writer keeps them: that they are what was written, when they come, and
//! what opening does where they and the entries disagree.

use std::os::unix::fs::FileExt as _;

use super::*;
use crate::keys::write_atomically;
use crate::note::{Checkpoint, Note, VerifierKey};
use crate::tree::leaf_hash;

fn signer() -> Arc<Signer> {
    Arc::new(Signer::from_seed("gateway", &[5; 32]).unwrap())
}

fn signing(segment_bytes: u64) -> LogOptions {
    LogOptions { signer: Some(signer()), checkpoint_interval: Duration::ZERO, ..options(segment_bytes) }
}

fn open_signing(root: &Path) -> ShardLog {
    ShardLog::open(root, 0, "gateway", signing(32 * 1024), NOW).unwrap().0
}

fn believe(note: &[u8]) -> Checkpoint {
    let keys: [VerifierKey; 1] = [signer().verifier().clone()];
    let note = Note::parse(note).unwrap();
    note.verify(&keys).unwrap();
    note.checkpoint().unwrap()
}

/// Reads everything, builds the tree anew from the frames, compares it with every checkpoint, seal and
/// header, and returns the checkpoints' sizes and how many entries there are.
fn audit(directory: &Path) -> (Vec<u64>, u64) {
    let mut tree = CompactRange::default();
    let mut roots = vec![tree.root()];
    let mut sizes = Vec::new();
    for first in segments(directory).unwrap() {
        let mut reader = SegmentReader::open(&segment_path(directory, first)).unwrap();
        assert_eq!(reader.header().tree, tree);
        let mut last_checkpoint = 0;
        loop {
            match reader.next().unwrap() {
                Step::Frame(frame) if frame.kind == FrameType::Event => {
                    tree.append(leaf_hash(reader.raw()));
                    roots.push(tree.root());
                }
                Step::Frame(frame) => {
                    assert_eq!((frame.kind, frame.sequence), (FrameType::Checkpoint, tree.size()));
                    let checkpoint = believe(frame.body);
                    assert_eq!(checkpoint.origin, "gateway/shard-000");
                    assert_eq!(checkpoint.root, roots[checkpoint.size as usize]);
                    assert!(sizes.last().is_none_or(|last| *last < checkpoint.size));
                    sizes.push(checkpoint.size);
                    last_checkpoint = reader.position() - reader.raw().len() as u64;
                }
                Step::Sealed(seal) => {
                    assert_eq!((seal.root, seal.checkpoint), (tree.root(), last_checkpoint));
                    assert_eq!(sizes.last(), Some(&tree.size()), "a seal follows a checkpoint of all");
                    break;
                }
                Step::End => break,
                Step::Torn(damage) => panic!("{damage}"),
            }
        }
    }
    (sizes, tree.size())
}

#[test]
fn checkpoints_come_with_chores_and_at_the_end() {
    let root = tempfile::tempdir().unwrap();
    let directory = shard_directory(root.path(), 0);
    let mut log = open_signing(root.path());
    for n in 0..100 {
        log.append(&event(n, 1000));
        log.commit().unwrap();
        if n % 10 == 9 {
            // Whatever is due, on another thread: the commit after it writes the checkpoint.
            while let Some(chore) = log.chore() {
                std::thread::spawn(|| chore.run()).join().unwrap().unwrap();
            }
            assert!(log.has_checkpoint());
            assert_eq!(believe(&fs::read(directory.join(CHECKPOINT_FILE)).unwrap()).size, n + 1);
            log.commit().unwrap();
            assert!(!log.has_checkpoint());
        }
    }
    let (sizes, entries) = audit(&directory);
    assert_eq!(entries, 100);
    assert!((10..100).all(|n| n % 10 != 0 || sizes.contains(&n)), "{sizes:?}");
    log.append(&event(100, 1));
    assert_eq!(log.close().unwrap().end(), 101);
    assert_eq!(audit(&directory).0.last(), Some(&101));
    assert_eq!(believe(&fs::read(directory.join(CHECKPOINT_FILE)).unwrap()).size, 101);

    // Opened again, the tree goes on; with nothing new, nothing is signed.
    let log = open_signing(root.path());
    let sizes = audit(&directory).0;
    log.close().unwrap();
    assert_eq!(audit(&directory).0, sizes);
    let mut log = open_signing(root.path());
    log.append(&event(101, 1));
    log.close().unwrap();
    assert_eq!(audit(&directory).0.last(), Some(&102));
}

#[test]
fn a_checkpoint_is_due_by_time_or_number() {
    let root = tempfile::tempdir().unwrap();
    let slow =
        LogOptions { checkpoint_interval: Duration::from_secs(3600), checkpoint_entries_max: 3, ..signing(32 * 1024) };
    let mut log = ShardLog::open(root.path(), 0, "gateway", slow, NOW).unwrap().0;
    for n in 0..6 {
        assert!(log.chore().is_none(), "{n} entries");
        log.append(&event(n, 10));
        log.commit().unwrap();
        if n % 3 == 2 {
            log.chore().unwrap().run().unwrap();
            log.commit().unwrap();
        }
    }
    assert_eq!(audit(&shard_directory(root.path(), 0)).0, [3, 6]);
}

#[test]
fn what_is_not_hashed_by_others_is_hashed_by_the_log() {
    let root = tempfile::tempdir().unwrap();
    let options = LogOptions { checkpoint_interval: Duration::from_secs(3600), ..signing(64 << 20) };
    let mut log = ShardLog::open(root.path(), 0, "gateway", options, NOW).unwrap().0;
    for n in 0..20 {
        for m in 0..200 {
            log.append(&event(n * 200 + m, 5000));
        }
        log.commit().unwrap();
        assert!(log.pending_bytes() == 0);
    }
    log.close().unwrap();
    assert_eq!(audit(&shard_directory(root.path(), 0)), (vec![4000], 4000));
}

/// Somebody changes what was written before it is signed: it is not signed, and nothing more is accepted.
#[test]
fn what_was_changed_is_never_signed() {
    for late in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let directory = shard_directory(root.path(), 0);
        let mut log = open_signing(root.path());
        log.append(&event(0, 10));
        log.commit().unwrap();
        let file = OpenOptions::new().write(true).open(segment_path(&directory, 0)).unwrap();
        file.write_all_at(b"!", HEADER_BYTES as u64 + 30).unwrap();
        let error = if late {
            log.finish().unwrap_err().to_string()
        } else {
            log.chore().unwrap().run().unwrap_err().to_string()
        };
        assert!(error.contains("was changed by somebody else after byte 4096"), "{error}");
        log.append(&event(1, 10));
        assert!(matches!(log.commit(), Err(CommitError::SyncLost)));
        assert!(!directory.join(CHECKPOINT_FILE).exists());
    }
}

/// Everything up to a signed size is there and the same, or the log does not open and changes nothing.
#[test]
fn recovery_stops_where_signed_entries_are_missing_or_changed() {
    let root = tempfile::tempdir().unwrap();
    let directory = shard_directory(root.path(), 0);
    let mut log = open_signing(root.path());
    let mut ends = vec![HEADER_BYTES];
    for n in 0..6 {
        log.append(&event(n, 100));
        log.commit().unwrap();
        if n == 3 {
            log.chore().unwrap().run().unwrap();
            log.commit().unwrap();
        }
        ends.push(log.segment.offset as usize);
    }
    drop(log);
    let whole = fs::read(segment_path(&directory, 0)).unwrap();
    type Change = fn(&mut Vec<u8>, &[usize]);
    let cases: [(&str, Change, &str); 6] = [
        (
            "zeroed from the third on",
            |bytes, ends| bytes[ends[2]..].fill(0),
            "2 entries are there, but a checkpoint was signed over 4",
        ),
        (
            "cut in the fourth",
            |bytes, ends| bytes.truncate(ends[3] + 9),
            "3 entries are there, but a checkpoint was signed over 4",
        ),
        ("flipped", |bytes, ends| bytes[ends[1] + 40] ^= 1, "1 entries are there, but a checkpoint was signed over 4"),
        (
            "rewritten",
            |bytes, ends| {
                bytes[ends[1] + 40] ^= 1;
                finish_frame(&mut bytes[..ends[2]], ends[1]);
            },
            "not those that a checkpoint was signed over",
        ),
        (
            "checkpoint garbled",
            |bytes, ends| {
                let start = ends[4] - 60;
                bytes[start] = b'\t';
                let frame = find(bytes, 3);
                finish_frame(&mut bytes[..ends[4]], frame);
            },
            "a checkpoint cannot be read",
        ),
        ("behind the last checkpoint", |bytes, ends| bytes[ends[4] + 40] ^= 1, ""),
    ];
    /// Where the frame of that type begins.
    fn find(bytes: &[u8], kind: u8) -> usize {
        let mut at = HEADER_BYTES;
        while bytes[at + 8] != kind {
            at += FRAME_PREFIX_BYTES + u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
        }
        at
    }
    for (what, change, message) in cases {
        for with_file in [true, false] {
            let (root, directory) = copy(&directory);
            if !with_file {
                fs::remove_file(directory.join(CHECKPOINT_FILE)).unwrap();
            }
            let mut bytes = whole.clone();
            change(&mut bytes, &ends);
            fs::write(segment_path(&directory, 0), &bytes).unwrap();
            match ShardLog::open(root.path(), 0, "gateway", signing(32 * 1024), NOW) {
                Ok((log, recovery)) => {
                    // Without any checkpoint left, a shorter log cannot be told from a torn one.
                    let gone = !with_file && ["zeroed from the third on", "cut in the fourth"].contains(&what);
                    assert!(message.is_empty() || gone, "{what} {with_file}");
                    assert!(gone || (recovery.next_sequence == 4 && recovery.torn.is_some()));
                    log.close().unwrap();
                }
                Err(error) => {
                    assert!(!message.is_empty() && error.to_string().contains(message), "{what}: {error}");
                    assert!(error.to_string().contains("Nothing was changed"), "{error}");
                    assert_eq!(fs::read(segment_path(&directory, 0)).unwrap(), bytes, "{what}");
                }
            }
        }
    }
    // The segment itself is gone, or the checkpoint is of another history.
    let (moved, gone) = copy(&directory);
    fs::remove_file(segment_path(&gone, 0)).unwrap();
    let Err(error) = ShardLog::open(moved.path(), 0, "gateway", signing(32 * 1024), NOW) else { panic!("opened") };
    assert!(error.to_string().contains("0 entries are there"), "{error}");
    let forged = Checkpoint { origin: "gateway/shard-000".into(), size: 2, root: [1; 32] };
    write_atomically(&directory.join(CHECKPOINT_FILE), signer().sign(&forged.text()).as_bytes()).unwrap();
    let Err(error) = ShardLog::open(root.path(), 0, "gateway", signing(32 * 1024), NOW) else { panic!("opened") };
    assert!(error.to_string().contains("the entries before 2 are not those"), "{error}");
}

#[test]
fn another_key_begins_another_segment() {
    let root = tempfile::tempdir().unwrap();
    let directory = shard_directory(root.path(), 0);
    let mut log = open_signing(root.path());
    log.append(&event(0, 1));
    log.close().unwrap();
    let other = Arc::new(Signer::from_seed("gateway", &[6; 32]).unwrap());
    let options = LogOptions { signer: Some(Arc::clone(&other)), ..signing(32 * 1024) };
    let (mut log, recovery) = ShardLog::open(root.path(), 0, "gateway", options, NOW).unwrap();
    assert_eq!(recovery.signer_before.as_ref(), Some(signer().verifier()));
    log.append(&event(1, 1));
    log.close().unwrap();
    let signers: Vec<_> = segments(&directory)
        .unwrap()
        .iter()
        .map(|first| SegmentReader::open(&segment_path(&directory, *first)).unwrap().header().signer.clone().unwrap())
        .collect();
    assert_eq!(signers, [signer().verifier().clone(), other.verifier().clone()]);
}

/// A process that signs on another thread is killed by SIGKILL at some moment: the next one goes on with the
/// same tree, whatever was committed is there, and no checkpoint covers what is not.
#[test]
fn a_killed_process_leaves_one_tree() {
    const CHILD: &str = "TIDEGATE_AUDIT_KILLED_SIGNING";
    if let Some(root) = std::env::var_os(CHILD) {
        let mut log = open_signing(Path::new(&root));
        let (work, chores) = std::sync::mpsc::channel::<Chore>();
        std::thread::spawn(move || chores.into_iter().for_each(|chore| chore.run().unwrap()));
        loop {
            for _ in 0..7 {
                log.append(&event(log.next_sequence, 700));
            }
            let watermark = log.commit().unwrap();
            if let Some(chore) = log.chore() {
                work.send(chore).unwrap();
            }
            writeln!(io::stderr(), "committed {}", watermark.end()).unwrap();
        }
    }
    let root = tempfile::tempdir().unwrap();
    let directory = shard_directory(root.path(), 0);
    let mut signed = 0;
    for round in 1..=12 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log::tests::signing::a_killed_process_leaves_one_tree", "--nocapture"])
            .env(CHILD, root.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = io::BufRead::lines(io::BufReader::new(child.stderr.take().unwrap()));
        let mut known = 0u64;
        for _ in 0..9 * round {
            let line = said.next().unwrap().unwrap();
            known = line.strip_prefix("committed ").unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let keys = vec![signer().verifier().clone()];
        let options = crate::verify::Options { keys, ..Default::default() };
        let report = crate::verify::verify(root.path(), &options, &Default::default()).unwrap();
        assert!(report.findings.is_empty(), "{report:#?}");
        assert!(report.shards[0].entries >= known && report.shards[0].signed >= signed, "{report:#?}");
        signed = report.shards[0].signed;
        let log = open_signing(root.path());
        assert!(log.written().end() >= known);
        drop(log);
        assert_eq!(audit(&directory).1, report.shards[0].entries);
    }
    assert!(signed > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any mix of commits, chores, reopenings and kills: the tree is that of the entries, and every
    /// checkpoint, seal and header agrees with it.
    #[test]
    fn any_history_has_one_tree(steps in prop::collection::vec((0usize..6, 0usize..4000, 0u8..6), 1..40)) {
        let root = tempfile::tempdir().unwrap();
        let directory = shard_directory(root.path(), 0);
        let mut log = open_signing(root.path());
        let mut held = Vec::new();
        for (entries, size, then) in steps {
            for _ in 0..entries {
                log.append(&event(log.next_sequence, size));
            }
            log.commit().unwrap();
            match then {
                0 => held.extend(log.chore()),
                1 => held.drain(..).for_each(|chore: Chore| chore.run().unwrap()),
                2 => drop(held.drain(..)),
                3 => {
                    held.clear();
                    drop(log);
                    log = open_signing(root.path());
                }
                4 => {
                    held.clear();
                    log.close().unwrap();
                    log = open_signing(root.path());
                }
                _ => {
                    if let Some(chore) = log.chore() {
                        chore.run().unwrap();
                    }
                }
            }
        }
        held.drain(..).for_each(|chore| chore.run().unwrap());
        let entries = log.next_sequence;
        log.close().unwrap();
        let (sizes, size) = audit(&directory);
        prop_assert_eq!(size, entries);
        prop_assert!(entries == 0 || sizes.last() == Some(&entries));
    }
}
