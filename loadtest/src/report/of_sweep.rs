//! What a sweep says: the recommendation first, then the curves.

use super::chart::{Axis, Chart, Lines, Series};
use super::of_comparison::{load, when};
use super::units::{estimate, figures};
use super::{Block, Cell, Section, Table};
use crate::sweep::{Point, Sweep};

/// The section.
pub(super) fn section(sweep: &Sweep) -> Section {
    let recommendation = sweep.recommendation();
    let lead = recommendation.as_ref().map_or("Nothing was measured.".to_owned(), |recommendation| {
        format!("Recommended here: shards: {}. {}", recommendation.shards, recommendation.why.join(" "))
    });
    let knees: Vec<(f64, f64, String)> = recommendation
        .iter()
        .filter_map(|recommendation| sweep.knee(recommendation.shards))
        .filter_map(|knee| {
            let speed = knee.bytes_per_second()?.median / 1e6;
            Some((f64::from(knee.connections), speed, format!("knee: {} connections", knee.connections)))
        })
        .collect();
    let mut ticks: Vec<u32> = sweep.points.iter().map(|point| point.connections).collect();
    ticks.sort_unstable();
    ticks.dedup();
    let x = Axis {
        label: "connections".to_owned(),
        log: true,
        ticks: ticks.into_iter().map(|count| (f64::from(count), count.to_string())).collect(),
    };
    let chart = |title: &str, label: &str, value: &dyn Fn(&Point) -> Option<f64>, marks| {
        Chart::Lines(Lines {
            title: title.to_owned(),
            x: x.clone(),
            y: Axis { label: label.to_owned(), ..Axis::default() },
            series: series(sweep, value),
            marks,
            ..Lines::default()
        })
    };
    let speed = |point: &Point| Some(point.bytes_per_second()?.median / 1e6);
    let cost = |point: &Point| Some(point.cpu_per_gb()?.median);
    Section {
        title: "Shards and connections".to_owned(),
        lead,
        facts: vec![
            ("machine", sweep.machine.line()),
            ("command", sweep.command.clone()),
            ("begun", when(sweep.started_unix_millis)),
            ("load", load(&sweep.profile)),
        ],
        blocks: vec![
            Block::Chart(chart("Throughput", "MB/s", &speed, knees)),
            Block::Chart(chart("What a byte costs", "CPU-s/GB of the gateway", &cost, Vec::new())),
            Block::Table(table(sweep)),
        ],
    }
}

fn series(sweep: &Sweep, value: &dyn Fn(&Point) -> Option<f64>) -> Vec<Series> {
    let best = sweep.best();
    best.iter()
        .enumerate()
        .map(|(colour, of)| {
            let mut points: Vec<(f64, f64)> = sweep
                .points
                .iter()
                .filter(|point| point.shards == of.shards)
                .filter_map(|point| Some((f64::from(point.connections), value(point)?)))
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let plural = if of.shards == 1 { "" } else { "s" };
            Series { name: format!("{} shard{plural}", of.shards), colour, points }
        })
        .collect()
}

fn table(sweep: &Sweep) -> Table {
    let row = |point: &Point| {
        let percent = |part: Option<f64>| Cell::or_empty(part.map(|part| format!("{} %", figures(100.0 * part))));
        vec![
            Cell::plain(point.shards.to_string()),
            Cell::plain(point.connections.to_string()),
            Cell::or_empty(point.bytes_per_second().map(|value| estimate(&value, 1e-6))),
            Cell::or_empty(point.cpu_per_gb().map(|value| estimate(&value, 1.0))),
            Cell::or_empty(point.p99_us().map(|value| estimate(&value, 1.0))),
            percent(point.shards_busy()),
            percent(point.machine_busy(sweep.machine.cores)),
        ]
    };
    Table {
        caption: "Every point".to_owned(),
        head: ["shards", "connections", "MB/s", "CPU-s/GB", "p99 µs", "shards busy", "machine busy"]
            .map(str::to_owned)
            .to_vec(),
        rows: sweep.points.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::report::{Document, html, markdown};

    #[test]
    fn the_recommendation_comes_first_and_the_curve_has_its_knee() {
        let sweep = crate::sweep::tests::sweep(
            8,
            &[(1, 4, 500.0, 1.0, 1.0), (1, 16, 900.0, 1.0, 1.0), (2, 16, 1700.0, 1.1, 1.0)],
        );
        let documents = [Document::Sweep(sweep)];
        let text = markdown::render(&documents);
        assert!(text.contains("Recommended here: shards: 2. 2 shards move 1700 MB/s"), "{text}");
        assert!(html::render(&documents).contains("knee: 16 connections"));
    }
}
