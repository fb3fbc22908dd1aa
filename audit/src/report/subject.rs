//! What evidence says about one person: for those who answer (internal), and as the answer (Art. 15).
//!
//! The internal report names everybody and everything and gives the steps of Art. 17 and 19. The
//! subject's names no employee: recipients are categories (CJEU, C-579/21), messages are counted, not
//! listed, and no sentence needs a reader who knows Kafka.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{Bars, Block, Document, counted, listed};
use crate::subject::account::{Account, Party, ranges_text};

/// What a report rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Basis {
    /// The value, as it was asked for.
    pub value: String,
    /// The classes it was looked for under; empty: all.
    pub classes: Vec<String>,
    /// The period, in words.
    pub period: String,
    /// Where the evidence lies.
    pub evidence: String,
    /// When the report was made.
    pub made: String,
    /// Whether the question itself was put into the evidence, and if not, why.
    pub recorded: String,
    /// The command that asks the same.
    pub command: String,
}

/// The report for those who answer.
#[must_use]
pub fn internal(account: &Account, basis: &Basis) -> Document {
    let mut document = Document {
        title: "Personal data of one subject: internal report".to_owned(),
        lead: format!(
            "Where data of {} was seen on its way through the gateway, and who got it. Not for the subject: it names employees.",
            basis.value
        ),
        data: json!({ "report": "subject-internal", "subject": basis.value, "period": basis.period, "made": basis.made,
            "complete": account.not_searched.is_empty(), "recorded": basis.recorded, "account": account }),
        ..Document::default()
    };
    facts(&mut document, account, basis);
    let messages = account.messages.iter().map(|messages| {
        vec![
            messages.topic.clone(),
            messages.partition.to_string(),
            ranges_text(&messages.offsets),
            messages.count.to_string(),
            listed(&messages.classes),
            messages.first_seen.clone(),
            messages.last_seen.clone(),
        ]
    });
    let mut blocks = vec![Block::table(
        &["Topic", "Partition", "Offsets", "Messages", "Data", "First seen", "Last seen"],
        messages,
        "No message with readable data of the subject was seen.",
    )];
    let mut by_topic: BTreeMap<&str, u64> = BTreeMap::new();
    account.messages.iter().for_each(|messages| *by_topic.entry(&messages.topic).or_default() += messages.count);
    if by_topic.len() > 1 {
        let rows = by_topic.into_iter().map(|(topic, count)| (topic.to_owned(), count)).collect();
        blocks.push(Block::Bars(Bars { title: "Messages by topic".to_owned(), rows }));
    }
    document.section("Where the data is", blocks);
    document.section("Who read it (Art. 15(1)(c), Art. 19)", vec![parties(&account.recipients, "Nobody read it.")]);
    document.section("Who wrote it (Art. 15(1)(g))", vec![parties(&account.sources, "No write of it was seen.")]);
    let accesses = account.accesses.iter().map(|access| {
        vec![
            access.time.clone(),
            access.entry.clone(),
            format!("{}{}", access.action, if access.completed { "" } else { " (not completed)" }),
            access.principal.clone(),
            format!("{}-{} {}", access.topic, access.partition, ranges_text(&access.offsets)),
            access.class.clone(),
            access.form.clone(),
            access.purpose.clone(),
            access.grant.clone(),
            access.session.clone(),
        ]
    });
    let columns = ["Time", "Entry", "Action", "Principal", "Messages", "Data", "Form", "Purpose", "Grant", "Session"];
    let list = Block::table(&columns, accesses, "None.");
    document.section("Each access", vec![list, Block::Command(basis.command.clone())]);
    document.section("If it is to be erased (Art. 17)", erasure(account));
    document.section("What this rests on", limits(account));
    document
}

/// The report for the subject.
#[must_use]
pub fn for_subject(account: &Account, basis: &Basis) -> Document {
    let mut document = Document {
        title: "Your personal data".to_owned(),
        lead: format!("What our records say about the processing of data of {} in our data streams.", basis.value),
        ..Document::default()
    };
    document.fact("Period", basis.period.clone());
    document.fact("Made", basis.made.clone());
    let mut classes: BTreeMap<&str, u64> = BTreeMap::new();
    for messages in &account.messages {
        for class in &messages.classes {
            *classes.entry(class).or_default() += messages.count;
        }
    }
    let data: Vec<Vec<String>> =
        classes.iter().map(|(class, count)| vec![words(class), counted(*count, "message")]).collect();
    document
        .section("Which data", vec![Block::table(&["Data", "Found in"], data.clone(), "We found no data of yours.")]);

    let mut purposes: BTreeMap<&str, (BTreeSet<String>, &str, &str)> = BTreeMap::new();
    for party in &account.recipients {
        for purpose in &party.purposes {
            let known = purposes.entry(purpose).or_insert((BTreeSet::new(), &party.first, &party.last));
            known.0.extend(party.classes.iter().map(|(class, forms)| format!("{} ({})", words(class), listed(forms))));
            known.1 = known.1.min(&party.first);
            known.2 = known.2.max(&party.last);
        }
    }
    let rows: Vec<Vec<String>> = purposes
        .iter()
        .map(|(purpose, (data, first, last))| {
            vec![(*purpose).to_owned(), listed(data), day(first).to_owned(), day(last).to_owned()]
        })
        .collect();
    document.section(
        "For which purposes it was used (Art. 15(1)(a))",
        vec![Block::table(&["Purpose", "Data and its form", "First", "Last"], rows.clone(), "It was not used.")],
    );

    let mut categories: BTreeMap<String, u64> = BTreeMap::new();
    for party in &account.recipients {
        let groups = if party.groups.is_empty() {
            vec!["a service or person without a category".to_owned()]
        } else {
            party.groups.iter().cloned().collect()
        };
        groups.into_iter().for_each(|group| *categories.entry(group).or_default() += 1);
    }
    let recipients: Vec<Vec<String>> =
        categories.iter().map(|(group, count)| vec![group.clone(), counted(*count, "recipient")]).collect();
    document.section(
        "Who got it (Art. 15(1)(c))",
        vec![
            Block::table(&["Category", "How many"], recipients.clone(), "Nobody."),
            Block::Text(
                "Employees who acted under our authority and on our instructions are not named; ask us if you need a name to check that the processing was lawful."
                    .to_owned(),
            ),
        ],
    );
    let mut rights = vec![Block::Text(
        "You may ask us to correct or erase this data or to restrict its use, object to its use, receive a copy of it, and complain to a data-protection authority (Art. 15(1)(e) and (f))."
            .to_owned(),
    )];
    if !account.not_searched.is_empty() {
        rights.push(Block::Warning(
            "A part of our records could not be searched, so this report may be incomplete.".to_owned(),
        ));
    }
    document.section("Your rights", rights);
    document.data = json!({ "report": "subject", "subject": basis.value, "period": basis.period, "made": basis.made,
        "complete": account.not_searched.is_empty(),
        "data": classes.iter().map(|(class, count)| json!({ "class": class, "messages": count })).collect::<Vec<_>>(),
        "purposes": purposes.iter().map(|(purpose, (data, first, last))|
            json!({ "purpose": purpose, "data": data, "first": day(first), "last": day(last) })).collect::<Vec<_>>(),
        "recipients": categories.iter().map(|(group, count)| json!({ "category": group, "count": count }))
            .collect::<Vec<_>>() });
    document
}

fn facts(document: &mut Document, account: &Account, basis: &Basis) {
    let messages: u64 = account.messages.iter().map(|messages| messages.count).sum();
    document.fact("Subject", basis.value.clone());
    document
        .fact("Looked for as", if basis.classes.is_empty() { "any class".to_owned() } else { listed(&basis.classes) });
    document.fact("Period", basis.period.clone());
    document.fact("Evidence", basis.evidence.clone());
    document.fact("Made", basis.made.clone());
    document.fact(
        "Found",
        format!(
            "{}, {}, {}",
            counted(messages, "message"),
            counted(account.recipients.len() as u64, "recipient"),
            counted(account.accesses.len() as u64, "access").replace("accesss", "accesses")
        ),
    );
    document.fact("This question", basis.recorded.clone());
}

fn parties(parties: &[Party], none: &str) -> Block {
    let rows = parties.iter().map(|party| {
        let data = party.classes.iter().map(|(class, forms)| format!("{class}: {}", listed(forms)));
        vec![
            if party.issuer.is_empty() {
                party.principal.clone()
            } else {
                format!("{} ({})", party.principal, party.issuer)
            },
            listed(&party.groups),
            listed(&party.topics),
            listed(data),
            listed(&party.purposes),
            listed(&party.grants),
            party.messages.to_string(),
            format!("{} – {}", party.first, party.last),
            format!(
                "{}: {}{}",
                party.entries,
                listed(&party.first_entries),
                if party.entries > party.first_entries.len() as u64 { " …" } else { "" }
            ),
        ]
    });
    Block::table(
        &[
            "Principal",
            "Groups",
            "Topics",
            "Data and its form",
            "Purposes",
            "Grants",
            "Messages",
            "First – last",
            "Entries",
        ],
        rows,
        none,
    )
}

fn erasure(account: &Account) -> Vec<Block> {
    if account.messages.is_empty() {
        return vec![Block::Text("There is nothing to erase that evidence knows of.".to_owned())];
    }
    let recipients = listed(account.recipients.iter().map(|party| party.principal.as_str()));
    vec![
        Block::Steps(vec![
            "Check that no exception of Art. 17(3) applies: a legal duty to keep, a legal claim, the public interest.".to_owned(),
            "In topics with cleanup.policy=compact write a tombstone (the record's key, a null value) for each message below. Evidence holds no keys: read the messages for them.".to_owned(),
            "In topics with cleanup.policy=delete wait for retention, or delete records up to an offset (this removes other people's messages too).".to_owned(),
            format!("Tell every recipient (Art. 19): {recipients}."),
            "Tell the subject who they are, if he asks (Art. 19).".to_owned(),
            "Look again after compaction or retention; what is still read shows up here as a new access.".to_owned(),
        ]),
        Block::table(
            &["Topic", "Partition", "Offsets"],
            account.messages.iter().map(|messages| {
                vec![messages.topic.clone(), messages.partition.to_string(), ranges_text(&messages.offsets)]
            }),
            "",
        ),
    ]
}

fn limits(account: &Account) -> Vec<Block> {
    let mut blocks = vec![Block::Text(
        "Evidence knows what went through the gateway under a mask rule that looks for this kind of data, whether it masks or only observes; what bypassed the gateway, or a topic that no rule looks at, is not here. A tag has 64 bits: that a message is listed wrongly is possible and as likely as guessing one number in 2⁶⁴ per tag."
            .to_owned(),
    )];
    for sentence in &account.not_searched {
        blocks.push(Block::Warning(format!("Not searched: {sentence}")));
    }
    blocks
}

/// A class in words.
fn words(class: &str) -> String {
    class.replace('_', " ")
}

/// The day of a time.
fn day(time: &str) -> &str {
    time.get(..10).unwrap_or(time)
}
