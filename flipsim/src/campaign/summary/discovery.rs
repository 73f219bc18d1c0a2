//! Whether a row of a long table is different from the rest, or only the most striking of many.
//!
//! Invariant: every row of a table is tested, also those that are not shown; nothing is tested where a table's key follows
//! from the outcome.

use serde::Serialize;

use crate::stats::Observed;
use crate::stats::compare::fisher;
use crate::stats::multiple::false_discovery;

/// Whether a row's rate of failures is that of the other trials of its stratum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Discovery {
    /// Fisher's exact test of the row's trials against all others.
    pub p: f64,
    /// The false discovery rate among the table's rows at which this one is a discovery (Benjamini and Hochberg).
    pub q: f64,
}

impl Discovery {
    /// The false discovery rate as people read it.
    #[must_use]
    pub fn q_text(&self) -> String {
        if self.q < 1e-4 { "< 0.0001".to_owned() } else { format!("{:.4}", self.q) }
    }
}

/// One for each row of (failures, trials); `None` where there is nothing to compare a row with.
pub(super) fn discoveries(rows: &[(u64, u64)]) -> Vec<Option<Discovery>> {
    let (failures, trials) = rows.iter().fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
    let p = rows.iter().map(|(hits, of)| {
        let own = Observed::new(*hits, *of).ok()?;
        let rest = Observed::new(failures - hits, trials - of).ok()?;
        Some(fisher(own, rest))
    });
    let p: Vec<Option<f64>> = p.collect();
    let tested: Vec<f64> = p.iter().flatten().copied().collect();
    let mut rates = false_discovery(&tested).into_iter();
    p.into_iter().map(|p| Some(Discovery { p: p?, q: rates.next()? })).collect()
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::fault::fault_rng;

    /// scipy 1.17.1: `p = [fisher_exact([[k, n - k], [K - k, N - n - K + k]])[1] for k, n in rows]` with K = 40 and N = 1000, and
    /// `false_discovery_control(p)`.
    #[test]
    fn rows_are_tested_against_the_rest() {
        let found = discoveries(&[(12, 60), (3, 100), (5, 240), (20, 600)]);
        let expected = [
            (1.094_708_006_548_065_4e-6, 4.378_832_026_192_261_5e-6),
            (0.789_874_793_350_551, 0.789_874_793_350_551),
            (0.090_424_941_686_742_23, 0.180_849_883_373_484_46),
            (0.191_917_662_564_012_6, 0.255_890_216_752_016_8),
        ];
        for (found, (p, q)) in found.into_iter().zip(expected) {
            let found = found.unwrap();
            assert!((found.p / p - 1.0).abs() < 1e-6 && (found.q / q - 1.0).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn a_row_that_is_all_there_is_has_nothing_to_be_compared_with() {
        assert_eq!(discoveries(&[(3, 100)]), [None]);
        assert!(discoveries(&[]).is_empty());
    }

    #[test]
    fn the_most_striking_of_many_equal_rows_is_no_discovery() {
        let mut rng = fault_rng(1995, 0);
        let (mut striking, mut discovered, tables) = (0, 0, 200);
        for _ in 0..tables {
            let rows: Vec<(u64, u64)> =
                (0..60).map(|_| ((0..40).map(|_| u64::from(rng.random::<f64>() < 0.2)).sum(), 40)).collect();
            let found = discoveries(&rows);
            striking += u32::from(found.iter().flatten().any(|row| row.p <= 0.05));
            discovered += u32::from(found.iter().flatten().any(|row| row.q <= 0.05));
        }
        assert!(striking > tables * 8 / 10 && discovered <= tables / 20, "{striking} {discovered}");
    }
}
