//! Recordings written, read, sealed, and altered in every way: what is altered is found, what is hostile is refused.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::event::{Event, Kind as EventKind, RecordingAct, RecordingNote};
use tidegate_core::words::Timestamp;

use super::format::{Damage, Exchange, FRAME_PREFIX_BYTES, FramePrefix, Header, LeftOut, RecordedMode, encode_frame};
use super::ledger::Ledger;
use super::read::{ReadError, Reader, Step};
use super::seal::{PublicKey, SecretKey};
use super::write::Writer;
use super::{RecordingId, expire, list, recording_path, watch};
use crate::log::{Durability, LogOptions, ShardLog};
use crate::note::Signer;
use crate::verify::{Kind, Options, Progress, Verdict, verify};

const SESSION: &str = "0192f5a0-0000-7000-8000-000000000001";
const OTHER: &str = "0192f5a0-0000-7000-8000-000000000002";

fn header(session: &str) -> Header {
    Header {
        origin: "gw".to_owned(),
        session: session.to_owned(),
        part: 1,
        principal: "carol".to_owned(),
        rule: "all".to_owned(),
        mode: RecordedMode::Masked as i32,
        started_micros: 1_700_000_000_000_000,
        keep_until_micros: 1_700_000_100_000_000,
        broker: 1,
        ..Header::default()
    }
}

fn exchange(n: u64) -> Exchange {
    Exchange {
        started_micros: 1_700_000_000_000_000 + n as i64,
        api_key: 1,
        api: "Fetch".to_owned(),
        request: Some(format!("request {n}").into_bytes().into()),
        response: Some(vec![n as u8; 3000].into()),
        response_left_out: LeftOut::No as i32,
        entry: n + 1,
        ..Exchange::default()
    }
}

/// Evidence that commits to recordings.
struct Evidence {
    root: tempfile::TempDir,
    log: ShardLog,
}

impl Evidence {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let log = Self::open(root.path());
        Self { root, log }
    }

    fn open(root: &Path) -> ShardLog {
        let options = LogOptions {
            segment_bytes: 1 << 20,
            entry_bytes_max: 8192,
            durability: Durability::Written,
            signer: Some(Arc::new(Signer::from_seed("gw", &[1; 32]).unwrap())),
            checkpoint_interval: Duration::ZERO,
            ..LogOptions::default()
        };
        ShardLog::open(root, 0, "gw", options, Timestamp(0)).unwrap().0
    }

    fn note(&mut self, session: &str, note: RecordingNote) {
        self.log.append(&Event {
            time_micros: 1_700_000_000_000_000,
            kind: EventKind::Recording as i32,
            session: session.to_owned(),
            principal: "carol".to_owned(),
            recording: Some(Box::new(note)),
            ..Event::default()
        });
        self.log.commit().unwrap();
        while let Some(chore) = self.log.chore() {
            chore.run().unwrap();
        }
        self.log.commit().unwrap();
    }

    /// A recording of so many chunks of three exchanges; ended or left open.
    fn record(&mut self, session: &str, chunks: u64, end: bool, auditors: &[(String, PublicKey)]) -> PathBuf {
        let (mut writer, begun) = Writer::begin(self.root.path(), header(session), auditors, false).unwrap();
        self.note(session, begun);
        for chunk in 0..chunks {
            (0..3).for_each(|n| writer.push(&exchange(chunk * 3 + n)));
            let note = writer.write_chunk().unwrap().unwrap();
            self.note(session, note);
        }
        if end {
            for note in writer.end(false, "the session ended", 7).unwrap() {
                self.note(session, note);
            }
        }
        recording_path(self.root.path(), 0, &RecordingId { session: session.to_owned(), part: 1 })
    }

    fn verify(&self) -> crate::verify::Report {
        let keys = vec![Signer::from_seed("gw", &[1; 32]).unwrap().verifier().clone()];
        verify(self.root.path(), &Options { keys, ..Options::default() }, &Progress::default()).unwrap()
    }

    /// The kinds of what is found.
    fn kinds(&self) -> Vec<Kind> {
        self.verify().findings.iter().map(|finding| finding.kind).collect()
    }
}

fn read(path: &Path, key: Option<&SecretKey>) -> Result<(Vec<Exchange>, Option<String>), ReadError> {
    let mut reader = Reader::open(path)?;
    if let Some(key) = key {
        reader.unlock(key)?;
    }
    let mut all = Vec::new();
    loop {
        match reader.step()? {
            Step::Exchanges(exchanges) => all.extend(exchanges),
            Step::End(end) => return Ok((all, Some(end.reason))),
            Step::Open(_) => return Ok((all, None)),
        }
    }
}

/// Where each frame begins, and the file's length.
fn frames(path: &Path) -> Vec<u64> {
    let mut reader = Reader::open(path).unwrap();
    let mut places = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        places.push(frame.offset);
    }
    places.push(fs::metadata(path).unwrap().len());
    places
}

#[test]
fn what_is_written_is_read_and_verified() {
    let mut evidence = Evidence::new();
    let path = evidence.record(SESSION, 4, true, &[]);
    let (exchanges, end) = read(&path, None).unwrap();
    assert_eq!(exchanges, (0..12).map(exchange).collect::<Vec<_>>());
    assert_eq!(end.as_deref(), Some("the session ended"));
    let report = evidence.verify();
    assert_eq!(report.findings, []);
    assert_eq!(report.verdict(), Verdict::Intact);
    assert_eq!((report.recordings.files, report.recordings.chunks, report.recordings.uncovered), (1, 5, 0));
    assert!(fs::metadata(&path).unwrap().len() < 12 * 3000 / 4, "it is compressed");

    let ledger = Ledger::read(evidence.root.path(), Some(SESSION)).unwrap();
    let [(key, account)] = &ledger.accounts.into_iter().collect::<Vec<_>>()[..] else { panic!("one recording") };
    assert_eq!((key.0, key.1.to_string()), (0, format!("{SESSION}-001")));
    assert!(account.has_ended() && account.has_end_frame() && !account.is_removed());
    assert_eq!(account.notes.len(), 6);
    assert_eq!(Ledger::read(evidence.root.path(), Some(OTHER)).unwrap().accounts.len(), 0);
    assert_eq!(list(evidence.root.path()).unwrap().len(), 1);
}

#[test]
fn every_changed_byte_is_found() {
    let mut evidence = Evidence::new();
    let path = evidence.record(SESSION, 3, true, &[]);
    let good = fs::read(&path).unwrap();
    // Every byte of header, prefixes and ends; of payloads some.
    for at in (0..good.len()).filter(|at| at % 7 == 0 || *at < 120) {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        fs::write(&path, &bad).unwrap();
        let report = evidence.verify();
        assert_eq!(report.verdict(), Verdict::Tampered, "byte {at} of {}", good.len());
        assert_eq!(report.findings[0].path, path);
    }
}

#[test]
fn everything_that_can_be_done_to_a_recording_is_found() {
    let mut evidence = Evidence::new();
    let (path, other) = (evidence.record(SESSION, 3, true, &[]), evidence.record(OTHER, 3, false, &[]));
    assert_eq!(evidence.kinds(), []);
    let (good, good_other) = (fs::read(&path).unwrap(), fs::read(&other).unwrap());
    let places = frames(&path);
    let part = |from: usize, to: usize| &good[places[from] as usize..places[to] as usize];
    let header = &good[..places[0] as usize];
    let forged = {
        // With this very source code: another last frame that fits the chain.
        let mut reader = Reader::open(&path).unwrap();
        let mut before = [0; 32];
        while let Some(frame) = reader.next_frame().unwrap().filter(|frame| frame.prefix.number < 2) {
            before = frame.hash;
        }
        let payload = zstd::bulk::compress(b"", 1).unwrap();
        let prefix = FramePrefix { number: 2, payload_bytes: payload.len(), sealed: false, end: true, before };
        encode_frame(&prefix, &payload)
    };
    let rows: &[(&str, Vec<u8>, Kind)] = &[
        ("a dropped frame", [header, part(0, 1), part(2, 4)].concat(), Kind::Order),
        ("the first dropped", [header, part(1, 4)].concat(), Kind::Order),
        ("doubled", [header, part(0, 2), part(1, 4)].concat(), Kind::Order),
        ("reordered", [header, part(1, 2), part(0, 1), part(2, 4)].concat(), Kind::Order),
        ("the end cut off", [header, part(0, 3)].concat(), Kind::Missing),
        ("cut within a frame", good[..good.len() - 1].to_vec(), Kind::Missing),
        ("cut to its header", header.to_vec(), Kind::Missing),
        ("cut within its header", header[..30].to_vec(), Kind::Header),
        ("emptied", Vec::new(), Kind::Header),
        ("added to", [&good[..], part(2, 3)].concat(), Kind::Extra),
        ("one byte added", [&good[..], b"x"].concat(), Kind::Extra),
        ("replaced by another's", good_other.clone(), Kind::Misplaced),
        ("a forged frame", [header, part(0, 2), &forged].concat(), Kind::Changed),
    ];
    for (what, bytes, kind) in rows {
        fs::write(&path, bytes).unwrap();
        assert_eq!(evidence.kinds(), [*kind], "{what}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(evidence.kinds(), [Kind::Missing]);
    // Under another name, or of another shard, it is nobody's.
    fs::rename(&other, &path).unwrap();
    assert_eq!(evidence.kinds(), [Kind::Misplaced, Kind::Missing]);
    fs::rename(&path, &other).unwrap();
    fs::write(&path, &good).unwrap();
    assert_eq!(evidence.kinds(), []);
    let stranger = path.with_file_name("0192f5a0-0000-7000-8000-000000000009-001.tgrec");
    fs::write(&stranger, &good).unwrap();
    fs::File::open(&stranger).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(evidence.kinds(), [Kind::Extra]);
}

#[test]
fn a_crash_costs_the_last_chunk_and_nothing_else() {
    let mut evidence = Evidence::new();
    let path = evidence.record(SESSION, 2, false, &[]);
    let good = fs::read(&path).unwrap();
    // A chunk whose entry was not written, and half of another.
    let mut reader = Reader::open(&path).unwrap();
    let mut before = [0; 32];
    while let Some(frame) = reader.next_frame().unwrap() {
        before = frame.hash;
    }
    let payload = zstd::bulk::compress(b"", 1).unwrap();
    let prefix = FramePrefix { number: 2, payload_bytes: payload.len(), sealed: false, end: false, before };
    let frame = encode_frame(&prefix, &payload);
    for torn in 0..frame.len() {
        fs::write(&path, [&good[..], &frame, &frame[..torn]].concat()).unwrap();
        assert_eq!(read(&path, None).unwrap().0.len(), 6);
        let report = evidence.verify();
        assert_eq!((report.verdict(), report.recordings.uncovered), (Verdict::Intact, 1), "{torn}");
    }
    let notes = expire::recover(evidence.root.path(), 0, 99).unwrap();
    assert_eq!(notes.len(), 5, "the header, three chunks, the end");
    notes.into_iter().for_each(|(id, note)| evidence.note(&id.session, note));
    let report = evidence.verify();
    assert_eq!((report.verdict(), report.recordings.uncovered, report.recordings.chunks), (Verdict::Intact, 0, 4));
    assert_eq!(read(&path, None).unwrap().1.as_deref(), Some("the gateway ended"));
    // Once more finds nothing to end; the notes fit again.
    assert!(expire::recover(evidence.root.path(), 0, 99).unwrap().iter().all(|(_, note)| note.act != 0));

    // What was altered while the gateway was down is not made good by its start.
    let second = evidence.record(OTHER, 3, false, &[]);
    let places = frames(&second);
    let bytes = fs::read(&second).unwrap();
    fs::write(&second, &bytes[..places[1] as usize]).unwrap();
    let notes = expire::recover(evidence.root.path(), 0, 99).unwrap();
    notes.into_iter().for_each(|(id, note)| evidence.note(&id.session, note));
    assert_eq!(evidence.kinds(), [Kind::Changed]);
}

#[test]
fn sealed_recordings_open_for_their_auditors_alone() {
    let mut evidence = Evidence::new();
    let keys = [(); 3].map(|()| SecretKey::generate().unwrap());
    let auditors: Vec<_> = keys[..2].iter().map(|key| ("somebody".to_owned(), key.public().clone())).collect();
    let path = evidence.record(SESSION, 3, true, &auditors);
    for key in &keys[..2] {
        let key = SecretKey::parse(&key.to_text()).unwrap();
        assert_eq!(PublicKey::parse(&key.public().to_string()).unwrap(), *key.public());
        assert_eq!(read(&path, Some(&key)).unwrap().0, (0..9).map(exchange).collect::<Vec<_>>());
    }
    for key in [Some(&keys[2]), None] {
        let error = read(&path, key).unwrap_err();
        assert!(matches!(&error, ReadError::Sealed { .. }) && error.to_string().contains("somebody"), "{error}");
    }
    let bytes = fs::read(&path).unwrap();
    assert!(!bytes.windows(7).any(|window| window == b"request"), "nothing of it is readable");
    // Verified without any key; and what is changed together with its checksum does not open.
    assert_eq!(evidence.kinds(), []);
    let places = frames(&path);
    let mut bad = bytes.clone();
    let frame = &mut bad[places[0] as usize..places[1] as usize];
    frame[FRAME_PREFIX_BYTES + 3] ^= 1;
    let crc = super::format::frame_crc(frame).to_le_bytes();
    frame[FRAME_PREFIX_BYTES - 4..FRAME_PREFIX_BYTES].copy_from_slice(&crc);
    fs::write(&path, bad).unwrap();
    assert!(matches!(read(&path, Some(&keys[0])), Err(ReadError::Sealed { .. })));
    assert_eq!(evidence.kinds(), [Kind::Changed]);
    for text in ["", "tidegate-auditor:", "tidegate-auditor:AAAA", "age1xyz"] {
        assert!(PublicKey::parse(text).is_err() && SecretKey::parse(text).is_err());
    }
    assert!(!format!("{:?}", keys[0]).contains(keys[0].to_text().lines().nth(1).unwrap()));
}

/// Numbers from a seed (xorshift64*), below a bound.
fn draws(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % below.max(1)
    }
}

#[test]
fn hostile_bytes_are_refused_without_crash_or_room_for_what_they_claim() {
    let mut evidence = Evidence::new();
    let path = evidence.record(SESSION, 2, true, &[]);
    let good = fs::read(&path).unwrap();
    let places = frames(&path);
    let mut draw = draws(40);
    for round in 0..3000 {
        let mut bad = good.clone();
        for _ in 0..=draw(3) {
            let at = draw(bad.len());
            match draw(4) {
                0 => bad.truncate(at),
                1 => bad[at] = draw(256) as u8,
                2 => bad.splice(at..at, [0xff; 4]).for_each(drop),
                _ => bad[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
            }
            bad.push(0);
        }
        if round % 2 == 0 && bad.len() > places[1] as usize {
            // With good checksums, so that what is behind them is reached.
            let frame = &mut bad[places[0] as usize..places[1] as usize];
            let crc = super::format::frame_crc(frame).to_le_bytes();
            frame[FRAME_PREFIX_BYTES - 4..FRAME_PREFIX_BYTES].copy_from_slice(&crc);
        }
        fs::write(&path, &bad).unwrap();
        let _ = read(&path, None);
    }
    // A payload that becomes far more than it is.
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
    let reader = Reader::open(&{
        fs::write(&path, &good).unwrap();
        path.clone()
    });
    let before = *reader.unwrap().header_hash().0;
    let prefix = FramePrefix { number: 0, payload_bytes: bomb.len(), sealed: false, end: false, before };
    fs::write(&path, [&good[..places[0] as usize], &encode_frame(&prefix, &bomb)].concat()).unwrap();
    let error = read(&path, None).unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
    // A frame that claims more bytes than any has.
    let mut claim = good.clone();
    claim[places[0] as usize + 8..places[0] as usize + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    fs::write(&path, &claim).unwrap();
    let error = read(&path, None).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { source: Damage::Field(_), .. }), "{error}");
}

#[test]
fn recordings_are_removed_when_their_time_has_come_and_the_evidence_says_so() {
    let mut evidence = Evidence::new();
    let path = evidence.record(SESSION, 1, true, &[]);
    let root = evidence.root.path().to_owned();
    let until = header(SESSION).keep_until_micros;
    let id = RecordingId { session: SESSION.to_owned(), part: 1 };
    let none = HashSet::new();
    let due = |now, open: &HashSet<RecordingId>| expire::due(&root, 0, now, open, &[], 10).unwrap();
    assert_eq!(due(until - 1, &none).len(), 0);
    assert_eq!(due(until, &HashSet::from([id.clone()])).len(), 0, "it is being written");
    let hold = crate::retention::hold::Hold { name: "case".to_owned(), from_micros: None, to_micros: None };
    assert_eq!(expire::due(&root, 0, until, &none, &[hold], 10).unwrap().len(), 0);
    let found = due(until, &none);
    assert_eq!(
        (found.len(), found[0].note.act, found[0].bytes),
        (1, RecordingAct::Removed as i32, expire::bytes(&root, 0).unwrap())
    );
    evidence.note(SESSION, found[0].note.clone());
    expire::remove(&root, 0, &found).unwrap();
    assert!(!path.exists());
    let report = evidence.verify();
    assert_eq!((report.findings.len(), report.recordings.removed, report.recordings.files), (0, 1, 0));
}

#[test]
fn offline_watching_leaves_a_chain_of_lines() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join(watch::WATCH_LOG);
    let line = |n: u32| watch::Watched {
        time: "2026-11-24T00:00:00Z".to_owned(),
        recording: format!("{SESSION}-001"),
        how: "shown".to_owned(),
        user: "eve".to_owned(),
        why: format!("ticket {n}"),
        remark: String::new(),
        before: String::new(),
    };
    (0..3).for_each(|n| watch::append(&path, line(n)).unwrap());
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut before = String::new();
    for text in lines {
        let watched: watch::Watched = serde_json::from_str(text).unwrap();
        assert_eq!(watched.before, before);
        assert!(watched.remark.contains("no part of the gateway's evidence"));
        before = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes())
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
    }
    assert!(watch::append(&root.path().join("missing").join("x"), line(9)).is_err());
}
