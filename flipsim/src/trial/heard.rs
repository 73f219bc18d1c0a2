//! When a console said what a trial is judged by: the difference, the report, the end of the workload.
//!
//! Invariant: **a time is that of the byte that completes its line**, as QEMU keeps it, so that no checkpoint and no
//! host shows in it. Where one of them is not kept, all three stay those of checkpoints, and the record says so.

use crate::console::line_end;
use crate::trial::golden::model::Golden;
use crate::trial::record::{Heard, TrialRecord};
use crate::trial::reports::Report;
use crate::trial::runner::{RunError, Runner};
use crate::units::VirtualNs;

/// A console to its end, and what it is.
pub(super) struct Console<'a> {
    pub golden: &'a Golden,
    /// What it said; what the guest itself said of it is the beginning.
    pub said: &'a [u8],
    /// Whether its output is the golden run's.
    pub same_output: bool,
    /// The line of the first report that the golden run does not have.
    pub noticed: Option<u64>,
}

/// Where in a console the lines end by which a trial is judged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The first line of the output that is not the golden run's.
    differs: Option<usize>,
    /// The first report that the golden run does not have.
    noticed: Option<usize>,
    /// The line by which the workload is done.
    done: Option<usize>,
}

impl Console<'_> {
    /// Where the lines are.
    pub fn places(&self) -> Places {
        let Console { golden, said, same_output, noticed } = *self;
        let place = |line: u64| line_end(said, line);
        let differs = (!same_output)
            .then(|| golden.first_difference(said))
            .filter(|(_, here, _)| here.is_some())
            .and_then(|(number, ..)| golden.signals.line_of_output(said, number));
        Places {
            differs: differs.and_then(place),
            noticed: noticed.and_then(place),
            done: golden.signals.done_end(said),
        }
    }

    /// Sets the times of a record that was judged.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn hear(&self, runner: &mut Runner, record: &mut TrialRecord) -> Result<(), RunError> {
        if !self.golden.capabilities.times {
            return Ok(());
        }
        let Places { differs, noticed, done } = self.places();
        let own = runner.console.own();
        // What was said before the fault, and after the state was the golden run's again, it has said as well.
        let golden_done = done.filter(|place| !own.contains(place)).and(self.golden.done);
        let asked = [differs, noticed, done.filter(|place| own.contains(place))];
        let places: Vec<usize> = asked.into_iter().flatten().collect();
        let times = runner.times_of(&places)?;
        let Some(times) = times.into_iter().collect::<Option<Vec<VirtualNs>>>() else { return Ok(()) };
        let mut times = times.into_iter();
        let [differs, noticed, done] = asked.map(|place| place.and_then(|_| times.next()).map(|at| at.0));
        record.heard = Heard::Byte;
        record.console_differs_ns = (!self.same_output).then_some(differs.unwrap_or(record.end_ns));
        record.detected_ns = noticed;
        record.done_ns = done.or(golden_done.map(|at| at.0));
        Ok(())
    }
}

impl Console<'_> {
    /// Reports with the times at which their first lines were complete, by the line of each.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn reports(&self, runner: &mut Runner, reports: Vec<(Report, u64)>) -> Result<Vec<Report>, RunError> {
        let own = runner.console.own();
        let place = |line: u64| line_end(self.said, line).filter(|place| own.contains(place));
        let places: Vec<Option<usize>> = reports.iter().map(|(_, line)| place(*line)).collect();
        let asked: Vec<usize> = places.iter().copied().flatten().collect();
        let mut times = runner.times_of(&asked)?.into_iter();
        let timed = reports.into_iter().zip(places).map(|((report, _), place)| {
            let at_ns = place.and_then(|_| times.next().flatten()).map(|at| at.0);
            Report { at_ns, ..report }
        });
        Ok(timed.collect())
    }
}

#[cfg(test)]
mod tests;
