//! Faults that changed nothing: their bits were what the operation makes of them.
//!
//! Invariant: rates are of all faults, these among them; the rate of those that changed something stands beside.

use serde::Serialize;

use crate::campaign::ways::{grouped, percent};
use crate::stats::tally::{Method, Rate};
use crate::stats::{Confidence, Observed};
use crate::trial::{Class, Outcome};

/// What is gathered of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unchanging {
    unchanged: u64,
    changed: u64,
    failures: u64,
}

impl Unchanging {
    pub(super) fn add(&mut self, changed: Option<bool>, outcome: Outcome) {
        match changed {
            None => {}
            Some(false) => self.unchanged += 1,
            Some(true) => {
                self.changed += 1;
                self.failures += u64::from(Class::Failure.has(outcome));
            }
        }
    }

    /// `None` where none was, as of flips.
    pub(super) fn finish(self, confidence: Confidence) -> Option<Unchanged> {
        let Unchanging { unchanged, changed, failures } = self;
        (unchanged > 0).then(|| Unchanged {
            trials: unchanged,
            of: unchanged + changed,
            failure: Observed::new(failures, changed).ok().map(|seen| Rate::new(seen, confidence, None)),
        })
    }
}

/// Faults of a stratum that changed nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unchanged {
    /// So many.
    pub trials: u64,
    /// Of so many.
    pub of: u64,
    /// The rate of failures of the others; `None` where there are none.
    pub failure: Option<Rate>,
}

impl Unchanged {
    /// All of it in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let Unchanged { trials, of, failure } = self;
        let mut line = format!(
            "{} of {} faults found their bits as they set them and changed nothing",
            grouped(*trials),
            grouped(*of)
        );
        if let Some(rate) = failure {
            let interval = rate.estimate(Method::default()).interval;
            line += &format!(
                "; of those that changed something {} fail ({} to {})",
                percent(rate.value),
                percent(interval.lower),
                percent(interval.upper)
            );
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::shard::Shard;
    use crate::campaign::summary::{Summary, SummaryOptions};
    use crate::testing::fake_campaign as fake;

    #[test]
    fn what_changed_nothing_is_counted_beside_the_rate_of_the_others() {
        let mut found = Unchanging::default();
        assert_eq!(found.finish(Confidence::P95), None);
        for (changed, outcome, times) in [
            (Some(false), Outcome::Masked, 1012),
            (Some(true), Outcome::Masked, 900),
            (Some(true), Outcome::Crash, 88),
            (None, Outcome::Crash, 3),
        ] {
            (0..times).for_each(|_| found.add(changed, outcome));
        }
        let unchanged = found.finish(Confidence::P95).unwrap();
        assert_eq!((unchanged.trials, unchanged.of), (1012, 2000));
        // Clopper and Pearson's, by bisection of the binomial sums in Python: 0.072047 to 0.108584.
        assert_eq!(
            unchanged.line(),
            "1,012 of 2,000 faults found their bits as they set them and changed nothing; of those that changed something \
             8.91 % fail (7.20 % to 10.9 %)"
        );
        let all = Unchanging { unchanged: 3, ..Unchanging::default() }.finish(Confidence::P95).unwrap();
        assert_eq!(all.line(), "3 of 3 faults found their bits as they set them and changed nothing");
    }

    #[test]
    fn strata_of_another_operation_say_what_changed_nothing_and_are_pooled_with_their_like() {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = fake::spec(
            800,
            &["range:0x40000000+4M", "range:0x50000000+1M", "range:0x60000000+2M", "class:core"],
        );
        for index in [1, 2, 3] {
            spec.strata[index].operation =
                Some(if index == 3 { "overwrite:random" } else { "set1" }.parse().unwrap());
            spec.strata[index].trials = Some(200);
        }
        let mut store = fake::create(&folder.path().join("c.sqlite"), &spec).unwrap();
        for id in store.pending(Shard::WHOLE).unwrap() {
            let planned = store.planned(id).unwrap();
            store.record(id, &fake::record(&planned)).unwrap();
        }
        let summary = Summary::new(&store, &SummaryOptions::default()).unwrap();
        let of = |index: usize| &summary.strata[index];
        assert_eq!((of(0).pattern.as_str(), &of(0).unchanged), ("single", &None));
        assert_eq!(
            (of(1).pattern.as_str(), of(3).pattern.as_str()),
            ("single, set1", "single, overwrite:random")
        );
        let unchanged = of(1).unchanged.as_ref().unwrap();
        assert_eq!(unchanged.of, of(1).counted);
        assert!((60..140).contains(&unchanged.trials), "{unchanged:?}");
        let all = of(1).class(Class::Failure).unwrap().rate.unwrap().value;
        let changed = unchanged.failure.unwrap().value;
        #[expect(clippy::cast_precision_loss, reason = "hundreds")]
        let share = (unchanged.of - unchanged.trials) as f64 / unchanged.of as f64;
        assert!((changed * share - all).abs() < 1e-12 && all > 0.0);
        // A bit is exposed to one setting; of a drawn number it has two.
        assert_eq!((of(1).bits, of(3).bits, of(3).faults), (Some(8 << 20), None, 2 * 16 * 64));
        let pooled: Vec<_> =
            summary.pooled.iter().map(|pooled| (pooled.pattern.as_str(), pooled.strata.len())).collect();
        assert_eq!(pooled, [("single, set1", 2)]);
    }
}
