//! Groups of kinds that are left out of training together.

use std::fmt;
use std::str::FromStr;

use crate::synthesis::KindRates;

/// Kinds that resemble one another: a detector that knows one of them knows the others, so leaving
/// out a single one would test nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family(Vec<String>);

impl Family {
    /// The kinds that are drawn by default, in four groups: walkers that move otherwise, foreign figures, appearance, course of
    /// time.
    #[must_use]
    pub fn usual() -> Vec<Self> {
        let groups: [&[&str]; 4] = [
            &["fast", "skip", "cross"],
            &["bike", "cart", "scale"],
            &["texture", "flash"],
            &["shuffle", "fall", "throw"],
        ];
        groups.map(|kinds| Self(kinds.iter().map(|k| (*k).to_owned()).collect())).into()
    }

    /// Whether a kind belongs to it.
    #[must_use]
    pub fn has(&self, kind: &str) -> bool {
        self.0.iter().any(|own| own == kind)
    }

    /// The rates with this family's kinds at 0.
    #[must_use]
    pub fn out_of(&self, rates: &KindRates) -> KindRates {
        let mut left = rates.clone();
        for kind in &self.0 {
            if let Some(rate) = left.rate_mut(kind) {
                *rate = 0.0;
            }
        }
        left
    }

    /// The rates with all other kinds at 0 and its own at 1.
    #[must_use]
    pub fn alone(&self) -> KindRates {
        let mut rates = KindRates::default();
        for (kind, _) in KindRates::default().entries() {
            if let Some(rate) = rates.rate_mut(kind) {
                *rate = f64::from(u8::from(self.has(kind)));
            }
        }
        rates
    }
}

impl FromStr for Family {
    type Err = String;

    /// `fast,skip,cross`.
    fn from_str(text: &str) -> Result<Self, String> {
        let known = KindRates::default().entries().map(|(name, _)| name);
        let kinds: Vec<String> = text.split(',').map(|kind| kind.trim().to_owned()).collect();
        match kinds.iter().find(|kind| !known.contains(&kind.as_str())) {
            Some(kind) => Err(format!("no kind '{kind}'; kinds are {}", known.join(", "))),
            None => Ok(Self(kinds)),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("+"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_is_drawn_is_in_one_usual_family() {
        for (kind, rate) in KindRates::default().entries() {
            let families = Family::usual();
            let count = families.iter().filter(|family| family.has(kind)).count();
            assert_eq!(count, usize::from(rate > 0.0), "{kind}");
        }
    }

    #[test]
    fn rates_without_and_alone() {
        let family: Family = "bike, cart".parse().unwrap();
        let rates = KindRates { cart: 3.0, flash: 2.0, ..KindRates::default() };
        let left = family.out_of(&rates);
        assert_eq!((left.bike, left.cart, left.flash), (0.0, 0.0, 2.0));
        let alone = family.alone();
        assert_eq!((alone.bike, alone.cart), (1.0, 1.0));
        assert_eq!(alone.entries().iter().map(|(_, rate)| rate).sum::<f64>(), 2.0);
        assert_eq!(family.to_string(), "bike+cart");
        assert!("bike,car".parse::<Family>().unwrap_err().contains("'car'"));
    }
}
