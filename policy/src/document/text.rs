//! Values that files write as text: durations, sizes, times. Each is parsed once into a type that
//! cannot hold a wrong value, and each has a JSON Schema `format`, so that a wrong one is reported
//! with all other problems of structure, in the words of its own parser.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tidegate_core::words::Timestamp;

use super::shortened;

/// A `format` of the JSON Schemas and what accepts a text as one.
pub(crate) struct Format {
    pub(crate) name: &'static str,
    pub(crate) check: fn(&str) -> Result<(), String>,
}

/// Every format that documents may use.
pub(crate) const FORMATS: &[Format] = &[
    Format { name: Duration::FORMAT, check: check::<Duration> },
    Format { name: ByteSize::FORMAT, check: check::<ByteSize> },
    Format { name: Moment::FORMAT, check: check::<Moment> },
    Format { name: TimeOfDay::FORMAT, check: check::<TimeOfDay> },
    Format { name: ZoneName::FORMAT, check: check::<ZoneName> },
    Format { name: DayRange::FORMAT, check: check::<DayRange> },
    Format { name: PartitionRange::FORMAT, check: check::<PartitionRange> },
];

fn check<T: FromStr<Err = String>>(text: &str) -> Result<(), String> {
    T::from_str(text).map(|_| ())
}

/// Gives a type with `FromStr<Err = String>` and `Display` its place in files and schemas.
macro_rules! written_as_text {
    ($name:ident, $format:literal, $description:literal, $example:literal) => {
        impl $name {
            /// The `format` in JSON Schemas.
            pub(crate) const FORMAT: &str = $format;
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_id() -> Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($name)).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string", "format": $format, "description": $description, "examples": [$example],
                })
            }
        }
    };
}

/// A length of time: whole numbers with units, `500ms`, `15m`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration(pub std::time::Duration);

written_as_text!(Duration, "tidegate-duration", "A length of time: whole numbers with ms, s, m, h or d.", "1h30m");

impl Duration {
    /// Whole milliseconds.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is not a duration such as `500ms`, `15m` or `1h30m`", shortened(text));
        let mut rest = text;
        let mut millis = 0u64;
        while !rest.is_empty() {
            let (number, behind) = leading_number(rest).ok_or_else(wrong)?;
            let unit_end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
            let (unit, behind) = behind.split_at(unit_end);
            let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            millis = number.checked_mul(*factor).and_then(|more| millis.checked_add(more)).ok_or_else(wrong)?;
            rest = behind;
        }
        if text.is_empty() {
            return Err(wrong());
        }
        Ok(Self(std::time::Duration::from_millis(millis)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = self.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        for (name, factor) in DURATION_UNITS {
            if millis >= factor {
                write!(f, "{}{name}", millis / factor)?;
                millis %= factor;
            }
        }
        Ok(())
    }
}

/// The number at the start of `text`, and what stands behind it.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

/// A number of bytes: `512B`, `64KiB`, `1MiB`, `10GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(pub u64);

written_as_text!(
    ByteSize,
    "tidegate-bytes",
    "A number of bytes: a whole number with B, KiB, MiB, GiB, kB, MB or GB.",
    "64MiB"
);

const BYTE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is not a size such as `64KiB` or `1GiB`", shortened(text));
        let (number, unit) = leading_number(text).ok_or_else(wrong)?;
        let (_, factor) = BYTE_UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(wrong)?;
        number.checked_mul(*factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |factor: u64| self.0 >= factor && self.0.is_multiple_of(factor);
        let (name, factor) = BYTE_UNITS.into_iter().find(|(_, factor)| fits(*factor)).unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

/// A point in time with its offset (RFC 3339).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(pub Timestamp);

written_as_text!(
    Moment,
    "date-time",
    "A point in time with its offset from UTC (RFC 3339).",
    "2026-03-31T18:00:00+02:00"
);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed: jiff::Timestamp = text.parse().map_err(|_| {
            format!("`{}` is not a time such as `2026-03-31T18:00:00+02:00` or `2026-03-31T16:00:00Z`", shortened(text))
        })?;
        Ok(Self(Timestamp(parsed.as_microsecond())))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0.0) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{}µs", self.0.0),
        }
    }
}

/// A time of day to the minute, from `00:00` to `24:00` (the day's end).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay {
    /// Minutes since midnight on the clock, 0 to 1440.
    pub minutes: u16,
}

written_as_text!(TimeOfDay, "tidegate-time-of-day", "A time of day, hh:mm from 00:00 to 24:00.", "08:30");

impl FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let two_digits =
            |part: &str| (part.len() == 2).then(|| part.bytes().all(|b| b.is_ascii_digit())).filter(|ok| *ok);
        text.split_once(':')
            .filter(|(hours, minutes)| two_digits(hours).and(two_digits(minutes)).is_some())
            .and_then(|(hours, minutes)| Some((hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?)))
            .filter(|(hours, minutes)| *minutes < 60 && hours * 60 + minutes <= 24 * 60)
            .map(|(hours, minutes)| Self { minutes: hours * 60 + minutes })
            .ok_or_else(|| format!("`{}` is not a time of day such as `08:30` (00:00 to 24:00)", shortened(text)))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

/// A time zone's name in the IANA database.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName(String);

written_as_text!(ZoneName, "tidegate-timezone", "A time zone of the IANA database.", "Europe/Berlin");

impl ZoneName {
    /// The zone; UTC should the database have lost it since the name was checked.
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        TimeZone::get(&self.0).unwrap_or(TimeZone::UTC)
    }
}

impl FromStr for ZoneName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match TimeZone::get(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => {
                Err(format!("`{}` is not a time zone of the IANA database, such as `Europe/Berlin`", shortened(text)))
            }
        }
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A day of the week or several in a row: `sat`, `mon-fri`, `fri-mon`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DayRange {
    first: u8,
    last: u8,
}

written_as_text!(DayRange, "tidegate-days", "A day of the week or several in a row.", "mon-fri");

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl DayRange {
    /// The days, 0 for Monday to 6 for Sunday.
    pub fn days(self) -> impl Iterator<Item = u8> {
        let count = (self.last + 7 - self.first) % 7 + 1;
        (0..count).map(move |step| (self.first + step) % 7)
    }
}

impl FromStr for DayRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let day = |name: &str| DAYS.iter().position(|day| *day == name).and_then(|at| u8::try_from(at).ok());
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        day(first)
            .zip(day(last))
            .map(|(first, last)| Self { first, last })
            .ok_or_else(|| format!("`{}` is not a day such as `mon`, or days such as `mon-fri`", shortened(text)))
    }
}

impl fmt::Display for DayRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |day: u8| DAYS.get(usize::from(day)).copied().unwrap_or_default();
        f.write_str(name(self.first))?;
        if self.last != self.first {
            write!(f, "-{}", name(self.last))?;
        }
        Ok(())
    }
}

/// Partitions from a first to a last, both included: `0-3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartitionRange {
    /// The first partition, at least 0.
    pub first: i32,
    /// The last partition, at least the first.
    pub last: i32,
}

written_as_text!(PartitionRange, "tidegate-partitions", "Partitions from a first to a last, both included.", "0-3");

impl FromStr for PartitionRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            leading_number(part).filter(|(_, rest)| rest.is_empty()).and_then(|(n, _)| i32::try_from(n).ok())
        };
        text.split_once('-')
            .and_then(|(first, last)| Some(Self { first: number(first)?, last: number(last)? }))
            .filter(|range| range.first <= range.last)
            .ok_or_else(|| format!("`{}` is not a range of partitions such as `0-3`", shortened(text)))
    }
}

impl fmt::Display for PartitionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = String> + ToString>(text: &str, expected: Option<&str>) {
        let read = text.parse::<T>().map(|value| value.to_string());
        assert_eq!(read.as_deref().ok(), expected, "{text}: {read:?}");
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("500ms", Some("500ms")),
            ("90s", Some("1m30s")),
            ("1h30m", Some("1h30m")),
            ("2d", Some("2d")),
            ("0s", Some("0s")),
            ("", None),
            ("15", None),
            ("m", None),
            ("1w", None),
            ("-1s", None),
            ("1.5h", None),
            ("99999999999999999999d", None),
            ("9999999999999999d", None),
        ] {
            check::<Duration>(text, expected);
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("64KiB", Some("64KiB")),
            ("1 MB", Some("1MB")),
            ("2048B", Some("2KiB")),
            ("0B", Some("0B")),
            ("1", None),
            ("1Mib", None),
            ("99999999999GiB", None),
        ] {
            check::<ByteSize>(text, expected);
        }
    }

    #[test]
    fn times() {
        check::<Moment>("2026-03-31T18:00:00+02:00", Some("2026-03-31T16:00:00Z"));
        check::<Moment>("2026-03-31 18:00", None);
        check::<Moment>("2026-02-30T00:00:00Z", None);
        for (text, expected) in [
            ("08:30", Some("08:30")),
            ("24:00", Some("24:00")),
            ("24:01", None),
            ("8:30", None),
            ("08:60", None),
            ("+8:30", None),
        ] {
            check::<TimeOfDay>(text, expected);
        }
        check::<ZoneName>("Europe/Berlin", Some("Europe/Berlin"));
        check::<ZoneName>("Europe/Berln", None);
    }

    #[test]
    fn days_and_partitions() {
        check::<DayRange>("mon-fri", Some("mon-fri"));
        check::<DayRange>("sun", Some("sun"));
        check::<DayRange>("monday", None);
        assert_eq!("fri-mon".parse::<DayRange>().unwrap().days().collect::<Vec<_>>(), [4, 5, 6, 0]);
        for (text, expected) in
            [("0-3", Some("0-3")), ("3-0", None), ("1", None), ("-1-2", None), ("0-2147483648", None)]
        {
            check::<PartitionRange>(text, expected);
        }
    }
}
