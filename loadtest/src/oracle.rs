//! After a run: what producers sent against what the brokers have, and the evidence against what was
//! answered. What consumers got was held against the pool while the load ran (`generator::check`).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tidegate_audit::keys::{VERIFIER_FILE, read_verifier_keys};
use tidegate_audit::query::{Indexes, Query, Search};
use tidegate_audit::tail::Item;
use tidegate_audit::verify::{self, verify};
use tidegate_core::event::Kind;

use crate::blackhole::Blackhole;
use crate::result::{RunResult, SentTo, Verdict};

/// How long what was sent without acknowledgement may be on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// Holds what producers sent against what the brokers have: nothing lost, doubled, reordered, changed.
pub fn producers(blackhole: &Blackhole, result: &RunResult, verdict: &mut Verdict) {
    let cluster = blackhole.cluster();
    let until = Instant::now() + ON_ITS_WAY;
    let arrived = |((writer, topic, partition), sent): (&(u32, String, i32), &SentTo)| {
        cluster.written(*writer, topic, *partition) >= sent.acknowledged
    };
    while !result.sent.iter().all(arrived) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    let writers: BTreeSet<u32> = result.sent.keys().map(|(writer, _, _)| *writer).collect();
    let ledger = cluster.take_ledger(|writer| writers.contains(&writer));
    verdict.add(ledger.verdict);
    for (key, sent) in &result.sent {
        let there = ledger.writers.get(key).map_or(0, |written| written.batches);
        let (writer, topic, partition) = key;
        verdict.looked_at("acknowledged batches looked for upstream", sent.acknowledged);
        if there < sent.acknowledged {
            let lost = sent.acknowledged - there;
            verdict
                .violation(|| format!("{topic}-{partition}: {lost} acknowledged batches of writer {writer} are lost"));
        } else if there > sent.sent {
            let more = there - sent.sent;
            verdict.violation(|| format!("{topic}-{partition}: {more} batches of writer {writer} are there twice"));
        }
    }
}

/// Holds the evidence against the answers: an entry for each exchange, and the tree as it was signed.
///
/// # Errors
/// Where the evidence cannot be read at all.
pub fn evidence(folder: &Path, result: &RunResult, verdict: &mut Verdict) -> anyhow::Result<()> {
    let query = Query {
        kinds: vec![Kind::Exchange as i32],
        apis: vec!["Produce".to_owned(), "Fetch".to_owned()],
        from_micros: Some(result.exchanges.since_unix_micros),
        ..Query::default()
    };
    let mut search = Search::new(folder, None, query, Indexes::Ignore)?;
    let (mut produce, mut fetch) = (0u64, 0u64);
    while let Some(item) = search.next()? {
        match item {
            Item::Entry(entry) if entry.event.api == "Produce" => produce += 1,
            Item::Entry(_) => fetch += 1,
            Item::Damaged(damaged) => verdict.violation(|| format!("evidence is damaged: {damaged}")),
        }
    }
    for (api, entries, answered) in
        [("Produce", produce, result.exchanges.produce), ("Fetch", fetch, result.exchanges.fetch)]
    {
        verdict.looked_at("exchanges looked for in the evidence", answered);
        if entries < answered {
            verdict.violation(|| format!("{answered} {api} exchanges were answered, the evidence has {entries}"));
        }
    }
    let keys = read_verifier_keys(&folder.join(VERIFIER_FILE)).context("the evidence's key")?;
    let options = verify::Options { keys, ..verify::Options::default() };
    let report = verify(folder, &options, &verify::Progress::default())?;
    verdict.looked_at("entries of the evidence verified", report.shards.iter().map(|shard| shard.entries).sum());
    for finding in &report.findings {
        verdict.violation(|| format!("the evidence does not verify: {finding}"));
    }
    Ok(())
}
