//! How tall a person is at each place of the picture.

use super::tubes::weighted_median;

/// A figure: row of the feet, height, and what it counts.
pub(super) type Seen = (f32, f32, f32);

/// Heights within this factor of what the place says agree with it.
const AGREES: f32 = 1.2;
/// Heights beyond this factor are no whole person's: a piece of one, or several.
const CONTRADICTS: f32 = 1.5;
/// A slope must explain this much more than one height for all places.
const WORTH: f32 = 1.1;
/// Figures that a slope is found from at least.
const FEWEST: usize = 8;

/// Height of a person in pixels whose feet are at a row, `a + b · row`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Perspective {
    at_top: f32,
    slope: f32,
}

impl Perspective {
    /// The line that most of what was seen agrees with, each figure by what it counts: people nearer to the
    /// camera are lower in the picture and taller. One height for all where that says as much. `None` of
    /// nothing.
    pub fn of(seen: &[Seen]) -> Option<Self> {
        let usual = weighted_median(seen.iter().map(|s| (s.1, s.2)).collect())?;
        let mut best = Self { at_top: usual, slope: 0.0 };
        let mut most = WORTH * best.support(seen);
        if seen.len() >= FEWEST {
            for (i, a) in seen.iter().enumerate() {
                for b in &seen[i + 1..] {
                    let slope = (b.1 - a.1) / (b.0 - a.0);
                    // Steeper than a line to a horizon at the feet there is none.
                    if (b.0 - a.0).abs() < 0.3 * usual || !(0.0..=4.0).contains(&slope) {
                        continue;
                    }
                    let line = Self { at_top: a.1 - slope * a.0, slope };
                    let support = line.support(seen);
                    if support > most {
                        (best, most) = (line, support);
                    }
                }
            }
        }
        Some(best.refined(seen))
    }

    /// Height in pixels at a row of the feet.
    pub fn at(&self, row: f32) -> f32 {
        (self.at_top + self.slope * row).max(1.0)
    }

    /// Whether somebody `height` pixels high with the feet at `row` can be one whole person.
    pub fn admits(&self, row: f32, height: f32) -> bool {
        let ratio = height / self.at(row);
        (1.0 / CONTRADICTS..=CONTRADICTS).contains(&ratio)
    }

    fn agrees(&self, seen: &Seen) -> bool {
        let ratio = seen.1 / self.at(seen.0);
        (1.0 / AGREES..=AGREES).contains(&ratio)
    }

    fn support(&self, seen: &[Seen]) -> f32 {
        seen.iter().filter(|s| self.agrees(s)).map(|s| s.2).sum()
    }

    /// Least squares over what agrees with it.
    fn refined(self, seen: &[Seen]) -> Self {
        let agreeing: Vec<&Seen> = seen.iter().filter(|s| self.agrees(s)).collect();
        let weight: f32 = agreeing.iter().map(|s| s.2).sum();
        if weight <= 0.0 {
            return self;
        }
        let mean = |f: fn(&Seen) -> f32| agreeing.iter().map(|s| s.2 * f(s)).sum::<f32>() / weight;
        let (row, height) = (mean(|s| s.0), mean(|s| s.1));
        if self.slope == 0.0 {
            return Self { at_top: height, slope: 0.0 };
        }
        let moment = |f: &dyn Fn(&Seen) -> f32| agreeing.iter().map(|s| s.2 * f(s)).sum::<f32>();
        let across = moment(&|s| (s.0 - row).powi(2));
        let slope = moment(&|s| (s.0 - row) * (s.1 - height)) / across.max(1e-6);
        if slope <= 0.0 { self } else { Self { at_top: height - slope * row, slope } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearer_people_are_taller_and_pieces_do_not_count() {
        // A corridor: 20 pixels at row 40, 80 at row 160; and limbs of somebody near.
        let mut seen: Vec<Seen> =
            (0..20).map(|i| (40.0 + 6.0 * i as f32, 20.0 + 3.0 * i as f32, 10.0)).collect();
        seen.extend((0..15).map(|i| (140.0 + i as f32, 15.0, 2.0)));
        let line = Perspective::of(&seen).unwrap();
        assert!(
            (line.at(40.0) - 20.0).abs() < 1.5 && (line.at(160.0) - 80.0).abs() < 2.0,
            "{line:?}"
        );
        assert!(!line.admits(150.0, 15.0) && line.admits(100.0, 45.0));
    }

    #[test]
    fn seen_from_above_everybody_is_as_tall() {
        let seen: Vec<Seen> =
            (0..30).map(|i| (i as f32 * 7.0 % 200.0, 30.0 + (i % 5) as f32, 1.0)).collect();
        let line = Perspective::of(&seen).unwrap();
        assert_eq!(line.slope, 0.0);
        assert!((line.at(10.0) - 32.0).abs() < 1.0);
        assert_eq!(Perspective::of(&[]), None);
    }
}
