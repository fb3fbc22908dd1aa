//! What a supervisory authority wants to know within 72 hours (Art. 33(3)), as far as evidence knows it.

use serde_json::json;

use super::observed::{Observed, found_text};
use super::{Bars, Block, Document, counted, listed};

/// What the report is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Basis {
    /// The period asked for, in words.
    pub period: String,
    /// The topics; empty: all.
    pub topics: Vec<String>,
    /// Where the evidence lies.
    pub evidence: String,
    /// When the report was made.
    pub made: String,
    /// The command that lists the entries.
    pub command: String,
}

/// The report.
#[must_use]
pub fn report(observed: &Observed, basis: &Basis) -> Document {
    let topics = if basis.topics.is_empty() { "all topics".to_owned() } else { listed(&basis.topics) };
    let mut document = Document {
        title: "Personal data breach: what evidence knows (Art. 33 GDPR)".to_owned(),
        lead: format!("Facts for the notification about {topics}. Causes, consequences and measures are yours to add."),
        ..Document::default()
    };
    let reads: u64 = sum(observed, "read", |sum| sum.records);
    let writes: u64 = sum(observed, "write", |sum| sum.records);
    document.fact("Period", basis.period.clone());
    document.fact("Seen in it", observed.period());
    document.fact("Evidence", basis.evidence.clone());
    document.fact("Made", basis.made.clone());
    document.fact("Records read", format!("{reads} (each delivery counts, so a record read twice is two)"));
    document.fact("Records written", writes.to_string());
    let sign = if observed.subjects_at_least { "at least " } else { "about " };
    let most = observed.subjects.values().copied().max().unwrap_or(0);
    document.fact("Subjects", format!("{sign}{most} (the most distinct tags of one class)"));

    let subjects: Vec<(String, u64)> = observed.subjects.iter().map(|(class, count)| (class.clone(), *count)).collect();
    let mut blocks = vec![Block::Text(
        "Distinct values by class, told apart by keyed tags: one person may have two addresses, and two may share one; a value seen in two epochs of the tag key counts twice."
            .to_owned(),
    )];
    if subjects.is_empty() {
        blocks.push(Block::Text("No tag of a subject was seen.".to_owned()));
    } else {
        blocks.push(Block::Bars(Bars { title: "Distinct values by class".to_owned(), rows: subjects }));
    }
    if observed.subjects_cut > 0 {
        blocks.push(Block::Warning(format!(
            "{} were left out of entries at a limit.",
            counted(observed.subjects_cut, "tag")
        )));
    }
    document.section("Categories and approximate number of subjects (33(3)(a))", blocks);

    let rows = |action: &'static str| {
        observed.lines.iter().filter(move |(line, _)| line.action == action).map(|(line, sum)| {
            vec![
                line.principal.clone(),
                listed(&sum.groups),
                line.topic.clone(),
                sum.records.to_string(),
                found_text(&sum.found),
                line.grant.clone(),
                line.purpose.clone(),
                format!("{} – {}", sum.first, sum.last),
                format!("{}: {}", sum.exchanges, listed(&sum.entries)),
            ]
        })
    };
    let columns =
        ["Principal", "Groups", "Topic", "Records", "Data and its form", "Grant", "Purpose", "First – last", "Entries"];
    document.section(
        "Who read records (33(3)(a), (c))",
        vec![Block::table(&columns, rows("read"), "Nobody."), Block::Command(basis.command.clone())],
    );
    document.section("Who wrote records", vec![Block::table(&columns, rows("write"), "Nobody.")]);
    let denied = observed
        .denied
        .iter()
        .map(|((principal, topic), count)| vec![principal.clone(), topic.clone(), count.to_string()]);
    document
        .section("Attempts that were denied", vec![Block::table(&["Principal", "Topic", "Times"], denied, "None.")]);
    let mut gaps = vec![Block::Steps(vec![
        "The likely consequences (33(3)(c)).".to_owned(),
        "Measures taken or proposed, and what was done against adverse effects (33(3)(d)).".to_owned(),
        "The data protection officer's name and contact (33(3)(b)).".to_owned(),
        "If this comes later than 72 hours after you became aware of the breach: why (33(1)).".to_owned(),
    ])];
    for (path, reason) in &observed.damaged {
        gaps.push(Block::Warning(format!("{} cannot be read: {reason}", path.display())));
    }
    document.section("What you have to add", gaps);
    document.data = json!({ "report": "breach", "period": basis.period, "topics": basis.topics, "made": basis.made,
        "records_read": reads, "records_written": writes, "subjects_by_class": observed.subjects,
        "subjects_at_least": observed.subjects_at_least, "tags_cut": observed.subjects_cut,
        "access": observed.lines.iter().map(|(line, sum)| json!({ "who": line, "what": sum })).collect::<Vec<_>>(),
        "denied": observed.denied.iter().map(|((principal, topic), count)|
            json!({ "principal": principal, "topic": topic, "count": count })).collect::<Vec<_>>() });
    document
}

fn sum(observed: &Observed, action: &str, of: impl Fn(&super::observed::Sum) -> u64) -> u64 {
    observed.lines.iter().filter(|(line, _)| line.action == action).map(|(_, sum)| of(sum)).sum()
}
