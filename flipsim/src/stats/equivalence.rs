//! Whether two campaigns are equal, or one not worse, but for a margin: what a test that finds no difference does not show.
//!
//! Two one-sided tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987) on the ratio of F, each at
//! α = 1 − confidence; both reject where the interval of confidence 1 − 2α lies within the margin.
//!
//! Invariant: the verdict, its p and its interval say the same.

use serde::Serialize;

use super::compare::{Ratio, sums, sums_p};
use super::score::{Against, ratio_interval, ratio_p};
use super::strata::Strata;
use crate::stats::quantity::{Confidence, Observed, SpaceSize, StatsError};

/// The ratios of F that are as good as 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Margin {
    /// The lowest; `None` where less is as good.
    pub lower: Option<f64>,
    /// The highest.
    pub upper: f64,
}

/// What a comparison says about a margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// The ratio lies within it.
    Shown,
    /// It lies outside of it.
    Refuted,
    /// It may lie on either side.
    Open,
}

/// A margin with what was found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// What was asked.
    pub margin: Margin,
    /// The answer.
    pub finding: Finding,
    /// The larger p of the one-sided tests that the ratio is outside of the margin.
    pub p: f64,
    /// The ratio, with the interval of confidence 1 − 2α.
    pub ratio: Ratio,
}

impl Margin {
    /// F of the second is the first's to within a factor: from 1/`factor` to `factor`, which must be above 1.
    ///
    /// # Errors
    /// It is not.
    pub fn equivalent(factor: f64) -> Result<Self, StatsError> {
        let margin = Margin { lower: Some(1.0 / factor), upper: factor };
        if factor > 1.0 && factor.is_finite() { Ok(margin) } else { Err(refused(factor)) }
    }

    /// F of the second is at most so many times the first's; the factor must be 1 or more.
    ///
    /// # Errors
    /// It is not.
    pub fn not_worse(factor: f64) -> Result<Self, StatsError> {
        let margin = Margin { lower: None, upper: factor };
        if factor >= 1.0 && factor.is_finite() { Ok(margin) } else { Err(refused(factor)) }
    }

    /// The verdict on two strata: by [`ratio_p`].
    #[must_use]
    pub fn verdict(self, [a, b]: [(Observed, SpaceSize); 2], confidence: Confidence) -> Verdict {
        let (alpha, sizes) = (1.0 - confidence.level(), b.1.float() / a.1.float());
        let test = |limit: f64, against| ratio_p(a.0, b.0, limit / sizes, against);
        let limits: Vec<f64> =
            self.lower.into_iter().chain([self.upper]).map(|limit| limit / sizes).collect();
        let (lower, upper) = ratio_interval(a.0, b.0, alpha, &limits);
        let value = Some(b.0.rate() / a.0.rate() * sizes).filter(|value| value.is_finite());
        let ratio = Ratio { value, lower: lower * sizes, upper: upper.map(|upper| upper * sizes) };
        self.judge(ratio, alpha, test)
    }

    /// The verdict on sums over strata: by [`sums_p`]. `None` at a confidence of a half or less.
    #[must_use]
    pub fn verdict_of_sums(self, [a, b]: [&Strata; 2], confidence: Confidence) -> Option<Verdict> {
        let ratio = sums(a, b, Confidence::new(2.0 * confidence.level() - 1.0).ok()?);
        let test = |limit: f64, against| {
            let half = sums_p(a, b, limit) / 2.0;
            let beyond = match against {
                Against::Larger => ratio.value.is_none_or(|value| value > limit),
                _ => ratio.value.is_some_and(|value| value < limit),
            };
            if beyond { half } else { 1.0 - half }
        };
        Some(self.judge(ratio, 1.0 - confidence.level(), test))
    }

    fn judge(self, ratio: Ratio, alpha: f64, test: impl Fn(f64, Against) -> f64) -> Verdict {
        let above = self.lower.map_or(0.0, |lower| test(lower, Against::Larger));
        let p = above.max(test(self.upper, Against::Smaller));
        let beyond = test(self.upper, Against::Larger);
        let outside = self.lower.map_or(beyond, |lower| beyond.min(test(lower, Against::Smaller)));
        let finding = match () {
            () if p <= alpha => Finding::Shown,
            () if outside <= alpha => Finding::Refuted,
            () => Finding::Open,
        };
        Verdict { margin: self, finding, p, ratio }
    }
}

fn refused(factor: f64) -> StatsError {
    StatsError::Detection(format!(
        "a margin of {factor} leaves nothing between; write a ratio of F above 1, as in 1.25"
    ))
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::fault::fault_rng;

    fn of(hits: u64, trials: u64, size: u128) -> (Observed, SpaceSize) {
        (Observed::new(hits, trials).unwrap(), SpaceSize(size))
    }

    #[test]
    fn a_verdict_is_about_failures_and_not_rates() {
        let margin = Margin::equivalent(1.25).unwrap();
        // Half the rate in twice the space.
        let verdict = margin.verdict([of(3_000, 10_000, 1_000), of(1_500, 10_000, 2_000)], Confidence::P95);
        assert_eq!(verdict.finding, Finding::Shown);
        assert!((verdict.ratio.value.unwrap() - 1.0).abs() < 1e-12 && verdict.ratio.lower > 0.9);
        let verdict = margin.verdict([of(3_000, 10_000, 1_000), of(3_000, 10_000, 2_000)], Confidence::P95);
        assert_eq!(verdict.finding, Finding::Refuted);
        let verdict = margin.verdict([of(30, 1_000, 1_000), of(30, 1_000, 1_000)], Confidence::P95);
        assert!(verdict.finding == Finding::Open && verdict.p > 0.05, "{verdict:?}");
        let better = Margin::not_worse(1.1).unwrap();
        let verdict = better.verdict([of(60, 1_000, 1_000), of(30, 1_000, 1_000)], Confidence::P95);
        assert!(verdict.finding == Finding::Shown && verdict.ratio.upper.unwrap() <= 1.1, "{verdict:?}");
        // Without a failure in the first nothing bounds the ratio.
        let verdict = better.verdict([of(0, 1_000, 1_000), of(0, 1_000, 1_000)], Confidence::P95);
        assert_eq!((verdict.finding, verdict.ratio.upper), (Finding::Open, None));
        for bad in [0.5, 1.0, f64::NAN, f64::INFINITY] {
            assert!(Margin::equivalent(bad).is_err());
        }
    }

    #[test]
    fn the_verdict_is_what_its_interval_says_and_is_seldom_wrong() {
        let margin = Margin::equivalent(1.25).unwrap();
        let mut rng = fault_rng(1987, 0);
        let mut draw = |p: f64| (0..600).map(|_| u64::from(rng.random::<f64>() < p)).sum();
        let (rounds, mut wrong) = (400, 0);
        for _ in 0..rounds {
            // At the margin itself, where a verdict of equivalence is wrong.
            let found = margin.verdict([of(draw(0.4), 600, 9), of(draw(0.5), 600, 9)], Confidence::P95);
            let within = found.ratio.lower >= 0.8 - 1e-6 && found.ratio.upper.unwrap() <= 1.25 + 1e-6;
            assert_eq!(found.finding == Finding::Shown, within, "{found:?}");
            wrong += u32::from(within);
        }
        assert!(wrong < rounds / 12, "{wrong}");
    }
}
