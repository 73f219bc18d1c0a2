//! The outcome of a trial that was compared with its golden run, from the evidence alone.
//!
//! Invariant: **each rule is one arm of [`Compared::judge`]**, and carries the evidence by which it decided.

use std::time::Duration;

use crate::console::classify::{self, Classification, ConsoleVerdict, Finding, Kind};
use crate::machine::End;
use crate::trial::because::Because;
use crate::trial::golden::model::{Golden, Window};
use crate::trial::record::TrialRecord;
use crate::units::{Timing, VirtualNs};

/// So many letters of a line are kept.
const LETTERS: usize = 200;

/// The reports that the golden run does not have, by kind and title: when they came, and in which line,
/// does not count.
pub(in crate::trial) fn news<'a>(
    found: &'a Classification,
    golden: &Classification,
) -> impl Iterator<Item = &'a Finding> {
    let mut known: Vec<(Kind, String)> =
        golden.findings.iter().map(|finding| (finding.kind, finding.title.clone())).collect();
    found.findings.iter().filter(move |finding| {
        let at = known.iter().position(|(kind, title)| *kind == finding.kind && *title == finding.title);
        at.map(|at| known.swap_remove(at)).is_none()
    })
}

/// Whether a report says that the guest noticed something; a wrong result is found by others.
pub(in crate::trial) fn notices(kind: Kind) -> bool {
    kind != Kind::WrongResult
}

/// The virtual time by which a workload that is not done hangs.
pub(in crate::trial) fn hang_limit(golden: &Golden, factor: f64) -> VirtualNs {
    VirtualNs(golden.begin().0.saturating_add(golden.limit(factor).0))
}

/// All that the outcome of a trial follows from.
pub(in crate::trial) struct Compared<'a> {
    /// What was recorded of it so far.
    pub record: &'a TrialRecord,
    /// What it is compared with.
    pub golden: &'a Golden,
    /// What its console said, to the end.
    pub said: &'a [u8],
    /// What that is.
    pub found: &'a Classification,
    /// What the golden run's console is.
    pub expected: &'a Classification,
    /// Whether the state was the golden run's when the trial ended.
    pub converged: bool,
    /// By when a workload that is not done hangs.
    pub limit: VirtualNs,
    /// How long the host may take for a stretch.
    pub wall: Duration,
}

impl<'a> Compared<'a> {
    /// The report that decided on the console, if the golden run does not have it.
    pub fn deciding(&self) -> Option<&'a Finding> {
        self.found.deciding().filter(|deciding| news(self.found, self.expected).any(|new| new == *deciding))
    }

    /// What the console reports the guest's end by. The golden run may have that report as well, where it ends nothing.
    pub(super) fn reported_end(&self) -> Option<&'a Finding> {
        self.deciding().or_else(|| self.noticed()).or_else(|| self.found.deciding())
    }

    /// By what the guest noticed something that the golden run does not have.
    pub(super) fn noticed(&self) -> Option<&'a Finding> {
        self.deciding()
            .filter(|finding| notices(finding.kind))
            .or_else(|| news(self.found, self.expected).find(|finding| notices(finding.kind)))
    }

    /// The last checkpoint that the guest reached.
    fn last_checkpoint(&self) -> Option<u64> {
        let reached = self.golden.checkpoints.iter().rev();
        reached.map(|checkpoint| checkpoint.at.0).find(|at| *at <= self.record.end_ns)
    }

    /// The rule that decides, by the classes of the design.
    pub fn judge(&self) -> Because {
        let wall_ns = u64::try_from(self.wall.as_nanos()).unwrap_or(u64::MAX);
        let last_checkpoint_ns = self.last_checkpoint();
        match self.record.end {
            Some(end @ (End::Panic | End::Reset | End::PowerOff | End::ExceptionStorm)) => {
                let report = self.deciding().or_else(|| self.noticed());
                return Because::Ended { end, line: report.map(line_of) };
            }
            // With the exact clock a guest's time passes as it executes: one for which it does not is held up by
            // the host, and that must be no outcome of the fault's.
            Some(End::WallTime) if self.record.timing == Timing::Approximate => {
                return Because::HostTime { limit_ns: wall_ns, last_checkpoint_ns };
            }
            Some(End::WallTime) => return Because::HeldUp { limit_ns: wall_ns },
            Some(end @ End::Other) => return Because::Stopped { end },
            None => {}
        }
        if self.found.outcome == ConsoleVerdict::Crash && self.expected.outcome != ConsoleVerdict::Crash {
            return Because::ReportedEnd { line: self.reported_end().map(line_of) };
        }
        let noticed = self.noticed().map(line_of);
        if self.golden.window == Window::Done && !self.golden.signals.is_done_in(self.said) {
            let limit_ns = self.limit.0;
            return match noticed {
                // It has not gone on.
                Some(line) => Because::NoticedNotDone { limit_ns, last_checkpoint_ns, line },
                None => Because::NotDone { limit_ns, last_checkpoint_ns },
            };
        }
        // Where only some lines are the output, others may say that something was noticed.
        if let Some(line) = noticed {
            return Because::Noticed { line };
        }
        if !self.golden.same_output(self.said) {
            let (number, line, golden) = self.golden.first_difference(self.said);
            let line = line.map(|line| shown(&line));
            return Because::OutputDiffers { number, line, golden: golden.map(|line| shown(&line)) };
        }
        match self.record.converged_ns {
            Some(checkpoint_ns) if self.converged => Because::Converged { checkpoint_ns },
            _ if self.converged => Because::EqualAtEnd,
            // Where the golden runs differ, nothing is known of the state.
            _ if self.record.output_only => Because::OutputEqual,
            _ => Because::StateDiffers,
        }
    }
}

fn line_of(finding: &Finding) -> String {
    shown(finding.text.as_bytes())
}

/// A line of a console as evidence: what it says, not when, and not all of an endless one.
fn shown(line: &[u8]) -> String {
    let text = classify::without_stamps(line);
    String::from_utf8_lossy(&text).trim().chars().take(LETTERS).collect()
}

#[cfg(test)]
pub(in crate::trial) mod tests;
