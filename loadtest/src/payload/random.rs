//! SplitMix64: small, fast enough, and the same for all time, which a library's generator does not
//! promise. (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014.)

/// A stream of numbers that its seed determines.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number under `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias is under 2⁻³² for the bounds used here.
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }

    /// One of `choices`.
    pub fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        let index = self.below(choices.len() as u64) as usize;
        choices.get(index).copied().unwrap_or_default()
    }

    /// `count` decimal digits.
    pub fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }

    /// A waiting time of a Poisson process with `rate` events a second, in seconds.
    pub fn exponential(&mut self, rate: f64) -> f64 {
        // In (0, 1], so that the logarithm is finite.
        let unit = ((self.number() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        -unit.ln() / rate
    }
}
