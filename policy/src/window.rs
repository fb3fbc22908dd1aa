//! Daily windows: at which times a grant holds.
//!
//! A window is a wall-clock span on certain days of the week in a time zone, so it follows daylight
//! saving. Asking a time zone per request would cost more than the rest of the decision; therefore a
//! [`Schedule`] answers with the whole [`Span`] around a time in which its answer stays the same, and
//! whoever asks keeps that span.

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, ToSpan};
use tidegate_core::words::Timestamp;

use crate::file::WindowRule;

/// Days before and behind the day of the question whose windows are looked at. Windows repeat
/// weekly, so that the next opening is found and a whole open week means always open.
const DAYS_BEFORE: i32 = 2;
const DAYS_BEHIND: i32 = 9;
/// A schedule that stays open this long never closes.
const ALWAYS_MICROS: i64 = 8 * 24 * 3_600_000_000;
const MINUTES_PER_DAY: u16 = 24 * 60;

/// The windows of one grant.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    windows: Vec<Window>,
}

#[derive(Debug, Clone)]
struct Window {
    from: u16,
    to: u16,
    zone: TimeZone,
    /// By weekday, Monday first.
    days: [bool; 7],
}

/// A span of time, `from` included and `until` not, in which a schedule is open or closed throughout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Timestamp,
    /// [`Timestamp::MAX`] where it never ends.
    pub(crate) until: Timestamp,
    pub(crate) open: bool,
}

impl Span {
    /// A span that contains no time, so that it answers no question.
    pub(crate) const NEVER: Self = Self { from: Timestamp::MAX, until: Timestamp::MAX, open: false };

    pub(crate) fn contains(&self, time: Timestamp) -> bool {
        self.from <= time && time < self.until
    }
}

impl Schedule {
    pub(crate) fn new(rules: &[WindowRule]) -> Self {
        Self { windows: rules.iter().map(Window::new).collect() }
    }

    /// Whether a window is open at `now`, and how long that stays so.
    pub(crate) fn span_at(&self, now: Timestamp) -> Span {
        // Outside of what the calendar holds no window opens.
        let Ok(time) = jiff::Timestamp::from_microsecond(now.0) else {
            return Span { from: now, until: now.plus_millis(1), open: false };
        };
        let mut open: Vec<(i64, i64)> = self.windows.iter().flat_map(|window| window.around(time)).collect();
        open.sort_unstable();
        let mut closed_from = i64::MIN;
        let mut merged = open.into_iter().peekable();
        while let Some((from, mut until)) = merged.next() {
            while let Some((_, more)) = merged.next_if(|(next, _)| *next <= until) {
                until = until.max(more);
            }
            if now.0 < from {
                return Span { from: Timestamp(closed_from), until: Timestamp(from), open: false };
            }
            if now.0 < until {
                let always = until.saturating_sub(now.0) >= ALWAYS_MICROS;
                let until = if always { Timestamp::MAX } else { Timestamp(until) };
                return Span { from: Timestamp(from), until, open: true };
            }
            closed_from = until;
        }
        Span { from: now, until: now.plus_millis(3_600_000), open: false }
    }
}

impl Window {
    fn new(rule: &WindowRule) -> Self {
        let mut days = [rule.days.is_none(); 7];
        for day in rule.days.iter().flatten().flat_map(|range| range.days()) {
            if let Some(day) = days.get_mut(usize::from(day)) {
                *day = true;
            }
        }
        Self { from: rule.from.minutes, to: rule.to.minutes, zone: rule.timezone.zone(), days }
    }

    /// The spans in which this window is open around `time`, as microseconds.
    fn around(&self, time: jiff::Timestamp) -> impl Iterator<Item = (i64, i64)> {
        let today = self.zone.to_datetime(time).date();
        (-DAYS_BEFORE..=DAYS_BEHIND).filter_map(move |offset| {
            let day = today.checked_add(offset.days()).ok()?;
            if !*self.days.get(usize::try_from(day.weekday().to_monday_zero_offset()).ok()?)? {
                return None;
            }
            let last_day = if self.to > self.from { day } else { day.tomorrow().ok()? };
            let from = instant(&self.zone, day, self.from)?;
            let until = instant(&self.zone, last_day, self.to)?;
            (from < until).then_some((from, until))
        })
    }
}

/// When the clock of `zone` shows `minutes` after midnight on `day`, in microseconds. A clock time
/// that is skipped is the moment of the change, one that occurs twice is the first.
fn instant(zone: &TimeZone, day: Date, minutes: u16) -> Option<i64> {
    let (day, minutes) = if minutes >= MINUTES_PER_DAY { (day.tomorrow().ok()?, 0) } else { (day, minutes) };
    let clock = day.at(i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?, 0, 0);
    let ambiguous = zone.to_ambiguous_timestamp(clock);
    let time = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok()?,
        AmbiguousOffset::Gap { .. } => {
            // The earlier reading lies before the change, by at most the gap.
            let before = ambiguous.earlier().ok()?.checked_sub(SignedDuration::from_secs(1)).ok()?;
            zone.following(before).next()?.timestamp()
        }
    };
    Some(time.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn schedule(windows: &[(&str, &str, &str, &[&str])]) -> Schedule {
        let rules: Vec<WindowRule> = windows
            .iter()
            .map(|(from, to, zone, days)| WindowRule {
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
                timezone: zone.parse().unwrap(),
                days: (!days.is_empty()).then(|| days.iter().map(|day| day.parse().unwrap()).collect()),
            })
            .collect();
        Schedule::new(&rules)
    }

    /// Asks at `at`, and just inside and outside of both ends of the answer.
    fn check(schedule: &Schedule, at: &str, open: bool, until: &str) {
        let now = time(at);
        let span = schedule.span_at(now);
        assert!(span.contains(now), "{at}: {span:?}");
        let until = if until == "never" { Timestamp::MAX } else { time(until) };
        assert_eq!((span.open, span.until), (open, until), "{at}");
        if span.until != Timestamp::MAX {
            assert_eq!(schedule.span_at(Timestamp(span.until.0 - 1)).open, open, "before the end: {at}");
            assert_eq!(schedule.span_at(span.until).open, !open, "at the end: {at}");
        }
    }

    #[test]
    fn office_hours_on_weekdays() {
        let office = schedule(&[("08:00", "18:00", "Europe/Berlin", &["mon-fri"])]);
        // 2026-11-24 is a Tuesday; Berlin is at UTC+1 in winter and UTC+2 in summer.
        check(&office, "2026-11-24T07:00:00Z", true, "2026-11-24T17:00:00Z");
        check(&office, "2026-11-24T06:59:59Z", false, "2026-11-24T07:00:00Z");
        check(&office, "2026-11-27T17:00:00Z", false, "2026-11-30T07:00:00Z");
        check(&office, "2026-07-01T06:00:00Z", true, "2026-07-01T16:00:00Z");
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_opens_on() {
        let night = schedule(&[("22:00", "06:00", "Europe/Berlin", &["fri"])]);
        check(&night, "2026-11-27T21:00:00Z", true, "2026-11-28T05:00:00Z");
        check(&night, "2026-11-28T04:59:00Z", true, "2026-11-28T05:00:00Z");
        check(&night, "2026-11-28T21:30:00Z", false, "2026-12-04T21:00:00Z");
        check(&night, "2026-11-26T23:30:00Z", false, "2026-11-27T21:00:00Z");
    }

    #[test]
    fn daylight_saving_moves_the_window_with_the_clock() {
        // Spring: 2026-03-29 01:00Z the clock jumps from 02:00 to 03:00.
        let skipped = schedule(&[("02:30", "05:00", "Europe/Berlin", &["sun"])]);
        check(&skipped, "2026-03-29T00:59:59Z", false, "2026-03-29T01:00:00Z");
        check(&skipped, "2026-03-29T01:00:00Z", true, "2026-03-29T03:00:00Z");
        let inside = schedule(&[("02:10", "02:50", "Europe/Berlin", &["sun"])]);
        check(&inside, "2026-03-29T01:00:00Z", false, "2026-04-05T00:10:00Z");
        let until_skipped = schedule(&[("01:00", "02:30", "Europe/Berlin", &[])]);
        check(&until_skipped, "2026-03-29T00:30:00Z", true, "2026-03-29T01:00:00Z");
        // Autumn: 2026-10-25 01:00Z the clock falls back from 03:00 to 02:00.
        let twice = schedule(&[("02:15", "02:45", "Europe/Berlin", &["sun"])]);
        check(&twice, "2026-10-25T00:20:00Z", true, "2026-10-25T00:45:00Z");
        check(&twice, "2026-10-25T01:20:00Z", false, "2026-11-01T01:15:00Z");
        let over_night = schedule(&[("22:00", "06:00", "Europe/Berlin", &[])]);
        check(&over_night, "2026-10-24T20:00:00Z", true, "2026-10-25T05:00:00Z");
    }

    #[test]
    fn windows_that_touch_are_one_and_a_full_week_never_closes() {
        let day = schedule(&[("08:00", "12:00", "UTC", &[]), ("12:00", "16:00", "UTC", &[])]);
        check(&day, "2026-11-24T09:00:00Z", true, "2026-11-24T16:00:00Z");
        let always = schedule(&[("00:00", "24:00", "Europe/Berlin", &[])]);
        check(&always, "2026-11-24T09:00:00Z", true, "never");
        let weekend_closed = schedule(&[("00:00", "24:00", "UTC", &["mon-fri"])]);
        check(&weekend_closed, "2026-11-23T00:00:00Z", true, "2026-11-28T00:00:00Z");
    }

    #[test]
    fn times_beyond_the_calendar_are_closed_not_a_panic() {
        let always = schedule(&[("00:00", "24:00", "UTC", &[])]);
        assert!(!always.span_at(Timestamp::MAX).open);
        assert!(!always.span_at(Timestamp(i64::MIN)).open);
    }
}
