//! Disks that fail and power that goes: what was called durable is there, and nothing else is claimed.

use std::collections::HashMap;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32};
use std::sync::mpsc::{self, Receiver};

use super::*;
use crate::log::disk::{Disk, Faults};
use crate::verify::{Options, Progress, Verdict, verify};

/// Bytes that a disk writes as a whole.
const SECTOR: usize = 512;

/// A small generator with a seed: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn signer() -> Arc<Signer> {
    Arc::new(Signer::from_seed("gateway", &[5; 32]).unwrap())
}

fn faulty(durability: Durability, faults: &Arc<impl Faults + 'static>) -> LogOptions {
    LogOptions {
        signer: Some(signer()),
        checkpoint_interval: Duration::ZERO,
        durability,
        disk: Disk::with_faults(faults.clone()),
        ..options(14 * 1024)
    }
}

fn verdict(root: &Path, checkpoints: &[Vec<u8>]) -> Verdict {
    let options = Options {
        keys: vec![signer().verifier().clone()],
        checkpoints: checkpoints.iter().map(|note| ("kept".to_owned(), note.clone())).collect(),
        threads: std::num::NonZero::new(1),
    };
    let report = verify(root, &options, &Progress::default()).unwrap();
    assert!(report.findings.is_empty(), "{report:#?}");
    report.verdict()
}

/// All entries there are, as numbers of [`event`].
fn entries(root: &Path) -> Vec<u64> {
    let mut search =
        crate::query::Search::new(root, None, crate::query::Query::default(), crate::query::Indexes::Ignore).unwrap();
    let mut found = Vec::new();
    while let Some(item) = search.next().unwrap() {
        let crate::tail::Item::Entry(entry) = item else { panic!("{item:?}") };
        found.push(entry.event.policy_version);
    }
    found
}

/// What was done to the disk and not synced.
#[derive(Debug)]
enum Undone {
    Write { file: File, offset: u64, old: Vec<u8>, new: Vec<u8> },
    Length { file: File, old: u64, tail: Vec<u8>, new: u64 },
    Name { from: PathBuf, to: PathBuf, replaced: Option<Vec<u8>> },
}

fn inode(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}

fn content(file: &File, offset: u64, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    let read = crate::read::read_at_most(file, &mut buffer, offset).unwrap();
    buffer.truncate(read);
    buffer
}

/// A disk that remembers what was not synced, and can lose it.
#[derive(Debug, Default)]
struct PowerLoss(Mutex<Vec<Undone>>);

impl PowerLoss {
    fn put(&self, undone: Undone) {
        self.0.lock().unwrap().push(undone);
    }

    /// The power goes: of everything that was not synced, sectors are there or not, in whatever order; names
    /// come in the order of a journal, up to some point.
    fn strike(&self, random: &mut Random) {
        let undone = std::mem::take(&mut *self.0.lock().unwrap());
        let names = undone.iter().filter(|undone| matches!(undone, Undone::Name { .. })).count() as u64;
        let mut kept = random.below(names + 1);
        let keep: Vec<bool> = undone
            .iter()
            .map(|undone| {
                let named = matches!(undone, Undone::Name { .. });
                let keep = named && kept > 0;
                kept -= u64::from(keep);
                keep
            })
            .collect();
        for (undone, keep) in undone.iter().zip(&keep).rev() {
            match undone {
                Undone::Write { file, offset, old, .. } => file.write_all_at(old, *offset).unwrap(),
                Undone::Length { file, old, tail, new } => {
                    file.set_len(*old).unwrap();
                    file.write_all_at(tail, *new).unwrap();
                }
                Undone::Name { .. } if *keep => {}
                Undone::Name { to, replaced: Some(bytes), .. } => fs::write(to, bytes).unwrap(),
                Undone::Name { from, to, replaced: None } => fs::rename(to, from).unwrap(),
            }
        }
        for undone in &undone {
            match undone {
                Undone::Write { file, offset, old, new } => {
                    for (n, sector) in new.chunks(SECTOR).enumerate() {
                        if old.get(n * SECTOR..).is_some_and(|old| !old.is_empty()) && random.below(2) == 0 {
                            file.write_all_at(sector, offset + (n * SECTOR) as u64).unwrap();
                        }
                    }
                }
                Undone::Length { file, new, .. } if random.below(2) == 0 => file.set_len(*new).unwrap(),
                _ => {}
            }
        }
    }
}

impl Faults for PowerLoss {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let old = content(file, offset, bytes.len());
        file.write_all_at(bytes, offset)?;
        self.put(Undone::Write { file: file.try_clone()?, offset, old, new: bytes.to_vec() });
        Ok(())
    }

    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        let old = file.metadata()?.len();
        let tail = content(file, bytes, old.saturating_sub(bytes) as usize);
        file.set_len(bytes)?;
        self.put(Undone::Length { file: file.try_clone()?, old, tail, new: bytes });
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let number = inode(file);
        self.0.lock().unwrap().retain(|undone| match undone {
            Undone::Write { file, .. } | Undone::Length { file, .. } => inode(file) != number,
            Undone::Name { .. } => true,
        });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let replaced = fs::read(to).ok();
        fs::rename(from, to)?;
        self.put(Undone::Name { from: from.to_owned(), to: to.to_owned(), replaced });
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.0.lock().unwrap().retain(|undone| match undone {
            Undone::Name { to, .. } => to.parent() != Some(directory),
            _ => true,
        });
        Ok(())
    }
}

/// A directory in memory where there is one: nothing here depends on a real sync.
fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// One history with this seed, with losses of power in it.
fn lose_power(seed: u64) {
    let mut random = Random(seed);
    let root = scratch();
    let disk = Arc::new(PowerLoss::default());
    // Entries called durable, and every checkpoint that was ever beside the segments.
    let (mut durable, mut kept) = (0, HashMap::new());
    let mut written: Vec<u64> = Vec::new();
    let mut number = 0;
    for _ in 0..1 + random.below(3) {
        let (mut log, recovery) = ShardLog::open(root.path(), 0, "gateway", faulty(Durability::Durable, &disk), NOW)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let there = recovery.next_sequence;
        assert!(there >= durable, "seed {seed}: {there} of {durable} durable entries are there");
        written.truncate(there as usize);
        assert_eq!(entries(root.path()), written, "seed {seed}");
        let checkpoints: Vec<Vec<u8>> = kept.values().cloned().collect();
        verdict(root.path(), &checkpoints);
        for _ in 0..random.below(25) {
            match random.below(6) {
                0..3 => {
                    for _ in 0..=random.below(4) {
                        log.append(&event(number, random.below(3000) as usize));
                        written.push(number);
                        number += 1;
                    }
                }
                3 => durable = log.commit().unwrap().end(),
                4 => {
                    log.commit_written().unwrap();
                    if random.below(2) == 0 {
                        durable = log.sync_handle().sync().unwrap().end();
                    }
                }
                _ => {
                    if let Some(chore) = log.chore() {
                        chore.run().unwrap();
                    }
                }
            }
            if let Ok(note) = fs::read(shard_directory(root.path(), 0).join(CHECKPOINT_FILE)) {
                kept.insert(note.clone(), note);
            }
        }
        drop(log);
        disk.strike(&mut random);
    }
    let (log, _) = ShardLog::open(root.path(), 0, "gateway", faulty(Durability::Durable, &disk), NOW)
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    log.close().unwrap();
    let checkpoints: Vec<Vec<u8>> = kept.into_values().collect();
    assert_eq!(verdict(root.path(), &checkpoints), Verdict::Intact, "seed {seed}");
}

/// Thousands of histories; `TIDEGATE_POWER_LOSS_SEEDS` says how many, and `TIDEGATE_POWER_LOSS_SEED` repeats one.
#[test]
fn a_loss_of_power_takes_nothing_that_was_durable() {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().unwrap());
    if let Some(seed) = number("TIDEGATE_POWER_LOSS_SEED") {
        return lose_power(seed);
    }
    (0..number("TIDEGATE_POWER_LOSS_SEEDS").unwrap_or(800)).for_each(lose_power);
}

/// A disk that does as it is told.
#[derive(Debug, Default)]
struct Told {
    /// Bytes that can still be written; then it is full.
    room: Mutex<Option<u64>>,
    /// The error that every change gets; 0 for none.
    refuses: AtomicI32,
    /// What a sync waits for.
    syncs_after: Mutex<Option<Receiver<()>>>,
    sync_fails: AtomicBool,
    syncs: AtomicU64,
}

impl Told {
    fn refuse(&self) -> io::Result<()> {
        match self.refuses.load(Ordering::Relaxed) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

impl Faults for Told {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.refuse()?;
        let mut room = self.room.lock().unwrap();
        let Some(left) = &mut *room else { return file.write_all_at(bytes, offset) };
        let fits = bytes.len().min(*left as usize);
        *left -= fits as u64;
        file.write_all_at(&bytes[..fits], offset)?;
        if fits == bytes.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.refuse().and_then(|()| file.set_len(bytes))
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        if let Some(sign) = self.syncs_after.lock().unwrap().as_ref() {
            sign.recv().unwrap();
        }
        // EIO: once, and then never again, as Linux reports it.
        if self.sync_fails.swap(false, Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        file.sync_data()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.refuse().and_then(|()| fs::rename(from, to))
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn after_a_failed_sync_nothing_is_called_durable_any_more() {
    for by_chore in [false, true] {
        let root = scratch();
        let disk = Arc::new(Told::default());
        let (mut log, _) = ShardLog::open(root.path(), 0, "gateway", faulty(Durability::Durable, &disk), NOW).unwrap();
        log.append(&event(0, 100));
        let before = log.commit().unwrap();
        let beside = || fs::read(shard_directory(root.path(), 0).join(CHECKPOINT_FILE)).ok();
        log.append(&event(1, 100));
        log.commit_written().unwrap();
        let signed = beside();
        disk.sync_fails.store(true, Ordering::Relaxed);
        if by_chore {
            log.chore().unwrap().run().unwrap_err();
        } else {
            assert!(matches!(log.commit(), Err(CommitError::Sync(_))));
        }
        // The disk is fine again, but the pages may be gone.
        for _ in 0..3 {
            log.append(&event(2, 100));
            assert!(matches!(log.commit(), Err(CommitError::SyncLost)));
            while let Some(chore) = log.chore() {
                let _ = chore.run();
                if beside() != signed {
                    break;
                }
                if disk.syncs.load(Ordering::Relaxed) > 100 {
                    break;
                }
            }
        }
        assert_eq!((beside(), before.end()), (signed, 1), "nothing was signed for the disk after it failed");
        assert!(log.close().is_err());
        let (log, recovery) =
            ShardLog::open(root.path(), 0, "gateway", faulty(Durability::Durable, &disk), NOW).unwrap();
        assert!(recovery.next_sequence >= 1);
        drop(log);
        verdict(root.path(), &[]);
    }
}

/// The disk is full at every place of a commit: then there is room again, and nothing is missing; or what is
/// pending is given up, and what is there stays one tree.
#[test]
fn a_full_disk_at_every_place_is_waited_for_or_shed() {
    for shed in [false, true] {
        for room in (0..9000).step_by(191) {
            let root = scratch();
            let disk = Arc::new(Told::default());
            let (mut log, _) =
                ShardLog::open(root.path(), 0, "gateway", faulty(Durability::Written, &disk), NOW).unwrap();
            for n in 0..4 {
                log.append(&event(n, 300));
            }
            log.commit().unwrap();
            *disk.room.lock().unwrap() = Some(room);
            for n in 4..24 {
                log.append(&event(n, 400));
            }
            let mut expected: Vec<u64> = (0..24).collect();
            if log.commit().is_err() {
                assert!(log.commit().is_err(), "still full");
                if shed {
                    let there = log.written().end();
                    assert_eq!(log.shed(), 24 - there);
                    expected.truncate(there as usize);
                    assert_eq!((log.next_sequence(), log.pending_bytes()), (there, 0));
                }
            }
            *disk.room.lock().unwrap() = None;
            // Shorter ones than those that were given up, so that a rest of them would stand behind.
            for n in 24..27 {
                log.append(&event(n, 10));
                expected.push(n);
            }
            log.commit().unwrap();
            assert_eq!(entries(root.path()), expected, "room {room}, shed {shed}");
            // A kill, and a stop in good order.
            drop(log);
            verdict(root.path(), &[]);
            let (log, recovery) =
                ShardLog::open(root.path(), 0, "gateway", faulty(Durability::Written, &disk), NOW).unwrap();
            assert_eq!((recovery.torn, recovery.next_sequence), (None, expected.len() as u64));
            log.close().unwrap();
            assert_eq!(verdict(root.path(), &[]), Verdict::Intact);
        }
    }
}

/// The disk turns read-only (EROFS), fails (EIO) or is gone (ENXIO) while the log is written, and comes back.
#[test]
fn a_disk_that_takes_nothing_is_waited_for_and_nothing_is_lost() {
    for error in [30, 5, 6] {
        // Within a segment, and where one must be followed by the next.
        for entries_before in [3, 17] {
            let root = scratch();
            let disk = Arc::new(Told::default());
            let (mut log, _) =
                ShardLog::open(root.path(), 0, "gateway", faulty(Durability::Written, &disk), NOW).unwrap();
            for n in 0..entries_before {
                log.append(&event(n, 700));
            }
            let there = log.commit().unwrap();
            disk.refuses.store(error, Ordering::Relaxed);
            for n in entries_before..entries_before + 20 {
                log.append(&event(n, 700));
                let failed = log.commit().unwrap_err();
                assert!(matches!(failed, CommitError::Write { .. } | CommitError::Rotate { .. }), "{failed}");
                assert_eq!(log.written(), there, "nothing counts that is not there");
            }
            disk.refuses.store(0, Ordering::Relaxed);
            log.commit().unwrap();
            log.close().unwrap();
            assert_eq!(entries(root.path()), (0..entries_before + 20).collect::<Vec<_>>(), "error {error}");
            assert_eq!(verdict(root.path(), &[]), Verdict::Intact);
        }
    }
}

/// A disk that takes its time to sync: the shard goes on writing, and nothing is called durable before.
#[test]
fn a_slow_disk_holds_up_nobody_but_who_waits_for_it() {
    let root = scratch();
    let disk = Arc::new(Told::default());
    let (mut log, _) = ShardLog::open(root.path(), 0, "gateway", faulty(Durability::Durable, &disk), NOW).unwrap();
    log.append(&event(0, 100));
    log.commit().unwrap();
    let (sign, wait) = mpsc::channel();
    *disk.syncs_after.lock().unwrap() = Some(wait);
    log.append(&event(1, 100));
    log.commit_written().unwrap();
    let handle = log.sync_handle();
    let syncing = std::thread::spawn(move || handle.sync());
    for n in 2..12 {
        log.append(&event(n, 100));
        assert_eq!(log.commit_written().unwrap().end(), n + 1);
        assert!(log.sync.synced.load(Ordering::Acquire) <= 1 && !syncing.is_finished());
    }
    (0..8).for_each(|_| sign.send(()).unwrap());
    assert_eq!(syncing.join().unwrap().unwrap().end(), 2, "what was written meanwhile is not claimed");
    *disk.syncs_after.lock().unwrap() = None;
    assert_eq!(log.commit().unwrap().end(), 12);
}
