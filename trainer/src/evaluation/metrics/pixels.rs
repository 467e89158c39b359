//! Where it happens: score maps against pixel masks.

use super::ranking::{TieCounts, area};

/// Share of an abnormal frame's abnormal pixels that must be found for the frame to count as found:
/// the pixel-level criterion of Mahadevan, Li, Bhalodia, Vasconcelos, "Anomaly Detection in Crowded
/// Scenes" (CVPR 2010), and Li, Mahadevan, Vasconcelos (PAMI 2014).
pub const LOCALISED_SHARE: f64 = 0.4;

/// Distinct scores that a [`PixelRanking`] holds at most: 8 Mi of 24 bytes are 192 MiB.
const LIMIT: usize = 8 << 20;

/// The score at which a frame turns positive under the pixel-level criterion. A cell is its score
/// and its numbers of abnormal and normal pixels.
///
/// - A frame with abnormal pixels: the highest threshold at which the cells that reach it hold at
///   least [`LOCALISED_SHARE`] of them.
/// - A frame without: its highest score, because a single pixel found is a false alarm.
///
/// The ROC AUC of these scores is the AUC of the criterion. `None` without cells.
///
/// # Panics
/// If a score is NaN.
pub fn localisation_score(cells: &mut [(f32, u32, u32)]) -> Option<f64> {
    assert!(cells.iter().all(|cell| !cell.0.is_nan()), "scores are numbers");
    let abnormal: u64 = cells.iter().map(|cell| u64::from(cell.1)).sum();
    if abnormal == 0 {
        return cells.iter().map(|cell| f64::from(cell.0)).reduce(f64::max);
    }
    let wanted = (LOCALISED_SHARE * abnormal as f64).ceil() as u64;
    cells.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let mut found = 0;
    cells.iter().find_map(|cell| {
        found += u64::from(cell.1);
        (found >= wanted).then_some(f64::from(cell.0))
    })
}

/// ROC AUC over pixels, collected cell by cell in bounded memory.
///
/// Every pixel has the score of the cell that it lies in, so a cell stands for all its pixels and
/// the area is exact. Beyond 8 Mi distinct scores the lowest bits of the scores are dropped, as many
/// as it takes, and [`PixelRanking::auc`] says how far the area may be off.
#[derive(Debug, Clone)]
pub struct PixelRanking {
    /// Ordered keys of scores with numbers of abnormal and normal pixels.
    entries: Vec<(u32, u64, u64)>,
    /// Lowest bits that were dropped from keys.
    dropped: u32,
    limit: usize,
}

impl Default for PixelRanking {
    fn default() -> Self {
        Self::with_limit(LIMIT)
    }
}

impl PixelRanking {
    fn with_limit(limit: usize) -> Self {
        Self { entries: Vec::new(), dropped: 0, limit }
    }

    /// Adds a cell's pixels.
    ///
    /// # Panics
    /// If the score is NaN.
    pub fn add(&mut self, score: f32, abnormal: u32, normal: u32) {
        assert!(!score.is_nan(), "scores are numbers");
        if abnormal == 0 && normal == 0 {
            return;
        }
        if self.entries.len() >= self.limit {
            self.merge();
            // Half must be free, or the next merge would be soon.
            while self.entries.len() > self.limit / 2 && self.dropped < 32 {
                self.dropped += 1;
                self.merge();
            }
        }
        self.entries.push((key(score), abnormal.into(), normal.into()));
    }

    /// The area under the ROC curve and how far it may be off, 0 if it is exact; `None` unless both
    /// classes occur.
    pub fn auc(mut self) -> Option<(f64, f64)> {
        self.merge();
        let ties: Vec<TieCounts> = self
            .entries
            .iter()
            .map(|&(_, abnormal, normal)| TieCounts {
                abnormal: abnormal as f64,
                normal: normal as f64,
            })
            .collect();
        let auc = area(&ties)?;
        if self.dropped == 0 {
            return Some((auc, 0.0));
        }
        let (abnormal, normal) =
            ties.iter().fold((0.0, 0.0), |(a, n), t| (a + t.abnormal, n + t.normal));
        // Pairs in one entry are counted half; each of them may be right or wrong.
        let pairs: f64 = ties.iter().map(|t| t.abnormal * t.normal).sum();
        Some((auc, pairs / 2.0 / (abnormal * normal)))
    }

    /// Sorts the entries and joins those of one key.
    fn merge(&mut self) {
        let kept = u32::MAX.checked_shl(self.dropped).unwrap_or(0);
        for entry in &mut self.entries {
            entry.0 &= kept;
        }
        self.entries.sort_unstable_by_key(|entry| entry.0);
        self.entries.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
                kept.2 += next.2;
            }
            same
        });
    }
}

/// An integer that sorts as the score does.
fn key(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits(); // −0 becomes 0
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::metrics::roc_auc;

    #[test]
    fn keys_sort_as_scores_do() {
        let scores = [f32::NEG_INFINITY, -2.5, -1e-30, 0.0, 1e-30, 1.0, 2.5, f32::INFINITY];
        assert!(scores.windows(2).all(|w| key(w[0]) < key(w[1])));
        assert_eq!(key(-0.0), key(0.0));
    }

    #[test]
    fn an_abnormal_frame_needs_two_fifths_of_its_pixels() {
        // Ten abnormal pixels: 3 at score 9, 1 at score 5, 6 at score 1.
        let mut cells = [(5.0, 1, 7), (9.0, 3, 0), (1.0, 6, 2), (20.0, 0, 8)];
        assert_eq!(localisation_score(&mut cells), Some(5.0));
        // Four at score 9 are enough.
        let mut cells = [(9.0, 4, 0), (1.0, 6, 2)];
        assert_eq!(localisation_score(&mut cells), Some(9.0));
        // One abnormal pixel: it must be found.
        assert_eq!(localisation_score(&mut [(9.0, 0, 4), (-3.0, 1, 3)]), Some(-3.0));
    }

    #[test]
    fn a_normal_frame_alarms_with_its_hottest_cell() {
        assert_eq!(localisation_score(&mut [(0.5, 0, 4), (2.0, 0, 1)]), Some(2.0));
        assert_eq!(localisation_score(&mut []), None);
    }

    #[test]
    fn a_cell_stands_for_its_pixels() {
        let cells = [(0.3, 2, 1), (0.7, 0, 3), (-1.0, 1, 2), (0.3, 1, 0), (0.0, 0, 0)];
        let mut ranking = PixelRanking::default();
        let (mut scores, mut labels) = (Vec::new(), Vec::new());
        for (score, abnormal, normal) in cells {
            ranking.add(score, abnormal, normal);
            for label in std::iter::repeat_n(true, abnormal as usize)
                .chain(std::iter::repeat_n(false, normal as usize))
            {
                scores.push(f64::from(score));
                labels.push(label);
            }
        }
        assert_eq!(ranking.auc(), roc_auc(&scores, &labels).map(|auc| (auc, 0.0)));
    }

    #[test]
    fn one_class_alone_has_no_area() {
        assert_eq!(PixelRanking::default().auc(), None);
        let mut ranking = PixelRanking::default();
        ranking.add(1.0, 0, 5);
        assert_eq!(ranking.auc(), None);
    }

    #[test]
    fn too_many_scores_are_coarsened_and_the_error_is_known() {
        let mut exact = PixelRanking::default();
        let mut small = PixelRanking::with_limit(256);
        for i in 0..20_000u32 {
            let abnormal = i % 7 == 0;
            let score = (i * 7919 % 20_011) as f32 / 5000.0 + if abnormal { 0.8 } else { 0.0 };
            for ranking in [&mut exact, &mut small] {
                ranking.add(score, abnormal.into(), (!abnormal).into());
            }
            assert!(small.entries.len() <= 256);
        }
        let ((exact, none), (coarse, error)) = (exact.auc().unwrap(), small.auc().unwrap());
        assert_eq!(none, 0.0);
        assert!(error > 0.0 && error < 0.02, "{error}");
        assert!((exact - coarse).abs() <= error, "{exact} {coarse} {error}");
    }
}
