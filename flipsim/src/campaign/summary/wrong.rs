//! How wrong silent data corruption is: bits, bytes and numbers, and the grades of the campaign's own rules.
//!
//! It is computed of the consoles that are kept, so that older records have it as well.
//!
//! Invariant: **grades add up to the sdc of their stratum**, what no rule holds for and what was not kept among them.

use serde::Serialize;

use crate::campaign::grade::{Grade, grade_of};
use crate::campaign::plan::TrialId;
use crate::campaign::store::error::StoreError;
use crate::campaign::store::open::Store;
use crate::campaign::summary::basis::Basis;
use crate::console::{RelativeError, Wrong};
use crate::stats::quantile::{Quantile, Sorted};
use crate::stats::tally::Rate;
use crate::stats::{Confidence, Share};
use crate::trial::golden::Golden;

/// How wrong the silent data corruption of a stratum is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrongSummary {
    /// How many trials were compared with the golden run: those whose console is kept.
    pub trials: u64,
    /// How many trials are sdc.
    pub of: u64,
    /// Lines that differ, a trial.
    pub lines: Option<Spread<u64>>,
    /// Bytes.
    pub bytes: Option<Spread<u64>>,
    /// Bits.
    pub bits: Option<Spread<u64>>,
    /// The largest relative error of a number, of the trials in which a number differs.
    pub relative: Option<Spread<RelativeError>>,
    /// One entry a grade, in the order of the rules, and one without a name for what none holds for; empty where there
    /// is no rule.
    pub grades: Vec<GradeCount>,
}

/// How much the trials have of something.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread<T> {
    /// How many trials have it.
    pub trials: u64,
    /// The quantiles of ½ and 0.9.
    pub quantiles: Vec<SpreadQuantile<T>>,
    /// The largest.
    pub largest: T,
}

/// A quantile of a [`Spread`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SpreadQuantile<T> {
    /// Of which share.
    pub share: Share,
    /// Its value, with its interval; an end is `None` where the trials are too few to have one.
    #[serde(flatten)]
    pub value: Quantile<T>,
}

/// How many trials have a grade.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GradeCount {
    /// Its name; `None` where no rule holds.
    pub name: Option<String>,
    /// So many trials.
    pub count: u64,
    /// Their part of all that count, sdc or not.
    pub rate: Option<Rate>,
}

/// What is gathered of a stratum.
#[derive(Default)]
pub(super) struct Wrongs {
    of: u64,
    found: Vec<Wrong>,
    grades: Vec<u64>,
}

impl Wrongs {
    /// Takes in a trial that is sdc.
    pub(super) fn add(
        &mut self,
        store: &Store,
        golden: Option<&Golden>,
        id: TrialId,
    ) -> Result<(), StoreError> {
        self.of += 1;
        self.grades.resize(store.spec().grades.len(), 0);
        let Some(golden) = golden else { return Ok(()) };
        let record = store.record_of(id)?;
        let Some(differences) = record.and_then(|record| golden.differences_of(&record)) else {
            return Ok(());
        };
        self.found.push(differences.wrong(None));
        if let Some(grade) = grade_of(&store.spec().grades, &differences) {
            self.grades[grade] += 1;
        }
        Ok(())
    }

    /// `None` without sdc.
    pub(super) fn finish(self, grades: &[Grade], basis: &Basis<'_>) -> Option<WrongSummary> {
        if self.of == 0 {
            return None;
        }
        let confidence = basis.confidence;
        let all = |part: fn(&Wrong) -> u64| spread(self.found.iter().map(part).collect(), confidence);
        let none = self.of - self.grades.iter().sum::<u64>();
        let names = grades.iter().map(|grade| Some(grade.name.clone())).chain([None]);
        let counts = self.grades.iter().copied().chain([none]);
        let named = names.zip(counts).filter(|_| !grades.is_empty());
        let grades = named.map(|(name, count)| GradeCount { name, count, rate: basis.live_rate(count) });
        Some(WrongSummary {
            trials: self.found.len() as u64,
            of: self.of,
            lines: all(|wrong| wrong.lines),
            bytes: all(|wrong| wrong.bytes),
            bits: all(|wrong| wrong.bits),
            relative: spread(self.found.iter().filter_map(|wrong| wrong.relative).collect(), confidence),
            grades: grades.collect(),
        })
    }
}

fn spread<T: Ord + Copy>(values: Vec<T>, confidence: Confidence) -> Option<Spread<T>> {
    let sorted = Sorted::new(values);
    let largest = *sorted.values().last()?;
    let shares = [0.5, 0.9].into_iter().filter_map(|share| Share::new(share).ok());
    let quantiles =
        shares.filter_map(|share| Some(SpreadQuantile { share, value: sorted.quantile(share, confidence)? }));
    Some(Spread { trials: sorted.values().len() as u64, quantiles: quantiles.collect(), largest })
}

#[cfg(test)]
mod tests;
