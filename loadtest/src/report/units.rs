//! Numbers for people: three figures, a unit, an interval.

use crate::statistics::Estimate;

/// Three significant figures.
#[must_use]
pub fn figures(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 || value == 0.0 {
        grouped(value)
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else if magnitude >= 0.01 {
        format!("{value:.2}")
    } else {
        format!("{value:.2e}")
    }
}

/// Thousands set apart.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 { format!("-{text}") } else { text }
}

/// The median and its interval, scaled.
#[must_use]
pub fn estimate(estimate: &Estimate, scale: f64) -> String {
    let Estimate { median, low, high, .. } = estimate;
    format!("{} ({}–{})", figures(median * scale), figures(low * scale), figures(high * scale))
}

/// A ratio and its interval.
#[must_use]
pub fn ratio(estimate: &Estimate) -> String {
    let Estimate { median, low, high, .. } = estimate;
    format!("{median:.2}× ({low:.2}–{high:.2})")
}

/// Bytes in binary units.
#[must_use]
pub fn bytes(count: u64) -> String {
    let count = count as f64;
    if count >= f64::from(1 << 30) {
        format!("{} GiB", figures(count / f64::from(1 << 30)))
    } else if count >= f64::from(1 << 20) {
        format!("{} MiB", figures(count / f64::from(1 << 20)))
    } else if count >= 1024.0 {
        format!("{} KiB", figures(count / 1024.0))
    } else {
        format!("{count} B")
    }
}

/// A time span in the unit that fits.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    if seconds >= 7200.0 {
        format!("{} h", figures(seconds / 3600.0))
    } else if seconds >= 120.0 {
        format!("{} min", figures(seconds / 60.0))
    } else if seconds >= 1.0 {
        format!("{} s", figures(seconds))
    } else if seconds >= 1e-3 {
        format!("{} ms", figures(seconds * 1e3))
    } else {
        format!("{} µs", figures(seconds * 1e6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_figures_and_a_unit() {
        for (value, text) in [
            (0.0, "0"),
            (0.456, "0.46"),
            (12.34, "12.3"),
            (1234.6, "1,235"),
            (-1_234_567.0, "-1,234,567"),
            (0.0012, "1.20e-3"),
        ] {
            assert_eq!(figures(value), text);
        }
        for (count, text) in [(12, "12 B"), (24 * 1024, "24.0 KiB"), (300 << 20, "300 MiB"), (3 << 30, "3.00 GiB")] {
            assert_eq!(bytes(count), text);
        }
        for (span, text) in
            [(0.000_05, "50.0 µs"), (0.25, "250 ms"), (90.0, "90.0 s"), (600.0, "10.0 min"), (9000.0, "2.50 h")]
        {
            assert_eq!(seconds(span), text);
        }
    }
}
