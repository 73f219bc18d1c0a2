//! How much of its trials a campaign ran: which were settled without a run, begun late, ended early, run whole, audited.
//!
//! Invariant: **every trial with a record is run whole, in part, settled, or decided by memory, and one of these alone**; an audited one was
//! run whole.

use serde::{Deserialize, Serialize};

use crate::stats::proportion::upper_bound;
use crate::stats::{Confidence, Observed};
use crate::text::end_text;
use crate::trial::{Settled, TrialRecord};

/// How much of one trial was run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Way {
    /// How its result follows from the golden run's recorded accesses; of an audited trial, how it would have.
    pub settled: Option<Settled>,
    /// Where it was begun, if later than its fault.
    pub begun_ns: Option<u64>,
    /// Where it was ended, if earlier than by its state alone.
    pub cut_ns: Option<u64>,
    /// Whether error-correcting memory let nothing through.
    #[serde(default)]
    pub decided: bool,
    /// Whether it was run whole to check the others.
    pub audited: bool,
    /// Whether it was asked what is known of it before.
    pub looked_up: bool,
    /// Whether a control trial was run beside it.
    pub control: bool,
}

impl Way {
    /// Of a record.
    #[must_use]
    pub fn of(record: &TrialRecord) -> Way {
        let TrialRecord { settled, begun_ns, cut_ns, audited, looked_up, control, .. } = *record;
        let decided = record.plan.is_decided();
        Way { settled, begun_ns, cut_ns, decided, audited, looked_up, control }
    }

    /// Whether its fault lies in the part of the space that only trials say something of.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.settled.is_none()
    }
}

/// How many trials were run how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ways {
    /// Trials that have a record.
    pub trials: u64,
    /// Run whole, audited ones included.
    pub whole: u64,
    /// Settled without a run: never read again.
    pub never_read: u64,
    /// Settled without a run: overwritten first.
    pub overwritten: u64,
    /// Settled without a run: their bits were what the fault set them to.
    pub unchanged: u64,
    /// Not run, as error-correcting memory let nothing through.
    #[serde(skip_serializing_if = "is_zero")]
    pub decided: u64,
    /// Begun later than their fault.
    pub late: u64,
    /// Ended early, as nothing that differed was to be read any more; some of them were begun late as well.
    pub shortened: u64,
    /// Run whole to check the others, and equal.
    pub audited: u64,
    /// Control trials, which had no fault; all were masked.
    pub controls: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
pub(in crate::campaign) fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Ways {
    /// Counts a trial.
    pub fn add(&mut self, way: &Way) {
        self.trials += 1;
        self.audited += u64::from(way.audited);
        self.controls += u64::from(way.control);
        let Way { settled, begun_ns, cut_ns, audited, decided, .. } = *way;
        self.decided += u64::from(decided);
        if decided {
            return;
        }
        let is_whole = audited || (settled.is_none() && begun_ns.is_none() && cut_ns.is_none());
        self.whole += u64::from(is_whole);
        if is_whole {
            return;
        }
        match way.settled {
            Some(Settled::NeverRead) => self.never_read += 1,
            Some(Settled::Overwritten) => self.overwritten += 1,
            Some(Settled::Unchanged) => self.unchanged += 1,
            None => {
                self.late += u64::from(way.begun_ns.is_some());
                self.shortened += u64::from(way.cut_ns.is_some());
            }
        }
    }

    /// Counts the trials of another part.
    pub fn join(&mut self, other: &Ways) {
        let Ways {
            trials,
            whole,
            never_read,
            overwritten,
            unchanged,
            decided,
            late,
            shortened,
            audited,
            controls,
        } = other;
        self.decided += decided;
        self.trials += trials;
        self.whole += whole;
        self.never_read += never_read;
        self.overwritten += overwritten;
        self.unchanged += unchanged;
        self.late += late;
        self.shortened += shortened;
        self.audited += audited;
        self.controls += controls;
    }

    /// How many were settled without a run.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.never_read + self.overwritten + self.unchanged
    }

    /// How many were not run whole.
    #[must_use]
    pub fn shortcuts(&self) -> u64 {
        self.trials - self.whole - self.decided
    }

    /// What the audit bounds; `None` without an audited trial.
    #[must_use]
    pub fn audit(&self, confidence: Confidence) -> Option<Audit> {
        let none = Observed::new(0, self.audited).ok()?;
        Some(Audit { audited: self.audited, of: self.shortcuts(), bound: upper_bound(none, confidence) })
    }

    /// What the control trials say, in a line; nothing without one.
    #[must_use]
    pub fn control_line(&self, confidence: Confidence) -> Option<String> {
        let none = Observed::new(0, self.controls).ok()?;
        let bound = end_text(upper_bound(none, confidence), true, &percent);
        Some(format!(
            "{} control trials, without a fault, all masked: fewer than {bound} of trials can differ without one ({confidence})",
            grouped(self.controls)
        ))
    }

    /// All of it in one line; nothing where every trial was run whole and none audited.
    #[must_use]
    pub fn line(&self, confidence: Confidence) -> Option<String> {
        if self.shortcuts() == 0 && self.audited == 0 {
            return None;
        }
        // Of those that there is something to run of.
        let trials = self.trials - self.decided;
        let share = |count: u64| percent(part(count, trials));
        let mut parts = vec![format!(
            "{} of {} trials were settled without a run",
            share(self.settled()),
            grouped(trials)
        )];
        if self.settled() > 0 {
            let unchanged = match self.unchanged {
                0 => String::new(),
                count => format!(", {} set to what they were", share(count)),
            };
            parts[0] += &format!(
                " ({} never read again, {} overwritten{unchanged})",
                share(self.never_read),
                share(self.overwritten)
            );
        }
        for (count, what) in [(self.late, "begun late"), (self.shortened, "ended early")] {
            if count > 0 {
                parts.push(format!("{} {what}", share(count)));
            }
        }
        let audit = match self.audit(confidence) {
            Some(audit) => audit.line(confidence),
            None => "none was audited".to_owned(),
        };
        Some(format!("{}; {audit}", parts.join(", ")))
    }
}

/// What it says that the trials which were run whole for it had the records that they would have had otherwise: a trial
/// that had not stops its campaign.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Audit {
    /// So many were run whole, all equal.
    pub audited: u64,
    /// So many were not.
    pub of: u64,
    /// The exact one-sided upper bound of the share of trials whose record would be another if they were run whole:
    /// 1 − α^(1/n) for n audited ones, that a random draw chose.
    pub bound: f64,
}

impl Audit {
    fn line(&self, confidence: Confidence) -> String {
        let Audit { audited, bound, .. } = self;
        let (audited, bound) = (grouped(*audited), end_text(*bound, true, &percent));
        format!("{audited} audited, all equal: fewer than {bound} of these can differ ({confidence})")
    }
}

/// One count as a share of another.
#[expect(clippy::cast_precision_loss, reason = "numbers of trials")]
fn part(count: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { count as f64 / all as f64 }
}

/// A share in percent; what is not all of it is not shown as that, and what is there not as nothing.
pub(crate) fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.001 => format!("{percent:.1e} %"),
        percent if percent < 0.1 => format!("{percent:.3} %"),
        percent if percent < 9.995 => format!("{percent:.2} %"),
        percent if percent < 99.9 => format!("{percent:.1} %"),
        percent if percent < 99.999 => format!("{:.3} %", (percent * 1000.0).floor() / 1000.0),
        _ if share < 1.0 => "nearly 100 %".to_owned(),
        _ => "100 %".to_owned(),
    }
}

/// A number with a comma behind each thousand.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    groups.iter().map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways() -> Ways {
        Ways {
            trials: 20_000,
            whole: 215 + 497,
            never_read: 18_223,
            overwritten: 645,
            late: 420,
            shortened: 200,
            audited: 215,
            ..Ways::default()
        }
    }

    #[test]
    fn a_trial_is_whole_settled_or_run_in_part() {
        let mut found = Ways::default();
        let whole = Way::default();
        let settled = |settled| Way { settled: Some(settled), ..whole };
        for way in [
            whole,
            settled(Settled::NeverRead),
            settled(Settled::Overwritten),
            Way { audited: true, ..settled(Settled::Overwritten) },
            Way { audited: true, control: true, ..whole },
            settled(Settled::Unchanged),
            Way { looked_up: true, ..whole },
            Way { begun_ns: Some(7), ..whole },
            Way { begun_ns: Some(7), cut_ns: Some(9), ..whole },
            Way { decided: true, looked_up: true, ..whole },
        ] {
            found.add(&way);
        }
        let expected = Ways {
            trials: 10,
            whole: 4,
            never_read: 1,
            overwritten: 1,
            unchanged: 1,
            decided: 1,
            late: 2,
            shortened: 1,
            audited: 2,
            controls: 1,
        };
        assert_eq!(found, expected);
        assert_eq!((found.settled(), found.shortcuts()), (3, 5));
        found.join(&expected);
        assert_eq!((found.trials, found.whole, found.shortened, found.controls), (20, 8, 2, 2));
    }

    #[test]
    fn the_line_says_what_was_settled_how_and_what_the_audit_bounds() {
        let ways = ways();
        // scipy 1.17.1: 1 - .05 ** (1 / 215) is 0.013837, and 1 - .01 ** (1 / 215) is 0.021192.
        assert!((ways.audit(Confidence::P95).unwrap().bound - 0.013_837).abs() < 1e-6);
        assert_eq!(
            ways.line(Confidence::P95).unwrap(),
            "94.3 % of 20,000 trials were settled without a run (91.1 % never read again, 3.23 % overwritten), 2.10 % \
             begun late, 1.00 % ended early; 215 audited, all equal: fewer than 1.39 % of these can differ (95%)"
        );
        assert!(
            ways.line("99%".parse().unwrap())
                .unwrap()
                .ends_with("fewer than 2.12 % of these can differ (99%)")
        );
        let set = Ways { unchanged: 30, ..ways }.line(Confidence::P95).unwrap();
        assert!(
            set.contains("(91.1 % never read again, 3.23 % overwritten, 0.15 % set to what they were)"),
            "{set}"
        );
        assert_eq!(ways.control_line(Confidence::P95), None);
        assert_eq!(
            Ways { controls: 215, ..ways }.control_line(Confidence::P95).unwrap(),
            "215 control trials, without a fault, all masked: fewer than 1.39 % of trials can differ without one (95%)"
        );
        let none = Ways { audited: 0, ..ways };
        assert!(none.line(Confidence::P95).unwrap().ends_with("; none was audited"));
        let whole = Ways { trials: 9, whole: 9, ..Ways::default() };
        assert_eq!((whole.line(Confidence::P95), Ways::default().line(Confidence::P95)), (None, None));
    }

    #[test]
    fn a_share_is_shown_as_nothing_or_all_only_where_it_is() {
        let shown = [0.0, 1e-7, 0.000_5, 0.038_2, 0.9999, 0.999_999_9, 1.0].map(percent);
        assert_eq!(shown, ["0 %", "1.0e-5 %", "0.050 %", "3.82 %", "99.990 %", "nearly 100 %", "100 %"]);
        assert_eq!([7, 1000, 1_234_567].map(grouped), ["7", "1,000", "1,234,567"]);
    }
}
