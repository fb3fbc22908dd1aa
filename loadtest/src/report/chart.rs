//! Drawings as inline SVG: estimates with their intervals, and curves. Colours come from the page's
//! style, so that they follow light, dark and print; each mark says its value to a pointer (`<title>`).

use maud::{Markup, html};

use super::units::figures;
use crate::statistics::Estimate;

const WIDTH: f64 = 720.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 20.0;
/// How many colours the page's style has for series.
const COLOURS: usize = 6;

/// A drawing.
#[derive(Debug, Clone)]
pub enum Chart {
    /// A row a system: the median as a dot, the interval as a line.
    Intervals(Intervals),
    /// Curves over an axis.
    Lines(Lines),
}

/// Estimates, one under the other.
#[derive(Debug, Clone, Default)]
pub struct Intervals {
    /// What is shown.
    pub title: String,
    /// In which unit.
    pub unit: String,
    /// Name, estimate, and whether it is the one that the report is about.
    pub rows: Vec<(String, Estimate, bool)>,
}

/// Curves.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    /// What is shown.
    pub title: String,
    /// The axis along the bottom.
    pub x: Axis,
    /// The axis along the side.
    pub y: Axis,
    /// The curves.
    pub series: Vec<Series>,
    /// Places worth a word.
    pub marks: Vec<(f64, f64, String)>,
    /// A value of `y` that must not be passed.
    pub limit: Option<(f64, String)>,
}

/// An axis.
#[derive(Debug, Clone, Default)]
pub struct Axis {
    /// What it measures, with the unit.
    pub label: String,
    /// Whether each step is a factor.
    pub log: bool,
    /// Where ticks are and what they say; chosen by themselves where empty.
    pub ticks: Vec<(f64, String)>,
}

/// A curve.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Which of the page's colours it has.
    pub colour: usize,
    /// Its points, in the order of `x`.
    pub points: Vec<(f64, f64)>,
}

impl Chart {
    /// As SVG within a figure.
    #[must_use]
    pub fn draw(&self) -> Markup {
        match self {
            Self::Intervals(intervals) => intervals.draw(),
            Self::Lines(lines) => lines.draw(),
        }
    }
}

/// From values to places on the page.
struct Scale {
    log: bool,
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    fn new(log: bool, from: f64, to: f64, start: f64, end: f64) -> Self {
        let (from, to) = if from < to { (from, to) } else { (from - 0.5, from + 0.5) };
        Self { log, from, to, start, end }
    }

    fn at(&self, value: f64) -> f64 {
        let place = |value: f64| if self.log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let part = (place(value) - place(self.from)) / (place(self.to) - place(self.from));
        ((self.start + part * (self.end - self.start)) * 10.0).round() / 10.0
    }
}

/// Five steps or so, at round numbers.
fn ticks(from: f64, to: f64, log: bool) -> Vec<f64> {
    if log {
        let decades = (from.log10().floor() as i32)..=(to.log10().ceil() as i32);
        let many = to / from >= 1000.0;
        let steps: &[f64] = if many { &[1.0] } else { &[1.0, 2.0, 5.0] };
        return decades
            .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)))
            .filter(|tick| (from..=to).contains(tick))
            .collect();
    }
    let rough = (to - from) / 5.0;
    let unit = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * unit).find(|step| *step >= rough).unwrap_or(rough);
    let first = (from / step).ceil() as i64;
    let last = (to / step).floor() as i64;
    (first..=last).map(|number| number as f64 * step).collect()
}

impl Intervals {
    fn draw(&self) -> Markup {
        let left = 150.0;
        let row = 30.0;
        let bottom = TOP + row * self.rows.len() as f64;
        let most = self.rows.iter().map(|(_, estimate, _)| estimate.high).fold(0.0, f64::max);
        let scale = Scale::new(false, 0.0, most * 1.02, left, WIDTH - 90.0);
        let title = format!("{} ({})", self.title, self.unit);
        html! {
            figure {
                figcaption { (title) }
                svg viewBox={ "0 0 " (WIDTH) " " (bottom + 26.0) } role="img" aria-label=(title) {
                    @for tick in ticks(0.0, most * 1.02, false) {
                        line.grid x1=(scale.at(tick)) x2=(scale.at(tick)) y1=(TOP) y2=(bottom) {}
                        text.tick x=(scale.at(tick)) y=(bottom + 18.0) text-anchor="middle" { (tick_text(tick)) }
                    }
                    @for (at, (name, estimate, subject)) in self.rows.iter().enumerate() {
                        @let y = TOP + row * (at as f64 + 0.5);
                        g class=(if *subject { "subject" } else { "other" }) {
                            title { (name) ": " (super::units::estimate(estimate, 1.0)) " " (self.unit) }
                            text.name x=(left - 10.0) y=(y + 4.0) text-anchor="end" { (name) }
                            line.interval x1=(scale.at(estimate.low)) x2=(scale.at(estimate.high)) y1=(y) y2=(y) {}
                            circle cx=(scale.at(estimate.median)) cy=(y) r="5" {}
                            text.value x=(WIDTH - 80.0) y=(y + 4.0) { (figures(estimate.median)) }
                        }
                    }
                }
            }
        }
    }
}

impl Lines {
    fn draw(&self) -> Markup {
        let (left, bottom) = (64.0, 300.0);
        let Some((x, y)) = self.scales(left, bottom) else { return html! {} };
        let title = format!("{}: {} by {}", self.title, self.y.label, self.x.label);
        html! {
            figure {
                figcaption { (self.title) }
                (self.legend())
                svg viewBox={ "0 0 " (WIDTH) " " (bottom + 44.0) } role="img" aria-label=(title) {
                    @for (tick, text) in labelled(&self.y, &y) {
                        line.grid x1=(left) x2=(WIDTH - RIGHT) y1=(y.at(tick)) y2=(y.at(tick)) {}
                        text.tick x=(left - 8.0) y=(y.at(tick) + 4.0) text-anchor="end" { (text) }
                    }
                    @for (tick, text) in labelled(&self.x, &x) {
                        line.grid x1=(x.at(tick)) x2=(x.at(tick)) y1=(TOP) y2=(bottom) {}
                        text.tick x=(x.at(tick)) y=(bottom + 18.0) text-anchor="middle" { (text) }
                    }
                    text.axis x=((left + WIDTH - RIGHT) / 2.0) y=(bottom + 38.0) text-anchor="middle" { (self.x.label) }
                    text.axis x=(left) y=(TOP - 2.0) { (self.y.label) }
                    @if let Some((limit, text)) = &self.limit {
                        line.limit x1=(left) x2=(WIDTH - RIGHT) y1=(y.at(*limit)) y2=(y.at(*limit)) {}
                        text.limit x=(WIDTH - RIGHT) y=(y.at(*limit) - 5.0) text-anchor="end" { (text) }
                    }
                    @for series in &self.series {
                        g class={ "s" (series.colour % COLOURS) } {
                            polyline points=(points(series, &x, &y)) {}
                            @if series.points.len() <= 24 {
                                @for (at, value) in drawn(series, &x, &y) {
                                    circle cx=(x.at(at)) cy=(y.at(value)) r="3.5" {
                                        title { (series.name) ": " (figures(value)) " at " (figures(at)) }
                                    }
                                }
                            }
                        }
                    }
                    @for (at, value, text) in &self.marks {
                        @let end = x.at(*at) > WIDTH * 0.7;
                        circle.mark cx=(x.at(*at)) cy=(y.at(*value)) r="7" {}
                        text.mark x=(x.at(*at) + if end { -10.0 } else { 10.0 }) y=(y.at(*value) + 18.0)
                            text-anchor=(if end { "end" } else { "start" }) { (text) }
                    }
                }
            }
        }
    }

    fn legend(&self) -> Markup {
        html! {
            @if self.series.len() > 1 {
                p.legend {
                    @for series in &self.series {
                        span class={ "s" (series.colour % COLOURS) } { (series.name) }
                    }
                }
            }
        }
    }

    fn scales(&self, left: f64, bottom: f64) -> Option<(Scale, Scale)> {
        let points = || self.series.iter().flat_map(|series| &series.points).filter(|point| point.0.is_finite());
        let range = |values: &mut dyn Iterator<Item = f64>, log: bool| {
            let values: Vec<f64> = values.filter(|value| value.is_finite() && (!log || *value > 0.0)).collect();
            let least = values.iter().copied().reduce(f64::min)?;
            Some((least, values.iter().copied().reduce(f64::max)?))
        };
        let (x_least, x_most) = range(&mut points().map(|point| point.0), self.x.log)?;
        let limit = self.limit.iter().map(|(limit, _)| *limit);
        let (y_least, y_most) = range(&mut points().map(|point| point.1).chain(limit), self.y.log)?;
        // Amounts begin at 0, since a cut axis makes mountains of molehills.
        let (y_least, y_most) =
            if self.y.log { (y_least * 0.9, y_most * 1.1) } else { (0.0, (y_most * 1.08).max(1e-9)) };
        Some((
            Scale::new(self.x.log, x_least, x_most, left, WIDTH - RIGHT),
            Scale::new(self.y.log, y_least, y_most, bottom, TOP + 8.0),
        ))
    }
}

fn labelled(axis: &Axis, scale: &Scale) -> Vec<(f64, String)> {
    if axis.ticks.is_empty() {
        ticks(scale.from, scale.to, axis.log).into_iter().map(|tick| (tick, tick_text(tick))).collect()
    } else {
        axis.ticks.iter().filter(|(tick, _)| (scale.from..=scale.to).contains(tick)).cloned().collect()
    }
}

/// Ticks are round, so they need no zeros behind the point.
fn tick_text(tick: f64) -> String {
    let text = figures(tick);
    match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The points that have a place.
fn drawn(series: &Series, x: &Scale, y: &Scale) -> Vec<(f64, f64)> {
    let placed = |&(at, value): &(f64, f64)| {
        at.is_finite() && value.is_finite() && (!x.log || at > 0.0) && (!y.log || value > 0.0)
    };
    series.points.iter().copied().filter(placed).collect()
}

fn points(series: &Series, x: &Scale, y: &Scale) -> String {
    let places = drawn(series, x, y).into_iter().map(|(at, value)| format!("{},{}", x.at(at), y.at(value)));
    places.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(
            ticks(0.0, 1.0, false).into_iter().map(tick_text).collect::<Vec<_>>(),
            ["0", "0.2", "0.4", "0.6", "0.8", "1"]
        );
        assert_eq!(ticks(0.0, 37.0, false), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(ticks(90.0, 3000.0, true), [100.0, 200.0, 500.0, 1000.0, 2000.0]);
        assert_eq!(ticks(1.0, 1e6, true).len(), 7);
    }

    #[test]
    fn places_are_within_the_drawing_whatever_comes() {
        let series = |points: &[(f64, f64)]| Series { name: "a".to_owned(), colour: 9, points: points.to_vec() };
        let mut lines = Lines { series: vec![series(&[(1.0, 0.0), (10.0, 5.0), (f64::NAN, 2.0)])], ..Lines::default() };
        lines.y.log = true;
        let drawn = Chart::Lines(lines.clone()).draw().into_string();
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        lines.series = vec![series(&[])];
        assert_eq!(Chart::Lines(lines).draw().into_string(), "");
    }

    #[test]
    fn names_cannot_break_out() {
        let estimate = Estimate { median: 1.0, low: 0.5, high: 2.0, rounds: 5 };
        let rows = vec![("<script>".to_owned(), estimate, true)];
        let drawn = Chart::Intervals(Intervals { rows, ..Intervals::default() }).draw().into_string();
        assert!(!drawn.contains("<script>") && drawn.contains("&lt;script&gt;"), "{drawn}");
    }
}
