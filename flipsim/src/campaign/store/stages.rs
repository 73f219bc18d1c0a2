//! The stages of a plan, as they are stored: one, and one more for each time that the campaign grew.
//!
//! Invariant: **stages add up to the plan**, stratum by stratum.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::campaign::plan::Stratum;
use crate::campaign::store::seal::Made;

/// The key of the stages among the values of `meta`; absent where there is one.
pub(super) const STAGES: &str = "stages";

/// Trials of a plan that were drawn together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// How many trials of each stratum, in the order of the plan.
    pub trials: Vec<u64>,
    /// The SHA-256 of the plan up to its end.
    pub plan: String,
    /// When the campaign grew by it; absent of the first one.
    pub grown: Option<Timestamp>,
}

impl Stage {
    /// How many trials it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.trials.iter().sum()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl AsRef<[u64]> for Stage {
    fn as_ref(&self) -> &[u64] {
        &self.trials
    }
}

/// The stages of a campaign as they are stored; the text says what is wrong with them.
pub(super) fn stages_of(made: &Made, strata: &[Stratum], plan: &str) -> Result<Vec<Stage>, String> {
    let Some(stored) = made.value(STAGES) else {
        let trials = strata.iter().map(|stratum| stratum.trials).collect();
        return Ok(vec![Stage { trials, plan: plan.to_owned(), grown: None }]);
    };
    let stages: Vec<Stage> = serde_json::from_str(stored).map_err(|error| format!("its stages: {error}"))?;
    let sum = |at: usize| {
        let mut own = stages.iter().map(|stage| stage.trials.get(at));
        own.try_fold(0u64, |sum, own| sum.checked_add(*own?))
    };
    let fits = stages.len() > 1
        && stages.last().is_some_and(|last| last.plan == plan)
        && stages.iter().all(|stage| stage.trials.len() == strata.len())
        && strata.iter().enumerate().all(|(at, stratum)| sum(at) == Some(stratum.trials));
    if fits { Ok(stages) } else { Err("its stages are not those of its plan".to_owned()) }
}

/// A stage as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageStatus {
    /// How many trials it has.
    pub trials: u64,
    /// When the campaign grew by them; absent of the first ones.
    pub grown: Option<Timestamp>,
}

/// Stages in words, as in `grown twice: 1,000 + 1,000 + 2,000 trials`; `None` of a campaign that never grew.
#[must_use]
pub fn stages_text(stages: &[StageStatus]) -> Option<String> {
    let times = match stages.len() {
        0 | 1 => return None,
        2 => "once".to_owned(),
        3 => "twice".to_owned(),
        more => format!("{} times", more - 1),
    };
    let parts: Vec<String> = stages.iter().map(|stage| thousands(stage.trials)).collect();
    Some(format!("grown {times}: {} trials", parts.join(" + ")))
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_said_in_words() {
        let stages = |trials: &[u64]| -> Vec<StageStatus> {
            trials.iter().map(|trials| StageStatus { trials: *trials, grown: None }).collect()
        };
        assert_eq!(stages_text(&stages(&[1000])), None);
        let text = |trials: &[u64]| stages_text(&stages(trials)).unwrap();
        assert_eq!(text(&[200, 1_234_567]), "grown once: 200 + 1,234,567 trials");
        assert_eq!(text(&[1000, 1000, 2000]), "grown twice: 1,000 + 1,000 + 2,000 trials");
        assert_eq!(text(&[1, 2, 3, 4]), "grown 3 times: 1 + 2 + 3 + 4 trials");
    }
}
