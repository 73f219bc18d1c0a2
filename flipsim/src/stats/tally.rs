//! Counts by a key and an outcome, as a report shows them.
//!
//! The key is whatever a table has a row of: an outcome alone (`()`), a stratum, bit, register, region
//! or symbol.
//!
//! Invariant: an excluded outcome is in no rate and in no number of trials, and always shown.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::finite::{exact, exact_upper_bound};
use super::known::PartlyKnown;
use super::proportion::{clopper_pearson, wilson};
use crate::stats::quantity::{Confidence, Estimate, Interval, Observed, SpaceSize};

/// How many trials of each key ended in each outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally<K, O> {
    counts: BTreeMap<K, BTreeMap<O, u64>>,
    outcomes: BTreeSet<O>,
    excluded: BTreeSet<O>,
}

/// One row of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TallyRow<K, O> {
    /// What the row is of.
    pub key: K,
    /// The trials that count.
    pub trials: u64,
    /// One entry an outcome, the same in every row, in the outcomes' order.
    pub outcomes: Vec<OutcomeCount<O>>,
}

/// How often one outcome came, in one row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutcomeCount<O> {
    /// The outcome.
    pub outcome: O,
    /// So many trials.
    pub count: u64,
    /// What that says; `None` for an excluded outcome, and in a row without trials that count.
    pub rate: Option<Rate>,
}

/// A rate with all that belongs beside it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// k/n; where a part of the space is known for sure, c + w·k/m of the m trials in the live part ([`crate::stats::known`]),
    /// and so are the intervals.
    pub value: f64,
    /// Its Wilson interval.
    pub wilson: Interval,
    /// Its Clopper–Pearson interval.
    pub clopper_pearson: Interval,
    /// Its exact interval: that of Clopper and Pearson, narrower where a good part of a small space was drawn.
    pub exact: Interval,
    /// The exact one-sided upper bound, for an outcome that never came. It is what is shown of such a one.
    pub upper_bound: Option<f64>,
    /// The extrapolated absolute number of such trials, with the Wilson interval, where the size of the
    /// row's part of the fault space is known: what two versions are compared by.
    pub failures: Option<Estimate>,
    /// The same number with the interval that is shown of the rate: the exact one, or the bound of what never came.
    pub extrapolated: Option<Estimate>,
    /// The interval that holds at any look ([`crate::stats::anytime`]), of a campaign that grew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anytime: Option<Interval>,
}

/// Which of its two intervals a rate is shown with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Wilson's: near its confidence on the average, and at 84 % in place of 95 % for some rates that are met once or
    /// twice.
    Wilson,
    /// Exact, Clopper and Pearson's or that of a space that is nearly drawn out: at least its confidence.
    #[default]
    ClopperPearson,
}

impl Rate {
    /// The rate with the interval to show: where there is one that holds at any look, that. That of an outcome that never
    /// came ends at [`Rate::upper_bound`], whatever the method: its confidence is spent on the one end that can be wrong.
    #[must_use]
    pub fn estimate(&self, method: Method) -> Estimate {
        let interval = match (self.anytime, self.upper_bound, method) {
            (Some(anytime), ..) => anytime,
            (None, Some(upper), _) => Interval { lower: 0.0, upper },
            (None, None, Method::Wilson) => self.wilson,
            (None, None, Method::ClopperPearson) => self.exact,
        };
        Estimate { value: self.value, interval }
    }

    /// The rate of some trials that were drawn uniformly from a part of the fault space of this size.
    #[must_use]
    pub fn new(observed: Observed, confidence: Confidence, size: Option<SpaceSize>) -> Self {
        Rate::of(&PartlyKnown::plain(observed, size), confidence)
    }

    /// The rate of an outcome of which a part is known for sure: every interval is that of the trials in the live part,
    /// times its share.
    #[must_use]
    pub fn of(known: &PartlyKnown, confidence: Confidence) -> Self {
        let (value, size) = (known.value(), known.size());
        let wilson = known.interval(|seen, _| wilson(seen, confidence));
        let rate = Rate {
            value,
            wilson,
            clopper_pearson: known.interval(|seen, _| clopper_pearson(seen, confidence)),
            exact: known.interval(|seen, size| exact(seen, size, confidence)),
            upper_bound: known.bound(|seen, size| exact_upper_bound(seen, size, confidence)),
            failures: size.map(|size| Estimate { value, interval: wilson }.failures(size)),
            extrapolated: None,
            anytime: None,
        };
        rate.extrapolated_to(size)
    }

    /// The same with an interval that holds at any look.
    #[must_use]
    pub fn at_any_look(self, anytime: Interval, size: Option<SpaceSize>) -> Self {
        Rate { anytime: Some(anytime), ..self }.extrapolated_to(size)
    }

    fn extrapolated_to(self, size: Option<SpaceSize>) -> Self {
        let extrapolated = size.map(|size| self.estimate(Method::default()).failures(size));
        Rate { extrapolated, ..self }
    }
}

impl<K: Ord, O: Ord + Clone> Tally<K, O> {
    /// An empty one, with the outcomes that each row shows even if none came: that there was no silent
    /// corruption in so many trials is a result, with an upper bound. Others may be counted as well.
    #[must_use]
    pub fn of(outcomes: impl IntoIterator<Item = O>) -> Self {
        let outcomes = outcomes.into_iter().collect();
        Tally { counts: BTreeMap::new(), outcomes, excluded: BTreeSet::new() }
    }

    /// Leaves these outcomes out of every rate: trials that say something of the laboratory only.
    #[must_use]
    pub fn excluding(mut self, outcomes: impl IntoIterator<Item = O>) -> Self {
        self.excluded.extend(outcomes);
        self
    }

    /// Counts one trial.
    pub fn add<Q>(&mut self, key: &Q, outcome: O)
    where
        K: Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        // A key is only copied when it is new: most of a million rows have one that is there.
        let row = match self.counts.get_mut(key) {
            Some(row) => row,
            None => self.counts.entry(key.to_owned()).or_default(),
        };
        *row.entry(outcome).or_default() += 1;
    }

    /// The plain counts, in the order of the keys.
    pub fn counts(&self) -> impl Iterator<Item = (&K, &BTreeMap<O, u64>)> {
        self.counts.iter()
    }

    /// The rows, in the order of the keys; `size` is the part of the fault space that a key stands for.
    ///
    /// The rate of a row takes its trials as drawn uniformly from that part.
    pub fn rows<'a>(
        &'a self,
        confidence: Confidence,
        size: impl Fn(&K) -> Option<SpaceSize> + 'a,
    ) -> impl Iterator<Item = TallyRow<&'a K, O>> + 'a {
        // A table is rectangular: an outcome that is in one row has its 0 in the others.
        let outcomes: BTreeSet<&O> =
            self.counts.values().flat_map(BTreeMap::keys).chain(&self.outcomes).collect();
        self.counts.iter().map(move |(key, counts)| {
            let trials = self.trials(counts);
            let outcome_count = |outcome: &O| {
                let count = counts.get(outcome).copied().unwrap_or_default();
                let observed =
                    if self.excluded.contains(outcome) { None } else { Observed::new(count, trials).ok() };
                let rate = observed.map(|observed| Rate::new(observed, confidence, size(key)));
                OutcomeCount { outcome: outcome.clone(), count, rate }
            };
            TallyRow {
                key,
                trials,
                outcomes: outcomes.iter().map(|outcome| outcome_count(outcome)).collect(),
            }
        })
    }

    /// The trials of one row that count.
    fn trials(&self, counts: &BTreeMap<O, u64>) -> u64 {
        counts.iter().filter(|(outcome, _)| !self.excluded.contains(outcome)).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
    #[serde(rename_all = "lowercase")]
    enum End {
        Masked,
        Sdc,
        Infra,
    }

    fn tally(rows: &[(&str, End, u64)]) -> Tally<String, End> {
        let mut tally = Tally::of([End::Masked, End::Sdc]).excluding([End::Infra]);
        for (key, end, count) in rows {
            for _ in 0..*count {
                tally.add(*key, *end);
            }
        }
        tally
    }

    #[test]
    fn excluded_outcomes_are_counted_beside_the_rates() {
        let tally = tally(&[
            ("text", End::Masked, 30),
            ("text", End::Sdc, 10),
            ("text", End::Infra, 5),
            ("data", End::Infra, 2),
        ]);
        let rows: Vec<_> =
            tally.rows(Confidence::P95, |key| (key == "text").then_some(SpaceSize(800))).collect();
        let [data, text] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((data.key.as_str(), data.trials), ("data", 0));
        // Nothing counts there: three counts, no rate.
        assert!(data.outcomes.iter().all(|outcome| outcome.rate.is_none()));
        assert_eq!(data.outcomes.iter().map(|outcome| outcome.count).collect::<Vec<_>>(), [0, 0, 2]);
        assert_eq!((text.key.as_str(), text.trials), ("text", 40));
        let sdc = text.outcomes[1].rate.unwrap();
        assert_eq!((sdc.value, sdc.failures.unwrap().value), (0.25, 200.0));
        assert_eq!(sdc.wilson, wilson(Observed::new(10, 40).unwrap(), Confidence::P95));
        assert_eq!((text.outcomes[2].count, text.outcomes[2].rate), (5, None));
    }

    #[test]
    fn a_row_is_json_as_a_script_wants_it() {
        let tally = tally(&[("text", End::Masked, 1), ("text", End::Infra, 1)]);
        let rows: Vec<_> = tally.rows(Confidence::P95, |_| Some(SpaceSize(2))).collect();
        let json = serde_json::to_value(&rows).unwrap();
        let row = &json[0];
        assert_eq!((&row["key"], &row["trials"]), (&"text".into(), &1.into()));
        let [masked, sdc, infra] = row["outcomes"].as_array().unwrap().as_slice() else { panic!("{row}") };
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(masked), ["outcome", "count", "rate"]);
        assert_eq!(
            keys(&masked["rate"]),
            ["value", "wilson", "clopper_pearson", "exact", "upper_bound", "failures", "extrapolated"]
        );
        assert_eq!(keys(&masked["rate"]["wilson"]), ["lower", "upper"]);
        assert_eq!(keys(&masked["rate"]["failures"]), ["value", "lower", "upper"]);
        assert_eq!(masked["rate"]["failures"]["value"], 2.0);
        // What never came has a bound, what does not count has no rate.
        assert_eq!((&sdc["count"], &sdc["rate"]["value"]), (&0.into(), &0.0.into()));
        assert!((sdc["rate"]["upper_bound"].as_f64().unwrap() - 0.5).abs() < 1e-12);
        assert!(masked["rate"]["upper_bound"].is_null() && infra["rate"].is_null());
    }

    #[test]
    fn a_million_trials_of_ten_thousand_symbols_are_all_counted() {
        let symbols: Vec<String> = (0..10_000).map(|number| format!("symbol_{number}")).collect();
        let mut tally: Tally<String, u8> = Tally::of([]).excluding([9]);
        for trial in 0..1_000_000u32 {
            let outcome = if trial % 101 == 0 { 9 } else { (trial % 7) as u8 };
            tally.add(symbols[(trial as usize * 7919) % 10_000].as_str(), outcome);
        }
        let rows: Vec<_> = tally.rows(Confidence::P95, |_| Some(SpaceSize(1 << 20))).collect();
        assert_eq!(rows.len(), 10_000);
        let all: u64 = rows.iter().flat_map(|row| &row.outcomes).map(|outcome| outcome.count).sum();
        let excluded: u64 = rows.iter().map(|row| row.outcomes[7].count).sum();
        assert_eq!((all, excluded), (1_000_000, 1_000_000u64.div_ceil(101)));
        assert_eq!(rows.iter().map(|row| row.trials).sum::<u64>(), all - excluded);
    }
}
