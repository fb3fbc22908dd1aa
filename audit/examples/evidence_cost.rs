//! What evidence costs, in one run: `cargo run --release -p tidegate-audit --example evidence_cost [DIR]`.
//!
//! Writes about 600 MB of typical entries below DIR (default: the current directory) and removes them again.
//! Ratios hold between machines, absolute figures do not.
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_audit::log::{LogOptions, ShardLog};
use tidegate_audit::note::Signer;
use tidegate_audit::query::{Indexes, Query, Search};
use tidegate_audit::tree::{CompactRange, leaf_hash};
use tidegate_audit::verify::{Options, Progress, verify};
use tidegate_core::event::{Event, Kind, Outcome, ResourceUse};
use tidegate_core::words::Timestamp;

const ENTRIES: u64 = 1_500_000;
const GROUP: u64 = 256;

/// A consumer's fetch.
fn fetch(n: u64) -> Event {
    Event {
        time_micros: 1_700_000_000_000_000 + n as i64,
        kind: Kind::Exchange as i32,
        session: format!("0192f5a0-6b1c-7d2e-8f3a-{:012x}", n / 5000),
        principal: format!("consumer-{}", n / 20_000),
        issuer: "https://login.example.org/realms/streams".into(),
        subject: "5f0c8b1e-0b51-4b42-9f5e-9d3c1f0a7a11".into(),
        groups: vec!["analysts".into()],
        client_address: "10.20.30.40:51234".into(),
        client_id: "consumer-fraud-detection-1".into(),
        api: "Fetch".into(),
        api_version: 17,
        outcome: Outcome::Allowed as i32,
        resources: vec![ResourceUse {
            kind: "topic".into(),
            name: format!("topic-{}", n / 50_000),
            partition: Some((n % 12) as i32),
            operation: "Read".into(),
            allowed: true,
            rule: "analysts-read-orders".into(),
            purpose: "fraud prevention".into(),
            first_offset: Some(n as i64 * 100),
            last_offset: Some(n as i64 * 100 + 99),
            records: 100,
            bytes: 120_000,
        }],
        policy_version: 7,
        latency_micros: 1500,
        request_bytes: 150,
        response_bytes: 120_400,
        broker: 1,
        ..Event::default()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let root = place.join(format!("evidence-cost-{}", std::process::id()));
    let signer = Arc::new(Signer::from_seed("bench", &[1; 32])?);
    let options = LogOptions { signer: Some(Arc::clone(&signer)), ..LogOptions::default() };
    let (mut log, _) = ShardLog::open(&root, 0, "bench", options, Timestamp(0))?;
    let (mut appending, mut committing, mut chores) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut rotations = Duration::ZERO;
    for group in 0..ENTRIES / GROUP {
        let events: Vec<Event> = (group * GROUP..(group + 1) * GROUP).map(fetch).collect();
        let begun = Instant::now();
        events.iter().for_each(|event| {
            std::hint::black_box(log.append(event));
        });
        appending += begun.elapsed();
        let begun = Instant::now();
        log.commit_written()?;
        committing += begun.elapsed();
        rotations = rotations.max(begun.elapsed());
        let begun = Instant::now();
        while let Some(chore) = log.chore() {
            chore.run()?;
        }
        chores += begun.elapsed();
    }
    log.close()?;
    let entries = ENTRIES as f64;
    let per_entry = |time: Duration| time.as_secs_f64() * 1e9 / entries;
    println!("append    {:6.0} ns an entry (the shard's thread)", per_entry(appending));
    println!(
        "commit    {:6.0} ns an entry in groups of {GROUP} (the shard's thread, rotations included; longest {rotations:?})",
        per_entry(committing)
    );
    println!(
        "notary    {:6.0} ns an entry: read back, compare, hash, sync, sign, allocate (another thread)",
        per_entry(chores)
    );

    let frame = vec![7; 358];
    let begun = Instant::now();
    let mut tree = CompactRange::default();
    (0..ENTRIES).for_each(|_| tree.append(leaf_hash(&frame)));
    let hashing = begun.elapsed();
    let rate = 358.0 * entries / 1e6 / hashing.as_secs_f64();
    println!(
        "tree      {:6.0} ns an entry of 358 bytes: hashing alone, {rate:.0} MB/s on one core",
        per_entry(hashing)
    );

    for threads in [NonZero::new(1), None] {
        let progress = Progress::default();
        let options = Options { keys: vec![signer.verifier().clone()], threads, ..Options::default() };
        let begun = Instant::now();
        let report = verify(&root, &options, &progress)?;
        let bytes: u64 = report.shards.iter().map(|shard| shard.bytes).sum();
        let rate = bytes as f64 / 1e6 / begun.elapsed().as_secs_f64();
        println!(
            "verify    {rate:6.0} MB/s, {:?}, {:.0} MB, threads {threads:?}",
            report.verdict(),
            bytes as f64 / 1e6
        );
    }
    let query = Query { sessions: vec![format!("0192f5a0-6b1c-7d2e-8f3a-{:012x}", 77)], ..Query::default() };
    for indexes in [Indexes::Ignore, Indexes::Build, Indexes::Use] {
        let begun = Instant::now();
        let mut search = Search::new(&root, None, query.clone(), indexes)?;
        let mut found = 0;
        while search.next()?.is_some() {
            found += 1;
        }
        println!("query     {found} entries in {:?}, {indexes:?}: {:?}", begun.elapsed(), search.cost());
    }
    std::fs::remove_dir_all(root)?;
    Ok(())
}
