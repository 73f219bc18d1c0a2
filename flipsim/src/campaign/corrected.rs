//! Which trials the guest has corrected: it counted more than in the golden run, and nothing is wrong with its output.
//!
//! Invariant: *corrected* is a mark on masked and latent trials, no outcome: it is in no sum of outcomes.

use std::collections::BTreeMap;

use crate::trial::Outcome;

/// Whether a trial with these counts is corrected: one of them is above the golden run's.
#[must_use]
pub fn is_corrected(
    outcome: Option<Outcome>,
    counts: &BTreeMap<String, u64>,
    golden: &BTreeMap<String, u64>,
) -> bool {
    let right = matches!(outcome, Some(Outcome::Masked | Outcome::Latent));
    right && counts.iter().any(|(name, count)| *count > golden.get(name).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrected_is_right_and_counted_more_than_the_golden_run() {
        let of = |count: u64| BTreeMap::from([("fixed".to_owned(), 1), ("corrected".to_owned(), count)]);
        let golden = of(2);
        for (outcome, count, corrected) in [
            (Some(Outcome::Masked), 3, true),
            (Some(Outcome::Latent), 3, true),
            (Some(Outcome::Masked), 2, false),
            (Some(Outcome::Masked), 1, false),
            (Some(Outcome::Sdc), 3, false),
            (Some(Outcome::Detected), 3, false),
            (None, 3, false),
        ] {
            assert_eq!(is_corrected(outcome, &of(count), &golden), corrected, "{outcome:?} {count}");
        }
        assert!(!is_corrected(Some(Outcome::Masked), &BTreeMap::new(), &golden), "nothing was counted");
    }
}
