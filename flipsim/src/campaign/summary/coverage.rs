//! How many of the failures were noticed: detected unrecoverable errors, and the coverage of the detection.
//!
//! Invariant: what is noticed and what is not add up to the failures; no failure, no coverage.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::campaign::store::read::ResultRow;
use crate::campaign::summary::basis::Basis;
use crate::campaign::summary::warning::Warning;
use crate::campaign::ways::is_zero;
use crate::console::classify::Kind;
use crate::stats::Observed;
use crate::stats::tally::Rate;
use crate::trial::Outcome;

/// What of the failures of a stratum was noticed, by whom, and whether the guest went on.
///
/// The rates `by_reports` and `by_watchdog` are shares of the failures: detected / (detected + undetected), the diagnostic
/// coverage of ISO 26262-5 and IEC 61508-2, where each failure is taken as dangerous.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coverage {
    /// All failures that count.
    pub failures: u64,
    /// Nothing was noticed, and the output was wrong.
    pub sdc: u64,
    /// The guest reported it, and went on: recoverable.
    pub detected: u64,
    /// Error-correcting memory detected it and could not correct it.
    #[serde(skip_serializing_if = "is_zero")]
    pub ecc_detected: u64,
    /// It crashed, and its console has a report of that.
    pub crash_reported: u64,
    /// It crashed without a word.
    pub crash_silent: u64,
    /// It hung, after a report.
    pub hang_reported: u64,
    /// It hung without a word.
    pub hang_silent: u64,
    /// Of those that hung after a report: a program had died, as the first report says.
    pub hang_died: u64,
    /// What most of those reports are called.
    pub hang_died_title: Option<String>,
    /// Crash, hang and what memory detects, which a watchdog or a reset ends if nothing else does: detected unrecoverable errors, of all trials.
    pub due: Option<Rate>,
    /// What the guest reported by itself, of the failures; `None` without one.
    pub by_reports: Option<Rate>,
    /// What it reported, or what a watchdog would have seen, of the failures: all but sdc.
    pub by_watchdog: Option<Rate>,
}

/// Crashes and hangs that the console has a report of.
#[derive(Clone, Debug, Default)]
pub(super) struct Reported {
    crash: u64,
    hang: u64,
    /// Those hangs of which the report is that a program died, by its title.
    died: BTreeMap<String, u64>,
}

/// So few hangs show nothing.
const FEW: u64 = 3;

impl Coverage {
    /// What a reader must know where most hangs are a program that died, of which the guest said nothing more.
    pub(super) fn warning(&self, stratum: &str) -> Option<Warning> {
        let hangs = self.hang_reported + self.hang_silent;
        (hangs >= FEW && 2 * self.hang_died > hangs).then(|| Warning::ProgramDied {
            stratum: stratum.to_owned(),
            died: self.hang_died,
            hangs,
            title: self.hang_died_title.clone().unwrap_or_default(),
        })
    }
}

impl Reported {
    /// Takes in a trial that counts.
    pub(super) fn add(&mut self, row: &ResultRow, outcome: Outcome) {
        if row.report.is_none() && row.title.is_none() {
            return;
        }
        match outcome {
            Outcome::Crash => self.crash += 1,
            Outcome::Hang => {
                self.hang += 1;
                if row.report.as_deref() == Some(&*Kind::UserFault.to_string()) {
                    *self.died.entry(row.title.clone().unwrap_or_default()).or_default() += 1;
                }
            }
            Outcome::Masked | Outcome::Latent | Outcome::Sdc | Outcome::Detected | Outcome::Infra => (),
            // The guest never ran.
            Outcome::EccCorrected | Outcome::EccDetected => (),
        }
    }

    /// With the numbers of trials `of` each outcome; `None` without a trial.
    pub(super) fn finish(self, of: impl Fn(Outcome) -> u64, basis: &Basis<'_>) -> Option<Coverage> {
        let [sdc, detected] = [Outcome::Sdc, Outcome::Detected].map(&of);
        let [crash, hang, ecc] = [Outcome::Crash, Outcome::Hang, Outcome::EccDetected].map(&of);
        let failures = sdc + detected + crash + hang + ecc;
        // A share of the failures is of no part of the fault space whose size is known.
        let share = |hits: u64| Some(Rate::new(Observed::new(hits, failures).ok()?, basis.confidence, None));
        let due = basis.live_rate(crash + hang + ecc)?;
        Some(Coverage {
            failures,
            sdc,
            detected,
            ecc_detected: ecc,
            crash_reported: self.crash,
            crash_silent: crash - self.crash,
            hang_reported: self.hang,
            hang_silent: hang - self.hang,
            hang_died: self.died.values().sum(),
            // Of as many the first by name.
            hang_died_title: self
                .died
                .iter()
                .rev()
                .max_by_key(|(_, count)| **count)
                .map(|(title, _)| title.clone()),
            due: Some(due),
            by_reports: share(detected + self.crash + self.hang + ecc),
            by_watchdog: share(detected + crash + hang + ecc),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Confidence, SpaceSize};

    #[test]
    fn coverage_is_of_the_failures_and_due_of_all_trials() {
        let of = |outcome: Outcome| match outcome {
            Outcome::Masked => 900,
            Outcome::Latent | Outcome::EccCorrected | Outcome::EccDetected | Outcome::Infra => 0,
            Outcome::Sdc => 20,
            Outcome::Detected => 30,
            Outcome::Crash => 40,
            Outcome::Hang => 10,
        };
        let counts = Outcome::ALL.into_iter().map(|outcome| (outcome, of(outcome))).collect();
        let basis = Basis::new(&counts, None, SpaceSize(1 << 50), Confidence::P95);
        let died = [("user fault in a: x".to_owned(), 1), ("user fault in b: x".to_owned(), 1)].into();
        let found = Reported { crash: 33, hang: 2, died }.finish(of, &basis).unwrap();
        assert_eq!((found.hang_died, found.hang_died_title.as_deref()), (2, Some("user fault in a: x")));
        assert_eq!(found.warning("core"), None, "of 10 hangs two are a program that died");
        let most = Coverage { hang_reported: 7, hang_silent: 3, hang_died: 6, ..found.clone() };
        let text = most.warning("core").unwrap().to_string();
        assert!(
            text.starts_with("stratum core: 6 of 10 hangs are a program that died (`user fault in a: x`"),
            "{text}"
        );
        assert_eq!(Coverage { hang_silent: 0, hang_reported: 2, ..most }.warning("core"), None, "too few");
        assert_eq!((found.failures, found.crash_silent, found.hang_silent), (100, 7, 8));
        let (due, own, watchdog) =
            (found.due.unwrap(), found.by_reports.unwrap(), found.by_watchdog.unwrap());
        assert_eq!((due.value, own.value, watchdog.value), (0.05, 0.65, 0.8));
        // statsmodels 0.15.0: proportion_confint(65, 100, method='beta') and method='wilson'.
        assert!(
            (own.exact.lower - 0.548_151).abs() < 1e-6 && (own.exact.upper - 0.742_706).abs() < 1e-6,
            "{own:?}"
        );
        assert!(
            (own.wilson.lower - 0.552_544).abs() < 1e-6 && (own.wilson.upper - 0.736_358).abs() < 1e-6,
            "{own:?}"
        );
        assert!(due.failures.is_some() && own.failures.is_none());
    }

    #[test]
    fn without_a_failure_there_is_no_coverage_and_without_a_trial_nothing() {
        let finish = |trials| {
            let counts = [(Outcome::Masked, trials)].into();
            let basis = Basis::new(&counts, None, SpaceSize(99), Confidence::P95);
            Reported::default().finish(|_| 0, &basis)
        };
        let found = finish(10).unwrap();
        assert_eq!((found.failures, found.by_reports, found.by_watchdog), (0, None, None));
        assert!(found.due.unwrap().upper_bound.is_some());
        assert_eq!(finish(0), None);
    }
}
