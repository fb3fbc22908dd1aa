//! What a comparison says: goals first, then cost, latency and memory of each system.

use jiff::Timestamp;

use super::chart::{Axis, Chart, Intervals, Lines, Series};
use super::units::{bytes, estimate, figures, ratio, seconds};
use super::{Block, Cell, Section, Table, Tone};
use crate::compare::figures::{Latencies, Ratio, SystemFigures};
use crate::compare::{Comparison, GATEWAY, Measured};
use crate::profile::Profile;
use crate::result::{Latency, RunResult};

/// A section for the whole, and one for each scenario.
pub(super) fn sections(comparison: &Comparison) -> Vec<Section> {
    let mut whole = Section {
        title: "Comparison".to_owned(),
        lead: "Each system got the same load from the same generator against the same brokers, in turn within one run."
            .to_owned(),
        facts: vec![
            ("machine", comparison.machine.line()),
            ("command", comparison.command.clone()),
            ("begun", when(comparison.started_unix_millis)),
        ],
        blocks: Vec::new(),
    };
    let ratios: Vec<(&Measured, Ratio)> = comparison
        .scenarios
        .iter()
        .flat_map(|measured| measured.ratios().into_iter().map(move |ratio| (measured, ratio)))
        .filter(|(_, ratio)| ratio.goal.is_some())
        .collect();
    if !ratios.is_empty() {
        whole.blocks.push(Block::Table(Table {
            caption: "The gateway against what it is held to".to_owned(),
            head: ["load", "figure", "against", "ratio", "goal", "said by the rounds"].map(str::to_owned).to_vec(),
            rows: ratios.iter().map(|(measured, ratio)| goal_row(&measured.name, ratio)).collect(),
        }));
    }
    if !comparison.absent.is_empty() {
        whole.blocks.push(Block::Table(Table {
            caption: "Systems that could not be had; their figures are left empty".to_owned(),
            head: vec!["system".to_owned(), "why".to_owned()],
            rows: comparison
                .absent
                .iter()
                .map(|absent| vec![Cell::plain(&absent.name), Cell::plain(&absent.why)])
                .collect(),
        }));
    }
    std::iter::once(whole).chain(comparison.scenarios.iter().map(scenario)).collect()
}

fn goal_row(load: &str, ratio: &Ratio) -> Vec<Cell> {
    let words = ratio.words();
    let tone = match (ratio.goal, ratio.ratio) {
        (Some(goal), Some(ratio)) if ratio.median <= goal => Tone::Good,
        (Some(_), Some(_)) => Tone::Bad,
        _ => Tone::Plain,
    };
    vec![
        Cell::plain(load),
        Cell::plain(ratio.metric.to_string()),
        Cell::plain(&ratio.against),
        Cell::toned(ratio.ratio.as_ref().map_or("–".to_owned(), self::ratio), tone),
        Cell::or_empty(ratio.goal.map(|goal| format!("≤ {goal}×"))),
        Cell::plain(words),
    ]
}

fn scenario(measured: &Measured) -> Section {
    let figures = measured.figures();
    let mut section = Section {
        title: format!("{}: {}", measured.name, measured.about),
        facts: vec![("load", load(&measured.profile)), ("rounds", measured.rounds.len().to_string())],
        ..Section::default()
    };
    let mut blocks = vec![Block::Chart(Chart::Intervals(cost_chart(measured, &figures)))];
    blocks.push(Block::Table(cost_table(&figures)));
    blocks.push(Block::Table(latency_table(&figures)));
    blocks.extend(latency_chart(measured).map(Block::Chart));
    let others: Vec<Vec<Cell>> = measured
        .ratios()
        .iter()
        .filter(|ratio| ratio.goal.is_none())
        .map(|ratio| {
            vec![
                Cell::plain(ratio.metric.to_string()),
                Cell::plain(&ratio.against),
                Cell::or_empty(ratio.ratio.as_ref().map(self::ratio)),
                Cell::plain(ratio.words()),
            ]
        })
        .collect();
    if !others.is_empty() {
        blocks.push(Block::Table(Table {
            caption: "The gateway divided by each other system".to_owned(),
            head: ["figure", "against", "ratio", "said by the rounds"].map(str::to_owned).to_vec(),
            rows: others,
        }));
    }
    section.lead = trust(measured, &figures);
    section.blocks = blocks;
    section
}

/// Whether the figures stand for anything.
fn trust(measured: &Measured, figures: &[SystemFigures]) -> String {
    let errors: u64 = figures.iter().map(|system| system.errors).sum();
    let oracle = match figures.iter().map(|system| system.violations).sum::<Option<u64>>() {
        Some(0) => "The oracle judged every run and found nothing wrong".to_owned(),
        Some(count) => format!("THE ORACLE FOUND {count} VIOLATIONS, so these figures stand for nothing"),
        None => "The oracle did not judge every run".to_owned(),
    };
    let late = measured
        .rounds
        .iter()
        .flatten()
        .filter(|run| {
            run.send_lag.p99_us * 10.0 > run.fetch.latency_corrected.p99_us.max(run.produce.latency_corrected.p99_us)
        })
        .count();
    let generator = if measured.profile.requests_per_second.is_some() && late > 0 {
        format!(" In {late} runs the generator itself was late by more than a tenth of the latency.")
    } else {
        String::new()
    };
    format!("{oracle}; {errors} errors.{generator}")
}

fn cost_chart(measured: &Measured, figures: &[SystemFigures]) -> Intervals {
    let small = measured.profile.batch.bytes.0 < 4096;
    let of = |system: &SystemFigures| if small { system.cpu_per_million } else { system.cpu_per_gb };
    let rows = figures.iter().filter_map(|system| Some((system.name.clone(), of(system)?, system.name == GATEWAY)));
    Intervals {
        title: "CPU".to_owned(),
        unit: if small { "seconds per million requests" } else { "seconds per GB" }.to_owned(),
        rows: rows.collect(),
    }
}

fn cost_table(figures: &[SystemFigures]) -> Table {
    let head = [
        "system",
        "requests/s",
        "MB/s",
        "CPU-s/GB",
        "CPU-s/million requests",
        "switches/request",
        "peak memory",
        "errors",
        "oracle",
    ];
    let row = |system: &SystemFigures| {
        let of = |value: &Option<crate::statistics::Estimate>, scale| {
            Cell::or_empty(value.as_ref().map(|value| estimate(value, scale)))
        };
        vec![
            Cell::plain(&system.name),
            of(&system.requests_per_second, 1.0),
            of(&system.bytes_per_second, 1e-6),
            of(&system.cpu_per_gb, 1.0),
            of(&system.cpu_per_million, 1.0),
            of(&system.switches_per_request, 1.0),
            Cell::or_empty(system.peak_memory_bytes.map(bytes)),
            Cell::toned(system.errors.to_string(), if system.errors == 0 { Tone::Plain } else { Tone::Bad }),
            oracle_cell(system.violations),
        ]
    };
    Table {
        caption: "Cost".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: figures.iter().map(row).collect(),
    }
}

fn oracle_cell(violations: Option<u64>) -> Cell {
    match violations {
        None => Cell::plain("–"),
        Some(0) => Cell::toned("holds", Tone::Good),
        Some(count) => Cell::toned(format!("{count} violations"), Tone::Bad),
    }
}

fn latency_table(figures: &[SystemFigures]) -> Table {
    let mut rows = Vec::new();
    for system in figures {
        for (direction, latencies) in [("produce", system.produce), ("fetch", system.fetch)] {
            if let Some(latencies) = latencies {
                rows.push(latency_row(system, direction, &latencies));
            }
        }
    }
    Table {
        caption: "Latency in µs, corrected for coordinated omission".to_owned(),
        head: ["system", "direction", "p50", "p99", "p99.9", "added p50", "added p99", "added p99.9"]
            .map(str::to_owned)
            .to_vec(),
        rows,
    }
}

fn latency_row(system: &SystemFigures, direction: &str, latencies: &Latencies) -> Vec<Cell> {
    let Latencies { seen, added } = latencies;
    let mut row = vec![Cell::plain(&system.name), Cell::plain(direction)];
    row.extend([seen.p50, seen.p99, seen.p999].map(|value| Cell::plain(estimate(&value, 1.0))));
    match added {
        Some(added) => row.extend([added.p50, added.p99, added.p999].map(|value| Cell::plain(estimate(&value, 1.0)))),
        None => row.extend([const { None }; 3].map(Cell::or_empty)),
    }
    row
}

/// The whole distribution of the last round.
fn latency_chart(measured: &Measured) -> Option<Chart> {
    let last = measured.rounds.last()?;
    let traffic = |run: &RunResult| if run.fetch.requests > 0 { run.fetch.clone() } else { run.produce.clone() };
    let direction = if last.first()?.fetch.requests > 0 { "fetch" } else { "produce" };
    let series: Vec<Series> = last
        .iter()
        .enumerate()
        .map(|(at, run)| Series {
            name: run.system.clone(),
            colour: if run.system == GATEWAY { 0 } else { 1 + at % 5 },
            points: curve(&traffic(run).latency_corrected),
        })
        .filter(|series| series.points.len() > 1)
        .collect();
    (!series.is_empty()).then(|| {
        let nines = [
            (0.5, "50 %"),
            (0.9, "90 %"),
            (0.99, "99 %"),
            (0.999, "99.9 %"),
            (0.9999, "99.99 %"),
            (0.99999, "99.999 %"),
        ];
        Chart::Lines(Lines {
            title: format!("Latency of {direction} by percentile, last round"),
            x: Axis {
                label: "percentile".to_owned(),
                log: false,
                ticks: nines.map(|(quantile, text)| (nines_of(quantile), text.to_owned())).to_vec(),
            },
            y: Axis { label: "µs".to_owned(), log: true, ticks: Vec::new() },
            series,
            ..Lines::default()
        })
    })
}

fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    latency
        .curve
        .iter()
        .filter(|(quantile, _)| *quantile < 1.0)
        .map(|(quantile, us)| (nines_of(*quantile), *us))
        .collect()
}

/// 0 for 0 %, 1 for 90 %, 2 for 99 %, …
fn nines_of(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// One run of `tidegate-loadtest run`.
pub(super) fn run_section(run: &RunResult) -> Section {
    let measured = Measured {
        name: run.system.clone(),
        about: format!("one run of {}", seconds(run.seconds)),
        profile: run.profile.clone(),
        goals: Vec::new(),
        rounds: vec![vec![run.clone()]],
    };
    let mut section = scenario(&measured);
    section.facts = vec![("load", load(&run.profile)), ("begun", when(run.started_unix_millis))];
    if let Some(limit) = run.blackhole_limit {
        section.facts.push((
            "the brokers alone",
            format!(
                "{} requests/s, {} MB/s",
                figures(limit.requests_per_second),
                figures(limit.bytes_per_second / 1e6)
            ),
        ));
    }
    let others = run.processes.iter().filter(|process| process.name != run.system);
    let rows: Vec<Vec<Cell>> = others
        .map(|process| {
            vec![
                Cell::plain(&process.name),
                Cell::plain(figures(process.cpu_seconds())),
                Cell::plain(bytes(process.resident_peak_bytes)),
                Cell::plain(process.descriptors.to_string()),
            ]
        })
        .collect();
    if !rows.is_empty() {
        section.blocks.push(Block::Table(Table {
            caption: "Other processes".to_owned(),
            head: ["process", "CPU-s", "peak memory", "descriptors"].map(str::to_owned).to_vec(),
            rows,
        }));
    }
    section
}

/// The load in a line.
pub(super) fn load(profile: &Profile) -> String {
    let pace = match profile.requests_per_second {
        Some(rate) => format!("open loop at {} requests/s", figures(rate as f64)),
        None => "closed loop".to_owned(),
    };
    format!(
        "{pace}, {} producers, {} consumers, depth {}, batches of {}, records of {}, {} % with personal data, codec {}, \
         SASL {}, TLS {}, seed {}",
        profile.producers,
        profile.consumers,
        profile.depth,
        bytes(profile.batch.bytes.0),
        bytes(profile.record.bytes.0),
        profile.record.personal_data_percent,
        serde_name(&profile.batch.codec),
        serde_name(&profile.sasl),
        if profile.tls { "on" } else { "off" },
        profile.seed,
    )
}

/// The name of a unit variant as it stands in files.
fn serde_name(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A moment, in UTC.
pub(super) fn when(unix_millis: u64) -> String {
    let at = i64::try_from(unix_millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    at.map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::compare::figures::Metric;
    use crate::compare::figures::tests::measured;
    use crate::compare::{Absent, Comparison, DIRECT, GATEWAY};
    use crate::report::{Document, html, markdown};
    use crate::scenario::Goal;

    fn documents() -> Vec<Document> {
        let goal = |against: &str, at_most| Goal { metric: Metric::CpuPerGb, against: against.to_owned(), at_most };
        let goals = vec![goal("relay-epoll", 1.5), goal("kafka-proxy", 0.8)];
        let measured = measured(&[(DIRECT, 0.0, 0.0), ("relay-epoll", 0.5, 40.0), (GATEWAY, 0.6, 50.0)], goals);
        vec![Document::Comparison(Comparison {
            command: "tidegate-loadtest compare --only 'a b'".to_owned(),
            scenarios: vec![measured],
            absent: vec![Absent { name: "kafka-proxy".to_owned(), why: "<not> to be had".to_owned() }],
            ..Comparison::default()
        })]
    }

    #[test]
    fn the_markdown_has_every_system_goal_and_gap() {
        let text = markdown::render(&documents());
        for part in [
            "## bulk: 16 KB batches",
            "| gateway",
            "✓ 1.20× (1.20–1.20) | ≤ 1.5×",
            "the gateway takes more; goal ≤ 1.5 met",
            "not measured",
            "<not> to be had",
            "The oracle judged every run and found nothing wrong; 0 errors.",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn the_page_is_one_file_and_says_the_same() {
        let page = html::render(&documents());
        for part in
            ["<!DOCTYPE html>", "prefers-color-scheme", "@media print", "<svg", "&lt;not&gt; to be had", "1.20×"]
        {
            assert!(page.contains(part), "{part} is not in the page");
        }
        for outside in ["http://", "https://", "<script", "src=", "@import"] {
            assert!(!page.contains(outside), "{outside} is in the page");
        }
    }

    #[test]
    fn results_survive_their_file() {
        let written = serde_json::to_string(&documents()).unwrap();
        let read = Document::parse(&written).unwrap();
        assert_eq!(markdown::render(&read), markdown::render(&documents()));
        assert!(Document::parse("{\"a\": 1}").is_err());
        assert!(Document::parse("nonsense").is_err());
    }
}
