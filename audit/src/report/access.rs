//! Who can read what right now, and by which grant: the answer is policy's; this writes it down.

use serde::Serialize;
use serde_json::json;

use super::{Block, Document, listed};

/// A grant as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// Its name.
    pub name: String,
    /// `policy file` or `run time`.
    pub from: String,
    /// For whom.
    pub who: Vec<String>,
    /// On what.
    pub resources: Vec<String>,
    /// Which operations.
    pub operations: Vec<String>,
    /// What for.
    pub purpose: String,
    /// When it holds.
    pub when: String,
    /// `in force`, `ended`, `not yet`, `outside its window`.
    pub status: String,
}

/// Whether one principal may read one topic now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Right {
    /// The principal.
    pub principal: String,
    /// Its groups, as evidence saw them last.
    pub groups: Vec<String>,
    /// The topic.
    pub topic: String,
    /// The grant that allows it.
    pub grant: String,
    /// Its purpose.
    pub purpose: String,
    /// What is masked for it, by class and operator.
    pub masked: Vec<String>,
    /// What it would see in clear although a rule looks for it.
    pub in_clear: Vec<String>,
}

/// What the report rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Basis {
    /// The policy file.
    pub policy: String,
    /// The moment.
    pub at: String,
    /// Where principals and topics were taken from.
    pub evidence: String,
    /// Where run-time grants were asked for, or why they were not.
    pub run_time: String,
}

/// The report.
#[must_use]
pub fn report(grants: &[Grant], rights: &[Right], basis: &Basis) -> Document {
    let mut document = Document {
        title: "Who can read what".to_owned(),
        lead: "Grants as they stand, and what they mean for principals and topics that evidence has seen.".to_owned(),
        data: json!({ "report": "access", "at": basis.at, "policy": basis.policy, "run_time_grants": basis.run_time,
            "grants": grants, "rights": rights }),
        ..Document::default()
    };
    document.fact("At", basis.at.clone());
    document.fact("Policy", basis.policy.clone());
    document.fact("Run-time grants", basis.run_time.clone());
    document.fact("Principals and topics", basis.evidence.clone());
    let rows = rights.iter().map(|right| {
        vec![
            right.principal.clone(),
            listed(&right.groups),
            right.topic.clone(),
            right.grant.clone(),
            right.purpose.clone(),
            listed(&right.masked),
            listed(&right.in_clear),
        ]
    });
    document.section(
        "Reading, now",
        vec![Block::table(
            &["Principal", "Groups", "Topic", "Grant", "Purpose", "Masked", "Looked for, in clear"],
            rows,
            "No principal that evidence has seen may read a topic that it has seen.",
        )],
    );
    let rows = grants.iter().map(|grant| {
        vec![
            grant.name.clone(),
            grant.from.clone(),
            grant.status.clone(),
            listed(&grant.who),
            listed(&grant.resources),
            listed(&grant.operations),
            grant.purpose.clone(),
            grant.when.clone(),
        ]
    });
    document.section(
        "Grants",
        vec![Block::table(
            &["Grant", "From", "Status", "Who", "On", "Operations", "Purpose", "When"],
            rows,
            "There is no grant: nobody may do anything.",
        )],
    );
    document
}
