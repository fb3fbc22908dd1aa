//! What a soak says, what connections cost, how fast a revocation bites.

use super::chart::{Axis, Chart, Lines, Series};
use super::of_comparison::{load, when};
use super::units::{bytes, figures, seconds};
use super::{Block, Cell, Section, Table, Tone};
use crate::connections::Connections;
use crate::revocation::{Revocation, Round};
use crate::soak::{Leg, Soak};

/// The soak's section: what failed first, then how memory, descriptors and evidence went.
pub(super) fn soak(soak: &Soak) -> Section {
    let violations = soak.violations();
    let lead = if violations.is_empty() {
        format!("{} legs, and everything that must hold did.", soak.legs.len())
    } else {
        format!("{} legs. NOT AS IT SHOULD BE: {}", soak.legs.len(), violations.join("; "))
    };
    let chart = |title: &str, label: &str, limit: Option<(f64, String)>, value: &dyn Fn(&Leg) -> f64| {
        Block::Chart(Chart::Lines(Lines {
            title: title.to_owned(),
            x: Axis { label: "minutes".to_owned(), ..Axis::default() },
            y: Axis { label: label.to_owned(), ..Axis::default() },
            series: vec![Series {
                name: label.to_owned(),
                colour: 0,
                points: soak.legs.iter().map(|leg| (leg.at_seconds / 60.0, value(leg))).collect(),
            }],
            limit,
            ..Lines::default()
        }))
    };
    let memory_limit = soak.legs.first().map(|first| {
        let bytes = first.resident_bytes as f64 * soak.limits.memory_factor + soak.limits.memory_slack_bytes as f64;
        (bytes / f64::from(1 << 20), "limit".to_owned())
    });
    let descriptor_limit =
        soak.legs.first().map(|first| ((first.descriptors + soak.limits.descriptors) as f64, "limit".to_owned()));
    let mebibytes = |count: u64| count as f64 / f64::from(1 << 20);
    Section {
        title: "Soak".to_owned(),
        lead,
        facts: vec![
            ("machine", soak.machine.line()),
            ("command", soak.command.clone()),
            ("begun", when(soak.started_unix_millis)),
            ("load", load(&soak.profile)),
        ],
        blocks: vec![
            chart("Memory at rest", "MiB", memory_limit, &|leg| mebibytes(leg.resident_bytes)),
            chart("Descriptors at rest", "descriptors", descriptor_limit, &|leg| leg.descriptors as f64),
            chart("Evidence on the disk", "MiB", None, &|leg| mebibytes(leg.evidence_bytes)),
            Block::Table(legs(soak)),
        ],
    }
}

fn legs(soak: &Soak) -> Table {
    let row = |(number, leg): (usize, &Leg)| {
        let errors = leg.run.errors.total();
        vec![
            Cell::plain(number.to_string()),
            Cell::plain(format!("{:?}", leg.disturbance)),
            Cell::plain(seconds(leg.disturbance_seconds)),
            Cell::plain(figures(leg.run.requests() as f64 / leg.run.seconds.max(1e-9))),
            Cell::plain(errors.to_string()),
            Cell::plain(bytes(leg.resident_bytes)),
            Cell::plain(leg.descriptors.to_string()),
            Cell::plain(bytes(leg.evidence_bytes)),
            match &leg.run.oracle {
                None => Cell::plain("–"),
                Some(verdict) if verdict.holds() => Cell::toned("holds", Tone::Good),
                Some(verdict) => Cell::toned(format!("{} violations", verdict.violations.len()), Tone::Bad),
            },
        ]
    };
    Table {
        caption: "Legs".to_owned(),
        head: ["leg", "disturbance", "took", "requests/s", "errors", "memory", "descriptors", "evidence", "oracle"]
            .map(str::to_owned)
            .to_vec(),
        rows: soak.legs.iter().enumerate().map(|(at, leg)| row((at + 1, leg))).collect(),
    }
}

/// What connections cost.
pub(super) fn connections(connections: &Connections) -> Section {
    let kind = if connections.tls { "TLS" } else { "plain" };
    let rows = vec![
        ("idle connections held".to_owned(), connections.idle_held.to_string()),
        (
            format!("memory an idle {kind} connection"),
            connections.bytes_per_connection().map_or("–".to_owned(), |count| bytes(count as u64)),
        ),
        (
            "CPU of the gateway while all are idle".to_owned(),
            format!("{:.2} % of a core", 100.0 * connections.idle_cpu),
        ),
        (
            "sessions begun and ended a second".to_owned(),
            connections.sessions_per_second().map_or("–".to_owned(), figures),
        ),
        (
            "sessions a CPU second of the gateway".to_owned(),
            connections.sessions_per_core_second().map_or("–".to_owned(), figures),
        ),
        ("errors, idle and sessions".to_owned(), {
            format!("{}, {}", connections.idle.errors.total(), connections.sessions.errors.total())
        }),
    ];
    Section {
        title: "Connections".to_owned(),
        lead: "A connection to a client has one to a broker with it; memory is of both.".to_owned(),
        facts: vec![
            ("machine", connections.machine.line()),
            ("command", connections.command.clone()),
            ("begun", when(connections.started_unix_millis)),
        ],
        blocks: vec![Block::Table(Table {
            caption: "What connections cost".to_owned(),
            head: ["figure", "seen"].map(str::to_owned).to_vec(),
            rows: rows.into_iter().map(|(name, value)| vec![Cell::plain(name), Cell::plain(value)]).collect(),
        })],
    }
}

/// How fast a revocation bites.
pub(super) fn revocation(revocation: &Revocation) -> Section {
    let row = |round: &Round| {
        let most = round.last_millis.iter().copied().fold(0.0, f64::max);
        let tone = if round.admitted_after == 0 { Tone::Good } else { Tone::Bad };
        vec![
            Cell::plain(round.connections.to_string()),
            Cell::plain(seconds(round.command_seconds)),
            Cell::plain(figures(round.p999_millis())),
            Cell::plain(figures(most)),
            Cell::toned(round.admitted_after.to_string(), tone),
        ]
    };
    let head =
        ["connections", "the command took", "last record p99.9, ms", "last record at most, ms", "admitted after"];
    Section {
        title: "Revocation".to_owned(),
        lead: format!("Revoked by: {}. Times are from that command's return.", revocation.revoked_by),
        facts: vec![
            ("machine", revocation.machine.line()),
            ("command", revocation.command.clone()),
            ("begun", when(revocation.started_unix_millis)),
            ("load", load(&revocation.profile)),
            ("shards", revocation.shards.to_string()),
        ],
        blocks: vec![Block::Table(Table {
            caption: "Rounds".to_owned(),
            head: head.map(str::to_owned).to_vec(),
            rows: revocation.rounds.iter().map(row).collect(),
        })],
    }
}

#[cfg(test)]
mod tests {
    use crate::connections::Connections;
    use crate::report::{Document, html, markdown};
    use crate::soak::Disturbance;

    #[test]
    fn a_failing_soak_says_so_first_and_draws_its_limits() {
        let soak = crate::soak::tests::soak_of(&[(Disturbance::None, 40, 50, 0), (Disturbance::Reload, 200, 50, 0)]);
        let documents = [Document::Soak(soak)];
        let text = markdown::render(&documents);
        assert!(text.contains("NOT AS IT SHOULD BE: leg 2") && text.contains(" Reload |"), "{text}");
        assert!(html::render(&documents).matches("class=\"limit\"").count() >= 4);
    }

    #[test]
    fn connections_are_priced() {
        let connections = Connections {
            tls: true,
            resident_before_bytes: 10 << 20,
            resident_idle_bytes: (10 << 20) + 1000 * 20 * 1024,
            idle_held: 1000,
            ..Connections::default()
        };
        let text = markdown::render(&[Document::Connections(Box::new(connections))]);
        assert!(text.contains("memory an idle TLS connection") && text.contains("20.0 KiB"), "{text}");
    }
}
