//! What a value of Avro becomes, in its own type.
//!
//! | type | a field that is masked |
//! |---|---|
//! | string, bytes | the operator's text |
//! | int, long | as a number of JSON: another number of as many digits, or 0; 0 where it does not fit |
//! | dates and times | 0; `generalise` of a date of birth its year's first day |
//! | float, double, decimal | 0, or the number that `replace` gives |
//! | boolean | false |
//! | enum | the symbol that `replace` gives, else the schema's default, else the first |
//! | fixed | as many bytes, overwritten |
//!
//! `nullify` makes it null where its union has that, else empty or 0.

use std::borrow::Cow;

use jiff::civil::Date;
use tidegate_core::words::DataClass;

use super::super::operate::operate;
use super::super::pass::Place;
use super::super::schema::avro::{Avro, Logical, Type};
use super::super::{Class, MaskPlan, Operator, value};
use super::Format;
use super::avro::{self, Kind, Scalar, write_long};
use super::splice::{Container, Edits, Leaf};

impl Format for Avro {
    type Kind = Kind;

    fn is_text(kind: Kind) -> bool {
        matches!(kind.of, Scalar::String | Scalar::Bytes)
    }

    fn text_of<'c>(leaf: &Leaf<Kind>, content: &'c [u8]) -> Cow<'c, [u8]> {
        text_of(leaf, content)
    }

    fn replace(&self, leaf: &Leaf<Kind>, by: (Class<'_>, &Operator), message: &[u8], edits: &mut Edits) {
        replace(self, leaf, by, message, edits);
    }

    fn replace_within(&self, leaf: &Leaf<Kind>, plan: &MaskPlan, places: &[Place], message: &[u8], edits: &mut Edits) {
        replace_within(self, leaf, plan, places, message, edits);
    }

    fn head(container: &Container, length: u64, out: &mut Vec<u8>) {
        avro::head(container, length, out);
    }

    fn shown(&self, leaf: &Leaf<Kind>, content: &[u8]) -> String {
        match leaf.kind.of {
            Scalar::String | Scalar::Bytes => String::from_utf8_lossy(content).into_owned(),
            Scalar::Int(Logical::Time(1)) => day(read_long(content)),
            Scalar::Int(_) | Scalar::Long(_) => read_long(content).to_string(),
            Scalar::Boolean => (content != [0]).to_string(),
            Scalar::Float => content.try_into().map_or_else(|_| String::new(), |b| f32::from_le_bytes(b).to_string()),
            Scalar::Double => content.try_into().map_or_else(|_| String::new(), |b| f64::from_le_bytes(b).to_string()),
            Scalar::Fixed | Scalar::Decimal | Scalar::DecimalFixed => {
                content.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
            }
            Scalar::Enum(of) => match self.get(of) {
                Some(Type::Enum { symbols, .. }) => {
                    let symbol = usize::try_from(read_long(content)).ok().and_then(|index| symbols.get(index));
                    symbol.map(ToString::to_string).unwrap_or_default()
                }
                _ => String::new(),
            },
        }
    }
}

/// A day since 1970, for people.
fn day(days: i64) -> String {
    let span = jiff::Span::new().try_days(days).ok();
    let date = span.and_then(|span| Date::constant(1970, 1, 1).checked_add(span).ok());
    date.map_or_else(|| days.to_string(), |date| date.to_string())
}

/// A value as text, for the tag of whom it is about; empty where it has none.
fn text_of<'c>(leaf: &Leaf<Kind>, content: &'c [u8]) -> Cow<'c, [u8]> {
    match leaf.kind.of {
        Scalar::String | Scalar::Bytes | Scalar::Fixed => Cow::Borrowed(content),
        Scalar::Int(_) | Scalar::Long(_) => Cow::Owned(read_long(content).to_string().into_bytes()),
        _ => Cow::Borrowed(&[]),
    }
}

/// A value's field is masked.
fn replace(
    schema: &Avro,
    leaf: &Leaf<Kind>,
    (class, operator): (Class<'_>, &Operator),
    message: &[u8],
    edits: &mut Edits,
) {
    if *operator == Operator::Nullify && null(leaf, edits) {
        return;
    }
    let content = &message[leaf.content.clone()];
    edits.replace(leaf.whole.clone(), leaf.container, |out| match leaf.kind.of {
        Scalar::String | Scalar::Bytes => {
            let mut text = Vec::new();
            value::text(class, operator, content, &mut text);
            sized(&text, out);
        }
        Scalar::Fixed => value::binary(class, operator, content, out),
        Scalar::Decimal => sized(&[0], out),
        Scalar::DecimalFixed => out.extend(content.iter().map(|_| 0)),
        Scalar::Boolean => out.push(0),
        Scalar::Int(logical) | Scalar::Long(logical) => {
            let number = number(class, operator, logical, read_long(content));
            let fits = matches!(leaf.kind.of, Scalar::Long(_)) || i32::try_from(number).is_ok();
            write_long(if fits { number } else { 0 }, out);
        }
        Scalar::Float => out.extend_from_slice(&(real(operator) as f32).to_le_bytes()),
        Scalar::Double => out.extend_from_slice(&real(operator).to_le_bytes()),
        Scalar::Enum(of) => write_long(symbol(schema, of, operator), out),
    });
}

/// Something in a value is masked.
fn replace_within(
    schema: &Avro,
    leaf: &Leaf<Kind>,
    plan: &MaskPlan,
    places: &[Place],
    message: &[u8],
    edits: &mut Edits,
) {
    let content = &message[leaf.content.clone()];
    let deciding = |place: &Place| plan.deciding(place.slot).filter(|entry| entry.masks());
    match leaf.kind.of {
        Scalar::String | Scalar::Bytes => {
            if let [place] = places
                && place.span == (0..content.len())
                && deciding(place).is_some_and(|entry| entry.operator == Operator::Nullify)
                && null(leaf, edits)
            {
                return;
            }
            if let Some(text) = operate(content, places, plan) {
                edits.replace(leaf.whole.clone(), leaf.container, |out| sized(&text, out));
            }
        }
        Scalar::Fixed => {
            for (place, entry) in places.iter().filter_map(|place| Some((place, deciding(place)?))) {
                let span = leaf.content.start + place.span.start..leaf.content.start + place.span.end;
                edits.replace(span, leaf.container, |out| {
                    value::binary(entry.class(), &entry.operator, &content[place.span.clone()], out);
                });
            }
        }
        // A number is a finding as a whole.
        _ => {
            if let Some(entry) = places.iter().find_map(deciding) {
                replace(schema, leaf, (entry.class(), &entry.operator), message, edits);
            }
        }
    }
}

/// Makes a value null, where its union allows it.
fn null(leaf: &Leaf<Kind>, edits: &mut Edits) -> bool {
    let Some((start, branch)) = leaf.kind.null else { return false };
    edits.replace(start..leaf.whole.end, leaf.container, |out| write_long(branch as i64, out));
    true
}

fn sized(bytes: &[u8], out: &mut Vec<u8>) {
    write_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// The number that an encoded int or long is; the walk has read it before.
fn read_long(bytes: &[u8]) -> i64 {
    let value = bytes.iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn number(class: Class<'_>, operator: &Operator, logical: Logical, found: i64) -> i64 {
    match (logical, operator) {
        (Logical::None, _) => {
            let mut text = Vec::new();
            value::number_field(class, operator, found.to_string().as_bytes(), &mut text);
            std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
        }
        (_, Operator::Replace(text)) => text.parse().unwrap_or(0),
        (Logical::Time(a_day), Operator::Generalise) if class == Class::Known(DataClass::DateOfBirth) => {
            year_begins(found.div_euclid(a_day)).and_then(|day| day.checked_mul(a_day)).unwrap_or(0)
        }
        _ => 0,
    }
}

/// The day on which the year of a day begins; both since 1970.
fn year_begins(day: i64) -> Option<i64> {
    let epoch = Date::constant(1970, 1, 1);
    let date = epoch.checked_add(jiff::Span::new().try_days(day).ok()?).ok()?;
    let first = Date::new(date.year(), 1, 1).ok()?;
    Some(i64::from(epoch.until(first).ok()?.get_days()))
}

pub(super) fn real(operator: &Operator) -> f64 {
    match operator {
        Operator::Replace(text) => text.parse().ok().filter(|number: &f64| number.is_finite()).unwrap_or(0.0),
        _ => 0.0,
    }
}

fn symbol(schema: &Avro, of: u32, operator: &Operator) -> i64 {
    let Some(Type::Enum { symbols, default }) = schema.get(of) else { return 0 };
    let wanted = match operator {
        Operator::Replace(text) => symbols.iter().position(|symbol| **symbol == **text),
        _ => None,
    };
    wanted.unwrap_or(*default) as i64
}
