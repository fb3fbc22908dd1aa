//! What a few noisy rounds allow to say: medians, and bootstrap intervals that know that rounds are
//! paired.
//!
//! Systems are measured in turns within one run, so whatever disturbed a round disturbed all of them.
//! A ratio is therefore taken within a round, its median over the rounds, and the interval comes from
//! drawing whole rounds anew (percentile bootstrap, 95 %). Where the interval covers "equal", the
//! verdict is that no difference was seen, whatever the median looks like.

use std::fmt;

/// How often rounds are drawn anew.
const DRAWS: usize = 4_000;
/// What the interval leaves out on either side.
const TAIL: f64 = 0.025;
/// The draws of a bootstrap are a fixed sequence, so that the same rounds give the same interval.
const SEED: u64 = 0x7469_6465;

/// A figure with what the rounds allow to say about it.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// The median of the rounds.
    pub median: f64,
    /// The lower end of the 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How many rounds it rests on.
    pub rounds: usize,
}

/// What an interval says about a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval covers equality.
    NoDifferenceSeen,
    /// All of it lies above.
    More,
    /// All of it lies below.
    Less,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDifferenceSeen => "no difference seen",
            Self::More => "more",
            Self::Less => "less",
        })
    }
}

impl Estimate {
    /// The median of `values`, a value a round, and its interval. `None` without values, or where one
    /// is not a number.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        Self::bootstrap(values.len(), |drawn| median(drawn.iter().filter_map(|&at| values.get(at).copied())))
    }

    /// The median over the rounds of `numerator / denominator`, each a value a round, in the same
    /// order. `None` where a round lacks either, or where a denominator is not above 0.
    #[must_use]
    pub fn of_ratio(numerator: &[f64], denominator: &[f64]) -> Option<Self> {
        if numerator.len() != denominator.len() || denominator.iter().any(|&value| value.is_nan() || value <= 0.0) {
            return None;
        }
        let ratios: Vec<f64> = numerator.iter().zip(denominator).map(|(above, below)| above / below).collect();
        Self::of(&ratios)
    }

    /// The median over the rounds of `minuend - subtrahend`.
    #[must_use]
    pub fn of_difference(minuend: &[f64], subtrahend: &[f64]) -> Option<Self> {
        if minuend.len() != subtrahend.len() {
            return None;
        }
        let differences: Vec<f64> = minuend.iter().zip(subtrahend).map(|(whole, part)| whole - part).collect();
        Self::of(&differences)
    }

    /// The ratio of the medians of two differences, for instance of what two proxies add to the
    /// latency without any. The ratio is taken of medians and not within a round, since a round in
    /// which little was added would outweigh all others. `None` where nothing was added below.
    #[must_use]
    pub fn of_added_ratio(above: &[f64], below: &[f64], base: &[f64]) -> Option<Self> {
        if above.len() != base.len() || below.len() != base.len() {
            return None;
        }
        let added = |drawn: &[usize], values: &[f64]| {
            median(drawn.iter().filter_map(|&at| Some(values.get(at)? - base.get(at)?)))
        };
        Self::bootstrap(base.len(), |drawn| {
            let below = added(drawn, below)?;
            (below > 0.0).then_some(added(drawn, above)? / below)
        })
    }

    /// `statistic` of all rounds, and its spread when `rounds` rounds are drawn anew with repetition.
    fn bootstrap(rounds: usize, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<Self> {
        if rounds == 0 {
            return None;
        }
        let mut drawn: Vec<usize> = (0..rounds).collect();
        let seen = statistic(&drawn).filter(|value| value.is_finite())?;
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut spread = Vec::with_capacity(DRAWS);
        for _ in 0..DRAWS {
            drawn.iter_mut().for_each(|at| *at = random.usize(..rounds));
            spread.extend(statistic(&drawn).filter(|value| value.is_finite()));
        }
        let low = quantile(&mut spread, TAIL)?;
        let high = quantile(&mut spread, 1.0 - TAIL)?;
        Some(Self { median: seen, low, high, rounds })
    }

    /// What the interval says where `equal` means no difference: 1 for a ratio, 0 for a difference.
    #[must_use]
    pub fn verdict(&self, equal: f64) -> Verdict {
        if self.low > equal {
            Verdict::More
        } else if self.high < equal {
            Verdict::Less
        } else {
            Verdict::NoDifferenceSeen
        }
    }
}

/// The median; `None` without values or where one is not a number.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    quantile(&mut values.into_iter().collect::<Vec<_>>(), 0.5)
}

/// The value below which the part `q` of the values lies, interpolated. Sorts the values.
fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let place = q * values.len().checked_sub(1)? as f64;
    let below = *values.get(place.floor() as usize)?;
    let above = *values.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds with a common disturbance that is larger than the difference between the systems.
    fn rounds(factor: f64, noise: f64) -> (Vec<f64>, Vec<f64>) {
        let mut random = fastrand::Rng::with_seed(7);
        (0..9)
            .map(|round| {
                let disturbance = 1.0 + 0.5 * f64::from(round % 3);
                let mut noisy = |value: f64| value * (1.0 + noise * (random.f64() - 0.5));
                (noisy(factor * disturbance), noisy(disturbance))
            })
            .unzip()
    }

    #[test]
    fn a_difference_smaller_than_the_disturbance_is_seen_within_rounds() {
        let (above, below) = rounds(1.2, 0.04);
        let ratio = Estimate::of_ratio(&above, &below).unwrap();
        assert!((ratio.median - 1.2).abs() < 0.05, "{ratio:?}");
        assert!(ratio.low > 1.1 && ratio.high < 1.3, "{ratio:?}");
        assert_eq!(ratio.verdict(1.0), Verdict::More);
        let inverse = Estimate::of_ratio(&below, &above).unwrap();
        assert_eq!(inverse.verdict(1.0), Verdict::Less);
    }

    #[test]
    fn equal_systems_show_no_difference() {
        let (above, below) = rounds(1.0, 0.3);
        let ratio = Estimate::of_ratio(&above, &below).unwrap();
        assert_eq!(ratio.verdict(1.0), Verdict::NoDifferenceSeen, "{ratio:?}");
        assert_eq!(ratio.verdict(1.0).to_string(), "no difference seen");
    }

    #[test]
    fn what_is_added_is_compared_over_the_base() {
        let base = [100.0, 140.0, 90.0, 100.0, 120.0];
        let relay: Vec<f64> = base.iter().map(|value| value + 20.0).collect();
        let gateway: Vec<f64> = base.iter().map(|value| value + 30.0).collect();
        let ratio = Estimate::of_added_ratio(&gateway, &relay, &base).unwrap();
        assert!((ratio.median - 1.5).abs() < 1e-9 && (ratio.high - ratio.low).abs() < 1e-9, "{ratio:?}");
        // A base that is as slow leaves nothing to divide by.
        assert_eq!(Estimate::of_added_ratio(&gateway, &base, &base), None);
    }

    #[test]
    fn what_cannot_be_said_is_not_said() {
        assert_eq!(Estimate::of(&[]), None);
        assert_eq!(Estimate::of(&[1.0, f64::NAN]), None);
        assert_eq!(Estimate::of_ratio(&[1.0, 2.0], &[1.0, 0.0]), None);
        assert_eq!(Estimate::of_ratio(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(Estimate::of_difference(&[1.0], &[]), None);
        assert_eq!(median([3.0, 1.0, 2.0, 10.0]), Some(2.5));
    }

    #[test]
    fn the_same_rounds_give_the_same_interval() {
        let values = [1.0, 5.0, 2.0, 8.0, 3.0];
        assert_eq!(Estimate::of(&values), Estimate::of(&values));
    }
}
