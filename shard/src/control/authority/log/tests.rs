//! The file: crashes, and hands that changed it.

use tidegate_core::words::Timestamp;
use tidegate_policy::authority::{Actor, Change};

use super::*;

fn event(n: i64) -> ControlEvent {
    let change = Change::SessionRevoked { session: format!("s{n}"), reason: "why \"\n\" ä".into() };
    ControlEvent::new(Timestamp(n), Actor::gateway(), change)
}

/// A folder with a log of five events, and the file's bytes.
fn five() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let mut log = FileLog::open(folder.path()).unwrap();
    log.replay(&mut |_, _| Ok(())).unwrap();
    for n in 1..=5 {
        assert_eq!(log.append(&event(n)).unwrap(), n as u64);
        log.sync().unwrap();
    }
    let path = folder.path().join(FILE_NAME);
    let bytes = fs::read(&path).unwrap();
    (folder, path, bytes)
}

/// What a restart finds: the events' times, and the torn bytes.
fn restart(folder: &Path) -> Result<(Vec<i64>, u64), LogError> {
    let mut times = Vec::new();
    let mut log = FileLog::open(folder)?;
    let replayed = log.replay(&mut |sequence, event| {
        assert_eq!(sequence, times.len() as u64 + 1);
        times.push(event.time.0);
        Ok(())
    })?;
    assert_eq!(replayed.events, times.len() as u64);
    Ok((times, replayed.torn_bytes))
}

#[test]
fn events_come_back_in_order_and_the_log_goes_on() {
    let (folder, path, bytes) = five();
    assert_eq!(restart(folder.path()).unwrap(), (vec![1, 2, 3, 4, 5], 0));
    assert_eq!(fs::read(&path).unwrap(), bytes, "replaying changes nothing");
    let mut log = FileLog::open(folder.path()).unwrap();
    log.replay(&mut |_, _| Ok(())).unwrap();
    let head = log.head();
    assert_eq!(log.append(&event(6)).unwrap(), 6);
    assert_ne!(log.head(), head);
    log.sync().unwrap();
    drop(log);
    assert_eq!(restart(folder.path()).unwrap().0, [1, 2, 3, 4, 5, 6]);
    for line in String::from_utf8(fs::read(&path).unwrap()).unwrap().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn one_process_has_it() {
    let (folder, ..) = five();
    let held = FileLog::open(folder.path()).unwrap();
    assert!(matches!(FileLog::open(folder.path()), Err(LogError::Locked { .. })));
    drop(held);
    FileLog::open(folder.path()).unwrap();
}

#[test]
fn a_line_torn_by_a_crash_is_cut_off_wherever_it_tore() {
    let (folder, path, bytes) = five();
    let last = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in last..bytes.len() {
        fs::write(&path, &bytes[..end]).unwrap();
        assert_eq!(restart(folder.path()).unwrap(), (vec![1, 2, 3, 4], (end - last) as u64), "cut at {end}");
        assert_eq!(fs::read(&path).unwrap().len(), last);
    }
    // The same line again gives the same file.
    let mut log = FileLog::open(folder.path()).unwrap();
    log.replay(&mut |_, _| Ok(())).unwrap();
    log.append(&event(5)).unwrap();
    log.sync().unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn every_changed_byte_is_found_in_its_line() {
    let (folder, path, bytes) = five();
    // The last newline is what makes the last line whole.
    for at in 0..bytes.len() - 1 {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        fs::write(&path, &changed).unwrap();
        match restart(folder.path()) {
            Err(LogError::Changed { line: found, .. }) => assert_eq!(found, line, "byte {at}"),
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), changed, "nothing is repaired");
    }
}

#[test]
fn lines_left_out_doubled_swapped_or_forged_are_found() {
    let (folder, path, bytes) = five();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let forged = {
        // An edit whose checksum was made to fit.
        let (body, _) = lines[2].rsplit_once(",\"crc\":\"").unwrap();
        let body = body.replace("s3", "s9") + "\",\"crc\":\"";
        let body = body.replace("\"\",\"crc", "\",\"crc");
        format!("{body}{:08x}\"}}", crc_fast::crc32_iscsi(body.as_bytes()))
    };
    for (what, order, line, message) in [
        ("left out", vec![lines[0], lines[2], lines[3], lines[4]], 2, "another stands here"),
        ("first left out", vec![lines[1], lines[2]], 1, "another stands here"),
        ("doubled", vec![lines[0], lines[1], lines[1], lines[2]], 3, "another stands here"),
        ("swapped", vec![lines[0], lines[2], lines[1]], 2, "another stands here"),
        ("forged", vec![lines[0], lines[1], &forged, lines[3]], 3, "does not follow"),
        ("empty line", vec![lines[0], "", lines[1]], 2, "not shaped"),
        ("no line of ours", vec![lines[0], "{}"], 2, "not shaped"),
    ] {
        fs::write(&path, order.join("\n") + "\n").unwrap();
        let error = restart(folder.path()).unwrap_err();
        assert!(matches!(error, LogError::Changed { line: found, .. } if found == line), "{what}: {error}");
        assert!(error.to_string().contains(message), "{what}: {error}");
    }
    fs::write(&path, vec![b'x'; LINE_BYTES_MAX + 1]).unwrap();
    assert!(restart(folder.path()).unwrap_err().to_string().contains("longer than"));
}
