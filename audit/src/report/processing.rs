//! The record of processing activities (Art. 30): what is declared beside what evidence saw, and where the
//! two differ. The difference is the point: an undeclared class, recipient or purpose is a finding.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;

use super::observed::{Line, Observed, Sum, found_text};
use super::{Block, Document, listed};

/// What is declared; the policy file has it under `processing`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Declared {
    /// The controller, with contact.
    pub controller: String,
    /// Joint controllers.
    pub joint_controllers: Vec<String>,
    /// The representative.
    pub representative: String,
    /// The data protection officer.
    pub dpo: String,
    /// The processor, where this is about processing for others.
    pub processor: String,
    /// Security measures (Art. 32(1)), in words.
    pub security: Vec<String>,
    /// Activities.
    pub activities: Vec<Activity>,
}

/// One processing activity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// Its name.
    pub name: String,
    /// On whose behalf, where that is another controller.
    pub on_behalf_of: String,
    /// Purposes, as grants write them.
    pub purposes: Vec<String>,
    /// The legal basis.
    pub legal_basis: String,
    /// Topics; a `*` at the end matches any rest.
    pub topics: Vec<String>,
    /// Categories of subjects.
    pub subjects: Vec<String>,
    /// Classes of data.
    pub classes: Vec<String>,
    /// Recipients: their name, and which principals and groups they are.
    pub recipients: Vec<Recipient>,
    /// Transfers to third countries, with safeguards.
    pub transfers: Vec<String>,
    /// Until when data is erased.
    pub retention: String,
}

/// A recipient or category of recipients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Recipient {
    /// The name.
    pub name: String,
    /// Principals.
    pub principals: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// The country, where it is declared.
    pub country: String,
}

/// Which form is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Art. 30(1).
    Controller,
    /// Art. 30(2).
    Processor,
}

/// What the report rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Basis {
    /// The period asked for, in words.
    pub period: String,
    /// Where the evidence lies.
    pub evidence: String,
    /// The policy file.
    pub policy: String,
    /// When the report was made.
    pub made: String,
}

/// Something that was seen and is not declared, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Drift {
    /// `undeclared topic`, `undeclared class`, `undeclared recipient`, `undeclared purpose`, `never seen`.
    pub kind: &'static str,
    /// In a sentence.
    pub what: String,
    /// Entries that show it.
    pub entries: Vec<String>,
}

impl Activity {
    fn has_topic(&self, topic: &str) -> bool {
        self.topics.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => topic.starts_with(prefix),
            None => wanted == topic,
        })
    }

    fn has_recipient(&self, line: &Line, sum: &Sum) -> bool {
        self.recipients.iter().any(|recipient| {
            recipient.principals.contains(&line.principal)
                || recipient.groups.iter().any(|group| sum.groups.contains(group))
        })
    }
}

/// Where what was seen and what is declared differ.
#[must_use]
pub fn drift(declared: &Declared, observed: &Observed) -> Vec<Drift> {
    let mut drift: std::collections::BTreeMap<(&'static str, String), Vec<String>> = Default::default();
    let mut note = |kind, what: String, sum: &Sum| {
        let entries = drift.entry((kind, what)).or_default();
        entries.extend(sum.entries.iter().take(3_usize.saturating_sub(entries.len())).cloned());
    };
    for (line, sum) in observed.with_data() {
        let of_topic: Vec<&Activity> = declared.activities.iter().filter(|a| a.has_topic(&line.topic)).collect();
        if of_topic.is_empty() {
            note("undeclared topic", format!("{} carries {}", line.topic, listed(sum.found.keys())), sum);
            continue;
        }
        for class in sum.found.keys().filter(|class| !of_topic.iter().any(|a| a.classes.contains(class))) {
            note("undeclared class", format!("{class} in {}", line.topic), sum);
        }
        if line.action == "read" {
            if !of_topic.iter().any(|activity| activity.has_recipient(line, sum)) {
                note("undeclared recipient", format!("{} reads {}", line.principal, line.topic), sum);
            }
            if !line.purpose.is_empty() && !of_topic.iter().any(|a| a.purposes.contains(&line.purpose)) {
                note("undeclared purpose", format!("“{}” for {}", line.purpose, line.topic), sum);
            }
        }
    }
    let mut found: Vec<Drift> =
        drift.into_iter().map(|((kind, what), entries)| Drift { kind, what, entries }).collect();
    for activity in &declared.activities {
        let seen = |topic: &String| {
            let one = Activity { topics: vec![topic.clone()], ..Activity::default() };
            observed.lines.keys().any(|line| one.has_topic(&line.topic))
        };
        for topic in activity.topics.iter().filter(|topic| !seen(topic)) {
            let what = format!("{}: nothing of topic {topic} in this period", activity.name);
            found.push(Drift { kind: "never seen", what, entries: Vec::new() });
        }
    }
    found
}

/// The record.
#[must_use]
pub fn report(declared: &Declared, observed: &Observed, side: Side, basis: &Basis) -> Document {
    let drift = drift(declared, observed);
    let (article, processor) = match side {
        Side::Controller => ("30(1)", false),
        Side::Processor => ("30(2)", true),
    };
    let mut document = Document {
        title: format!("Record of processing activities (Art. {article} GDPR)"),
        lead: "What is declared in the policy, beside what evidence saw go through the gateway.".to_owned(),
        ..Document::default()
    };
    if processor {
        document.fact("Processor", or_missing(&declared.processor));
    }
    document.fact("Controller", or_missing(&declared.controller));
    if !declared.joint_controllers.is_empty() {
        document.fact("Joint controllers", listed(&declared.joint_controllers));
    }
    document.fact("Representative", or_dash(&declared.representative));
    document.fact("Data protection officer", or_dash(&declared.dpo));
    document.fact("Period of evidence", basis.period.clone());
    document.fact("Evidence", basis.evidence.clone());
    document.fact("Policy", basis.policy.clone());
    document.fact("Made", basis.made.clone());

    let rows = drift.iter().map(|d| vec![d.kind.to_owned(), d.what.clone(), listed(&d.entries)]);
    let mut blocks = vec![Block::table(&["Kind", "What", "Entries"], rows, "What was seen is what is declared.")];
    if declared.activities.is_empty() {
        blocks.insert(
            0,
            Block::Warning("The policy declares no processing: its section `processing` is missing.".to_owned()),
        );
    }
    document.section("Drift: seen and not declared, or declared and not seen", blocks);

    for activity in &declared.activities {
        document.section(&activity.name, activity_blocks(activity, observed, processor));
    }
    let undeclared: BTreeSet<&str> = observed
        .with_data()
        .map(|(line, _)| line.topic.as_str())
        .filter(|topic| !declared.activities.iter().any(|activity| activity.has_topic(topic)))
        .collect();
    if !undeclared.is_empty() {
        let lines = observed.with_data().filter(|(line, _)| undeclared.contains(line.topic.as_str()));
        document.section("Topics with personal data that no activity declares", vec![seen_table(lines)]);
    }
    let security = if declared.security.is_empty() {
        vec![Block::Text("None is declared. The gateway itself authenticates callers, allows by time-boxed grants, masks by rule, and keeps this evidence tamper-evident.".to_owned())]
    } else {
        declared.security.iter().map(|measure| Block::Text(measure.clone())).collect()
    };
    document.section(
        &format!("Security measures (Art. 30({})(g), 32(1))", if processor { "2" } else { "1" })
            .replace("(2)(g)", "(2)(d)"),
        security,
    );
    let damaged = observed.damaged.iter().map(|(path, why)| Block::Warning(format!("{}: {why}", path.display())));
    let damaged: Vec<Block> = damaged.collect();
    if !damaged.is_empty() {
        document.section("Evidence that cannot be read", damaged);
    }
    document.data = json!({ "report": format!("article-{article}"), "made": basis.made, "period": basis.period,
        "policy": basis.policy, "declared": declared, "drift": drift,
        "observed": observed.with_data().map(|(line, sum)| json!({ "who": line, "what": sum })).collect::<Vec<_>>() });
    document
}

fn activity_blocks(activity: &Activity, observed: &Observed, processor: bool) -> Vec<Block> {
    let recipients = activity.recipients.iter().map(|recipient| {
        let who = [&recipient.principals[..], &recipient.groups[..]].concat();
        let country = if recipient.country.is_empty() { String::new() } else { format!(", {}", recipient.country) };
        format!("{} ({}{country})", recipient.name, listed(who))
    });
    let mut rows = vec![
        vec!["Purposes".to_owned(), listed(&activity.purposes)],
        vec!["Legal basis".to_owned(), or_dash(&activity.legal_basis)],
        vec!["Topics".to_owned(), listed(&activity.topics)],
        vec!["Subjects".to_owned(), listed(&activity.subjects)],
        vec!["Data".to_owned(), listed(&activity.classes)],
        vec!["Recipients".to_owned(), listed(recipients)],
        vec!["Third countries and safeguards".to_owned(), listed(&activity.transfers)],
        vec!["Erasure".to_owned(), or_dash(&activity.retention)],
    ];
    if processor || !activity.on_behalf_of.is_empty() {
        rows.insert(0, vec!["On behalf of".to_owned(), or_missing(&activity.on_behalf_of)]);
    }
    let seen = observed.with_data().filter(|(line, _)| activity.has_topic(&line.topic));
    vec![Block::table(&["Declared", ""], rows, ""), Block::Text("Seen:".to_owned()), seen_table(seen)]
}

fn seen_table<'a>(lines: impl Iterator<Item = (&'a Line, &'a Sum)>) -> Block {
    let rows = lines.map(|(line, sum)| {
        vec![
            line.topic.clone(),
            format!("{} ({})", line.principal, line.action),
            listed(&sum.groups),
            found_text(&sum.found),
            line.purpose.clone(),
            sum.records.to_string(),
            format!("{} – {}", sum.first, sum.last),
            listed(&sum.entries),
        ]
    });
    Block::table(
        &["Topic", "Who", "Groups", "Data and its form", "Purpose", "Records", "First – last", "Entries"],
        rows,
        "No personal data was seen.",
    )
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "–".to_owned() } else { text.to_owned() }
}

fn or_missing(text: &str) -> String {
    if text.is_empty() { "not declared".to_owned() } else { text.to_owned() }
}
