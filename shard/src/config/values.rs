//! Values as people write them in YAML: durations, addresses, ranges of node ids.
//!
//! Each parses from text once, here, and prints back as it was meant.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// A length of time, written `500ms`, `30s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// This many seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("`{text}` is not a duration; write a number with ms, s, m or h, as in `30s`");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wanted)?;
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wanted())?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wanted()),
        };
        number.checked_mul(millis).map(|millis| Self(Duration::from_millis(millis))).ok_or_else(wanted)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match (millis % 1000, millis % 60_000, millis % 3_600_000) {
            _ if millis == 0 => f.write_str("0s"),
            (_, _, 0) => write!(f, "{}h", millis / 3_600_000),
            (_, 0, _) => write!(f, "{}m", millis / 60_000),
            (0, _, _) => write!(f, "{}s", millis / 1000),
            _ => write!(f, "{millis}ms"),
        }
    }
}

/// Where a peer is: `host:port`, or `[v6]:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        let wanted = || format!("`{text}` is not an address; write `host:port`, as in `kafka-1.example.com:9092`");
        let (host, port) = text.rsplit_once(':').ok_or_else(wanted)?;
        let port = port.parse().map_err(|_| wanted())?;
        if !is_host_name(host) || port == 0 {
            return Err(wanted());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Whether `host` can be a DNS name or an IPv4 address: letters, digits, `-`, `_` and dots between labels.
pub(super) fn is_host_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// The node ids that brokers may have: `0-9`, or one, as in `3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIds(pub RangeInclusive<i32>);

impl NodeIds {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.end().abs_diff(*self.0.start()).saturating_add(1)
    }
}

impl FromStr for NodeIds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("`{text}` is not a range of node ids; write `first-last`, as in `0-9`");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first: i32 = first.trim().parse().map_err(|_| wanted())?;
        let last: i32 = last.trim().parse().map_err(|_| wanted())?;
        if first < 0 || last < first {
            return Err(wanted());
        }
        Ok(Self(first..=last))
    }
}

impl fmt::Display for NodeIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

/// How many shards run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shards {
    /// One per core that this process may use.
    #[default]
    Auto,
    /// As many as said.
    Count(u16),
}

impl FromStr for Shards {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "auto" => Ok(Self::Auto),
            Ok(count @ 1..=1024) => Ok(Self::Count(count)),
            _ => Err(format!("`{text}` is no number of shards; write `auto` or a number from 1 to 1024")),
        }
    }
}

/// A scalar as it is written, read as a `T` or with the sentence that says why it is none: so that
/// a wrong value becomes a problem with its own path and line, like every other.
#[derive(Debug, Clone)]
pub struct Written<T>(Result<T, String>);

impl<T> Written<T> {
    /// A value that nobody wrote: a default.
    #[must_use]
    pub const fn unwritten(value: T) -> Self {
        Self(Ok(value))
    }

    /// The value, or what is wrong with what is written.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn read(&self) -> Result<&T, &str> {
        self.0.as_ref().map_err(String::as_str)
    }
}

impl<T: Default> Default for Written<T> {
    fn default() -> Self {
        Self::unwritten(T::default())
    }
}

/// Text or a whole number, as YAML gives a scalar.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(u64),
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = match Scalar::deserialize(from)? {
            Scalar::Text(text) => text,
            Scalar::Number(number) => number.to_string(),
        };
        Ok(Self(text.parse().map_err(|error: T::Err| error.to_string())))
    }
}

impl<T> JsonSchema for Written<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("90s", 90_000)] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0, Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string(), text);
        }
        for bad in ["", "30", "s", "-1s", "1 s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_read_and_print() {
        for text in ["kafka:9092", "10.0.0.1:9092", "[::1]:9092", "a-b.example.com:1"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        for bad in ["", "kafka", "kafka:", "kafka:0", "kafka:70000", ":9092", "ka fka:1", "http://kafka:9092", "a..b:1"]
        {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
    }

    #[test]
    fn node_ids_read() {
        assert_eq!("0-9".parse::<NodeIds>().unwrap().0, 0..=9);
        assert_eq!("3".parse::<NodeIds>().unwrap().0, 3..=3);
        assert_eq!("0-9".parse::<NodeIds>().unwrap().count(), 10);
        for bad in ["", "9-0", "-1-3", "a-b", "1-"] {
            assert!(bad.parse::<NodeIds>().is_err(), "{bad}");
        }
    }
}
