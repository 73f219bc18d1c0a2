//! How many trials a campaign has: a number, or what a wanted precision takes.
//!
//! Invariant: a number of trials is fixed before the first one; nothing here depends on results, for
//! stopping when the figures please biases them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::stats::power::trials_to_detect;
use crate::stats::sample::{trials_for_assured, trials_for_margin, trials_for_relative};
use crate::stats::{Confidence, Share, SpaceSize, StatsError};
use crate::text::shown;

/// In how many campaigns the precision of [`Size::Relative`] is reached, where nothing else is said.
pub(super) const ASSURANCE: Share = Share::P80;

/// How likely [`Size::Detect`] shows its ratio, where nothing else is said.
pub(super) const POWER: Share = Share::P80;

/// How large a campaign is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Size {
    /// So many trials.
    Trials(u64),
    /// So many that any rate is known to within `margin`.
    Margin {
        /// Half the width of the interval, as a part of all trials.
        margin: Share,
        /// How surely.
        confidence: Confidence,
    },
    /// So many that the rate of a rare outcome is known to within `relative` of itself.
    Relative {
        /// Half the width of the interval, as a part of the rate.
        relative: Share,
        /// The rate that is expected, or the smallest that matters.
        rate: Share,
        /// How surely.
        confidence: Confidence,
        /// The share of campaigns that reach it, if the rate is the expected one. Absent in what was made before
        /// there was such a key: these have the number of the formula, with which about half of them do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assurance: Option<Share>,
    },
    /// So many, in this campaign and in another one of the same fault space, that a test shows that the failures of both
    /// stand in the ratio `to_detect`.
    #[serde(rename_all = "kebab-case")]
    Detect {
        /// The second's failures over the first's.
        to_detect: f64,
        /// The first's rate of failures that is expected.
        rate: Share,
        /// How likely the test is to show it.
        power: Share,
        /// 1 less the p of the test.
        confidence: Confidence,
    },
}

impl Size {
    /// The number of trials for `population` different ones: [`trials_for_margin`] with the worst rate,
    /// [`trials_for_assured`], or where no assurance is asked for [`trials_for_relative`], or [`trials_to_detect`].
    ///
    /// # Errors
    /// No number of trials has that precision, or any has.
    pub fn trials(&self, population: u128) -> Result<u64, StatsError> {
        let population = Some(SpaceSize(population));
        match *self {
            Size::Trials(trials) => Ok(trials),
            Size::Margin { margin, confidence } => {
                trials_for_margin(margin, confidence, Share::HALF, population)
            }
            Size::Relative { relative, rate, confidence, assurance: None } => {
                trials_for_relative(relative, confidence, rate, population)
            }
            Size::Relative { relative, rate, confidence, assurance: Some(assurance) } => {
                trials_for_assured(relative, confidence, rate, assurance, population)
            }
            Size::Detect { to_detect, rate, power, confidence } => {
                let trials = trials_to_detect(to_detect, rate, power, confidence)?;
                Ok(u64::try_from(population.map_or(u128::MAX, |size| size.0))
                    .map_or(trials, |most| trials.min(most)))
            }
        }
    }
}

/// A rate that is expected, and one that is to be told from it: `12% -> 20%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    from: Share,
    to: Share,
}

impl Step {
    /// So many trials that a one-sided test of such a step at `alpha` over so many strata shows it with `power`; each stratum
    /// has as many.
    ///
    /// # Errors
    /// No number of trials shows it.
    pub fn size(self, power: Share, alpha: Share, strata: usize) -> Result<Size, StatsError> {
        let Step { from, to } = self;
        // Bonferroni's level; the one side of an interval of this confidence.
        #[expect(clippy::cast_precision_loss, reason = "a few strata")]
        let confidence = Confidence::new(1.0 - 2.0 * alpha.value() / strata.max(1) as f64)?;
        let size = Size::Detect { to_detect: to.value() / from.value(), rate: from, power, confidence };
        size.trials(u128::MAX)?;
        Ok(size)
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{}` is no step; write two rates, as in '12% -> 20%'", shown(text, 60));
        let (from, to) = text.split_once("->").or_else(|| text.split_once('→')).ok_or_else(refuse)?;
        let rate = |text: &str| text.trim().parse::<Share>().map_err(|error| error.to_string());
        let step = Step { from: rate(from)?, to: rate(to)? };
        let inside = |rate: Share| rate.value() > 0.0 && rate.value() < 1.0;
        match inside(step.from) && inside(step.to) && step.from != step.to {
            true => Ok(step),
            false => Err(format!("{}: both above 0% and below 100%, and not the same", refuse())),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Trials(trials) => write!(f, "{trials} trials"),
            Size::Margin { margin, confidence } => write!(f, "±{margin} at {confidence}"),
            Size::Relative { relative, rate, confidence, assurance } => {
                write!(f, "±{relative} of a rate of {rate} at {confidence}")?;
                assurance.map_or(Ok(()), |assurance| write!(f, ", in {assurance} of campaigns"))
            }
            Size::Detect { to_detect, rate, power, confidence } => {
                write!(f, "to detect a ratio of {to_detect} at a rate of {rate} with {power} at {confidence}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Share {
        text.parse().unwrap()
    }

    #[test]
    fn one_percent_at_95_percent_takes_9604_of_very_many() {
        let size = Size::Margin { margin: share("1%"), confidence: Confidence::P95 };
        assert_eq!(size.trials(1 << 100), Ok(9_604));
        // Of few, fewer, and never more than there are.
        assert_eq!(size.trials(10_000), Ok(4_900));
        assert_eq!(size.trials(10), Ok(10));
        assert_eq!(size.trials(1), Ok(1));
    }

    #[test]
    fn a_rare_outcome_takes_more() {
        let size = |rate, assurance: Option<&str>| Size::Relative {
            relative: share("20%"),
            rate: share(rate),
            confidence: Confidence::P95,
            assurance: assurance.map(share),
        };
        // 1.96² · 0.99 / (0.01 · 0.2²)
        assert_eq!(size("1%", None).trials(1 << 100), Ok(9_508));
        assert_eq!(size("1%", Some("80%")).trials(1 << 100), Ok(10_514));
        // No more than there are.
        assert_eq!(size("1%", Some("80%")).trials(10_000), Ok(10_000));
        // What always comes has no interval, and no number of trials is certain to be enough.
        for certain in [size("100%", None), size("100%", Some("80%")), size("1%", Some("100%"))] {
            assert!(certain.trials(1 << 100).is_err());
        }
    }

    #[test]
    fn what_was_asked_for_before_there_was_an_assurance_is_as_many_as_then() {
        let text = r#"{"relative":{"relative":0.2,"rate":0.01,"confidence":0.95}}"#;
        let size: Size = serde_json::from_str(text).unwrap();
        assert_eq!(size.trials(1 << 100), Ok(9_508));
        assert_eq!(serde_json::to_string(&size).unwrap(), text);
    }

    #[test]
    fn half_the_failures_take_1534_trials_on_each_side_at_3_percent() {
        let (to_detect, rate, power, confidence) = (0.5, share("3%"), share("80%"), Confidence::P95);
        let size = Size::Detect { to_detect, rate, power, confidence };
        assert_eq!(size.trials(1 << 100), Ok(1_534));
        assert_eq!(size.trials(1_000), Ok(1_000));
        assert_eq!(size.to_string(), "to detect a ratio of 0.5 at a rate of 3% with 80% at 95%");
        let text = r#"{"detect":{"to-detect":0.5,"rate":0.03,"power":0.8,"confidence":0.95}}"#;
        assert_eq!(serde_json::to_string(&size).unwrap(), text);
        assert_eq!(serde_json::from_str::<Size>(text).unwrap(), size);
    }

    /// statsmodels 0.15.0: the root over `nobs1` of `power_proportions_2indep(0.08, 0.12, nobs1, alpha=0.01 / strata,
    /// alternative="larger", return_results=False) - 0.8`, rounded up.
    #[test]
    fn a_step_takes_as_many_trials_as_statsmodels_says() {
        let step: Step = "12% -> 20%".parse().unwrap();
        let alpha = share("1%");
        for (strata, expected) in [(1, 421), (3, 530)] {
            let size = step.size(Share::P80, alpha, strata).unwrap();
            let trials = size.trials(1 << 100).unwrap();
            assert!(trials.abs_diff(expected) <= 1, "{trials} {expected}");
        }
        assert_eq!(
            "0.2→0.1".parse::<Step>().unwrap().size(Share::P80, alpha, 1).unwrap().to_string(),
            "to detect a ratio of 0.5 at a rate of 20% with 80% at 98%"
        );
        for bad in ["12%", "12% -> ", "0% -> 1%", "5% -> 5%", "5% -> 100%", "a -> b"] {
            assert!(bad.parse::<Step>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_size_is_said_as_it_was_asked_for() {
        let (relative, rate, confidence) = (share("20%"), share("0.125%"), Confidence::P95);
        let size = Size::Relative { relative, rate, confidence, assurance: None };
        assert_eq!(size.to_string(), "±20% of a rate of 0.125% at 95%");
        let size = Size::Relative { relative, rate, confidence, assurance: Some(share("80%")) };
        assert_eq!(size.to_string(), "±20% of a rate of 0.125% at 95%, in 80% of campaigns");
    }
}
