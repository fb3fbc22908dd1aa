//! An event as a frame, and what is left of one that is too large.
//!
//! The usual event is encoded straight into the writer's buffer, without any other allocation. Only
//! one over the size limit is copied and cut: an entry that says "and more" is worth more than none,
//! and a client that touches a hundred thousand partitions must not be able to stop the evidence.

use prost::Message as _;
use tidegate_core::event::{Entry, Event, ResourceUse, SubjectTags};

use crate::format::{FRAME_HEADER_BYTES, FrameType, begin_frame, finish_frame};

/// The smallest size limit that the log accepts, in bytes: what is left of an event after cutting always fits.
pub const ENTRY_BYTES_MIN: usize = 8 * 1024;

/// Longest text that survives in an event that is over the limit even without its lists, in bytes.
/// Nine texts of it, and the fixed fields, stay under [`ENTRY_BYTES_MIN`].
const CUT_TEXT_BYTES: usize = 768;

/// Appends `event` as a frame to `buffer`, cut to `entry_bytes_max` (the frame's header included).
pub(crate) fn append_event(buffer: &mut Vec<u8>, event: &impl Entry, sequence: u64, entry_bytes_max: usize) {
    let start = begin_frame(buffer, FrameType::Event, sequence, event.time_micros());
    event.encode(buffer);
    if buffer.len() - start > entry_bytes_max {
        buffer.truncate(start + FRAME_HEADER_BYTES);
        cut(&event.to_event(), entry_bytes_max - FRAME_HEADER_BYTES).encode_raw(buffer);
    }
    finish_frame(buffer, start);
}

/// A copy of `event` that encodes to at most `bytes_max`: as many resources as fit, then as many tags of
/// subjects, and the marks that some are missing; where even that is too much, without lists and with its
/// texts cut.
fn cut(event: &Event, bytes_max: usize) -> Event {
    let mut left = Event { resources: Vec::new(), resources_cut: true, subjects: Vec::new(), ..event.clone() };
    let tags: u64 = event.subjects.iter().map(|group| group.iter().count() as u64).sum();
    // Room for the number, whatever it will be.
    left.subjects_cut = if event.subjects.is_empty() { event.subjects_cut } else { u64::MAX };
    let mut bytes = left.encoded_len();
    let keeps_findings = bytes <= bytes_max;
    if !keeps_findings {
        left.groups.clear();
        left.findings.clear();
        left.upstream_errors.clear();
        for text in [
            &mut left.session,
            &mut left.principal,
            &mut left.issuer,
            &mut left.subject,
            &mut left.client_address,
            &mut left.client_id,
            &mut left.api,
            &mut left.detail,
            &mut left.approval,
        ] {
            cut_text(text);
        }
        if let Some(note) = &mut left.recording {
            note.rule.clear();
            note.mode.clear();
            note.sha256.truncate(32);
        }
        bytes = left.encoded_len();
    }
    for resource in &event.resources {
        bytes += field_bytes(resource);
        if bytes > bytes_max {
            break;
        }
        left.resources.push(resource.clone());
    }
    left.resources_cut = event.resources_cut || left.resources.len() < event.resources.len();
    // Tags name their finding, so they go where those go.
    if keeps_findings {
        left.subjects = cut_tags(&event.subjects, bytes_max.saturating_sub(left.encoded_len()));
    }
    let kept: u64 = left.subjects.iter().map(|group| group.iter().count() as u64).sum();
    left.subjects_cut = event.subjects_cut.saturating_add(tags - kept);
    left
}

/// The groups of tags that fit into `room` bytes of an event, the last one in part.
fn cut_tags(groups: &[SubjectTags], mut room: usize) -> Vec<SubjectTags> {
    let mut kept = Vec::new();
    for group in groups {
        let whole = subjects_bytes(group);
        if whole <= room {
            room -= whole;
            kept.push(group.clone());
            continue;
        }
        // What a group takes beside its postings is at most what the whole one takes beside them.
        let beside = whole - group.postings.len();
        let mut postings = group.iter();
        while postings.next().is_some() && group.postings.len() - postings.rest().len() + beside <= room {}
        let mut part = group.clone();
        part.postings.truncate(group.postings.len() - postings.rest().len());
        while subjects_bytes(&part) > room && !part.postings.is_empty() {
            let last = part.iter().count() - 1;
            let bytes = {
                let mut rest = part.iter();
                rest.by_ref().take(last).for_each(drop);
                rest.rest().len()
            };
            part.postings.truncate(part.postings.len() - bytes);
        }
        if !part.postings.is_empty() {
            kept.push(part);
        }
        break;
    }
    kept
}

/// Bytes that one group takes within an event: tag, length and message.
fn subjects_bytes(group: &SubjectTags) -> usize {
    let message = group.encoded_len();
    2 + prost::length_delimiter_len(message) + message
}

/// Bytes that one resource takes within an event: tag, length and message.
fn field_bytes(resource: &ResourceUse) -> usize {
    let message = resource.encoded_len();
    1 + prost::length_delimiter_len(message) + message
}

fn cut_text(text: &mut String) {
    if text.len() > CUT_TEXT_BYTES {
        let mut end = CUT_TEXT_BYTES - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Parsed, parse_frame};
    use tidegate_core::event::{FindingCount, RecordingNote, push_posting};

    fn resource(n: usize) -> ResourceUse {
        ResourceUse {
            kind: "topic".into(),
            name: format!("orders-{n}"),
            partition: Some(n as i32),
            ..Default::default()
        }
    }

    fn tags(count: i64) -> SubjectTags {
        let mut tags = SubjectTags { base_offset: Some(1 << 40), ..SubjectTags::default() };
        (0..count).for_each(|n| push_posting(&mut tags.postings, n + (1 << 40), n + 1 + (1 << 40), n as u64));
        tags
    }

    #[test]
    fn tags_are_cut_last_and_counted() {
        let event = Event {
            findings: vec![FindingCount { class: "email".into(), ..FindingCount::default() }],
            resources: (0..10).map(resource).collect(),
            subjects: vec![tags(50), tags(5_000), tags(9)],
            ..Event::default()
        };
        for max in (ENTRY_BYTES_MIN..ENTRY_BYTES_MIN + 40).chain([FRAME_HEADER_BYTES + event.encoded_len()]) {
            let cut = written(&event, max);
            assert_eq!((cut.resources.len(), cut.resources_cut), (10, false));
            let kept: Vec<(i64, u64)> = cut.subjects.iter().flatten().collect();
            let all: Vec<(i64, u64)> = event.subjects.iter().flatten().collect();
            assert_eq!(kept[..], all[..kept.len()], "the first ones, in order");
            assert_eq!(cut.subjects_cut as usize, all.len() - kept.len());
            assert!(cut.subjects_cut == 0 || (700..1000).contains(&kept.len()), "{} at {max}", kept.len());
        }
    }

    fn written(event: &Event, max: usize) -> Event {
        let mut buffer = b"before".to_vec();
        append_event(&mut buffer, event, 5, max);
        assert!(buffer.len() - 6 <= max, "{} bytes", buffer.len() - 6);
        let Parsed::Frame(frame) = parse_frame(&buffer[6..]) else { panic!("no frame") };
        assert_eq!(frame.bytes(), buffer.len() - 6);
        assert_eq!((frame.sequence, frame.time_micros), (5, event.time_micros));
        Event::decode(frame.body).unwrap()
    }

    #[test]
    fn what_fits_is_written_whole() {
        let mut event = Event { time_micros: 77, principal: "anna".into(), ..Default::default() };
        assert_eq!(written(&event, ENTRY_BYTES_MIN), event);
        event.resources = (0..100).map(resource).collect();
        let exact = FRAME_HEADER_BYTES + event.encoded_len();
        assert_eq!(written(&event, exact), event);
        assert!(written(&event, exact - 1).resources_cut);
    }

    #[test]
    fn resources_are_cut_and_marked() {
        let event = Event {
            time_micros: 77,
            principal: "anna".into(),
            detail: "why".into(),
            resources: (0..10_000).map(resource).collect(),
            ..Default::default()
        };
        let cut = written(&event, ENTRY_BYTES_MIN);
        assert!(cut.resources_cut);
        assert!((100..9_000).contains(&cut.resources.len()));
        assert_eq!(cut.resources[..], event.resources[..cut.resources.len()]);
        let one_more = Event { resources: event.resources[..=cut.resources.len()].to_vec(), ..cut.clone() };
        assert!(FRAME_HEADER_BYTES + one_more.encoded_len() > ENTRY_BYTES_MIN, "as many as fit");
        assert_eq!(Event { resources: vec![], resources_cut: false, ..cut }, Event { resources: vec![], ..event });
    }

    #[test]
    fn huge_texts_and_lists_fit_too() {
        let text = "ä".repeat(100_000);
        let event = Event {
            session: text.clone(),
            principal: text.clone(),
            issuer: text.clone(),
            subject: text.clone(),
            groups: vec![text.clone(); 50],
            client_address: text.clone(),
            client_id: text.clone(),
            api: text.clone(),
            detail: text.clone(),
            approval: text.clone(),
            resources: vec![ResourceUse { name: text.clone(), ..Default::default() }],
            findings: vec![FindingCount { class: text.clone(), ..Default::default() }; 9],
            upstream_errors: vec![-1; 10_000],
            time_micros: i64::MIN,
            kind: i32::MIN,
            api_version: i32::MIN,
            outcome: i32::MIN,
            policy_version: u64::MAX,
            latency_micros: u64::MAX,
            request_bytes: u64::MAX,
            response_bytes: u64::MAX,
            broker: i32::MIN,
            resources_cut: false,
            subjects: vec![tags(100_000)],
            subjects_cut: 5,
            recording: Some(Box::new(RecordingNote {
                rule: text.clone(),
                mode: text.clone(),
                sha256: vec![255; 100_000],
                ..Default::default()
            })),
        };
        let cut = written(&event, ENTRY_BYTES_MIN);
        assert!(cut.resources_cut && cut.principal.ends_with("ä…") && cut.policy_version == u64::MAX);
        assert_eq!((cut.subjects.len(), cut.subjects_cut), (0, 100_005), "without findings there are no tags");
    }
}
