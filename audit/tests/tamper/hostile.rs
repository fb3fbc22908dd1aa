//! Files that somebody made up: whatever is done to one, nothing panics, hangs or is called intact.

use std::fs;

use proptest::prelude::*;
use tidegate_audit::format::{FrameType, HEADER_BYTES, Header, finish_frame};
use tidegate_audit::log::ShardLog;
use tidegate_audit::prove::prove;
use tidegate_audit::query::{Indexes, Query, Search};
use tidegate_audit::verify::Verdict;
use tidegate_core::words::Timestamp;

use crate::evidence::{Evidence, ORIGIN, event, frames, options, signer};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to a file, with right CRCs or without: nothing that reads evidence panics or hangs, and
    /// entries that were signed are never called intact once they differ.
    #[test]
    fn hostile_files(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        which in 0usize..4,
        cut in prop::option::of(any::<prop::sample::Index>()),
        repair in any::<bool>(),
    ) {
        let evidence = shared().copy();
        let path = if which == 3 { evidence.checkpoint(0) } else { evidence.segment(0, which) };
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let frame = frames(&whole).into_iter().find(|(start, end, _)| (*start..*end).contains(&place));
            if let Some((start, end, _)) = frame.filter(|_| repair && which < 3) {
                finish_frame(&mut bytes[..end], start);
            } else if repair && which < 3 && let Ok(header) = Header::parse(&bytes) {
                bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        fs::write(&path, &bytes).unwrap();
        let report = evidence.verify();
        let same = |kind| {
            let events = |bytes: &[u8]| -> Vec<Vec<u8>> {
                let found = frames(bytes).into_iter().filter(|frame| frame.2 == kind);
                found.map(|(start, end, _)| bytes[start..end].to_vec()).collect()
            };
            which == 3 || bytes.len() > HEADER_BYTES && events(&bytes) == events(&whole)
        };
        prop_assert!(same(FrameType::Event) || report.verdict() == Verdict::Tampered, "{report:?}");
        for indexes in [Indexes::Build, Indexes::Use] {
            let mut search = Search::new(evidence.root.path(), None, Query::default(), indexes).unwrap();
            while search.next().unwrap().is_some() {}
        }
        let _ = prove(evidence.root.path(), 0, 70, &[signer(1).verifier().clone()]);
        let opened = ShardLog::open(evidence.root.path(), 0, ORIGIN, options(), Timestamp(0));
        // What opens goes on as one tree, unless a sealed segment was hurt, at which opening does not look.
        if let Ok((mut log, _)) = opened {
            log.append(&event(0, 100));
            log.close().unwrap();
        }
        evidence.verify();
    }
}

/// Evidence that nobody changes but its copies.
fn shared() -> &'static Evidence {
    static EVIDENCE: std::sync::OnceLock<Evidence> = std::sync::OnceLock::new();
    EVIDENCE.get_or_init(Evidence::new)
}
