//! What a verdict on a trial rests on, as it goes into the record.
//!
//! Invariant: **whatever a rule decided by is in the record**: [`TrialRecord::lacks`] says what is not, rule by rule.

use crate::console::classify::Finding;
use crate::trial::because::Because;
use crate::trial::judge::trial::{Compared, news, notices};
use crate::trial::outcome::Class;
use crate::trial::record::TrialRecord;

/// A verdict with its evidence.
pub(in crate::trial) struct Evidence<'a> {
    /// The rule.
    pub because: Because,
    /// The console's report that goes with it: its kind and title are the record's.
    pub report: Option<&'a Finding>,
    /// The first report that the golden run does not have: its time is the record's.
    pub noticed: Option<&'a Finding>,
    /// Whether what the console said is a part of it.
    pub console: bool,
}

impl<'a> Compared<'a> {
    /// The verdict, with all that it rests on. `same_output` says whether the output is the golden run's.
    pub fn evidence(&self, same_output: bool) -> Evidence<'a> {
        let because = self.judge();
        let report = match &because {
            Because::Noticed { .. } | Because::NoticedNotDone { .. } => self.noticed(),
            Because::Ended { .. } => self.deciding().or_else(|| self.noticed()),
            Because::ReportedEnd { .. } => self.reported_end(),
            _ => self.deciding(),
        };
        let noticed = self.first_noticed().or_else(|| {
            // The golden run has the same report, at another place, where it ends nothing.
            self.reported_end().filter(|_| matches!(because, Because::ReportedEnd { .. }))
        });
        // That a console lacks the line by which the workload is done shows in all of it, and so does that it has no
        // report; where it is the golden run's, that one is kept.
        let failed = Class::Failure.has(because.outcome()) && self.said != self.golden.console;
        let console = failed || !same_output || news(self.found, self.expected).next().is_some();
        Evidence { because, report, noticed, console }
    }

    /// The first report that the golden run does not have. Where that has others of the same title, it is the first one
    /// behind what both consoles say alike.
    fn first_noticed(&self) -> Option<&'a Finding> {
        let first = news(self.found, self.expected).find(|finding| notices(finding.kind))?;
        let alike = self.golden.lines_alike(self.said);
        let same = |finding: &&Finding| finding.kind == first.kind && finding.title == first.title;
        Some(self.found.findings.iter().filter(same).find(|finding| finding.line > alike).unwrap_or(first))
    }
}

impl Evidence<'_> {
    /// Puts it into the record of a trial whose console said this.
    pub fn record(self, record: &mut TrialRecord, said: &[u8]) {
        if let Some(report) = self.report {
            (record.kind, record.title) = (Some(report.kind), Some(report.title.clone()));
        }
        if self.console {
            record.console = Some(String::from_utf8_lossy(said).into_owned());
        }
        if self.noticed.is_some() {
            // It was seen at the end alone.
            record.detected_ns.get_or_insert(record.end_ns);
        }
        record.decide(self.because);
    }
}

impl TrialRecord {
    /// The keys that the record's rule rests on and that it does not have; none of a record whose verdict can be
    /// checked. Records of before may lack some.
    #[must_use]
    pub fn lacks(&self) -> Vec<&'static str> {
        let Some(because) = &self.because else {
            return if self.outcome.is_some() { vec!["because"] } else { Vec::new() };
        };
        let report = self.kind.is_some() && self.title.is_some() && self.detected_ns.is_some();
        let lost = self.console_differs_ns.is_none();
        let needs: &[(&str, bool)] = match because {
            Because::Converged { checkpoint_ns } => {
                &[("converged_ns", self.converged_ns == Some(*checkpoint_ns))]
            }
            Because::EqualAtEnd => &[],
            Because::EccCorrected | Because::EccDetected => &[("ecc", self.plan.is_decided())],
            Because::OutputEqual => &[("output_only_because", self.output_only_because.is_some())],
            Because::StateDiffers => &[("state", self.state.is_some())],
            Because::OutputDiffers { .. } => {
                &[("console", self.console.is_some()), ("console_differs_ns", !lost)]
            }
            Because::Noticed { .. }
            | Because::NoticedNotDone { .. }
            | Because::ReportedEnd { line: Some(_) } => {
                &[("console", self.console.is_some()), ("kind, title, detected_ns", report)]
            }
            Because::Ended { line: Some(_), .. } => &[
                ("console", self.console.is_some()),
                ("kind, title", self.title.is_some()),
                ("end", self.end.is_some()),
            ],
            Because::Ended { line: None, .. } | Because::HeldUp { .. } | Because::Stopped { .. } => {
                &[("end", self.end.is_some())]
            }
            // Without a line an exception storm that the console shows.
            Because::ReportedEnd { line: None } | Because::NotDone { .. } => {
                &[("console", self.console.is_some())]
            }
            Because::HostTime { .. } => &[("end", self.end.is_some())],
        };
        let outcome = ("outcome", self.outcome == Some(because.outcome()));
        let lacking = needs.iter().chain([&outcome]).filter(|(_, has)| !has);
        lacking.map(|(key, _)| *key).collect()
    }
}

#[cfg(test)]
mod tests;
