//! What may be asked of evidence on the command line, the same for `audit tail` and `audit query`.

use std::ops::RangeInclusive;

use clap::ValueEnum;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tidegate_audit::query::Query;
use tidegate_core::event;

/// Which entries; every option given must be fulfilled, of one given several times any value.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which entries (all of what is given; of one given several times, any)")]
pub struct FilterArgs {
    /// This principal, by name
    #[arg(long, value_name = "NAME")]
    pub principal: Vec<String>,
    /// This session, by id
    #[arg(long, value_name = "ID")]
    pub session: Vec<String>,
    /// This kind of entry
    #[arg(long, value_enum, value_name = "KIND")]
    pub kind: Vec<Kind>,
    /// This Kafka API, for instance Fetch
    #[arg(long, value_name = "API")]
    pub api: Vec<String>,
    /// This outcome of the whole exchange
    #[arg(long, value_enum, value_name = "OUTCOME")]
    pub outcome: Vec<Outcome>,
    /// Touches this topic; a `*` at the end matches any rest
    #[arg(long, value_name = "TOPIC")]
    pub topic: Vec<String>,
    /// Touches this partition
    #[arg(long, value_name = "N")]
    pub partition: Option<i32>,
    /// Carries records with an offset in this range, for instance 4711 or 4000..5000 (both inclusive)
    #[arg(long, value_name = "N[..M]", value_parser = parse_offsets)]
    pub offset: Option<RangeInclusive<i64>>,
    /// This operation on a resource, for instance Read
    #[arg(long, value_name = "OPERATION")]
    pub operation: Vec<String>,
    /// Decided this way about a resource
    #[arg(long, value_enum, value_name = "DECISION")]
    pub decision: Option<Decision>,
    /// Allowed by this grant
    #[arg(long, value_name = "GRANT")]
    pub grant: Vec<String>,
    /// For this purpose
    #[arg(long, value_name = "PURPOSE")]
    pub purpose: Vec<String>,
    /// Data of this class was found, for instance email
    #[arg(long, value_name = "CLASS")]
    pub class: Vec<String>,
    /// Not earlier than this: 2026-11-24T08:00:00Z, 2026-11-24 (UTC), or how long ago, as 90m or 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<Timestamp>,
    /// Earlier than this
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<Timestamp>,
}

impl FilterArgs {
    /// What is asked.
    #[must_use]
    pub fn query(&self) -> Query {
        Query {
            principals: self.principal.clone(),
            sessions: self.session.clone(),
            kinds: self.kind.iter().map(|kind| kind.code()).collect(),
            apis: self.api.clone(),
            outcomes: self.outcome.iter().map(|outcome| outcome.code()).collect(),
            topics: self.topic.clone(),
            partition: self.partition,
            offsets: self.offset.clone(),
            operations: self.operation.clone(),
            grants: self.grant.clone(),
            purposes: self.purpose.clone(),
            allowed: self.decision.map(|decision| decision == Decision::Allow),
            classes: self.class.clone(),
            from_micros: self.since.map(Timestamp::as_microsecond),
            until_micros: self.until.map(Timestamp::as_microsecond),
        }
    }
}

/// Decisions about one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Decision {
    /// It was allowed.
    Allow,
    /// It was denied.
    Deny,
}

/// Outcomes to filter for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything was allowed.
    Allowed,
    /// Everything was denied.
    Denied,
    /// Some of it was denied.
    PartlyDenied,
    /// It could not be understood, or broke a limit.
    Malformed,
    /// The upstream failed.
    UpstreamFailed,
}

impl Outcome {
    const fn code(self) -> i32 {
        (match self {
            Self::Allowed => event::Outcome::Allowed,
            Self::Denied => event::Outcome::Denied,
            Self::PartlyDenied => event::Outcome::PartlyDenied,
            Self::Malformed => event::Outcome::Malformed,
            Self::UpstreamFailed => event::Outcome::UpstreamFailed,
        }) as i32
    }
}

/// Kinds of entries to filter for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// A request and its response.
    Exchange,
    /// Somebody authenticated.
    SessionStart,
    /// A session ended.
    SessionEnd,
    /// Authentication failed.
    AuthenticationFailure,
    /// A connection was refused or closed for what it sent.
    ConnectionRefused,
    /// The gateway started.
    Start,
    /// The gateway stopped.
    Stop,
    /// A policy was loaded.
    PolicyLoaded,
    /// A policy was refused.
    PolicyRefused,
    /// Evidence was lost or delayed.
    Gap,
    /// Certificates, keys or secrets were replaced or refused.
    Reconfigured,
    /// Something happened in the control log: asked, decided, used, revoked
    Control,
    /// The admin API was called, refused calls included
    AdminCall,
    /// The gateway made a token.
    TokenIssued,
    /// The gateway refused to make a token.
    TokenRefused,
    /// A token was revoked.
    TokenRevoked,
    /// Somebody agreed that a device is logged in.
    DeviceAgreed,
    /// The key that signs the evidence was replaced.
    EvidenceKey,
    /// Evidence was removed by retention, or a legal hold was set or lifted.
    Retention,
    /// An index of subjects was made.
    SubjectIndex,
    /// A recording of a session began, grew, ended, was cut, removed or watched.
    Recording,
}

impl Kind {
    const fn code(self) -> i32 {
        (match self {
            Self::Exchange => event::Kind::Exchange,
            Self::SessionStart => event::Kind::SessionStart,
            Self::SessionEnd => event::Kind::SessionEnd,
            Self::AuthenticationFailure => event::Kind::AuthenticationFailure,
            Self::ConnectionRefused => event::Kind::ConnectionRefused,
            Self::Start => event::Kind::Start,
            Self::Stop => event::Kind::Stop,
            Self::PolicyLoaded => event::Kind::PolicyLoaded,
            Self::PolicyRefused => event::Kind::PolicyRefused,
            Self::Gap => event::Kind::Gap,
            Self::Reconfigured => event::Kind::Reconfigured,
            Self::Control => event::Kind::Control,
            Self::AdminCall => event::Kind::AdminCall,
            Self::TokenIssued => event::Kind::TokenIssued,
            Self::TokenRefused => event::Kind::TokenRefused,
            Self::TokenRevoked => event::Kind::TokenRevoked,
            Self::DeviceAgreed => event::Kind::DeviceAgreed,
            Self::EvidenceKey => event::Kind::EvidenceKey,
            Self::Retention => event::Kind::Retention,
            Self::SubjectIndex => event::Kind::SubjectIndex,
            Self::Recording => event::Kind::Recording,
        }) as i32
    }
}

fn parse_offsets(text: &str) -> Result<RangeInclusive<i64>, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| text.parse::<i64>().map_err(|_| format!("{text:?} is no offset"));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("{first} is after {last}"));
    }
    Ok(first..=last)
}

/// A time, a day in UTC, or how long ago.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(day) = text.parse::<Date>() {
        return day.to_zoned_datetime(TimeZone::UTC).map(|day| day.timestamp()).map_err(|error| error.to_string());
    }
    match text.parse::<SignedDuration>() {
        Ok(ago) => Timestamp::now().checked_sub(ago).map_err(|error| error.to_string()),
        Err(_) => Err("neither a time (2026-11-24T08:00:00Z), a day (2026-11-24) nor how long ago (2h)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_times() {
        assert_eq!((parse_offsets("7"), parse_offsets("0..9")), (Ok(7..=7), Ok(0..=9)));
        for text in ["", "a", "9..1", "1...2", "..", "1.."] {
            assert!(parse_offsets(text).is_err(), "{text}");
        }
        let micros = |text: &str| parse_time(text).map(Timestamp::as_microsecond);
        assert_eq!(micros("2026-11-24T08:00:00Z"), micros("2026-11-24T09:00:00+01:00"));
        assert_eq!(micros("2026-11-24"), micros("2026-11-24T00:00:00Z"));
        let ago = Timestamp::now().as_microsecond() - micros("90m").unwrap();
        assert!((5_399_000_000..5_401_000_000).contains(&ago), "{ago}");
        assert!(parse_time("yesterday").is_err() && parse_time("").is_err());
    }

    /// Every kind and outcome that the evidence knows can be asked for.
    #[test]
    fn nothing_is_forgotten() {
        let kinds: Vec<i32> = Kind::value_variants().iter().map(|kind| kind.code()).collect();
        let known = |code: i32| event::Kind::try_from(code).is_ok();
        assert_eq!(kinds, (1..100).filter(|code| known(*code)).collect::<Vec<_>>());
        let outcomes: Vec<i32> = Outcome::value_variants().iter().map(|outcome| outcome.code()).collect();
        assert_eq!(outcomes, (1..100).filter(|code| event::Outcome::try_from(*code).is_ok()).collect::<Vec<_>>());
    }
}
